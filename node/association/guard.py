"""The guard of the careful lane: the limits that pynetdicom does not set to a peer.

pynetdicom waits without end for the rest of a PDU of any announced length, and keeps what it reads. So it gets a socket
that looks at the PDUs as they pass (PS3.8 section 9.3), and each fragment of a message is looked at before it sees it
(annex E). Whoever breaks a limit is told so by pynetdicom's own state machine, for only that may write to the socket.
"""

import contextlib
import functools
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

from pynetdicom.association import Association
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.pdu_primitives import P_DATA

from node.association.commands import LARGEST_COMMAND
from node.association.commitment import LARGEST_REQUEST
from node.association.intake import Intake
from node.association.lane import Tally
from node.association.wire import A_ABORT, P_DATA_TF, PACE_S, PDU, PDU_HEADER
from node.errors import NodeError, SpoolFullError
from node.settings import AssociationSettings

_COMMAND = 0x01  # of the message control header: PS3.8 annex E.2
# PS3.8 tables 9-1 to 9-10: the event is answered with A-ABORT in every state but this
_INVALID_PDU, _NO_ASSOCIATION = "Evt19", "Sta1"
_LONGEST_OTHER = 65536  # bytes of a PDU that is no P-DATA-TF, as at the gate
_MOST_WAITING = 4  # messages that are not begun with: we agreed to one operation at a time. Chosen
_ROOM_EVERY = 4 << 20  # bytes of an instance, before each of which the disk is asked; chosen
_LOOK_EVERY_S = 0.25  # chosen
_GRACE_S = 1.0  # in which pynetdicom can end an association by itself; chosen
_UNEXPLAINED = "aborted by the node"


class _BrokenError(NodeError):
    """The peer broke the protocol, or a limit."""


class Guard:
    """Watches one association that pynetdicom serves.

    Parameters
    ----------
    connected : socket
        Blocking; also over TLS. pynetdicom is to get `socket` in its place, which it can neither shut nor close: who
        owns the connection does that, when the peer had time to read our last word.
    """

    def __init__(self, connected: socket.socket, settings: AssociationSettings, intake: Intake) -> None:
        self.connected = connected
        self.socket = _WatchedSocket(connected, self._passed)
        self.tally = Tally(ended=_UNEXPLAINED)
        self.without_room: dict[int, str] = {}  # by Message ID: why of a C-STORE the data set was dropped
        self._settings, self._intake = settings, intake
        self._pace_s = min(PACE_S, settings.idle_timeout_s)
        self._header, self._left = bytearray(), 0  # of the PDU in progress
        self._command_size = self._data_size = 0  # of the message in progress
        self._dropping = False
        self._arrived = self._counted = 0  # bytes in all; of these when the pace was last looked at
        self._since = self._heard = time.monotonic()
        self._answering = False
        self._ended: float | None = None

    def watch(self, association: Association) -> None:
        """See every fragment of an association, which must not have begun, before pynetdicom does."""
        self._association, self._dimse = association, association.dimse
        self._forward: Callable[[P_DATA], None] = association.dimse.receive_primitive
        association.dimse.receive_primitive = self._received  # type: ignore[method-assign]

    @property
    def peer(self) -> str:
        """The calling AE title."""
        return str(self._association.requestor.ae_title)

    def wait(self) -> Tally:
        """Return what came over the association when it has ended; until then enforce what time decides."""
        while self._association.is_alive():
            self._association.join(_LOOK_EVERY_S)
            self._look(time.monotonic())
        if self._association.is_released:
            self.tally.ended = "released"
        return self.tally

    def end(self, why: str) -> None:
        """Abort the association, from any thread."""
        self._end(why)
        self._shut(socket.SHUT_RD)  # pynetdicom waits for the peer no longer, and can still tell it

    @contextlib.contextmanager
    def answering(self) -> Iterator[None]:
        """Do not count it as silence of the peer while we make an answer."""
        self._answering = True
        try:
            yield
        finally:
            self._heard, self._answering = time.monotonic(), False

    def _end(self, why: str) -> None:
        if self._ended is None:
            self._ended, self.tally.ended = time.monotonic(), why
            dul = self._association.dul
            if dul.state_machine.current_state != _NO_ASSOCIATION:
                dul.event_queue.put(_INVALID_PDU)

    def _shut(self, how: int) -> None:
        with contextlib.suppress(OSError):  # gone already
            # Not the method of SSLSocket: it drops the TLS layer, and the A-ABORT would go out in the clear.
            socket.socket.shutdown(self.connected, how)

    # ---------------------------------------------------------------- time

    def _look(self, now: float) -> None:
        settings = self._settings
        if self._ended is not None:
            if now - self._ended >= _GRACE_S:
                self._shut(socket.SHUT_RDWR)
        elif not self._header and not self._left and self._dimse.message is None:  # between messages
            self._since, self._counted = now, self._arrived
            if not self._answering and now - self._heard >= settings.idle_timeout_s:
                self.end("silent for too long")
        elif now - self._since >= self._pace_s:
            if self._arrived - self._counted < settings.slowest_bytes_per_s * (now - self._since):
                self.end("too slow")
            self._since, self._counted = now, self._arrived

    # ---------------------------------------------------------------- PDUs, in the thread of pynetdicom that reads

    def _passed(self, data: bytes) -> bytes:
        """Return what pynetdicom may have of what was received: all, or once it is ended nothing, as of a peer gone."""
        if not data and self.tally.ended == _UNEXPLAINED:
            self.tally.ended = "connection closed"
        self._heard = time.monotonic()
        self._arrived += len(data)
        at = 0
        while at < len(data) and self._ended is None:
            if self._left:
                step = min(self._left, len(data) - at)
                self._left -= step
            else:
                step = min(PDU_HEADER - len(self._header), len(data) - at)
                self._header += data[at : at + step]
                if len(self._header) == PDU_HEADER:
                    self._begin(*PDU.unpack(self._header))
                    self._header.clear()
            at += step
        return b"" if self._ended is not None else data

    def _begin(self, kind: int, length: int) -> None:
        if length > (self._settings.max_pdu_bytes if kind == P_DATA_TF else _LONGEST_OTHER):
            self._end("PDU longer than negotiated")
        elif kind == A_ABORT:
            self.tally.ended = "aborted by the peer"
        self._left = length

    # ---------------------------------------------------------------- fragments, in the same thread

    def _received(self, primitive: P_DATA) -> None:
        """Give pynetdicom one fragment at a time: of a PDU with two messages it would take only the first."""
        for context, fragment in primitive.presentation_data_value_list:
            if self._ended is not None:
                return
            try:
                self._check(context, fragment)
                one: Any = P_DATA()
                one.presentation_data_value_list = [[context, fragment[:1] if self._dropping else fragment]]
                self._forward(one)
            except _BrokenError as error:
                self._end(str(error))
            except Exception as error:  # of many kinds, where a command set is none, and their texts quote it
                self._end(f"message that cannot be read ({type(error).__name__})")

    def _check(self, context: int, fragment: bytes) -> None:
        message: Any = self._dimse.message
        has_command = message is not None and message.context_id is not None
        if context not in self._accepted:
            raise _BrokenError("PDV of a presentation context that was not accepted")
        if not fragment[0] & _COMMAND:
            if not has_command or context != message.context_id:
                raise _BrokenError("data set without its command")
            self._check_data(message, len(fragment) - 1)
            return
        if has_command:
            raise _BrokenError("command where a data set was due")
        if message is None:
            self._command_size = self._data_size = 0
            self._dropping = False
            if self._dimse.msg_queue.qsize() >= _MOST_WAITING:
                raise _BrokenError("too many requests before their answers")
        self._command_size += len(fragment) - 1
        if self._command_size > LARGEST_COMMAND:
            raise _BrokenError("command set too long")

    @functools.cached_property
    def _accepted(self) -> frozenset[int | None]:
        """The IDs of the accepted presentation contexts; they stand when the first fragment comes."""
        return frozenset(one.context_id for one in self._association.accepted_contexts)

    def _check_data(self, message: Any, length: int) -> None:
        """Take note of a piece of a data set; if the whole is to be refused, what follows is dropped as it comes."""
        before, self._data_size = self._data_size, self._data_size + length
        self.tally.octets += length
        if self._data_size > self._intake.largest:
            raise _BrokenError("instance larger than configured")
        if not isinstance(message, C_STORE_RQ):  # of these pynetdicom keeps the data set in memory
            self._dropping = before > LARGEST_REQUEST  # so that who takes the rest sees that it is too large
        elif not before or before // _ROOM_EVERY != self._data_size // _ROOM_EVERY:
            try:
                self._intake.spool.require_space(_ROOM_EVERY)
            except SpoolFullError as error:
                self.without_room[int(message.command_set.MessageID)] = str(error)
                self._dropping = True


class _WatchedSocket:
    """A socket, as far as pynetdicom uses one, of which is seen what it receives."""

    def __init__(self, connected: socket.socket, passed: Callable[[bytes], bytes]) -> None:
        self._connected: Any = connected
        self._passed = passed

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        """What it stands for: pynetdicom asks `pending` only of what is an instance of SSLSocket."""
        return type(self._connected)

    def fileno(self) -> int:
        return int(self._connected.fileno())

    def pending(self) -> int:
        return int(self._connected.pending())

    def recv(self, most: int) -> bytes:
        try:
            data = self._connected.recv(most)
        except OSError:
            data = b""
        return self._passed(data)

    def send(self, data: bytes) -> int:
        return int(self._connected.send(data))

    def shutdown(self, how: int) -> None: ...

    def close(self) -> None: ...
