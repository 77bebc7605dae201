"""The elements that route an instance, found at the head of its encoded data set by lengths alone.

The receiver reads every instance this way, on bytes as they came: no value is decoded but the six wanted, nothing is
recursive, and whatever the bytes are, either the identity comes back or one of two errors. The rest of the node reads
with pydicom, so where the two could see different identities in the same bytes, the data set is refused here:

- elements of groups 0000 and 0002 in front: a reader of files takes them for the file's own, transfer syntax included
- a first element that contradicts the transfer syntax: pydicom then reads in the other encoding
- a VR that PS3.5 does not know: its length has 32 bits for the Standard (7.1.2), 16 for pydicom
- an undefined length in what is no sequence: readers search its value for the bytes of the delimiter
- an item that does not end where its last element ends
- a wanted element twice, or with another VR than its own; behind the head this takes `to_end`
"""

import re
import struct
import sys
from dataclasses import dataclass
from typing import NamedTuple

from pydicom.datadict import dictionary_VR  # a copy of PS3.6: implicit VR does not say what is a sequence

from node.errors import HeaderError, NodeError

_MOST_ELEMENTS = 100_000  # before the last routing element, nested ones too; chosen: scanners write 30 to 500
_MOST_ELEMENTS_IN_ALL = 4_000_000  # chosen: 20,000 frames of Enhanced MR in sequences of undefined length have 2.4e6
_DEEPEST = 32  # sequences in sequences; chosen: PS3.3 needs fewer than 10
_LONGEST_PATIENT_ID = 1024  # bytes; 64 characters (PS3.5 table 6.2-1, LO) of 4 bytes, each with its escape sequences
_LONGEST_UID_FIELD = 128  # bytes; 64 (PS3.5 table 6.2-1, UI) and what a field of fixed size is padded with

_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_DELIMITATION, _SEQUENCE_DELIMITATION, _DELIMITERS = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD, 0xFFFE  # PS3.5 7.5
_PIXEL_DATA, _ENCAPSULATED = 0x7FE00010, (b"OB", b"OW")  # PS3.5 A.4
_OPEN = sys.maxsize  # the end of an item of undefined length
_SHORTEST = 8  # bytes of an element without a value
_LAST_GROUP, _LAST_ELEMENT = 0x0020, 0x000E

# PS3.5 7.1.2: these have a length of 16 bits; all others have two reserved bytes and a length of 32 bits.
_SHORT = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
_LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())

_WANTED = {  # keyword and VR (PS3.6), in the order of the fields of Routing
    0x00080016: ("SOPClassUID", b"UI"),
    0x00080018: ("SOPInstanceUID", b"UI"),
    0x0020000D: ("StudyInstanceUID", b"UI"),
    0x0020000E: ("SeriesInstanceUID", b"UI"),
    0x00100020: ("PatientID", b"LO"),
    0x00100021: ("IssuerOfPatientID", b"LO"),
}
_WANTED_ELEMENTS = frozenset(tag & 0xFFFF for tag in _WANTED)

_IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"
_EXPLICIT_VR_BIG_ENDIAN = "1.2.840.10008.1.2.2"
_DEFLATED = frozenset(  # PS3.5 A.5, and the two JPIP syntaxes of annex A of which the data set is deflated
    ("1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205")
)

# PS3.5 9.1 less its rule on leading zeros, which scanners break; padded with one NUL, by some with spaces.
_UID_FIELD = re.compile(rb"([0-9.]{1,64})(?:\0| *)")
_LETTERS = re.compile(rb"[A-Z]{2}")

Bytes = bytes | memoryview


class _ByteOrder(NamedTuple):
    implicit: struct.Struct  # group, element, length: PS3.5 7.1.3, and of items 7.5
    explicit: struct.Struct  # group, element, VR, length: PS3.5 7.1.2
    length: struct.Struct


_LITTLE = _ByteOrder(struct.Struct("<HHI"), struct.Struct("<HH2sH"), struct.Struct("<I"))
_BIG = _ByteOrder(struct.Struct(">HHI"), struct.Struct(">HH2sH"), struct.Struct(">I"))


class HeadTooShort(NodeError):  # noqa: N818 - not a fault of anything
    """The bytes end before the last routing element could have come.

    Parameters
    ----------
    needed : int
        With fewer bytes, counted from the start of the data set, another try is in vain. A length that lies makes it
        as much as 4 GiB: compare it with the largest object allowed. And it may grow by 8 from one try to the next:
        try again when the head has doubled, not after each fragment, or the time is quadratic.
    """

    def __init__(self, needed: int) -> None:
        super().__init__("the head of the data set is not complete")
        self.needed = needed


@dataclass(frozen=True, slots=True)
class Routing:
    """Whose and of what an instance is.

    `patient_id` and `issuer` are the bytes as they came, one character a byte (ISO 8859-1) whatever the character set,
    without padding; empty if they are absent. They are patient data: never in a log, an error or a name.
    """

    sop_class: str
    sop_instance: str
    study: str
    series: str
    patient_id: str
    issuer: str

    def __repr__(self) -> str:
        return "Routing(...)"


class _Spans(NamedTuple):
    values: dict[int, tuple[int, int]]  # tag: first byte and length of its value
    end: int  # the first byte behind the head: an element, or the end of the data


def read_routing(head: Bytes, transfer_syntax: str, *, whole: bool, to_end: bool = False) -> Routing:
    """Return what routes the instance of which `head` is the beginning.

    Reading stops at the first element behind (0020,000E). Elements before it may stand in any order.

    Parameters
    ----------
    head : bytes or memoryview
        The encoded data set, without preamble and file meta information: its first bytes, or all of it.
    transfer_syntax : str
        UID. All but the uncompressed three of PS3.5 10 are read as Explicit VR Little Endian (A.4).
    whole : bool
        Whether `head` is all there is: what is missing then is a fault.
    to_end : bool
        Go on to the end of the data set, which must be whole, and refuse a second identity there: a wanted element
        behind the head, which pydicom would take instead, or bytes in which one could hide. Without it the head is
        all that is promised. Costs as much again, more where per-frame sequences have undefined lengths (3 ms of
        1,200 kB, 26 November 2026).

    Raises
    ------
    HeadTooShort
        If more bytes are needed; only with `whole` false.
    HeaderError
        If the bytes cannot be a data set, or could be read in two ways, or a UID is missing or malformed.

    References
    ----------
    PS3.5 sections 6.2.2 (UN), 7.1 (data elements), 7.5 (sequences), 9.1 (UIDs), annex A (transfer syntaxes).
    """
    if transfer_syntax in _DEFLATED:
        raise HeaderError("a deflated data set cannot be routed")
    order = _BIG if transfer_syntax == _EXPLICIT_VR_BIG_ENDIAN else _LITTLE
    explicit = transfer_syntax != _IMPLICIT_VR_LITTLE_ENDIAN
    try:
        _check_first(head, order, explicit)
        spans = _walk_explicit(head, order) if explicit else _walk_implicit(head, order)
        if to_end:
            _check_rest(head, spans.end, order, explicit)
        if spans.end == len(head) and not whole:
            raise HeadTooShort(len(head) + _SHORTEST)
    except HeadTooShort:
        if whole:
            raise HeaderError("the data set ends within an element") from None
        raise
    return _decode(head, spans.values)


def _check_first(head: Bytes, order: _ByteOrder, explicit: bool) -> None:
    """Refuse what makes a reader of files read the data set in another way than we do."""
    if len(head) < _SHORTEST:
        raise HeadTooShort(_SHORTEST)
    group, _, vr, _ = order.explicit.unpack_from(head)
    if group < 4:
        raise HeaderError("the data set begins with an element of group 0000 or 0002")
    if explicit != bool(_LETTERS.fullmatch(vr)):
        raise HeaderError("the data set is not encoded as the transfer syntax says")


def _walk_explicit(head: Bytes, order: _ByteOrder) -> _Spans:
    """Return where the wanted values are. This is the hot loop: what it does not need for each element is elsewhere."""
    unpack, short, wanted_elements, last_group = order.explicit.unpack_from, _SHORT, _WANTED_ELEMENTS, _LAST_GROUP
    values: dict[int, tuple[int, int]] = {}
    at = nested = 0
    try:
        for _ in range(_MOST_ELEMENTS):
            group, element, vr, length = unpack(head, at)
            if group >= last_group and (group > last_group or element > _LAST_ELEMENT):
                break
            if vr in short:
                at += 8
                if element in wanted_elements:
                    _keep_wanted(values, group << 16 | element, vr, at, length)
                at += length
                continue
            tag, vr_or_none, start, length = _read_element(head, at, order, True)
            _keep_wanted(values, tag, vr_or_none, start, length)
            if length == _UNDEFINED:
                at, more = _skip_undefined(head, start, tag, vr_or_none, order, True, _MOST_ELEMENTS - nested)
                nested += more
            else:
                at = start + length
        else:
            raise HeaderError("there are too many elements before the routing elements")
    except struct.error:
        _check_end(head, at)
    return _Spans(values, at)


def _walk_implicit(head: Bytes, order: _ByteOrder) -> _Spans:
    unpack, wanted_elements = order.implicit.unpack_from, _WANTED_ELEMENTS
    values: dict[int, tuple[int, int]] = {}
    at = nested = 0
    try:
        for _ in range(_MOST_ELEMENTS):
            group, element, length = unpack(head, at)
            if group >= _LAST_GROUP and (group > _LAST_GROUP or element > _LAST_ELEMENT):
                break
            if element in wanted_elements:
                _keep_wanted(values, group << 16 | element, None, at + 8, length)
            if length == _UNDEFINED:
                tag = group << 16 | element
                at, more = _skip_undefined(head, at + 8, tag, None, order, False, _MOST_ELEMENTS - nested)
                nested += more
            else:
                at += 8 + length
        else:
            raise HeaderError("there are too many elements before the routing elements")
    except struct.error:
        _check_end(head, at)
    return _Spans(values, at)


def _keep_wanted(values: dict[int, tuple[int, int]], tag: int, vr: bytes | None, start: int, length: int) -> None:
    """Note where the value of an element is, if it is a wanted one."""
    if tag not in _WANTED:
        return
    keyword, own_vr = _WANTED[tag]
    if tag in values:
        raise HeaderError(f"{keyword} stands twice")
    if vr not in (None, own_vr) or length > (_LONGEST_UID_FIELD if own_vr == b"UI" else _LONGEST_PATIENT_ID):
        raise HeaderError(f"{keyword} is missing or malformed")
    values[tag] = start, length


def _check_end(head: Bytes, at: int) -> None:
    """Pass if the bytes end where an element ends."""
    if at != len(head):
        raise HeadTooShort(max(at, len(head)) + 1)


def _check_sequence(tag: int, vr: bytes | None, order: _ByteOrder) -> None:
    """Refuse an undefined length where readers do not agree that a sequence follows.

    UN of undefined length is a sequence (PS3.5 6.2.2 note 2), in little endian whatever is around it: in big endian
    readers differ. In implicit VR an unknown tag of undefined length can be nothing else.
    """
    if vr is None:
        try:
            is_sequence = dictionary_VR(tag) == "SQ"
        except KeyError:
            is_sequence = True
    else:
        is_sequence = vr == b"SQ" or (vr == b"UN" and order is _LITTLE)
    if not is_sequence:
        raise HeaderError("an element that is no sequence has an undefined length")


def _read_element(head: Bytes, at: int, order: _ByteOrder, explicit: bool) -> tuple[int, bytes | None, int, int]:
    """Return tag, VR if it is there, first byte and length of the value."""
    if not explicit:
        group, element, length = order.implicit.unpack_from(head, at)
        return group << 16 | element, None, at + 8, length
    group, element, vr, length = order.explicit.unpack_from(head, at)
    if vr in _SHORT or group == _DELIMITERS:  # delimiters have no VR, and are looked at again
        return group << 16 | element, vr, at + 8, length
    if vr not in _LONG:
        raise HeaderError("an element has a VR that PS3.5 does not know")
    return group << 16 | element, vr, at + 12, order.length.unpack_from(head, at + 8)[0]


def _skip_undefined(
    head: Bytes, start: int, tag: int, vr: bytes | None, order: _ByteOrder, explicit: bool, most: int
) -> tuple[int, int]:
    """Return the first byte behind a value of undefined length, and how many elements and items were in it."""
    if tag == _PIXEL_DATA and vr in _ENCAPSULATED:
        return _skip_fragments(head, start, order, most)
    _check_sequence(tag, vr, order)
    return _skip_items(head, start, order, explicit, most)


def _skip_items(head: Bytes, at: int, order: _ByteOrder, explicit: bool, most: int) -> tuple[int, int]:
    """Skip a sequence of undefined length whose first item is at `at`.

    Items of defined length are gone through as well: pydicom goes by their elements, others by their length, so both
    must lead to the same byte. Sequences of defined length are passed over. As pydicom does, take an item in a data
    set of explicit VR for implicit if its first element has no VR: UN is so (PS3.5 6.2.2), and some write so in SQ.
    """
    unpack = order.explicit.unpack_from
    items: list[tuple[int, bool]] = []  # around `at`: where each ends if that is defined, and whether it has VRs
    end, has_vrs = _OPEN, explicit  # of the innermost
    between_items = True
    for count in range(most):
        if between_items:
            group, element, length = order.implicit.unpack_from(head, at)
            at += 8
            between_items = False
            if group << 16 | element == _ITEM:
                end = _OPEN if length == _UNDEFINED else at + length
                has_vrs = has_vrs and bool(_LETTERS.fullmatch(head, at + 4, at + 6))
                items.append((end, has_vrs))
            elif group << 16 | element != _SEQUENCE_DELIMITATION or length:
                raise HeaderError("a sequence holds something else than items")
            elif not items:
                return at, count
        elif has_vrs and (header := unpack(head, at))[2] in _SHORT and header[0] != _DELIMITERS:  # most elements
            at += 8 + header[3]
        else:
            tag, vr, at, length = _read_element(head, at, order, has_vrs)
            if tag >> 16 == _DELIMITERS:
                if tag != _ITEM_DELIMITATION or length or vr not in (None, b"\0\0") or end != _OPEN:
                    raise HeaderError("an item does not end where it should")
                items.pop()
                between_items = True
            elif length != _UNDEFINED:
                at += length
            elif tag == _PIXEL_DATA and vr in _ENCAPSULATED:  # of an icon
                at, _ = _skip_fragments(head, at, order, most - count)
            else:
                _check_sequence(tag, vr, order)
                if len(items) == _DEEPEST:
                    raise HeaderError("sequences are nested too deeply")
                between_items = True
                continue
        if not between_items and at >= end:
            if at != end:
                raise HeaderError("an item does not end where it should")
            items.pop()
            between_items = True
        if between_items:
            end, has_vrs = items[-1] if items else (_OPEN, explicit)
    raise HeaderError("there are too many elements in a sequence")


def _skip_fragments(head: Bytes, at: int, order: _ByteOrder, most: int) -> tuple[int, int]:
    """Skip encapsulated pixel data whose first item is at `at` (PS3.5 A.4)."""
    for count in range(most):
        group, element, length = order.implicit.unpack_from(head, at)
        at += 8
        tag = group << 16 | element
        if tag == _SEQUENCE_DELIMITATION and not length:
            return at, count
        if tag != _ITEM or length == _UNDEFINED:
            break
        at += length
    raise HeaderError("encapsulated pixel data are not made of fragments")


def _check_rest(head: Bytes, at: int, order: _ByteOrder, explicit: bool) -> None:
    """Refuse a wanted element behind the head, and elements that do not end with the data."""
    left = _MOST_ELEMENTS_IN_ALL
    try:
        while at != len(head):
            tag, vr, start, length = _read_element(head, at, order, explicit)
            if tag in _WANTED:
                raise HeaderError(f"{_WANTED[tag][0]} stands behind (0020,000E)")
            if tag >> 16 == _DELIMITERS:
                raise HeaderError("an item or a delimiter stands outside of a sequence")
            left -= 1
            if length == _UNDEFINED:
                at, more = _skip_undefined(head, start, tag, vr, order, explicit, left)
                left -= more
            else:
                at = start + length
            if left <= 0:
                raise HeaderError("there are too many elements")
    except struct.error:
        raise HeadTooShort(max(at, len(head)) + 1) from None


def _decode(head: Bytes, values: dict[int, tuple[int, int]]) -> Routing:
    found = []
    for tag, (keyword, vr) in _WANTED.items():
        start, length = values.get(tag, (0, 0))
        if vr == b"UI":
            match = _UID_FIELD.fullmatch(head, start, start + length)
            if match is None:
                raise HeaderError(f"{keyword} is missing or malformed")
            found.append(str(match[1], "ascii"))
        else:
            found.append(bytes(head[start : start + length]).strip(b" \0").decode("latin-1"))
    return Routing(*found)
