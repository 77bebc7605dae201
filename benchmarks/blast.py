"""A C-STORE sender that costs nearly nothing: the receiver is the limit. Storage of MR and Verification only.

The PDUs of an instance are built beforehand, for the length that the receiver accepts; then it is one `sendall` an
instance and a wait for its answer. It runs in a process of its own, forked, so that the instances need not be copied.
"""

import multiprocessing
import socket
import struct
import threading
import time
from collections.abc import Sequence
from itertools import pairwise
from multiprocessing.connection import Connection
from types import TracebackType

from benchmarks.load import Instance

CALLED, CALLING = "PARASPINAL", "BENCH"
VERIFICATION = "1.2.840.10008.1.1"
_CONTEXTS = {VERIFICATION: 1, "1.2.840.10008.5.1.4.1.1.4": 3, "1.2.840.10008.5.1.4.1.1.4.1": 5}  # ids are odd numbers
_EXPLICIT_LITTLE = b"1.2.840.10008.1.2.1"
_LONGEST_PDU = 131072
_RELEASE_RQ = b"\5\0\0\0\0\4\0\0\0\0"  # PS3.8 9.3.6
_NO_DATA_SET, _DATA_SET = 0x0101, 0x0000  # PS3.7 E.1-1


class RefusedError(Exception):
    """The receiver refused an association or an object, or went away."""


class Association:
    """One association with a receiver on this machine.

    Parameters
    ----------
    port : int
    timeout_s : float
        Of each single wait for the receiver.
    """

    def __init__(self, port: int, *, timeout_s: float = 120.0) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=timeout_s)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(associate_request())
        kind, body = self._read_pdu()
        if kind != 2:
            raise RefusedError(f"association refused: PDU type {kind}, {body[1:4].hex(' ')}")
        self.longest_pdu = _read_acceptance(body)

    def __enter__(self) -> "Association":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if kind is None:
            self._socket.sendall(_RELEASE_RQ)
            self._read_pdu()
        self._socket.close()

    def exchange(self, message: bytes) -> None:
        """Send one message and wait for its answer.

        Raises
        ------
        RefusedError
            If it is not Success.
        """
        self._socket.sendall(message)
        kind, body = self._read_pdu()
        status = _status(body[6:]) if kind == 4 else None
        if status != 0:
            raise RefusedError(f"PDU type {kind} instead of an answer" if status is None else f"status 0x{status:04X}")

    def _read_pdu(self) -> tuple[int, bytes]:
        kind, length = struct.unpack(">BxL", self._read(6))
        return kind, self._read(length)

    def _read(self, length: int) -> bytes:
        got = b""
        while len(got) < length:
            try:
                more = self._socket.recv(length - len(got))
            except TimeoutError as error:
                raise RefusedError("no answer in time") from error
            if not more:
                raise RefusedError("the receiver closed the connection")
            got += more
        return got


def associate_request() -> bytes:
    """Return an A-ASSOCIATE-RQ, PS3.8 9.3.2."""
    body = struct.pack(">HH16s16s32x", 1, 0, CALLED.ljust(16).encode(), CALLING.ljust(16).encode())
    body += _item(0x10, b"1.2.840.10008.3.1.1.1")
    for uid, number in _CONTEXTS.items():
        body += _item(0x20, bytes([number, 0, 0, 0]) + _item(0x30, uid.encode()) + _item(0x40, _EXPLICIT_LITTLE))
    body += _item(0x50, _item(0x51, struct.pack(">L", _LONGEST_PDU)) + _item(0x52, b"1.2.3.4.5"))
    return struct.pack(">BxL", 1, len(body)) + body


def echo_message() -> bytes:
    """Return a C-ECHO-RQ, PS3.7 9.3.5."""
    return _command_pdu(VERIFICATION, 0x0030, 1, _NO_DATA_SET)


def store_message(instance: Instance, message_id: int, longest_pdu: int) -> bytes:
    """Return a C-STORE-RQ (PS3.7 9.3.1) and its data set, in PDUs of at most `longest_pdu` bytes."""
    context = _CONTEXTS[instance.sop_class]
    more = _element(0x0700, struct.pack("<H", 0)), _element(0x1000, _even(instance.sop_instance))
    parts: list[bytes | memoryview] = [_command_pdu(instance.sop_class, 0x0001, message_id, _DATA_SET, *more)]
    data_set, step = instance.data_set, longest_pdu - 6
    for start in range(0, len(data_set), step):
        fragment = data_set[start : start + step]
        last = 2 if start + step >= len(data_set) else 0
        parts += [struct.pack(">BxLLBB", 4, len(fragment) + 6, len(fragment) + 2, context, last), fragment]
    return b"".join(parts)


def send(port: int, instances: Sequence[Instance], associations: int = 1) -> float:
    """Send the objects over some associations at a time and return the seconds, opening and releasing included.

    Raises
    ------
    RefusedError
        If one of them was not answered with Success.
    """
    fork = multiprocessing.get_context("fork")
    ours, theirs = fork.Pipe(duplex=False)
    sender = fork.Process(target=_send_and_tell, args=(theirs, port, instances, associations))
    sender.start()
    theirs.close()
    try:
        told: float | str = ours.recv()
    except EOFError:
        told = "the sender died"
    sender.join()
    if isinstance(told, str):
        raise RefusedError(told)
    return told


def _send_and_tell(pipe: Connection, port: int, instances: Sequence[Instance], associations: int) -> None:
    try:
        pipe.send(_send(port, instances, associations))
    except (RefusedError, OSError) as error:
        pipe.send(str(error))


def _send(port: int, instances: Sequence[Instance], associations: int) -> float:
    with Association(port) as first:  # only to learn the length
        longest_pdu = first.longest_pdu
    # Each association gets a stretch of its own, as four scanners send four series.
    bounds = [len(instances) * share // associations for share in range(associations + 1)]
    shares = [
        [store_message(one, number % 60000 + 1, longest_pdu) for number, one in enumerate(instances[start:end])]
        for start, end in pairwise(bounds)
    ]
    faults: list[Exception] = []

    def run(messages: list[bytes]) -> None:
        try:
            with Association(port) as association:
                for message in messages:
                    association.exchange(message)
        except (RefusedError, OSError) as error:
            faults.append(error)

    threads = [threading.Thread(target=run, args=(messages,)) for messages in shares]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - began
    if faults:
        raise faults[0]
    return seconds


def _item(kind: int, body: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(body)) + body


def _even(uid: str) -> bytes:
    return uid.encode() + b"\0" * (len(uid) % 2)


def _element(number: int, value: bytes) -> bytes:
    return struct.pack("<HHL", 0, number, len(value)) + value


def _command_pdu(sop_class: str, field: int, message_id: int, data_set: int, *more: bytes) -> bytes:
    """Return a P-DATA-TF with one command set; `more`: elements behind (0000,0110), with rising numbers around 0800."""
    elements = [
        _element(0x0002, _even(sop_class)),
        _element(0x0100, struct.pack("<H", field)),
        _element(0x0110, struct.pack("<H", message_id)),
        _element(0x0800, struct.pack("<H", data_set)),
        *more,
    ]
    elements.sort(key=lambda element: element[2:4][::-1])
    command = b"".join(elements)
    command = _element(0x0000, struct.pack("<L", len(command))) + command
    return struct.pack(">BxLLBB", 4, len(command) + 6, len(command) + 2, _CONTEXTS[sop_class], 3) + command


def _read_acceptance(body: bytes) -> int:
    """Return the longest PDU that both sides take, of an A-ASSOCIATE-AC that must accept all contexts."""
    accepted, longest = set(), _LONGEST_PDU
    for kind, value in _items(body[68:]):
        if kind == 0x21 and value[2] == 0:
            accepted.add(value[0])
        if kind == 0x50:
            longest = next((struct.unpack(">L", one)[0] for sub, one in _items(value) if sub == 0x51), 0)
    if missing := set(_CONTEXTS.values()) - accepted:
        raise RefusedError(f"presentation contexts {sorted(missing)} refused")
    return min(longest or _LONGEST_PDU, _LONGEST_PDU)  # 0: no limit, PS3.8 D.1


def _items(data: bytes) -> list[tuple[int, bytes]]:
    items, at = [], 0
    while at < len(data):
        kind, length = struct.unpack_from(">BxH", data, at)
        items.append((kind, data[at + 4 : at + 4 + length]))
        at += 4 + length
    return items


def _status(command: bytes) -> int | None:
    """Return (0000,0900) of a command set."""
    at = 0
    while at + 8 <= len(command):
        element, length = struct.unpack_from("<2xHL", command, at)
        if element == 0x0900:
            return int(struct.unpack_from("<H", command, at + 8)[0])
        at += 8 + length
    return None
