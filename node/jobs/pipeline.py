"""The pipeline: one job from inputs to what is owed, as a workflow of recorded steps.

A workflow that resumes takes the same way again, so it branches on recorded results only, never on settings or clocks.
"""

import datetime as dt
import hashlib
import logging
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from pydicom import dcmread
from pydicom.dataset import Dataset

from node import __version__, eventlog
from node.dicom.identifiers import InstanceUID
from node.dicom.moments import study_began
from node.dicom.routing import read_routing
from node.emg import read_order
from node.errors import HeaderError, JobError, NodeError, SandboxCancelledError, SpoolError, shown
from node.eventlog import Event, alias
from node.jobs import sandbox
from node.jobs.answers import NOT_MEASURED, NOT_REPORTED, REFUSALS
from node.jobs.past import Past, result_file, spool_file
from node.jobs.port import JobQueue
from node.jobs.steps import InputFile, Task
from node.jobs.watch import CancelWatch
from node.ledger.jobs import SUPERSEDED
from node.ledger.ledger import Ledger
from node.ledger.priors import Priors
from node.ledger.suspicions import Suspicions
from node.records import (
    LONGEST_TEXT,
    Job,
    Origin,
    Place,
    Predecessor,
    Quarantined,
    ResultRecord,
    Role,
    contrast_doubt,
    rule_table,
)
from node.settings import Settings
from node.spool import Results, SpoolReader, read_header

MEASURE = "measure_study"  # the workflow's name: rows of running nodes hold it
ANALYSIS_QUEUE = "analysis"
_NOT_MEASURED = "not measured: "  # begins the outcome of a measurement that did not end well


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


class Pipeline:
    """Registers the workflows with the queue, and enqueues them.

    Parameters
    ----------
    work : Path
        Where each job has a folder while it runs.
    quarantine : Results
        Where the objects go that the output gate holds back.
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
        quarantine: Results,
        cancel: CancelWatch,
    ) -> None:
        self._queue, self._ledger, self._settings = queue, ledger, settings
        self._spool, self._results = spool, results
        self._suspicions, self._past = Suspicions(ledger.database), Past(Priors(ledger.database), spool, results)
        self._cancel = cancel
        self._work, self._quarantine = work, quarantine
        self._assemble = queue.step("assemble", self._assemble_job)
        self._measure = queue.step("measure", self._measure_job)
        self._report = queue.step("report", self._report_job)
        self._settle = queue.step("settle", self._settle_job)
        self._fail = queue.step("fail", self._fail_job)
        queue.workflow(MEASURE, self._measure_study, recovery_attempts=settings.jobs.recovery_attempts)

    def queues(self) -> dict[str, int]:
        """Return the queues to serve, and how many jobs each may run at a time."""
        return {ANALYSIS_QUEUE: self._settings.jobs.parallel}

    def enqueue(self, connection: sa.Connection, job: Job) -> None:
        """Enqueue a job inside the caller's transaction."""
        self._queue.enqueue_in(connection, MEASURE, ANALYSIS_QUEUE, job.id, job.id)

    # ---------------------------------------------------------------- workflows

    def _measure_study(self, job_id: str) -> str:
        made: dict[str, Any] = {"objects": [], "failure": ""}
        try:
            outcome = str(self._assemble(job_id))
            if not outcome:
                outcome = str(self._measure(job_id))
                if not outcome.startswith(SUPERSEDED):
                    made = self._report(job_id, outcome)
            self._settle(job_id, made["failure"] or outcome, made["objects"])
            if made["failure"]:  # an answer is owed all the same; that there was no better one is for an operator
                raise JobError(made["failure"])
        except Exception as error:  # recorded by the engine as well; the ledger is what people look at
            self._fail(job_id, shown(error))
            raise
        return outcome

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
                inputs[role].append(spool_file(self._spool, place, view))
        order = read_order(headers, settings.emg.rules)
        suspicion, unclear = self._suspicions.settle(header.origin.study, order, now=time.time())
        if unclear:
            study = alias(header.origin.study)
            eventlog.record(Event.EMG_UNCLEAR, job=job_id, study=study, reason=f"'{unclear}'")
        # All that decides the result objects, but for images of priors: the same digest, the same results.
        decisions = self._ledger.decisions(job_id)
        rules, doubt = rule_table(decisions), contrast_doubt(decisions)
        set_by = (settings.analysis.model_dump_json(), settings.report.model_dump_json())
        made_by = (__version__, *set_by, str(suspicion), rules, doubt)
        prior_reports = dict(self._past.reports(job_id, study_began(headers[0]) if headers else ""))
        prior_images = dict(self._past.images(job_id, prior_reports))
        for one in prior_reports:
            digest.update(f"prior\x1f{one.sha256}\n".encode())
        manifest = digest.copy()  # so far: roles, stacks, SOP Instance UIDs and contents; contents of priors
        # Images of priors come and go with their own studies: they make other results, but no reason to measure anew.
        for report, images in prior_images.items():
            manifest.update("".join(f"prior image\x1f{report}\x1f{image.sha256}\n" for image in images).encode())
        digest.update("\n".join(made_by).encode())
        repeats = self._ledger.note_inputs(job_id, digest.hexdigest())
        if repeats:
            eventlog.record(Event.JOB_REPEATED, job=job_id, outcome=f"'{repeats}'")
            return repeats
        folder = self._folder(job_id)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        replaced = self._predecessor(job_id, header.origin.study)
        task = Task(
            inputs=inputs,
            stacks=stacks,
            analysis=settings.analysis,
            report=settings.report,
            started=dt.datetime.now().astimezone().replace(microsecond=0),
            suspicion=suspicion,
            unclear="" if suspicion else unclear,
            memory_limit_mb=settings.jobs.step_memory_limit_mb,
            rules=rules,
            doubt=doubt,
            manifest=manifest.hexdigest(),
            predecessor=replaced[0] if replaced else None,
            earlier=tuple(prior_reports),
            earlier_images=prior_images,
            revised=replaced[1] if replaced else None,
        )
        task.write(folder)
        self._ledger.note_task(job_id, task.as_json())
        eventlog.record(Event.JOB_STARTED, job=job_id, instances=sum(map(len, inputs.values())))
        return ""

    def _predecessor(self, job_id: str, study: str) -> tuple[Predecessor, InputFile] | None:
        earlier = self._ledger.earlier_report(job_id)
        if earlier is None:
            return None
        header = dcmread(self._results.path_of(earlier.path), specific_tags=["SeriesInstanceUID"])
        replaced = Predecessor(study, str(header.SeriesInstanceUID), earlier.sop_class, earlier.sop_instance)
        return replaced, result_file(self._results, earlier.path)

    def _measure_job(self, job_id: str) -> str:
        """Measure, and return the outcome; if that did not end well, `_NOT_MEASURED` and why."""
        began = time.monotonic()
        try:
            outcome = str(self._isolated("measure", job_id))
        except SandboxCancelledError:
            raise
        except NodeError as error:
            outcome = f"{_NOT_MEASURED}{shown(error)}"
        eventlog.record(
            Event.JOB_MEASURED, job=job_id, outcome=f"'{outcome}'", seconds=round(time.monotonic() - began, 1)
        )
        superseded = self._ledger.superseded(job_id)  # again: something may have come while it was measured
        if superseded:
            eventlog.record(Event.JOB_SUPERSEDED, job=job_id, reason=f"'{superseded}'")
        return superseded or outcome

    def _report_job(self, job_id: str, outcome: str) -> dict[str, Any]:
        """Make the result objects of what was measured, or a report that says why there are none.

        Returns
        -------
        dict
            "objects": those that may be sent; "failure": why they are not what they should be, or "".
        """
        failure = ""
        try:
            if outcome.startswith(_NOT_MEASURED):
                failure = outcome.removeprefix(_NOT_MEASURED)
                made = self._refusal(job_id, NOT_MEASURED)
            else:
                made = self._isolated("report", job_id)
        except SandboxCancelledError:
            raise
        except NodeError as error:
            failure = shown(error)
            made = self._refusal(job_id, NOT_REPORTED)
        if made["faults"]:
            eventlog.record(Event.RESULTS_QUARANTINED, logging.ERROR, job=job_id, objects=len(made["quarantined"]))
            failure = "; ".join([*([failure] if failure else []), *made["faults"]])
        if why := made.get("left_out"):
            eventlog.record(Event.COMPARISON_LEFT_OUT, logging.WARNING, job=job_id, reason=f"'{why}'")
        self._ledger.quarantined(
            job_id,
            [
                Quarantined(one["role"], self._quarantine.store(self._bytes(job_id, one)), "\n".join(made["faults"]))
                for one in made["quarantined"]
            ],
        )
        for one in made["objects"]:
            one["path"] = self._results.store(self._bytes(job_id, one))
        return {"objects": made["objects"], "failure": failure}

    def _refusal(self, job_id: str, code: str) -> dict[str, Any]:
        """Make a report that says that there is no result; of what kind the failure was is for the operator alone."""
        try:
            made: dict[str, Any] = self._isolated("refuse", job_id, code=code, text=REFUSALS[code])
        except SandboxCancelledError:
            raise
        except NodeError as error:
            return {"objects": [], "quarantined": [], "faults": [f"no report says so: {shown(error)}"]}
        return made

    def _bytes(self, job_id: str, one: Mapping[str, str]) -> bytes:
        return (self._folder(job_id) / one["file"]).read_bytes()

    def _settle_job(self, job_id: str, outcome: str, objects: list[dict[str, str]]) -> None:
        results = [
            ResultRecord(
                InstanceUID(one["sop_instance"]),
                one["sop_class"],
                job_id,
                one["role"],
                one["path"],
                one.get("series", ""),
            )
            for one in objects
        ]
        self._ledger.settle(
            job_id,
            outcome,
            results,
            {
                destination.name: {one.role for one in results if destination.gets(one.role)}
                for destination in self._settings.destination
            },
            now=time.time(),
            review=self._settings.review.required,
        )
        shutil.rmtree(self._folder(job_id), ignore_errors=True)
        eventlog.record(Event.JOB_SETTLED, job=job_id, outcome=f"'{outcome}'", objects=len(results))

    def _fail_job(self, job_id: str, reason: str) -> None:
        self._ledger.fail(job_id, reason, now=time.time())
        shutil.rmtree(self._folder(job_id), ignore_errors=True)
        eventlog.record(Event.JOB_FAILED, logging.ERROR, job=job_id, reason=f"'{reason}'")

    def _isolated(self, step: str, job_id: str, **arguments: str) -> Any:
        here = self._queue.this_workflow()
        try:
            return sandbox.run_step(
                step, self._folder(job_id), self._settings.jobs, cancelled=self._cancel.watch(here), **arguments
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
        return [read_header(view)]
    except Exception:  # what peers send may break pydicom anywhere
        return []
