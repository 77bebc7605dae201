"""The pipeline: one job from inputs to what is owed, as a workflow of recorded steps.

A workflow that resumes takes the same way again, so it branches on recorded results only, never on settings or clocks.
"""

import datetime as dt
import hashlib
import logging
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import sqlalchemy as sa
from pydicom import dcmread
from pydicom.dataset import Dataset

from node import __version__, eventlog
from node.dicom.identifiers import InstanceUID
from node.dicom.routing import read_routing
from node.emg import read_order
from node.errors import HeaderError, SpoolError, shown
from node.eventlog import Event, alias
from node.jobs import sandbox
from node.jobs.port import JobQueue
from node.jobs.steps import InputFile, Task
from node.jobs.watch import CancelWatch
from node.ledger.ledger import SUPERSEDED, Ledger
from node.ledger.suspicions import Suspicions
from node.records import LONGEST_TEXT, Job, Origin, Place, ResultRecord, Role
from node.settings import Settings
from node.spool import Results, SpoolReader, as_file

MEASURE, DELIVER = "measure_study", "deliver"  # workflow names: rows of running nodes hold them
ANALYSIS_QUEUE = "analysis"
_MOST_DOUBLINGS = 30  # more would be years, and in the end no number

Send = Callable[[str, str, int, bool], bool]


def delivery_queue(destination: str) -> str:
    """Return the queue of a destination: one each, so that an archive that is down holds up no other."""
    return f"deliver.{destination}"


def delivery_id(job_id: str, destination: str, attempt: int) -> str:
    """Return the workflow id of one attempt; whoever enqueues it twice adds nothing."""
    return f"{job_id}:{destination}:{attempt}"


def inputs_of(ledger: Ledger, job_id: str) -> dict[Role, list[tuple[InstanceUID, Place]]]:
    """Return what a job measures: for each role SOP Instance UID and place of its instances.

    Raises
    ------
    SpoolError
        If they are no longer held: a study is dropped as a whole, when it is done with (`Ledger.expire`).
    """
    inputs = ledger.inputs(job_id)
    if not all(inputs.values()):
        raise SpoolError("the instances of this job are no longer held: send the study again")
    return inputs


class Enqueuer(Protocol):
    """The working queue, or a view of it."""

    def enqueue_in(
        self, connection: sa.Connection, workflow: str, queue: str, workflow_id: str, *arguments: Any
    ) -> None: ...


def owe(
    queue: Enqueuer, connection: sa.Connection, job_id: str, destination: str, *, after: int, attempts: int
) -> None:
    """Enqueue the first of `attempts` more tries to deliver, of which `after` were spent before."""
    first = after + 1
    queue.enqueue_in(
        connection,
        DELIVER,
        delivery_queue(destination),
        delivery_id(job_id, destination, first),
        job_id,
        destination,
        first,
        after + attempts,
    )


class Pipeline:
    """Registers the workflows with the queue, and enqueues them.

    Parameters
    ----------
    work : Path
        Where each job has a folder while it runs.
    send : callable
        `send(job_id, destination, attempt, final)` tries to deliver what is owed and returns whether some still is;
        `final` says that no attempt follows.
    """

    def __init__(
        self,
        queue: JobQueue,
        ledger: Ledger,
        spool: SpoolReader,
        results: Results,
        settings: Settings,
        *,
        work: Path,
        cancel: CancelWatch,
        send: Send,
    ) -> None:
        self._queue, self._ledger, self._settings = queue, ledger, settings
        self._spool, self._results = spool, results
        self._suspicions = Suspicions(ledger.database)
        self._cancel, self._send = cancel, send
        self._work = work
        self._assemble = queue.step("assemble", self._assemble_job)
        self._measure = queue.step("measure", self._measure_job)
        self._report = queue.step("report", self._report_job)
        self._settle = queue.step("settle", self._settle_job)
        self._fail = queue.step("fail", self._fail_job)
        self._attempt = queue.step("send", self._attempt_delivery)
        attempts = settings.jobs.recovery_attempts
        queue.workflow(MEASURE, self._measure_study, recovery_attempts=attempts)
        queue.workflow(DELIVER, self._deliver, recovery_attempts=attempts)

    def queues(self) -> dict[str, int]:
        """Return the queues to serve, and how many jobs each may run at a time."""
        served = {delivery_queue(one.name): 1 for one in self._settings.destination}
        return {ANALYSIS_QUEUE: self._settings.jobs.parallel} | served

    def enqueue(self, connection: sa.Connection, job: Job) -> None:
        """Enqueue a job inside the caller's transaction."""
        self._queue.enqueue_in(connection, MEASURE, ANALYSIS_QUEUE, job.id, job.id)

    # ---------------------------------------------------------------- workflows

    def _measure_study(self, job_id: str) -> str:
        objects: list[dict[str, str]] = []
        try:
            outcome = str(self._assemble(job_id))
            if not outcome:
                outcome = str(self._measure(job_id))
                objects = [] if outcome.startswith(SUPERSEDED) else self._report(job_id)
            self._settle(job_id, outcome, objects)
        except Exception as error:  # recorded by the engine as well; the ledger is what people look at
            self._fail(job_id, shown(error))
            raise
        return outcome

    def _deliver(self, job_id: str, destination: str, attempt: int, last: int) -> str:
        """Run one attempt; the next is a job of its own, so that waiting holds no thread and survives everything."""
        wait_s = self._attempt(job_id, destination, attempt, last)
        if wait_s is None:
            return "done"
        self._queue.enqueue_from_workflow(
            DELIVER,
            delivery_queue(destination),
            delivery_id(job_id, destination, attempt + 1),
            job_id,
            destination,
            attempt + 1,
            last,
            delay_s=wait_s,
        )
        return "again later"

    # ---------------------------------------------------------------- steps

    def _assemble_job(self, job_id: str) -> str:
        """Write down what the job measures, and return ""; if it has nothing to measure, how it ends.

        That is so if its study has changed since, or an earlier job has measured just that.
        """
        superseded = self._ledger.superseded(job_id)
        if superseded:
            eventlog.record(Event.JOB_SUPERSEDED, job=job_id, reason=f"'{superseded}'")
            return superseded
        settings = self._settings
        inputs: dict[Role, list[InputFile]] = {}
        digest = hashlib.sha256()
        headers: list[Dataset] = []
        stacks = self._ledger.stacks(job_id)
        for role, instances in sorted(inputs_of(self._ledger, job_id).items()):
            inputs[role] = []
            digest.update(f"{role}\x1f{stacks.get(role, 1)}\n".encode())
            for sop_instance, place in instances:
                header, view = self._spool.read_record(place)
                data_set = view[header.head_length :]
                _check_identity(header.origin, data_set)
                content = hashlib.sha256(data_set).hexdigest()
                digest.update(f"{role}\x1f{sop_instance}\x1f{content}\n".encode())
                if not inputs[role]:
                    headers += _readable_header(view)
                path, offset = self._spool.path_of(place)
                inputs[role].append(InputFile(path, hashlib.sha256(view).hexdigest(), offset, len(view)))
        order = read_order(headers, settings.emg.rules)
        suspicion = self._suspicions.settle(header.origin.study, header.origin.patient_id, order)
        if order.unclear and suspicion is None:
            study = alias(header.origin.study)
            eventlog.record(Event.EMG_UNCLEAR, job=job_id, study=study, reason=f"'{order.unclear}'")
        # All that decides the result objects: the same digest, the same UIDs.
        made_by = (__version__, settings.analysis.model_dump_json(), settings.report.model_dump_json(), str(suspicion))
        digest.update("\n".join(made_by).encode())
        earlier = self._ledger.note_inputs(job_id, digest.hexdigest())
        if earlier is not None:
            eventlog.record(Event.JOB_REPEATED, job=job_id, earlier=earlier)
            return f"repeats {earlier}"
        folder = self._folder(job_id)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        Task(
            inputs=inputs,
            stacks=stacks,
            analysis=settings.analysis,
            report=settings.report,
            started=dt.datetime.now().astimezone().replace(microsecond=0),
            suspicion=suspicion,
            unclear="" if suspicion else order.unclear,
            memory_limit_mb=settings.jobs.step_memory_limit_mb,
        ).write(folder)
        eventlog.record(Event.JOB_STARTED, job=job_id, instances=sum(map(len, inputs.values())))
        return ""

    def _measure_job(self, job_id: str) -> str:
        began = time.monotonic()
        outcome = str(self._isolated("measure", job_id))
        eventlog.record(
            Event.JOB_MEASURED, job=job_id, outcome=f"'{outcome}'", seconds=round(time.monotonic() - began, 1)
        )
        superseded = self._ledger.superseded(job_id)  # again: something may have come while it was measured
        if superseded:
            eventlog.record(Event.JOB_SUPERSEDED, job=job_id, reason=f"'{superseded}'")
        return superseded or outcome

    def _report_job(self, job_id: str) -> list[dict[str, str]]:
        objects: list[dict[str, str]] = self._isolated("report", job_id)
        for one in objects:
            one["path"] = self._results.store((self._folder(job_id) / one["file"]).read_bytes())
        return objects

    def _settle_job(self, job_id: str, outcome: str, objects: list[dict[str, str]]) -> None:
        results = [
            ResultRecord(InstanceUID(one["sop_instance"]), one["sop_class"], job_id, one["role"], one["path"])
            for one in objects
        ]
        self._ledger.settle(
            job_id,
            outcome,
            results,
            [destination.name for destination in self._settings.destination],
            enqueue=self._owe,
            now=time.time(),
        )
        shutil.rmtree(self._folder(job_id), ignore_errors=True)
        eventlog.record(Event.JOB_SETTLED, job=job_id, outcome=f"'{outcome}'", objects=len(results))

    def _fail_job(self, job_id: str, reason: str) -> None:
        self._ledger.fail(job_id, reason, now=time.time())
        shutil.rmtree(self._folder(job_id), ignore_errors=True)
        eventlog.record(Event.JOB_FAILED, logging.ERROR, job=job_id, reason=f"'{reason}'")

    def _attempt_delivery(self, job_id: str, destination: str, attempt: int, last: int) -> float | None:
        """Return after how many seconds to try again, or None if nothing is owed any more or this was the last."""
        still_owed = self._send(job_id, destination, attempt, attempt >= last)
        if not still_owed or attempt >= last:
            return None
        delivery = self._settings.delivery
        turn = (attempt - 1) % delivery.attempts  # an operator's retry begins with short waits again
        return min(delivery.longest_wait_s, delivery.first_wait_s * 2.0 ** min(turn, _MOST_DOUBLINGS))

    def _owe(self, connection: sa.Connection, job_id: str, destination: str) -> None:
        owe(self._queue, connection, job_id, destination, after=0, attempts=self._settings.delivery.attempts)

    def _isolated(self, step: str, job_id: str) -> Any:
        here = self._queue.this_workflow()
        try:
            return sandbox.run_isolated(
                f"node.jobs.steps:{step}",
                {"folder": str(self._folder(job_id))},
                time_limit_s=self._settings.jobs.step_time_limit_s,
                memory_limit_mb=self._settings.jobs.step_memory_limit_mb,
                cancelled=self._cancel.watch(here),
            )
        finally:
            self._cancel.forget(here)

    def _folder(self, job_id: str) -> Path:
        return self._work / job_id


def _check_identity(origin: Origin, data_set: memoryview) -> None:
    """Refuse a data set that names another patient, study or instance further on than the receiver looked.

    Raises
    ------
    HeaderError
        If it does, or if all of it cannot be walked.
    """
    routing = read_routing(data_set, origin.transfer_syntax, whole=True, to_end=True)
    here = (routing.sop_instance, routing.study, routing.series, routing.patient_id, routing.issuer)
    received = (origin.sop_instance, origin.study, origin.series, origin.patient_id, origin.issuer)
    if tuple(one[:LONGEST_TEXT] for one in here) != received:
        raise HeaderError("an instance is not of the patient and study that it was received for")


def _readable_header(view: memoryview) -> list[Dataset]:
    """Return the header of an instance, or nothing: for the order it answers, no job fails."""
    try:
        return [dcmread(as_file(view), stop_before_pixels=True)]
    except Exception:  # what peers send may break pydicom anywhere
        return []
