"""Registration: rigid, in patient space; what it found, and what it left.

Two steps. Mutual information on coarse grids finds the neighbourhood, whatever the contrast. For two series of one
sequence a least-squares fit of their local contrast then finds the place; voxels that enhance are outliers to it and
weigh little. The *residual* is what that same fit, done again for one slab and side at a time, would still move.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from node.analysis.grid import Grid, box_around, part, smooth, smooth_in_plane
from node.analysis.itk import sitk
from node.analysis.resampling import Movement, bring_mask, to_image
from node.dicom.geometry import FloatArray, Geometry
from node.ports import Array, Mask

_BINS = 32
_SEED = 1
_COARSE = ((4.0, 2.0, 0.5), (2.0, 0.5, 0.15))  # pixel in mm, first step in mm, share of the voxels taken
_AXIAL_PLANE = (0.0, 0.0, 1.0, 1.0, 1.0, 0.0)  # of the turns about x, y, z and the shifts along them, LPS
_WIDE_MM, _NARROW_MM = 15.0, 3.0  # what counts as the surroundings of a voxel, for the coarse and the fine step
_POINTS = 40_000
_POINTS_OF_A_BLOCK = 400  # fewer say nothing; chosen
_SLAB_MM = 12.0
_TURNS = 15


@dataclass(frozen=True, slots=True, eq=False)
class Alignment:
    """A rigid movement from points of the fixed series to those of the moving one, and how sure it is."""

    movement: Movement
    inconsistency_mm: float  # how far forward and backward registration miss each other, median over the region
    residual_mm: float  # what is left within the axial planes, root mean square per axis; NaN: cannot be said


def align(fixed: Grid, moving: Grid, region: Mask, *, same_contrast: bool) -> Alignment | None:
    """Return the rigid movement between two series that share a frame of reference; None if they do not overlap.

    Parameters
    ----------
    fixed, moving : Grid
        The two series.
    region : ndarray of bool, shape of `fixed`
        What must fit; the rest may move as it likes.
    same_contrast : bool
        Whether both were made with one sequence. Otherwise only the coarse step is done, within axial planes, and
        no residual is known.

    Notes
    -----
    One thread and fixed seeds: the result can be repeated bit for bit on one machine.
    """
    region = region.copy()
    spare = max(1, region.shape[0] // 12)
    region[:spare] = region[-spare:] = False  # or voxels would leave the other series, and the fit change, as it moves
    points = _scattered(region, fixed.geometry)
    start = Movement.none(points.mean(axis=0))

    wide, other_wide = _contrast(fixed, _WIDE_MM), _contrast(moving, _WIDE_MM)
    forward = _coarse(wide, fixed.geometry, other_wide, moving.geometry, region, start, in_plane=not same_contrast)
    if forward is None:
        return None
    moved = bring_mask(region, fixed.geometry, moving.geometry, forward.inverse())
    backward = _coarse(other_wide, moving.geometry, wide, fixed.geometry, moved, start, in_plane=not same_contrast)
    if backward is None:
        return None
    residual = float("nan")
    if same_contrast:
        here, there = _contrast(fixed, _NARROW_MM), _contrast(moving, _NARROW_MM)
        forward = _fine(here, fixed.geometry, there, moving.geometry, points, forward)
        backward = _fine(there, moving.geometry, here, fixed.geometry, forward.apply(points), backward)
        residual = _residual_mm(here, fixed, there, moving.geometry, points, forward)
    missed = backward.apply(forward.apply(points)) - points
    return Alignment(forward, float(np.median(np.linalg.norm(missed, axis=1))), residual)


def _scattered(region: Mask, geometry: Geometry) -> FloatArray:
    """Return points in `region`, in LPS, off the grid: on it, half-voxel shifts would win by averaging noise away."""
    random = np.random.default_rng(_SEED)
    voxels = np.argwhere(region)
    chosen = voxels[random.integers(len(voxels), size=_POINTS)]
    return geometry.to_lps(chosen + random.uniform(-0.5, 0.5, chosen.shape))


def _contrast(grid: Grid, surroundings_mm: float) -> Array:
    """Return the signal over that of its surroundings, less one.

    Coil shading is gone from it. With wide surroundings a smooth change of signal is taken for a shift: fits along 4 mm
    slices were 0.5 mm off with 16 mm and 0.1 mm with 3 mm (TUM01, muscle + 40 %; 2026-11-26).
    """
    near = smooth_in_plane(grid.signal, 0.8, grid.spacing_mm)
    far = smooth(grid.signal, surroundings_mm, grid.spacing_mm)
    floor = np.float32(0.1 * np.median(far[far > far.mean()]) + 1e-6)
    contrast: Array = (near - far) / (np.clip(far, 0, None) + floor)
    return contrast


def _coarse(
    fixed: Array, on: Geometry, moving: Array, moving_on: Geometry, region: Mask, start: Movement, *, in_plane: bool
) -> Movement | None:
    """Return the movement with the most mutual information between the two contrasts (Mattes), or None.

    With `in_plane` only shifts and turns within axial planes: along the back, one contrast fits another almost
    anywhere (TUM01, T1 and time of flight: 3.6 mm off, 2026-11-26), and there the frame of reference knows better.
    """
    if not region.any():
        return None
    box = box_around(region, on.spacing_mm, 5.0)
    there = to_image(fixed[box], part(on, box))
    mask = to_image(region[box].astype(np.uint8), part(on, box))
    here = to_image(moving, moving_on)
    found = sitk.Euler3DTransform()
    found.SetCenter(start.centre.tolist())
    for pixel_mm, first_step_mm, share in _COARSE:
        shrink = [max(1, round(pixel_mm / step)) for step in there.GetSpacing()]  # thick slices stay as they are
        method = sitk.ImageRegistrationMethod()
        method.SetNumberOfThreads(1)
        method.SetMetricAsMattesMutualInformation(_BINS)
        method.SetMetricSamplingStrategy(method.RANDOM)
        method.SetMetricSamplingPercentage(share, _SEED)
        method.SetMetricFixedMask(sitk.Shrink(mask, shrink))
        method.SetInterpolator(sitk.sitkLinear)
        method.SetOptimizerAsRegularStepGradientDescent(first_step_mm, 0.01, 60, relaxationFactor=0.6)
        method.SetOptimizerScalesFromPhysicalShift()
        if in_plane:
            method.SetOptimizerWeights(_AXIAL_PLANE)
        method.SetInitialTransform(found, inPlace=False)
        try:
            result = method.Execute(sitk.BinShrink(there, shrink), here)
        except RuntimeError:  # all that SimpleITK raises: no sample of the region lies within the moving series
            return None
        found = sitk.Euler3DTransform(result.GetBackTransform() if result.GetName() == "CompositeTransform" else result)
    rotation = np.array(found.GetMatrix()).reshape(3, 3)
    return Movement(rotation, np.array(found.GetTranslation()), start.centre)


def _fine(
    fixed: Array, on: Geometry, moving: Array, moving_on: Geometry, points: FloatArray, start: Movement,
    *, turn: bool = True,
) -> Movement:  # fmt: skip
    """Return the movement near `start` under which the contrast at `points` fits best (Gauss-Newton, Huber weights).

    The moving contrast may be any multiple of the fixed one, plus any constant. Without `turn` only the shift changes.
    """
    wanted = _at(fixed, on.to_index(points))
    slopes = [np.gradient(moving, axis=axis) for axis in range(3)]
    to_index = np.linalg.inv(moving_on.affine[:3, :3])
    last = np.array(moving.shape) - 1
    movement = start
    weight = np.ones(len(points))
    for _ in range(_TURNS):
        places = movement.apply(points)
        indices = moving_on.to_index(places)
        inside = ((indices >= 0) & (indices <= last)).all(axis=1)
        found = _at(moving, indices)
        slope = np.stack([_at(one, indices) for one in slopes], axis=1) @ to_index
        arms = np.cross(places - movement.centre, slope)
        columns = np.concatenate([slope, arms * turn, -np.ones((len(points), 1)), -wanted[:, None]], axis=1)
        weighted = columns * (weight * inside)[:, None]
        # Sums by einsum, not by the threads of a BLAS: the same bits every time.
        normal = np.einsum("ni,nj->ij", weighted, columns)
        step = np.linalg.lstsq(normal, -np.einsum("ni,n->i", weighted, found), rcond=None)[0]
        error = np.abs(found + columns @ step)
        spread = 1.4826 * float(np.median(error[inside])) if inside.any() else 1.0
        weight = 1 / np.maximum(1.0, error / max(1.5 * spread, 1e-9))
        turned = Rotation.from_rotvec(step[3:6]).as_matrix()
        movement = Movement(turned @ movement.rotation, turned @ movement.shift + step[:3], movement.centre)
        if np.linalg.norm(step[:3]) < 1e-3 and np.linalg.norm(step[3:6]) < 1e-5:
            break
    return movement


def _residual_mm(
    fixed: Array, grid: Grid, moving: Array, moving_on: Geometry, points: FloatArray, movement: Movement
) -> float:
    """Return the root mean square, per axis of the axial plane, of what slabs of either side would still move."""
    indices = grid.geometry.to_index(points)
    slab = (indices[:, 0] * grid.spacing_mm[0] // _SLAB_MM).astype(int)
    is_left = indices[:, 2] > np.median(indices[:, 2])
    shifts = []
    for number in np.unique(slab):
        for side in (False, True):
            block = (slab == number) & (is_left == side)
            if block.sum() >= _POINTS_OF_A_BLOCK:
                fitted = _fine(fixed, grid.geometry, moving, moving_on, points[block], movement, turn=False)
                shifts.append((fitted.shift - movement.shift) @ grid.geometry.directions[:, 1:])
    return float(np.sqrt(np.mean(np.square(shifts)))) if shifts else float("nan")


def _at(array: Array, indices: FloatArray) -> FloatArray:
    values: FloatArray = ndimage.map_coordinates(array, indices.T, np.float64, order=1, mode="nearest")
    return values
