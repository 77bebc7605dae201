"""The bulk lane: C-STORE and C-ECHO of one association, from the socket to the spool.

One blocking loop in one thread. P-DATA is taken apart where it lies in the buffer, slices of it go to the segment,
nothing is decoded but the command set and the routing elements. What every step means is in PS3.8 section 9.3 (PDUs)
and annex E (fragments), and in PS3.7 section 9.3 (messages).
"""

import contextlib
from dataclasses import dataclass

from node.association.admission import Caller
from node.association.commands import LARGEST_COMMAND, Command, Field
from node.association.intake import Answer, Incoming, Intake, Status, StoreRequest
from node.association.negotiation import Context
from node.association.wire import (
    A_ABORT,
    A_RELEASE_RP,
    A_RELEASE_RQ,
    P_DATA_TF,
    PDV_HEADER,
    AbortReason,
    ConnectionEndedError,
    Wire,
    a_abort,
    p_data,
)
from node.errors import HeaderError, NodeError

_COMMAND, _LAST = 0x01, 0x02  # bits of the message control header: PS3.8 annex E.2
_LEAST_PDV = 2  # bytes that the item length counts before the fragment: context ID and control header
_ITEM_LENGTH = 4
_UNRECOGNIZED = Answer(Status.UNRECOGNIZED_OPERATION, "Only C-STORE and C-ECHO are served here")


class _ProtocolError(NodeError):
    """The peer broke the protocol: the association is aborted."""

    def __init__(self, reason: AbortReason, text: str) -> None:
        super().__init__(text)
        self.reason = reason


@dataclass(slots=True)
class Tally:
    """What came over an association, and how it ended."""

    instances: int = 0
    refused: int = 0
    octets: int = 0
    ended: str = "released"


class Lane:
    """Serves one association.

    Parameters
    ----------
    wire : Wire
        Behind the A-ASSOCIATE-AC.
    contexts : dict
        The accepted presentation contexts by ID.
    largest_pdu : int
        What was announced: bytes of a P-DATA-TF PDU after its header.
    """

    def __init__(
        self, wire: Wire, contexts: dict[int, Context], intake: Intake, caller: Caller, *, largest_pdu: int
    ) -> None:
        self._wire, self._contexts, self._intake, self._caller = wire, contexts, intake, caller
        self._largest_pdu = largest_pdu
        self._command_fragments = bytearray()
        self._command: Command | None = None  # of which the data set is awaited
        self._context = 0  # of the message in progress
        self._incoming: Incoming | None = None  # where that data set goes; without it, nowhere
        self.tally = Tally()

    def serve(self) -> None:
        """Answer until the peer releases or aborts the association, goes away, or breaks the protocol."""
        try:
            while self._pdu():
                pass
        except ConnectionEndedError as error:
            self.tally.ended = error.why
            self._abort(AbortReason.NOT_SPECIFIED)
        except _ProtocolError as error:
            self.tally.ended = str(error)
            self._abort(error.reason)
        finally:
            self._drop()

    def _abort(self, reason: AbortReason) -> None:
        with contextlib.suppress(ConnectionEndedError):  # nobody is left to hear it
            self._wire.send(a_abort(reason))

    # ---------------------------------------------------------------- PS3.8: PDUs and PDVs

    def _pdu(self) -> bool:
        """Take one PDU, and return whether another may follow (PS3.8 table 9-10, state Sta6)."""
        kind, length = self._wire.pdu_header()
        match kind:
            case _ if kind == P_DATA_TF:
                self._p_data(length)
                return True
            case _ if kind == A_RELEASE_RQ:
                if self._command is not None:
                    self.tally.ended = "released within a message"
                self._wire.send(A_RELEASE_RP)  # AR-2 and AR-4 in one (PS3.8 sections 9.3.6, 9.3.7)
            case _ if kind == A_ABORT:
                self.tally.ended = "aborted by the peer"
            case 0x01 | 0x02 | 0x03 | 0x06:  # A-ASSOCIATE-RQ, -AC, -RJ, A-RELEASE-RP: AA-8, as what follows
                raise _ProtocolError(AbortReason.UNEXPECTED_PDU, "PDU that does not belong here")
            case _:
                raise _ProtocolError(AbortReason.UNRECOGNIZED_PDU, "PDU of an unknown type")
        return False

    def _p_data(self, left: int) -> None:
        """Take a P-DATA-TF PDU: one or more presentation data values (PS3.8 sections 9.3.5, 9.3.5.1, D.1)."""
        if left > self._largest_pdu:
            raise _ProtocolError(AbortReason.INVALID_PARAMETER, "PDU longer than negotiated")
        while left:
            if left < PDV_HEADER:
                raise _ProtocolError(AbortReason.INVALID_PARAMETER, "PDU that ends within a PDV header")
            length, context, control = self._wire.pdv_header()
            if not _LEAST_PDV <= length <= left - _ITEM_LENGTH:
                raise _ProtocolError(AbortReason.INVALID_PARAMETER, "PDV longer than its PDU")
            left -= _ITEM_LENGTH + length
            if context not in self._contexts:
                raise _ProtocolError(
                    AbortReason.INVALID_PARAMETER, "PDV of a presentation context that was not accepted"
                )
            if control & _COMMAND:
                self._command_fragment(context, self._wire.take(length - _LEAST_PDV), last=bool(control & _LAST))
            else:
                self._data_fragment(context, length - _LEAST_PDV, last=bool(control & _LAST))

    # ---------------------------------------------------------------- PS3.7: messages

    def _command_fragment(self, context: int, fragment: bytes, *, last: bool) -> None:
        """Take a piece of a command set: all in one context, none of two messages at a time (PS3.8 annex E.1)."""
        if self._command is not None:
            raise _ProtocolError(AbortReason.INVALID_PARAMETER, "command where a data set was due")
        if not self._command_fragments:
            self._context = context
        if context != self._context or len(self._command_fragments) + len(fragment) > LARGEST_COMMAND:
            raise _ProtocolError(AbortReason.INVALID_PARAMETER, "command set in two contexts, or too long")
        self._command_fragments += fragment
        if last:
            encoded, self._command_fragments = bytes(self._command_fragments), bytearray()
            try:
                self._begin(Command(encoded))
            except HeaderError as error:
                raise _ProtocolError(AbortReason.INVALID_PARAMETER, str(error)) from error

    def _begin(self, command: Command) -> None:
        """Begin with a request: at once, or when its data set has come."""
        if command.has_data_set:
            self._command = command
            if command.field == Field.C_STORE_RQ and self._fits(command):
                self._incoming = self._intake.begin(self._store_request(command))
                self._wire.before_reuse = self._incoming.flush
        else:
            self._answer(command, self._without_data_set(command))

    def _without_data_set(self, command: Command) -> Answer | None:
        match command.field:
            case Field.C_ECHO_RQ:
                return Answer(Status.SUCCESS)
            case Field.C_CANCEL_RQ:
                return None  # too late for whatever it meant (PS3.7 section 9.3.2.3)
            case Field.C_STORE_RQ:
                return Answer(Status.CANNOT_UNDERSTAND, "A C-STORE without a data set")
            case _:
                return _UNRECOGNIZED

    def _data_fragment(self, context: int, length: int, *, last: bool) -> None:
        """Take a piece of a data set, in the context of its command and behind it (PS3.8 annexes E.1, E.2)."""
        if self._command is None or context != self._context:
            raise _ProtocolError(AbortReason.INVALID_PARAMETER, "data set without its command")
        incoming = self._incoming
        while length:
            piece = self._wire.some(length)
            length -= len(piece)
            self.tally.octets += len(piece)
            if incoming is not None:
                incoming.add(piece)
        if incoming is not None and incoming.too_large:
            raise _ProtocolError(AbortReason.NOT_SPECIFIED, "instance larger than configured")
        if last:
            command = self._command
            if incoming is not None:
                answer = incoming.finish()
            elif command.field == Field.C_STORE_RQ:
                answer = Answer(Status.SOP_CLASS_NOT_SUPPORTED, "Another SOP Class than the presentation context's")
            else:
                answer = _UNRECOGNIZED
            self._drop()
            self._answer(command, answer)

    def _fits(self, command: Command) -> bool:
        return command.sop_class == self._contexts[self._context].abstract_syntax

    def _store_request(self, command: Command) -> StoreRequest:
        caller = self._caller
        return StoreRequest(
            command.sop_class, command.sop_instance, self._contexts[self._context].transfer_syntax,
            caller.calling_ae, caller.called_ae, caller.address,
        )  # fmt: skip

    def _drop(self) -> None:
        """Forget the message in progress; of an instance that is not finished nothing stays."""
        if self._incoming is not None:
            self._incoming.drop()
        self._incoming = self._command = None
        self._wire.before_reuse = _nothing

    def _answer(self, command: Command, answer: Answer | None) -> None:
        self._wire.message_ended()
        if answer is None:
            return
        if command.field == Field.C_STORE_RQ:
            taken = answer.status in (Status.SUCCESS, Status.COERCION_OF_DATA_ELEMENTS)
            self.tally.instances += taken
            self.tally.refused += not taken
        self._wire.send(p_data(self._context, command.response(answer.status, answer.comment)))


def _nothing() -> None:
    """Nothing points into the buffer."""
