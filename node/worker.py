"""The composition root of the working process: completion, queue, pipeline, delivery; no peer can call it.

It looks at what the receiver has entered in the ledger, measures it, and delivers the results; each CPU step is a
child process. It may die at any moment, or be taken by the kernel for its memory: what it was at is in the ledger.
"""

import logging
import time

from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_MAX_INSTANCES, EVENT_JOB_MISSED, JobEvent
from apscheduler.schedulers.background import BackgroundScheduler

from node import eventlog, plugins, process
from node.completion import Watcher
from node.delivery import Sender
from node.eventlog import Event
from node.jobs.pipeline import MEASURE, Pipeline
from node.jobs.port import JobQueue
from node.jobs.watch import CancelWatch, Reconciler, Settler
from node.ledger import Ledger, open_database
from node.loops import repeat
from node.ports import Destination
from node.settings import Settings
from node.spool import Results, SpoolReader

_EXECUTOR = "paraspinal-node"  # one works in a data folder at a time, so that a node may be renamed
_RECONCILE_EVERY_S = 15.0
_LOOK_FOR_CANCELS_EVERY_S = 0.5
_OOM_SCORE = 500  # between the receiver (0) and a sandboxed step (900, `jobs/sandbox.py`)


class Worker:
    """The rooms that work off what was received, connected.

    Raises
    ------
    SettingsError
        If the data folder cannot be used.
    PluginError
        If a plug-in that the settings name is missing.
    LedgerError
        If another process works in the data folder.
    """

    port = None

    def __init__(self, settings: Settings) -> None:
        process.offer_to_oom_killer(_OOM_SCORE)
        self._settings = settings
        data_dir = process.open_data_dir(settings)
        spool, self._results = SpoolReader(data_dir / process.SPOOL), Results(data_dir / process.RESULTS)
        ledger = Ledger(open_database(data_dir / process.DATABASE))
        self._queue = JobQueue(ledger.database, executor_id=_EXECUTOR, lock_file=data_dir / process.WORKER_LOCK)
        self._cancel = CancelWatch(self._queue)
        sender = Sender(ledger, self._results, destinations(settings))
        work = data_dir / process.WORK
        self._pipeline = Pipeline(
            self._queue, ledger, spool, self._results, settings, work=work, cancel=self._cancel, send=sender.attempt
        )
        self._settler = Settler(self._queue, ledger, workflow=MEASURE, work=work)
        trigger = plugins.load("triggers", settings.completion.trigger)(settings.completion.quiet_period_s)
        self._watcher = Watcher(ledger, spool, trigger, settings.completion, self._pipeline.enqueue)
        self._clock = _clock()

    def start(self) -> None:
        """Start the rooms in order: the work that was begun before, then the clock."""
        swept = self._results.sweep()
        if swept:
            eventlog.record(Event.SPOOL_SWEPT, files=swept)
        self._queue.launch(self._pipeline.queues(), poll_every_s=self._settings.jobs.poll_every_s)
        repeat(Reconciler(self._queue).run_once, _RECONCILE_EVERY_S, "reconciler")
        repeat(self._settler.run_once, _RECONCILE_EVERY_S, "settler")
        repeat(self._cancel.run_once, _LOOK_FOR_CANCELS_EVERY_S, "cancel-watch")
        self._clock.add_job(
            lambda: self._watcher.run_once(now=time.time()),
            "interval",
            seconds=self._settings.completion.sweep_every_s,
            id="complete",
        )
        self._clock.start()

    def stop(self) -> None:
        """Take no new jobs, let the running ones end for `stop_wait_s`, return the others to their queues."""
        self._clock.shutdown()
        self._queue.stop(wait_s=self._settings.node.stop_wait_s)


def destinations(settings: Settings) -> dict[str, Destination]:
    """Return the destinations of the settings by name; PluginError if a kind is not installed."""
    return {
        one.name: plugins.load("destinations", one.kind)(
            one,
            calling_ae=settings.association.ae_title,
            network_timeout_s=settings.delivery.network_timeout_s,
        )
        for one in settings.destination
    }


def _clock() -> BackgroundScheduler:
    """Return a scheduler that keeps nothing, and drops no turn for being late.

    APScheduler 3 drops, by default, what is more than a second late, and fires what was missed all at once.
    """
    clock = BackgroundScheduler(
        timezone="UTC", job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
    )
    clock.add_listener(_report_trouble, EVENT_JOB_ERROR | EVENT_JOB_MISSED | EVENT_JOB_MAX_INSTANCES)
    return clock


def _report_trouble(event: JobEvent) -> None:
    error = getattr(event, "exception", None)
    eventlog.record(
        Event.CLOCK_TROUBLE, logging.ERROR, loop=event.job_id, error=type(error).__name__ if error else "late"
    )
