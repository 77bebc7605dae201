"""Benchmarks in a quick form, for CI and a first look: `make bench`.

At length: `make bench-receive` for the receivers, `make bench-analysis` for the analysis.

A peer that is not installed is left out of the table by name. Nothing here asserts a time; the exit code is 1 if a
receiver refused an object or died.
"""

import sys
import tempfile
from pathlib import Path

from rich.console import Console

from benchmarks import measuring, reading, receiving
from benchmarks.sheet import Sheet


def main() -> int:
    screen, progress = Console(width=150), Console(stderr=True)

    def show(sheet: Sheet) -> None:
        screen.print(sheet.on_screen(), "")

    with tempfile.TemporaryDirectory(prefix="paraspinal-bench-") as folder:
        rows = [
            (step.name, f"{step.seconds:.1f}", f"{step.cpu_s:.1f}", f"{step.peak_mb:.0f}")
            for step in measuring.run(Path(folder))
        ]
    columns = ("step", "seconds", "CPU seconds", "peak MB")
    show(Sheet("One study, 320 x 256 x 24, sandboxed steps", columns, rows))
    show(reading.sheet(reading.run()))

    from benchmarks import analysis, delivering  # not before: what they import would count in the peaks above

    show(delivering.run(rounds=1))
    analysis.quick(show)
    faults = receiving.quick(show, progress.print)  # afterwards: its senders would count in the peak above
    for fault in faults:
        progress.print(f"FAILED {fault}", style="bold red", markup=False)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
