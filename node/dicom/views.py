"""Views: what an instance says of each of its frames, wherever in it that is said.

A value is decoded here, and not by pydicom, where its representation is plain text: a series of hundreds of frames says
nearly the same in each, and pydicom takes several times as long.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag

_SHARED, _PER_FRAME = 0x52009229, 0x52009230  # Shared and Per-Frame Functional Groups Sequence
_GRADIENT_DIRECTION = 0x00189076  # Diffusion Gradient Direction Sequence
_REAL_WORLD_MAPS = 0x00409096  # Real World Value Mapping Sequence
_PRIVATE = 0x00010000  # bit of the group number: PS3.5 section 7.8
_PHILIPS = 0x2005
# Functional groups that say nothing about geometry, signal or time, and are often large.
_PASSED_OVER = frozenset({0x00081140, 0x00089124, 0x00289132, 0x00189107, 0x00209071})
_NUMBERS, _WHOLE_NUMBERS = frozenset({"DS"}), frozenset({"IS"})
_WORDS = frozenset({"CS", "UI", "TM", "DA", "DT"})  # of the default character repertoire: PS3.5 table 6.2-1
_TEXTS = frozenset({"LO", "SH"})  # of any; the same in all where only ASCII is used
_ESCAPE = b"\x1b"
_SEVERAL = (list, tuple, MultiValue)

Element = DataElement | RawDataElement
Elements = dict[int, tuple[Element, Dataset]]  # by tag as a plain int, with what holds it: a Tag compares itself slowly


@dataclass(slots=True)
class Known:
    """What was read of other instances of a series: most of it is said again, byte for byte, in the next.

    `steady` is what was concluded from undecoded values: their tags, the values, and the conclusion.
    """

    values: dict[tuple[int, str | None, bytes], Any] = field(default_factory=dict)
    steady: tuple[tuple[int, ...], tuple[Any, ...], Any] | None = None


class FrameView:
    """All that an instance says of one frame: what is nearest to the frame counts first.

    That is its own functional groups, then the shared ones, then the top level (PS3.3 C.7.6.16), and private sequences
    of functional groups last: in these Philips keeps the attributes of a classic instance.
    """

    def __init__(self, own: Elements, own_private: Elements, common: "Common") -> None:
        self._own, self._own_private, self._common = own, own_private, common
        self.asked: set[int] = set()

    def value(self, tag: int) -> Any:
        """Return the value of an element, a list if it has several; None if it is nowhere, or empty."""
        common = self._common
        self.asked.add(tag)
        if tag in self._own and (value := common.decoded(tag, self._own)) is not None:
            return value
        if (value := common.value(tag)) is not None:
            return value
        return common.decoded(tag, self._own_private) if tag in self._own_private else common.private_value(tag)

    def private(self, tag: int, creator: str) -> Any:
        """Return the value of a private element whose block `creator` has reserved (PS3.5 section 7.8.1), or None."""
        value = self.value(tag)
        if value is None:
            return None
        reserved = str(self.value((tag & 0xFFFF0000) | (tag >> 8 & 0xFF)) or "")
        return value if reserved.upper().startswith(creator.upper()) else None

    def undecoded(self, tags: Iterable[int]) -> tuple[Any, ...] | None:
        """Return what an instance without functional groups holds of `tags`; None if it has some."""
        return None if self._own else self._common.undecoded(tags)


class Common:
    """What is said of all frames of an instance, and what values were decoded before, here or in another instance."""

    def __init__(self, dataset: Dataset, known: Known, *, shared: bool = True) -> None:
        self._known = known.values
        self._values: dict[int, Any] = {}
        self._top = _elements(dataset)
        self._shared, self._private = _flattened(_items(dataset, _SHARED)[:1] if shared else [])

    def value(self, tag: int) -> Any:
        if tag not in self._values:
            value = self.decoded(tag, self._shared) if tag in self._shared else None
            if value is None and tag in self._top:
                value = self.decoded(tag, self._top)
            self._values[tag] = value
        return self._values[tag]

    def undecoded(self, tags: Iterable[int]) -> tuple[Any, ...] | None:
        top = self._top
        return None if self._shared else tuple(top[tag][0].value if tag in top else None for tag in tags)

    def private_value(self, tag: int) -> Any:
        return self.decoded(tag, self._private) if tag in self._private else None

    def decoded(self, tag: int, elements: Elements) -> Any:
        """Return the value of one of `elements`; None if it is empty, or cannot be decoded."""
        element, holder = elements[tag]
        if not isinstance(element, RawDataElement):
            return _none_if_empty(element.value)
        if not element.value:
            return None
        key = (tag, element.VR, element.value)
        if key not in self._known:
            self._known[key] = _decode(holder, element)
        return self._known[key]


def views_of(dataset: Dataset, *, known: Known | None = None) -> list[FrameView]:
    """Return a view of each frame of an instance, in the order of the frames; a classic instance is its only frame.

    Parameters
    ----------
    known : Known, optional
        What was read before; give the same for all instances of a series.
    """
    common = Common(dataset, known or Known())
    frames = _items(dataset, _PER_FRAME)
    return [FrameView(*_flattened([item]), common) for item in frames] or [FrameView({}, {}, common)]


def view_of(dataset: Dataset, number: int = 0) -> FrameView:
    """Return the view of one frame, counted from 0, without looking at the others.

    Raises
    ------
    IndexError
        If the instance has functional groups for fewer frames.
    """
    common = Common(dataset, Known())
    frames = _items(dataset, _PER_FRAME)
    return FrameView(*_flattened([frames[number]]), common) if frames else FrameView({}, {}, common)


def values_of(dataset: Dataset, tags: Iterable[int]) -> list[Any]:
    """Return values of the top level of an instance, as `FrameView.value` does."""
    common = Common(dataset, Known(), shared=False)
    return [common.value(tag) for tag in tags]


def uid_of(dataset: Dataset, tag: BaseTag) -> str:
    """Return a UID of the top level of an instance; "" if it is not there."""
    element = dataset.get_item(tag) if tag in dataset else None
    if isinstance(element, RawDataElement):
        return (element.value or b"").decode("ascii", "replace").strip(" \0")
    return "" if element is None else str(element.value or "")


def _elements(holder: Dataset) -> Elements:
    return {int(tag): (element, holder) for tag, element in holder.items()}


def _flattened(groups: Iterable[Dataset]) -> tuple[Elements, Elements]:
    """Return the elements of the standard functional groups, and those of the private ones of Philips.

    The direction of diffusion lies one sequence deeper than the rest. Real World Value Maps stay the sequence they are:
    there may be several, each with a unit of its own (PS3.3 C.7.6.16.2.11), as at the top level of a classic instance.
    """
    standard: Elements = {}
    private: Elements = {}
    for group in groups:
        for name in list(map(int, group.keys())):
            if name in _PASSED_OVER or (name & _PRIVATE and name >> 16 != _PHILIPS):
                continue
            if name == _REAL_WORLD_MAPS:
                if _items(group, name):
                    standard.setdefault(name, (group[name], group))
                continue
            found = private if name & _PRIVATE else standard
            for item in _items(group, name)[:1]:
                for holder in (item, *_items(item, _GRADIENT_DIRECTION)[:1]):
                    for tag, element in _elements(holder).items():
                        found.setdefault(tag, element)
    return standard, private


def _items(holder: Dataset, tag: int) -> list[Dataset]:
    if tag not in holder:
        return []
    try:
        element = holder[tag]
        return list(element.value or []) if element.VR == "SQ" else []
    except Exception:  # a sequence that cannot be read is as good as none; pydicom raises many kinds
        return []


def _decode(holder: Dataset, element: RawDataElement) -> Any:
    value = element.value or b""
    vr = element.VR or _representation(element.tag)
    if vr in _TEXTS and value.isascii() and _ESCAPE not in value:
        vr = "CS"
    try:
        if vr in _WORDS or vr == "CS":
            words = [word.strip(" \0") for word in value.decode("ascii").split("\\")]
            return _one_or_all([word for word in words if word])
        if vr in _NUMBERS:
            return _one_or_all([float(word) for word in value.decode("ascii").rstrip(" \0").split("\\")])
        if vr == "US" and element.is_little_endian:
            return _one_or_all(list(struct.unpack(f"<{len(value) // 2}H", value)))
        if vr in _WHOLE_NUMBERS:
            return _one_or_all([int(float(word)) for word in value.decode("ascii").rstrip(" \0").split("\\")])
        return _none_if_empty(holder[element.tag].value)
    except Exception:  # a value that cannot be decoded is as good as none; pydicom raises many kinds
        return None


@cache
def _representation(tag: int) -> str:
    """Return the value representation of a standard element of implicit VR; "" of any other: pydicom knows some."""
    try:
        return dictionary_VR(tag)
    except KeyError:
        return ""


def _one_or_all(values: list[Any]) -> Any:
    return values[0] if len(values) == 1 else values or None


def _none_if_empty(value: Any) -> Any:
    if isinstance(value, _SEVERAL):
        return list(value) if len(value) else None
    return None if value is None or value in ("", b"") else value
