"""Stillness: the time points of a dynamic series, brought to where the patient lay at the last one, where he moved.

Registration takes seconds; a dynamic series has dozens of time points, and the patient mostly lies still. So a cheap
estimate of the movement within the slices comes first, on a few of them. What moves only along the back is not seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from node.analysis.body import body_mask
from node.analysis.grid import Grid, box_around, smooth_in_plane
from node.analysis.pairing import back_region, check_movement
from node.analysis.registration import align
from node.analysis.resampling import Movement, bring
from node.dicom.volumes import Volume
from node.ports import Array
from node.settings import AnalysisSettings

_SLICES, _VOXELS = 6, 15_000  # that are looked at; chosen
_NEAR_MM, _AROUND_MM = 1.0, 5.0  # of the local contrast; chosen
_TURNS = 3  # of the estimate: movements of a few pixels are too long for a single step
_MOST_REGISTRATIONS = 12  # half a minute or so; a patient who moved more often is not followed. Chosen


@dataclass(frozen=True, slots=True, eq=False)
class Still:
    """Time points on the grid of the last one, as acquired.

    Parameters
    ----------
    kept : tuple of int
        Which of them fit, in order; the last one always.
    arrays : tuple of ndarray
        Their signals; NaN where a time point that was brought back does not reach.
    moved : int
        How many had to be brought back.
    """

    kept: tuple[int, ...]
    arrays: tuple[npt.NDArray[np.float32], ...]
    moved: int


def hold_still(points: Sequence[Volume], settings: AnalysisSettings) -> Still:
    """Return the time points as if the patient had lain still; those that cannot be brought back are left out."""
    last = Grid.of(points[-1])
    region = back_region(body_mask(last.signal, last.spacing_mm), last.spacing_mm)
    found = [(len(points) - 1, points[-1].array)]
    if not region.any():
        return Still((len(points) - 1,), (points[-1].array,), 0)
    look = _Look.at(last, region)
    movement: Movement | None = None
    registrations, moved = 0, 0
    for number in range(len(points) - 2, -1, -1):  # backwards: neighbours lie alike
        point = points[number]
        if look.drift_mm(last.axes.apply(point.array)) <= settings.good_residual_mm:
            found.append((number, point.array))
            continue
        grid = Grid.of(point)
        signal = None if movement is None else _brought(grid, last, movement)
        if signal is None or look.drift_mm(signal) > settings.good_residual_mm:
            if registrations == _MOST_REGISTRATIONS:
                continue
            registrations += 1
            alignment = align(last, grid, region, same_contrast=True)
            if alignment is None or check_movement(alignment, settings).refused:
                continue
            movement = alignment.movement
            signal = _brought(grid, last, movement)
            if look.drift_mm(signal) > settings.good_residual_mm:
                continue
        found.append((number, last.as_acquired(signal, np.nan)))
        moved += 1
    found.reverse()
    return Still(tuple(number for number, _array in found), tuple(array for _number, array in found), moved)


def _brought(point: Grid, last: Grid, movement: Movement) -> Array:
    """Return a time point on the grid of the last one, NaN where it does not reach: its ends were never imaged."""
    signal, covered = bring(point.signal, point.geometry, last.geometry, movement)
    return np.where(covered, signal, np.float32(np.nan))


@dataclass(frozen=True, slots=True, eq=False)
class _Look:
    """A few axial planes of the region that must not move, and how their contrast changes with a shift."""

    planes: npt.NDArray[np.intp]
    rows: slice
    columns: slice
    spacing_mm: tuple[float, float, float]
    voxels: tuple[npt.NDArray[np.intp], ...]
    contrast: Array

    @classmethod
    def at(cls, grid: Grid, region: npt.NDArray[np.bool_]) -> "_Look":
        slices, rows, columns = box_around(region, grid.spacing_mm, 0.0)
        planes = np.unique(np.linspace(slices.start, slices.stop - 1, _SLICES).round().astype(int))
        voxels = np.argwhere(region[planes, rows, columns])
        voxels = voxels[:: max(1, len(voxels) // _VOXELS)]
        part = np.ascontiguousarray(grid.signal[planes, rows, columns])
        return cls(planes, rows, columns, grid.spacing_mm, tuple(voxels.T), _contrast(part, grid.spacing_mm))

    def drift_mm(self, signal: Array) -> float:
        """Return how far a signal on the same grid lies beside the first one, within the planes; inf if it shows none.

        By least squares of the local contrast (Lucas and Kanade 1981), which may be any multiple of the other one; what
        enhances is an outlier, and weighs little.
        """
        planes = np.ascontiguousarray(signal[self.planes, self.rows, self.columns])
        there = np.isfinite(planes[self.voxels])
        if not there.any():
            return float("inf")
        voxels = tuple(axis[there] for axis in self.voxels)
        other = _contrast(np.nan_to_num(planes), self.spacing_mm)
        down, right = (np.gradient(other, axis=axis)[voxels] / self.spacing_mm[axis] for axis in (1, 2))
        wanted, found = self.contrast[voxels], other[voxels]
        columns = np.stack([down, right, -wanted, -np.ones_like(wanted)], axis=1).astype(np.float64)
        weight = np.ones(len(columns))
        step = np.zeros(4)
        for _ in range(_TURNS):
            weighted = columns * weight[:, None]
            normal = np.einsum("ni,nj->ij", weighted, columns)
            step = np.linalg.lstsq(normal, -np.einsum("ni,n->i", weighted, found), rcond=None)[0]
            error = np.abs(found + columns @ step)
            weight = 1 / np.maximum(1.0, error / max(2.0 * float(np.median(error)), 1e-9))
        return float(np.hypot(step[0], step[1]))


def _contrast(planes: Array, spacing_mm: tuple[float, float, float]) -> Array:
    """Return the signal over that of its surroundings, less one."""
    near = smooth_in_plane(planes, _NEAR_MM, spacing_mm)
    around = smooth_in_plane(planes, _AROUND_MM, spacing_mm)
    contrast: Array = (near - around) / (around + np.float32(0.1) * around.mean() + np.float32(1e-6))
    return contrast
