"""What one study costs: each step in a process of its own, as the node runs it."""

import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from node.simulator import Recipe, simulate, write


@dataclass(frozen=True, slots=True)
class Cost:
    """Wall time, CPU time and peak resident memory of one step."""

    name: str
    seconds: float
    cpu_s: float
    peak_mb: float


def run(folder: Path) -> list[Cost]:
    """Return what simulating (for comparison), and measuring with report, cost."""
    began = time.perf_counter(), time.process_time()
    write(simulate(Recipe()), folder / "study")
    simulated = Cost(
        "simulate",
        time.perf_counter() - began[0],
        time.process_time() - began[1],
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "node", "measure", str(folder / "study" / "dicom"), "--out", str(folder / "out")],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return [simulated, Cost("measure and report", seconds, cpu_s, after.ru_maxrss / 1024)]
