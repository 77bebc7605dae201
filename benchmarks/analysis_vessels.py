"""How well vessels are found: Dice on tubes that were drawn, in plain and hard surroundings, with and without velocity.

    python -m benchmarks.analysis_vessels [--quick] [--seed 1]

The truth is drawn on voxels of 0.2 mm (tests/analysis/tubes.py); a voxel is vessel if at least half of it is. Voxels of
0.8 mm. Contrast is simulated.
"""

import argparse
import time

import numpy as np

from node.analysis.flow import moving_vessels
from node.analysis.vessels import noise_of, vessel_mask
from tests.analysis.running import dice
from tests.analysis.tubes import hard, plain

_DIAMETERS_MM = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)


def rows(*, quick: bool, seed: int) -> list[dict[str, float | str]]:
    """Return a row for each phantom, diameter and signal-to-noise ratio of muscle."""
    found: list[dict[str, float | str]] = []
    for name, make in (("plain", plain), ("hard", hard)):
        for diameter_mm in (2.0, 4.0) if quick else _DIAMETERS_MM:
            drawing = make(diameter_mm / 2)
            everywhere = np.ones(drawing.share.shape, bool)
            for snr in (20,) if quick else (10, 20, 40):
                began = time.process_time()
                mask = vessel_mask(drawing.magnitude(snr=snr, seed=seed), everywhere, drawing.spacing_mm)
                took = time.process_time() - began
                magnitude, velocity = drawing.phase_contrast(snr=snr, seed=seed)
                noise = noise_of(magnitude, everywhere, drawing.spacing_mm)
                moving = moving_vessels(magnitude, velocity, everywhere, noise, drawing.spacing_mm)
                found.append(
                    {
                        "phantom": name,
                        "diameter_mm": diameter_mm,
                        "snr": snr,
                        "dice": round(dice(mask, drawing.truth), 3),
                        "dice_phase_contrast": round(dice(moving, drawing.truth), 3),
                        "seconds": round(took, 2),
                    }
                )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    wanted = parser.parse_args()
    for row in rows(quick=wanted.quick, seed=wanted.seed):
        print(" ".join(f"{value:>6}" for value in row.values()))


if __name__ == "__main__":
    main()
