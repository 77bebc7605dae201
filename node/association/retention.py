"""Retention: what is done with is dropped after a while, and segments that nobody needs start afresh."""

import logging

from node import eventlog
from node.association.register import Register
from node.errors import SpoolError
from node.eventlog import Event
from node.ledger import Arrivals
from node.spool import Spool

_DAY_S = 86400.0


class Retention:
    """Drops rows, then gives their segments back to the pool.

    Parameters
    ----------
    keep_days : int
        After the last instance of a study, until it may be dropped; 0: never.
    """

    def __init__(self, spool: Spool, arrivals: Arrivals, register: Register, *, keep_days: int) -> None:
        self._spool, self._arrivals, self._register, self._keep_days = spool, arrivals, register, keep_days

    def run_once(self, *, now: float) -> int:
        """Drop what has become too old at `now` (seconds since 1970), and return how many segments became free."""
        if not self._keep_days:
            return 0
        with self._register.pause():
            self._register.flush(now=now)  # what came again meanwhile is not old
            studies = self._arrivals.expire(before_s=now - self._keep_days * _DAY_S)
        # In this order: in what is sealed nothing more is recorded, and all that was has its row after the flush.
        sealed = self._spool.sealed()
        self._register.flush(now=now)
        freed = 0
        for number in sorted(sealed - self._arrivals.needed_segments()):
            try:
                self._spool.recycle(number)
                freed += 1
            except SpoolError as error:  # of a disk that refuses this one
                eventlog.record(Event.LOOP_FAILED, logging.ERROR, loop="retention", error=type(error).__name__)
        if studies or freed:
            eventlog.record(Event.STUDIES_EXPIRED, studies=studies, segments=freed)
        return freed
