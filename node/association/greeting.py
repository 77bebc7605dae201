"""Greeting: the A-ASSOCIATE-RQ of a new connection is waited for, without a thread, a buffer or a moment of waiting."""

import select
import socket
import ssl
from dataclasses import dataclass, field
from typing import Protocol

from node.association.tls import UnreadSocket, subject_of
from node.association.wire import A_ASSOCIATE_RQ, PDU_HEADER

_LEAST_LENGTH = 68  # PS3.8 table 9-11: the fixed fields after the length
_LONGEST_LENGTH = 65536  # reliability.md V4; the largest that senders with 128 contexts and all syntaxes make is 40 kB
_READ, _WRITE = select.EPOLLIN | select.EPOLLRDHUP, select.EPOLLOUT | select.EPOLLRDHUP
_Socket = socket.socket


@dataclass(frozen=True, slots=True)
class Connection:
    """A peer that wants to associate.

    Parameters
    ----------
    socket
        Blocking, without a timeout; its first bytes are still `request`, so that pynetdicom can be given it.
    address
        IPv4 in its own form also where it came over IPv6.
    request
        The whole A-ASSOCIATE-RQ PDU. Not yet decoded: only type and length are known to be right.
    tls_subject
        Subject of the verified certificate, None without one.
    """

    socket: _Socket
    address: str
    port: int
    request: bytes = field(repr=False)  # may hold a user identity with its password
    tls_subject: str | None = None


class NotARequestError(Exception):
    """What came is not the beginning of an A-ASSOCIATE-RQ that we take."""


def bytes_wanted(start: bytes) -> int:
    """Return how long the A-ASSOCIATE-RQ is that begins with `start`, or its header if `start` is shorter than that.

    Raises
    ------
    NotARequestError
        On another PDU type, or a length of less than 68 or more than 65536 bytes.
    """
    if start[:1] not in (b"", bytes([A_ASSOCIATE_RQ])):
        raise NotARequestError
    if len(start) < PDU_HEADER:
        return PDU_HEADER
    length = int.from_bytes(start[2:PDU_HEADER])
    if not _LEAST_LENGTH <= length <= _LONGEST_LENGTH:
        raise NotARequestError
    return PDU_HEADER + length


class Greeting(Protocol):
    """How the request of one connection is waited for."""

    socket: _Socket
    events: int
    is_woken_early: bool
    tls_subject: str | None

    def look(self) -> bytes | None:
        """Return the whole request, or None if more must come; never waits. EOFError if no more can."""


class PlainGreeting:
    """The request stays in the kernel, which tells when it is whole (SO_RCVLOWAT, Linux 4.18 and later).

    Linux enlarges the receive buffer for it: 65542 bytes in pieces of one byte were measured to get through.
    """

    events = _READ
    tls_subject: str | None = None

    def __init__(self, accepted: _Socket) -> None:
        self.socket = accepted
        self.is_woken_early = False
        self._woken_at = 1

    def look(self) -> bytes | None:
        wanted = bytes_wanted(start := self._peek(PDU_HEADER))
        if len(start) == PDU_HEADER and len(request := self._peek(wanted)) == wanted:
            self._wake_at(1)  # otherwise the owner's reads would wait for as many bytes again
            return request
        self.is_woken_early = wanted == self._woken_at
        self._wake_at(wanted)
        return None

    def _peek(self, most: int) -> bytes:
        try:
            data = self.socket.recv(most, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return b""
        if not data:
            raise EOFError
        return data

    def _wake_at(self, count: int) -> None:
        if count != self._woken_at:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, count)
            self._woken_at = count


class TlsGreeting:
    """Handshake and request, both without waiting; the request is given back to the socket at the end."""

    is_woken_early = False

    def __init__(self, accepted: _Socket, context: ssl.SSLContext) -> None:
        accepted.setblocking(False)
        wrapped = context.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False)
        assert isinstance(wrapped, UnreadSocket)
        self.socket: _Socket = wrapped
        self._tls_socket = wrapped
        self.events = _READ
        self.tls_subject: str | None = None
        self._is_shaken = False
        self._request = b""

    def look(self) -> bytes | None:
        try:
            self.events = _READ
            if not self._is_shaken:
                self._tls_socket.do_handshake()
                self._is_shaken = True
            while missing := bytes_wanted(self._request) - len(self._request):
                data = self.socket.recv(missing)
                if not data:
                    raise EOFError
                self._request += data
        except ssl.SSLWantReadError:
            return None
        except ssl.SSLWantWriteError:
            self.events = _WRITE
            return None
        self.tls_subject = subject_of(self._tls_socket)
        self.socket.setblocking(True)
        self._tls_socket.unread(self._request)
        return self._request
