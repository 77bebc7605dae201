"""The composition root: the only module that knows all rooms. Read it first.

A node is one process here: receiver, clock and queue; each CPU step is a child process. What it knows is in its data
folder: `node.db` (ledger and queue), `spool/` (bytes as received, and results), `work/` (jobs in progress),
`alias.key` (makes identifiers unreadable in logs).
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_MAX_INSTANCES, EVENT_JOB_MISSED, JobEvent
from apscheduler.schedulers.background import BackgroundScheduler

from node import eventlog, plugins
from node.association import Receiver
from node.completion import Watcher
from node.delivery import Sender
from node.errors import SettingsError
from node.eventlog import Event
from node.jobs.pipeline import Pipeline
from node.jobs.port import JobQueue
from node.jobs.watch import CancelWatch, Reconciler, repeat
from node.ledger import Ledger, open_database
from node.ports import Destination
from node.settings import Settings
from node.spool import Spool

_EXECUTOR = "paraspinal-node"  # one works in a data folder at a time, so that a node may be renamed
_RECONCILE_EVERY_S = 15.0
_LOOK_FOR_CANCELS_EVERY_S = 0.5


class Node:
    """The rooms, connected.

    Parameters
    ----------
    settings : Settings
        All of them.
    receive : bool
        Whether peers may call; without it the node works off what it holds.

    Raises
    ------
    SettingsError
        If the data folder cannot be used, or a plug-in that the settings name is missing.
    LedgerError
        If another process works in the data folder.
    """

    def __init__(self, settings: Settings, *, receive: bool = True) -> None:
        self._settings = settings
        data_dir = open_data_dir(settings)
        self._spool = Spool(data_dir / "spool", floor_bytes=settings.association.free_space_floor_mb << 20)
        self.ledger = Ledger(open_database(data_dir / "node.db"))
        self._queue = JobQueue(self.ledger.database, executor_id=_EXECUTOR, lock_file=data_dir / "node.lock")
        self._cancel = CancelWatch(self._queue)
        sender = Sender(self.ledger, self._spool, destinations(settings))
        pipeline = Pipeline(self._queue, self.ledger, self._spool, settings, cancel=self._cancel, send=sender.attempt)
        self._pipeline = pipeline
        trigger = plugins.load("triggers", settings.completion.trigger)(settings.completion.quiet_period_s)
        self._watcher = Watcher(self.ledger, self._spool, trigger, settings.completion, pipeline.enqueue)
        self._receiver = Receiver(settings.association, self._spool, self.ledger) if receive else None
        self._clock = _clock()

    def start(self) -> None:
        """Start the rooms in order: what was received before, then the work, then the clock; peers call last."""
        swept = self._spool.sweep()
        if swept:
            eventlog.record(Event.SPOOL_SWEPT, files=swept)
        self.ledger.excuse_outage(now=time.time())
        self._queue.launch(self._pipeline.queues(), poll_every_s=self._settings.jobs.poll_every_s)
        self._pipeline.sweep()
        repeat(Reconciler(self._queue).run_once, _RECONCILE_EVERY_S, "reconciler")
        repeat(self._cancel.run_once, _LOOK_FOR_CANCELS_EVERY_S, "cancel-watch")
        self._clock.add_job(
            lambda: self._watcher.run_once(now=time.time()),
            "interval",
            seconds=self._settings.completion.sweep_every_s,
            id="complete",
        )
        self._clock.start()
        if self._receiver is not None:
            try:
                self._receiver.start()
            except OSError as error:
                raise SettingsError(f"[association] port: {error.strerror}") from error
        eventlog.record(Event.NODE_STARTED, port=self.port)

    @property
    def port(self) -> int | None:
        """The TCP port of the receiver, if it runs."""
        return self._receiver.port if self._receiver is not None else None

    def stop(self) -> None:
        """Stop in order: no new associations, running instances to their end, no new jobs, jobs returned."""
        eventlog.record(Event.NODE_STOPPING)
        if self._receiver is not None:
            self._receiver.stop(drain_s=self._settings.node.stop_wait_s)
        self._clock.shutdown()
        self._queue.stop(wait_s=self._settings.node.stop_wait_s)
        eventlog.record(Event.NODE_STOPPED)


def run(settings: Settings, *, receive: bool = True, started: Callable[[Node], None] = lambda _node: None) -> None:
    """Run a node in the foreground until SIGTERM or SIGINT; `started` is called when it is up. Does not return."""
    asked_to_stop = threading.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda _signum, _frame: asked_to_stop.set())
    node = Node(settings, receive=receive)
    node.start()
    started(node)
    asked_to_stop.wait()
    node.stop()
    logging.shutdown()
    os._exit(0)  # a returned job may still compute in its thread: it must neither record anything nor hold us up


def open_data_dir(settings: Settings) -> Path:
    """Return the data folder, made if missing and readable by its owner alone, and take the alias key from it.

    Raises
    ------
    SettingsError
        If it cannot be made or written.
    """
    data_dir = settings.node.data_dir.resolve()
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        eventlog.use_alias_key(data_dir / "alias.key")
    except OSError as error:
        raise SettingsError(f"[node] data_dir: {data_dir} cannot be used ({error.strerror})") from error
    return data_dir


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
