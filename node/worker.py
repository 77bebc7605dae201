"""The composition root of the working process: completion, queue, pipeline, delivery; no peer can call it.

It looks at what the receiver has entered in the ledger, measures it, and delivers the results; each CPU step is a
child process. It may die at any moment, or be taken by the kernel for its memory: what it was at is in the ledger.
"""

import logging
import threading
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_MAX_INSTANCES, EVENT_JOB_MISSED, JobEvent
from apscheduler.schedulers.background import BackgroundScheduler

from node import durable, eventlog, locks, plugins, process
from node.calling import Caller
from node.completion import Watcher, read_table
from node.completion.clock import ClockWatch
from node.completion.contents import StoredSeries, Verdict
from node.completion.drops import DropFolder
from node.completion.encodings import Encodings, Stretch
from node.delivery import CommitmentRequester, Outbox, ResultRetention
from node.eventlog import Event
from node.jobs import sandbox
from node.jobs.pipeline import MEASURE, Pipeline
from node.jobs.port import JobQueue
from node.jobs.watch import CancelWatch, Reconciler, RulingWatch, Settler
from node.ledger import Deliveries, Promises, open_database
from node.ledger.expectations import Expectations
from node.ledger.ledger import Ledger
from node.ledger.retrievals import Retrievals
from node.ledger.rulings import Rulings
from node.ledger.suspicions import Suspicions
from node.loops import repeat
from node.ports import Destination
from node.retrieval import Archive, Asker, Courier, Puller
from node.settings import ArchiveSettings, DestinationSettings, Settings
from node.spool import Results, SpoolReader

_EXECUTOR = "paraspinal-node"  # one works in a data folder at a time, so that a node may be renamed
# In the data folder: what the worker keeps for itself.
_CLOCK, _RULES, _RETAINED = "clock.json", "roles.toml", "results-retained.txt"
_RECONCILE_EVERY_S = 15.0
_LOOK_FOR_CANCELS_EVERY_S = 0.5
_COMPARE_EVERY_S = 15.0  # chosen
_RETAIN_LOOK_EVERY_S = 300.0  # and first, minutes after a start; `ResultRetention` acts on fewer of them; chosen
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
        self._stopping = threading.Event()
        plugins.check_times(settings)
        rules = read_table(settings.completion.roles)
        data_dir = process.open_data_dir(settings)
        spool, self._results = SpoolReader(data_dir / process.SPOOL), Results(data_dir / process.RESULTS)
        ledger = Ledger(open_database(data_dir / process.DATABASE))
        self._queue = JobQueue(ledger.engine, executor_id=_EXECUTOR, lock_file=data_dir / process.WORKER_LOCK)
        self._cancel = CancelWatch(self._queue)
        self._deliveries, self._promises = Deliveries(ledger.database), Promises(ledger.database)
        self._outboxes = {
            name: self._outbox(one, destination)
            for one, (name, destination) in zip(settings.destination, destinations(settings).items(), strict=True)
        }
        work = data_dir / process.WORK
        self._pipeline = Pipeline(
            self._queue, ledger, spool, self._results, settings,
            work=work, quarantine=Results(data_dir / process.QUARANTINE), cancel=self._cancel,
        )  # fmt: skip
        self._settler = Settler(self._queue, ledger, workflow=MEASURE, work=work)
        self._retention = ResultRetention(ledger, self._results, data_dir / _RETAINED)
        self._ruling_watch = RulingWatch(Rulings(ledger.database))
        trigger = plugins.load("triggers", settings.completion.trigger)(settings.completion)
        self._spool, self._rules = spool.root, _rules_as_they_are(settings, data_dir)
        self._watcher = Watcher(
            ledger, spool, trigger, rules, settings.completion, self._pipeline.enqueue,
            receiving=lambda: locks.is_held(data_dir / process.RECEIVER_LOCK),
            clock=ClockWatch(data_dir / _CLOCK),
            read=self._read_study,
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
        sandbox.sweep()
        swept = self._results.sweep()
        if swept:
            eventlog.record(Event.SPOOL_SWEPT, files=swept)
        self._queue.launch(self._pipeline.queues(), poll_every_s=self._settings.jobs.poll_every_s)
        repeat(Reconciler(self._queue).run_once, _RECONCILE_EVERY_S, "reconciler")
        repeat(self._settler.run_once, _RECONCILE_EVERY_S, "settler")
        repeat(self._cancel.run_once, _LOOK_FOR_CANCELS_EVERY_S, "cancel-watch")
        repeat(self._ruling_watch.run_once, _RECONCILE_EVERY_S, "ruling-watch")
        repeat(lambda: self._retention.run_once(now=time.time()), _RETAIN_LOOK_EVERY_S, "retain-results")
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
        stranded = self._deliveries.park_strangers(self._outboxes, now=time.time())
        if stranded:
            eventlog.record(Event.DELIVERY_STRANDED, logging.ERROR, objects=stranded)
        for name, outbox in self._outboxes.items():  # a thread for each, so that one that is away delays no other
            repeat(partial(_empty, outbox), self._settings.jobs.poll_every_s, f"deliver-{name}")
        self._clock.start()

    def _outbox(self, one: DestinationSettings, destination: Destination) -> Outbox:
        settings, caller = self._settings, Caller.of(self._settings)
        commitment = CommitmentRequester(
            one,
            caller,
            lambda report: self._promises.reported(
                report, wait_s=settings.delivery.wait_s, attempts=settings.delivery.attempts, now=time.time()
            ),
        )
        return Outbox(
            destination, self._deliveries, self._results, settings.delivery,
            inquiry=Archive.of(settings, queried(one)) if one.verify else None,
            commitment=commitment if one.commitment else None, pause_s=one.pause_s,
        )  # fmt: skip

    def _read_study(self, study: Sequence[StoredSeries]) -> Verdict:
        """Read the headers of a study in a process of its own."""
        arguments = {
            "spool": str(self._spool),
            "series": [one.to_json() for one in study],
            "rules": self._rules,
            "post_alone": self._settings.completion.post_alone,
        }
        return Verdict.from_json(
            sandbox.run_isolated(
                "node.completion.contents:verdict",
                arguments,
                time_limit_s=self._settings.completion.read_time_limit_s,
                memory_limit_mb=self._settings.jobs.step_memory_limit_mb,
                cancelled=self._stopping,
            )
        )

    def _first_difference(self, pairs: Sequence[tuple[Stretch, Stretch]]) -> str:
        """Compare instances in a process of its own."""
        return str(
            sandbox.run_isolated(
                "node.jobs.likeness:first_difference",
                {"pairs": pairs},
                time_limit_s=self._settings.jobs.step_time_limit_s,
                memory_limit_mb=self._settings.jobs.step_memory_limit_mb,
                cancelled=threading.Event(),
            )
        )

    def stop(self) -> None:
        """Take no new jobs, let the running ones end for `stop_wait_s`, return the others to their queues."""
        self._stopping.set()
        self._clock.shutdown()
        deadline = time.monotonic() + self._settings.node.stop_wait_s
        for outbox in self._outboxes.values():
            outbox.stop(wait_s=max(0.0, deadline - time.monotonic()))
        self._queue.stop(wait_s=self._settings.node.stop_wait_s)


def _rules_as_they_are(settings: Settings, data_dir: Path) -> str | None:
    """Return the file with the site's rules as of now: who edits his own while the node runs changes nothing yet."""
    if settings.completion.roles is None:
        return None
    kept = data_dir / _RULES
    durable.write(kept, settings.completion.roles.read_bytes())
    return str(kept)


def destinations(settings: Settings) -> dict[str, Destination]:
    """Return the destinations of the settings by name; PluginError if a kind is not installed."""
    return {one.name: plugins.load("destinations", one.kind)(one, Caller.of(settings)) for one in settings.destination}


def _asker(settings: Settings, one: ArchiveSettings, ledger: Ledger) -> Asker:
    rows = Retrievals(ledger.database), Expectations(ledger.database)
    return Asker(Archive.of(settings, one), one, settings.retrieval, *rows)


def _puller(settings: Settings, one: ArchiveSettings, ledger: Ledger) -> Puller:
    source: Archive | Courier = Archive.of(settings, one)
    if one.how == "get":
        source = Courier(Archive.of(settings, one), settings.association, silence_s=settings.retrieval.silence_s)
    return Puller(source, settings.retrieval, Retrievals(ledger.database))


def queried(one: DestinationSettings) -> ArchiveSettings:
    """Return whom to ask what a destination has: itself, or the archive behind it."""
    return ArchiveSettings(
        name=one.name, ae_title=one.query_ae_title or one.ae_title, host=one.query_host or one.host,
        port=one.query_port or one.port, tls=one.tls, tls_name=one.tls_name,
    )  # fmt: skip


def _empty(outbox: Outbox) -> None:
    while outbox.run_once(now=time.time()):
        pass


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
    """Tell of a turn that failed, or that was left out because the one before goes on: a large study takes longer."""
    error = getattr(event, "exception", None)
    level, what = (logging.ERROR, type(error).__name__) if error else (logging.WARNING, "late")
    eventlog.record(Event.CLOCK_TROUBLE, level, loop=event.job_id, error=what)
