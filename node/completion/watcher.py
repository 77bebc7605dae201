"""The watcher: turns studies that have come to rest into jobs, or says why not."""

import logging
from collections.abc import Mapping

from pydicom import dcmread
from pydicom.dataset import Dataset

from node import eventlog
from node.completion.roles import SeriesFacts, decide_roles, read_facts, sample
from node.completion.rules import select
from node.dicom.identifiers import SeriesUID
from node.eventlog import Event, alias
from node.ledger import Enqueue, GatheringStudy, Ledger
from node.ports import Trigger
from node.records import Place, Role, RoleDecision
from node.settings import CompletionSettings
from node.spool import SpoolReader, as_file

_UNREADABLE = RoleDecision(Role.OTHER, "a header of the series could not be read")


class Watcher:
    """Looks at what gathers, and closes what is whole."""

    def __init__(
        self, ledger: Ledger, spool: SpoolReader, trigger: Trigger, settings: CompletionSettings, enqueue: Enqueue
    ) -> None:
        self._ledger, self._spool, self._trigger = ledger, spool, trigger
        self._settings, self._enqueue = settings, enqueue

    def run_once(self, *, now: float) -> None:
        """Close every study of which all series are whole at `now` (seconds since 1970)."""
        for gathered in self._ledger.gathering():
            try:
                self._look_at(gathered, now)
            except Exception as error:  # one study must not hold up the others; the next turn tries it again
                eventlog.record(
                    Event.STUDY_FAILED, logging.ERROR, study=alias(gathered.study), error=type(error).__name__
                )

    def _look_at(self, gathered: GatheringStudy, now: float) -> None:
        whole_by = {one.series: self._trigger.evidence(one, now=now) for one in gathered.series}
        known = {series: evidence for series, evidence in whole_by.items() if evidence is not None}
        if len(known) == len(whole_by):
            self._close(gathered, known, now)

    def _close(self, gathered: GatheringStudy, whole_by: Mapping[SeriesUID, str], now: float) -> None:
        facts = self._facts(gathered)
        roles = dict.fromkeys(whole_by, _UNREADABLE) | decide_roles(facts)
        selection = select(facts, roles, post_alone=self._settings.post_alone)
        closed = self._ledger.close(
            gathered,
            whole_by=whole_by,
            roles=roles,
            selection=selection.series,
            reason=selection.reason,
            enqueue=self._enqueue,
            now=now,
        )
        if not closed:
            return  # it grew while we looked; the next turn sees all of it
        if selection.series is None:
            eventlog.record(Event.STUDY_NOT_ELIGIBLE, study=alias(gathered.study), reason=f"'{selection.reason}'")
        else:
            eventlog.record(Event.STUDY_MEASURABLE, study=alias(gathered.study), by=f"'{selection.reason}'")

    def _facts(self, gathered: GatheringStudy) -> list[SeriesFacts]:
        found = []
        for one in gathered.series:
            places = self._ledger.places(gathered.study, one.series)
            try:
                headers = [self._header(place) for place in sample(places)]
                found.append(read_facts(one.series, headers, instances=one.instances))
            except Exception as error:  # what peers send may break pydicom anywhere; it costs the series, not the study
                eventlog.record(
                    Event.SERIES_UNREADABLE, logging.ERROR, series=alias(one.series), error=type(error).__name__
                )
        return found

    def _header(self, place: Place) -> Dataset:
        return dcmread(as_file(self._spool.read(place)), stop_before_pixels=True)
