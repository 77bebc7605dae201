"""Registration: rigid, in patient space; what it found, and what it left.

From coarse grids to fine ones, on *local contrast*. Within each cube of tissue the contrast of one series may be any
multiple of the other's, plus any constant: tissue that enhances more than its neighbours does not pull, and bright and
dark may change places. Where slabs of a series still lie beside one another the patient moved during it, and a *slip*
of its slices is fitted with the movement. The *residual* is what that same fit, done again for one slab and side at a
time, would still move.
"""

from dataclasses import dataclass

import numpy as np

from node.analysis.fitting import fit, misfit
from node.analysis.grid import Grid
from node.analysis.local_contrast import Level, LocalContrast
from node.analysis.resampling import Movement, Slip, bring_mask
from node.analysis.threads import both, each
from node.dicom.geometry import FloatArray, Geometry
from node.ports import Mask

_SEED = 1
_POINTS_OF_A_BLOCK = 400  # fewer say nothing; chosen
_SLAB_MM = 12.0
_MARGIN_MM = 20.0  # around the region, for what lies beyond it and the blurs need
# Pairs that moved as a whole leave 0.03 to 0.05 mm; those that drifted 0.09 to 0.44 mm, and with a slip 0.03 to 0.07 mm
# [M]. Of a drift that nearly was a tilt only 0.09 mm were left, and 0.7 mm were wrong along the slices.
_SLIPPED_MM = 0.06  # from this residual on a slip is tried; chosen between them
_WORTH = 0.67  # of the residual may be left by a slip, or it explains nothing. Chosen

_MIDDLE = Level(3.0, 8.0, 12.0, 25.0, 12_000, 0.0)
_FINE = Level(1.0, 3.0, 5.0, 10.0, 40_000, 0.6)
_SAME_CONTRAST = (Level(6.0, 20.0, 30.0, 60.0, 6_000, 0.0, turns=30), _MIDDLE, _FINE)
# Wide surroundings mislead where bright and dark change places: TUM01 was 1.5 mm off until the last, narrow level.
_OTHER_CONTRAST = (_MIDDLE, Level(1.0, 4.0, 6.0, 12.0, 40_000, 0.6))


@dataclass(frozen=True, slots=True, eq=False)
class Alignment:
    """A movement from points of the fixed series to those of the moving one, and how sure it is."""

    movement: Movement
    inconsistency_mm: float  # how far forward and backward registration miss each other, median over the region
    residual_mm: float  # what is left within the axial planes, root mean square per axis; NaN: cannot be said
    drift_mm: float = float("nan")  # along the slices, if a tilt is a drift; NaN: cannot be said, or a slip is fitted


@dataclass(frozen=True, slots=True, eq=False)
class _Ways:
    """The movements from the fixed series to the moving one and, fitted by itself, back."""

    out: Movement
    home: Movement


def align(
    fixed: Grid, moving: Grid, region: Mask, *, same_contrast: bool, start_mm: FloatArray | None = None
) -> Alignment | None:
    """Return the movement between two series; None if they do not overlap.

    Parameters
    ----------
    fixed, moving : Grid
        The two series.
    region : ndarray of bool, shape of `fixed`
        What must fit; the rest may move as it likes.
    same_contrast : bool
        Whether both were made with one sequence. Otherwise the movement is rigid, and no residual is known.
    start_mm : ndarray, shape (3,), optional
        The shift to start from, for series without a common frame of reference; else none.

    Notes
    -----
    Fixed seeds, and no sum that hangs on the count of threads: the result can be repeated bit for bit on one machine.
    """
    region = region.copy()
    spare = max(1, region.shape[0] // 12)
    region[:spare] = region[-spare:] = False  # or voxels would leave the other series, and the fit change, as it moves
    if not region.any():
        return None
    points = _scattered(region, fixed.geometry)
    centre, shift = points.mean(axis=0), np.zeros(3) if start_mm is None else start_mm
    start = _Ways(Movement(np.eye(3), shift, centre), Movement(np.eye(3), -shift, centre + shift))
    *coarse, last = _SAME_CONTRAST if same_contrast else _OTHER_CONTRAST
    ways = start
    for level in coarse:
        here, there = _contrasts(fixed, moving, level)
        found = _fit_both(here, there, points, start, ways, level)
        if found is None:
            return None
        ways = found
    moved = bring_mask(region, fixed.geometry, moving.geometry, ways.out.inverse())
    here, there = _contrasts(
        fixed.around(region, _MARGIN_MM), moving.around(moved, _MARGIN_MM), last, cubic=same_contrast
    )
    begin = _beginning(here, there, points, start, ways, last)
    out = fit(here, there, points[: last.points], begin.out, last)
    if out is None:
        return None
    home, drift = both(
        lambda: _fit_home(here, there, points, out, begin, last),
        lambda: _drift_mm(here, there, points, out, fixed) if same_contrast else float("nan"),
    )
    if home is None:
        return None
    found = _Ways(out, home)
    residual = _residual_mm(here, there, points, out) if same_contrast else float("nan")
    if residual > _SLIPPED_MM:
        slipped = _fit_slips(here, there, points, found, (fixed, moving))
        left = float("nan") if slipped is None else _residual_mm(here, there, points, slipped.out)
        if slipped is not None and left <= _WORTH * residual:
            found, residual, drift = slipped, left, float("nan")
    missed = found.home.apply(found.out.apply(points)) - points
    return Alignment(found.out, float(np.median(np.linalg.norm(missed, axis=1))), residual, drift)


def _contrasts(
    fixed: Grid, moving: Grid, level: Level, *, cubic: bool = False
) -> tuple[LocalContrast, LocalContrast]:  # fmt: skip
    """Return the local contrast of both series."""
    return both(
        lambda: LocalContrast.of(fixed, level, cubic=cubic), lambda: LocalContrast.of(moving, level, cubic=cubic)
    )  # fmt: skip


def _fit_both(
    here: LocalContrast, there: LocalContrast, points: FloatArray, start: _Ways, coarser: _Ways, level: Level
) -> _Ways | None:
    """Return the movements from here to there and back."""
    begin = _beginning(here, there, points, start, coarser, level)
    out = fit(here, there, points[: level.points], begin.out, level)
    home = None if out is None else _fit_home(here, there, points, out, begin, level)
    return None if out is None or home is None else _Ways(out, home)


def _beginning(
    here: LocalContrast, there: LocalContrast, points: FloatArray, start: _Ways, coarser: _Ways, level: Level
) -> _Ways:
    """Return what the coarser level found, or the start if that fits better.

    In stacks of 40 mm large pixels saw tilts of 4 degrees where there were none.
    """
    many = points[: level.points]
    if coarser is not start and misfit(here, there, many, start.out, level) < misfit(
        here, there, many, coarser.out, level
    ):
        return start
    return coarser


def _fit_home(
    here: LocalContrast, there: LocalContrast, points: FloatArray, out: Movement, begin: _Ways, level: Level
) -> Movement | None:
    """Return the way back from where `out` leads, fitted by itself with half of the points."""
    return fit(there, here, out.apply(points[: level.points : 2]), begin.home, level)


def _fit_slips(
    here: LocalContrast, there: LocalContrast, points: FloatArray, rigid: _Ways, series: tuple[Grid, Grid]
) -> _Ways | None:
    """Return the two movements with a slip of the slices as they were acquired."""
    slips = [Slip.none(one.geometry, one.slices_along, _SLAB_MM) for one in series]
    out = fit(here, there, points, rigid.out, _FINE, slipping=slips[0])
    if out is None:
        return None
    home = fit(there, here, out.apply(points[::2]), rigid.home, _FINE, slipping=slips[1])
    return None if home is None else _Ways(out, home)


def _drift_mm(
    here: LocalContrast, there: LocalContrast, points: FloatArray, rigid: Movement, fixed: Grid
) -> float:  # fmt: skip
    """Return how far, along the slices, a fit with an even drift parts from the rigid one; root mean square.

    A patient who drifts at an even rate looks tilted: within the planes both fit, along the slices one is wrong.
    """
    evenly = Slip.none(fixed.geometry, fixed.slices_along, float("inf"))  # a knot at either end
    drifted = fit(here, there, points, rigid, _FINE, slipping=evenly)
    if drifted is None or drifted is rigid:  # the fit led out of the series
        return float("nan")
    apart = (drifted.apply(points) - rigid.apply(points)) @ fixed.geometry.directions[:, fixed.slices_along]
    return float(np.sqrt(np.mean(np.square(apart))))


def _scattered(region: Mask, geometry: Geometry) -> FloatArray:
    """Return points in `region`, in LPS, off the grid: on it, half-voxel shifts would win by averaging noise away."""
    random = np.random.default_rng(_SEED)
    voxels = np.flatnonzero(region)
    drawn = voxels[random.integers(len(voxels), size=_FINE.points)]
    chosen = np.stack(np.unravel_index(drawn, region.shape), axis=-1)
    return geometry.to_lps(chosen + random.uniform(-0.5, 0.5, chosen.shape))


def _residual_mm(fixed: LocalContrast, moving: LocalContrast, points: FloatArray, movement: Movement) -> float:
    """Return the root mean square, per axis of the axial plane, of what slabs of either side would still move.

    Along the slices such slabs tell nothing: 0.1 to 0.6 mm both where 0.1 mm was true and where 0.7 mm was [M].
    """
    indices = fixed.geometry.to_index(points)
    slab = (indices[:, 0] * fixed.geometry.spacing_mm[0] // _SLAB_MM).astype(int)
    is_left = indices[:, 2] > np.median(indices[:, 2])
    blocks = [(slab == number) & (is_left == side) for number in np.unique(slab) for side in (False, True)]
    blocks = [one for one in blocks if one.sum() >= _POINTS_OF_A_BLOCK]
    shifts = []
    for fitted in each(lambda one: fit(fixed, moving, points[one], movement, _FINE, turning=False), blocks):
        if fitted is not None and fitted is not movement:  # else it led out of the series, and says nothing
            shifts.append((fitted.shift - movement.shift) @ fixed.geometry.directions[:, 1:])
    return float(np.sqrt(np.mean(np.square(shifts)))) if shifts else float("nan")
