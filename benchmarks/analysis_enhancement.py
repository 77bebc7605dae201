"""Enhancement against what was painted: `python -m benchmarks.analysis_enhancement [--quick] [--seed N]`.

Studies of the project's simulator, which knows nothing of the analysis: its phantom, and, where the shared data are at
hand, the real back TUM01 with simulated contrast. In each, lesions of 8, 10, 12 and 16 mm; the patient moves a little;
the receiver gain of the post-contrast series is 0.5, 1 or 2. The truth is the simulator's: of noise-free signals
without gain and movement. Errors are in points of percent. These are figures of a simulation, not of patients.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.sheet import Sheet
from node.analysis import CompartmentSegmenter, MultiscaleDetector, measure
from node.dicom.volumes import stack
from node.findings import StudyVolumes
from node.settings import AnalysisSettings
from node.simulator import Recipe, simulate
from node.simulator.recipe import AnatomyRecipe, LesionRecipe

TUM01 = Path(__file__).resolve().parents[2] / "shared" / "data" / "TUM_lumbar_dixon"
GAINS = (0.5, 1.0, 2.0)
LESIONS_MM = (8.0, 10.0, 12.0, 16.0)
_SIDES = ("left", "right", "left", "right")


def anatomies() -> dict[str, AnatomyRecipe]:
    """Return what is imaged, by name; the real back only where it is at hand."""
    found = {"phantom": AnatomyRecipe()}
    if TUM01.is_dir():
        files = {
            "water": TUM01 / "TUM01_water_img_img_L2-L5.nii.gz",
            "fat": TUM01 / "TUM01_fat_img_img_L2-L5.nii.gz",
            "labels": TUM01 / "TUM01_fat_manual_label_segmentation_L2-L5.nii.gz",
        }
        found["TUM01"] = AnatomyRecipe(kind="images", **files)
    return found


def rows(quick: bool, seed: int) -> list[dict[str, Any]]:
    """Return the error of each muscle and each lesion: one row a study."""
    made = []
    for name, anatomy in anatomies().items():
        for snr in (0.0, 30.0):
            for gain in GAINS[:1] if quick else GAINS:
                made.append({"anatomy": name, "snr": snr, "gain": gain, **errors(anatomy, snr, gain, seed)})
    return made


def errors(anatomy: AnatomyRecipe, snr: float, gain: float, seed: int) -> dict[str, Any]:
    """Return the errors of one study, and what is needed to judge them."""
    lesions = tuple(
        LesionRecipe(side=side, diameter_mm=diameter, level=level, vessels=0)
        for side, diameter, level in zip(_SIDES, LESIONS_MM, (0.2, 0.4, 0.6, 0.8), strict=True)
    )
    study = simulate(
        Recipe(seed=seed, anatomy=anatomy, lesions=lesions, series=("pre", "post"), snr=snr, gain=gain)
    )  # fmt: skip
    volumes = StudyVolumes(stack(study.of("pre")), stack(study.of("post")))
    findings = measure(
        volumes, settings=AnalysisSettings(), segmenter=CompartmentSegmenter(), detector=MultiscaleDetector()
    ).findings
    muscle = {
        truth.side.value: found.enhancement_pct - truth.enhancement_pct
        for truth in study.truth.muscles
        for found in findings.muscles
        if found.side is truth.side and found.enhancement_pct is not None
    }
    lesion: dict[float, float | None] = dict.fromkeys(LESIONS_MM)
    for truth in study.truth.lesions:
        for one in findings.lesions:
            away_mm = np.linalg.norm(np.subtract(one.centroid_mm, truth.post_centre_mm))
            if away_mm <= max(truth.diameter_mm / 2, 4.0) and one.enhancement_pct is not None:
                lesion[truth.diameter_mm] = one.enhancement_pct - truth.enhancement_pct
    return {
        "muscle": muscle,
        "lesions": lesion,
        "truth": {"muscle": study.truth.muscles[0].enhancement_pct, "lesion": study.truth.lesions[0].enhancement_pct},
        "refusals": [one.code for one in findings.refusals],
    }


def sheet(found: list[dict[str, Any]]) -> Sheet:
    """Return the table of docs/analysis.md, section 9."""
    columns = ("anatomy, noise, gain", "muscle left", "right", *(f"lesion {one:.0f} mm" for one in LESIONS_MM))
    return Sheet("Error of the enhancement, points of percent (contrast is simulated)", columns, list(_lines(found)))


def _lines(found: list[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    def told(value: float | None) -> str:
        return "not found" if value is None else f"{value:+.1f}"

    for one in found:
        noise = f"SNR {one['snr']:.0f}" if one["snr"] else "no noise"
        muscle = (told(one["muscle"].get(side)) for side in ("left", "right"))
        yield (f"{one['anatomy']}, {noise}, gain {one['gain']:g}", *muscle, *map(told, one["lesions"].values()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one gain instead of three")
    parser.add_argument("--seed", type=int, default=11)
    wanted = parser.parse_args()
    print(sheet(rows(wanted.quick, wanted.seed)).as_markdown())


if __name__ == "__main__":
    main()
