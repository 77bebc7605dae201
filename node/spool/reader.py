"""The reading side of the spool, for any process: bytes on disk as memory, checked against their checksum."""

import io
import mmap
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from pydicom import dcmread
from pydicom.dataset import Dataset

from node.errors import SpoolError
from node.records import Place, SegmentEnd
from node.spool import segment as segments
from node.spool.record import RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES, RecordHeader, SegmentHeader


@dataclass(frozen=True, slots=True)
class SegmentState:
    """A segment on disk: its bytes, and how many of them are written; 0 if it is spare."""

    number: int
    size: int
    written: int


class SpoolReader:
    """Reads instances where the ledger says they are."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, place: Place) -> memoryview:
        """Return the Part 10 bytes of an instance, mapped, not copied.

        Raises
        ------
        SpoolError
            If they are not there, or are not what was received.
        """
        return self.read_record(place)[1]

    def read_record(self, place: Place, *, from_disk: bool = False) -> tuple[RecordHeader, memoryview]:
        """Return header and Part 10 bytes of an instance; `from_disk` asks the disk and not the page cache."""
        try:
            descriptor = os.open(segments.path_of(self.root, place.segment), os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise SpoolError("a segment that the ledger knows is missing from the spool") from error
        try:
            if from_disk:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            segment = SegmentHeader.unpack(os.pread(descriptor, SEGMENT_HEADER_BYTES, 0))
            if segment is None or segment.generation != place.generation:
                raise SpoolError("a segment has been used again for other instances than the ledger knows")
            header = RecordHeader.unpack(os.pread(descriptor, RECORD_HEADER_BYTES, place.offset), place.offset)
            if header is None or header.place != place:
                raise SpoolError("a record that the ledger knows is damaged: its header does not fit")
            # Read first, then mapped: a sector that cannot be read is an error of `pread`, and a signal of a mapping.
            if segments.checksum_of(descriptor, header) != header.checksum:
                raise SpoolError("an instance on disk is not what was received: its checksum differs")
            view = mapped(descriptor, place.offset + RECORD_HEADER_BYTES, header.length)
        except (OSError, ValueError) as error:  # ValueError: the file is shorter than the header says
            raise SpoolError("an instance cannot be read from disk") from error
        finally:
            os.close(descriptor)
        return header, view

    def segments(self, ends: Mapping[int, SegmentEnd]) -> list[SegmentState]:
        """Return all segments by number; `ends` is what the ledger knows of them, a moment behind the writer."""
        found = []
        for path in sorted(self.root.glob(f"*{segments.SUFFIX}")):
            with path.open("rb") as file:
                header = SegmentHeader.unpack(file.read(SEGMENT_HEADER_BYTES))
            if header is not None:
                end = ends.get(header.number)
                known = end is not None and end.generation == header.generation
                found.append(SegmentState(header.number, path.stat().st_size, end.end if end and known else 0))
        return found

    def path_of(self, place: Place) -> tuple[Path, int]:
        """Return the file in which an instance lies, and where in it its Part 10 bytes begin."""
        return segments.path_of(self.root, place.segment), place.offset + RECORD_HEADER_BYTES


def mapped(descriptor: int, offset: int, length: int) -> memoryview:
    """Return bytes of a file as memory, which is unmapped when nobody refers to it; the descriptor may be closed."""
    start = offset // mmap.ALLOCATIONGRANULARITY * mmap.ALLOCATIONGRANULARITY
    mapping = mmap.mmap(descriptor, length + offset - start, offset=start, prot=mmap.PROT_READ)
    return memoryview(mapping)[offset - start :]


def read_header(view: memoryview) -> Dataset:
    """Return what stands in front of the pixels of an instance; pydicom raises what it likes on broken bytes."""
    return dcmread(as_file(view), stop_before_pixels=True)


def as_file(view: memoryview) -> BinaryIO:
    """Return a file over memory, without copying it, for who reads from files (pydicom's `dcmread`)."""
    return cast(BinaryIO, io.BufferedReader(_ViewFile(view)))


class _ViewFile(io.RawIOBase):
    name = ""  # pydicom asks an io.BufferedReader for it

    def __init__(self, view: memoryview) -> None:
        self._view, self._position = view, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self._view[self._position : self._position + len(buffer)]
        buffer[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: len(self._view)}[whence]
        self._position = max(0, base + offset)
        return self._position
