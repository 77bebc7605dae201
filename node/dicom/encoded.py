"""Encoded data sets walked by lengths alone, for the little that the receiver wants to know of a request.

Nothing is recursive, and no value is decoded but those asked for, so that no nesting can hurt; what else there is
is passed over. Little endian only. Where the bytes end within an element, `struct.error` is raised: who begins a walk
says what that means.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from node.dicom.identifiers import is_uid
from node.errors import HeaderError

_ITEM, _ITEM_END, _SEQUENCE_END, _DELIMITERS = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD, 0xFFFE  # PS3.5 section 7.5
_UNDEFINED = 0xFFFFFFFF
_LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())  # with a length of 32 bits: PS3.5 section 7.1.2
_HEADER, _EXPLICIT, _LENGTH = struct.Struct("<HHL"), struct.Struct("<HH2sH"), struct.Struct("<L")
_MOST_ELEMENTS = 1_000_000  # that are passed over in search of an end; chosen


class MissingError(HeaderError):
    """An attribute that every request has is not there."""


class TooManyError(HeaderError):
    """More instances are referenced than one request may."""


class Element(NamedTuple):
    """`start` and `end` of its value; `following` is the first byte behind it, delimiter included."""

    tag: int
    start: int
    end: int
    following: int


def elements(data: bytes, at: int, end: int, implicit: bool) -> Iterator[Element]:
    """Yield the elements of a data set or item that is `data[at:end]`."""
    while at < end:
        one = _element(data, at, implicit)
        if one.following > end or one.tag >> 16 == _DELIMITERS:
            raise HeaderError("the data set is not made of elements")
        yield one
        at = one.following


def items(data: bytes, sequence: Element, implicit: bool) -> Iterator[Element]:
    """Yield the items of a sequence."""
    at = sequence.start
    while at < sequence.end:
        item = _element(data, at, implicit)
        if item.tag != _ITEM or item.following > sequence.end:
            raise HeaderError("a sequence holds something else than items")
        yield item
        at = item.following


def uid_of(data: bytes, element: Element, name: str) -> str:
    """Return the UID that is the value of an element; `name` is what an error calls it."""
    if element.start == element.end:
        raise MissingError(f"{name} is empty")
    uid = data[element.start : element.end].decode("latin-1").rstrip("\0 ")  # as PS3.5 section 6.2 pads, or peers do
    if not is_uid(uid):
        raise HeaderError(f"{name} is malformed")
    return uid


def _element(data: bytes, at: int, implicit: bool) -> Element:
    tag, start, length = _header(data, at, implicit)
    if length != _UNDEFINED:
        return Element(tag, start, start + length, start + length)
    end = _end_of(data, start, implicit, _ITEM_END if tag == _ITEM else _SEQUENCE_END)
    return Element(tag, start, end, end + _HEADER.size)


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
