"""Fitting: the movement under which the local contrast of one series lies best on that of another (Gauss-Newton)."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from node.analysis.local_contrast import Level, LocalContrast
from node.analysis.resampling import Movement, Slip
from node.dicom.geometry import FloatArray

_CONVERGED_MM, _CONVERGED_RAD = 1e-3, 1e-5
_SLIP_MM = 0.5  # expected of a slice, standard deviation per axis: decides where the images do not. Chosen
_POINTS_OF_A_SAMPLE = 4  # that tell the same; chosen


def fit(
    fixed: LocalContrast,
    moving: LocalContrast,
    points: FloatArray,
    start: Movement,
    level: Level,
    *,
    turning: bool = True,
    slipping: Slip | None = None,
) -> Movement | None:
    """Return the movement near `start` under which the contrast at `points` fits best; Huber weights.

    Parameters
    ----------
    points : ndarray, shape (n, 3)
        Of the fixed series, LPS mm.
    turning : bool
        Otherwise only the shift changes.
    slipping : Slip, optional
        A slip that changes with the movement, instead of that of `start`, which stays as it is.

    Returns
    -------
    Movement or None
        `start` itself if the fit led out of the moving series; None if at the start too few points lie in it.
    """
    wanted = fixed.at(fixed.geometry.to_index(points))
    cube = _cubes(points, level)
    shares = None if slipping is None else slipping.shares(points)
    movement = start if slipping is None else replace(start, slip=slipping)
    rigid = 6 if turning else 3  # parameters
    weight = np.ones(len(points))
    for turn in range(level.turns):
        places = movement.apply(points)
        indices = moving.geometry.to_index(places)
        inside = moving.holds(indices)
        if 2 * np.count_nonzero(inside) < len(points):
            return start if turn else None
        found, slope = moving.with_slope(indices)
        columns = [slope]
        if turning:
            columns.append(np.cross(places - movement.centre, slope))
        if slipping is not None and shares is not None:
            along = slope @ movement.rotation @ slipping.axes.T
            columns.append((shares[:, :, None] * along[:, None, :]).reshape(len(points), -1))
        used = weight * inside
        left = _unexplained(np.column_stack([*columns, found]), wanted, used, cube)
        change, error = left[:, :-1], left[:, -1]
        # Sums by einsum, not by the threads of a BLAS: the same bits every time.
        normal = np.einsum("ni,nj->ij", change * used[:, None], change)
        pull = -np.einsum("ni,n->i", change, used * error)
        if slipping is not None:
            held = _POINTS_OF_A_SAMPLE * (_spread(error[inside]) / _SLIP_MM) ** 2
            normal[rigid:, rigid:] += held * np.eye(len(pull) - rigid)
            pull[rigid:] -= held * slipping.shifts.ravel()
        step = np.linalg.lstsq(normal, pull, rcond=None)[0]
        error = error + np.einsum("ni,i->n", change, step)
        weight = 1 / np.maximum(1.0, np.abs(error) / max(1.5 * _spread(error[inside]), 1e-9))
        shift, angles = step[:3], step[3:6] if turning else np.zeros(3)
        if slipping is not None:
            slipping = replace(slipping, shifts=slipping.shifts + step[rigid:].reshape(slipping.shifts.shape))
        turned = Rotation.from_rotvec(angles).as_matrix()
        movement = Movement(
            turned @ movement.rotation, turned @ movement.shift + shift, movement.centre, slipping or movement.slip
        )
        if np.linalg.norm(shift) < _CONVERGED_MM and np.linalg.norm(angles) < _CONVERGED_RAD:
            break
    return movement


def _spread(errors: FloatArray) -> float:
    return 1.4826 * float(np.median(np.abs(errors)))


def misfit(fixed: LocalContrast, moving: LocalContrast, points: FloatArray, movement: Movement, level: Level) -> float:
    """Return the mean, over the points that lie in both, of what no multiple of one contrast explains of the other."""
    indices = moving.geometry.to_index(movement.apply(points))
    inside = moving.holds(indices)
    if 2 * np.count_nonzero(inside) < len(points):
        return float("inf")
    wanted = fixed.at(fixed.geometry.to_index(points))
    left = _unexplained(moving.at(indices)[:, None], wanted, inside.astype(np.float64), _cubes(points, level))
    return float(np.mean(np.abs(left[inside, 0])))


def _cubes(points: FloatArray, level: Level) -> npt.NDArray[np.intp]:
    cells = np.floor(points / level.cube_mm).astype(np.int64)
    cells -= cells.min(axis=0)
    cubes: npt.NDArray[np.intp] = np.ravel_multi_index(tuple(cells.T), tuple(cells.max(axis=0) + 1))
    return cubes


def _unexplained(columns: FloatArray, wanted: FloatArray, weight: FloatArray, cube: npt.NDArray[np.intp]) -> FloatArray:
    """Return what of each column no multiple of `wanted` plus a constant, cube by cube, explains."""
    total = np.maximum(np.bincount(cube, weight), 1e-9)
    base = wanted - (np.bincount(cube, weight * wanted) / total)[cube]
    # The second term keeps cubes without structure from any multiple at all.
    power = np.bincount(cube, weight * base * base) + 1e-3 * total * float(np.mean(np.square(wanted)))
    left = np.empty_like(columns)
    for number, column in enumerate(columns.T):
        centred = column - (np.bincount(cube, weight * column) / total)[cube]
        left[:, number] = centred - (np.bincount(cube, weight * centred * base) / power)[cube] * base
    return left
