"""The supervisor: `serve` is this small process and its children, each of which may die without the others. Read first.

    receiver   reception.py   peers call it; spool and ledger. It must stay up.
    worker     worker.py      completion, queue, pipeline, delivery; each CPU step is a child of its own.

What the node knows is in its data folder, which the children share: `node.db` (ledger and queue), `spool/` (bytes as
received), `results/`, `work/` (jobs in progress), `alias.key` (makes identifiers unreadable in logs). So the supervisor
has nothing to remember: it starts what ended, and stops in order. `process.py` is the children's side.
"""

import json
import logging
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from node import eventlog
from node.eventlog import Event
from node.process import open_data_dir
from node.settings import Settings

_STOP_MARGIN_S = 10.0  # for what a child does beside waiting [node] stop_wait_s, as returning jobs; chosen


@dataclass(frozen=True, slots=True)
class Child:
    """A process of the node: its name in the log, and how it is started."""

    name: str
    command: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BackOff:
    """How long to wait before a child that ended is started again: doubling, until it was up for `calm_s`. Chosen."""

    first_s: float = 1.0
    longest_s: float = 30.0
    calm_s: float = 60.0


_BACK_OFF = BackOff()


def serve(
    settings: Settings,
    *,
    config: Path | None,
    port: int | None,
    data: Path | None,
    ae: str | None,
    started: Callable[[int | None], None],
) -> int:
    """Run the whole node in the foreground until SIGTERM or SIGINT, and return the exit status.

    Parameters
    ----------
    settings : Settings
        What `config` and the options make; the children read them again for themselves.
    config, port, data, ae : optional
        The settings file and the options of the command line, handed on to the children.
    started : callable
        Called with the TCP port when the node is up.

    Raises
    ------
    SettingsError
        If the data folder cannot be used.
    """
    open_data_dir(settings)  # once, here: a fault of it is told before anything is started
    kept = children(config, port=port, data=data, ae=ae)
    return Supervisor(kept, stop_limit_s=settings.node.stop_wait_s + _STOP_MARGIN_S).run(started=started)


def children(config: Path | None, *, port: int | None, data: Path | None, ae: str | None) -> tuple[Child, Child]:
    """Return receiver and worker, with the options that `serve` was given, in the order of their start and stop."""
    node = (sys.executable, "-m", "node", *_option("--config", config))
    common = ("--supervised", *_option("--data", data), *_option("--ae", ae))
    return (
        Child("receiver", (*node, "receive", *common, *_option("--port", port))),
        Child("worker", (*node, "work", *common)),
    )


def _option(name: str, value: object) -> tuple[str, ...]:
    return () if value is None else (name, str(value))


class Supervisor:
    """Keeps children running until it is asked to stop.

    Parameters
    ----------
    children : sequence of Child
        In the order in which they are started, each when the one before is up (the first makes the ledger's tables),
        and stopped, each when the one before has ended (first no new associations, then no more work).
    stop_limit_s : float
        How long each may take to end when it is asked to; then it is killed.
    back_off : BackOff
        How long to wait before one that ended is started again.
    """

    def __init__(self, children: Sequence[Child], *, stop_limit_s: float, back_off: BackOff = _BACK_OFF) -> None:
        # What ends the wait for it: None, a child is up for the first time; a number, the exit status to end with.
        # A signal handler may put something in at any moment, which `threading.Event` does not allow.
        self._news: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._keepers = [_Keeper(child, self._news.put, back_off) for child in children]
        self._stop_limit_s = stop_limit_s

    def run(self, *, started: Callable[[int | None], None]) -> int:
        """Run until SIGTERM, SIGINT, or a child that refuses its first start; return the exit status.

        `started` is called with the TCP port once all children are up.
        """
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, lambda _signum, _frame: self._news.put(0))
        status: int | None = None
        for keeper in self._keepers:
            keeper.start()
            status = self._news.get()
            if status is not None:
                break
        else:
            port = next((keeper.port for keeper in self._keepers if keeper.port is not None), None)
            eventlog.record(Event.NODE_STARTED, port=port)
            started(port)
            while status is None:
                status = self._news.get()
        eventlog.record(Event.NODE_STOPPING)
        for keeper in self._keepers:
            keeper.stop(limit_s=self._stop_limit_s)
        eventlog.record(Event.NODE_STOPPED)
        return status


class _Keeper:
    """Keeps one child running, from a thread that does nothing but wait for it."""

    def __init__(self, child: Child, tell: Callable[[int | None], None], back_off: BackOff) -> None:
        self.port: int | None = None
        self._child, self._tell, self._back_off = child, tell, back_off
        self._process: subprocess.Popen[bytes] | None = None
        self._was_up = False
        self._spawning = threading.Lock()  # so that no child is started behind the back of `stop`
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True, name=child.name)

    def start(self) -> None:
        self._thread.start()

    def stop(self, *, limit_s: float) -> None:
        """Ask the child to end, and see to it that it does; nothing if it was never started."""
        with self._spawning:
            self._stopping.set()
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(limit_s)
        except subprocess.TimeoutExpired:
            eventlog.record(Event.PROCESS_KILLED, logging.ERROR, process=self._child.name)
            self._process.kill()
            self._process.wait()
        self._thread.join()

    def _keep(self) -> None:
        pause_s = self._back_off.first_s
        while not self._stopping.is_set():
            status, up_s = self._live_once()
            if self._stopping.is_set():
                return
            if not self._was_up and status > 0:  # it has said why; a node that cannot start does not pretend to
                self._tell(status)
                return
            if up_s >= self._back_off.calm_s:
                pause_s = self._back_off.first_s
            by = f"signal-{-status}" if status < 0 else f"exit-{status}"
            eventlog.record(
                Event.PROCESS_ENDED, logging.ERROR, process=self._child.name, by=by, again_in_s=round(pause_s, 1)
            )
            self._stopping.wait(pause_s)
            pause_s = min(2 * pause_s, self._back_off.longest_s)

    def _live_once(self) -> tuple[int, float]:
        """Start the child and wait until it has ended.

        Returns
        -------
        status : int
            Its exit status, or minus the signal that ended it.
        up_s : float
            How long it was up, in seconds.
        """
        with self._spawning:
            if self._stopping.is_set():
                return 0, 0.0
            try:
                self._process = subprocess.Popen(
                    self._child.command,
                    stdin=subprocess.PIPE,  # never written; it ends when we do, however we do
                    stdout=subprocess.PIPE,
                    start_new_session=True,  # Ctrl-C in a terminal is for us alone: we stop them in order
                )
            except OSError:  # no memory, no more processes: as if it had been taken at once
                return -signal.SIGKILL, 0.0
        with self._process as process:  # closes the pipes
            assert process.stdout is not None, "it is a pipe"
            line = process.stdout.readline()  # it ends, empty, if the child does
            if not line:
                return process.wait(), 0.0
            up_since = time.monotonic()
            self._note_up(process.pid, json.loads(line)["port"])
            return process.wait(), time.monotonic() - up_since

    def _note_up(self, pid: int, port: int | None) -> None:
        self.port = port
        eventlog.record(Event.PROCESS_UP, process=self._child.name, pid=pid, port=port)
        if not self._was_up:
            self._was_up = True
            self._tell(None)
