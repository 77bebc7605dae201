"""What a process of the node does about itself: it says that it is up, ends when it is told to, holds its lock.

A served node is a supervisor (`daemon.py`) and its children. Between the two are two pipes and nothing else:

- the child's standard output carries one line of JSON, when it is up: `{"up": true, "port": 11112}`;
- its standard input carries nothing; its end says that the supervisor is gone, and the child goes at once.
"""

import contextlib
import json
import logging
import os
import queue
import shutil
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, Protocol

from node import eventlog
from node.errors import NodeError, SettingsError, raised_at
from node.eventlog import Event
from node.settings import Settings

# In the data folder:
DATABASE, SPOOL, RESULTS, WORK = "node.db", "spool", "results", "work"
QUARANTINE = "quarantine"  # result objects that must not be sent
WORKER_LOCK, RECEIVER_LOCK = "node.lock", "spool/lock"  # each held for the life of its process
RECEIVER_PORT = "receiver.port"  # the TCP port of the receiver that holds its lock
_OOM_SCORE = Path("/proc/self/oom_score_adj")  # proc(5): -1000 .. 1000; raising it needs no privilege

# pydicom looks for each of these when it is imported, and does well without. They cost 34 MB (63 -> 29, pydicom 3.0.2
# on 2026-11-26), and what peers can reach must not be able to decode pixels at all.
_PIXEL_DECODERS = ("gdcm", "numpy", "pylibjpeg", "openjpeg", "jpeg_ls", "libjpeg", "rle", "PIL")
_ASKED_FOR = 4 << 20  # bytes, before each instance (`association.guard`)
_CLIENTS = ("requests",)  # comes with a DICOMweb destination; pydicom would load it, too: 7 MB


class Service(Protocol):
    """What a process of the node runs."""

    @property
    def port(self) -> int | None:
        """The TCP port it listens on, if it does."""

    def start(self) -> None:
        """Begin; returns when it is up."""

    def stop(self) -> None:
        """End in order."""


class Tether:
    """A child's two pipes to its supervisor; made first thing in a child, before it imports what is slow.

    From then on this process ends the moment its supervisor does. What counts is on disk, so that is no worse than a
    power cut; and a new supervisor finds locks and port free.
    """

    def __init__(self) -> None:
        self._to_supervisor = os.dup(1)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)  # what libraries print may quote data sets, and is not for the supervisor
        os.close(nowhere)
        threading.Thread(target=self._watch, daemon=True, name="tether").start()

    def say_up(self, port: int | None) -> None:
        """Tell the supervisor that we are up; once."""
        os.write(self._to_supervisor, json.dumps({"up": True, "port": port}).encode() + b"\n")
        os.close(self._to_supervisor)

    @staticmethod
    def _watch() -> None:
        while os.read(0, 1):
            pass
        os._exit(1)


def run(make: Callable[[], Service], *, tether: Tether | None, started: Callable[[int | None], None]) -> NoReturn:
    """Run a service in the foreground until SIGTERM or SIGINT, then end the process.

    Parameters
    ----------
    make : callable
        Gives the service; called when signals are already attended to.
    tether : Tether or None
        To the supervisor, if there is one: then it is the supervisor that tells the world when the node is up, and
        when it stops.
    started : callable
        Called with the port when the service is up, if there is no supervisor.
    """
    asked_to_stop: queue.SimpleQueue[int] = queue.SimpleQueue()  # its `put` may interrupt anything, itself included
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda signum, _frame: asked_to_stop.put(signum))
    threading.excepthook = _note_thread_ended
    try:
        service = make()
        service.start()
    except Exception as error:
        if not isinstance(error, NodeError):  # those say themselves what is the matter
            eventlog.record(Event.PROCESS_FAILED, logging.ERROR, error=type(error).__name__, at=raised_at(error))
        raise
    if tether is not None:
        tether.say_up(service.port)
    else:
        eventlog.record(Event.NODE_STARTED, port=service.port)
        started(service.port)
    asked_to_stop.get()
    if tether is None:
        eventlog.record(Event.NODE_STOPPING)
    service.stop()
    if tether is None:
        eventlog.record(Event.NODE_STOPPED)
    logging.shutdown()
    os._exit(0)  # a returned job may still compute in its thread: it must neither record anything nor hold us up


def _note_thread_ended(ended: threading.ExceptHookArgs) -> None:
    """Say that a thread ended, as pynetdicom's do on some malformed PDUs: a traceback might quote what was received."""
    if not issubclass(ended.exc_type, SystemExit):
        # pynetdicom's, for what it still had to say on an association that the guard has just ended
        level = logging.DEBUG if ended.exc_type.__name__ == "InvalidEventError" else logging.ERROR
        eventlog.record(Event.THREAD_ENDED, level, error=ended.exc_type.__name__)


def offer_to_oom_killer(score: int) -> None:
    """Have the kernel take this process rather than the receiver, whose score stays, when memory runs out."""
    with contextlib.suppress(OSError, ValueError):
        if int(_OOM_SCORE.read_text()) < score:
            _OOM_SCORE.write_text(str(score))


def leave_out_pixel_decoders() -> None:
    """Make what decodes pixels, and what the receiver has no use for, unimportable; before pydicom is imported."""
    for name in _PIXEL_DECODERS + _CLIENTS:
        sys.modules[name] = None  # type: ignore[assignment]  # the import system's own word for "there is none"


def worked_data_dir(settings: Settings) -> Path:
    """Return the data folder of a node that works, or worked, and take the alias key from it.

    Raises
    ------
    SettingsError
        If no node has worked there.
    """
    data_dir = settings.node.data_dir.resolve()
    if not (data_dir / DATABASE).exists():
        raise SettingsError(f"[node] data_dir: no node has worked in {data_dir} yet")
    eventlog.use_alias_key(data_dir / "alias.key")
    return data_dir


def is_full(settings: Settings) -> bool:
    """Return whether the disk of the data folder is at the floor, so that instances are refused with 0xA700."""
    free = shutil.disk_usage(settings.node.data_dir.resolve()).free
    return free - _ASKED_FOR < settings.spool.free_space_floor_mb << 20


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
