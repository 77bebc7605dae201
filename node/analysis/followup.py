"""Follow-up: how the patient of an earlier examination lies in this one, if the images of both tell it for sure.

Two examinations share no frame of reference: the patient lay elsewhere on the table, and another stretch of the back
was imaged. The spine repeats itself every 30 to 35 mm, and a movement that is wrong by a level tells a change that
never was. So fits begin at every overlap that may be, and the best counts only if it is like no other: no other place,
nor the earlier images with left and right exchanged, may fit nearly as well. The movement is rigid. Posture bends a
back by some mm, and who compares places has to allow for that.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from node.analysis.body import body_mask, skin_row
from node.analysis.fitting import fit
from node.analysis.grid import Grid
from node.analysis.local_contrast import Level, LocalContrast
from node.analysis.pairing import back_region
from node.analysis.resampling import Movement
from node.analysis.threads import both, each
from node.dicom.geometry import FloatArray
from node.findings import Gate
from node.ports import Mask

_SEED = 1
_FAR = Level(6.0, 20.0, 30.0, 60.0, 2_000, 0.0, turns=12)
_NEAR = Level(3.0, 10.0, 15.0, 30.0, 6_000, 0.0, turns=20)
_POINTS = 30_000
_STEP_MM = 10.0  # between starts along the back; fits reach farther. Chosen
_MOST_TRIED = 200  # overlaps: two backs of a metre each; more would take minutes, and is no back. Chosen
_FEWEST = 400  # points of a start; fewer say nothing. Chosen
_TRIED_MM = 20.0  # of the back, that an overlap to try has: what shares less is no rival either. Chosen
_REFINED = 4  # places; chosen
_ELSEWHERE_MM = 10.0  # a third of a level: fits that end farther apart are two places. Chosen

# Between what second examinations of one person gave and what wrong places did [M]: likeness 0.9 to 0.98 against at
# most 0.8, margin over other places 0.2 to 0.6, over the mirror 0.15 to 0.3 against less than 0, forward and backward
# 0.04 to 0.5 mm apart against mostly more than 2 mm. Real ones may well be less alike: they are refused.
_LEAST_SHARED_MM = 40.0  # a level and a quarter
_LEAST_LIKENESS = 0.8
_LEAST_MARGIN = 0.1
_LEAST_MIRROR_MARGIN = 0.05
_LARGEST_INCONSISTENCY_MM = 1.0
_LARGEST_TURN_DEG = 10.0  # chosen


@dataclass(frozen=True, slots=True, eq=False)
class FollowUp:
    """The movement from points of this examination to those of the earlier one, None if it is not sure; its gates."""

    movement: Movement | None
    gates: tuple[Gate, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Exam:
    """One examination: its back, points scattered in it, and the middle of its skin from below upwards, LPS mm."""

    grid: Grid
    back: Mask
    points: FloatArray
    course: FloatArray

    @classmethod
    def of(cls, grid: Grid) -> "_Exam | None":
        """Return it; None if it shows no back."""
        body = body_mask(grid.signal, grid.spacing_mm)
        back = back_region(body, grid.spacing_mm)
        if not back.any():
            return None
        random = np.random.default_rng(_SEED)
        voxels = np.flatnonzero(back)
        drawn = np.stack(np.unravel_index(voxels[random.integers(len(voxels), size=_POINTS)], back.shape), axis=-1)
        points = grid.geometry.to_lps(drawn + random.uniform(-0.5, 0.5, drawn.shape))
        skin = skin_row(body)
        course = grid.geometry.to_lps([_middle(k, back[k], skin[k]) for k in range(len(back)) if back[k].any()])
        return cls(grid, back, points, course[np.argsort(course[:, 2])])

    def holds(self, points: FloatArray) -> npt.NDArray[np.bool_]:
        """Return which of points lie in its back."""
        indices = np.rint(self.grid.geometry.to_index(points)).astype(np.intp).T
        held: npt.NDArray[np.bool_] = ndimage.map_coordinates(self.back, indices, order=0, cval=False)
        return held

    def mirrored(self) -> "_Exam":
        """Return it with left and right exchanged, about the middle of its back."""
        grid, back = self.grid, self.back[:, :, ::-1]
        flipped = replace(grid, signal=np.ascontiguousarray(grid.signal[:, :, ::-1]))
        columns = grid.geometry.to_index(self.course)
        columns[:, 2] = back.shape[2] - 1 - columns[:, 2]
        return replace(self, grid=flipped, back=back, course=grid.geometry.to_lps(columns))


@dataclass(frozen=True, slots=True, eq=False)
class _Fit:
    """Where a fit ended, and how alike the backs are there: the correlation of local contrast, over shared points."""

    movement: Movement
    likeness: float
    shared: FloatArray


def follow_up(now: Grid, then: Grid) -> FollowUp:
    """Return how the patient of an earlier examination lies in this one.

    Parameters
    ----------
    now, then : Grid
        Series of one kind of contrast, of this examination and of the earlier one.

    Notes
    -----
    The same each time, bit by bit, on one machine, as registration is.
    """
    here, there = both(lambda: _Exam.of(now), lambda: _Exam.of(then))
    if here is None or there is None:
        return _nothing_shared()
    shifts = _shifts(here, there)
    if len(shifts) > _MOST_TRIED:
        return FollowUp(None, (_at_most("PRI-REG-1", len(shifts), _MOST_TRIED, "overlaps to try"),))
    far = both(lambda: LocalContrast.of(now, _FAR), lambda: LocalContrast.of(then, _FAR))
    starts = _starts(here, there, shifts)
    begun = [one for one in each(lambda at: _fitted(here, there, far, at, _FAR), starts) if one]
    if not begun:
        return _nothing_shared()
    near = both(lambda: LocalContrast.of(now, _NEAR), lambda: LocalContrast.of(then, _NEAR))
    places = _places(begun, here)[:_REFINED]
    ended = [one for one in each(lambda at: _fitted(here, there, near, at.movement, _NEAR), places) if one]
    if not ended:
        return _nothing_shared()
    best, *others = _places(ended, here)
    elsewhere = max((one.likeness for one in others), default=0.0)
    mirrored = _mirrored_likeness(here, there, best)
    out = best.movement
    home = fit(near[1], near[0], out.apply(best.shared), out.inverse(), _NEAR)
    missed_mm = np.full(1, np.inf) if home is None else _lengths(home.apply(out.apply(best.shared)) - best.shared)
    gates = (
        _at_least("PRI-REG-1", _extent_mm(best.shared), _LEAST_SHARED_MM, "mm of the back shared"),
        _at_least("PRI-REG-2", best.likeness, _LEAST_LIKENESS, "likeness of the backs"),
        _at_least("PRI-REG-3", best.likeness - elsewhere, _LEAST_MARGIN, "more than at any other place"),
        _at_least("PRI-REG-4", best.likeness - mirrored, _LEAST_MIRROR_MARGIN, "more than if mirrored"),
        _at_most("PRI-REG-5", out.angle_deg, _LARGEST_TURN_DEG, "degrees"),
        _at_most(
            "PRI-REG-6", float(np.median(missed_mm)), _LARGEST_INCONSISTENCY_MM, "mm between forward and backward"
        ),
    )
    return FollowUp(out if all(one.passed for one in gates) else None, gates)


def _nothing_shared() -> FollowUp:
    return FollowUp(None, (_at_least("PRI-REG-1", 0.0, _LEAST_SHARED_MM, "mm of the back shared"),))


def _at_least(code: str, found: float, least: float, of: str) -> Gate:
    return Gate(code, round(found, 3), f">= {least:g} {of}", found >= least)


def _at_most(code: str, found: float, most: float, of: str) -> Gate:
    return Gate(code, round(found, 3), f"<= {most:g} {of}", found <= most)


def _shifts(here: _Exam, there: _Exam) -> FloatArray:
    """Return how far one back may be shifted along itself: for each overlap that may be, mm."""
    (low, high), (lowest, highest) = ((one.course[0, 2], one.course[-1, 2]) for one in (here, there))
    first, last = lowest - high + _TRIED_MM, highest - low - _TRIED_MM
    shifts: FloatArray = np.arange(first, last + _STEP_MM, _STEP_MM)
    return shifts


def _starts(here: _Exam, there: _Exam, shifts: FloatArray) -> Iterator[Movement]:
    """Yield movements along the back that lay its middle on that of the other."""
    (low, high), (lowest, highest) = ((one.course[0, 2], one.course[-1, 2]) for one in (here, there))
    for shift in shifts:
        heights = np.linspace(max(low, lowest - shift), min(high, highest - shift), 9)
        left, back = (
            float(np.mean(_at(there, heights + shift, axis) - _at(here, heights, axis))) for axis in (0, 1)
        )  # fmt: skip
        yield Movement(np.eye(3), np.array([left, back, shift]), here.points.mean(axis=0))


def _at(exam: _Exam, heights: FloatArray, axis: int) -> FloatArray:
    found: FloatArray = np.interp(heights, exam.course[:, 2], exam.course[:, axis])
    return found


def _fitted(
    here: _Exam,
    there: _Exam,
    contrasts: tuple[LocalContrast, LocalContrast],
    start: Movement,
    level: Level,
) -> _Fit | None:
    """Return where the fit from a start ends; None if the backs do not share enough there."""
    fixed, moving = contrasts
    shared = _shared(here, there, start)
    if shared is None:
        return None
    found = fit(fixed, moving, shared[: level.points], start, level)
    shared = None if found is None else _shared(here, there, found)
    if found is None or shared is None:
        return None
    indices = moving.geometry.to_index(found.apply(shared))
    values = fixed.at(fixed.geometry.to_index(shared)), moving.at(indices)
    return _Fit(found, float(np.corrcoef(*values)[0, 1]), shared[: level.points])


def _shared(here: _Exam, there: _Exam, movement: Movement) -> FloatArray | None:
    shared = here.points[there.holds(movement.apply(here.points))]
    return shared if len(shared) >= _FEWEST and _extent_mm(shared) >= _TRIED_MM else None


def _lengths(vectors: FloatArray) -> FloatArray:
    lengths: FloatArray = np.linalg.norm(vectors, axis=1)
    return lengths


def _extent_mm(points: FloatArray) -> float:
    """Return how far points reach along the back, but for the outermost ones."""
    low, high = np.percentile(points[:, 2], (1, 99))
    return float(high - low)


def _places(fits: list[_Fit], here: _Exam) -> list[_Fit]:
    """Return the best fit of each place, best first."""
    probes = here.points[:50]
    best: list[_Fit] = []
    for one in sorted(fits, key=lambda one: -one.likeness):
        ends = one.movement.apply(probes)
        if all(_lengths(ends - other.movement.apply(probes)).mean() > _ELSEWHERE_MM for other in best):
            best.append(one)
    return best


def _mirrored_likeness(here: _Exam, there: _Exam, best: _Fit) -> float:
    """Return how alike the backs are near a place if the earlier images are mirrored."""
    mirrored, here_mm, there_mm = there.mirrored(), best.shared, best.movement.apply(best.shared)
    shift = (there_mm - here_mm).mean(axis=0)
    shift[0] = np.mean(_at(mirrored, there_mm[:, 2], 0) - _at(here, here_mm[:, 2], 0))
    start, likeness = Movement(np.eye(3), shift, here_mm.mean(axis=0)), 0.0
    for level in (_FAR, _NEAR):
        contrasts = LocalContrast.of(here.grid, level), LocalContrast.of(mirrored.grid, level)
        found = _fitted(here, mirrored, contrasts, start, level)
        if found is None:
            return likeness
        start, likeness = found.movement, found.likeness
    return likeness


def _middle(k: int, back: Mask, skin: npt.NDArray[np.intp]) -> tuple[float, float, float]:
    """Return the place on the skin, in the middle of a slice of the back."""
    columns = np.flatnonzero(back.any(axis=0))
    return float(k), float(np.median(skin[columns])), float(columns.mean())
