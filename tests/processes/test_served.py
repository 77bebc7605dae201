"""The node as it is served: supervisor, receiver and worker, and what the death of one is to the others."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from pynetdicom import AE, build_context

from node.simulator.loopback import listens
from node.simulator.scanner import push
from tests.builders import series_of
from tests.conftest import ROOT
from tests.peers import ServedNode, until
from tests.processes.test_supervisor import lives

pytestmark = pytest.mark.slow

# Idle, resident. Measured 2026-11-26: 53.5, of which typer and pydantic take 20, pydicom and pynetdicom 15. The pixel
# decoders would add 34.
RECEIVER_MB = 60


@pytest.fixture
def node(tmp_path: Path) -> Iterator[ServedNode]:
    node = ServedNode(tmp_path / "node", 1)
    yield node
    node.kill()


def child(node: ServedNode, verb: str) -> psutil.Process:
    assert node.process is not None
    (found,) = (one for one in psutil.Process(node.process.pid).children() if verb in one.cmdline())
    return found


def oom_score(process: psutil.Process) -> int:
    return int(Path(f"/proc/{process.pid}/oom_score_adj").read_text())


def ups(node: ServedNode, name: str) -> int:
    return node.log.count(f"N120 process up process={name}")


def test_the_death_of_the_worker_does_not_touch_an_association(node: ServedNode) -> None:
    node.start()
    receiver = child(node, "receive").pid

    def between(answered: int, _all: int) -> None:
        if answered == 10:
            child(node, "work").kill()
        if answered == 20:
            until(lambda: ups(node, "worker") == 2, 60, what="the worker to come back")

    datasets = list(series_of(1, slices=30))
    statuses = push(datasets, "127.0.0.1", node.port, called_ae="PARASPINAL", progress=between)

    assert statuses == (0x0000,) * 30
    assert child(node, "receive").pid == receiver
    assert "N121 process ended; it is started again process=worker by=signal-9" in node.log
    until(lambda: node.console().status()["counts"]["instances"] == 30, 10, what="the rows")


def test_a_receiver_that_died_comes_back_on_its_port_and_the_worker_does_not_notice(node: ServedNode) -> None:
    node.start()
    worker = child(node, "work").pid

    child(node, "receive").kill()
    until(lambda: ups(node, "receiver") == 2, 60, what="the receiver to come back")

    assert push(list(series_of(1)), "127.0.0.1", node.port, called_ae="PARASPINAL") == (0x0000,) * 6
    assert child(node, "work").pid == worker


def test_a_node_whose_supervisor_was_killed_leaves_nothing_behind_and_starts_again_at_once(node: ServedNode) -> None:
    node.start()
    assert node.process is not None
    children = psutil.Process(node.process.pid).children()

    node.process.kill()
    until(lambda: not any(map(lives, children)), 1.0, what="the end of the children")
    node.start()

    assert len(children) == 2
    assert listens(node.port)


def test_memory_is_taken_from_the_worker_first_and_the_receiver_has_little_of_it(node: ServedNode) -> None:
    node.start()
    assert node.process is not None
    receiver, worker = child(node, "receive"), child(node, "work")
    inherited = int(Path("/proc/self/oom_score_adj").read_text())

    assert oom_score(receiver) == oom_score(psutil.Process(node.process.pid)) == inherited
    assert oom_score(worker) == max(inherited, 500)
    assert not [one.path for one in receiver.memory_maps() if "numpy" in one.path or "gdcm" in one.path]
    assert receiver.memory_info().rss < RECEIVER_MB << 20


def test_a_port_that_is_taken_is_exit_2_with_the_reason(node: ServedNode) -> None:
    with socket.create_server(("127.0.0.1", node.port)):
        ended = node.cli("serve")

    assert ended.returncode == 2
    assert "[association] port: Address already in use" in ended.stderr
    assert "N100" not in ended.stderr


def test_receiver_and_worker_run_by_themselves_and_one_folder_has_one_of_each(node: ServedNode) -> None:
    node.start("receive")
    again = node.cli("receive", "--port", "0")
    with_receiver = json.loads(node.cli("status", "--json").stdout)
    association = AE("SCANNER").associate(
        "127.0.0.1", node.port, [build_context("1.2.840.10008.1.1")], ae_title="PARASPINAL"
    )
    answered = association.send_c_echo().Status
    association.release()

    assert (again.returncode, "another process works in" in again.stderr) == (1, True)
    assert with_receiver["processes"] == {"receiver": True, "worker": False}
    assert with_receiver["running"] is False
    assert answered == 0x0000
    assert node.terminate() == 0
    assert "N102" in node.log

    node.start("work")
    with_worker = json.loads(node.cli("status", "--json").stdout)
    refused = node.cli("work")

    assert with_worker["processes"] == {"receiver": False, "worker": True}
    assert refused.returncode == 1
    assert node.terminate() == 0


def test_a_sandboxed_step_does_not_outlive_a_worker_that_is_killed(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    call = (
        "import threading; from node.jobs.sandbox import run_isolated; run_isolated("
        f"'tests.jobs.test_sandbox:write_pid_and_sleep', {{'file': {str(file)!r}}}, "
        "time_limit_s=60.0, memory_limit_mb=1000, cancelled=threading.Event())"
    )
    worker = subprocess.Popen([sys.executable, "-c", call], cwd=ROOT)
    until(lambda: file.exists() and file.read_text(), 20, what="the step")
    step = psutil.Process(int(file.read_text()))
    score = oom_score(step)

    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()
    until(lambda: not lives(step), 1.0, what="the end of the step")

    assert score == 900
