"""The upper layer protocol on a socket, as far as a bulk association needs it (PS3.8 section 9.3).

One buffer, filled by `recv_into` and never copied from; every wait has a deadline.
"""

import contextlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from enum import IntEnum

from node.errors import NodeError

A_ASSOCIATE_RQ, P_DATA_TF, A_RELEASE_RQ, A_ABORT = 0x01, 0x04, 0x05, 0x07  # PS3.8 sections 9.3.2, 9.3.5, 9.3.6, 9.3.8
A_RELEASE_RP = b"\x06\0\0\0\0\4\0\0\0\0"  # PS3.8 section 9.3.7
PDU_HEADER, PDV_HEADER = 6, 6

PDU = struct.Struct(">BxL")  # type, reserved, length of what follows: so begins every PDU (PS3.8 tables 9-11 to 9-26)
_PDV = struct.Struct(">LBB")  # item length, presentation context ID, message control header (PS3.8 section 9.3.5.1)
_P_DATA = struct.Struct(">BBLLBB")
_COMMAND_AND_LAST = 0x03  # PS3.8 annex E.2
_SMALLEST_BUFFER = 1 << 19
_LEAST_ROOM = 1 << 16  # with less left at the end of the buffer the next bytes go to its start; chosen
PACE_S = 15.0  # how long a peer may be slower than allowed; chosen
_LOOK_UP_S = 5.0  # longest wait in one `recv`, after which deadlines are looked at; chosen


class AbortReason(IntEnum):
    """Why the service provider aborts: PS3.8 table 9-26."""

    NOT_SPECIFIED = 0
    UNRECOGNIZED_PDU = 1
    UNEXPECTED_PDU = 2
    INVALID_PARAMETER = 6


class ConnectionEndedError(NodeError):
    """The peer has gone, says nothing for too long, or is too slow; `why` is a word for the log."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Wire:
    """What was received on a socket and is not used yet.

    Parameters
    ----------
    connected : socket
        Blocking; also over TLS.
    largest_pdu : int
        What was announced: bytes of a P-DATA-TF PDU after its header.
    idle_s : float
        Seconds of silence between messages until the peer is given up.
    slowest : int
        Bytes in a second that a peer must send from the first byte of a message to its last.
    """

    def __init__(self, connected: socket.socket, *, largest_pdu: int, idle_s: float, slowest: int) -> None:
        self._socket = connected
        self._size = max(_SMALLEST_BUFFER, 2 * (largest_pdu + PDU_HEADER))
        self._idle_s, self._slowest = idle_s, slowest
        self._pace_s = min(PACE_S, idle_s)
        # For a PDU header; the buffer itself is made at the first P-DATA: an association that is only open has none.
        self._data = bytearray(PDU_HEADER)
        self._view = memoryview(self._data)
        self._read = self._written = 0
        self._stopping = threading.Event()
        self._in_message = False
        self._since, self._arrived = time.monotonic(), 0
        self.before_reuse: Callable[[], None] = lambda: None  # called before what was handed out is overwritten
        self._look_up_s = min(_LOOK_UP_S, idle_s / 4)
        self._is_tls = isinstance(connected, ssl.SSLSocket)
        if self._is_tls:
            connected.settimeout(self._look_up_s)  # of SO_RCVTIMEO nothing is heard: CPython calls SSL_read again
        else:  # settimeout would cost a poll for each recv
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(self._look_up_s))
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _timeval(idle_s))

    def stop(self) -> None:
        """Let the next wait end, from another thread; what is being received is dropped."""
        self._stopping.set()
        with contextlib.suppress(OSError):  # gone already
            # Not the method of SSLSocket: it drops the TLS layer, and our A-ABORT would go out in the clear.
            socket.socket.shutdown(self._socket, socket.SHUT_RD)

    def send(self, content: bytes) -> None:
        """Send all of it; ConnectionEndedError if the peer does not take it."""
        try:
            if self._is_tls:
                self._socket.settimeout(self._idle_s)
            self._socket.sendall(content)
            if self._is_tls:
                self._socket.settimeout(self._look_up_s)
        except OSError as error:
            raise ConnectionEndedError("does not take our answer") from error

    def message_ended(self) -> None:
        """From now on the peer may be silent for a while."""
        self._in_message = False
        self._since = time.monotonic()

    def pdu_header(self) -> tuple[int, int]:
        """Return type and length of the next PDU."""
        at = self._need(PDU_HEADER)
        kind, length = PDU.unpack_from(self._data, at)
        return kind, length

    def pdv_header(self) -> tuple[int, int, int]:
        """Return item length, presentation context ID and message control header of the next PDV."""
        at = self._need(PDV_HEADER)
        length, context, control = _PDV.unpack_from(self._data, at)
        return length, context, control

    def take(self, count: int) -> bytes:
        """Return a copy of exactly so many bytes; not more than the largest PDU."""
        at = self._need(count)
        return bytes(self._view[at : at + count])

    def some(self, most: int) -> memoryview:
        """Return at least one and at most so many bytes, where they lie; valid until `before_reuse`."""
        if self._read == self._written:
            if len(self._data) - self._written < _LEAST_ROOM:
                self._make_room(self._size)
            self._receive()
        at = self._read
        self._read = min(self._written, at + most)
        return self._view[at : self._read]

    def _need(self, count: int) -> int:
        """Have so many bytes in one piece, count them as used, and return where they begin."""
        if self._written - self._read < count:
            self._make_room(count)
            while self._written < count:
                self._receive()
        self._read += count
        return self._read - count

    def _make_room(self, count: int) -> None:
        """Begin at the start of the buffer again, of one with room for so many bytes; what is not used comes along."""
        self.before_reuse()
        rest = bytes(self._view[self._read : self._written])
        if count > len(self._data):
            self._data = bytearray(self._size)
            self._view = memoryview(self._data)
        self._data[: len(rest)] = rest
        self._read, self._written = 0, len(rest)

    def _receive(self) -> None:
        while True:
            try:
                count = self._socket.recv_into(self._view[self._written :])
            except (BlockingIOError, TimeoutError):
                count = -1  # the look-up time ran out: SO_RCVTIMEO, or settimeout under TLS
            except OSError as error:
                raise ConnectionEndedError("connection broke") from error
            now = time.monotonic()
            if self._stopping.is_set():
                raise ConnectionEndedError("the node stops")
            if count == 0:
                raise ConnectionEndedError("connection closed")
            self._keep_pace(max(0, count), now)
            if count > 0:
                self._written += count
                return

    def _keep_pace(self, count: int, now: float) -> None:
        if not self._in_message:
            if count == 0 and now - self._since >= self._idle_s:
                raise ConnectionEndedError("silent for too long")
            if count:
                self._in_message, self._since, self._arrived = True, now, count
            return
        self._arrived += count
        if now - self._since >= self._pace_s:
            if self._arrived < self._slowest * (now - self._since):
                raise ConnectionEndedError("too slow")
            self._since, self._arrived = now, 0


def _timeval(seconds: float) -> bytes:
    """Return a `struct timeval`; never zero, which would mean for ever (socket(7))."""
    return struct.pack("ll", int(seconds), max(1, int(1e6 * (seconds % 1))))


def p_data(context: int, command: bytes) -> bytes:
    """Return the P-DATA-TF PDU of a whole command set (PS3.8 section 9.3.5)."""
    size = len(command)
    return _P_DATA.pack(P_DATA_TF, 0, size + 6, size + 2, context, _COMMAND_AND_LAST) + command


def a_abort(reason: AbortReason) -> bytes:
    """Return an A-ABORT PDU of the service provider (PS3.8 section 9.3.8, table 9-26)."""
    return bytes((A_ABORT, 0, 0, 0, 0, 4, 0, 0, 2, reason))
