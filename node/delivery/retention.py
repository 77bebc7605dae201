"""Retention of results: files of what every destination has go once the images are gone that they were made from.

The reports stay, a hundred kB each: later studies are compared with them, revisions name them, recalls name by them
what else there was. The rows stay as well.
"""

import logging

from node import eventlog
from node.errors import SpoolError
from node.eventlog import Event
from node.ledger.ledger import Ledger
from node.spool import Results


class ResultRetention:
    """Drops the files of results; when, `[spool] keep_days` says, by which the receiver drops the images."""

    def __init__(self, ledger: Ledger, results: Results) -> None:
        self._ledger, self._results = ledger, results

    def run_once(self) -> int:
        """Drop what is done with, and return how many files that were."""
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
        return dropped
