"""What an operator sees and does from another process than the node's: status, jobs, retry, cancel.

It reads the ledger and the queue, and owns no state. Nothing it returns identifies a patient: studies appear by alias.
Who did what is noted (`log`): `by` names somebody, else it is who called the process.
"""

import math
import os
import pwd
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pydicom.uid import UID

from node import locks, process
from node.completion import waiting_of
from node.dicom.identifiers import shown_title
from node.emg import Statement
from node.errors import RetrievalError, RulingError
from node.eventlog import alias
from node.jobs.pipeline import MEASURE, inputs_of
from node.jobs.port import QueueView
from node.ledger import Deliveries, Expectations, Undelivered, open_database
from node.ledger.acts import ActRow, Acts
from node.ledger.ledger import Ledger
from node.ledger.overview import StackRow, StudyRow
from node.ledger.retrievals import Retrievals
from node.ledger.rulings import Rulings
from node.ledger.standing import standing
from node.ledger.suspicions import Suspicions
from node.records import NOT_DELIVERED, Act, DeliveryRecord, DeliveryState, JobState, RestingStudy, Ruling, StudyState
from node.settings import Settings

NO_STUDY = "there is no study {}; see: status"
_SHOWN_S = 7 * 86400.0  # chosen


@dataclass(frozen=True, slots=True)
class JobLine:
    """One job as the operator sees it; times in seconds since 1970."""

    id: str
    study: str
    state: JobState
    outcome: str
    deliveries: Mapping[str, str]  # destination -> "2 stored", "1 owed (0xA700)": with why it is not there
    ruling: str  # what people decided about the results, or have to; "" if they have no say
    created_s: float
    settled_s: float | None


class Console:
    """A view of the node that works, or worked, in the data folder of the settings.

    Raises
    ------
    SettingsError
        If no node has worked there.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._data_dir = process.worked_data_dir(settings)
        self._ledger = Ledger(open_database(self._data_dir / process.DATABASE))
        self._suspicions = Suspicions(self._ledger.database)
        self._retrievals = Retrievals(self._ledger.database)
        self._deliveries = Deliveries(self._ledger.database)
        self._undelivered = Undelivered(self._ledger.database)
        self._rulings = Rulings(self._ledger.database)
        self._acts = Acts(self._ledger.database)
        self._queue = QueueView(self._ledger.engine)

    def processes(self) -> dict[str, bool]:
        """Return which of the node's processes work in the data folder now."""
        files = {"receiver": process.RECEIVER_LOCK, "worker": process.WORKER_LOCK}
        return {name: locks.is_held(self._data_dir / file) for name, file in files.items()}

    def jobs(self, limit: int = 50, *, ids: Sequence[str] | None = None, study: str | None = None) -> list[JobLine]:
        """Return the jobs made last, newest first; of `ids`, or of one study by its alias or UID, alone if given."""
        rows = self._ledger.job_rows(limit, ids=ids, study_name=study)
        states = self._queue.states([row.id for row in rows])
        return [
            JobLine(
                row.id,
                row.study_alias,
                states.get(row.id, JobState.QUEUED),
                row.outcome or "",
                _summary(self._deliveries.rows(row.id)),
                self._ruling(row.id),
                row.created_s,
                row.settled_s,
            )
            for row in rows
        ]

    def _ruling(self, job_id: str) -> str:
        found = self._rulings.of(job_id)
        return "" if found is None else found.ruling.value

    def job(self, job_id: str) -> dict[str, Any] | None:
        """Return all there is to know about one job: itself, its steps, the roles of its series, its deliveries."""
        lines = self.jobs(ids=[job_id])
        if not lines:
            return None
        (line,) = lines
        decided = self._rulings.of(job_id)
        return asdict(line) | {
            "decided": None if decided is None else asdict(decided),
            "steps": self._queue.steps(job_id),
            "series": _stacks(self._ledger.stack_rows(line.study)),
            "objects": [
                {
                    "destination": one.destination,
                    "object": one.role,
                    "state": one.state.value,
                    "attempts": one.attempts,
                    "status": one.status,
                    "sent_as": str(UID(one.sent_class).name) if one.sent_class else "",
                    "released_by": one.released_by,
                }
                for one in self._deliveries.rows(job_id)
            ],
            "quarantined": [
                {"object": one.role, "path": f"{process.QUARANTINE}/{one.path}", "faults": one.faults.splitlines()}
                for one in self._ledger.in_quarantine(job_id).get(job_id, [])
            ],
        }

    def status(self, limit: int = 20) -> dict[str, Any]:
        """Return the whole picture as JSON values: counts, the last studies and jobs, what waits for an operator."""
        jobs, processes = self.jobs(limit), self.processes()
        return {
            "node": self._settings.node.name,
            "running": all(processes.values()),
            "processes": processes,
            "disk_full": process.is_full(self._settings),
            "time_s": time.time(),
            "counts": self._ledger.counts(),
            "studies": [asdict(row) for row in self._ledger.study_rows(limit)],
            "jobs": [asdict(line) for line in jobs],
            "destinations": [asdict(row) for row in standing(self._ledger.database)],
            "waiting_for_operator": self.waiting(),
            "held_studies": self.held(),
            "emg": self.suspicions(limit),
            "retrievals": self.retrievals(limit),
        }

    def study(self, name: str) -> dict[str, Any] | None:
        """Return all that is known of one study, by its alias or UID: its series, its jobs, what others say of it."""
        rows = self._ledger.study_rows(1, name=name)
        if not rows:
            return None
        expectations = Expectations(self._ledger.database)
        stacks = self._ledger.stack_rows(name)
        return asdict(rows[0]) | {
            "waits": self._waits(rows[0]),
            "jobs": [asdict(line) for line in self.jobs(study=name)],
            "stacks": _stacks(stacks),
            "instances_of": {one.series_alias: one.instances for one in stacks},
            "retrievals": self.retrievals(study=name, done=True),
            "steps": [{"state": state, "calling_ae": shown_title(who)} for state, who in expectations.steps(name)],
            "expected": [
                {"series": series, "source": source, "instances": instances}
                for series, source, instances in expectations.expected(name)
            ],
        }

    def _waits(self, row: StudyRow) -> str:
        """Return what a study that gathers waits for; "" of one that does not."""
        gathered = next((one for one in self._ledger.gathering() if alias(one.study) == row.alias), None)
        if gathered is None:
            return "for whoever pulled it as a prior (adopt STUDY)" if row.state is StudyState.GATHERING else ""
        if gathered.forced_by:
            return f"for the next look: force-complete by {gathered.forced_by}"
        if not self.processes()["receiver"]:
            return "for the receiver, which does not run: that nobody can send is not quiet"
        if self._settings.completion.trigger != "quiet-period":
            return f"until {self._settings.completion.trigger} says that it is whole"
        return waiting_of(gathered, self._settings.completion, now=time.time())

    def force_complete(self, study: str, *, by: str = "") -> bool:
        """Have a study closed now, with what is there, as `Studies.force` says; False if there is none to close."""
        return self._ledger.force(study, _who(by), now=time.time())

    def suspicions(self, limit: int = 100) -> dict[str, Any]:
        """Return what EMG suspects, by study, and how many statements have not found their study yet."""
        rows = [asdict(row) for row in self._suspicions.rows(limit)]
        told = [asdict(row) for row in self._suspicions.told(limit)]
        return {"studies": rows, "statements": told, "waiting": self._suspicions.waiting()}

    def study_uid(self, name: str) -> str | None:
        """Return the UID of a study by its alias or UID; None if the node does not know it."""
        return self._suspicions.uid_of(name)

    def tell(self, statement: Statement) -> list[str]:
        """Enter what EMG found; return the aliases of the studies that are measured again for it."""
        return self._suspicions.tell([statement], now=time.time())

    def forget(self, study_uid: str) -> list[str]:
        """Drop what was told of a study; return the aliases of the studies that are measured again for it.

        Raises
        ------
        StatementError
            If nothing was told.
        """
        return self._suspicions.forget(study_uid, now=time.time())

    def retrievals(self, limit: int = 50, *, study: str | None = None, done: bool = False) -> list[dict[str, Any]]:
        """Return what archives are asked to send, and what of it failed, or was `done`, within a week; newest first.

        `study`: an alias or UID, of which alone, or for which, that was asked.
        """
        since_s = time.time() - _SHOWN_S
        rows = self._retrievals.rows(
            failed_after_s=since_s,
            done_after_s=since_s if done else math.inf,
            study=study and (self.study_uid(study) or study),
            limit=limit,
        )
        return [asdict(row) for row in rows]

    def adopt(self, study: str, *, by: str = "") -> bool:
        """Have a study measured that was pulled as a prior; False if there is none of this alias or UID."""
        return self._retrievals.adopt(study, who=_who(by), now=time.time())

    def pull(self, study: str, archive: str | None) -> tuple[int, list[str]]:
        """Have what we lack of a study sent by one archive, or by the first of all that has it; the worker sees to it.

        Returns how many series that are, and which archives could not be asked, with the reason.

        Raises
        ------
        RulingError
            If there is no such study, or nothing may be pulled for it.
        """
        from node.retrieval import Archive, ask_for  # here: it brings pynetdicom, which nothing else here needs

        found = self._retrievals.find(study)
        if not isinstance(found, RestingStudy):
            raise RulingError(f"nothing is pulled for {study}: it is {found}" if found else NO_STUDY.format(study))
        asked = [one for one in self._settings.archive if archive in (None, one.name)]
        entered, failed = 0, []
        for one in asked:
            try:
                entered += ask_for(
                    found, Archive.of(self._settings, one), self._retrievals, self._settings.retrieval, now=time.time()
                )
            except RetrievalError as error:
                failed.append(f"{one.name}: {error}")
        return entered, failed

    def waiting(self) -> dict[str, list[str]]:
        """Return the jobs that go on only if an operator says so: failed, or with objects that nobody took."""
        deliveries = {f"delivery {state}": jobs for state, jobs in self._undelivered.waiting().items()}
        held_back = {
            "quarantined": list(self._ledger.in_quarantine()),
            "review": [one.job for one in self._rulings.waiting()],
        }
        return {"failed": self._queue.failed(MEASURE)} | held_back | deliveries

    def held(self) -> list[str]:
        """Return the studies, by alias, that contradict themselves and wait for `release`."""
        return self._ledger.held_studies()

    def acts(self, *, since_s: float) -> list[ActRow]:
        """Return what people did to jobs and studies, and decided about results, since a moment; newest first."""
        return self._acts.since(since_s)

    def retry(self, job_id: str, *, although_newer: bool = False, by: str = "") -> str:
        """Queue a failed or cancelled job again, or owe again what of a finished one waits for somebody; "" if neither.

        Of a job whose results were recalled the note alone is owed again. `although_newer`: also where a newer
        revision of the study is already.

        Raises
        ------
        SpoolError
            If what the job would measure is no longer held.
        RulingError
            If all that waits for somebody waits where a newer revision is; or the job failed, and its answer was
            recalled: then the study is measured anew by `force_complete`, under another job.
        """
        known = self._ledger.job_rows(1, ids=[job_id])
        decided = self._rulings.of(job_id)
        is_recalled = decided is not None and decided.ruling is Ruling.RECALLED
        ended_badly = self._queue.states([job_id]).get(job_id) in (JobState.FAILED, JobState.CANCELLED)
        if known and ended_badly and not is_recalled:
            inputs_of(self._ledger, job_id)
            # First: a job that is quick would else be forgotten after it has ended.
            if not self._ledger.reopen(job_id, _who(by), now=time.time()):
                raise RulingError(f"{job_id}: it was recalled this moment")
            self._queue.retry(job_id)
            return "job queued again"
        owed = self._undelivered.owe_again(
            job_id, who=_who(by), now=time.time(), although_newer=although_newer or is_recalled
        )
        passed_over = self._passed_over(job_id, owed)
        if ended_badly and is_recalled and not owed:
            raise RulingError(f"{job_id}: its answer was recalled; to measure the study anew: force-complete STUDY")
        return f"{owed} objects owed again{passed_over and f'; {passed_over}'}" if owed else ""

    def _passed_over(self, job_id: str, owed: int) -> str:
        """Return where something still waits, for a newer revision is there; if nothing was owed, that is an error."""
        passed_over = ", ".join(self._undelivered.passed_over(job_id))
        why = passed_over and f"newer results of its study are at {passed_over} already"
        if why and not owed:
            raise RulingError(f"{job_id}: {why}")
        return why

    def held_at(self, job_id: str) -> list[str]:
        """Return the destinations to which results of a job are held, because they know its study otherwise."""
        rows = self._deliveries.rows(job_id)
        return sorted({one.destination for one in rows if one.state is DeliveryState.HELD})

    def send_anyway(self, job_id: str, destination: str, *, although_newer: bool = False, by: str = "") -> int:
        """Owe a destination what is held whatever it knows of the study; return of how many objects that is.

        Raises
        ------
        RulingError
            If a newer revision of the study is there.
        """
        owed = self._undelivered.release(
            job_id, destination, _who(by), now=time.time(), although_newer=although_newer
        )  # fmt: skip
        self._passed_over(job_id, owed)
        return owed

    def release(self, study: str, *, latest: bool, by: str = "") -> int | None:
        """Let a held study gather again with its first or latest content; None if no such study is held."""
        return self._ledger.release(study, latest=latest, who=_who(by), now=time.time())

    def cancel(self, job_id: str, *, by: str = "") -> bool:
        """Cancel a queued or running job; return whether it was one.

        One that runs is settled by the worker when it has ended (`jobs.watch.Settler`).
        """
        was_queued = self._queue.states([job_id]).get(job_id) is JobState.QUEUED
        if not self._queue.cancel(job_id):
            return False
        if was_queued:  # first: it does not hang on the note
            self._ledger.fail(job_id, "cancelled", now=time.time())
        self._acts.note(Act.CANCELLED, job_id, _who(by), now=time.time())
        return True


def _who(by: str) -> str:
    """Return who it is to have been: as named, or who is at the keyboard, behind sudo the one who called it."""
    called_by = by or os.environ.get("SUDO_USER") or os.environ.get("USER")
    try:
        return shown_title(called_by or pwd.getpwuid(os.getuid()).pw_name)
    except KeyError:  # a container's user without a name
        return str(os.getuid())


def _stacks(rows: Sequence[StackRow]) -> list[dict[str, Any]]:
    return [
        {
            "series": one.series_alias,
            "stack": one.number,
            "role": one.decision.label if one.decision else "",
            "confidence": one.decision.confidence.value if one.decision else "",
            "rule": one.decision.rule if one.decision else "",
            "evidence": one.decision.evidence if one.decision else "",
            "whole_by": one.whole_by,
        }
        for one in rows
    ]


def _summary(deliveries: list[DeliveryRecord]) -> dict[str, str]:
    """Return for each destination how many objects are in which state; of those that are not there also why."""
    told: dict[str, Counter[str]] = {}
    for one in deliveries:
        why = f" ({one.status})" if one.state in NOT_DELIVERED and one.status else ""
        told.setdefault(one.destination, Counter())[f"{one.state}{why}"] += 1
    return {
        destination: ", ".join(f"{number} {state}" for state, number in sorted(states.items()))
        for destination, states in sorted(told.items())
    }
