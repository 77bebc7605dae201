"""A sender that keeps account of what it sent and what was acknowledged, and what the node holds against that."""

import hashlib
import itertools
import random
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from node.holdings import Holdings
from tests.association.raw import RawPeer
from tests.builders import data_set_bytes, mr, part10
from tests.peers import ServedNode

_UID = "2.25.100000000000"  # instance 0: the others differ in the last digits alone
_TEMPLATE = data_set_bytes(part10(mr(_UID, Rows=1, Columns=2, PixelData=b"\x01\0\x02\0")))[:-8]
GONE = (OSError, KeyError, struct.error)  # what a sender meets when the node dies under it: no answer, or half of one


def uid_of(number: int) -> str:
    return f"2.25.{100_000_000_000 + number}"


def instance(number: int, pixel_bytes: int = 8192) -> bytes:
    """Return a data set of its own content, always the same for the same numbers."""
    pixels = random.Random(number).randbytes(pixel_bytes)
    return _TEMPLATE.replace(_UID.encode(), uid_of(number).encode()) + struct.pack("<L", len(pixels)) + pixels


@dataclass
class Account:
    """SHA-256 of what was sent and what was acknowledged, by SOP Instance UID."""

    sent: dict[str, str] = field(default_factory=dict)
    acknowledged: dict[str, str] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))  # several senders draw from it

    def faults(self, node: ServedNode, *, within_s: float = 0.0) -> list[str]:
        """Say what the node holds otherwise than it promised; rows follow `within_s`, or are there after a start.

        Held, but not acknowledged, is no fault: the sender sends again.
        """
        deadline = time.monotonic() + within_s
        while (found := self._faults(node)) and time.monotonic() < deadline:
            time.sleep(0.1)
        return found

    def _faults(self, node: ServedNode) -> list[str]:
        holdings = Holdings(node.settings)
        held: dict[str, list[str]] = {}
        for uid, digest in holdings.held():
            held.setdefault(uid, []).append(digest)
        lost = self.acknowledged.keys() - held.keys()
        other = {uid for uid, digests in held.items() if uid in self.sent and set(digests) != {self.sent[uid]}}
        twice = {uid for uid, digests in held.items() if len(digests) > 1}
        foreign = held.keys() - self.sent.keys()
        damaged = [damage.reason for damage in holdings.verify() if damage is not None]
        found = {"lost": lost, "changed or torn": other, "twice": twice, "never sent": foreign, "damaged": damaged}
        return [f"{what}: {len(ones)}" for what, ones in found.items() if ones]


class Sender(RawPeer):
    """An association that stores instances and books them."""

    def __init__(
        self,
        port: int,
        account: Account,
        *,
        source: str = "127.0.0.1",
        calling: str = "SCANNER",
        timeout_s: float = 5.0,
    ) -> None:
        super().__init__(port, source=source, timeout_s=timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.account = account
        self.is_accepted = self.associate(calling=calling)[:1] == b"\2"

    def send_next(self, pixel_bytes: int = 8192) -> int:
        """Store an instance that was never sent before, and return the status."""
        number = next(self.account.numbers)
        uid, data_set = uid_of(number), instance(number, pixel_bytes)
        self.account.sent[uid] = hashlib.sha256(data_set).hexdigest()
        status = self.store(data_set, sop_instance=uid)
        if status == 0x0000:
            self.account.acknowledged[uid] = self.account.sent[uid]
        return status

    def send_until_gone(self) -> None:
        """Store instances for as long as the node answers."""
        try:
            while True:
                self.send_next()
        except GONE:
            self.socket.close()


def start_receiver(node: ServedNode) -> float:
    """Start the receiving process alone, and return the seconds until it answered a C-ECHO."""
    began = time.monotonic()
    node.start("receive")
    with Sender(node.port, Account()) as peer:
        assert peer.echo() == 0x0000
    return time.monotonic() - began


@contextmanager
def receiving(node: ServedNode) -> Iterator[None]:
    """Let the receiving process run for the time of the block, then kill it."""
    try:
        start_receiver(node)
        yield
    finally:
        node.kill()


def is_alive(node: ServedNode) -> bool:
    return node.process is not None and node.process.poll() is None


def threads(node: ServedNode) -> set[int]:
    assert node.process is not None
    return {int(task.name) for task in Path(f"/proc/{node.process.pid}/task").iterdir()}
