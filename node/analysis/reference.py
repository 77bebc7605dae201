"""Reference: the muscle that a candidate is compared with, its own and nearby; failing that the next best, by name."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from node.analysis.grid import Box, Spacing, box_around, grown
from node.analysis.verdict import Verdict
from node.findings import POSTERIOR, LesionFindings, MuscleFindings, Note, Side
from node.ports import PARTS, Mask

GAP_MM, _REACH_MM = 5.0, 25.0  # between a candidate and the muscle that it is compared with: docs/analysis.md, 9
_SLICES = 2  # to either side
_LEAST_VOXELS = 200  # of lean muscle, or the next best is taken. Chosen
_NEARBY = f"{GAP_MM:g} to {_REACH_MM:g} mm away"
_PSOAS = "psoas"  # no muscle of a posterior ramus: what such a ramus does to its muscles spares it
_MOST_UNLIKE = 0.30  # of the mean of both: docs/analysis.md, 9. Chosen
_OF_COMPARTMENT = 4  # labels of `PARTS` up to this are of the posterior compartment

Labels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """Lean muscle without any candidate, what it is called, and whether something better was wanted (`failed`)."""

    region: Mask
    name: str
    failed: bool = False


def reference_of(
    region: Mask, side: Side, clear: Mask, sides: Labels, parts: Labels | None, spacing_mm: Spacing
) -> Reference:
    """Return the reference muscle of a candidate.

    Parameters
    ----------
    region : ndarray of bool
        The candidate.
    side : Side
        Its side.
    clear : ndarray of bool
        Lean muscle at least `GAP_MM` away from every candidate, without vessels.
    sides, parts : ndarray of uint8
        Compartments and single muscles, as of `ports.Segmentation`; `parts` None: not told apart.
    """
    box = _around(region, spacing_mm)
    near = np.zeros_like(clear)
    near[box] = grown(region[box], _REACH_MM, spacing_mm) & clear[box]
    own = _muscle_of(region[box], side, None if parts is None else parts[box])
    if parts is not None and own is not None:
        same = near & (parts == own)
        if same.sum() >= _LEAST_VOXELS:
            return Reference(same, f"{PARTS[own][0]} {side}, {_NEARBY}")
    beside = near & (sides == (1 if side is Side.LEFT else 2))
    if beside.sum() >= _LEAST_VOXELS:
        return Reference(beside, f"{POSTERIOR} {side}, {_NEARBY}", failed=own is not None)
    level = np.zeros_like(clear)
    level[box[0]] = clear[box[0]]
    if level.sum() >= _LEAST_VOXELS:
        return Reference(level, f"{POSTERIOR} of both sides in its slices", failed=True)
    return Reference(clear, f"{POSTERIOR} of both sides", failed=True)


def check_references(lesions: Sequence[LesionFindings], levels: Sequence[MuscleFindings]) -> Verdict:
    """Return which reference muscle enhances unlike psoas (REF-2): beside diseased muscle a ratio says less."""
    psoas = [one.enhancement_pct for one in levels if one.muscle == _PSOAS and one.enhancement_pct is not None]
    if not psoas:
        return Verdict()
    other = float(np.median(psoas))
    unlike = []
    for one in lesions:
        if one.enhancement_pct is None or not one.muscle_ratio:
            continue
        usual = one.enhancement_pct / one.muscle_ratio
        if abs(usual - other) > _MOST_UNLIKE * abs(usual + other) / 2:
            unlike.append(f"candidate {one.number} ({usual:.0f} %)")
    if not unlike:
        return Verdict()
    text = (
        f"The reference muscle enhances unlike psoas ({other:.0f} %) and may be abnormal itself: {', '.join(unlike)}."
    )
    return Verdict(caveats=(Note("REF-2", text),))


def _around(region: Mask, spacing_mm: Spacing) -> Box:
    """Return the box of what is near a candidate: in its slices and two to either side."""
    used = np.nonzero(region.any(axis=(1, 2)))[0]
    _, rows, columns = box_around(region, spacing_mm, _REACH_MM)
    return slice(max(0, int(used[0]) - _SLICES), int(used[-1]) + _SLICES + 1), rows, columns


def _muscle_of(region: Mask, side: Side, parts: Labels | None) -> int | None:
    """Return the label of the single muscle of that side that most of a candidate lies in; None if it is in none."""
    if parts is None:
        return None
    counts = np.bincount(parts[region], minlength=max(PARTS) + 1)
    of_side = [label for label in range(1, _OF_COMPARTMENT + 1) if PARTS[label][1] is side and counts[label]]
    return max(of_side, key=lambda label: int(counts[label])) if of_side else None
