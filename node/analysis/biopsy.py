"""Biopsy: a point to aim at in each candidate, and a straight way there from the skin of the back.

A geometric proposal and no more: nothing is known here of pleura and kidney, and the skin moves when the patient turns
over. So it is careful. A way runs only through slices in which the canal was outlined. In slices where bone was not, it
keeps to outlined muscle and to what lies between that and the skin, away from the midline, because there is no bone
there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from node.analysis.enhancement import enhancing_depth_mm
from node.analysis.grid import box_around
from node.analysis.lesions import Lesion, Scene, midline_columns
from node.analysis.muscles import Muscles
from node.analysis.venography import NEAR_MM
from node.analysis.verdict import Verdict
from node.dicom.geometry import FloatArray
from node.findings import BiopsyPath, LesionFindings, Note
from node.ports import Array, Mask
from node.settings import AnalysisSettings

_STEP_MM = 1.0  # along a path
_FAN_STEP_DEG = 5.0  # from one path to the next
_DEEPEST_MM = 200.0
_FARTHEST_TOLD_MM = 20.0  # what is farther from a path is not named
_COST_OF_NEARNESS_MM = 20.0  # of depth that touching a structure is worth; docs/analysis.md, 13.3
_ENHANCING = (
    0.5  # of the way from the reference muscle to the candidate's upper quartile: the part that enhances. Chosen
)
_MIDLINE_MM = 10.0  # beside which there is no spinous process, where bone is not known; chosen

Index = tuple[int, int, int]
Voxels = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class _Surroundings:
    """All that a path must heed, on the grid of the scene.

    Parameters
    ----------
    scene : Scene
        With the body.
    allowed : ndarray of bool
        Where a path may run, as far as no distance is concerned.
    structures : mapping of str to cKDTree
        The voxels of what a path must not meet, in mm along the axes of the grid.
    margins : mapping of str to float
        How far a path keeps away from each, in mm.
    """

    scene: Scene
    allowed: Mask
    structures: Mapping[str, cKDTree]
    margins: Mapping[str, float]


def with_paths(
    lesions: Sequence[Lesion], scene: Scene, ratio: Array, muscles: Muscles, settings: AnalysisSettings
) -> tuple[tuple[Lesion, ...], Verdict]:
    """Return the candidates with the way to each, and what is to be said of these ways.

    `ratio` is the enhancement, voxel by voxel.
    """
    if not lesions:
        return (), Verdict()
    if not muscles.canal.any():
        note = Note("BIOPSY-2", "No biopsy path is proposed: the spinal canal was not outlined.")
        return tuple(lesions), Verdict(caveats=(note,))
    around = _surroundings(scene, muscles, settings)
    made, less_known = [], _LessKnown([], [])
    for lesion in lesions:
        found = _best_path(
            target_of(lesion, scene, ratio), _for_candidate(around, lesion.region, muscles.canal), settings
        )
        path = None if found is None else found.findings
        made.append(replace(lesion, findings=replace(lesion.findings, biopsy=path)))
        if found is not None:
            less_known.add(lesion.findings.number, found.voxels, scene, muscles)
    without = ", ".join(str(one.findings.number) for one in made if one.findings.biopsy is None)
    notes = [Note("BIOPSY-1", f"No safe straight path found: candidate {without}.")] if without else []
    if any(one.findings.biopsy is not None for one in made):
        notes.append(Note("BIOPSY-0", _conditions(scene, muscles, less_known)))
    return tuple(made), Verdict(caveats=tuple(notes))


def target_of(lesion: Lesion, scene: Scene, ratio: Array) -> Index:
    """Return the voxel of the enhancing part that is farthest from its border: so not in a core that is dead."""
    spacing_mm = scene.geometry.spacing_mm
    box = box_around(lesion.region, spacing_mm, 3.0)
    depth = enhancing_depth_mm(ratio[box], lesion.region[box], _usual(lesion.findings), spacing_mm)
    place = np.unravel_index(int(np.argmax(depth)), depth.shape)
    head, back, left = (int(index) + one.start for index, one in zip(place, box, strict=True))
    return head, back, left


def _usual(lesion: LesionFindings) -> float:
    """Return the enhancement of the reference muscle, a share."""
    if not lesion.enhancement_pct or not lesion.muscle_ratio:
        return 0.0
    return lesion.enhancement_pct / lesion.muscle_ratio / 100


@dataclass(frozen=True, slots=True)
class _LessKnown:
    """Which candidates have a path that runs where less is known than elsewhere."""

    without_bone: list[int]
    without_vessels: list[int]

    def add(self, number: int, path: Voxels, scene: Scene, muscles: Muscles) -> None:
        if not _has_bone(muscles)[path[:, 0]].all():
            self.without_bone.append(number)
        if scene.unseen is not None and scene.unseen[tuple(path.T)].any():
            self.without_vessels.append(number)


def _conditions(scene: Scene, muscles: Muscles, less_known: _LessKnown) -> str:
    said = ["A biopsy path is a geometric proposal: pleura and kidney are not outlined, and the skin moves when prone."]
    if muscles.bone is None:
        said.append("Bone was not outlined: only ways through muscle were looked for.")
    elif less_known.without_bone:
        said.append(f"Bone was not outlined in every slice of the path: candidate {_listed(less_known.without_bone)}.")
    if scene.vessels is None:
        said.append("Vessels are not known.")
        return " ".join(said)
    said.append(f"Vessels were looked for within {NEAR_MM:g} mm of the muscles.")
    if less_known.without_vessels:
        numbers = _listed(less_known.without_vessels)
        said.append(f"Vessels were not looked for along all of the path: candidate {numbers}.")
    return " ".join(said)


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def _surroundings(scene: Scene, muscles: Muscles, settings: AnalysisSettings) -> _Surroundings:
    masks = {"canal": muscles.canal, "bone": muscles.bone, "vessel": scene.vessels}
    allowed = _away_from_bone(scene, muscles)
    allowed[~muscles.canal.any(axis=(1, 2))] = False
    return _Surroundings(
        scene,
        allowed,
        {name: _tree(mask, scene) for name, mask in masks.items() if mask is not None and mask.any()},
        {"canal": settings.canal_margin_mm, "bone": 0.0, "vessel": settings.vessel_margin_mm},
    )


def _for_candidate(around: _Surroundings, region: Mask, canal: Mask) -> _Surroundings:
    """Return the surroundings of one candidate, which may lie beside the outline of the muscle.

    Its own vessels are left out: they are what is to be sampled.
    """
    inside = region.copy()
    inside[~canal.any(axis=(1, 2))] = False
    around = replace(around, allowed=around.allowed | inside)
    vessels = around.scene.vessels
    if vessels is None or not (vessels & region).any():
        return around
    others = {name: tree for name, tree in around.structures.items() if name != "vessel"}
    outside = vessels & ~region
    return replace(around, structures=others | ({"vessel": _tree(outside, around.scene)} if outside.any() else {}))


def _tree(mask: Mask, scene: Scene) -> cKDTree:
    return cKDTree(np.argwhere(mask) * scene.geometry.spacing_mm)


def _away_from_bone(scene: Scene, muscles: Muscles) -> Mask:
    """Return where a path may run: nowhere in front of the muscles, whose front lies on the transverse processes.

    In slices where bone is not known only in muscle and behind it, and behind it not near the spinous processes: one
    sacrum says nothing of the loin.
    """
    muscle = scene.muscles > 0
    rows = np.arange(muscle.shape[1])[None, :, None]
    front = np.where(muscle.any(axis=(1, 2)), muscle.any(axis=2).argmax(axis=1), muscle.shape[1])
    behind = rows >= front[:, None, None]
    last = muscle.shape[1] - 1 - muscle[:, ::-1].argmax(axis=1)  # row, for each slice and column
    aside_mm = np.abs(np.arange(muscle.shape[2])[None] - midline_columns(scene.muscles)[:, None])
    away = (aside_mm * scene.geometry.spacing_mm[2] >= _MIDLINE_MM)[:, None, :]
    free = muscle | ((rows > last[:, None, :]) & away)
    known = _has_bone(muscles)[:, None, None]
    allowed: Mask = np.asarray((known & behind) | (~known & free))
    return allowed


def _has_bone(muscles: Muscles) -> Mask:
    """Return in which slices bone was outlined."""
    if muscles.bone is None:
        return np.zeros(len(muscles.canal), bool)
    has: Mask = np.asarray(muscles.bone.any(axis=(1, 2)))
    return has


@dataclass(frozen=True, slots=True, eq=False)
class _Path:
    """A path, and the voxels that it runs through from the target to the skin, shape (n, 3)."""

    findings: BiopsyPath
    voxels: Voxels


def _best_path(target: Index, around: _Surroundings, settings: AnalysisSettings) -> _Path | None:
    """Return the cheapest path that is allowed, within the slice if there is one, else tilted."""
    angles, tilts = _fan(settings.biopsy_angle_deg), _fan(settings.biopsy_tilt_deg)
    for group in (tilts[:1], tilts[1:]):
        paths = [_path(target, angle, tilt, around) for tilt in group for angle in angles]
        allowed = [one for one in paths if one is not None]
        if allowed:
            return min(allowed, key=lambda one: _cost_mm(one.findings, settings))
    return None


def _path(target: Index, angle_deg: float, tilt_deg: float, around: _Surroundings) -> _Path | None:
    """Return the path from the skin to `target`; None if it is not allowed, or the skin is not in the images."""
    geometry, body = around.scene.geometry, around.scene.body
    angle, tilt = np.radians(angle_deg), np.radians(tilt_deg)
    direction = np.array([np.sin(tilt), np.cos(tilt) * np.cos(angle), np.cos(tilt) * np.sin(angle)])
    along_mm = np.arange(0, _DEEPEST_MM, _STEP_MM)
    points = np.array(target) + along_mm[:, None] * direction / geometry.spacing_mm
    index: Voxels = np.rint(points).astype(np.intp)
    within = ((index >= 0) & (index < body.shape)).all(axis=1)
    count = len(index) if within.all() else int(np.argmin(within))
    in_body = body[tuple(index[:count].T)]
    if in_body.all() or not in_body[0]:
        return None
    count = int(np.argmin(in_body))
    index = index[:count]
    if not around.allowed[tuple(index.T)].all():
        return None
    clearance, of = _FARTHEST_TOLD_MM, "none"
    for name, tree in around.structures.items():
        near_mm, _ = tree.query(index * geometry.spacing_mm, distance_upper_bound=_FARTHEST_TOLD_MM)
        least = float(np.min(near_mm))
        if least <= around.margins[name]:
            return None
        if least < clearance:
            clearance, of = least, name
    goal, entry = (geometry.to_lps(one).tolist() for one in (points[0], points[count - 1]))
    found = BiopsyPath(
        target_mm=(goal[0], goal[1], goal[2]), entry_mm=(entry[0], entry[1], entry[2]),
        depth_mm=float(along_mm[count - 1]), angle_deg=float(angle_deg), tilt_deg=float(tilt_deg),
        clearance_mm=clearance, clearance_of=of,
    )  # fmt: skip
    return _Path(found, index)


def _cost_mm(path: BiopsyPath, settings: AnalysisSettings) -> float:
    """Return depth, and what nearness to a structure is worth of it (docs/analysis.md, 13.3)."""
    lacking = max(0.0, settings.biopsy_clearance_mm - path.clearance_mm) / settings.biopsy_clearance_mm
    return path.depth_mm + _COST_OF_NEARNESS_MM * lacking


def _fan(most_deg: float) -> FloatArray:
    """Return the angles from 0 to either side: of paths that cost the same the first is taken."""
    half = np.arange(_FAN_STEP_DEG, most_deg + 1e-6, _FAN_STEP_DEG)
    both: FloatArray = np.concatenate([[0.0], np.column_stack([half, -half]).ravel()])
    return both
