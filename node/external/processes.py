"""Running a command so that nothing of it is left: limits on time and files, and the end of all that it started."""

import contextlib
import ctypes
import os
import resource
import signal
import subprocess
from collections import defaultdict
from collections.abc import Collection, Sequence
from pathlib import Path

from node.errors import PluginError
from node.procfs import process_stats

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # prctl(2)
_LIBC = ctypes.CDLL(None)  # loaded here: between fork and exec nothing may be


def run_command(name: str, arguments: Sequence[str], folder: Path, *, time_limit_s: float, largest_file_mb: int) -> int:
    """Run a command in a folder to its end, and return its status, negative for a signal.

    It stays in our process group, so that what ends the step ends the command. What it writes to its output and error
    goes nowhere: it may quote what it was given.

    Raises
    ------
    PluginError
        If it cannot be started, or does not end in time.
    """
    before = set(_children()[os.getpid()])
    _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1)  # orphans become our children, so that they are found
    try:
        child = subprocess.Popen(
            arguments,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            umask=0o077,
            preexec_fn=lambda: _limit(largest_file_mb),  # the only way to limit it before it runs
        )
    except (OSError, subprocess.SubprocessError) as error:
        reason = error.strerror if isinstance(error, OSError) else type(error).__name__
        raise PluginError(f"command {name} cannot be started ({reason})") from error
    try:
        return child.wait(time_limit_s)
    except subprocess.TimeoutExpired as error:
        raise PluginError(f"command {name} did not end within {time_limit_s:g} s") from error
    finally:
        _end(child, before)
        _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 0)


def _limit(largest_file_mb: int) -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file_mb << 20,) * 2)


def _end(child: "subprocess.Popen[bytes]", before: Collection[int]) -> None:
    """Kill the command and all that descends from it, and reap what became ours."""
    while True:
        children = _children()
        ours = [one for one in children[os.getpid()] if one not in before]
        if not ours:
            return
        below = list(ours)
        for one in below:  # grows as it is walked
            below += children[one]
        for one in below:
            with contextlib.suppress(ProcessLookupError):
                os.kill(one, signal.SIGKILL)
        for one in ours:
            if one == child.pid:
                child.wait()
            else:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(one, 0)


def _children() -> dict[int, list[int]]:
    """Return the children of each process of this machine, as far as they can be seen."""
    found: dict[int, list[int]] = defaultdict(list)
    for one in process_stats():
        found[one.parent].append(one.pid)
    return found
