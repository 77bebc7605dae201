"""Acceptance: which slices of a segmentation may be believed (SEG-1 to SEG-6)."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from node.dicom.geometry import FloatArray
from node.findings import Gate
from node.ports import Mask

# Limits: docs/analysis.md. Chosen for a learned segmenter on few slices; nobody has calibrated them for this one.
_LEAST_AGREEMENT = 0.85
_AREA_MM2 = (400.0, 6500.0)
_LARGEST_MIDLINE_ERROR_MM = 6.0
_LEAST_SIDE_RATIO = 0.6
_LEAST_NEIGHBOUR_DICE = 0.75
_LEAST_MIRROR_DICE = 0.7


def judge(
    sides: npt.NDArray[np.uint8], others: Sequence[npt.NDArray[np.uint8]], *, lateral_mm: FloatArray, pixel_mm: float
) -> tuple[npt.NDArray[np.bool_], tuple[Gate, ...]]:
    """Return which slices of a segmentation pass all gates, and the gates.

    Parameters
    ----------
    sides : ndarray of uint8, shape (slices, rows, columns)
        1 left, 2 right.
    others : sequence of ndarray
        What came out with other thresholds: a good outline does not depend on them.
    lateral_mm : ndarray of float64, shape (columns,)
        From the plane of symmetry, positive to the left.
    pixel_mm : float
        Width and height of a pixel.

    Returns
    -------
    accepted : ndarray of bool, shape (slices,)
    gates : tuple of Gate
        What they found is the median over the slices; they pass if half of the slices do.
    """
    left, right = sides == 1, sides == 2
    area = np.stack([one.sum(axis=(1, 2)) for one in (left, right)]) * pixel_mm**2
    smaller, larger = area.min(axis=0), area.max(axis=0)
    agreement = np.mean([_dice(sides > 0, other > 0) for other in others], axis=0)
    neighbour = _dice(sides[1:] > 0, sides[:-1] > 0)
    near = np.array([np.mean(neighbour[max(0, k - 1) : k + 1]) for k in range(len(sides))])
    middle = np.array([_middle_mm(one, lateral_mm) for one in sides])
    figures = {
        "SEG-1": (agreement, agreement >= _LEAST_AGREEMENT, f">= {_LEAST_AGREEMENT:g} agreement"),
        "SEG-2": (
            smaller, (smaller >= _AREA_MM2[0]) & (larger <= _AREA_MM2[1]),
            f"{_AREA_MM2[0]:g} to {_AREA_MM2[1]:g} mm2 a side",
        ),
        "SEG-3": (middle, middle <= _LARGEST_MIDLINE_ERROR_MM, f"midline within {_LARGEST_MIDLINE_ERROR_MM:g} mm"),
        "SEG-4": (
            smaller / np.maximum(larger, 1), smaller >= _LEAST_SIDE_RATIO * larger,
            f">= {_LEAST_SIDE_RATIO:g} smaller over larger side",
        ),
        "SEG-5": (near, near >= _LEAST_NEIGHBOUR_DICE, f">= {_LEAST_NEIGHBOUR_DICE:g} Dice with the neighbours"),
        "SEG-6": (mirror := _mirror_dice(left, right, lateral_mm, pixel_mm), mirror >= _LEAST_MIRROR_DICE,
                  f">= {_LEAST_MIRROR_DICE:g} Dice of left and mirrored right"),
    }  # fmt: skip
    accepted = np.logical_and.reduce([passed for _, passed, _ in figures.values()])
    gates = tuple(
        Gate(code, round(float(np.median(found)), 3), wanted, bool(passed.mean() >= 0.5))
        for code, (found, passed, wanted) in figures.items()
    )
    return accepted, gates


def _dice(one: Mask, other: Mask) -> FloatArray:
    both = (one & other).sum(axis=(1, 2))
    dice: FloatArray = 2 * both / np.maximum(1, one.sum(axis=(1, 2)) + other.sum(axis=(1, 2)))
    return dice


def _middle_mm(sides: npt.NDArray[np.uint8], lateral_mm: FloatArray) -> float:
    """Return how far the middle between the two compartments of a slice lies from the plane of symmetry."""
    left, right = lateral_mm[(sides == 1).any(axis=0)], lateral_mm[(sides == 2).any(axis=0)]
    return abs(float(left.min() + right.max()) / 2) if left.size and right.size else 99.0


def _mirror_dice(left: Mask, right: Mask, lateral_mm: FloatArray, pixel_mm: float) -> FloatArray:
    columns = len(lateral_mm)
    mirrored = np.round(-(lateral_mm + lateral_mm[0]) / pixel_mm).astype(int)
    valid = (mirrored >= 0) & (mirrored < columns)
    turned = np.where(valid, right[..., np.clip(mirrored, 0, columns - 1)], False)
    return _dice(left, turned)
