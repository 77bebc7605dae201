"""The watcher: turns studies that have come to rest into jobs, or says why not, or what they still wait for."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from pydicom import dcmread
from pydicom.dataset import Dataset

from node import eventlog
from node.completion.counts import lacking_of
from node.completion.facts import StackFacts, read_facts
from node.completion.roles import decide_roles
from node.completion.rules import Selection, select
from node.completion.table import RoleTable
from node.completion.triggers import missing_of, missing_of_study, study_evidence
from node.dicom.frames import is_image
from node.dicom.identifiers import SeriesUID, StudyUID
from node.eventlog import Event, alias
from node.ledger.ledger import Enqueue, GatheringStudy, Ledger
from node.ports import Trigger
from node.records import Place, RoleDecision, SeriesRole, StackKey
from node.settings import CompletionSettings
from node.spool import SpoolReader, as_file

_UNREADABLE = RoleDecision(SeriesRole.OTHER, "a header of the series could not be read")
_NO_IMAGE = RoleDecision(SeriesRole.OTHER, "the series holds no acquired image")  # reports, segmentations, raw data
_SET_BY_S = 2.0  # more than a clock is slewed between two looks, and less than any quiet period; chosen
_LOOK_FOR_OVERDUE_EVERY_S = 60.0  # chosen
_TOLD_EVERY_S = 86400.0  # of what is overdue; chosen


@dataclass(frozen=True, slots=True)
class _Contents:
    """What the headers of a study say, as of `changes`: read once, however often it is looked at."""

    changes: int
    roles: Mapping[StackKey, RoleDecision]
    selection: Selection
    lacking: Mapping[SeriesUID, str]


class Watcher:
    """Looks at what gathers, and closes what is whole; for one thread.

    Parameters
    ----------
    trigger : Trigger
        Says when a series is whole.
    table : RoleTable
        By which rules roles are given.
    enqueue : callable
        `enqueue(connection, job)` makes a job exist in the transaction of `connection`.
    receiving : callable
        Whether the receiver is up: while it is not, nothing comes to rest.
    """

    def __init__(
        self,
        ledger: Ledger,
        spool: SpoolReader,
        trigger: Trigger,
        table: RoleTable,
        settings: CompletionSettings,
        enqueue: Enqueue,
        *,
        receiving: Callable[[], bool] = lambda: True,
    ) -> None:
        self._ledger, self._spool, self._trigger, self._table = ledger, spool, trigger, table
        self._settings, self._enqueue, self._receiving = settings, enqueue, receiving
        self._was_away = False  # the receiver, at the last look
        self._read: dict[StudyUID, _Contents] = {}
        self._clocks: tuple[float, float] | None = None
        self._tell_at_s = 0.0  # by the clock that nobody sets
        self._told_s: dict[str, float] = {}  # when we last said that something is overdue

    def run_once(self, *, now: float, monotonic_s: float) -> None:
        """Close every study that is whole.

        Parameters
        ----------
        now : float
            Seconds since 1970, as instances are stamped.
        monotonic_s : float
            Seconds of a clock that nobody sets: it tells whether the other one was.
        """
        studies = self._ledger.gathering()
        was_away, self._was_away = self._was_away, not self._receiving()
        ahead = any(one.last_seen_s > now + _SET_BY_S for study in studies for one in study.series)
        if self._was_set(now, monotonic_s) or ahead or was_away:
            self._ledger.restart_quiet(now=now)
            studies = self._ledger.gathering()
        self._read = {one.study: self._read[one.study] for one in studies if one.study in self._read}
        for gathered in studies:
            if self._was_away and not gathered.forced_by:
                continue  # nobody could send, which is not quiet
            try:
                self._look_at(gathered, now)
            except Exception as error:  # one study must not hold up the others; the next turn tries it again
                eventlog.record(
                    Event.STUDY_FAILED, logging.ERROR, study=alias(gathered.study), error=type(error).__name__
                )
        if monotonic_s >= self._tell_at_s:
            self._tell_at_s = monotonic_s + _LOOK_FOR_OVERDUE_EVERY_S
            self._tell_of_overdue(now)

    def _was_set(self, now: float, monotonic_s: float) -> bool:
        """Return whether the clock of the machine was set since the last look, or the machine was suspended."""
        before, self._clocks = self._clocks, (now, monotonic_s)
        if before is None:
            return False
        set_by_s = (now - before[0]) - (monotonic_s - before[1])
        if abs(set_by_s) <= _SET_BY_S:
            return False
        eventlog.record(Event.CLOCK_SET, logging.WARNING, seconds=round(set_by_s))
        return True

    def _look_at(self, gathered: GatheringStudy, now: float) -> None:
        if gathered.forced_by:
            said = f"force-complete by {gathered.forced_by}"
            whole_by = {one.series: f"{one.instances} instances, {said}" for one in gathered.series}
            self._close(gathered, whole_by, said, self._contents(gathered), now)
            return
        study_whole_by = study_evidence(gathered, self._settings, now=now)
        if not study_whole_by or not self._evidence(gathered, now):  # before headers are read: most looks end here
            self._wait(gathered, _missing(gathered))
            return
        contents = self._contents(gathered)
        seen = replace(
            gathered,
            series=tuple(replace(one, lacking=contents.lacking.get(one.series, "")) for one in gathered.series),
        )
        whole_by = self._evidence(seen, now)
        if not whole_by:
            self._wait(gathered, _missing(seen))
            return
        missing = self._missing_roles(contents)
        if missing and self._settings.missing_role != "proceed":
            if now - max(one.last_seen_s for one in seen.series) < self._settings.wait_for_roles_s:
                self._wait(gathered, f"required and missing: {missing}")
                return
            if self._settings.missing_role == "refuse":
                reason = f"required and missing for {self._settings.wait_for_roles_s:g} s: {missing}"
                contents = replace(contents, selection=replace(contents.selection, stacks=None, reason=reason))
        incomplete = _missing(seen)
        if incomplete:
            eventlog.record(
                Event.STUDY_INCOMPLETE, logging.WARNING, study=alias(gathered.study), missing=f"'{incomplete}'"
            )
        self._close(gathered, whole_by, study_whole_by, contents, now)

    def _evidence(self, gathered: GatheringStudy, now: float) -> dict[SeriesUID, str]:
        """Return what says that each series is whole; nothing if one may still grow."""
        whole_by = {one.series: self._trigger.evidence(one, now=now) for one in gathered.series}
        known = {series: evidence for series, evidence in whole_by.items() if evidence is not None}
        return known if len(known) == len(whole_by) else {}

    def _missing_roles(self, contents: _Contents) -> str:
        """Return the required roles that no series of the study has; "" if all are there."""
        here = {role.value for role in contents.selection.stacks or ()}
        if any(decision.role is SeriesRole.LOCALIZER for decision in contents.roles.values()):
            here.add("localizer")
        return ", ".join(role for role in self._settings.required if role not in here)

    def _wait(self, gathered: GatheringStudy, what: str) -> None:
        """Note what a study waits for, if that is more than that it is quiet."""
        reason = f"waits; {what}" if what else ""
        if reason != gathered.reason:
            self._ledger.note_waiting(gathered, reason)

    def _close(
        self,
        gathered: GatheringStudy,
        whole_by: Mapping[SeriesUID, str],
        study_whole_by: str,
        contents: _Contents,
        now: float,
    ) -> None:
        selection = contents.selection
        missing = self._missing_roles(contents) if selection.stacks is not None else ""
        closed = self._ledger.close(
            gathered,
            whole_by=whole_by,
            study_whole_by=study_whole_by,
            roles=contents.roles,
            selection=selection.stacks,
            reason=f"{selection.reason}; {missing} missing" if missing else selection.reason,
            enqueue=self._enqueue,
            now=now,
        )
        if not closed:
            return  # it grew while we looked; the next turn sees all of it
        self._read.pop(gathered.study)
        if selection.stacks is None:
            eventlog.record(Event.STUDY_NOT_ELIGIBLE, study=alias(gathered.study), reason=f"'{selection.reason}'")
        else:
            eventlog.record(
                Event.STUDY_MEASURABLE, study=alias(gathered.study), by=f"'{selection.reason}'",
                whole_by=f"'{study_whole_by}'",
            )  # fmt: skip

    def _contents(self, gathered: GatheringStudy) -> _Contents:
        """Return what the headers of a study say, of all its instances, read if that has not been done."""
        known = self._read.get(gathered.study)
        if known is not None and known.changes == gathered.changes:
            return known
        facts: list[StackFacts] = []
        roles: dict[StackKey, RoleDecision] = {}
        lacking: dict[SeriesUID, str] = {}
        for one in gathered.series:
            try:
                headers = [self._header(place) for place in self._ledger.places(gathered.study, one.series)]
                if headers and not any(map(is_image, headers)):
                    roles[StackKey(one.series)] = _NO_IMAGE
                    continue
                stacks = read_facts(headers, sender=min(one.senders, default=""))
                lacking[one.series] = lacking_of(stacks, headers)
                facts += stacks  # last: what cannot be read wholly is not measured
            except Exception as error:  # what peers send may break pydicom anywhere; it costs the series, not the study
                roles[StackKey(one.series)] = _UNREADABLE
                eventlog.record(
                    Event.SERIES_UNREADABLE, logging.ERROR, series=alias(one.series), error=type(error).__name__
                )
        roles |= decide_roles(facts, self._table)
        selection = select(facts, roles, post_alone=self._settings.post_alone)
        contents = _Contents(gathered.changes, roles, selection, lacking)
        self._read[gathered.study] = contents
        return contents

    def _header(self, place: Place) -> Dataset:
        return dcmread(as_file(self._spool.read(place)), stop_before_pixels=True)

    def _tell_of_overdue(self, now: float) -> None:
        overdue = self._ledger.overdue(before_s=now - self._settings.overdue_after_s)
        told_s, self._told_s = self._told_s, {}
        for one in overdue:
            last_s = told_s.get(one.name)
            if last_s is None or not 0 <= now - last_s < _TOLD_EVERY_S:
                last_s = now
                eventlog.record(
                    Event.STUDY_OVERDUE, logging.WARNING, which=one.name, state=f"'{one.state}'",
                    hours=round((now - one.since_s) / 3600, 1),
                )  # fmt: skip
            self._told_s[one.name] = last_s


def _missing(study: GatheringStudy) -> str:
    """Return what is known to be missing of a study and its series; "" if nothing is."""
    said = [missing for one in study.series if (missing := missing_of(one))]
    return "; ".join([*said, *filter(None, [missing_of_study(study)])])
