"""Fat in muscle, from the fat and water images of one Dixon acquisition.

Fat dilutes enhancement, because its signal does not rise: sides and levels may be compared only with the fat fraction
beside them (docs/analysis.md, 9).
"""

import numpy as np

from node.analysis.grid import Grid
from node.analysis.resampling import Movement, bring
from node.analysis.verdict import Verdict
from node.dicom.volumes import Volume
from node.findings import Note
from node.ports import Array, Mask

_LEAST_SIGNAL = 0.05  # of the brightest: below it there is air or cortical bone, and no fraction to tell. Chosen
_FAT, _MUSCLE = 0.85, 0.1  # fractions from which, and up to which, a voxel is one or the other. Chosen
_LEAST_VOXELS = 200  # chosen


def fat_fraction(water: Grid, fat: Volume | None) -> tuple[Array | None, Verdict]:
    """Return F / (F + W), 0 to 1, on the grid of the water series; None, and why, if the fat is not of its voxels."""
    if fat is None:
        return None, Verdict()
    whole = Grid.of(fat)
    same = whole.whole_shape == water.whole_shape and np.allclose(
        whole.geometry.to_lps([one.start for one in water.box]), water.geometry.affine[:3, 3], atol=0.1
    )
    if not same or not np.isfinite(whole.signal).all():
        note = Note("DIXON-1", "The fat images do not fit the water images: the fat in muscle is not told.")
        return None, Verdict(caveats=(note,))
    fatty = np.clip(whole.signal[water.box], 0, None)
    total = fatty + np.clip(water.signal, 0, None)
    bright = total > _LEAST_SIGNAL * float(np.percentile(total, 99))
    fraction: Array = np.where(bright, fatty / np.maximum(total, np.float32(1e-6)), np.float32(0))
    return fraction, Verdict()


def fat_fraction_on(
    onto: Grid, water: Grid, fat: Volume | None, movement: Movement | None
) -> tuple[Array | None, Verdict]:
    """Return the fat fraction on the grid of another series; `movement` takes its points to those of the water."""
    fraction, verdict = fat_fraction(water, fat)
    if fraction is None or movement is None:
        return None, verdict
    return bring(fraction, water.geometry, onto.geometry, movement)[0], verdict


def fat_to_muscle(signal: Array, fraction: Array | None, lean: Mask, body: Mask) -> float | None:
    """Return the signal of fat over that of muscle in the sequence; None if there is too little of either."""
    if fraction is None:
        return None
    fat, muscle = body & (fraction > _FAT), lean & (fraction < _MUSCLE)
    if min(int(fat.sum()), int(muscle.sum())) < _LEAST_VOXELS:
        return None
    level = float(np.median(signal[muscle]))
    return float(np.median(signal[fat])) / level if level > 0 else None
