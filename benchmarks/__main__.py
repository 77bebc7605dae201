"""Benchmarks, side by side with peers in one run: `make bench`. Ratios count; the machine is shared.

A peer that is not installed is left out of the table by name. Nothing here asserts a time.
"""

import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import measuring, receiving


def main() -> None:
    screen = Console(width=120)
    with tempfile.TemporaryDirectory(prefix="paraspinal-bench-") as folder:
        receive = Table("receiver", "instances/s", "against storescp", "durable before 0x0000", title="C-STORE")
        results = receiving.run(Path(folder))
        floor = next((one.per_s for one in results if one.name == "storescp"), None)
        for one in results:
            ratio = f"{one.per_s / floor:.2f}" if floor else "storescp is not installed"
            receive.add_row(one.name, f"{one.per_s:.0f}", ratio, one.durable)
        measure = Table("step", "seconds", "CPU seconds", "peak MB", title="one study, 320 x 256 x 24, sandboxed steps")
        for step in measuring.run(Path(folder)):
            measure.add_row(step.name, f"{step.seconds:.1f}", f"{step.cpu_s:.1f}", f"{step.peak_mb:.0f}")
    screen.print(receive, measure)


if __name__ == "__main__":
    main()
