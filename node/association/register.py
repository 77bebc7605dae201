"""The register: every instance that is held is known by it at once, and has its row soon after.

What makes an instance durable is its record in the spool. Rows follow in batches, so that an answer waits for one sync
and not for the ledger; the rows say how far they follow, and what lies behind is entered at the next start.
"""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from node import eventlog
from node.errors import SpoolError, SpoolFullError
from node.eventlog import Event
from node.ledger import Arrivals
from node.records import ReceivedInstance, Version
from node.spool import RecordHeader, Spool, SpoolReader

_BATCH_EVERY_S, _BATCH = 0.05, 256  # chosen
_MOST_WAITING = 50_000  # rows in memory, about 1 kB each; the ledger has failed for minutes then. Chosen
_RETRY_AFTER_S = 1.0
_PIECE = 1 << 20


class Register:
    """Knows what is held under which SOP Instance UID, and enters it into the ledger.

    Parameters
    ----------
    spool, arrivals
        Where the bytes are, and where the rows go.
    """

    def __init__(self, spool: Spool, arrivals: Arrivals) -> None:
        self._spool, self._arrivals, self._reader = spool, arrivals, SpoolReader(spool.root)
        self._lock = threading.Lock()
        self._released = threading.Condition(self._lock)  # a claim ended
        self._work = threading.Condition(self._lock)  # something waits for its row
        self._claimed: set[str] = set()
        self._paused = False
        self._waiting: list[ReceivedInstance] = []
        self._unwritten: dict[str, list[Version]] = {}  # of what waits, by SOP Instance UID
        self._repeated: set[tuple[str, str]] = set()  # study and series
        self._flushing = threading.Lock()
        self._closing = False
        self._thread = threading.Thread(target=self._write, daemon=True, name="register")

    def replay(self, *, now: float) -> int:
        """Enter what the spool holds behind the ledger's last rows, and return how many instances that were.

        Once, before anybody calls. `now` in seconds since 1970.
        """
        entered = 0
        for header in self._spool.replay(self._arrivals.ends()):
            versions = self.versions(header.origin.sop_instance)
            data_set = self._reader.read(header.place)[header.head_length :] if versions else memoryview(b"")
            if self.find(versions, header.origin.transfer_syntax, data_set) is None:
                self.enter(header, contradicts=bool(versions))
                entered += 1
                if entered % _BATCH == 0:  # a ledger that was lost: as many rows as the spool holds instances
                    self.flush(now=now)
        self.flush(now=now)
        return entered

    def start(self) -> None:
        """Begin to write rows."""
        self._thread.start()

    def close(self) -> None:
        """Write the last rows and stop."""
        with self._lock:
            self._closing = True
            self._work.notify_all()
        self._thread.join()

    # ---------------------------------------------------------------- lookups

    @contextmanager
    def claim(self, sop_instance: str) -> Iterator[list[Version]]:
        """Hold a SOP Instance UID against other associations, and say what is held under it."""
        with self._lock:
            while self._paused or sop_instance in self._claimed:
                self._released.wait()
            self._claimed.add(sop_instance)
        try:
            yield self.versions(sop_instance)
        finally:
            with self._lock:
                self._claimed.discard(sop_instance)
                self._released.notify_all()

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Hold every SOP Instance UID: nobody is told that an instance is held while it is being dropped."""
        with self._lock:
            self._paused = True
            while self._claimed:
                self._released.wait()
        try:
            yield
        finally:
            with self._lock:
                self._paused = False
                self._released.notify_all()

    def versions(self, sop_instance: str) -> list[Version]:
        """Return what is held under a SOP Instance UID, in the order of its arrival."""
        with self._lock:
            unwritten = list(self._unwritten.get(sop_instance, ()))
        written = self._arrivals.versions(sop_instance)  # after the other: what is being written meanwhile comes twice
        return written + [one for one in unwritten if one not in written]

    def find(self, versions: list[Version], transfer_syntax: str, data_set: memoryview) -> Version | None:
        """Return the version that has just this content: the bytes of the data set, and their encoding."""
        for version in versions:
            try:
                header, view = self._reader.read_record(version.place)
            except SpoolError:  # then what came now is not known to be the same: both are kept
                eventlog.record(Event.RECORD_DAMAGED, logging.ERROR, segment=version.place.segment)
                continue
            same_syntax = header.origin.transfer_syntax == transfer_syntax
            if same_syntax and _equal(view[header.head_length :], data_set):
                return version
        return None

    # ---------------------------------------------------------------- entries

    def require_room(self) -> None:
        """SpoolFullError if the ledger has fallen too far behind."""
        if len(self._waiting) >= _MOST_WAITING:
            raise SpoolFullError("the ledger of the node is far behind")

    def enter(self, header: RecordHeader, *, contradicts: bool) -> None:
        """Know an instance from now on; its row follows. The caller holds the claim of its UID."""
        received = header.received(contradicts=contradicts)
        with self._lock:
            self._waiting.append(received)
            self._unwritten.setdefault(header.origin.sop_instance, []).append(Version(header.place, contradicts))
            if len(self._waiting) in (1, _BATCH):
                self._work.notify_all()

    def note_repeat(self, study: str, series: str) -> None:
        """Note that a series is being sent again."""
        with self._lock:
            if not (self._repeated or self._waiting):
                self._work.notify_all()
            self._repeated.add((study, series))

    def flush(self, *, now: float) -> None:
        """Write the rows of all that waits; `now` in seconds since 1970."""
        with self._flushing:
            while True:
                with self._lock:
                    batch, repeated = self._waiting[:_BATCH], frozenset(self._repeated)
                if not batch and not repeated:
                    return
                held = self._arrivals.enter(batch, repeated=repeated, now=now)
                with self._lock:
                    del self._waiting[: len(batch)]
                    self._repeated -= repeated
                    for one in batch:
                        self._forget_unwritten(one)
                for study in held:
                    eventlog.record(Event.STUDY_HELD, logging.ERROR, study=study.alias, reason=f"'{study.reason}'")
                if len(batch) < _BATCH:  # what came meanwhile is of the next batch: else each commit takes one or two
                    return

    def _forget_unwritten(self, one: ReceivedInstance) -> None:
        versions = self._unwritten.pop(one.origin.sop_instance)
        left = [version for version in versions if version.place != one.place]
        if left:
            self._unwritten[one.origin.sop_instance] = left

    def _write(self) -> None:
        failing = False
        while True:
            with self._lock:
                while not (self._waiting or self._repeated or self._closing):
                    self._work.wait()
                if not self._closing and len(self._waiting) < _BATCH:
                    self._work.wait(timeout=_BATCH_EVERY_S)
                closing = self._closing
            try:
                self.flush(now=time.time())
                failing = False
            except Exception as error:  # a database that is locked or full: the records are safe, the rows can wait
                if not failing:
                    eventlog.record(Event.REGISTER_BEHIND, logging.ERROR, error=type(error).__name__)
                failing = True
                if not closing:
                    time.sleep(_RETRY_AFTER_S)
            if closing:
                return


def _equal(one: memoryview, other: memoryview) -> bool:
    """Compare piece by piece: memoryviews compare element by element, and hold up all threads meanwhile."""
    return len(one) == len(other) and all(
        bytes(one[start : start + _PIECE]) == bytes(other[start : start + _PIECE])
        for start in range(0, len(one), _PIECE)
    )
