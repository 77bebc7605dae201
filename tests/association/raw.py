"""A peer of bytes: what no library would send, and no code of ours encodes."""

import socket
import ssl
import struct
from typing import Self

VERIFICATION, MR = "1.2.840.10008.1.1", "1.2.840.10008.5.1.4.1.1.4"
EXPLICIT, IMPLICIT, BIG_ENDIAN = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
COMMAND, LAST = 1, 2  # PS3.8 annex E.2
CONTEXTS = ((1, VERIFICATION, IMPLICIT), (3, MR, EXPLICIT), (5, MR, IMPLICIT), (7, MR, BIG_ENDIAN))
RELEASE_RQ = b"\x05\0\0\0\0\4\0\0\0\0"
ABORT = b"\x07\0\0\0\0\4\0\0\0\0"


def item(kind: int, body: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(body)) + body


def associate_rq(
    *,
    called: str = "PARASPINAL",
    calling: str = "SCANNER",
    contexts=CONTEXTS,
    user_information: bytes = b"",
    version: int = 1,
    application_context: str = "1.2.840.10008.3.1.1.1",
) -> bytes:
    body = struct.pack(">HH16s16s32s", version, 0, called.ljust(16).encode(), calling.ljust(16).encode(), b"")
    body += item(0x10, application_context.encode())
    for number, abstract, transfer in contexts:
        syntaxes = item(0x30, abstract.encode()) + item(0x40, transfer.encode())
        body += item(0x20, bytes((number, 0, 0, 0)) + syntaxes)
    body += item(0x50, item(0x51, struct.pack(">L", 16384)) + item(0x52, b"1.2.3") + user_information)
    return struct.pack(">BBL", 1, 0, len(body)) + body


def p_data(*pdvs: tuple[int, int, bytes]) -> bytes:
    """Return a P-DATA-TF PDU of presentation data values: context ID, control header, fragment."""
    body = b"".join(struct.pack(">LBB", len(data) + 2, context, control) + data for context, control, data in pdvs)
    return struct.pack(">BBL", 4, 0, len(body)) + body


def element(number: int, value: bytes) -> bytes:
    value += b"\0" * (len(value) % 2)
    return struct.pack("<HHL", 0, number, len(value)) + value


def command(
    field: int, *, sop_class: str = MR, sop_instance: str = "2.25.1", data_set: bool = True, message_id: int = 1
) -> bytes:
    body = element(0x0002, sop_class.encode()) + element(0x0100, struct.pack("<H", field))
    body += element(0x0110, struct.pack("<H", message_id)) + element(0x0700, b"\0\0")
    body += element(0x0800, struct.pack("<H", 1 if data_set else 0x0101))
    if data_set:
        body += element(0x1000, sop_instance.encode())
    return element(0x0000, struct.pack("<L", len(body))) + body


class RawPeer:
    """A connection to the receiver."""

    def __init__(
        self, port: int, *, source: str = "127.0.0.1", timeout_s: float = 10.0, tls: ssl.SSLContext | None = None
    ) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout_s, source_address=(source, 0))
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, suppress_ragged_eofs=False)  # an end without close_notify raises

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, *pdus: bytes) -> None:
        self.socket.sendall(b"".join(pdus))

    def associate(self, **options: object) -> bytes:
        """Return the answer to an A-ASSOCIATE-RQ: its first byte is the PDU type."""
        self.send(associate_rq(**options))
        return self.pdu()

    def pdu(self) -> bytes:
        """Return the next PDU; empty when the node has closed."""
        header = self._exactly(6)
        return header + self._exactly(struct.unpack(">L", header[2:])[0]) if len(header) == 6 else b""

    def answer(self) -> dict[int, bytes]:
        """Return the command set of the next message by element number."""
        body, values, at = self.pdu()[12:], {}, 0
        while at < len(body):
            _group, number, length = struct.unpack_from("<HHL", body, at)
            values[number] = body[at + 8 : at + 8 + length]
            at += 8 + length
        return values

    def status(self) -> int:
        return struct.unpack("<H", self.answer()[0x0900])[0]

    def echo(self) -> int:
        self.send(p_data((1, COMMAND | LAST, command(0x0030, sop_class=VERIFICATION, data_set=False))))
        return self.status()

    def store(self, data_set: bytes, *, sop_instance: str = "2.25.1", context: int = 3, piece: int = 16000) -> int:
        self.send(p_data((context, COMMAND | LAST, command(1, sop_instance=sop_instance))))
        for start in range(0, len(data_set), piece):
            last = LAST if start + piece >= len(data_set) else 0
            self.send(p_data((context, last, data_set[start : start + piece])))
        return self.status()

    def _exactly(self, count: int) -> bytes:
        found = b""
        while len(found) < count:
            piece = self.socket.recv(count - len(found))
            if not piece:
                return b""
            found += piece
        return found
