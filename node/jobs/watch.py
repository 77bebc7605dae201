"""Watches over the queue: workflows that no thread runs, jobs that ended unsaid, steps whose job was cancelled.

And over what people decide about results, which they do in another process.

Each has one `run_once()`, for a thread of its own (`loops`), so that a busy pool cannot silence it.
"""

import logging
import shutil
import threading
import time
from pathlib import Path

from node import eventlog
from node.eventlog import Event
from node.jobs.port import JobQueue
from node.ledger.ledger import Ledger
from node.ledger.rulings import Rulings
from node.records import Ruling

_DECIDED = {
    Ruling.APPROVED: Event.RESULTS_APPROVED,
    Ruling.REJECTED: Event.RESULTS_REJECTED,
    Ruling.RECALLED: Event.RESULTS_RECALLED,
}


class Reconciler:
    """Finds workflows that the database says run here and no thread here runs, and queues them again."""

    def __init__(self, queue: JobQueue) -> None:
        self._queue, self._suspects = queue, set[str]()

    def run_once(self) -> None:
        """Compare; twice in a row a suspect: not one that is just starting or ending."""
        believed = self._queue.pending()
        suspects = set(believed) - self._queue.running
        for workflow_id in suspects & self._suspects:
            self._queue.put_back(workflow_id, believed[workflow_id])
            eventlog.record(Event.JOB_HEALED, logging.WARNING, job=workflow_id)
        self._suspects = suspects


class Settler:
    """Settles in the ledger what ended in the queue without that: cancelled as it ran, or set aside as poison.

    Until a job is settled its study is never dropped. The job's folder goes too.

    Parameters
    ----------
    workflow : str
        The name of the jobs' workflow.
    work : Path
        Where the folders of jobs are.
    """

    def __init__(self, queue: JobQueue, ledger: Ledger, *, workflow: str, work: Path) -> None:
        self._queue, self._ledger, self._workflow, self._work = queue, ledger, workflow, work
        self._suspects = set[str]()

    def run_once(self) -> None:
        """Compare; twice in a row a suspect: not one that is just ending, or being tried again."""
        ended = self._queue.came_to_nothing(self._workflow)
        ids = list(ended.keys() - self._queue.running)
        unsettled = {row.id for row in self._ledger.job_rows(len(ids), ids=ids) if row.settled_s is None}
        folders = {folder.name for folder in self._work.glob("*")} & set(ids)
        suspects = unsettled | folders
        for job_id in suspects & self._suspects:
            shutil.rmtree(self._work / job_id, ignore_errors=True)
            if job_id in unsettled:
                self._ledger.fail(job_id, ended[job_id], now=time.time())
                eventlog.record(Event.JOB_FAILED, logging.WARNING, job=job_id, reason=f"'{ended[job_id]}'")
        self._suspects = suspects


class CancelWatch:
    """Tells running steps that their job was cancelled; the engine itself stops a job only between steps."""

    def __init__(self, queue: JobQueue) -> None:
        self._queue = queue
        self._waiting: dict[str, threading.Event] = {}
        self._lock = threading.Lock()

    def watch(self, workflow_id: str) -> threading.Event:
        """Return the event that is set when the workflow is cancelled."""
        with self._lock:
            return self._waiting.setdefault(workflow_id, threading.Event())

    def forget(self, workflow_id: str) -> None:
        """End the watch over a workflow."""
        with self._lock:
            self._waiting.pop(workflow_id, None)

    def run_once(self) -> None:
        """Set the events of what was cancelled; no step runs, no query."""
        with self._lock:
            waiting = dict(self._waiting)
        if waiting:
            for workflow_id in self._queue.cancelled_among(waiting):
                waiting[workflow_id].set()


class RulingWatch:
    """Tells the event log what people decide from now on; who and why stay in the ledger (`review log`)."""

    def __init__(self, rulings: Rulings) -> None:
        self._rulings = rulings
        self._last = rulings.last()

    def run_once(self) -> None:
        """Tell what was decided since the last time."""
        for one in self._rulings.decided(after=self._last):
            eventlog.record(_DECIDED[one.ruling], job=one.job)
            self._last = one.id
