"""Archives that misbehave: those that answer, and those of which the socket is all there is."""

import contextlib
import socket
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import MRImageStorage
from pynetdicom import AE, build_context, evt

from node.settings import ArchiveSettings

_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"


def answer(**attributes: Any) -> Dataset:
    made = Dataset()
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


@dataclass
class Fake:
    """An archive that answers as it was told, by level, and sends as it was told; and keeps what it was asked."""

    answers: dict[str, Sequence[Dataset]] = field(default_factory=dict)
    find_status: int = 0x0000
    move_status: int = 0x0000
    endless: bool = False
    sends: Sequence[Dataset] = ()
    destination: int = 1  # a port; nobody listens on that one
    asked: list[Dataset] = field(default_factory=list)
    moves: list[Dataset] = field(default_factory=list)

    def find(self, event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        self.asked.append(event.identifier)
        level = event.identifier.QueryRetrieveLevel
        for one in self.answers.get(level, ()):
            yield 0xFF00, one
        while self.endless:
            yield 0xFF00, answer(StudyInstanceUID="2.25.1")
        yield self.find_status, None

    def move(self, event: evt.Event) -> Iterator[Any]:
        self.moves.append(event.identifier)
        contexts = [build_context(MRImageStorage)]
        yield "127.0.0.1", self.destination, {"contexts": contexts}
        yield len(self.sends)
        for one in self.sends:
            yield 0xFF00, one
        if self.move_status:
            yield self.move_status, None


@contextlib.contextmanager
def serving(fake: Fake, *, title: str = "ARCHIVE", require_called: bool = False) -> Iterator[ArchiveSettings]:
    ae = AE(title)
    ae.require_called_aet = require_called
    ae.add_supported_context(_FIND)
    ae.add_supported_context(_MOVE)
    handlers: list[Any] = [(evt.EVT_C_FIND, fake.find), (evt.EVT_C_MOVE, fake.move)]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        yield ArchiveSettings(name="pacs", ae_title="ARCHIVE", port=server.socket.getsockname()[1])
    finally:
        server.shutdown()


@contextlib.contextmanager
def saying(*words: bytes) -> Iterator[ArchiveSettings]:
    """Accept connections, say these words one after the other as soon as something is heard, and then nothing."""
    listener = socket.create_server(("127.0.0.1", 0))
    connections: list[socket.socket] = []

    def speak(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            for word in words:
                connection.recv(1 << 16)
                connection.sendall(word)
            while connection.recv(1 << 16):
                pass

    def run() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _address = listener.accept()
                connections.append(connection)
                threading.Thread(target=speak, args=(connection,), daemon=True).start()

    threading.Thread(target=run, daemon=True).start()
    try:
        yield ArchiveSettings(name="pacs", ae_title="ARCHIVE", port=listener.getsockname()[1])
    finally:
        listener.close()
        for one in connections:
            one.close()


def accepting() -> bytes:
    """Return an A-ASSOCIATE-AC that accepts the first context, as Implicit VR Little Endian (PS3.8 table 9-17)."""

    def item(kind: int, content: bytes) -> bytes:
        return bytes([kind, 0]) + len(content).to_bytes(2, "big") + content

    user = item(0x51, (16384).to_bytes(4, "big")) + item(0x52, b"2.25.1")
    context = item(0x21, bytes([1, 0, 0, 0]) + item(0x40, b"1.2.840.10008.1.2"))
    body = (
        b"\x00\x01\x00\x00" + b"ARCHIVE".ljust(16) + b"PARASPINAL".ljust(16) + bytes(32)
        + item(0x10, b"1.2.840.10008.3.1.1.1") + context + item(0x50, user)
    )  # fmt: skip
    return b"\x02\x00" + len(body).to_bytes(4, "big") + body
