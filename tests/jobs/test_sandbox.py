"""Steps in processes of their own, and the ways in which they end."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from node.errors import (
    ReportError,
    SandboxCancelledError,
    SandboxError,
    SandboxMemoryError,
    SandboxTimeoutError,
    VolumeError,
)
from node.jobs.sandbox import run_isolated, sweep
from tests.peers import until

HERE = "tests.jobs.test_sandbox"


def double(number: int) -> int:
    return 2 * number


def sleep(seconds: float) -> None:
    time.sleep(seconds)


def grow(megabytes: int) -> int:
    held = b"x" * (megabytes << 20)  # not zeros: the kernel takes pages of zeros back when it is short of memory
    time.sleep(5)
    return len(held)


def die() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def refuse() -> None:
    raise ReportError("the mask is empty")


def refuse_with_code() -> None:
    raise VolumeError("IN-2", "slices are missing")


def leak() -> None:
    raise ValueError("SECRET^PATIENT")


def write_pid_and_sleep(file: str) -> None:
    Path(file).write_text(str(os.getpid()))
    time.sleep(60)


def run(target: str, *, time_limit_s: float = 30.0, memory_limit_mb: int = 1000, **arguments: object) -> object:
    return run_isolated(
        f"{HERE}:{target}",
        arguments,
        time_limit_s=time_limit_s,
        memory_limit_mb=memory_limit_mb,
        cancelled=threading.Event(),
    )


def test_a_step_returns_its_value() -> None:
    assert run("double", number=21) == 42


def test_a_step_that_takes_too_long_is_killed() -> None:
    began = time.monotonic()

    with pytest.raises(SandboxTimeoutError):
        run("sleep", time_limit_s=1.0, seconds=60)

    assert time.monotonic() - began < 10


def test_a_step_that_takes_too_much_memory_is_killed() -> None:
    with pytest.raises(SandboxMemoryError):
        run("grow", memory_limit_mb=150, megabytes=250)


def test_a_step_that_crashes_costs_only_itself() -> None:
    with pytest.raises(SandboxError, match="signal 11"):
        run("die")


def test_an_error_of_ours_keeps_its_class_and_text() -> None:
    with pytest.raises(ReportError, match=r"^the mask is empty$"):
        run("refuse")
    with pytest.raises(VolumeError, match=r"^IN-2: slices are missing$"):
        run("refuse_with_code")


def test_the_text_of_somebody_elses_error_stays_in_the_sandbox() -> None:
    with pytest.raises(SandboxError) as caught:
        run("leak")

    assert "SECRET" not in str(caught.value)
    assert "ValueError" in str(caught.value)


def test_what_a_killed_node_left_of_its_steps_goes_and_what_runs_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    call = f"from {HERE} import run; run('sleep', seconds=60)"
    nodes = [subprocess.Popen([sys.executable, "-c", call], env=os.environ | {"TMPDIR": str(tmp_path)}) for _ in "ab"]
    try:
        until(lambda: len(list(tmp_path.glob("paraspinal-step-*/task.json"))) == 2, 30, what="two steps")
        (tmp_path / "paraspinal-step-of-another").mkdir()
        nodes[0].kill()
        nodes[0].wait()

        sweep()

        left = {one.name for one in tmp_path.iterdir()}
        assert len(left) == 2
        assert "paraspinal-step-of-another" in left
        nodes[1].kill()
        nodes[1].wait()
        sweep()
        assert {one.name for one in tmp_path.iterdir()} == {"paraspinal-step-of-another"}
    finally:
        for one in nodes:
            one.kill()
            one.wait()


def test_a_cancelled_step_is_killed(tmp_path: Path) -> None:
    cancelled, file = threading.Event(), tmp_path / "pid"

    def cancel() -> None:
        while not file.exists():
            time.sleep(0.02)
        cancelled.set()

    threading.Thread(target=cancel).start()
    with pytest.raises(SandboxCancelledError):
        run_isolated(
            f"{HERE}:write_pid_and_sleep",
            {"file": str(file)},
            time_limit_s=30.0,
            memory_limit_mb=1000,
            cancelled=cancelled,
        )

    with pytest.raises(ProcessLookupError):
        os.kill(int(file.read_text()), 0)
