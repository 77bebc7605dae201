"""How many foci are found, and how many false marks come with them, on backs with simulated contrast.

    python -m benchmarks.analysis_detection train        # the weights of node/analysis/models/detector.json
    python -m benchmarks.analysis_detection calibrate    # its thresholds, from volumes without a lesion
    python -m benchmarks.analysis_detection report [--quick]

The three use seeds of their own: fat, veins, joints, noise, movement and lesions differ, the two anatomies do not
(`detection_scenes`). Marks are those that the node would report (`keep_and_describe`), without an MRV. A mark hits
within the larger of the radius and the slice distance plus half a voxel; lesions lie in slices that the segmenter
accepted. Intervals are from 1,000 bootstraps over volumes. These are figures of a simulation, not of patients.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from benchmarks.detection_scenes import NO_FOCI, PROTOCOLS, Drawn, Foci, Protocol, Scenery, draw, sceneries
from node import plugins
from node.analysis.detection import MultiscaleDetector
from node.analysis.enhancement import lean_muscle
from node.analysis.lesions import Lesion, Scene, keep_and_describe, where_to_look
from node.analysis.proposals import measure_excess, propose
from node.analysis.ranking import MODEL, ProtocolClass, Ranking
from node.analysis.traits import NAMES, traits
from node.settings import AnalysisSettings

TRAIN, CALIBRATE, REPORT = 1, 2, 3  # seeds
SEGMENTER = "unet"
SCORES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)  # of the curves: the share found, and false marks, from each on
FALSE_MARKS = (8.0, 4.0, 2.0, 1.0, 0.5, 0.25, 0.125)
THICKEST_MM = (6.0, 2.45)  # of the two protocols: between their slice distances, by ratio
# Added to the seed: lesion-free backs are drawn with fat of so many seeds, for false marks differ more between patterns
# of fat than between draws of all else. One of thin slices takes five times as long.
FAT_SEEDS = ((0, 10, 20, 30, 40, 50), (0, 10))
NEGATIVES = (8, 7)  # volumes of each anatomy and pattern of fat
PENALTY = 2.0  # on the squares of the weights
STRONG, WEAK = 1.05, 0.70
CELLS = {
    "2D": ((STRONG, (5, 6, 8, 10)), (WEAK, (8, 10, 12))),
    "3D": ((STRONG, (4, 5, 6)), (WEAK, (8,))),
}
OTHERS: dict[str, dict[str, float]] = {"rims": {"core": 0.5}, "moved by 0.8 mm:": {"residual_mm": 0.8}}
FOCI_A_VOLUME = 4
FILE = Path(__file__).resolve().parents[1] / "node" / "analysis" / "models" / MODEL

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Mark:
    score: float
    hit: int | None  # number of the lesion


@dataclass(frozen=True, slots=True)
class Marked:
    """The marks on one volume, and how many lesions are in it."""

    scenery: str
    marks: tuple[Mark, ...]
    lesions: int


# -- one volume


def mark(scenery: Scenery, drawn: Drawn, diameter_mm: float, detector: MultiscaleDetector) -> Marked:
    """Return what the node would mark, from a score of almost nothing on."""
    lesions = _lesions(scenery, drawn, detector)
    found = []
    for lesion in lesions:
        found.append(Mark(lesion.findings.score, _hit(scenery, drawn, diameter_mm, lesion.findings.centroid_mm)))
    return Marked(scenery.name, tuple(found), len(drawn.centres_mm))


def _lesions(scenery: Scenery, drawn: Drawn, detector: MultiscaleDetector) -> tuple[Lesion, ...]:
    spacing_mm, muscle = scenery.protocol.spacing_mm, scenery.outlines > 0
    candidates = detector.detect(
        drawn.pre, drawn.post, where_to_look(scenery.outlines, spacing_mm),
        spacing_mm=spacing_mm, residual_mm=drawn.residual_mm,
    )  # fmt: skip
    lean = lean_muscle(drawn.pre, muscle, spacing_mm)
    scene = Scene(drawn.pre, drawn.post, scenery.outlines, lean, scenery.body, None, scenery.geometry, 0)
    return keep_and_describe(candidates, scene, AnalysisSettings(detector_threshold=1e-9))


def _hit(scenery: Scenery, drawn: Drawn, diameter_mm: float, place_mm: Sequence[float]) -> int | None:
    step, row, _ = scenery.protocol.spacing_mm
    away = [float(np.linalg.norm(np.subtract(place_mm, one))) for one in drawn.centres_mm]
    return int(np.argmin(away)) if away and min(away) <= max(diameter_mm / 2, step + row / 2) else None


# -- weights


def train(seed: int, volumes: int) -> None:
    """Fit the weights to proposals in `volumes` volumes of each scenery, every second one without a lesion."""
    seen, focus = [], []
    for number, protocol in enumerate(PROTOCOLS):
        for which, scenery in enumerate(sceneries(protocol, seed, segmenter=SEGMENTER)):
            for volume in range(volumes if number == 0 else volumes // 2):
                rng = np.random.default_rng([seed, number, which, volume])
                foci = _any_foci(rng, protocol) if volume % 2 else NO_FOCI
                drawn = draw(scenery, rng, foci, snr=rng.uniform(18, 40), residual_mm=rng.uniform(0, 0.5))
                for values, is_focus in _judged(scenery, drawn, foci.diameter_mm):
                    seen.append(values)
                    focus.append(is_focus)
            print(scenery.protocol.name, scenery.name, len(seen), sum(focus), flush=True)
    ranking = fit(np.array(seen), np.array(focus, float))
    values = {
        "version": "2.2",
        "trained": _provenance("train", seed, volumes, proposals=len(seen), foci=int(sum(focus))),
        "traits": NAMES,
        **{name: [round(float(one), 5) for one in row] for name, row in ranking.items()},
        "classes": [],
    }
    _write(values)


def _any_foci(rng: np.random.Generator, protocol: Protocol) -> Foci:
    least = max(4.0, protocol.spacing_mm[0])
    return Foci(
        FOCI_A_VOLUME, rng.uniform(least, 13.0), rng.uniform(0.65, 1.3), core=float(rng.choice([0, 0, 0, 0.6])),
        before=rng.uniform(0.75, 1.1),
    )  # fmt: skip


def _judged(scenery: Scenery, drawn: Drawn, diameter_mm: float) -> Iterator[tuple[Floats, bool]]:
    """Return the traits of the proposals, and whether each is a focus; those that are neither are left out."""
    spacing_mm = scenery.protocol.spacing_mm
    excess = measure_excess(
        drawn.pre, drawn.post, where_to_look(scenery.outlines, spacing_mm), spacing_mm, drawn.residual_mm
    )
    for proposal in propose(excess) if excess else ():
        place = np.argwhere(proposal.region).mean(axis=0) + [one.start for one in proposal.box]
        place_mm = scenery.geometry.to_lps(place)
        hit = _hit(scenery, drawn, diameter_mm, place_mm) is not None
        away = min((np.linalg.norm(place_mm - one) for one in drawn.centres_mm), default=np.inf)
        if hit or away > diameter_mm / 2 + 6:
            yield traits(excess, proposal), hit


def fit(seen: Floats, focus: Floats) -> dict[str, Floats]:
    """Return mean, spread and weight of a ridge-penalised logistic regression."""
    mean, spread = seen.mean(axis=0), seen.std(axis=0) + 1e-6
    columns = np.c_[np.clip((seen - mean) / spread, -4, 4), np.ones(len(seen))]

    def loss(weight: Floats) -> tuple[float, Floats]:
        evidence = columns @ weight
        slope = columns.T @ (1 / (1 + np.exp(-evidence)) - focus)
        slope[:-1] += 2 * PENALTY * weight[:-1]
        return float(np.sum(np.logaddexp(0, evidence) - focus * evidence) + PENALTY * np.sum(weight[:-1] ** 2)), slope

    weight = minimize(loss, np.zeros(columns.shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": 3000}).x
    return {"mean": mean, "spread": spread, "weight": weight[:-1]}


# -- thresholds


def calibrate(seed: int, volumes: int | None, classes: Sequence[int]) -> None:
    """Set from which evidence on there are so many false marks in a volume without a lesion, for each class."""
    values = json.loads(FILE.read_text("utf-8"))
    known = {one["name"]: one for one in values["classes"]}
    for number in classes:
        protocol = PROTOCOLS[number]
        plain = ProtocolClass("evidence itself", 99.0, (1.0, float(np.exp(-1))), (0.0, 1.0))
        ranking = replace(Ranking.of(values), classes=(plain,))
        detector = MultiscaleDetector(ranking=ranking, least_score=0.0)
        many = volumes or NEGATIVES[number]
        marked = list(_negatives(protocol, number, seed, many, detector))
        scores = np.sort([np.log(one.score) for volume in marked for one in volume.marks])[::-1]
        ranks = [round(rate * len(marked)) for rate in FALSE_MARKS]
        usable = [
            (rate, float(scores[rank])) for rate, rank in zip(FALSE_MARKS, ranks, strict=True) if rank < len(scores)
        ]
        known[protocol.name] = {
            "name": protocol.name,
            "thickest_mm": THICKEST_MM[number],
            "false_marks": [rate for rate, _ in usable],
            "evidence": [round(one, 4) for _, one in usable],
            "calibrated": _provenance("calibrate", seed, many, volumes_without_a_lesion=len(marked)),
        }
        print(known[protocol.name], flush=True)
    values["classes"] = sorted(known.values(), key=lambda one: one["thickest_mm"])
    _write(values)


def _negatives(
    protocol: Protocol, number: int, seed: int, volumes: int, detector: MultiscaleDetector, *, few: bool = False
) -> Iterator[Marked]:
    """Yield volumes without a lesion; `few`: with fat of one seed only."""
    for fat_seed in [seed + more for more in FAT_SEEDS[number]][: 1 if few else None]:
        for which, scenery in enumerate(sceneries(protocol, fat_seed, segmenter=SEGMENTER)):
            for volume in range(volumes):
                rng = np.random.default_rng([fat_seed, number, which, volume])
                yield mark(scenery, draw(scenery, rng), 0.0, detector)


# -- report


def rows(quick: bool, seed: int, classes: Sequence[int] = (0, 1)) -> list[dict[str, Any]]:
    """Return the figures, one row a cell."""
    detector = MultiscaleDetector(least_score=0.1)
    every: list[dict[str, Any]] = []
    for number in classes:
        protocol, volumes = PROTOCOLS[number], 1 if quick else NEGATIVES[number]
        every += _false_marks(protocol, list(_negatives(protocol, number, seed, volumes, detector, few=quick)))
        _show(every[-1:])
        backs = sceneries(protocol, seed, segmenter=SEGMENTER)
        fatty = [one for one in backs if not one.name.endswith("as it is")]
        for rise, diameters in CELLS[protocol.name[:2]]:
            for diameter in diameters:
                every.append(_found(protocol, fatty, rise, diameter, detector, quick, seed))
                _show(every[-1:])
        if number == 0:
            for what, more in OTHERS.items():
                every.append(_found(protocol, fatty, STRONG, 10, detector, quick, seed, what=what, **more))
                _show(every[-1:])
    return every


def _false_marks(protocol: Protocol, marked: Sequence[Marked]) -> list[dict[str, Any]]:
    many, counts, few = (
        np.array([sum(one.score >= score for one in volume.marks) for volume in marked]) for score in (0.5, 1, 2)
    )
    names = np.array([volume.scenery for volume in marked])
    each = {str(name): round(float(counts[names == name].mean()), 2) for name in dict.fromkeys(names)}
    low, high = _interval(counts)
    return [
        {
            "protocol": protocol.name, "what": "false marks, nominal 1", "volumes": len(marked),
            "value": round(float(counts.mean()), 2), "low": low, "high": high,
            "nominal 2": round(float(many.mean()), 2), "nominal 0.5": round(float(few.mean()), 2), **each,
            "at scores": {
                score: round(float(np.mean([sum(one.score >= score for one in volume.marks) for volume in marked])), 3)
                for score in SCORES
            },
        }
    ]  # fmt: skip


def _found(
    protocol: Protocol, backs: Sequence[Scenery], rise: float, diameter: float, detector: MultiscaleDetector,
    quick: bool, seed: int, *, core: float = 0.0, residual_mm: float | None = None, what: str = "spheres",
) -> dict[str, Any]:  # fmt: skip
    """Return how many lesions of one kind are found, in the fatty backs; at least 100 unless `quick`."""
    volumes = 1 if quick else int(np.ceil(100 / FOCI_A_VOLUME / len(backs)))
    shares, twice, best = [], 0, []
    for which, scenery in enumerate(backs):
        for volume in range(volumes):
            rng = np.random.default_rng([seed, int(10 * diameter), int(100 * rise), which, volume, int(10 * core)])
            drawn = draw(scenery, rng, Foci(FOCI_A_VOLUME, diameter, rise, core=core), residual_mm=residual_mm)
            every = mark(scenery, drawn, diameter, detector).marks
            best += [
                max((one.score for one in every if one.hit == number), default=0.0) for number in range(FOCI_A_VOLUME)
            ]
            marks = [one for one in every if one.score >= 1]
            hits = [one.hit for one in marks if one.hit is not None]
            twice += len(hits) - len(set(hits))
            shares.append(len(set(hits)) / FOCI_A_VOLUME)
    low, high = _interval(np.array(shares))
    return {
        "protocol": protocol.name, "what": f"{what} {diameter} mm, E {100 * rise:.0f} %", "volumes": len(shares),
        "lesions": len(shares) * FOCI_A_VOLUME, "value": round(float(np.mean(shares)), 3), "low": low, "high": high,
        "marked twice": twice,
        "at scores": {score: round(float(np.mean(np.array(best) >= score)), 3) for score in SCORES},
    }  # fmt: skip


def _interval(values: npt.NDArray[Any]) -> tuple[float, float]:
    rng = np.random.default_rng(0)
    means = [float(rng.choice(values, len(values)).mean()) for _ in range(1000)]
    low, high = np.percentile(means, (2.5, 97.5))
    return round(float(low), 2), round(float(high), 2)


def _show(found: Sequence[dict[str, Any]]) -> None:
    for row in found:
        print("; ".join(f"{name} {value}" for name, value in row.items()), flush=True)


def _provenance(command: str, seed: int, volumes: int, **more: int) -> dict[str, Any]:
    return {
        "command": f"python -m benchmarks.analysis_detection {command} --seed {seed} --volumes {volumes}",
        "date": datetime.now(UTC).date().isoformat(),
        "segmenter": f"{SEGMENTER} {plugins.load('segmenters', SEGMENTER)().version}",
        **more,
    }


def _write(values: dict[str, Any]) -> None:
    FILE.write_text(json.dumps(values, indent=1) + "\n", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("train", "calibrate", "report"))
    parser.add_argument("--seed", type=int)
    parser.add_argument("--volumes", type=int, help="of each anatomy and pattern of fat")
    parser.add_argument("--quick", action="store_true", help="few volumes: a first look")
    parser.add_argument("--protocols", type=int, nargs="*", default=[0, 1], help="0: 2D, 1: 3D")
    wanted = parser.parse_args()
    if wanted.command == "train":
        train(wanted.seed or TRAIN, wanted.volumes or 10)
    elif wanted.command == "calibrate":
        calibrate(wanted.seed or CALIBRATE, wanted.volumes, wanted.protocols)
    else:
        rows(wanted.quick, wanted.seed or REPORT, wanted.protocols)


if __name__ == "__main__":
    main()
