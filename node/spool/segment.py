"""Segments: append-only files, zero-filled before use, so that syncing a record has no metadata to commit."""

import logging
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from xxhash import xxh3_64

from node import durable, eventlog
from node.eventlog import Event
from node.records import Place
from node.spool.record import RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES, RecordHeader, SegmentHeader

SUFFIX = ".segment"
_CHUNK = 1 << 20
_SYNC_EVERY = 16 << 20  # bytes: a fill that syncs only at its end would hold up everybody else's sync; chosen


@dataclass(slots=True)
class Segment:
    """An open segment; `end` and `sequence` are of the record to come. One recording at a time writes in it."""

    header: SegmentHeader
    descriptor: int
    end: int = SEGMENT_HEADER_BYTES
    sequence: int = 0

    @property
    def number(self) -> int:
        return self.header.number

    @property
    def room(self) -> int:
        """Bytes up to the size that the segment was made with."""
        return self.header.size - self.end

    def cut_back(self) -> None:
        """Give back the blocks behind its size, if no whole record lies there: of one that was broken off."""
        size = max(self.header.size, self.end)
        if os.fstat(self.descriptor).st_size > size:
            os.ftruncate(self.descriptor, size)

    def close(self) -> None:
        """Give the descriptor back."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def path_of(root: Path, number: int) -> Path:
    """Return the path of a segment; its name is our own counter."""
    return root / f"{number:08d}{SUFFIX}"


def make(root: Path, number: int, size: int, *, before_each: Callable[[], None] | None = None) -> Segment:
    """Make a segment of `size` bytes, durable with its name, and return it open.

    With `before_each` it is filled with zeros, and that is called before each MiB of them: it may take its time.
    Without, its blocks are only reserved, which is quick, takes the space just as surely, and makes each sync slower.
    """
    target = path_of(root, number)
    part = target.with_suffix(durable.PART)
    descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        if before_each is not None:
            _zero(descriptor, size, start=0, before_each=before_each)
        else:
            os.posix_fallocate(descriptor, 0, size)
        header = _begin(descriptor, number, size)
        part.rename(target)
        durable.sync_folder(root)
    except BaseException:
        os.close(descriptor)
        for name in (part, target):
            name.unlink(missing_ok=True)
        raise
    return Segment(header, descriptor)


def recycle(root: Path, number: int, *, zeroed: bool) -> Segment:
    """Let a segment start afresh under a new generation: what was in it is gone for every reader."""
    descriptor = os.open(path_of(root, number), os.O_RDWR | os.O_CLOEXEC)
    try:
        size = _header_of(descriptor).size
        os.ftruncate(descriptor, size)  # a record that outgrew the segment
        if zeroed:
            # From behind the header: at a power cut the segment must not be without one.
            _zero(descriptor, size, start=SEGMENT_HEADER_BYTES, before_each=lambda: None)
        return Segment(_begin(descriptor, number, size), descriptor)
    except BaseException:
        os.close(descriptor)
        raise


def open_segment(root: Path, number: int) -> Segment:
    """Return a segment of before, opened at its start; ValueError if it has no header, which no finished one lacks."""
    descriptor = os.open(path_of(root, number), os.O_RDWR | os.O_CLOEXEC)
    try:
        return Segment(_header_of(descriptor), descriptor)
    except (OSError, ValueError):
        os.close(descriptor)
        raise


def walk(segment: Segment) -> Iterator[RecordHeader]:
    """Yield the whole records from the segment's end on, and move its end behind each.

    The first place without a record of this generation is the end: writing in a segment is serial, and 0x0000 follows
    the sync. So is a torn record with nothing behind it; one with a whole record behind it was acknowledged, has been
    damaged since, and is passed over.
    """
    while (header := _next_whole(segment)) is not None:
        if header.sequence != segment.sequence:
            damaged = header.sequence - segment.sequence
            eventlog.record(Event.RECORD_DAMAGED, logging.ERROR, segment=segment.number, records=damaged)
        segment.end, segment.sequence = header.following.end, header.following.sequence
        yield header


def _next_whole(segment: Segment) -> RecordHeader | None:
    end, sequence = segment.end, segment.sequence
    while True:
        header = RecordHeader.unpack(os.pread(segment.descriptor, RECORD_HEADER_BYTES, end), end)
        if header is None or (header.place, header.sequence) != (
            Place(segment.number, segment.header.generation, end),
            sequence,
        ):
            return None
        if checksum_of(segment.descriptor, header) == header.checksum:
            return header
        end, sequence = header.following.end, header.following.sequence


def checksum_of(descriptor: int, header: RecordHeader) -> int:
    """Return the XXH3-64 of the Part 10 bytes as they are on disk now; short ones cannot match."""
    checksum, position = xxh3_64(), header.place.offset + RECORD_HEADER_BYTES
    left = header.length
    while left:
        chunk = os.pread(descriptor, min(_CHUNK, left), position)
        if not chunk:
            return -1
        checksum.update(chunk)
        position, left = position + len(chunk), left - len(chunk)
    return checksum.intdigest()


def write_all(descriptor: int, pieces: Sequence[bytes | memoryview], position: int) -> int:
    """Write the pieces one behind the other from `position` on, and return how many bytes that were."""
    total = sum(map(len, pieces))
    written = os.pwritev(descriptor, pieces, position)
    if written < total:  # a signal, or a disk that is full: the next call says which
        rest = memoryview(b"".join(pieces))
        while written < total:
            written += os.pwrite(descriptor, rest[written:], position + written)
    return total


def _begin(descriptor: int, number: int, size: int) -> SegmentHeader:
    header = SegmentHeader(number, secrets.randbits(63), size)  # 63: SQL's integers have a sign
    write_all(descriptor, [header.pack()], 0)
    os.fsync(descriptor)
    return header


def _header_of(descriptor: int) -> SegmentHeader:
    header = SegmentHeader.unpack(os.pread(descriptor, SEGMENT_HEADER_BYTES, 0))
    if header is None:
        raise ValueError("no segment header")
    return header


def _zero(descriptor: int, size: int, *, start: int, before_each: Callable[[], None]) -> None:
    zeros = memoryview(bytes(_CHUNK))
    for count, position in enumerate(range(start, size, _CHUNK), 1):
        before_each()
        write_all(descriptor, [zeros[: size - position]], position)
        if count * _CHUNK % _SYNC_EVERY == 0:
            os.fdatasync(descriptor)
