"""The supervisor over tiny real processes."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.conftest import ROOT
from tests.peers import until


class Supervised:
    """A supervisor of tiny processes, itself a process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *children: str, up: bool = True) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.processes.tiny", "supervise", str(self.folder), *children],
                stderr=log, cwd=ROOT, start_new_session=True,
            )  # fmt: skip
        if up:
            until(lambda: "the node is up" in " ".join(self.trace), 10, what="the node")

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    @property
    def trace(self) -> list[str]:
        file = self.folder / "trace"
        return file.read_text().splitlines() if file.exists() else []

    def ended(self) -> int:
        assert self.process is not None
        return self.process.wait(timeout=10)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Supervised]:
    node = Supervised(tmp_path)
    yield node
    if node.process is not None and node.process.poll() is None:
        node.process.kill()
        node.process.wait()


def lives(process: psutil.Process) -> bool:
    """Return whether it runs; what only waits to be buried, by an init that takes its time, does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def pauses(node: Supervised, child: str) -> list[float]:
    return [float(found) for found in re.findall(rf"N121 .* process={child} .*again_in_s=([\d.]+)", node.log)]


def test_each_child_starts_when_the_one_before_is_up_and_stops_when_it_has_ended(node: Supervised) -> None:
    node.start("receiver", "worker")
    os.kill(node.pid, signal.SIGTERM)

    assert node.ended() == 0
    assert node.trace == [
        "receiver starts", "receiver is up", "worker starts", "worker is up", "the node is up on port 4711",
        "receiver stops", "receiver has stopped", "worker stops", "worker has stopped",
    ]  # fmt: skip
    assert re.findall(r" (N\d+) ", node.log) == ["N120", "N120", "N100", "N101", "N102"]


def test_ctrl_c_in_a_terminal_stops_them_in_order_too(node: Supervised) -> None:
    node.start("receiver", "worker")
    os.killpg(node.pid, signal.SIGINT)

    assert node.ended() == 0
    assert node.trace[-4:] == ["receiver stops", "receiver has stopped", "worker stops", "worker has stopped"]


@pytest.mark.slow
def test_a_child_that_keeps_dying_is_started_again_after_longer_and_longer_waits(node: Supervised) -> None:
    node.start("receiver", "worker:die")
    until(lambda: len(pauses(node, "worker")) >= 4, 20, what="four deaths")

    assert pauses(node, "worker")[:4] == [0.1, 0.2, 0.4, 0.4]
    assert node.trace.count("receiver starts") == 1  # the other does not notice


@pytest.mark.slow
def test_a_child_that_was_up_long_enough_is_started_again_soon(node: Supervised) -> None:
    node.start("receiver:die-late", "worker")
    until(lambda: len(pauses(node, "receiver")) >= 2, 20, what="two deaths")

    assert pauses(node, "receiver")[:2] == [0.1, 0.1]
    assert node.trace.count("worker starts") == 1


@pytest.mark.parametrize("status", [1, 2])
def test_a_child_that_refuses_its_first_start_ends_the_node_with_its_status(node: Supervised, status: int) -> None:
    node.start("receiver", f"worker:exit={status}", up=False)

    assert node.ended() == status
    assert node.trace == [
        "receiver starts",
        "receiver is up",
        "worker starts",
        "receiver stops",
        "receiver has stopped",
    ]


def test_a_receiver_that_cannot_start_ends_the_node_before_anything_works(node: Supervised) -> None:
    node.start("receiver:exit=2", "worker", up=False)

    assert node.ended() == 2
    assert node.trace == ["receiver starts"]


@pytest.mark.slow
def test_a_child_that_was_up_once_and_then_cannot_start_is_tried_again(node: Supervised) -> None:
    node.start("receiver", "worker:die:then=exit=2")
    until(lambda: len(pauses(node, "worker")) >= 3, 20, what="three ends")

    assert node.process is not None
    assert node.process.poll() is None
    assert "by=exit-2" in node.log


def test_children_do_not_outlive_a_supervisor_that_is_killed(node: Supervised) -> None:
    node.start("receiver", "worker:deaf")
    children = psutil.Process(node.pid).children()

    os.kill(node.pid, signal.SIGKILL)

    assert len(children) == 2
    until(lambda: not any(map(lives, children)), 5.0, what="the end of the children")


@pytest.mark.slow
def test_a_child_that_does_not_stop_in_time_is_killed(node: Supervised) -> None:
    node.start("receiver:deaf", "worker")
    began = time.monotonic()
    os.kill(node.pid, signal.SIGTERM)

    assert node.ended() == 0
    assert time.monotonic() - began < 20
    assert "N122 process did not stop in time and was killed process=receiver" in node.log
    assert node.trace[-1] == "worker has stopped"


def test_a_stop_does_not_wait_for_a_child_that_is_to_be_started_again(node: Supervised) -> None:
    node.start("receiver", "worker:die")
    until(lambda: pauses(node, "worker"), 10, what="a death")
    os.kill(node.pid, signal.SIGTERM)

    assert node.ended() == 0
    assert node.trace.count("receiver has stopped") == 1
