"""Intake: what becomes of an instance that a C-STORE brings, whichever lane it comes by."""

import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

from node import eventlog
from node.association.register import Register
from node.dicom import part10
from node.dicom.identifiers import is_uid, shown_title
from node.dicom.routing import HeadTooShort, Routing, read_routing
from node.errors import HeaderError, SpoolError, SpoolFullError
from node.eventlog import Event, alias
from node.records import Origin
from node.settings import AssociationSettings
from node.spool import Recording, Spool


class Status(IntEnum):
    """What we answer (PS3.4 table B.2-1; PS3.7 annex C)."""

    SUCCESS = 0x0000
    PROCESSING_FAILURE = 0x0110
    SOP_CLASS_NOT_SUPPORTED = 0x0122
    UNRECOGNIZED_OPERATION = 0x0211
    OUT_OF_RESOURCES = 0xA700
    DOES_NOT_MATCH_SOP_CLASS = 0xA900
    CANNOT_UNDERSTAND = 0xC000
    CONTRADICTS = 0xC001
    COERCION_OF_DATA_ELEMENTS = 0xB000  # a warning: stored. None says just what is the matter; the Error Comment does


@dataclass(frozen=True, slots=True)
class Answer:
    """A status and the Error Comment (0000,0902) that goes with it, LO of at most 64 characters; "": none."""

    status: Status
    comment: str = ""


_SUCCESS = Answer(Status.SUCCESS)


@dataclass(frozen=True, slots=True)
class StoreRequest:
    """What a C-STORE-RQ and its association say of the instance to come."""

    sop_class: str
    sop_instance: str
    transfer_syntax: str
    calling_ae: str
    called_ae: str
    address: str


class Intake:
    """Takes instances in.

    Parameters
    ----------
    spool, register
        Where an instance becomes durable, and where it is known from then on.
    """

    def __init__(self, settings: AssociationSettings, spool: Spool, register: Register) -> None:
        self.spool, self.register = spool, register
        self.largest = settings.max_instance_mb << 20
        if settings.on_conflict == "warn":
            self.contradiction = Answer(
                Status.COERCION_OF_DATA_ELEMENTS, "Held, but contradicts an instance of the same UID"
            )
        else:
            self.contradiction = Answer(Status.CONTRADICTS, "Another content is held under this SOP Instance UID")

    def begin(self, request: StoreRequest) -> "Incoming":
        """Return the instance that a request announces; what is wrong with it, `finish` will say."""
        return Incoming(self, request)


class Incoming:
    """One instance while it arrives: `add` its data set piece by piece, then `finish`.

    Pieces are not copied: call `flush` before their memory is used again. Whoever does not come to `finish` must
    `drop` it. Once it is refused the rest is dropped as it comes, so that the answer finds its request.
    """

    def __init__(self, intake: Intake, request: StoreRequest) -> None:
        self._intake, self._request = intake, request
        self._recording: Recording | None = None
        self._routing: Routing | None = None
        self._refusal: Answer | None = None
        self._head_length = 0
        self._looked = False
        self._attempt(self._begin)

    def drop(self) -> None:
        """Forget it, unless it is finished."""
        if self._recording is not None:
            self._recording.abandon()
            self._recording = None

    @property
    def too_large(self) -> bool:
        """Whether it has grown past what is configured."""
        return self._recording is not None and self._recording.length > self._intake.largest

    def add(self, piece: bytes | memoryview) -> None:
        """Take the next bytes of the data set."""
        if self._recording is not None:
            self._attempt(lambda: self._add(piece))

    def flush(self) -> None:
        """Write out what was added: its memory may be used again."""
        if self._recording is not None:
            self._attempt(self._recording.flush)

    def finish(self) -> Answer:
        """Make the instance durable, unless it is held already, and return the answer: only then is it ours."""
        if self._recording is not None:
            self._attempt(self._finish)
        return self._refusal or _SUCCESS

    def _begin(self) -> None:
        for uid in (self._request.sop_class, self._request.sop_instance):
            if not is_uid(uid):
                raise HeaderError("A UID of the command is missing or malformed")
        self._intake.register.require_room()
        self._recording = self._intake.spool.begin()
        head = part10.head(self._request.sop_class, self._request.sop_instance, self._request.transfer_syntax)
        self._head_length = len(head)
        self._recording.add(head)

    def _add(self, piece: bytes | memoryview) -> None:
        assert self._recording is not None
        self._recording.add(piece)
        if not self._looked:  # the first bytes nearly always hold all of it
            self._looked = True
            with contextlib.suppress(HeadTooShort):  # then `_finish` looks at all of it
                self._check(read_routing(piece, self._request.transfer_syntax, whole=False))

    def _check(self, routing: Routing) -> None:
        if (routing.sop_class, routing.sop_instance) != (self._request.sop_class, self._request.sop_instance):
            raise _MismatchError
        self._routing = routing

    def _finish(self) -> None:
        recording, request, register = self._recording, self._request, self._intake.register
        assert recording is not None
        if self._routing is None:
            data_set = recording.view()[self._head_length :]
            self._check(read_routing(data_set, request.transfer_syntax, whole=True))
        routing = self._routing
        assert routing is not None
        with register.claim(request.sop_instance) as versions:
            if versions:
                data_set = recording.view()[self._head_length :]
                same = register.find(versions, request.transfer_syntax, data_set)
                if same is not None:
                    register.note_repeat(routing.study, routing.series)
                    self._note(Event.INSTANCE_REPEATED)
                    self._refuse(self._intake.contradiction if same.contradicts else None)
                    return
            recording.commit(
                self._origin(routing),
                head_length=self._head_length,
                now=time.time(),
                enter=lambda header: register.enter(header, contradicts=bool(versions)),
            )
        self._recording = None
        if versions:
            eventlog.record(
                Event.INSTANCE_CONTRADICTS, logging.ERROR, instance=alias(request.sop_instance),
                peer=shown_title(request.calling_ae),
            )  # fmt: skip
            self._refusal = self._intake.contradiction
        else:
            self._note(Event.INSTANCE_STORED)

    def _origin(self, routing: Routing) -> Origin:
        request = self._request
        return Origin(
            request.transfer_syntax, routing.sop_class, routing.sop_instance, routing.study, routing.series,
            routing.patient_id,
            routing.issuer, request.calling_ae, request.called_ae, request.address,
        )  # fmt: skip

    def _note(self, event: Event) -> None:
        if eventlog.listens(logging.DEBUG):
            eventlog.record(event, logging.DEBUG, instance=alias(self._request.sop_instance))

    def _refuse(self, answer: Answer | None) -> None:
        self.drop()
        self._refusal = answer

    def _attempt(self, step: Callable[[], None]) -> None:
        """Run a step; what it raises becomes the answer, with our own words, and is written down."""
        try:
            step()
        except Exception as error:
            answer, reason = _answer_to(error)
            level = logging.WARNING if isinstance(error, HeaderError) else logging.ERROR  # the peer's fault, or ours
            eventlog.record(
                Event.INSTANCE_REFUSED, level, reason=f"'{reason}'", peer=shown_title(self._request.calling_ae)
            )
            self._refuse(answer)


class _MismatchError(HeaderError):
    """Command and data set name different instances."""


def _answer_to(error: Exception) -> tuple[Answer, str]:
    """Return what a peer is told, and what the log says."""
    match error:
        case _MismatchError():
            text = "SOP Class or Instance UID of command and data set differ"
            return Answer(Status.DOES_NOT_MATCH_SOP_CLASS, text), text
        case HeaderError():
            return Answer(Status.CANNOT_UNDERSTAND, str(error)[:64]), str(error)
        case SpoolFullError():
            return Answer(Status.OUT_OF_RESOURCES, str(error).capitalize()[:64]), str(error)
        case SpoolError():
            return Answer(Status.OUT_OF_RESOURCES, "The disk of the node refuses"), str(error)
        case _:
            return Answer(Status.PROCESSING_FAILURE, "The instance could not be stored"), type(error).__name__
