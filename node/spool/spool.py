"""The writing side of the spool: a pool of segments, and recordings that append to them."""

import contextlib
import errno
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from xxhash import xxh3_64

from node import durable, eventlog, locks
from node.errors import SpoolError, SpoolFullError
from node.eventlog import Event
from node.records import Origin, Place, SegmentEnd
from node.spool import segment as segments
from node.spool.reader import mapped
from node.spool.record import (
    ALIGNMENT,
    RECORD_HEADER_BYTES,
    SEGMENT_HEADER_BYTES,
    RecordHeader,
    aligned,
    fitting,
)
from node.spool.segment import Segment

_SEALED_BELOW = 8  # a segment with less than 1/8 of its size left takes no more records; chosen
_MOST_PIECES = 512  # of one system call; IOV_MAX is 1024
_QUIET_S = 1.0  # without a new recording; chosen
_NICENESS = 10  # of the thread that fills segments; chosen
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class Spool:
    """Segments under one folder, written by one process.

    Parameters
    ----------
    root : Path
        The folder; made if missing, readable by the owner alone.
    segment_bytes : int
        Size of new segments, a multiple of the alignment.
    spare : int
        Zero-filled segments to keep ready.
    floor_bytes : int
        Free space that is never used: the ledger needs it to write down what was received.
    zero_recycled : bool
        Overwrite what a segment held when it is used again.

    Raises
    ------
    LedgerError
        If another process writes in the folder.
    """

    def __init__(
        self,
        root: Path,
        *,
        segment_bytes: int = 256 << 20,
        spare: int = 4,
        floor_bytes: int = 0,
        zero_recycled: bool = False,
    ) -> None:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.root = root
        self._segment_bytes, self._spare, self._floor_bytes = aligned(segment_bytes), spare, floor_bytes
        self._zero_recycled = zero_recycled
        self._held = locks.hold(root / "lock")
        self._lock = threading.Lock()
        self._free: list[Segment] = []  # no record in them
        self._parked: list[Segment] = []  # room left, nobody writes
        self._open: set[int] = set()  # somebody writes
        self._left_alone: set[int] = set()  # unreadable, or the disk refused a write
        self._next_number = 1
        self._low = threading.Condition(self._lock)
        self._closing = False
        self._last_begun = 0.0
        self._filler: threading.Thread | None = None

    # ---------------------------------------------------------------- life

    def replay(self, known: Mapping[int, SegmentEnd]) -> Iterator[RecordHeader]:
        """Take up the segments of before, and yield every whole record behind the ends that are known.

        Once, before anything is recorded. Unfinished files are removed; a segment without a header holds nothing that
        was acknowledged, because the header is durable before the first record is.
        """
        for leftover in self.root.glob(f"*{durable.PART}"):
            leftover.unlink()
            eventlog.record(Event.SPOOL_SWEPT, file=leftover.stem)
        for number in sorted(self._present()):
            self._next_number = max(self._next_number, number + 1)
            try:
                yield from self._take_up(number, known.get(number))
            except (OSError, ValueError) as error:  # one bad segment must not keep the node from receiving
                eventlog.record(Event.SEGMENT_UNREADABLE, logging.ERROR, segment=number, error=type(error).__name__)
                self._left_alone.add(number)

    def _take_up(self, number: int, noted: SegmentEnd | None) -> Iterator[RecordHeader]:
        segment = segments.open_segment(self.root, number)
        try:
            yield from self._walked(segment, noted)
        except OSError:
            segment.close()
            raise

    def _walked(self, segment: Segment, noted: SegmentEnd | None) -> Iterator[RecordHeader]:
        # A record whose commit did not return may be whole, and not on disk yet; if its sender comes again it is held
        # already, and 0x0000.
        os.fdatasync(segment.descriptor)
        known = noted is not None and noted.generation == segment.header.generation
        if noted is not None and known:
            segment.end, segment.sequence = noted.end, noted.sequence
        yield from segments.walk(segment)
        segment.cut_back()
        if segment.sequence and not known:
            segment.close()  # where it ends only the walk says: what a rotten header may hide must not be overwritten
        else:
            self._put_away(segment)

    def _present(self) -> set[int]:
        return {int(path.stem) for path in self.root.glob(f"*{segments.SUFFIX}") if path.stem.isdecimal()}

    def start(self) -> None:
        """Begin to fill segments in the background."""
        self._filler = threading.Thread(target=self._fill, daemon=True, name="spool-filler")
        self._filler.start()

    def close(self) -> None:
        """Give the folder back; what is being recorded is not waited for."""
        with self._lock:
            if self._closing:  # closed already: the number of its lock may be another file's
                return
            self._closing = True
            self._low.notify_all()
        if self._filler is not None:
            self._filler.join()
        for segment in (*self._free, *self._parked):
            segment.close()
        self._held.close()

    # ---------------------------------------------------------------- recording

    def begin(self) -> "Recording":
        """Return a recording for one instance.

        Raises
        ------
        SpoolFullError
            If the space left would fall below the floor.
        SpoolError
            If the disk refuses.
        """
        self._last_begun = time.monotonic()
        with self._lock:
            segment = self._parked.pop() if self._parked else None
            if segment is None and self._free:
                segment = self._free.pop()
                self._low.notify()
            if segment is not None:
                self._open.add(segment.number)
        if segment is None:
            with _as_spool_errors():
                segment = self._make()
        return Recording(self, segment)

    def require_space(self, size: int) -> None:
        """SpoolFullError if `size` more bytes on the disk would leave less than the floor."""
        state = os.statvfs(self.root)
        if state.f_bavail * state.f_frsize - size < self._floor_bytes:
            raise SpoolFullError("the disk of the node is full: its floor is reached")

    def _leave(self, segment: Segment, *, broken: bool) -> None:
        """Take back a segment after a recording. A broken one is set aside: its pages must not be synced again."""
        if broken:
            segment.close()
            eventlog.record(Event.SEGMENT_SET_ASIDE, logging.ERROR, segment=segment.number)
            with self._lock:
                self._left_alone.add(segment.number)
                self._open.discard(segment.number)
        else:
            self._put_away(segment)

    def _put_away(self, segment: Segment) -> None:
        with self._lock:
            self._open.discard(segment.number)  # in one step: in between it would look sealed
            if segment.end == SEGMENT_HEADER_BYTES:
                self._free.append(segment)
            elif segment.room * _SEALED_BELOW < segment.header.size:
                segment.close()
            else:
                self._parked.append(segment)

    # ---------------------------------------------------------------- the pool

    def sealed(self) -> set[int]:
        """Return the segments in which nothing will be recorded any more.

        Ask first, then write the rows of what was recorded, then ask which segments are needed: the other way round an
        instance may have been recorded meanwhile.
        """
        present = self._present()  # first: a new one is busy
        with self._lock:
            return present - self._in_use()

    def _in_use(self) -> set[int]:
        return self._open | self._left_alone | {one.number for one in (*self._free, *self._parked)}

    def recycle(self, number: int) -> None:
        """Let a sealed segment start afresh. SpoolError if the disk refuses, or it is not sealed.

        No row may refer to it, and the transaction that dropped the last one must be durable.
        """
        with self._lock:
            if number in self._in_use():
                raise SpoolError("a segment that is in use cannot start afresh")
            self._open.add(number)
        try:
            with _as_spool_errors():
                fresh = segments.recycle(self.root, number, zeroed=self._zero_recycled)
        except SpoolError:
            with self._lock:
                self._open.discard(number)
            raise
        self._put_away(fresh)

    def _fill(self) -> None:
        """Keep spare segments ready, at low priority."""
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
        while True:
            with self._lock:
                while self._enough() and not self._closing:
                    self._low.wait()
                if self._closing:
                    return
            try:
                with _as_spool_errors():
                    spare = self._make(before_each=self._wait_until_quiet)
            except _ClosingError:
                return
            except SpoolError:  # begin() says so where it matters; the space may come back
                with self._lock:
                    self._low.wait(timeout=5.0)
                continue
            self._put_away(spare)

    def _enough(self) -> bool:
        return len(self._free) >= self._spare

    def _wait_until_quiet(self) -> None:
        """Return when filling is in nobody's way: an instance that comes meanwhile has its sync behind ours."""
        while (left := self._last_begun + _QUIET_S - time.monotonic()) > 0 and not self._closing:
            time.sleep(left)
        if self._closing:
            raise _ClosingError

    def _make(self, *, before_each: Callable[[], None] | None = None) -> Segment:
        """Return a new segment, which counts as open from before it has its name on."""
        self.require_space(self._segment_bytes)
        with self._lock:
            number = self._next_number
            self._next_number += 1
            self._open.add(number)
        try:
            return segments.make(self.root, number, self._segment_bytes, before_each=before_each)
        except BaseException:
            with self._lock:
                self._open.discard(number)
            raise


class _ClosingError(Exception):
    """The spool closes while a segment is being filled."""


class Recording:
    """One instance on its way into a segment. Nothing of it is visible before `commit` has returned.

    The pieces given to `add` are not copied: call `flush` before what they point into is used again.
    """

    def __init__(self, spool: Spool, segment: Segment) -> None:
        self._spool, self._segment = spool, segment
        self._begun = segment.end
        self._position = segment.end + RECORD_HEADER_BYTES
        self._pieces: list[bytes | memoryview] = []
        self._checksum = xxh3_64()
        self._left = False
        self.length = 0  # bytes of Part 10 so far

    def add(self, piece: bytes | memoryview) -> None:
        """Append a piece of the Part 10 bytes."""
        self._checksum.update(piece)
        self._pieces.append(piece)
        self.length += len(piece)
        if len(self._pieces) >= _MOST_PIECES:
            self.flush()

    def flush(self) -> None:
        """Write out what was added: its memory may be used again. SpoolFullError, SpoolError as of `begin`."""
        if not self._pieces:
            return
        start, pieces = self._position, self._pieces
        if start == self._begun + RECORD_HEADER_BYTES:  # with room for the header: a page written whole is not read
            start, pieces = self._begun, [bytes(RECORD_HEADER_BYTES), *pieces]
        self._write(pieces, start)
        self._position = self._begun + RECORD_HEADER_BYTES + self.length
        self._pieces = []

    def view(self) -> memoryview:
        """Return the Part 10 bytes that were added so far, mapped."""
        self.flush()
        return mapped(self._segment.descriptor, self._begun + RECORD_HEADER_BYTES, self.length)

    def commit(
        self,
        origin: Origin,
        *,
        head_length: int,
        now: float,
        enter: Callable[[RecordHeader], None] | None = None,
    ) -> RecordHeader:
        """Make the instance durable and return its header. SpoolFullError, SpoolError as of `begin`.

        `head_length` is the number of Part 10 bytes before the data set, `now` seconds since 1970. `enter` is called
        with the header before anybody else records in the segment, so that rows come in the order of the records: what
        the ledger says of how far it follows a segment would else pass over an instance that has no row yet.
        """
        segment = self._segment
        header = RecordHeader(
            Place(segment.number, segment.header.generation, self._begun),
            segment.sequence, self.length, head_length, self._checksum.intdigest(), now, fitting(origin),
        )  # fmt: skip
        padding = -(RECORD_HEADER_BYTES + self.length) % ALIGNMENT
        if padding:
            self._pieces.append(bytes(padding))
        if self._position == self._begun + RECORD_HEADER_BYTES:  # all of it is still in memory: one write
            self._write([header.pack(), *self._pieces], self._begun)
            self._pieces = []
        else:
            self.flush()
            self._write([header.pack()], self._begun)
        try:
            os.fdatasync(segment.descriptor)
        except OSError as error:
            self._fail(error)
        following = header.following
        segment.end, segment.sequence = following.end, following.sequence
        try:
            if enter is not None:
                enter(header)
        finally:
            self._leave(broken=False)
        return header

    def abandon(self) -> None:
        """Forget the instance; the next recording overwrites it. After `commit`, or again: nothing happens."""
        self._pieces = []
        self._leave(broken=False)

    def _write(self, pieces: list[bytes | memoryview], position: int) -> None:
        if self._left:  # somebody else may record in the segment
            raise SpoolError("a recording that has ended takes nothing more")
        size = sum(map(len, pieces))
        try:
            if position + size > self._segment.header.size:
                self._spool.require_space(size)
            segments.write_all(self._segment.descriptor, pieces, position)
        except SpoolFullError:
            self._leave(broken=False)
            raise
        except OSError as error:
            self._fail(error)

    def _fail(self, error: OSError) -> None:
        # What the page cache holds may never reach the disk: a replay must not take it for an instance.
        with contextlib.suppress(OSError):
            os.pwrite(self._segment.descriptor, bytes(RECORD_HEADER_BYTES), self._begun)
        self._leave(broken=True)
        raise _spool_error(error) from error

    def _leave(self, *, broken: bool) -> None:
        if not self._left:
            self._left = True
            if self._position > self._segment.header.size and not broken:
                with contextlib.suppress(OSError):
                    self._segment.cut_back()
            self._spool._leave(self._segment, broken=broken)


def _spool_error(error: OSError) -> SpoolError:
    if error.errno in _FULL:
        return SpoolFullError("the disk of the node is full")
    return SpoolError(f"the spool could not be written ({error.strerror})")


@contextlib.contextmanager
def _as_spool_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _spool_error(error) from error
