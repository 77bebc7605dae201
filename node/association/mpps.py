"""Modality Performed Procedure Step: a scanner says that it works at a study, and at the end what it has made.

Of the step nothing is kept but UIDs, its state and how many instances of which series there are: what completion wants
to know. It is durable before the request is answered (PS3.4 annex F.7).
"""

import logging
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

from pydicom.uid import ImplicitVRLittleEndian

from node import eventlog
from node.association.commitment import LARGEST_REQUEST
from node.association.conformance import PROCEDURE_STEP
from node.dicom.encoded import MissingError, TooManyError
from node.dicom.identifiers import is_uid, shown_title
from node.dicom.performed import PerformedStep, StepState, read_step
from node.errors import HeaderError
from node.eventlog import Event, alias
from node.ledger import Expectations, Noted

MAY_NO_LONGER_BE_UPDATED = 0xA710  # Error ID (0000,0903): PS3.4 section F.7.2.2.4
_MOST_INSTANCES = 30_000  # of one step; chosen: six times a large study


class Status(IntEnum):
    """What N-CREATE and N-SET are answered with (PS3.7 annex C, PS3.4 sections F.7.2.1.3, F.7.2.2.3)."""

    SUCCESS = 0x0000
    INVALID_ATTRIBUTE_VALUE = 0x0106
    PROCESSING_FAILURE = 0x0110
    DUPLICATE_SOP_INSTANCE = 0x0111
    NO_SUCH_SOP_INSTANCE = 0x0112
    INVALID_OBJECT_INSTANCE = 0x0117
    NO_SUCH_SOP_CLASS = 0x0118
    MISSING_ATTRIBUTE = 0x0120
    RESOURCE_LIMITATION = 0x0213


@dataclass(frozen=True, slots=True)
class Reply:
    """A status, the Error Comment (0000,0902) and the Error ID (0000,0903) that go with it, and the step's UID."""

    status: Status
    comment: str = ""
    error_id: int | None = None
    sop_instance: str = ""


@dataclass(frozen=True, slots=True)
class StepRequest:
    """An N-CREATE-RQ or N-SET-RQ; `sop_instance` is "" where the request leaves it to us."""

    sop_class: str
    sop_instance: str
    transfer_syntax: str
    data_set: bytes
    peer: str


_Act = Callable[[StepRequest, PerformedStep, float], Reply]


class ProcedureSteps:
    """Takes requests about performed procedure steps; safe to call from many threads.

    Parameters
    ----------
    expectations
        Where they are noted.
    """

    def __init__(self, expectations: Expectations) -> None:
        self._expectations = expectations

    def create(self, request: StepRequest, *, now: float) -> Reply:
        """Begin a step; `now` in seconds since 1970."""
        return self._answer(request, now, self._create)

    def change(self, request: StepRequest, *, now: float) -> Reply:
        """Change a step, or end it."""
        return self._answer(request, now, self._change)

    def _answer(self, request: StepRequest, now: float, act: _Act) -> Reply:
        """Read a request and act on it; whatever goes wrong becomes the answer, in our own words."""
        try:
            reply = self._act(request, now, act)
        except Exception as error:  # of the database; pynetdicom would log its text
            reply = Reply(Status.PROCESSING_FAILURE, f"The step could not be kept ({type(error).__name__})")
        if reply.status != Status.SUCCESS:
            eventlog.record(
                Event.STEP_REFUSED, logging.WARNING, peer=shown_title(request.peer), reason=f"'{reply.comment}'"
            )
        return reply

    def _act(self, request: StepRequest, now: float, act: _Act) -> Reply:
        if request.sop_class != PROCEDURE_STEP:
            return Reply(Status.NO_SUCH_SOP_CLASS, "Another SOP Class than the presentation context's")
        if request.sop_instance and not is_uid(request.sop_instance):
            return Reply(Status.INVALID_OBJECT_INSTANCE, "The SOP Instance UID is malformed")
        if len(request.data_set) > LARGEST_REQUEST:
            return Reply(Status.RESOURCE_LIMITATION, "The request is too large")
        implicit = request.transfer_syntax == ImplicitVRLittleEndian
        try:
            return act(request, read_step(request.data_set, implicit=implicit, most=_MOST_INSTANCES), now)
        except MissingError as error:
            return Reply(Status.MISSING_ATTRIBUTE, str(error))
        except TooManyError as error:
            return Reply(Status.RESOURCE_LIMITATION, str(error))
        except HeaderError as error:
            return Reply(Status.INVALID_ATTRIBUTE_VALUE, str(error))

    def _create(self, request: StepRequest, step: PerformedStep, now: float) -> Reply:
        if step.state is None:
            raise MissingError("Performed Procedure Step Status is missing")
        if step.state is not StepState.IN_PROGRESS:
            return Reply(Status.INVALID_ATTRIBUTE_VALUE, "A step begins with the status IN PROGRESS")
        if not step.studies:
            raise MissingError("Study Instance UID of the scheduled step is missing")
        sop_instance = request.sop_instance or f"2.25.{uuid.uuid4().int}"  # PS3.7 section 10.1.5.1.4: then we name it
        noted = self._expectations.begin_step(sop_instance, step, calling_ae=request.peer, now=now)
        if noted is Noted.EXISTS:
            return Reply(Status.DUPLICATE_SOP_INSTANCE, "The step was created before")
        self._note(request, sop_instance, step)
        return Reply(Status.SUCCESS, sop_instance=sop_instance)

    def _change(self, request: StepRequest, step: PerformedStep, now: float) -> Reply:
        match self._expectations.change_step(request.sop_instance, step, now=now):
            case Noted.UNKNOWN:
                return Reply(Status.NO_SUCH_SOP_INSTANCE, "No such step was created here")
            case Noted.ENDED:
                comment = "The step has ended, and may no longer be updated"
                return Reply(Status.PROCESSING_FAILURE, comment, MAY_NO_LONGER_BE_UPDATED)
        self._note(request, request.sop_instance, step)
        return Reply(Status.SUCCESS)

    def _note(self, request: StepRequest, sop_instance: str, step: PerformedStep) -> None:
        made = step.made or {}
        eventlog.record(
            Event.STEP_NOTED, peer=shown_title(request.peer), step=alias(sop_instance),
            state=f"'{step.state or 'unchanged'}'", series=len(made), instances=sum(map(len, made.values())),
        )  # fmt: skip
