"""One CPU step in a process of its own: wall time, memory, crash isolation, cancel.

No queue gives a hard limit to a step that computes in Python. Arguments and result travel as JSON, so they are
identifiers and paths, never pixels. Linux only.

A step starts no processes but a site's commands (`node.external.command`): the time limit, the memory limit and a
cancel end the whole process group, but the kernel's death signal, which comes when the node is killed, reaches the
child and its command alone, and nothing that the command started.
"""

import contextlib
import ctypes
import importlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from node import errors, locks
from node.errors import (
    NodeError,
    SandboxCancelledError,
    SandboxError,
    SandboxMemoryError,
    SandboxTimeoutError,
)
from node.procfs import process_stats

if TYPE_CHECKING:  # every step would load it, and some have no use for settings
    from node.settings import JobSettings

_PR_SET_PDEATHSIG = 1  # prctl(2)
_POLL_S = 0.1
_PREFIX, _LOCK = "paraspinal-step-", "lock"  # of the folder of a step; held in it, as long as its process lives
# One thread each: the results must not depend on the machine's cores, and the receiver needs them too.
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"), "1")


def run_step(
    step: str, folder: Path, limits: "JobSettings", *, cancelled: threading.Event | None = None, **arguments: str
) -> Any:
    """Run a step of a job (`node.jobs.steps`) on its folder, under the limits of the settings; see `run_isolated`."""
    return run_isolated(
        f"node.jobs.steps:{step}",
        {"folder": str(folder), **arguments},
        time_limit_s=limits.step_time_limit_s,
        memory_limit_mb=limits.step_memory_limit_mb,
        cancelled=cancelled or threading.Event(),
    )


def run_isolated(
    target: str,
    arguments: Mapping[str, Any],
    *,
    time_limit_s: float,
    memory_limit_mb: int,
    cancelled: threading.Event,
) -> Any:
    """Call `target` ("module:function") with `arguments` in a child process and return its result.

    The calling thread waits; it must not end before the child does, because the kernel ties the child's death signal
    to the thread that started it (prctl(2)).

    Raises
    ------
    NodeError
        The step's own, by class and text, if it raised one.
    SandboxError
        If it raised anything else (only the class is told), crashed, or was killed for time, memory or cancel.
    """
    with tempfile.TemporaryDirectory(prefix=_PREFIX) as folder, locks.hold(Path(folder, _LOCK)):
        task, result = Path(folder, "task.json"), Path(folder, "result.json")
        task.write_text(json.dumps({"target": target, "arguments": arguments, "memory_limit_mb": memory_limit_mb}))
        child = subprocess.Popen(
            [sys.executable, "-m", "node.jobs.sandbox", str(task), str(result), str(os.getpid())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # what libraries print may quote data sets
            stderr=subprocess.DEVNULL,
            env=os.environ | _ONE_THREAD | {"TMPDIR": folder},  # what a killed step leaves behind goes with the folder
            start_new_session=True,  # a process group of its own: one signal ends all of it
        )
        reason = None
        try:
            reason = _wait(child, target, time.monotonic() + time_limit_s, memory_limit_mb, cancelled)
        finally:
            if child.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
                child.wait()
        if reason is not None:
            raise reason
        if child.returncode != 0 or not result.exists():
            ended_by = f"signal {-child.returncode}" if child.returncode < 0 else f"exit {child.returncode}"
            raise SandboxError(f"{target} crashed: {ended_by}")
        answer = json.loads(result.read_text())
    if "error" in answer:
        raise _as_raised(target, answer["error"], answer["text"])
    return answer["value"]


def sweep() -> None:
    """Remove the folders of steps whose process was killed before it could; they may hold images."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # not ours, or gone
            if (lock := folder / _LOCK).exists() and not locks.is_held(lock):
                shutil.rmtree(folder)


def _wait(
    child: subprocess.Popen[bytes], target: str, deadline: float, memory_limit_mb: int, cancelled: threading.Event
) -> SandboxError | None:
    """Return when the child has ended, or with the reason why it must."""
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(_POLL_S)
            return None
        if time.monotonic() > deadline:
            return SandboxTimeoutError(f"{target} ran past its time limit")
        if cancelled.is_set():
            return SandboxCancelledError(f"{target} was cancelled")
        if _resident_kb(child.pid) > memory_limit_mb * 1024:
            return SandboxMemoryError(f"{target} held more than {memory_limit_mb} MB")


def _as_raised(target: str, class_name: str, text: str) -> NodeError:
    """Return the child's error: ours as it was, another's by its class name alone."""
    kind = getattr(errors, class_name, None)
    if kind is None:
        return SandboxError(f"{target} failed: {class_name}")
    error: NodeError = kind.__new__(kind)
    Exception.__init__(error, text)
    return error


def _resident_kb(process_group: int) -> int:
    """Return the resident memory of all processes of a group, in kB."""
    pages = sum(one.resident_pages for one in process_stats() if one.group == process_group)
    return pages * (resource.getpagesize() // 1024)


def _child(task_file: str, result_file: str, parent: str) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):  # the node died before the line above
        os._exit(99)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("900")  # a machine short of memory takes us, not the receiver
    task = json.loads(Path(task_file).read_text())
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # A back stop for what grows faster than the parent looks: twice the limit, in bytes.
    resource.setrlimit(resource.RLIMIT_DATA, (task["memory_limit_mb"] << 21,) * 2)
    module, function = task["target"].split(":")
    try:
        answer = {"value": getattr(importlib.import_module(module), function)(**task["arguments"])}
    except NodeError as error:
        answer = {"error": type(error).__name__, "text": str(error)}
    except Exception as error:  # its text may quote a data set
        answer = {"error": type(error).__qualname__, "text": ""}
    part = Path(f"{result_file}.part")
    part.write_text(json.dumps(answer))
    part.replace(result_file)


if __name__ == "__main__":
    _child(*sys.argv[1:4])
