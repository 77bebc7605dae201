"""The watcher: turns studies that have come to rest into jobs, or says why not, or what they still wait for."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa

from node import eventlog
from node.completion.clock import ClockWatch
from node.completion.contents import StoredSeries, Verdict, read_contents
from node.completion.table import RoleTable
from node.completion.triggers import missing_of, missing_of_study, study_evidence
from node.dicom.identifiers import SeriesUID, StudyUID
from node.errors import SandboxCancelledError, SettingsError, raised_at, shown
from node.eventlog import Event, alias
from node.ledger.gathering import GatheringStudy
from node.ledger.ledger import Ledger
from node.ledger.studies import Enqueue
from node.ports import Trigger
from node.records import RoleDecision, SeriesRole, StackKey
from node.settings import CompletionSettings
from node.spool import SpoolReader

ReadStudy = Callable[[Sequence[StoredSeries]], Verdict]

_AHEAD_BY_S = 2.0  # of the clock: more than it is slewed while an instance is entered; chosen
_ATTEMPTS = 3  # to look at a study, until it is set aside; docs/decisions.md; chosen
_AGAIN_AFTER_S = 60.0  # times the attempts so far: a machine short of memory may have some again; chosen
# The database is locked, the disk is away, the node stops: no number of such failures says anything of a study.
_NOT_OF_THE_STUDY = (sa.exc.OperationalError, OSError, SettingsError, SandboxCancelledError)
_LOOK_FOR_OVERDUE_EVERY_S = 60.0  # chosen
_TOLD_EVERY_S = 86400.0  # of what is overdue; chosen


@dataclass(frozen=True, slots=True)
class _Failed:
    """How often a study could not be looked at, as of `changes`, why, and when it is tried again."""

    changes: int
    attempts: int
    reason: str
    again_at_s: float  # by the clock that nobody sets


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
    clock : ClockWatch, optional
        Notices that the clock of the machine was set.
    read : callable, optional
        Reads the headers of a study, as `contents.read_contents` does, in a process of its own: what breaks that one,
        or takes too long there, costs the study. Without it they are read here.
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
        clock: ClockWatch | None = None,
        read: ReadStudy | None = None,
    ) -> None:
        self._ledger, self._spool, self._trigger, self._table = ledger, spool, trigger, table
        self._settings, self._enqueue, self._receiving = settings, enqueue, receiving
        self._was_away = False  # the receiver, at the last look
        self._clock = clock or ClockWatch()
        self._read_study = read or self._read_here
        self._read: dict[StudyUID, tuple[int, Verdict]] = {}  # as of which change: read once, however often looked at
        self._failed: dict[StudyUID, _Failed] = {}
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
        ahead = any(one.last_seen_s > now + _AHEAD_BY_S for study in studies for one in study.series)
        if self._clock.was_set(now, monotonic_s) or ahead or was_away:
            self._ledger.restart_quiet(now=now)
            studies = self._ledger.gathering()
        self._clock.note(now, monotonic_s)
        here = {one.study for one in studies}
        self._read = {study: known for study, known in self._read.items() if study in here}
        self._failed = {study: failed for study, failed in self._failed.items() if study in here}
        for gathered in studies:
            if self._was_away and not gathered.forced_by:
                continue  # nobody could send, which is not quiet
            try:
                self._look_at(gathered, now, monotonic_s)
            except Exception as error:  # one study must not hold up the others
                self._note_failed(gathered, error, monotonic_s)
        if monotonic_s >= self._tell_at_s:
            self._tell_at_s = monotonic_s + _LOOK_FOR_OVERDUE_EVERY_S
            self._tell_of_overdue(now)

    def _look_at(self, gathered: GatheringStudy, now: float, monotonic_s: float) -> None:
        failed = self._failed.get(gathered.study)
        if failed is not None and failed.changes == gathered.changes:
            if failed.attempts >= _ATTEMPTS:
                self._set_aside(gathered, failed, now)
                return
            if monotonic_s < failed.again_at_s and not gathered.forced_by:
                return
        if gathered.forced_by:
            said = f"force-complete by {gathered.forced_by}"
            whole_by = {one.series: f"{one.instances} instances, {said}" for one in gathered.series}
            self._close(gathered, whole_by, said, self._verdict(gathered), now)
            return
        study_whole_by = study_evidence(gathered, self._settings, now=now)
        if not study_whole_by or not self._evidence(gathered, now):  # before headers are read: most looks end here
            self._wait(gathered, _missing(gathered))
            return
        verdict = self._verdict(gathered)
        seen = replace(
            gathered,
            series=tuple(replace(one, lacking=verdict.lacking.get(one.series, "")) for one in gathered.series),
        )
        whole_by = self._evidence(seen, now)
        if not whole_by:
            self._wait(gathered, _missing(seen))
            return
        missing = self._missing_roles(verdict)
        if missing and self._settings.missing_role != "proceed":
            if now - max(one.last_seen_s for one in seen.series) < self._settings.wait_for_roles_s:
                self._wait(gathered, f"required and missing: {missing}")
                return
            if self._settings.missing_role == "refuse":
                reason = f"required and missing for {self._settings.wait_for_roles_s:g} s: {missing}"
                verdict = replace(verdict, stacks=None, reason=reason)
        incomplete = _missing(seen)
        if incomplete:
            eventlog.record(
                Event.STUDY_INCOMPLETE, logging.WARNING, study=alias(gathered.study), missing=f"'{incomplete}'"
            )
        self._close(gathered, whole_by, study_whole_by, verdict, now)

    def _evidence(self, gathered: GatheringStudy, now: float) -> dict[SeriesUID, str]:
        """Return what says that each series is whole; nothing if one may still grow."""
        whole_by = {one.series: self._trigger.evidence(one, now=now) for one in gathered.series}
        known = {series: evidence for series, evidence in whole_by.items() if evidence is not None}
        return known if len(known) == len(whole_by) else {}

    def _missing_roles(self, verdict: Verdict) -> str:
        """Return the required roles that no series of the study has; "" if all are there."""
        here = {role.value for role in verdict.stacks or ()}
        if any(decision.role is SeriesRole.LOCALIZER for decision in verdict.roles.values()):
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
        verdict: Verdict,
        now: float,
    ) -> None:
        missing = self._missing_roles(verdict) if verdict.stacks is not None else ""
        closed = self._ledger.close(
            gathered,
            whole_by=whole_by,
            study_whole_by=study_whole_by,
            roles=verdict.roles,
            selection=verdict.stacks,
            phases=verdict.phases,
            reason=f"{verdict.reason}; {missing} missing" if missing else verdict.reason,
            enqueue=self._enqueue,
            now=now,
        )
        if not closed:
            return  # it grew while we looked; the next turn sees all of it
        self._read.pop(gathered.study)
        if verdict.stacks is None:
            eventlog.record(Event.STUDY_NOT_ELIGIBLE, study=alias(gathered.study), reason=f"'{verdict.reason}'")
        else:
            eventlog.record(
                Event.STUDY_MEASURABLE, study=alias(gathered.study), by=f"'{verdict.reason}'",
                whole_by=f"'{study_whole_by}'",
            )  # fmt: skip

    def _verdict(self, gathered: GatheringStudy) -> Verdict:
        """Return what the headers of a study come to, of all its instances, read if that has not been done."""
        known = self._read.get(gathered.study)
        if known is not None and known[0] == gathered.changes:
            return known[1]
        verdict = self._read_study(
            [
                StoredSeries(one.series, min(one.senders, default=""), self._ledger.places(gathered.study, one.series))
                for one in gathered.series
            ]
        )
        for series, reason in verdict.left_out.items():
            eventlog.record(Event.SERIES_UNREADABLE, logging.ERROR, series=alias(series), reason=f"'{reason}'")
        self._read[gathered.study] = gathered.changes, verdict
        return verdict

    def _read_here(self, study: Sequence[StoredSeries]) -> Verdict:
        sources = [one.source(self._spool) for one in study]
        return Verdict.of(read_contents(sources, self._table, post_alone=self._settings.post_alone))

    # ---------------------------------------------------------------- what breaks whoever looks at it

    def _note_failed(self, gathered: GatheringStudy, error: Exception, monotonic_s: float) -> None:
        """Note that a study could not be looked at; it counts, unless it is nothing that the study can help."""
        eventlog.record(
            Event.STUDY_FAILED, logging.ERROR, study=alias(gathered.study), error=type(error).__name__,
            at=f"'{raised_at(error)}'",
        )  # fmt: skip
        if isinstance(error, _NOT_OF_THE_STUDY):
            return
        before = self._failed.get(gathered.study)
        attempts = 1 + (before.attempts if before is not None and before.changes == gathered.changes else 0)
        again_at_s = monotonic_s + _AGAIN_AFTER_S * attempts
        self._failed[gathered.study] = _Failed(gathered.changes, attempts, shown(error), again_at_s)

    def _set_aside(self, gathered: GatheringStudy, failed: _Failed, now: float) -> None:
        """Close a study that nobody can look at: others must not wait for it, and people must see it."""
        reason = f"set aside after {failed.attempts} attempts to look at it; the last: {failed.reason}"
        decision = RoleDecision(SeriesRole.OTHER, "not looked at: its study was set aside")
        said = f"force-complete by {gathered.forced_by}" if gathered.forced_by else "set aside"
        if self._ledger.close(
            gathered,
            whole_by={one.series: said for one in gathered.series},
            study_whole_by=said,
            roles={StackKey(one.series): decision for one in gathered.series},
            selection=None,
            reason=reason,
            enqueue=self._enqueue,
            now=now,
        ):
            eventlog.record(
                Event.STUDY_SET_ASIDE, logging.ERROR, study=alias(gathered.study), reason=f"'{reason}'"
            )  # fmt: skip

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
