"""Likeness: whether two data sets say the same, each in its own transfer syntax (PS3.5 section 10, annex A).

It decodes pixels, so it is for a sandboxed step. What it cannot show to be the same it calls different.
"""

from collections.abc import Iterator

import numpy as np
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset

from node.dicom.pixels import stored_frames

_DEEPEST = 32  # sequences in sequences, as the receiver allows (`routing`)
_PIXEL_DATA = 0x7FE00010
# Of the encoding and not of what is encoded: PS3.5 A.4 (offset tables), PS3.3 table C.7-11a note, PS3.10 section 7.2.
_OF_ENCODING = frozenset({0x7FE00001, 0x7FE00002, 0x7FE00003, _PIXEL_DATA, 0xFFFCFFFC})
_PADDING = b"\0 "
# Only these are padded (PS3.5 sections 6.2 and 9.1): in a number, such bytes are a part of it.
_PADDED = frozenset(
    ("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT")
)
_UNKNOWN = frozenset({None, "UN"})  # of implicit VR, and of private elements that came so


def difference(one: Dataset, other: Dataset) -> str:
    """Return in which element two instances differ, as (gggg,eeee); "" if they say the same.

    Raises
    ------
    VolumeError
        If pixels that would have to be compared cannot be decoded.
    """
    return next(_differences(one, other, _DEEPEST), "") or _pixel_difference(one, other)


def _differences(one: Dataset, other: Dataset, depth: int) -> Iterator[str]:
    for tag in sorted({*one.keys(), *other.keys()} - _OF_ENCODING):
        if tag.element == 0:  # a group length
            continue
        if tag not in one or tag not in other or not _same(one, other, tag, depth):
            yield f"({tag.group:04x},{tag.element:04x})"


def _same(one: Dataset, other: Dataset, tag: int, depth: int) -> bool:
    raw, other_raw = one.get_item(tag), other.get_item(tag)
    if isinstance(raw, RawDataElement) and isinstance(other_raw, RawDataElement) and _same_bytes(raw, other_raw):
        return True
    a, b = one[tag], other[tag]
    if "SQ" in (a.VR, b.VR):
        return a.VR == b.VR and _same_items(a, b, depth)
    return bool(a.VR == b.VR and a.value == b.value)


def _same_bytes(one: RawDataElement, other: RawDataElement) -> bool:
    """Return whether two values are the same bytes; a private one may be UN in one of them (PS3.5 section 6.2.2).

    The padding of text is no part of it.
    """
    a, b = one.value, other.value
    if one.is_little_endian != other.is_little_endian or not isinstance(a, bytes) or not isinstance(b, bytes):
        return False
    said = {one.VR, other.VR} - _UNKNOWN
    return a == b or bool(said and said <= _PADDED and a.rstrip(_PADDING) == b.rstrip(_PADDING))


def _same_items(one: DataElement, other: DataElement, depth: int) -> bool:
    return (
        depth > 0
        and len(one.value) == len(other.value)
        and not any(any(_differences(a, b, depth - 1)) for a, b in zip(one.value, other.value, strict=True))
    )


def _pixel_difference(one: Dataset, other: Dataset) -> str:
    """Return "" if both have the same stored values, or neither has pixels."""
    found = "(7fe0,0010)"
    if ("PixelData" in one) != ("PixelData" in other):
        return found
    if "PixelData" not in one:
        return ""
    frames = range(int(one.get("NumberOfFrames") or 1))
    both = zip(stored_frames(one, frames), stored_frames(other, frames), strict=True)
    return "" if all(np.array_equal(plane, other_plane) for (_, plane), (_, other_plane) in both) else found
