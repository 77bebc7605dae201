"""Pulling: has an archive send what it was asked for, until our own ledger says that it is here.

What an archive says of its sub-operations is not counted on. Before each attempt it lists the instances of the series,
and is asked for those that we lack: what we hold must not come again, for an archive may have encoded it anew, and
another content under one UID holds the study.
"""

import logging
import time
from collections.abc import Collection, Iterator
from typing import Protocol

from node import eventlog
from node.dicom.identifiers import InstanceUID, SeriesUID, StudyUID
from node.errors import RetrievalError
from node.eventlog import Event, alias
from node.ledger.retrievals import Retrievals
from node.records import Retrieval, RetrievalState
from node.settings import RetrievalSettings

_AT_ONCE = 100  # instances of one request, a list of 6 kB; chosen
_ROWS_FOLLOW_S = 10.0  # until what was received is in the ledger; chosen, it takes a moment
_LOOK_EVERY_S = 0.1


class Source(Protocol):
    """What instances are pulled from; `archive.Archive` by C-MOVE, `courier.Courier` by C-GET."""

    @property
    def name(self) -> str: ...

    def instances(self, study: StudyUID, series: SeriesUID) -> frozenset[InstanceUID]:
        """Return the instances of a series that there are."""
        ...

    def send(
        self, study: StudyUID, series: SeriesUID, instances: Collection[InstanceUID] = (), *, limit_s: float
    ) -> None:
        """Bring a series, or some instances of it, to our receiver; RetrievalError if that is not sure."""
        ...


class Puller:
    """Sees to what one archive was asked to send."""

    def __init__(
        self,
        source: Source,
        settings: RetrievalSettings,
        retrievals: Retrievals,
        *,
        rows_follow_s: float = _ROWS_FOLLOW_S,
    ) -> None:
        self._source, self._settings, self._retrievals = source, settings, retrievals
        self._rows_follow_s = rows_follow_s

    def run_once(self, *, now: float) -> None:
        """Make an attempt at all that is due at `now` (seconds since 1970), and close the priors that have come."""
        for one in self._retrievals.due(self._source.name, now=now):
            self._attempt(one, now)
        for study in self._retrievals.keep_priors(seen_before_s=now - self._settings.pull_after_s, now=now):
            eventlog.record(Event.PRIOR_KEPT, study=study)

    def _attempt(self, one: Retrieval, now: float) -> None:
        attempt = one.attempts + 1
        if one.expired:
            self._give_up(one, "the study was dropped", now)
            return
        if attempt > self._settings.attempts:  # the last one ended with our process
            self._give_up(one, "all attempts are spent", now)
            return
        wait_s = min(self._settings.first_wait_s * 2.0**one.attempts, self._settings.longest_wait_s)
        self._retrievals.begin(one.id, next_try_s=now + wait_s)
        try:
            instances = self._pull(one)
        except RetrievalError as error:
            if attempt >= self._settings.attempts:
                self._give_up(one, str(error), now)
                return
            self._retrievals.postpone(one.id, str(error))
            self._record(Event.RETRIEVAL_POSTPONED, one, logging.WARNING, attempt=attempt, reason=f"'{error}'")
            return
        self._retrievals.settle(one.id, RetrievalState.DONE, "", now=now, instances=instances)
        self._record(Event.RETRIEVAL_DONE, one, instances=instances, attempt=attempt)

    def _pull(self, one: Retrieval) -> int:
        """Have the archive send what we lack of a series, and return how many instances of it we then hold."""
        listed, held = self._source.instances(one.study, one.series), self._held(one)
        if len(listed) > self._settings.most_instances:
            raise RetrievalError(f"the series has more than {self._settings.most_instances} instances")
        if not listed and held:
            raise RetrievalError("the archive does not say which instances it has")
        failure: RetrievalError | None = None
        for request in _requests(listed, held, one_by_one=one.attempts > 0):
            try:
                self._source.send(one.study, one.series, request, limit_s=self._settings.time_limit_s)
            except RetrievalError as error:  # what has come all the same counts
                failure = error
                break
        came = self._await_rows(one, listed)
        if came and (listed or failure is None):
            return len(self._held(one))
        if failure is not None:
            raise failure
        raise RetrievalError("the archive says that it sent all, yet not all has come")

    def _await_rows(self, one: Retrieval, listed: frozenset[InstanceUID]) -> bool:
        """Return whether what the archive listed is held, or anything if it listed nothing; rows follow instances."""
        ends = time.monotonic() + self._rows_follow_s
        while not ((held := self._held(one)) and listed <= held):
            if time.monotonic() >= ends:
                return False
            time.sleep(_LOOK_EVERY_S)
        return True

    def _held(self, one: Retrieval) -> frozenset[InstanceUID]:
        return self._retrievals.held_instances(one.study, one.series)

    def _give_up(self, one: Retrieval, reason: str, now: float) -> None:
        self._retrievals.settle(one.id, RetrievalState.FAILED, reason, now=now)
        self._record(Event.RETRIEVAL_FAILED, one, logging.ERROR, reason=f"'{reason}'")

    def _record(self, event: Event, one: Retrieval, level: int = logging.INFO, **fields: str | int) -> None:
        eventlog.record(event, level, study=alias(one.study), archive=self._source.name, why=str(one.reason), **fields)


def _requests(
    listed: frozenset[InstanceUID], held: frozenset[InstanceUID], *, one_by_one: bool
) -> Iterator[list[InstanceUID]]:
    """Yield which instances to ask for at a time; none of them stands for the whole series.

    Not every archive takes a list of UIDs, so an attempt after the first one asks for each by itself.
    """
    missing = sorted(listed - held)
    if not held:
        yield []
        return
    size = 1 if one_by_one else _AT_ONCE
    for start in range(0, len(missing), size):
        yield missing[start : start + size]
