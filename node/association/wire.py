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

from node.errors import NodeError

P_DATA_TF, A_RELEASE_RQ, A_ABORT = 0x04, 0x05, 0x07  # PS3.8 sections 9.3.5, 9.3.6, 9.3.8
A_RELEASE_RP = b"\x06\0\0\0\0\4\0\0\0\0"  # PS3.8 section 9.3.7
PDU_HEADER, PDV_HEADER = 6, 6

_PDU = struct.Struct(">BxL")  # type, length of what follows (PS3.8 table 9-11 and others)
_PDV = struct.Struct(">LBB")  # item length, presentation context ID, message control header (PS3.8 section 9.3.5.1)
_P_DATA = struct.Struct(">BBLLBB")
_COMMAND_AND_LAST = 0x03  # PS3.8 annex E.2
_SMALLEST_BUFFER = 1 << 18
_LEAST_ROOM = 1 << 16  # with less left at the end of the buffer the next bytes go to its start; chosen
_PACE_S = 15.0  # how long a peer may be slower than allowed; chosen
_LOOK_UP_S = 5.0  # longest wait in one `recv`, after which deadlines are looked at; chosen


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
        self._pace_s = min(_PACE_S, idle_s)
        self._data = bytearray()  # made at the first PDU: an association that is only open costs no buffer
        self._view = memoryview(self._data)
        self._read = self._written = 0
        self._stopping = threading.Event()
        self._in_message = False
        self._since, self._arrived = time.monotonic(), 0
        self.before_reuse: Callable[[], None] = lambda: None  # called before what was handed out is overwritten
        whole, fraction = divmod(min(_LOOK_UP_S, idle_s / 4), 1.0)
        wait = struct.pack("ll", int(whole), max(1, int(1e6 * fraction)))
        # Not settimeout: that costs a poll for each recv.
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, wait)
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", max(1, int(idle_s)), 0))

    def stop(self) -> None:
        """Let the next wait end, from another thread; what is being received is dropped."""
        self._stopping.set()
        with contextlib.suppress(OSError):  # gone already
            self._socket.shutdown(socket.SHUT_RD)

    def send(self, content: bytes) -> None:
        """Send all of it; ConnectionEndedError if the peer does not take it."""
        try:
            self._socket.sendall(content)
        except OSError as error:
            raise ConnectionEndedError("does not take our answer") from error

    def message_ended(self) -> None:
        """From now on the peer may be silent for a while."""
        self._in_message = False
        self._since = time.monotonic()

    def pdu_header(self) -> tuple[int, int]:
        """Return type and length of the next PDU."""
        at = self._need(PDU_HEADER)
        kind, length = _PDU.unpack_from(self._data, at)
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
            if self._size - self._written < _LEAST_ROOM:
                self.before_reuse()
                self._read = self._written = 0
            self._receive()
        at = self._read
        self._read = min(self._written, at + most)
        return self._view[at : self._read]

    def _need(self, count: int) -> int:
        """Have so many bytes in one piece, count them as used, and return where they begin."""
        if self._written - self._read < count:
            self.before_reuse()
            rest = bytes(self._view[self._read : self._written])
            if not self._data:
                self._data = bytearray(self._size)
                self._view = memoryview(self._data)
            self._data[: len(rest)] = rest
            self._read, self._written = 0, len(rest)
            while self._written < count:
                self._receive()
        self._read += count
        return self._read - count

    def _receive(self) -> None:
        while True:
            try:
                count = self._socket.recv_into(self._view[self._written :])
            except (BlockingIOError, ssl.SSLWantReadError):
                count = -1  # SO_RCVTIMEO ran out
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


def p_data(context: int, command: bytes) -> bytes:
    """Return the P-DATA-TF PDU of a whole command set (PS3.8 section 9.3.5)."""
    size = len(command)
    return _P_DATA.pack(P_DATA_TF, 0, size + 6, size + 2, context, _COMMAND_AND_LAST) + command


def a_abort(reason: int) -> bytes:
    """Return an A-ABORT PDU of the service provider (PS3.8 section 9.3.8)."""
    return bytes((A_ABORT, 0, 0, 0, 0, 4, 0, 0, 2, reason))
