"""What a movement that registration left costs: `python -m benchmarks.analysis_misregistration [--quick] [--seed N]`.

Fatty backs of `detection_scenes` at 1 x 1 x 4 mm with four spheres of 8 mm, E 105 %; what is left of the movement is
drawn from a normal distribution with the standard deviation of the row per axis of the axial plane, half of that along
the back, and the detector is told so. Also what the node would say. These are figures of a simulation, not of patients.
"""

import argparse
from typing import Any

import numpy as np

from benchmarks.analysis_detection import FOCI_A_VOLUME, SEGMENTER, STRONG, mark
from benchmarks.detection_scenes import PROTOCOLS, Foci, draw, sceneries
from benchmarks.sheet import Sheet
from node.analysis.detection import MultiscaleDetector
from node.settings import AnalysisSettings

RESIDUALS_MM = (0.0, 0.15, 0.3, 0.45, 0.6, 0.8, 1.2)
DIAMETER_MM = 8.0


def rows(quick: bool, seed: int) -> list[dict[str, Any]]:
    """Return one row for each residual; the volumes are the same in all of them."""
    settings, detector = AnalysisSettings(), MultiscaleDetector(least_score=0.1)
    backs = sceneries(PROTOCOLS[0], seed, segmenter=SEGMENTER)
    fatty = [one for one in backs if not one.name.endswith("as it is")]
    volumes = 1 if quick else 5
    made = []
    for residual_mm in RESIDUALS_MM[::3] if quick else RESIDUALS_MM:
        found, false = 0, 0
        for which, scenery in enumerate(fatty):
            for volume in range(volumes):
                rng = np.random.default_rng([seed, which, volume])
                drawn = draw(scenery, rng, Foci(FOCI_A_VOLUME, DIAMETER_MM, STRONG), residual_mm=residual_mm)
                marks = [one for one in mark(scenery, drawn, DIAMETER_MM, detector).marks if one.score >= 1]
                found += len({one.hit for one in marks} - {None})
                false += sum(one.hit is None for one in marks)
        count = len(fatty) * volumes
        made.append(
            {
                "residual, mm": residual_mm, "lesions": count * FOCI_A_VOLUME,
                "found": found / (count * FOCI_A_VOLUME), "false marks a volume": false / count,
                "the node says": _said(residual_mm, settings),
            }
        )  # fmt: skip
    return made


def _said(residual_mm: float, settings: AnalysisSettings) -> str:
    if residual_mm > settings.largest_residual_mm:
        return "foci are not looked for (REG-3)"
    return "reduced sensitivity (REG-3)" if residual_mm > settings.good_residual_mm else "nothing"


def sheet(found: list[dict[str, Any]]) -> Sheet:
    texts = [[f"{value:.2f}" if isinstance(value, float) else str(value) for value in row.values()] for row in found]
    return Sheet("Foci of 8 mm and what registration left (contrast is simulated)", tuple(found[0]), texts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one volume of each back, three residuals")
    parser.add_argument("--seed", type=int, default=3)
    wanted = parser.parse_args()
    print(sheet(rows(wanted.quick, wanted.seed)).as_markdown())


if __name__ == "__main__":
    main()
