"""What a tissue of the simulator does in a dynamic gradient echo, by the equations: no image, no analysis."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from node.simulator.physics import (
    HAEMATOCRIT,
    R1_PER_MM_S,
    R2_PER_MM_S,
    Pulse,
    extended_tofts_mm,
    parker_blood_mm,
    spoiled_gradient_echo,
)
from node.simulator.tissues import FAT_T1_S, LESION, MUSCLE, R2_STAR_FAT, R2_STAR_WATER, TYPICAL_TUMOUR, Tissue

Curve = npt.NDArray[np.float64]
TISSUES = {"muscle": MUSCLE, "lesion": replace(LESION, kinetics=TYPICAL_TUMOUR)}
_PULSE = Pulse("spgr", 0.005, 0.0023, 12)  # the simulator's usual one
_STEP_MIN = 1 / 600


def rise_pct(tissue: Tissue, times_s: Curve, *, given_s: float) -> Curve:
    """Return the enhancement of a tissue at 1.5 T in percent, when contrast comes to the arteries at `given_s`."""
    fine_min = np.arange(0.0, times_s[-1] / 60, _STEP_MIN)
    taken_up = extended_tofts_mm(parker_blood_mm(fine_min) / (1 - HAEMATOCRIT), _STEP_MIN, tissue.kinetics)
    since_s = times_s - given_s
    concentration = np.where(since_s < 0, 0.0, np.interp(since_s / 60, fine_min, taken_up))
    r1, r2_star = 1 / tissue.t1_s[0] + R1_PER_MM_S * concentration, R2_STAR_WATER + R2_PER_MM_S * concentration
    fat = spoiled_gradient_echo(np.array(1 / FAT_T1_S[0]), np.array(R2_STAR_FAT), _PULSE)
    signal = tissue.water * spoiled_gradient_echo(r1, r2_star, _PULSE) + tissue.fat * fat
    return 100 * (signal / signal[0] - 1)
