"""The composition root of the working process: completion, queue, pipeline, delivery; no peer can call it.

It looks at what the receiver has entered in the ledger, measures it, and delivers the results; each CPU step is a
child process. It may die at any moment, or be taken by the kernel for its memory: what it was at is in the ledger.
"""

import logging
import threading
import time
from collections.abc import Sequence
from functools import partial

from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_MAX_INSTANCES, EVENT_JOB_MISSED, JobEvent
from apscheduler.schedulers.background import BackgroundScheduler

from node import eventlog, locks, plugins, process
from node.completion import Watcher, read_table
from node.completion.drops import DropFolder
from node.completion.encodings import Encodings, Stretch
from node.delivery import Sender
from node.eventlog import Event
from node.jobs import sandbox
from node.jobs.pipeline import MEASURE, Pipeline
from node.jobs.port import JobQueue
from node.jobs.watch import CancelWatch, Reconciler, Settler
from node.ledger import open_database
from node.ledger.expectations import Expectations
from node.ledger.ledger import Ledger
from node.ledger.retrievals import Retrievals
from node.ledger.suspicions import Suspicions
from node.loops import repeat
from node.ports import Destination
from node.retrieval import Archive, Asker, Courier, Puller
from node.settings import ArchiveSettings, Settings
from node.spool import Results, SpoolReader

_EXECUTOR = "paraspinal-node"  # one works in a data folder at a time, so that a node may be renamed
_RECONCILE_EVERY_S = 15.0
_LOOK_FOR_CANCELS_EVERY_S = 0.5
_COMPARE_EVERY_S = 15.0  # chosen
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
        self._queue = JobQueue(ledger.engine, executor_id=_EXECUTOR, lock_file=data_dir / process.WORKER_LOCK)
        self._cancel = CancelWatch(self._queue)
        sender = Sender(ledger, self._results, destinations(settings))
        work = data_dir / process.WORK
        self._pipeline = Pipeline(
            self._queue, ledger, spool, self._results, settings, work=work, cancel=self._cancel, send=sender.attempt
        )
        self._settler = Settler(self._queue, ledger, workflow=MEASURE, work=work)
        trigger = plugins.load("triggers", settings.completion.trigger)(settings.completion)
        self._watcher = Watcher(
            ledger, spool, trigger, read_table(settings.completion.roles), settings.completion, self._pipeline.enqueue,
            receiving=lambda: locks.is_held(data_dir / process.RECEIVER_LOCK),
        )  # fmt: skip
        self._drops = (
            None if settings.emg.folder is None else DropFolder(settings.emg.folder, Suspicions(ledger.database))
        )
        self._askers = [_asker(settings, one, ledger) for one in settings.archive]
        self._pullers = [_puller(settings, one, ledger) for one in settings.archive]
        self._encodings = Encodings(
            ledger, spool, self._first_difference, quiet_period_s=settings.completion.quiet_period_s
        )
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
            lambda: self._watcher.run_once(now=time.time(), monotonic_s=time.monotonic()),
            "interval",
            seconds=self._settings.completion.sweep_every_s,
            id="complete",
        )
        repeat(lambda: self._encodings.run_once(now=time.time()), _COMPARE_EVERY_S, "encodings")
        if (drops := self._drops) is not None:
            repeat(lambda: drops.run_once(now=time.time()), self._settings.emg.sweep_every_s, "drop-folder")
        for asker in self._askers:  # a thread for each: an archive that hangs keeps nobody else waiting
            repeat(partial(_turn, asker), self._settings.retrieval.sweep_every_s, "ask-archive")
        for puller in self._pullers:
            repeat(partial(_turn, puller), self._settings.retrieval.sweep_every_s, "pull")
        self._clock.start()

    def _first_difference(self, pairs: Sequence[tuple[Stretch, Stretch]]) -> str:
        """Compare instances in a process of its own."""
        return str(
            sandbox.run_isolated(
                "node.jobs.encodings:first_difference",
                {"pairs": pairs},
                time_limit_s=self._settings.jobs.step_time_limit_s,
                memory_limit_mb=self._settings.jobs.step_memory_limit_mb,
                cancelled=threading.Event(),
            )
        )

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


def _asker(settings: Settings, one: ArchiveSettings, ledger: Ledger) -> Asker:
    rows = Retrievals(ledger.database), Expectations(ledger.database)
    return Asker(Archive.of(settings, one), one, settings.retrieval, *rows)


def _puller(settings: Settings, one: ArchiveSettings, ledger: Ledger) -> Puller:
    source: Archive | Courier = Archive.of(settings, one)
    if one.how == "get":
        source = Courier(Archive.of(settings, one), settings.association, silence_s=settings.retrieval.silence_s)
    return Puller(source, settings.retrieval, Retrievals(ledger.database))


def _turn(loop: Asker | Puller) -> None:
    loop.run_once(now=time.time())


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
