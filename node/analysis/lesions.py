"""Lesions: which candidates are kept, and what is said of each."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import ConvexHull

from node.analysis.enhancement import enhancing_core, relative_enhancement
from node.analysis.grid import Spacing, box_around, disk, grown, smooth_in_plane
from node.analysis.reference import GAP_MM, Reference, reference_of
from node.dicom.geometry import Geometry
from node.findings import LesionFindings, Side
from node.ports import Array, Candidate, Mask
from node.settings import AnalysisSettings

_BAY_MM = 6.0  # half the width of a bay in the outline of a muscle that is filled; chosen
_OUTSIDE_MM = 3.0  # beside the outline foci are looked for too; measured, docs/analysis.md
_LEAST_VOXELS = 4  # docs/analysis.md, section 11
_MOST_VESSEL = 0.5  # of a candidate: beyond it the candidate is a vessel. Chosen


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """All that a candidate is described from, on one grid in canonical order.

    Parameters
    ----------
    pre : ndarray of float32 or None
        Before contrast; None if there is no such series.
    post : ndarray of float32
        On the scale of `pre`.
    muscles : ndarray of uint8
        1 left, 2 right.
    lean : ndarray of bool
        Muscle without fat.
    body : ndarray of bool
        Skin and all within.
    vessels : ndarray of bool or None
        From the MRV, brought onto this grid.
    geometry : Geometry
        Of this grid.
    slices_along : int
        The axis along which the series was acquired: diameters are measured within its planes.
    unseen : ndarray of bool or None
        Where vessels were not looked for, or the MRV does not reach; None without an MRV.
    parts : ndarray of uint8 or None
        Single muscles, by the labels of `ports.PARTS`; None if they were not told apart.
    """

    pre: Array | None
    post: Array
    muscles: npt.NDArray[np.uint8]
    lean: Mask
    body: Mask
    vessels: Mask | None
    geometry: Geometry
    slices_along: int
    unseen: Mask | None = None
    parts: npt.NDArray[np.uint8] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Lesion:
    """One lesion that was kept: what is said of it, and its voxels on the grid of its scene.

    `second_best`: there was too little of its own muscle nearby, so it was compared with other muscle.
    """

    findings: LesionFindings
    region: Mask
    second_best: bool = False


def where_to_look(muscles: npt.NDArray[np.uint8], spacing_mm: Spacing) -> Mask:
    """Return the muscles with their bays filled, each side for itself, and what lies just outside.

    A focus or fat at the border of the muscle bends the segmenter's outline around itself.
    """
    around = muscles > 0
    for side in (1, 2):
        mine = muscles == side
        if mine.any():
            box = box_around(mine, spacing_mm, _BAY_MM + _OUTSIDE_MM)
            filled = mine[box] | ndimage.binary_closing(mine[box], disk(_BAY_MM, spacing_mm))
            around[box] |= ndimage.binary_dilation(filled, disk(_OUTSIDE_MM, spacing_mm))
    return around


def keep_and_describe(candidates: Sequence[Candidate], scene: Scene, settings: AnalysisSettings) -> tuple[Lesion, ...]:
    """Return the candidates that are lesions, best first, numbered from 1."""
    every = np.logical_or.reduce([one.region for one in candidates]) if candidates else np.zeros(scene.lean.shape, bool)
    clear = scene.lean & ~grown(every, GAP_MM, scene.geometry.spacing_mm)
    if scene.vessels is not None:
        clear &= ~scene.vessels
    worth = [
        one for one in candidates if one.score >= settings.detector_threshold and one.region.sum() >= _LEAST_VOXELS
    ]
    kept: list[Lesion] = []
    for candidate in sorted(worth, key=lambda one: -one.score):
        lesion = _describe(len(kept) + 1, candidate, clear, scene)
        if _is_lesion(lesion.findings, candidate, scene, settings):
            kept.append(lesion)
    return tuple(kept)


def _is_lesion(lesion: LesionFindings, candidate: Candidate, scene: Scene, settings: AnalysisSettings) -> bool:
    vessel = 0.0 if scene.vessels is None else float(scene.vessels[candidate.region].mean())
    if vessel > _MOST_VESSEL:
        return False
    if scene.pre is None:
        return lesion.signal_ratio is not None and lesion.signal_ratio >= settings.least_post_only_ratio
    if lesion.enhancement_pct is None or lesion.muscle_ratio is None:
        return False
    usual = lesion.enhancement_pct / lesion.muscle_ratio
    return (
        lesion.muscle_ratio >= settings.least_muscle_ratio
        and lesion.enhancement_pct - usual >= settings.least_enhancement_difference_pct
    )


def _describe(number: int, candidate: Candidate, clear: Mask, scene: Scene) -> Lesion:
    region, geometry = candidate.region, scene.geometry
    indices = np.argwhere(region)
    centre = indices.mean(axis=0)
    long_mm, short_mm = axes_mm(region, scene.slices_along, geometry.spacing_mm)
    side = _side(region, centre, scene.muscles)
    if clear.any():
        compared = reference_of(region, side, clear, scene.muscles, scene.parts, geometry.spacing_mm)
    else:
        compared = Reference(scene.lean & ~region, "all muscle but the candidate", failed=True)
    reference = compared.region
    if scene.pre is not None:
        usual = relative_enhancement(scene.pre, scene.post, reference)
        core = enhancing_core(scene.pre, scene.post, region, usual or 0.0, geometry.spacing_mm)
        rise = relative_enhancement(scene.pre, scene.post, core)
        ratio = rise / usual if rise is not None and usual is not None and usual > 0 else None
        before = float(np.median(scene.pre[region]))
        near = box_around(region, geometry.spacing_mm, 5.0)
        peak = float(smooth_in_plane(scene.post[near], 0.6, geometry.spacing_mm)[region[near]].max())
        highest = 100 * (peak - before) / before if before > 0 else None
        brightness = None
    else:
        rise, before, highest, ratio = None, None, None, None
        usual = float(np.median(scene.post[reference])) if reference.any() else 0.0
        brightness = float(np.median(scene.post[region])) / usual if usual > 0 else None
    x, y, z = geometry.to_lps(centre)
    findings = LesionFindings(
        number=number,
        side=side,
        centroid_mm=(float(x), float(y), float(z)),
        volume_mm3=float(region.sum()) * geometry.voxel_mm3,
        long_axis_mm=long_mm,
        short_axis_mm=short_mm,
        pre_signal=before,
        post_signal=float(np.median(scene.post[region])),
        enhancement_pct=rise,
        enhancement_max_pct=highest,
        muscle_ratio=ratio,
        score=candidate.score,
        midline_distance_mm=_midline_distance_mm(centre, scene.muscles, geometry.spacing_mm),
        skin_distance_mm=_skin_distance_mm(centre, scene.body, geometry.spacing_mm),
        vessel_fraction_pct=None,
        surrounding_vessel_fraction_pct=None,
        vascularity_increased=None,
        signal_ratio=brightness,
        reference=compared.name,
    )  # fmt: skip
    return Lesion(findings, region, compared.failed)


def _side(region: Mask, centre: npt.NDArray[np.float64], muscles: npt.NDArray[np.uint8]) -> Side:
    """Return the side of the muscle that most of the region lies in; beside the muscles, that of the midline."""
    left, right = (int((muscles[region] == one).sum()) for one in (1, 2))
    if left == right:
        return Side.LEFT if centre[2] >= midline_columns(muscles)[round(float(centre[0]))] else Side.RIGHT
    return Side.LEFT if left > right else Side.RIGHT


def axes_mm(region: Mask, slices_along: int, spacing_mm: Spacing) -> tuple[float, float]:
    """Return the largest diameter of the region within one acquired plane, and the extent at right angles to it."""
    planes = np.moveaxis(region, slices_along, 0)
    row_mm, column_mm = (step for axis, step in enumerate(spacing_mm) if axis != slices_along)
    best = (0.0, 0.0)
    for plane in planes[planes.any(axis=(1, 2))]:
        # The outline: the four corners of every voxel.
        corners = np.argwhere(plane)[:, None] + np.array([[-0.5, -0.5], [-0.5, 0.5], [0.5, -0.5], [0.5, 0.5]])
        points = np.unique(corners.reshape(-1, 2), axis=0) * (row_mm, column_mm)
        hull = points[ConvexHull(points).vertices]
        apart = np.linalg.norm(hull[:, None] - hull[None], axis=-1)
        one, other = np.unravel_index(int(apart.argmax()), apart.shape)
        along = (hull[other] - hull[one]) / apart.max()
        across = hull @ np.array([-along[1], along[0]])
        if apart.max() > best[0]:
            best = (float(apart.max()), float(np.ptp(across)))
    return best


def midline_columns(muscles: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Return the column half way between the two sides, for each slice: a straight line through all of them."""
    slices, middles = [], []
    for number, plane in enumerate(muscles):
        left, right = np.nonzero((plane == 1).any(axis=0))[0], np.nonzero((plane == 2).any(axis=0))[0]
        if left.size and right.size:
            slices.append(number)
            middles.append((left[0] + right[-1]) / 2)
    if not slices:
        return np.full(len(muscles), np.nan)
    if len(slices) < 3:
        return np.full(len(muscles), float(np.median(middles)))
    slope, start = np.polyfit(slices, middles, 1)
    return np.array([slope * number + start for number in range(len(muscles))], np.float64)


def _midline_distance_mm(
    centre: npt.NDArray[np.float64], muscles: npt.NDArray[np.uint8], spacing_mm: Spacing
) -> float | None:
    column = float(midline_columns(muscles)[round(float(centre[0]))])
    return abs(float(centre[2]) - column) * spacing_mm[2] if np.isfinite(column) else None


def _skin_distance_mm(centre: npt.NDArray[np.float64], body: Mask, spacing_mm: Spacing) -> float | None:
    """Return the shortest way to the skin within the axial plane."""
    plane = body[round(float(centre[0]))]
    place = (round(float(centre[1])), round(float(centre[2])))
    if plane.all() or not plane[place]:
        return None
    return float(ndimage.distance_transform_edt(plane, sampling=spacing_mm[1:])[place])
