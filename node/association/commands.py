"""DIMSE command sets, as far as storage and verification need them (PS3.7 sections 6.3.1, 9.3.1, 9.3.5, annex E).

A command set is encoded in implicit VR little endian, whatever the transfer syntax of the data set.
"""

import struct
from collections.abc import Mapping
from enum import IntEnum

from node.errors import HeaderError

LARGEST_COMMAND = 16 << 10  # bytes; a C-STORE-RQ has some 200. Chosen


class Field(IntEnum):
    """Command Field (0000,0100): PS3.7 table E.1-1."""

    C_STORE_RQ = 0x0001
    C_ECHO_RQ = 0x0030
    C_CANCEL_RQ = 0x0FFF


_RESPONSE = 0x8000
_NO_DATA_SET = 0x0101  # Command Data Set Type (0000,0800)
_LONGEST_COMMENT = 64  # Error Comment (0000,0902) is LO

_AFFECTED_SOP_CLASS, _FIELD, _MESSAGE_ID, _RESPONDED_TO = 0x0002, 0x0100, 0x0110, 0x0120
_DATA_SET_TYPE, _STATUS, _ERROR_COMMENT, _AFFECTED_SOP_INSTANCE = 0x0800, 0x0900, 0x0902, 0x1000
_HEADER = struct.Struct("<HHL")
_US = struct.Struct("<HHLH")
_UL = struct.Struct("<HHLL")


class Command:
    """A request as it came; HeaderError if it is none."""

    __slots__ = ("_values", "field", "has_data_set", "message_id")

    def __init__(self, encoded: bytes) -> None:
        self._values = _parsed(encoded)
        self.field = self._number(_FIELD)
        self.message_id = self._number(_MESSAGE_ID) if self.field != Field.C_CANCEL_RQ else 0
        self.has_data_set = self._number(_DATA_SET_TYPE) != _NO_DATA_SET

    @property
    def sop_class(self) -> str:
        """Affected SOP Class UID; "" if it is missing."""
        return self._text(_AFFECTED_SOP_CLASS)

    @property
    def sop_instance(self) -> str:
        """Affected SOP Instance UID; "" if it is missing."""
        return self._text(_AFFECTED_SOP_INSTANCE)

    def response(self, status: int, comment: str = "") -> bytes:
        """Return the command set of the answer, without a data set (PS3.7 sections 9.3.1.2 and 9.3.5.2).

        Affected SOP Class and Instance UID are those of the request; Error Comment: PS3.7 annex C.
        """
        values = self._values
        parts = [
            _echoed(_AFFECTED_SOP_CLASS, values),
            _US.pack(0, _FIELD, 2, self.field | _RESPONSE),
            _US.pack(0, _RESPONDED_TO, 2, self.message_id),
            _US.pack(0, _DATA_SET_TYPE, 2, _NO_DATA_SET),
            _US.pack(0, _STATUS, 2, status),
            _element(_ERROR_COMMENT, comment[:_LONGEST_COMMENT].encode("ascii"), b" ") if comment else b"",
            _echoed(_AFFECTED_SOP_INSTANCE, values),
        ]
        body = b"".join(parts)
        return _UL.pack(0, 0x0000, 4, len(body)) + body

    def _number(self, element: int) -> int:
        value = self._values.get(element, b"")
        if len(value) != 2:
            raise HeaderError("a command set lacks a number that every request has")
        return int.from_bytes(value, "little")

    def _text(self, element: int) -> str:
        return self._values.get(element, b"").rstrip(b"\0 ").decode("latin-1")


def _parsed(encoded: bytes) -> dict[int, bytes]:
    """Return the values of group 0000 by element number (PS3.7 section 6.3.1).

    The Standard's ascending order of elements is not insisted on; of one that comes twice the last counts.
    """
    values: dict[int, bytes] = {}
    at, size = 0, len(encoded)
    while at < size:
        if size - at < _HEADER.size:
            raise HeaderError("a command set ends within an element")
        group, element, length = _HEADER.unpack_from(encoded, at)
        at += _HEADER.size
        if group != 0 or length > size - at:
            raise HeaderError("a command set holds what is no command element")
        values[element] = encoded[at : at + length]
        at += length
    return values


def _element(element: int, value: bytes, padding: bytes = b"\0") -> bytes:
    if len(value) % 2:
        value += padding
    return _HEADER.pack(0, element, len(value)) + value


def _echoed(element: int, values: Mapping[int, bytes]) -> bytes:
    return _element(element, values[element]) if element in values else b""
