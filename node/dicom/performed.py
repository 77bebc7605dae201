"""The Modality Performed Procedure Step, as far as completion wants to know it (PS3.3 section B.17, PS3.4 annex F.7).

Which study a scanner works at, whether it still does, and which instances of which series it has made.
"""

import struct
from collections.abc import Mapping, Set
from dataclasses import dataclass
from enum import StrEnum

from node.dicom.encoded import Element, MissingError, TooManyError, elements, items, uid_of
from node.errors import HeaderError

_STATUS = 0x00400252  # Performed Procedure Step Status
_SCHEDULED, _STUDY = 0x00400270, 0x0020000D  # Scheduled Step Attributes Sequence, Study Instance UID
_PERFORMED, _SERIES = 0x00400340, 0x0020000E  # Performed Series Sequence, Series Instance UID
_MADE = (0x00081140, 0x00400220)  # Referenced Image and Referenced Non-Image Composite SOP Instance Sequence
_SOP_INSTANCE = 0x00081155  # Referenced SOP Instance UID


class StepState(StrEnum):
    """Of a performed procedure step, as its modality says: PS3.3 section C.4.14, PS3.4 table F.1-3."""

    IN_PROGRESS = "IN PROGRESS"
    COMPLETED = "COMPLETED"
    DISCONTINUED = "DISCONTINUED"


@dataclass(frozen=True, slots=True)
class PerformedStep:
    """What a request to create or change a step says.

    Parameters
    ----------
    state : StepState or None
        None if it does not say.
    studies : frozenset of str
        The Study Instance UIDs of what was scheduled.
    made : mapping of str to set of str, or None
        By Series Instance UID the SOP Instance UIDs; None if it has no Performed Series Sequence.
    """

    state: StepState | None
    studies: frozenset[str]
    made: Mapping[str, Set[str]] | None


def read_step(encoded: bytes, *, implicit: bool, most: int) -> PerformedStep:
    """Return what the Attribute List of an N-CREATE, or the Modification List of an N-SET, says.

    Parameters
    ----------
    encoded : bytes
        The data set, little endian.
    implicit : bool
        Whether it is of implicit VR.
    most : int
        Instances; with more it is refused before all are read.

    Raises
    ------
    MissingError, TooManyError
        As they say.
    HeaderError
        If it cannot be read, or a UID or the status is malformed.
    """
    try:
        return _read(encoded, implicit, most)
    except struct.error:
        raise HeaderError("the data set ends within an element") from None


def _read(data: bytes, implicit: bool, most: int) -> PerformedStep:
    state: StepState | None = None
    studies: set[str] = set()
    made: dict[str, set[str]] | None = None
    left = most
    for one in elements(data, 0, len(data), implicit):
        if one.tag == _STATUS:
            state = _state(data, one)
        elif one.tag == _SCHEDULED:
            for item in items(data, one, implicit):
                studies |= _uids(data, item, _STUDY, "Study Instance UID", implicit)
        elif one.tag == _PERFORMED:
            made = {}
            for item in items(data, one, implicit):
                series, instances = _series(data, item, implicit, left)
                left -= len(instances)
                made.setdefault(series, set()).update(instances)
    return PerformedStep(state, frozenset(studies), made)


def _state(data: bytes, element: Element) -> StepState:
    try:
        return StepState(data[element.start : element.end].decode("latin-1").strip("\0 "))
    except ValueError:
        raise HeaderError("Performed Procedure Step Status is none of the three") from None


def _series(data: bytes, item: Element, implicit: bool, most: int) -> tuple[str, set[str]]:
    series, instances = "", set[str]()
    for one in elements(data, item.start, item.end, implicit):
        if one.tag == _SERIES:
            series = uid_of(data, one, "Series Instance UID")
        elif one.tag in _MADE:
            for reference in items(data, one, implicit):
                if len(instances) >= most:
                    raise TooManyError("more instances are referenced than one request may")
                instances |= _uids(data, reference, _SOP_INSTANCE, "Referenced SOP Instance UID", implicit)
    if not series:
        raise MissingError("Series Instance UID is missing")
    return series, instances


def _uids(data: bytes, item: Element, tag: int, name: str, implicit: bool) -> set[str]:
    return {uid_of(data, one, name) for one in elements(data, item.start, item.end, implicit) if one.tag == tag}
