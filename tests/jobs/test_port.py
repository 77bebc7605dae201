"""The contract of `jobs/port.py` with the queue engine, held by real processes that are really killed."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from node.jobs.port import QueueView
from node.ledger import open_database
from node.ledger.engine import engine_of
from node.records import JobState
from tests.conftest import ROOT

pytestmark = pytest.mark.slow


class Bench:
    """Starts and kills tiny nodes in a folder, and asks their queue."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = open_database(folder / "node.db")
        self.engine = engine_of(self.database)
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, *options: str) -> subprocess.Popen[bytes]:
        ups = self.trace().count("up")
        command = [sys.executable, "-m", "tests.jobs.tiny_node", str(self.folder), *options]
        process = subprocess.Popen(command, cwd=ROOT)
        self.processes.append(process)
        until(lambda: self.trace().count("up") > ups or process.poll() is not None)
        return process

    def trace(self) -> list[str]:
        file = self.folder / "trace"
        return file.read_text().splitlines() if file.exists() else []

    def enqueue(self, job: str) -> None:
        with self.engine.begin() as connection:
            self.view.enqueue_in(connection, "job", "q", job, job)

    @property
    def view(self) -> QueueView:
        return QueueView(self.engine)

    def state(self, job: str) -> JobState | None:
        return self.view.states([job]).get(job)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    for process in bench.processes:
        process.kill()
        process.wait()


def until(condition: Callable[[], object], timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def test_a_killed_worker_goes_on_at_the_step_it_was_in(bench: Bench) -> None:
    worker = bench.start()
    (bench.folder / "hold-second").touch()
    bench.enqueue("a")
    until(lambda: "a second begins" in bench.trace())

    worker.kill()
    worker.wait()
    (bench.folder / "hold-second").unlink()
    bench.start()
    until(lambda: bench.state("a") is JobState.SUCCEEDED)

    assert bench.trace().count("a first ends") == 1
    assert bench.trace().count("a second begins") == 2
    assert bench.trace().count("a third ends") == 1


def test_a_job_enqueued_in_a_transaction_that_is_rolled_back_does_not_exist(bench: Bench) -> None:
    bench.start()

    def enqueue_and_fail(connection: sa.Connection) -> None:
        bench.view.enqueue_in(connection, "job", "q", "a", "a")
        raise RuntimeError

    with pytest.raises(RuntimeError), bench.engine.begin() as connection:
        enqueue_and_fail(connection)
    bench.enqueue("b")
    until(lambda: bench.state("b") is JobState.SUCCEEDED)

    assert bench.state("a") is None


def test_a_job_enqueued_twice_runs_once(bench: Bench) -> None:
    bench.start()
    bench.enqueue("a")
    bench.enqueue("a")
    bench.enqueue("b")
    until(lambda: bench.state("b") is JobState.SUCCEEDED)

    assert bench.trace().count("a third ends") == 1


def test_a_second_worker_in_the_same_folder_refuses_to_start(bench: Bench) -> None:
    bench.start()

    second = bench.start()

    assert second.wait(timeout=30) != 0
    assert bench.trace().count("up") == 1


def test_a_failed_job_runs_again_from_its_start_when_an_operator_says_so(bench: Bench) -> None:
    bench.start()
    (bench.folder / "fail-second").touch()
    bench.enqueue("a")
    until(lambda: bench.state("a") is JobState.FAILED)

    (bench.folder / "fail-second").unlink()
    assert bench.view.retry("a")
    until(lambda: bench.state("a") is JobState.SUCCEEDED)

    assert bench.trace().count("a first ends") == 2


def test_a_running_job_is_not_started_a_second_time_by_retry(bench: Bench) -> None:
    bench.start()
    (bench.folder / "hold-second").touch()
    bench.enqueue("a")
    until(lambda: "a second begins" in bench.trace())

    assert not bench.view.retry("a")


def test_a_cancelled_job_stays_cancelled_until_it_is_tried_again(bench: Bench) -> None:
    (bench.folder / "hold-first").touch()
    bench.start()
    bench.enqueue("a")
    bench.enqueue("b")
    until(lambda: "a first begins" in bench.trace())

    assert bench.view.cancel("b")
    (bench.folder / "hold-first").unlink()
    until(lambda: bench.state("a") is JobState.SUCCEEDED)

    assert bench.state("b") is JobState.CANCELLED
    assert bench.view.retry("b")
    until(lambda: bench.state("b") is JobState.SUCCEEDED)


def test_a_stopped_worker_returns_its_running_job_to_the_queue(bench: Bench) -> None:
    worker = bench.start()
    (bench.folder / "hold-second").touch()
    bench.enqueue("a")
    until(lambda: "a second begins" in bench.trace())

    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=30) == 0
    assert bench.state("a") is JobState.QUEUED

    (bench.folder / "hold-second").unlink()
    bench.start()
    until(lambda: bench.state("a") is JobState.SUCCEEDED)
    assert bench.trace().count("a first ends") == 1
