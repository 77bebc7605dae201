"""Records and segment headers: what lies on disk, byte for byte. No I/O here.

A segment is a file: a header of 4 KiB, then records, each at a multiple of 4 KiB so that no page is read before it is
overwritten. A record is a header of 2 KiB, the Part 10 bytes of one instance (PS3.10 section 7.1), and zeros up to the
next multiple of 4 KiB. Numbers are little-endian.

The generation is a random number that a segment is given whenever it starts afresh. Records of an earlier life of the
segment fail on it, and so does a record that a peer forges inside a data set.
"""

import struct
from dataclasses import dataclass, fields
from operator import attrgetter

from xxhash import xxh3_64_intdigest

from node.records import LONGEST_TEXT, Origin, Place, ReceivedInstance, SegmentEnd

ALIGNMENT = 4096
SEGMENT_HEADER_BYTES = ALIGNMENT
RECORD_HEADER_BYTES = 2048

_FORMAT = 1
_SEGMENT_MAGIC, _RECORD_MAGIC = b"PSPNSEG\n", b"PSPNREC\n"
_SEGMENT = struct.Struct("<8sHxxIQQ")  # magic, format, number, generation, size
# magic, format, segment, generation, sequence, bytes of Part 10, of these before the data set, XXH3-64 of it,
# seconds since 1970; then the texts of Origin, each with its length and cut to its place: reading cannot fail, which
# matters because the bytes where a segment goes on may be a peer's
_NUMBERS = 9
_RECORD = struct.Struct("<8sHxxIQQQIQd" + f"{LONGEST_TEXT + 1}p" * len(fields(Origin)))
_CHECKSUM = struct.Struct("<Q")
_SECTOR = 512  # bytes that a disk writes wholly or not at all
_values_of = attrgetter(*(field.name for field in fields(Origin)))


@dataclass(frozen=True, slots=True)
class SegmentHeader:
    """The first bytes of a segment; `size` is that of the file before any record outgrew it."""

    number: int
    generation: int
    size: int

    def pack(self) -> bytes:
        """Return the header as it lies on disk."""
        head = _SEGMENT.pack(_SEGMENT_MAGIC, _FORMAT, self.number, self.generation, self.size)
        return _sealed(head, _SECTOR).ljust(SEGMENT_HEADER_BYTES, b"\0")  # never torn: the old one, or this

    @classmethod
    def unpack(cls, block: bytes) -> "SegmentHeader | None":
        """Return the header in the first bytes of a segment, or None if there is none, or a damaged one."""
        if not _is_sealed(block, _SECTOR):
            return None
        magic, form, number, generation, size = _SEGMENT.unpack_from(block)
        return cls(number, generation, size) if (magic, form) == (_SEGMENT_MAGIC, _FORMAT) else None


@dataclass(frozen=True, slots=True)
class RecordHeader:
    """What a record says about itself.

    Parameters
    ----------
    sequence : int
        Counts the records of one generation of the segment, from 0.
    length, head_length : int
        Bytes of the Part 10 file, and of what of it comes before the data set.
    checksum : int
        XXH3-64 of the Part 10 bytes.
    received_s : float
        Seconds since 1970.
    """

    place: Place
    sequence: int
    length: int
    head_length: int
    checksum: int
    received_s: float
    origin: Origin

    def pack(self) -> bytes:
        """Return the header as it lies on disk."""
        texts = [text.encode("latin-1", "replace") for text in _values_of(self.origin)]
        head = _RECORD.pack(
            _RECORD_MAGIC, _FORMAT, self.place.segment, self.place.generation, self.sequence, self.length,
            self.head_length, self.checksum, self.received_s, *texts,
        )  # fmt: skip
        return _sealed(head, RECORD_HEADER_BYTES)

    @classmethod
    def unpack(cls, block: bytes, offset: int) -> "RecordHeader | None":
        """Return the header in `block`, which was read at `offset`; None if there is none, or a torn one."""
        if not _is_sealed(block, RECORD_HEADER_BYTES):
            return None
        values = _RECORD.unpack_from(block)
        magic, form, segment, generation, sequence, length, head_length, checksum, received_s = values[:_NUMBERS]
        if (magic, form) != (_RECORD_MAGIC, _FORMAT):
            return None
        origin = Origin(*(text.decode("latin-1") for text in values[_NUMBERS:]))
        return cls(Place(segment, generation, offset), sequence, length, head_length, checksum, received_s, origin)

    @property
    def following(self) -> SegmentEnd:
        """Where the segment goes on behind this record."""
        end = aligned(self.place.offset + RECORD_HEADER_BYTES + self.length)
        return SegmentEnd(self.place.segment, self.place.generation, end, self.sequence + 1)

    def received(self, *, contradicts: bool) -> ReceivedInstance:
        """Return what the ledger enters."""
        return ReceivedInstance(self.place, self.following, self.origin, self.received_s, contradicts)


def fitting(origin: Origin) -> Origin:
    """Return what a record can keep of `origin`: a replay must not find another patient than the first time."""
    texts = _values_of(origin)
    if max(map(len, texts)) <= LONGEST_TEXT:
        return origin
    return Origin(*(text[:LONGEST_TEXT] for text in texts))


def aligned(offset: int) -> int:
    """Return the next multiple of the alignment."""
    return -(-offset // ALIGNMENT) * ALIGNMENT


def _sealed(head: bytes, size: int) -> bytes:
    """Return `head` filled up to `size` bytes, the last eight of which are the XXH3-64 of the others."""
    if len(head) > size - _CHECKSUM.size:
        raise ValueError("a header outgrew its place")
    body = head.ljust(size - _CHECKSUM.size, b"\0")
    return body + _CHECKSUM.pack(xxh3_64_intdigest(body))


def _is_sealed(block: bytes, size: int) -> bool:
    end = size - _CHECKSUM.size
    return len(block) >= size and _CHECKSUM.unpack_from(block, end)[0] == xxh3_64_intdigest(block[:end])
