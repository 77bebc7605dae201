"""Acceptance: which slices of a segmentation may be believed (SEG-1 to SEG-6, SEG-10), and whether it fits at all."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from node.dicom.geometry import FloatArray
from node.findings import Gate
from node.ports import PARTS, Mask, Segmentation

# Limits: docs/analysis.md. Chosen for a learned segmenter on few slices; nobody has calibrated them for this one.
_LEAST_AGREEMENT = 0.85
_AREA_MM2 = (400.0, 6500.0)
_LARGEST_MIDLINE_ERROR_MM = 6.0
_LEAST_SIDE_RATIO = 0.6
_LEAST_NEIGHBOUR_DICE = 0.75
_LEAST_MIRROR_DICE = 0.7
_MOST_ASTRAY = 0.03  # as of the learned segmenter


def judge(
    sides: npt.NDArray[np.uint8],
    others: Sequence[npt.NDArray[np.uint8]],
    *,
    lateral_mm: FloatArray,
    pixel_mm: tuple[float, float],
) -> tuple[npt.NDArray[np.bool_], tuple[Gate, ...]]:
    """Return which slices of a segmentation pass all gates, and the gates.

    Parameters
    ----------
    sides : ndarray of uint8, shape (slices, rows, columns)
        1 left, 2 right.
    others : sequence of ndarray
        What came out with other thresholds: a good outline does not depend on them. Without any SEG-1 is left out.
    lateral_mm : ndarray of float64, shape (columns,) or (slices, columns)
        From the plane of symmetry, positive to the left.
    pixel_mm : tuple of float
        Height and width of a pixel.

    Returns
    -------
    accepted : ndarray of bool, shape (slices,)
    gates : tuple of Gate
        What they found is the median over the slices; they pass if half of the slices do.
    """
    left, right = sides == 1, sides == 2
    lateral = np.broadcast_to(lateral_mm, (len(sides), sides.shape[2]))
    area = np.stack([one.sum(axis=(1, 2)) for one in (left, right)]) * pixel_mm[0] * pixel_mm[1]
    smaller, larger = area.min(axis=0), area.max(axis=0)
    neighbour = _dice(sides[1:] > 0, sides[:-1] > 0)
    near = (
        np.array([neighbour[max(0, k - 1) : k + 1].mean() for k in range(len(sides))]) if len(sides) > 1 else np.ones(1)
    )
    middle = np.array([_middle_mm(one, there) for one, there in zip(sides, lateral, strict=True)])
    mirror = np.array([_mirror_dice(one, there, pixel_mm[1]) for one, there in zip(sides, lateral, strict=True)])
    beyond = (left & (lateral < 0)[:, None] | right & (lateral > 0)[:, None]).sum(axis=(1, 2))
    astray = beyond / np.maximum(1, (sides > 0).sum(axis=(1, 2)))
    agreement = np.mean([_dice(sides > 0, other > 0) for other in others], axis=0) if others else None
    figures = {} if agreement is None else {
        "SEG-1": (agreement, agreement >= _LEAST_AGREEMENT, f">= {_LEAST_AGREEMENT:g} agreement"),
    }  # fmt: skip
    figures |= {
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
        "SEG-6": (mirror, mirror >= _LEAST_MIRROR_DICE, f">= {_LEAST_MIRROR_DICE:g} Dice of left and mirrored right"),
        "SEG-10": (astray, astray <= _MOST_ASTRAY, f"<= {_MOST_ASTRAY:g} of the muscle named after the other side"),
    }  # fmt: skip
    accepted = np.logical_and.reduce([passed for _, passed, _ in figures.values()])
    gates = tuple(
        Gate(code, round(float(np.median(found)), 3), wanted, bool(passed.mean() >= 0.5))
        for code, (found, passed, wanted) in figures.items()
    )
    return accepted, gates


def measurable(found: Segmentation) -> npt.NDArray[np.bool_]:
    """Return which slices are accepted and show both sides."""
    both: npt.NDArray[np.bool_] = (
        found.accepted & (found.muscles == 1).any(axis=(1, 2)) & (found.muscles == 2).any(axis=(1, 2))
    )
    return both


def fault_of(found: Segmentation, shape: Sequence[int]) -> str:
    """Return what is wrong with the output of a plug-in, or nothing."""
    shape = tuple(shape)
    for name in ("muscles", "body", "canal", "parts", "bone"):
        array = getattr(found, name)
        if array is not None and array.shape != shape:
            return f"{name} have the shape {array.shape}, not {shape}"
    if found.accepted.shape != shape[:1]:
        return f"{len(found.accepted)} slices judged, not {shape[0]}"
    if found.body.dtype != bool or found.accepted.dtype != bool:
        return "body and accepted must be boolean"
    if int(found.muscles.max(initial=0)) > 2:
        return "muscles hold labels other than 0, 1 and 2"
    if found.parts is not None and int(found.parts.max(initial=0)) > max(PARTS):
        return f"parts hold labels above {max(PARTS)}"
    if found.canal.dtype != bool or (found.bone is not None and found.bone.dtype != bool):
        return "canal and bone must be boolean"
    return ""


def _dice(one: Mask, other: Mask) -> FloatArray:
    both = (one & other).sum(axis=(1, 2))
    dice: FloatArray = 2 * both / np.maximum(1, one.sum(axis=(1, 2)) + other.sum(axis=(1, 2)))
    return dice


def _middle_mm(sides: npt.NDArray[np.uint8], lateral_mm: FloatArray) -> float:
    """Return how far the middle between the two compartments of a slice lies from the plane of symmetry."""
    left, right = lateral_mm[(sides == 1).any(axis=0)], lateral_mm[(sides == 2).any(axis=0)]
    return abs(float(left.min() + right.max()) / 2) if left.size and right.size else 99.0


def _mirror_dice(sides: npt.NDArray[np.uint8], lateral_mm: FloatArray, pixel_mm: float) -> float:
    """Return the Dice of the left compartment of a slice with the right one, mirrored at the plane of symmetry."""
    columns = len(lateral_mm)
    mirrored = np.round(-(lateral_mm + lateral_mm[0]) / pixel_mm).astype(int)
    valid = (mirrored >= 0) & (mirrored < columns)
    turned = np.where(valid, sides[:, np.clip(mirrored, 0, columns - 1)] == 2, False)
    return float(_dice((sides == 1)[None], turned[None])[0])
