"""From volumes to findings: `python -m benchmarks.analysis_speed [--quick] [--seed N]`.

A study of the project's simulator: pre, post and MRV, with as many voxels a slice as 320 x 320 (the phantom is wider
than it is deep), 15, 30 and 60 slices a series of the pair. Each is measured in a process of its own, with the node's
own tools; the volumes are in memory when the clock starts. The peak is the whole process's: code, volumes and all.
"""

import argparse
import importlib
import json
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.sheet import Sheet

COUNTS = (15, 30, 60)
VOXELS_A_SLICE = 320 * 320
# What `node.analysis.measure` calls, and the name of the step; vessels are looked for beside what is called _compare.
STEPS = {
    "of_body": "body",
    "pair": "register",
    "find_muscles": "segment",
    "_compare": "gain, subtraction, foci",
    "look_for_vessels": "vessels",
    "measure_regional": "regions",
    "describe_foci": "description of foci",
    "with_supply": "supply",
    "with_paths": "biopsy",
    "pictures_of": "pictures",
}


def rows(quick: bool, seed: int) -> list[dict[str, Any]]:
    """Return the cost of each study; times in seconds, memory in MB."""
    found = []
    with tempfile.TemporaryDirectory(prefix="paraspinal-bench-") as folder:
        for count in COUNTS[:1] if quick else COUNTS:
            file = Path(folder) / "volumes"
            with file.open("wb") as opened:
                pickle.dump(_volumes(count, seed), opened)
            command = [sys.executable, "-m", "benchmarks.analysis_speed", "--measure", str(file)]
            found.append(json.loads(subprocess.run(command, check=True, capture_output=True).stdout))
    return found


def _volumes(count: int, seed: int) -> Any:
    from node.dicom.volumes import stack
    from node.findings import Side, StudyVolumes
    from node.simulator import Recipe, simulate
    from node.simulator.anatomy import Phantom
    from node.simulator.recipe import LesionRecipe

    wide, deep = Phantom(seed=seed, muscle_fat=0.0).field_of_view.size[:2]
    pixel_mm = float(np.sqrt(wide * deep / VOXELS_A_SLICE))
    lesions = tuple(LesionRecipe(side=side, level=level) for side, level in ((Side.LEFT, 0.35), (Side.RIGHT, 0.65)))
    study = simulate(
        Recipe(seed=seed, slices=count, pixel_mm=pixel_mm, series=("mrv", "pre", "post"), lesions=lesions)
    )  # fmt: skip
    return StudyVolumes(*(stack(study.of(kind)) for kind in ("pre", "post", "mrv")))


def measured(file: Path) -> dict[str, Any]:
    """Return what it costs to measure the volumes in `file`; to be called once in a process."""
    from node import plugins
    from node.settings import AnalysisSettings

    with file.open("rb") as opened:
        volumes = pickle.load(opened)
    module, settings = importlib.import_module("node.analysis.measure"), AnalysisSettings()
    began_s, ended_s = {}, {}
    for name, step in STEPS.items():
        setattr(module, name, _timed(getattr(module, name), step, began_s, ended_s))
    segmenter = plugins.load("segmenters", settings.segmenter)()
    detector = plugins.load("detectors", settings.detector)()
    wall, cpu = time.perf_counter(), time.process_time()
    findings = module.measure(volumes, settings=settings, segmenter=segmenter, detector=detector).findings
    wall_s, cpu_s = time.perf_counter() - wall, time.process_time() - cpu
    return {
        "slices": len(volumes.post.array), "MRV slices": len(volumes.mrv.array),
        "matrix": " x ".join(map(str, volumes.post.array.shape[1:])), "outcome": findings.outcome,
        "foci": len(findings.lesions), "wall": wall_s, "CPU": cpu_s, "peak MB": round(_peak_mb()),
        **{f"wall: {step}": ended_s[step] - began_s[step] for step in STEPS.values()},
        "timeline": {step: (began_s[step] - wall, ended_s[step] - wall) for step in STEPS.values()},
    }  # fmt: skip


def _timed(
    function: Callable[..., Any], step: str, began_s: dict[str, float], ended_s: dict[str, float]
) -> Callable[..., Any]:
    def timed(*arguments: Any, **named: Any) -> Any:
        began_s.setdefault(step, time.perf_counter())  # what is called twice, for two series, at once
        try:
            return function(*arguments, **named)
        finally:
            ended_s[step] = time.perf_counter()

    return timed


def _peak_mb() -> float:
    """Return the peak resident memory since this program began; `getrusage` would count its parent's too."""
    status = Path("/proc/self/status").read_text("ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def sheet(found: list[dict[str, Any]]) -> Sheet:
    """Return a column for each study."""
    columns = ("seconds", *(f"2 x {row['slices']} slices" for row in found))
    texts = [
        (name, *(f"{row[name]:.2f}" if isinstance(row[name], float) else str(row[name]) for row in found))
        for name in found[0]
        if name != "timeline"
    ]
    return Sheet("From volumes to findings, two series and an MRV", columns, texts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="15 slices only")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.measure:
        print(json.dumps(measured(wanted.measure)))
    else:
        print(sheet(rows(wanted.quick, wanted.seed)).as_markdown())


if __name__ == "__main__":
    main()
