"""Storage commitment: who asks whether instances are held is told so, once, after they were read again from disk.

A peer asks by N-ACTION and is told by N-EVENT-REPORT: over the association on which it asked, if that is still open,
else over one that we open to the address that the settings give for it (PS3.4 annex J). What is owed is a row of the
ledger before the request is answered, so that neither a restart nor a peer that is away for days loses a report.
"""

import contextlib
import logging
import math
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum

from pydicom.uid import ImplicitVRLittleEndian

from node import eventlog
from node.association.conformance import STORAGE_CLASSES, STORAGE_COMMITMENT
from node.association.register import Register
from node.association.telling import (
    CONNECT_TIMEOUT_S,
    SOP_INSTANCE,
    Channel,
    MuteError,
    Teller,
    Told,
    UnreachableError,
)
from node.dicom.encoded import MissingError, TooManyError
from node.dicom.identifiers import shown_title
from node.dicom.references import CommitmentRequest, FailureReason, Reference, read_request, report_of
from node.errors import DeliveryError, HeaderError, SpoolError, shown
from node.eventlog import Event
from node.ledger import Commitments, Owing
from node.records import CommitmentState, OwedReport
from node.settings import AssociationSettings, PeerSettings
from node.spool import SpoolReader

_REQUEST = 1  # Action Type ID: PS3.4 table J.3-1
_MOST_REFERENCES = 10_000  # of one request; chosen: a large MR study has 5,000 instances
LARGEST_REQUEST = 4 << 20  # bytes; 10,000 references have 1.9 MB at most
# Some peers release at once when their request is answered (Orthanc does): time for that, lest the two cross. Chosen.
_GRACE_S = 0.2
_FIRST_WAIT_S, _LONGEST_WAIT_S = 5.0, 600.0  # between attempts; chosen
_GIVE_UP_AFTER_S = 72 * 3600.0  # a weekend; chosen
_REMEMBERED_S = 30 * 86400.0  # that a Transaction UID is known after its report; chosen
_FORGET_EVERY_S = 86400.0
_LONGEST_PAUSE_S = 60.0  # of the loop: the clock may be set
_RETRY_AFTER_S = 1.0  # a turn that failed


class Status(IntEnum):
    """What an N-ACTION or N-EVENT-REPORT is answered with (PS3.7 sections 10.1.4.1.10, 10.1.1.1.8 and annex C)."""

    SUCCESS = 0x0000
    PROCESSING_FAILURE = 0x0110
    NO_SUCH_SOP_INSTANCE = 0x0112
    NO_SUCH_EVENT_TYPE = 0x0113
    INVALID_ARGUMENT_VALUE = 0x0115
    NO_SUCH_SOP_CLASS = 0x0118
    MISSING_ATTRIBUTE = 0x0120
    NO_SUCH_ACTION = 0x0123
    RESOURCE_LIMITATION = 0x0213


@dataclass(frozen=True, slots=True)
class Reply:
    """A status and the Error Comment (0000,0902) that goes with it, LO of at most 64 characters; "": none."""

    status: Status
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Action:
    """An N-ACTION-RQ, and the association by which it came."""

    sop_class: str
    sop_instance: str
    action_type: int
    information: bytes
    peer: str
    channel: Channel


@dataclass(frozen=True, slots=True)
class _Sent:
    """A report that was told, on how many instances, and to how many of them we do not commit."""

    told: Told
    instances: int
    failed: int


class StorageCommitment:
    """Takes requests, and hands the reports over in a thread of its own.

    Parameters
    ----------
    settings, peers
        Our AE title; who is reached where. Nothing that comes over the network names an address.
    register
        What is held.
    reader
        Reads it again.
    commitments
        What is owed.
    """

    def __init__(
        self,
        settings: AssociationSettings,
        peers: Sequence[PeerSettings],
        register: Register,
        reader: SpoolReader,
        commitments: Commitments,
    ) -> None:
        self._register, self._reader, self._commitments = register, reader, commitments
        self._asked_over: dict[int, Channel] = {}  # by the id of the request
        self._unanswered: dict[int, _Sent] = {}  # by the same: told over the association that asked, which goes on
        self._here = threading.local()
        self._answered: dict[int, float] = {}  # by the same: when its report is due, though the row says later
        self._turn = threading.Lock()
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._teller = Teller(settings.ae_title, peers, self._closing)
        self._thread = threading.Thread(target=self._run, daemon=True, name="storage-commitment")

    # ---------------------------------------------------------------- requests

    def take(self, action: Action, *, now: float) -> Reply:
        """Owe the report on a request, durably, and return the answer; `now` in seconds since 1970."""
        reply = self._take(action, now)
        if reply.status != Status.SUCCESS:
            eventlog.record(
                Event.COMMITMENT_REFUSED, logging.WARNING, peer=shown_title(action.peer), reason=f"'{reply.comment}'"
            )
        return reply

    def _take(self, action: Action, now: float) -> Reply:
        if action.sop_class != STORAGE_COMMITMENT:
            return Reply(Status.NO_SUCH_SOP_CLASS, "Only storage commitment has actions here")
        if action.sop_instance != SOP_INSTANCE:
            return Reply(Status.NO_SUCH_SOP_INSTANCE, "Not the well-known SOP Instance")
        if action.action_type != _REQUEST:
            return Reply(Status.NO_SUCH_ACTION, "Only Action Type 1 is known")
        if len(action.information) > LARGEST_REQUEST:
            return Reply(Status.RESOURCE_LIMITATION, "The request is too large")
        implicit = action.channel.transfer_syntax == ImplicitVRLittleEndian
        try:
            request = read_request(action.information, implicit=implicit, most=_MOST_REFERENCES)
        except MissingError as error:
            return Reply(Status.MISSING_ATTRIBUTE, str(error)[:64])
        except TooManyError as error:
            return Reply(Status.RESOURCE_LIMITATION, str(error)[:64])
        except HeaderError as error:
            return Reply(Status.INVALID_ARGUMENT_VALUE, str(error)[:64])
        try:
            owing, id_ = self._commitments.owe(request, action.peer, now=now, next_try_s=now + _FIRST_WAIT_S)
        except Exception as error:  # of the database; pynetdicom would log its text
            return Reply(Status.PROCESSING_FAILURE, f"The request could not be kept ({type(error).__name__})"[:64])
        match owing:
            case Owing.IN_USE:
                # Failure Reason 0x0131 would be told in a second report under this UID, which the peer could not tell
                # from the first; a UID may not be used for another transaction (PS3.4 section J.3.3.1.2).
                return Reply(Status.INVALID_ARGUMENT_VALUE, "The Transaction UID is in use for another request")
            case Owing.TOO_MANY:
                return Reply(Status.RESOURCE_LIMITATION, "Too many reports are owed")
            case Owing.NEW:
                eventlog.record(
                    Event.COMMITMENT_ASKED,
                    peer=shown_title(action.peer),
                    request=id_,
                    instances=len(request.references),
                )
            case Owing.KNOWN:
                pass
        self._asked_over[id_] = action.channel
        self._here.taken = id_
        return Reply(Status.SUCCESS)

    def answered(self, *, now: float) -> None:
        """Note that the answer to the request goes out that this thread has just taken: the report may follow."""
        id_ = self._here.__dict__.pop("taken", None)
        if id_ is not None:
            self._answered[id_] = now + _GRACE_S
            self._wake.set()

    # ---------------------------------------------------------------- reports

    def start(self) -> None:
        """Begin to hand over what is owed."""
        self._thread.start()

    def stop(self) -> None:
        """Hand nothing over any more; what is owed then is taken up at the next start."""
        self._closing.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout=2 * CONNECT_TIMEOUT_S)

    def run_once(self, *, now: float) -> int:
        """Hand over what is due, and return how many reports were taken; `now` in seconds since 1970."""
        with self._turn:
            return self._run_once(now)

    def _run_once(self, now: float) -> int:
        soon = [id_ for id_, due_s in list(self._answered.items()) if due_s <= now]
        owed = self._commitments.due(now=now, besides=soon)
        for id_ in soon:
            del self._answered[id_]
        out_of_reach: dict[str, DeliveryError] = {}  # by peer: known for this turn
        taken = sum(self._attempt_report(one, out_of_reach, now) for one in owed)
        for id_, channel in list(self._asked_over.items()):
            if not channel.association.is_established:
                self._asked_over.pop(id_, None)
        for id_, sent in list(self._unanswered.items()):
            if not sent.told.channel.association.is_established and sent.told.answers.empty():
                del self._unanswered[id_]
        return taken

    def _run(self) -> None:
        forget_at = time.monotonic()
        while not self._closing.is_set():
            if time.monotonic() >= forget_at:
                forget_at += _FORGET_EVERY_S
                self._attempt(lambda: self._commitments.forget(settled_before_s=time.time() - _REMEMBERED_S))
            self._wake.clear()
            if not (self._attempt(lambda: self.run_once(now=time.time())) and self._attempt(self._pause)):
                self._closing.wait(_RETRY_AFTER_S)

    def _pause(self) -> None:
        due_s = [*self._answered.values(), self._commitments.next_due_s() or math.inf]
        self._wake.wait(min(max(min(due_s) - time.time(), 0.0), _LONGEST_PAUSE_S))

    def _attempt(self, step: Callable[[], object]) -> bool:
        try:
            step()
        except Exception as error:  # the ledger's: what is owed stays owed
            eventlog.record(Event.LOOP_FAILED, logging.ERROR, loop="storage-commitment", error=type(error).__name__)
            return False
        return True

    def _attempt_report(self, owed: OwedReport, out_of_reach: dict[str, DeliveryError], now: float) -> bool:
        """Hand a report over, and return whether its peer took it; a peer is waited for once a turn."""
        try:
            known = out_of_reach.get(owed.peer)
            if isinstance(known, MuteError) or (known and self._where_asked(owed) is None):
                raise known
            self._report(owed, now)
        except Exception as error:  # none may hold up the others; what the ledger refuses, `_postpone` raises again
            if isinstance(error, UnreachableError | MuteError):
                out_of_reach[owed.peer] = error
            self._postpone(owed, shown(error), now)
            return False
        return True

    def _report(self, owed: OwedReport, now: float) -> None:
        """Look at the instances now, tell the peer, and note its answer; DeliveryError if there is none.

        A refusal is noted as well, and is no reason to try again: the peer has been told, and would refuse the same
        report tomorrow.
        """
        sent, status = self._tell(owed)
        sent.told.forget()
        self._commitments.settle(owed.id, CommitmentState.REPORTED, f"0x{status:04X}", now=now)
        eventlog.record(
            Event.COMMITMENT_REPORTED, logging.INFO if status == 0 else logging.WARNING, peer=shown_title(owed.peer),
            request=owed.id, instances=sent.instances, failed=sent.failed, status=f"0x{status:04X}",
        )  # fmt: skip

    def _tell(self, owed: OwedReport) -> tuple[_Sent, int]:
        """Return what was told, and the peer's answer: where it was asked for, else over an association of ours.

        While the association that asked goes on, its peer is not told again: the answer may still come.
        """
        sent = self._unanswered.get(owed.id)
        if sent is not None:
            if sent.told.channel.association.is_established and sent.told.answers.empty():
                raise MuteError("the peer has not answered the report yet")
            del self._unanswered[owed.id]
            with contextlib.suppress(queue.Empty):
                return sent, sent.told.answers.get_nowait()
        request = self._commitments.request(owed.id)
        reasons = [self.reason_against(one) for one in request.references]  # before there is a peer that waits
        channel = self._where_asked(owed)
        if channel is not None:
            del self._asked_over[owed.id]
            sent = self._sent(owed, channel, request, reasons)
            try:
                return sent, self._teller.answer(sent.told)
            except MuteError:
                if channel.association.is_established:
                    self._unanswered[owed.id] = sent
                    raise
        with self._teller.associated(owed.peer) as channel:
            sent = self._sent(owed, channel, request, reasons)
            return sent, self._teller.answer(sent.told)

    def _where_asked(self, owed: OwedReport) -> Channel | None:
        """Return the association on which a report was asked for, if it is still there."""
        channel = self._asked_over.get(owed.id)
        return channel if channel is not None and channel.association.is_established else None

    def reason_against(self, reference: Reference) -> FailureReason | None:
        """Return why we do not commit to an instance; None if its bytes on disk are what was received."""
        if self._closing.is_set():
            raise DeliveryError("the node stops")
        versions = self._register.versions(reference.sop_instance)
        if not versions:
            known = reference.sop_class in STORAGE_CLASSES
            return FailureReason.NO_SUCH_OBJECT_INSTANCE if known else FailureReason.SOP_CLASS_NOT_SUPPORTED
        if len(versions) > 1:
            # Several contents: which of them the peer means, its reference does not say, and which of them counts is
            # an operator's to decide. A peer that is told so keeps its own.
            return FailureReason.PROCESSING_FAILURE
        try:
            header, _ = self._reader.read_record(versions[0].place, from_disk=True)
        except SpoolError:
            eventlog.record(Event.RECORD_DAMAGED, logging.ERROR, segment=versions[0].place.segment)
            return FailureReason.PROCESSING_FAILURE
        if header.origin.sop_instance != reference.sop_instance:
            return FailureReason.PROCESSING_FAILURE
        if header.origin.sop_class != reference.sop_class:
            return FailureReason.CLASS_INSTANCE_CONFLICT
        return None

    def _sent(
        self, owed: OwedReport, channel: Channel, request: CommitmentRequest, reasons: Sequence[FailureReason | None]
    ) -> _Sent:
        def heard() -> None:
            self._answered[owed.id] = 0.0  # if nobody waits any more, it is for the next turn, now
            self._wake.set()

        told = self._teller.tell(channel, *report_of(request, reasons), heard)
        return _Sent(told, len(reasons), sum(one is not None for one in reasons))

    def _postpone(self, owed: OwedReport, reason: str, now: float) -> None:
        if self._closing.is_set():  # no fault of the peer
            return
        peer, attempt = shown_title(owed.peer), owed.attempts + 1
        if now - owed.requested_s >= _GIVE_UP_AFTER_S:
            self._commitments.settle(owed.id, CommitmentState.ABANDONED, reason, now=now)
            eventlog.record(
                Event.COMMITMENT_ABANDONED, logging.ERROR, peer=peer, request=owed.id, attempts=attempt,
                reason=f"'{reason}'",
            )  # fmt: skip
            return
        wait_s = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2 ** min(owed.attempts, 16))
        self._commitments.postpone(owed.id, reason, next_try_s=now + wait_s)
        eventlog.record(
            Event.COMMITMENT_POSTPONED, logging.WARNING, peer=peer, request=owed.id, attempt=attempt,
            reason=f"'{reason}'",
        )  # fmt: skip
