"""The Storage Commitment Module (PS3.3 section C.14): what a peer asks about, and what is told to it.

The request is read on bytes as they came, by lengths alone: nothing is recursive, and no value is decoded but the UIDs
wanted, so that no nesting can hurt. What else it holds is passed over.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from pydicom.dataset import Dataset

from node.dicom.encoded import Element, MissingError, TooManyError, elements, items, uid_of
from node.errors import HeaderError

_TRANSACTION, _REFERENCED = 0x00081195, 0x00081199  # Transaction UID, Referenced SOP Sequence
_SOP_CLASS, _SOP_INSTANCE = 0x00081150, 0x00081155  # Referenced SOP Class UID, Referenced SOP Instance UID
_FAILURE_REASON, _FAILED = 0x00081197, 0x00081198  # Failure Reason (US), Failed SOP Sequence


class FailureReason(IntEnum):
    """Why an instance is not committed to: Failure Reason (0008,1197), PS3.3 section C.14.1.1."""

    PROCESSING_FAILURE = 0x0110
    NO_SUCH_OBJECT_INSTANCE = 0x0112
    CLASS_INSTANCE_CONFLICT = 0x0119
    SOP_CLASS_NOT_SUPPORTED = 0x0122


@dataclass(frozen=True, slots=True)
class Reference:
    """An instance as another one refers to it (PS3.3 table 10-11)."""

    sop_class: str
    sop_instance: str


@dataclass(frozen=True, slots=True)
class CommitmentRequest:
    """What a peer wants to be told: whether these instances are held."""

    transaction_uid: str
    references: tuple[Reference, ...]


@dataclass(frozen=True, slots=True)
class CommitmentReport:
    """What a peer tells of a request of ours: SOP Instance UIDs, those of `failed` with the Failure Reason."""

    transaction_uid: str
    committed: frozenset[str]
    failed: Mapping[str, int]


def request_of(request: CommitmentRequest) -> Dataset:
    """Return the Action Information of an N-ACTION that asks for storage commitment (PS3.4 table J.3-1)."""
    information = Dataset()
    information.TransactionUID = request.transaction_uid
    information.ReferencedSOPSequence = [_item(one) for one in request.references]
    return information


def read_report(encoded: bytes, *, implicit: bool, most: int) -> CommitmentReport:
    """Return the report that the Event Information of an N-EVENT-REPORT is (PS3.4 table J.3-2).

    Parameters and errors are those of `read_request`. An instance that it names as both counts as failed.
    """
    try:
        return _read_report(encoded, implicit, most)
    except struct.error:
        raise HeaderError("the data set ends within an element") from None


def read_request(encoded: bytes, *, implicit: bool, most: int) -> CommitmentRequest:
    """Return the request that the Action Information of an N-ACTION is (PS3.4 table J.3-1).

    Parameters
    ----------
    encoded : bytes
        The data set, little endian.
    implicit : bool
        Whether it is of implicit VR.
    most : int
        References; with more it is refused before all are read.

    Raises
    ------
    MissingError, TooManyError
        As they say.
    HeaderError
        If it cannot be read, or a UID is malformed.
    """
    try:
        return _read(encoded, implicit, most)
    except struct.error:
        raise HeaderError("the data set ends within an element") from None


def report_of(request: CommitmentRequest, reasons: Sequence[FailureReason | None]) -> tuple[int, Dataset]:
    """Return Event Type ID and Event Information of the report on a request (PS3.4 table J.3-2).

    Parameters
    ----------
    reasons : sequence of FailureReason or None
        One for each reference; None: committed to.

    Returns
    -------
    int, Dataset
        1 if all are held, else 2 (PS3.4 section J.3.3.1).
    """
    held = [one for one, reason in zip(request.references, reasons, strict=True) if reason is None]
    report = Dataset()
    report.TransactionUID = request.transaction_uid
    if held:
        report.ReferencedSOPSequence = [_item(one) for one in held]
    if len(held) == len(request.references):
        return 1, report
    failed = []
    for one, reason in zip(request.references, reasons, strict=True):
        if reason is not None:
            failed.append(_item(one))
            failed[-1].FailureReason = int(reason)
    report.FailedSOPSequence = failed
    return 2, report


def _item(reference: Reference) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = reference.sop_class, reference.sop_instance
    return item


def _read(data: bytes, implicit: bool, most: int) -> CommitmentRequest:
    transaction_uid = ""
    references: list[Reference] | None = None
    for one in elements(data, 0, len(data), implicit):
        if one.tag == _TRANSACTION:
            transaction_uid = uid_of(data, one, "Transaction UID")
        elif one.tag == _REFERENCED:
            references = []
            for item in items(data, one, implicit):
                if len(references) == most:
                    raise TooManyError("more instances are referenced than one request may")
                references.append(_reference(data, item, implicit))
    if not transaction_uid:
        raise MissingError("Transaction UID is missing")
    if not references:
        raise MissingError("Referenced SOP Sequence is missing or empty")
    return CommitmentRequest(transaction_uid, tuple(references))


def _read_report(data: bytes, implicit: bool, most: int) -> CommitmentReport:
    transaction_uid = ""
    committed: set[str] = set()
    failed: dict[str, int] = {}
    for one in elements(data, 0, len(data), implicit):
        if one.tag == _TRANSACTION:
            transaction_uid = uid_of(data, one, "Transaction UID")
        elif one.tag in (_REFERENCED, _FAILED):
            for item in items(data, one, implicit):
                if len(committed) + len(failed) == most:
                    raise TooManyError("more instances are named than one report may")
                uid = _reference(data, item, implicit).sop_instance
                if one.tag == _REFERENCED:
                    committed.add(uid)
                else:
                    failed[uid] = _failure_reason(data, item, implicit)
    if not transaction_uid:
        raise MissingError("Transaction UID is missing")
    return CommitmentReport(transaction_uid, frozenset(committed - failed.keys()), failed)


def _failure_reason(data: bytes, item: Element, implicit: bool) -> int:
    for one in elements(data, item.start, item.end, implicit):
        if one.tag == _FAILURE_REASON and one.end - one.start == 2:  # US
            return int.from_bytes(data[one.start : one.end], "little")
    return FailureReason.PROCESSING_FAILURE


def _reference(data: bytes, item: Element, implicit: bool) -> Reference:
    sop_class = sop_instance = ""
    for one in elements(data, item.start, item.end, implicit):
        if one.tag == _SOP_CLASS:
            sop_class = uid_of(data, one, "Referenced SOP Class UID")
        elif one.tag == _SOP_INSTANCE:
            sop_instance = uid_of(data, one, "Referenced SOP Instance UID")
    if not sop_class or not sop_instance:
        raise MissingError("an item lacks Referenced SOP Class or Instance UID")
    return Reference(sop_class, sop_instance)
