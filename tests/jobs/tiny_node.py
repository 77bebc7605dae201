"""A process that works off a queue of three-step jobs, for tests that kill it.

    python -m tests.jobs.tiny_node FOLDER [RECOVERY_ATTEMPTS]

Each step writes lines to FOLDER/trace. It waits while FOLDER/hold-STEP exists, and fails while FOLDER/fail-STEP does.
"""

import signal
import sys
import threading
import time
from pathlib import Path

from node.errors import ReportError
from node.jobs.port import JobQueue
from node.jobs.watch import Settler
from node.ledger import open_database
from node.ledger.ledger import Ledger
from node.loops import repeat

STEPS = ("first", "second", "third")


def main() -> None:
    folder = Path(sys.argv[1])
    ledger = Ledger(open_database(folder / "node.db"))
    queue = JobQueue(ledger.engine, executor_id="tiny", lock_file=folder / "node.lock")

    def make(step: str):
        def run(job: str) -> str:
            trace(folder, f"{job} {step} begins")
            while (folder / f"hold-{step}").exists():
                time.sleep(0.02)
            if (folder / f"fail-{step}").exists():
                raise ReportError("told to fail")
            trace(folder, f"{job} {step} ends")
            return step

        return queue.step(step, run)

    steps = [make(step) for step in STEPS]

    def job(job_id: str) -> str:
        for step in steps:
            step(job_id)
        return "done"

    queue.workflow("job", job, recovery_attempts=int(sys.argv[2]) if len(sys.argv) > 2 else 20)
    queue.launch({"q": 1}, poll_every_s=0.05)
    settler = Settler(queue, ledger, workflow="job", work=folder / "work")
    repeat(settler.run_once, 0.2, "settler")
    asked = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: asked.set())
    trace(folder, "up")
    asked.wait()
    queue.stop(wait_s=1)
    trace(folder, "stopped")
    import os

    os._exit(0)


def trace(folder: Path, line: str) -> None:
    with (folder / "trace").open("a") as file:
        file.write(line + "\n")


if __name__ == "__main__":
    main()
