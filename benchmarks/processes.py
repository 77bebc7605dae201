"""A receiver's processes: start, wait until it listens and is calm, what they used, stop."""

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from node.simulator.loopback import listens

_START_S = 60.0
_STOP_S = 30.0  # our node lets running jobs end for 20 s
_CALM_CPU = 0.05  # of a core: below it a receiver has started
_CALM_MB = 1.0  # written in one look
_CALM_LOOK_S = 0.5
_CALM_LOOKS = 3  # one after the other: a process that waits for its sync looks calm for a moment
_CALM_WAIT_S = 30.0  # some are never calm; then so be it
_SAMPLE_S = 0.25  # a look at all processes takes 10 ms of a core that sender and receiver want


class DiedError(Exception):
    """A receiver did not start, or ended by itself."""


@dataclass(frozen=True, slots=True)
class Used:
    """CPU seconds and peak resident MB; pages that forked children share count in each of them."""

    cpu_s: float
    peak_mb: float


class Running:
    """A receiver that listens.

    Parameters
    ----------
    process : psutil.Process
        The one that was started; its descendants are counted with it.
    """

    def __init__(self, process: psutil.Process) -> None:
        self._process = process

    def everything(self) -> list[psutil.Process]:
        """Return the whole tree of processes."""
        with suppress(psutil.NoSuchProcess):
            return [self._process, *self._process.children(recursive=True)]
        return []

    def receiving(self) -> list[psutil.Process]:
        """Return the process that peers feel: our node's child `receive`; of other receivers all."""
        tree = self.everything()
        return [one for one in tree if "receive" in _words(one)] or tree

    def wait_until_calm(self) -> None:
        """Wait until start-up work (imports, zero-filling) is over, so that it is not measured."""
        deadline, calm = time.monotonic() + _CALM_WAIT_S, 0
        while calm < _CALM_LOOKS and time.monotonic() < deadline:
            before = cpu_s(self.everything()), written_mb(self.everything())
            time.sleep(_CALM_LOOK_S)
            used, written = cpu_s(self.everything()) - before[0], written_mb(self.everything()) - before[1]
            calm = calm + 1 if used < _CALM_CPU * _CALM_LOOK_S and written < _CALM_MB else 0

    def must_live(self) -> None:
        if not _lives(self._process):
            raise DiedError("the receiver died")


class Meter:
    """What a receiver uses inside a `with`: the whole tree, and its receiving process alone."""

    def __init__(self, running: Running) -> None:
        self._running = running
        self._done = threading.Event()
        self._sampler = threading.Thread(target=self._sample)
        self._peak_all = self._peak_receiving = 0.0

    def __enter__(self) -> "Meter":
        self._before = cpu_s(self._running.everything()), cpu_s(self._running.receiving())
        self._sampler.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._sampler.join()
        time.sleep(0.2)  # until forked children have ended and are counted
        everything, receiving = self._running.everything(), self._running.receiving()
        all_cpu, receiving_cpu = cpu_s(everything) - self._before[0], cpu_s(receiving) - self._before[1]
        self.everything = Used(all_cpu, max(self._peak_all, sum(map(_high_water_mb, everything))))
        self.receiving = Used(receiving_cpu, max(self._peak_receiving, sum(map(_high_water_mb, receiving))))

    def _sample(self) -> None:
        while not self._done.wait(_SAMPLE_S):
            self._peak_all = max(self._peak_all, resident_mb(self._running.everything()))
            self._peak_receiving = max(self._peak_receiving, resident_mb(self._running.receiving()))


@contextmanager
def running(command: Sequence[str], environment: Mapping[str, str], port: int, log: Path) -> Iterator[Running]:
    """Run a receiver until it listens, and end it and all that it started afterwards.

    Raises
    ------
    DiedError
        If it does not listen in time. To this and any other error the end of what it wrote is added as a note.
    """
    with log.open("wb") as output:
        child = subprocess.Popen(
            command,
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    process = psutil.Process(child.pid)
    try:
        deadline = time.monotonic() + _START_S
        while not listens(port):
            if child.poll() is not None or time.monotonic() > deadline:
                raise DiedError("does not listen")
            time.sleep(0.05)
        yield Running(process)
    except Exception as error:
        error.add_note(f"it wrote: {_tail(log)}")
        raise
    finally:
        _stop(child, process)


def find_program(*candidates: str) -> str | None:
    """Return the first program that is installed, never of the virtual environment: pynetdicom's have DCMTK's names."""
    places = os.pathsep.join(("/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"))
    return next((found for name in candidates if (found := shutil.which(name, path=places))), None)


def written_mb(processes: Sequence[psutil.Process]) -> float:
    """Return how much the processes have written to disks."""
    total = 0
    for one in processes:
        with suppress(psutil.Error):
            total += one.io_counters().write_bytes
    return total / 1e6


def cpu_s(processes: Sequence[psutil.Process]) -> float:
    """Return user and system seconds, with those of children that have ended; the grain is 10 ms."""
    total = 0.0
    for one in processes:
        with suppress(psutil.NoSuchProcess):
            total += sum(one.cpu_times()[:4])
    return total


def resident_mb(processes: Sequence[psutil.Process]) -> float:
    total = 0
    for one in processes:
        with suppress(psutil.NoSuchProcess):
            total += one.memory_info().rss
    return total / 1e6


def _high_water_mb(process: psutil.Process) -> float:
    with suppress(OSError):
        for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def _words(process: psutil.Process) -> list[str]:
    with suppress(psutil.NoSuchProcess):
        return list(process.cmdline())
    return []


def _tail(log: Path) -> str:
    return " / ".join(log.read_text(errors="replace").strip().splitlines()[-3:])[-400:] or "nothing"


def _stop(child: subprocess.Popen[bytes], process: psutil.Process) -> None:
    started = Running(process).everything()
    child.terminate()
    deadline = time.monotonic() + _STOP_S
    while left := [one for one in started if _lives(one)]:
        if time.monotonic() > deadline:
            for one in left:
                with suppress(psutil.NoSuchProcess):
                    one.kill()
        time.sleep(0.02)
    child.wait()


def _lives(process: psutil.Process) -> bool:
    """Return whether a process runs; one that has ended and that nobody has waited for does not."""
    with suppress(psutil.NoSuchProcess):
        return bool(process.is_running() and process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD))
    return False
