"""The watcher: turns studies that have come to rest into jobs, or says why not."""

import logging
from collections.abc import Mapping, Sequence

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset

from node import eventlog
from node.completion.roles import SeriesFacts, decide_roles, read_facts
from node.completion.rules import select
from node.dicom.identifiers import SeriesUID
from node.errors import SpoolError
from node.eventlog import Event, alias
from node.ledger import Enqueue, GatheringStudy, Ledger
from node.ports import Trigger
from node.records import Role, RoleDecision
from node.settings import CompletionSettings
from node.spool import Spool

_HEADERS_READ = 9  # of a series, evenly spread: enough to see the planes of a localizer
_UNREADABLE = RoleDecision(Role.OTHER, "no header of the series could be read")


class Watcher:
    """Looks at what gathers, and closes what is whole."""

    def __init__(
        self, ledger: Ledger, spool: Spool, trigger: Trigger, settings: CompletionSettings, enqueue: Enqueue
    ) -> None:
        self._ledger, self._spool, self._trigger = ledger, spool, trigger
        self._settings, self._enqueue = settings, enqueue

    def run_once(self, *, now: float) -> None:
        """Close every study of which all series are whole at `now` (seconds since 1970)."""
        for gathered in self._ledger.gathering():
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
            headers = self._headers(self._ledger.paths(gathered.study, one.series))
            if headers:
                found.append(read_facts(one.series, headers, instances=one.instances))
            else:
                eventlog.record(Event.SERIES_UNREADABLE, logging.ERROR, series=alias(one.series))
        return found

    def _headers(self, paths: Sequence[str]) -> list[Dataset]:
        some = sorted({round(place) for place in np.linspace(0, len(paths) - 1, _HEADERS_READ)}) if paths else []
        return [header for place in some if (header := self._header(paths[place])) is not None]

    def _header(self, path: str) -> Dataset | None:
        try:
            return dcmread(self._spool.path_of(path), stop_before_pixels=True)
        except SpoolError:
            return None
        except Exception:  # what peers send may break pydicom anywhere; it costs the series, not the study
            return None
