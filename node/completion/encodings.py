"""Encodings: a study that is held because its instances came again in another transfer syntax, and say the same.

A scanner and a PACS may both send a study, one of them compressed. The receiver tells repeats by their bytes, so it
keeps both and holds the study. When all is quiet the two are compared, decoded; if they say the same the study goes on
with what counted before.
"""

import hashlib
import logging
from collections.abc import Callable, Sequence
from itertools import pairwise

from node import eventlog
from node.errors import NodeError, shown
from node.eventlog import Event, alias
from node.ledger.ledger import Ledger
from node.ledger.studies import DoubtfulStudy
from node.records import Place
from node.spool import SpoolReader

Stretch = tuple[str, str, int, int]  # path of a file; SHA-256, offset and length of the Part 10 bytes in it
FirstDifference = Callable[[Sequence[tuple[Stretch, Stretch]]], str]


class Encodings:
    """Lets studies go on whose contradicting instances are the same in other encodings; for one thread.

    Parameters
    ----------
    first_difference : callable
        Decodes and compares pairs of instances, in a process of its own: "" if each pair says the same.
    quiet_period_s : float
        Without a new instance, until a study is looked at.
    """

    def __init__(
        self, ledger: Ledger, spool: SpoolReader, first_difference: FirstDifference, *, quiet_period_s: float
    ) -> None:
        self._ledger, self._spool = ledger, spool
        self._first_difference, self._quiet_period_s = first_difference, quiet_period_s
        self._differ: dict[str, int] = {}  # by study, as of which change it was found to contradict itself

    def run_once(self, *, now: float) -> None:
        """Compare what may be alike of the studies that are held; `now` in seconds since 1970."""
        doubtful = self._ledger.doubtful(quiet_since_s=now - self._quiet_period_s)
        self._differ = {one.study: self._differ[one.study] for one in doubtful if one.study in self._differ}
        for one in doubtful:
            if self._differ.get(one.study) == one.changes:
                continue
            found = self._compare(one)
            if found:
                self._differ[one.study] = one.changes
                eventlog.record(Event.STUDY_DIFFERS, study=alias(one.study), first=f"'{found}'")
            elif self._ledger.go_on(one, now=now):
                eventlog.record(Event.STUDY_ALIKE, logging.WARNING, study=alias(one.study), instances=len(one.doubles))

    def _compare(self, study: DoubtfulStudy) -> str:
        """Return what is different, or why it cannot be known; "" if all versions of each instance are alike."""
        if not study.doubles:
            return "no instance came in two contents"
        try:
            pairs = [
                (self._stretch(one), self._stretch(other))
                for places in study.doubles
                for one, other in pairwise(places)
            ]
            return self._first_difference(pairs)
        except NodeError as error:  # of the spool or the sandbox
            return shown(error)

    def _stretch(self, place: Place) -> Stretch:
        view = self._spool.read(place)
        path, offset = self._spool.path_of(place)
        return str(path), hashlib.sha256(view).hexdigest(), offset, len(view)
