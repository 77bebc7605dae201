"""The Storage Commitment Module (PS3.3 section C.14): what a peer asks about, and what is told to it.

The request is read on bytes as they came, by lengths alone: nothing is recursive, and no value is decoded but the UIDs
wanted, so that no nesting can hurt. What else it holds is passed over.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from pydicom.dataset import Dataset

from node.dicom.identifiers import is_uid
from node.errors import HeaderError

_TRANSACTION, _REFERENCED = 0x00081195, 0x00081199  # Transaction UID, Referenced SOP Sequence
_SOP_CLASS, _SOP_INSTANCE = 0x00081150, 0x00081155  # Referenced SOP Class UID, Referenced SOP Instance UID
_ITEM, _ITEM_END, _SEQUENCE_END, _DELIMITERS = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD, 0xFFFE  # PS3.5 section 7.5
_UNDEFINED = 0xFFFFFFFF
_LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())  # with a length of 32 bits: PS3.5 section 7.1.2
_HEADER, _EXPLICIT, _LENGTH = struct.Struct("<HHL"), struct.Struct("<HH2sH"), struct.Struct("<L")
_MOST_ELEMENTS = 1_000_000  # that are passed over in search of an end; chosen


class FailureReason(IntEnum):
    """Why an instance is not committed to: Failure Reason (0008,1197), PS3.3 section C.14.1.1."""

    PROCESSING_FAILURE = 0x0110
    NO_SUCH_OBJECT_INSTANCE = 0x0112
    CLASS_INSTANCE_CONFLICT = 0x0119
    SOP_CLASS_NOT_SUPPORTED = 0x0122


class MissingError(HeaderError):
    """An attribute that every request has is not there."""


class TooManyError(HeaderError):
    """More instances are referenced than one request may."""


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
    for one in _elements(data, 0, len(data), implicit):
        if one.tag == _TRANSACTION:
            transaction_uid = _uid(data, one, "Transaction UID")
        elif one.tag == _REFERENCED:
            references = []
            for item in _items(data, one, implicit):
                if len(references) == most:
                    raise TooManyError("more instances are referenced than one request may")
                references.append(_reference(data, item, implicit))
    if not transaction_uid:
        raise MissingError("Transaction UID is missing")
    if not references:
        raise MissingError("Referenced SOP Sequence is missing or empty")
    return CommitmentRequest(transaction_uid, tuple(references))


def _reference(data: bytes, item: "_Element", implicit: bool) -> Reference:
    sop_class = sop_instance = ""
    for one in _elements(data, item.start, item.end, implicit):
        if one.tag == _SOP_CLASS:
            sop_class = _uid(data, one, "Referenced SOP Class UID")
        elif one.tag == _SOP_INSTANCE:
            sop_instance = _uid(data, one, "Referenced SOP Instance UID")
    if not sop_class or not sop_instance:
        raise MissingError("an item lacks Referenced SOP Class or Instance UID")
    return Reference(sop_class, sop_instance)


def _uid(data: bytes, element: "_Element", name: str) -> str:
    if element.start == element.end:
        raise MissingError(f"{name} is empty")
    uid = data[element.start : element.end].decode("latin-1").rstrip("\0 ")  # as PS3.5 section 6.2 pads, or peers do
    if not is_uid(uid):
        raise HeaderError(f"{name} is malformed")
    return uid


class _Element(NamedTuple):
    """`start` and `end` of its value; `following` is the first byte behind it, delimiter included."""

    tag: int
    start: int
    end: int
    following: int


def _elements(data: bytes, at: int, end: int, implicit: bool) -> Iterator[_Element]:
    while at < end:
        one = _element(data, at, implicit)
        if one.following > end or one.tag >> 16 == _DELIMITERS:
            raise HeaderError("the data set is not made of elements")
        yield one
        at = one.following


def _items(data: bytes, sequence: _Element, implicit: bool) -> Iterator[_Element]:
    at = sequence.start
    while at < sequence.end:
        item = _element(data, at, implicit)
        if item.tag != _ITEM or item.following > sequence.end:
            raise HeaderError("a sequence holds something else than items")
        yield item
        at = item.following


def _element(data: bytes, at: int, implicit: bool) -> _Element:
    tag, start, length = _header(data, at, implicit)
    if length != _UNDEFINED:
        return _Element(tag, start, start + length, start + length)
    end = _end_of(data, start, implicit, _ITEM_END if tag == _ITEM else _SEQUENCE_END)
    return _Element(tag, start, end, end + _HEADER.size)


def _header(data: bytes, at: int, implicit: bool) -> tuple[int, int, int]:
    """Return tag, first byte and length of the value."""
    group, element, length = _HEADER.unpack_from(data, at)
    tag, start = group << 16 | element, at + _HEADER.size
    if not implicit and group != _DELIMITERS:
        _, _, vr, length = _EXPLICIT.unpack_from(data, at)
        if vr in _LONG:
            (length,), start = _LENGTH.unpack_from(data, start), start + _LENGTH.size
    return tag, start, length


def _end_of(data: bytes, at: int, implicit: bool, wanted: int) -> int:
    """Return where the delimiter of a value of undefined length is, which begins at `at`."""
    open_ends = [wanted]
    for _ in range(_MOST_ELEMENTS):
        tag, start, length = _header(data, at, implicit)
        if tag in (_ITEM_END, _SEQUENCE_END):
            if open_ends.pop() != tag or length:
                break
            if not open_ends:
                return at
            at = start
        elif length == _UNDEFINED:
            open_ends.append(_ITEM_END if tag == _ITEM else _SEQUENCE_END)
            at = start
        else:
            at = start + length
    raise HeaderError("a value of undefined length does not end")
