"""Tissues: relaxation, proton density, and what they take up. One table; a label is an index into it.

Relaxation times are of literature scale (T1 at 1.5 and 3 T as in docs/analysis.md's table of expected enhancement;
the rest chosen); nobody has measured them for this project.
"""

from dataclasses import dataclass
from enum import IntEnum

from node.findings import Side
from node.simulator.physics import HAEMATOCRIT, Kinetics


class Label(IntEnum):
    """Tissue numbers of every anatomy; lesions follow from `len(Label)` on, two numbers each (tissue, core)."""

    AIR = 0
    SKIN = 1
    FAT = 2
    LEFT_MUSCLE = 3  # multifidus and erector spinae of the patient's left side
    RIGHT_MUSCLE = 4
    OTHER_MUSCLE = 5
    MARROW = 6
    CORTEX = 7
    DISC = 8
    FLUID = 9
    NERVE = 10
    LIGAMENT = 11
    VEIN = 12
    ARTERY = 13
    KIDNEY = 14
    LIVER = 15
    BOWEL = 16
    OTHER = 17  # of a real anatomy: body, but not labelled


NO_UPTAKE = Kinetics(0, 1, 0)
NORMAL_MUSCLE = Kinetics(0.065, 0.12, 0.015)  # chosen: +30 to +50 % on T1 without fat suppression
TYPICAL_TUMOUR = Kinetics(0.20, 0.35, 0.05)  # as in the table of expected enhancement of docs/analysis.md
_BLOOD = Kinetics(0, 1, 1 - HAEMATOCRIT)


@dataclass(frozen=True, slots=True)
class Tissue:
    """One row of the table.

    Parameters
    ----------
    water, fat : float
        Proton density, 1 for pure water.
    t1_s : tuple of float
        Of the water at 1.5 T and at 3 T, in s.
    t2_s : float
        Of the water, in s.
    kinetics : Kinetics
        Uptake.
    fresh : float
        Inflow on time-of-flight: share of fresh spins, -1 for saturated arterial blood.
    """

    water: float
    fat: float
    t1_s: tuple[float, float]
    t2_s: float
    kinetics: Kinetics = NO_UPTAKE
    fresh: float = 0.0


FAT_T1_S, FAT_T2_S = (0.30, 0.37), 0.070
R2_STAR_WATER, R2_STAR_FAT = 25.0, 40.0  # 1/s

MUSCLE = Tissue(0.95, 0.04, (1.13, 1.42), 0.035, NORMAL_MUSCLE)
LESION = Tissue(0.98, 0.0, (1.20, 1.40), 0.060)
CORE = Tissue(0.98, 0.0, (1.60, 1.80), 0.120, Kinetics(0.02, 0.20, 0.0))

MUSCLE_LABELS = {Side.LEFT: Label.LEFT_MUSCLE, Side.RIGHT: Label.RIGHT_MUSCLE}

TISSUES: dict[Label, Tissue] = {
    Label.AIR: Tissue(0, 0, (2.0, 2.0), 0.1),
    Label.SKIN: Tissue(0.65, 0.05, (0.90, 1.05), 0.030, Kinetics(0.08, 0.15, 0.02)),
    Label.FAT: Tissue(0.08, 0.85, (1.00, 1.20), 0.040, Kinetics(0.05, 0.15, 0.01)),
    Label.LEFT_MUSCLE: MUSCLE,
    Label.RIGHT_MUSCLE: MUSCLE,
    Label.OTHER_MUSCLE: MUSCLE,
    Label.MARROW: Tissue(0.45, 0.42, (0.95, 1.10), 0.050, Kinetics(0.04, 0.06, 0.02)),
    Label.CORTEX: Tissue(0.06, 0.02, (1.00, 1.20), 0.005),
    Label.DISC: Tissue(0.85, 0.0, (1.20, 1.35), 0.080),
    Label.FLUID: Tissue(1.0, 0.0, (4.0, 4.0), 1.5),
    Label.NERVE: Tissue(0.85, 0.05, (0.90, 1.05), 0.080),
    Label.LIGAMENT: Tissue(0.45, 0.05, (0.90, 1.10), 0.010, Kinetics(0.02, 0.06, 0.005)),
    Label.VEIN: Tissue(0.95, 0.0, (1.50, 1.65), 0.120, _BLOOD, fresh=0.8),
    Label.ARTERY: Tissue(0.60, 0.0, (1.50, 1.65), 0.120, _BLOOD, fresh=-1),  # flow void: part of it is lost
    Label.KIDNEY: Tissue(0.92, 0.02, (1.05, 1.25), 0.080, Kinetics(0.60, 0.50, 0.20)),
    Label.LIVER: Tissue(0.85, 0.05, (0.60, 0.80), 0.045, Kinetics(0.40, 0.25, 0.10)),
    Label.BOWEL: Tissue(0.80, 0.05, (1.20, 1.40), 0.070, Kinetics(0.15, 0.25, 0.04)),
    Label.OTHER: Tissue(0.90, 0.0, (0.95, 1.15), 0.050, Kinetics(0.05, 0.10, 0.02)),
}
