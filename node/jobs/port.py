"""The queue, on DBOS 3.4: the only module that imports the engine.

What it holds callers to (each rule was paid for in torture tests of the design):

- arguments are JSON: identifiers and numbers, never pixels or Datasets;
- a workflow is deterministic: clocks, chance and I/O happen in its steps, whose results are recorded;
- a workflow id is for ever: a second run needs a second id, so a generation or attempt number is part of it;
- `PIPELINE_VERSION` changes only when the order of steps changes, never with each release;
- every job has a priority: without one it would go before all others.
"""

import functools
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from dbos import DBOS, DBOSClient, DBOSPortableJSONSerializer, EnqueueOptions

from node import locks
from node.errors import LedgerError
from node.records import JobState

PIPELINE_VERSION = "pipeline-1"
ROUTINE = 10  # 1 goes first

_STATES = {
    "ENQUEUED": JobState.QUEUED,
    "DELAYED": JobState.QUEUED,
    "PENDING": JobState.RUNNING,
    "SUCCESS": JobState.SUCCEEDED,
    "ERROR": JobState.FAILED,
    "MAX_RECOVERY_ATTEMPTS_EXCEEDED": JobState.FAILED,
    "CANCELLED": JobState.CANCELLED,
}
_CAME_TO_NOTHING = {  # as the ledger tells it of a job that did not get to say so itself
    "ERROR": "failed",
    "MAX_RECOVERY_ATTEMPTS_EXCEEDED": "set aside: each of its attempts ended with the node",
    "CANCELLED": "cancelled",
}


class JobQueue:
    """The queue of one working process.

    Parameters
    ----------
    database : Engine
        The ledger's, so that one transaction spans both.
    executor_id : str
        The node's name: what runs under it is taken up again at its next start.
    lock_file : Path
        Held for the life of the process: a second holder would run our running jobs again.

    Raises
    ------
    LedgerError
        If another process holds the lock.
    """

    def __init__(self, database: sa.Engine, *, executor_id: str, lock_file: Path) -> None:
        self._database, self._executor_id = database, executor_id
        self.running: set[str] = set()  # ids of the workflows that a thread of this process is in
        self._lock = locks.hold(lock_file)
        DBOS(
            config={
                "name": "paraspinal-node",
                "system_database_url": database.url.render_as_string(hide_password=False),
                "system_database_engine": database,
                "executor_id": executor_id,
                "application_version": PIPELINE_VERSION,
                "serializer": DBOSPortableJSONSerializer(),
                "log_level": "CRITICAL",
            }
        )
        self._client: DBOSClient | None = None

    def step(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return `function` as a step: its result is recorded, and a workflow that resumes does not run it again."""

        @functools.wraps(function)  # the engine marks what it is given, and a bound method cannot be marked
        def plain(*arguments: Any) -> Any:
            return function(*arguments)

        registered: Callable[..., Any] = DBOS.step(name=name)(plain)
        return registered

    def workflow(self, name: str, body: Callable[..., Any], *, recovery_attempts: int) -> None:
        """Register a workflow. One whose worker died more than `recovery_attempts` times is set aside as poison."""

        @functools.wraps(body)
        def tracked(*arguments: Any) -> Any:
            here = self.this_workflow()
            self.running.add(here)
            try:
                return body(*arguments)
            finally:
                self.running.discard(here)

        DBOS.workflow(name=name, max_recovery_attempts=recovery_attempts)(tracked)

    def launch(self, queues: Mapping[str, int], *, poll_every_s: float) -> None:
        """Start to work: `queues` gives each queue's number of parallel jobs. What was running is taken up again."""
        # First the client: a job that is taken up again may need it while the queues are still being registered.
        self._client = DBOSClient(system_database_engine=self._database, serializer=DBOSPortableJSONSerializer())
        DBOS.launch()
        for name, parallel in queues.items():
            DBOS.register_queue(name, worker_concurrency=parallel, polling_interval_sec=poll_every_s)

    def stop(self, *, wait_s: int) -> None:
        """Take no more jobs, let the running ones end for `wait_s`, and return the others to their queues."""
        DBOS.destroy(workflow_completion_timeout_sec=wait_s)
        if self._client is not None:
            for workflow_id, queue in self.pending().items():
                self._client.resume_workflow(workflow_id, queue_name=queue)
        self._lock.close()

    def enqueue_in(
        self, connection: sa.Connection, workflow: str, queue: str, workflow_id: str, *arguments: Any
    ) -> None:
        """Enqueue inside the caller's open transaction: what it writes and the job exist together, or neither."""
        if self._client is None:
            raise LedgerError("the queue is not launched")
        self._client.enqueue_in_transaction(connection, _options(workflow, queue, workflow_id), *arguments)

    def this_workflow(self) -> str:
        """Return the id of the workflow that the calling thread is in."""
        return str(DBOS.workflow_id)

    def cancelled_among(self, workflow_ids: Iterable[str]) -> set[str]:
        """Return which of the workflows were cancelled."""
        rows = self._rows(workflow_ids=list(workflow_ids), status="CANCELLED")
        return {row.workflow_id for row in rows}

    def came_to_nothing(self, workflow: str) -> dict[str, str]:
        """Return the workflows of a name that failed, were cancelled, or were set aside as poison, and which."""
        rows = self._rows(name=workflow, status=list(_CAME_TO_NOTHING))
        return {row.workflow_id: _CAME_TO_NOTHING[row.status] for row in rows}

    def pending(self) -> dict[str, str]:
        """Return what the database believes to run here: workflow id -> queue."""
        rows = self._rows(status="PENDING", executor_id=self._executor_id)
        return {row.workflow_id: row.queue_name for row in rows}

    def put_back(self, workflow_id: str, queue: str) -> None:
        """Queue a stranded workflow again. Never one that runs: it would run twice."""
        if self._client is not None:
            self._client.resume_workflow(workflow_id, queue_name=queue)

    def _rows(self, **wanted: Any) -> list[Any]:
        if self._client is None:
            return []
        return self._client.list_workflows(**wanted, load_input=False, load_output=False)


class QueueView:
    """The queue seen from another process: what is where, retry, cancel. It runs nothing."""

    def __init__(self, database: sa.Engine) -> None:
        self._database = database
        self._client = DBOSClient(system_database_engine=database, serializer=DBOSPortableJSONSerializer())

    def states(self, workflow_ids: Iterable[str]) -> dict[str, JobState]:
        """Return the states of those workflows that the queue knows."""
        return {row.workflow_id: _STATES[row.status] for row in self._rows(list(workflow_ids))}

    def failed(self, workflow: str) -> list[str]:
        """Return the ids of all workflows of a name that failed, or were set aside as poison."""
        if not self._has_tables():
            return []
        states = [status for status, state in _STATES.items() if state is JobState.FAILED]
        rows = self._client.list_workflows(name=workflow, status=states, load_input=False, load_output=False)
        return [row.workflow_id for row in rows]

    def steps(self, workflow_id: str) -> list[str]:
        """Return the names of the steps that a workflow has recorded."""
        if not self._rows([workflow_id]):
            return []
        return [str(step["function_name"]) for step in self._client.list_workflow_steps(workflow_id, load_output=False)]

    def retry(self, workflow_id: str) -> bool:
        """Queue a failed or cancelled workflow again, from its start; return whether it was one."""
        rows = self._rows([workflow_id])
        match [row.status for row in rows]:
            case ["ERROR" | "CANCELLED"]:
                self._client.rewind_workflow(workflow_id, queue_name=rows[0].queue_name)
                return True
            case ["MAX_RECOVERY_ATTEMPTS_EXCEEDED"]:
                self._client.resume_workflow(workflow_id, queue_name=rows[0].queue_name)
                return True
            case _:  # never one that runs: it would run twice
                return False

    def cancel(self, workflow_id: str) -> bool:
        """Cancel a queued or running workflow; return whether it was one."""
        if self.states([workflow_id]).get(workflow_id) not in (JobState.QUEUED, JobState.RUNNING):
            return False
        self._client.cancel_workflow(workflow_id)
        return True

    def enqueue_in(
        self, connection: sa.Connection, workflow: str, queue: str, workflow_id: str, *arguments: Any
    ) -> None:
        """Enqueue inside the caller's open transaction."""
        self._client.enqueue_in_transaction(connection, _options(workflow, queue, workflow_id), *arguments)

    def _rows(self, workflow_ids: list[str]) -> list[Any]:
        """Return the workflows' rows; none where the node that makes the tables has not been up yet."""
        if not workflow_ids or not self._has_tables():
            return []  # the engine would take an empty list for "all"
        return self._client.list_workflows(workflow_ids=workflow_ids, load_input=False, load_output=False)

    def _has_tables(self) -> bool:
        return sa.inspect(self._database).has_table("workflow_status")


def _options(workflow: str, queue: str, workflow_id: str) -> EnqueueOptions:
    return EnqueueOptions(
        workflow_name=workflow,
        queue_name=queue,
        workflow_id=workflow_id,
        app_version=PIPELINE_VERSION,
        priority=ROUTINE,
    )
