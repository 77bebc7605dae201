"""Retention of results: files of what every destination has go once the images are gone that they were made from.

The reports stay, a hundred kB each: later studies are compared with them, revisions name them, recalls name by them
what else there was. The rows stay as well.
"""

import contextlib
import logging
from pathlib import Path

from node import durable, eventlog
from node.errors import SpoolError
from node.eventlog import Event
from node.ledger.ledger import Ledger
from node.spool import Results

_EVERY_S = 6 * 3600.0  # it looks through all results that there ever were; chosen


class ResultRetention:
    """Drops the files of results; when, `[spool] keep_days` says, by which the receiver drops the images.

    Parameters
    ----------
    last : Path
        File with the time of the last turn: a worker that is restarted often has its turns, and no more of them.
    """

    def __init__(self, ledger: Ledger, results: Results, last: Path) -> None:
        self._ledger, self._results, self._last = ledger, results, last

    def run_once(self, *, now: float) -> int:
        """Drop what is done with, and return how many files that were; none within hours of the last turn.

        `now` in seconds since 1970.
        """
        with contextlib.suppress(OSError, ValueError):  # none yet, or not to be read: then it is time
            if 0.0 <= now - float(self._last.read_text()) < _EVERY_S:
                return 0
        dropped = refused = 0
        for path in self._ledger.done_with():
            try:
                dropped += self._results.drop(path)
            except SpoolError:  # of a disk that refuses this one
                refused += 1
        if refused:
            eventlog.record(
                Event.LOOP_FAILED, logging.ERROR, loop="retain-results", error=SpoolError.__name__, files=refused
            )  # fmt: skip
        if dropped:
            eventlog.record(Event.RESULTS_DROPPED, files=dropped)
        durable.write(self._last, f"{now}\n".encode())
        return dropped
