"""What a tissue's signal is: by a sequence's equation, or by chance.

Half of what a network must learn is not to rely on contrast. A third of all draws is therefore pure chance
(Billot et al., SynthSeg, Med Image Anal 2023, PMC10154424); the rest follows textbook equations, widely varied.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from training.canvas import Tissue

Signals = npt.NDArray[np.float64]
Kind = Literal[
    "chance", "t1", "t1 gd", "t1 fs", "t1 fs gd", "t2", "t2 fs", "stir", "pd", "pd fs", "vibe", "vibe gd",
    "water", "fat", "in", "opposed", "t2*",
]  # fmt: skip
SHARES: dict[Kind, float] = {
    "chance": 0.28, "t1": 0.11, "t1 gd": 0.03, "t1 fs": 0.04, "t1 fs gd": 0.09, "t2": 0.11, "t2 fs": 0.03,
    "stir": 0.05, "pd": 0.02, "pd fs": 0.01, "vibe": 0.02, "vibe gd": 0.03, "water": 0.05, "fat": 0.05, "in": 0.04,
    "opposed": 0.03, "t2*": 0.01,
}  # fmt: skip

# T1 in s, T2 in s, protons, share of them in fat, contrast agent taken up in mmol/l five minutes after 0.1 mmol/kg.
# Literature scale at 1.5 T, rounded; every draw varies them by 15 to 25 %.
_TISSUES: dict[Tissue, tuple[float, float, float, float, float]] = {
    Tissue.AIR: (1.0, 1.0, 0.0, 0.0, 0.0),
    Tissue.FAT: (0.30, 0.11, 1.0, 0.93, 0.02),
    Tissue.INNER_FAT: (0.33, 0.10, 0.95, 0.83, 0.04),
    Tissue.MUSCLE: (1.10, 0.036, 0.85, 0.03, 0.12),
    Tissue.DEEP_MUSCLE: (1.10, 0.036, 0.85, 0.03, 0.12),
    Tissue.OTHER_MUSCLE: (1.10, 0.036, 0.85, 0.03, 0.12),
    Tissue.MARROW: (0.45, 0.07, 0.85, 0.50, 0.15),
    Tissue.VERTEBRA: (0.75, 0.07, 0.80, 0.33, 0.28),
    Tissue.CORTEX: (0.6, 0.010, 0.2, 0.0, 0.05),
    Tissue.DISC: (1.1, 0.07, 0.80, 0.0, 0.03),
    Tissue.CSF: (3.5, 0.9, 1.0, 0.0, 0.0),
    Tissue.CORD: (1.0, 0.085, 0.80, 0.0, 0.02),
    Tissue.KIDNEY: (1.2, 0.09, 0.90, 0.0, 1.0),
    Tissue.LIVER: (0.7, 0.05, 0.85, 0.04, 0.5),
    Tissue.BOWEL: (0.9, 0.08, 0.85, 0.06, 0.4),
    Tissue.LUNG: (1.2, 0.02, 0.15, 0.0, 0.1),
    Tissue.VESSEL: (1.5, 0.15, 0.90, 0.0, 2.0),
    Tissue.SKIN: (0.9, 0.03, 0.6, 0.1, 0.2),
    Tissue.FLUID: (3.0, 0.5, 1.0, 0.0, 0.05),
    Tissue.LESION: (1.4, 0.08, 0.95, 0.0, 0.5),
    Tissue.CORE: (2.0, 0.2, 0.95, 0.0, 0.02),
    Tissue.METAL: (1.0, 0.01, 0.0, 0.0, 0.0),
}
_TABLE = np.array([_TISSUES[tissue] for tissue in Tissue])
_RELAXIVITY = 4.5  # l/mmol/s
_MUSCLES = (Tissue.DEEP_MUSCLE, Tissue.OTHER_MUSCLE)


@dataclass(frozen=True, slots=True)
class Contrast:
    """Signal of each tissue's water and fat; the image is |water + phase x suppression x fat|."""

    kind: Kind
    water: Signals
    fat: Signals
    suppression: float  # what is left of fat, 1 without fat suppression
    phase: int  # -1 where fat is opposed


def draw_contrast(rng: np.random.Generator) -> Contrast:
    """Return the signals of one random sequence, the brightest about 1."""
    kind: Kind = list(SHARES)[int(rng.choice(len(SHARES), p=list(SHARES.values())))]
    if kind == "chance":
        return Contrast(kind, _by_chance(rng), np.zeros(len(Tissue)), 1.0, 1)
    t1, t2, protons, share, uptake = (column * rng.uniform(0.85, 1.2, len(Tissue)) for column in _TABLE.T)
    share = np.clip(share, 0, 0.95)
    if rng.random() < 0.3:  # marrow of the young, or after treatment
        share[Tissue.VERTEBRA] *= rng.uniform(0.2, 2)
    agent = "gd" in kind
    if agent:
        t1 = 1 / (1 / t1 + _RELAXIVITY * uptake * rng.uniform(0.4, 1.6))
    spin = _spin_signal(rng, kind, t1, t2)
    water = protons * (1 - share) * spin
    fat = protons * share * spin
    if kind.startswith(("t2", "pd")) and kind != "t2*":
        fat = fat * rng.uniform(1.2, 2.2)  # fast spin echo brightens fat
    if kind == "fat":
        water, fat = water * rng.uniform(0.0, 0.06), fat / 0.93
    suppression, phase = 1.0, 1
    if "fs" in kind:
        suppression = rng.uniform(0.03, 0.35)
    elif kind == "water":
        suppression = rng.uniform(0.0, 0.12)
    elif kind == "opposed":
        phase = -1
    _flow(rng, kind, water, agent)
    if rng.random() < 0.6:  # fat within a muscle fills few pixels wholly
        part = rng.uniform(0.3, 1)
        for signal in (water, fat):
            signal[Tissue.INNER_FAT] = part * signal[Tissue.INNER_FAT] + (1 - part) * signal[Tissue.MUSCLE]
    if rng.random() < 0.35:
        _like_muscle(rng, water)
    if rng.random() < 0.5:
        lesion = rng.uniform(0.4, 3.5)
        water[Tissue.LESION] = water[Tissue.MUSCLE] * lesion
    top = max(float((water + suppression * fat)[1:].max()), 1e-3)
    return Contrast(kind, water / top, fat / top, suppression, phase)


def _spin_signal(rng: np.random.Generator, kind: Kind, t1: Signals, t2: Signals) -> Signals:
    if kind in ("t1", "t1 gd", "t1 fs", "t1 fs gd"):
        return (1 - np.exp(-rng.uniform(0.4, 0.8) / t1)) * np.exp(-rng.uniform(0.007, 0.018) / t2)
    if kind in ("t2", "t2 fs"):
        return (1 - np.exp(-rng.uniform(2.5, 6) / t1)) * np.exp(-rng.uniform(0.07, 0.13) / t2)
    if kind in ("pd", "pd fs"):
        return (1 - np.exp(-rng.uniform(1.5, 4) / t1)) * np.exp(-rng.uniform(0.015, 0.04) / t2)
    if kind == "stir":
        return np.abs(1 - 2 * np.exp(-rng.uniform(0.14, 0.19) / t1) + np.exp(-rng.uniform(3, 5) / t1)) * np.exp(
            -rng.uniform(0.02, 0.08) / t2
        )
    if kind == "t2*":
        return (1 - np.exp(-rng.uniform(0.3, 0.8) / t1)) * np.exp(-rng.uniform(0.010, 0.025) / (t2 * 0.6))
    # Spoiled gradient echo: Dixon and volume-interpolated sequences. Low angles show protons, high ones T1.
    angle, e1 = np.deg2rad(rng.uniform(3, 15)), np.exp(-rng.uniform(0.004, 0.012) / t1)
    return np.sin(angle) * (1 - e1) / (1 - np.cos(angle) * e1) * np.exp(-rng.uniform(0.001, 0.006) / t2)


def _flow(rng: np.random.Generator, kind: Kind, water: Signals, agent: bool) -> None:
    """Blood that flows is dark in spin echo, bright in gradient echo."""
    if not agent and rng.random() < 0.6:
        gradient_echo = kind in ("vibe", "water", "in", "opposed", "t2*")
        water[Tissue.VESSEL] *= rng.uniform(1, 3) if gradient_echo else rng.uniform(0, 0.3)


def _like_muscle(rng: np.random.Generator, water: Signals) -> None:
    """Let organs look like muscle: brightness must not tell them apart."""
    for organ in (Tissue.KIDNEY, Tissue.LIVER, Tissue.BOWEL, Tissue.VERTEBRA):
        if rng.random() < 0.7:
            water[organ] = water[Tissue.MUSCLE] * rng.uniform(0.8, 1.4)


def _by_chance(rng: np.random.Generator) -> Signals:
    signal = rng.uniform(0.03, 1, len(Tissue))
    muscle = signal[Tissue.MUSCLE]
    if abs(signal[Tissue.FAT] - muscle) < 0.2:  # else nothing could be seen
        signal[Tissue.FAT] = np.clip(muscle + rng.choice([-1, 1]) * rng.uniform(0.2, 0.6), 0.02, 1.2)
    signal[Tissue.INNER_FAT] = muscle + (signal[Tissue.FAT] - muscle) * rng.uniform(0.3, 1.1)
    alike = rng.choice([0.02, 0.08])
    for other in _MUSCLES:
        signal[other] = muscle + rng.normal(0, alike)
    signal[Tissue.AIR] = signal[Tissue.METAL] = 0
    signal[Tissue.LUNG], signal[Tissue.CORTEX] = rng.uniform(0, 0.15, 2)
    signal[Tissue.LESION] = muscle * rng.uniform(0.4, 3.5)
    if rng.random() < 0.5:
        _like_muscle(rng, signal)
    return np.clip(signal, 0, None)
