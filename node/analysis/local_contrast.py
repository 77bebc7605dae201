"""Local contrast, which registration compares: signal less its surroundings, in units of how it varies nearby."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from node.analysis.grid import Grid, smooth
from node.dicom.geometry import FloatArray, Geometry
from node.ports import Array


@dataclass(frozen=True, slots=True)
class Level:
    """One resolution of the fit; lengths in mm. Tuned on one seed of the bench, 2026-11-26."""

    pixel_mm: float
    surroundings_mm: float  # less which the signal is taken
    variation_mm: float  # over which its variation is taken
    cube_mm: float  # within which one contrast is a multiple of the other
    points: int
    blur_slices: float  # along thick slices, whose detail is aliased: it draws a fit to whole slices
    turns: int = 15


@dataclass(frozen=True, slots=True, eq=False)
class LocalContrast:
    """Local contrast on a grid; `spline` are its cubic coefficients, where they are worth their price."""

    values: Array
    geometry: Geometry
    spline: Array | None

    @classmethod
    def of(cls, grid: Grid, level: Level, *, cubic: bool = False) -> "LocalContrast":
        """Return the signal less its surroundings, over how much that varies nearby: coil shading is gone from it.

        In units of the surrounding signal instead, muscle that enhances moved every edge beside fat towards it, and the
        fit by 0.1 mm within the planes and 0.25 mm along 4 mm slices; in units of its own variation, 0.01 and 0.1 mm.
        """
        signal, geometry = _shrunk(grid, level.pixel_mm)
        spacing_mm = geometry.spacing_mm
        _, back, left = (0.8 * level.pixel_mm / step for step in spacing_mm)
        near: Array = ndimage.gaussian_filter(signal, (level.blur_slices, back, left))
        values = near - smooth(near, level.surroundings_mm, spacing_mm)
        variation = np.sqrt(smooth(np.square(values), level.variation_mm, spacing_mm))
        values /= variation + np.float32(0.1 * np.median(variation[variation > variation.mean()]) + 1e-9)
        spline = ndimage.spline_filter(values, order=3, output=np.float32, mode="mirror") if cubic else None
        return cls(values, geometry, spline)

    def at(self, indices: FloatArray) -> FloatArray:
        """Return the contrast at fractional indices, shape (n, 3), by cubic B-splines where there are any."""
        array, order = (self.values, 1) if self.spline is None else (self.spline, 3)
        values: FloatArray = ndimage.map_coordinates(
            array, indices.T, np.float64, order=order, prefilter=False, mode="mirror"
        )
        return values

    def with_slope(self, indices: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the contrast and its slopes, per mm of LPS, at fractional indices."""
        values, slope = _with_slope(self.values, indices)
        if self.spline is not None:
            values = self.at(indices)
        return values, slope @ np.linalg.inv(self.geometry.affine[:3, :3])

    def holds(self, indices: FloatArray) -> npt.NDArray[np.bool_]:
        """Return which of fractional indices lie between the middles of its outermost voxels."""
        last = np.array(self.values.shape) - 1
        return np.asarray(((indices >= 0) & (indices <= last)).all(axis=1))


def _shrunk(grid: Grid, pixel_mm: float) -> tuple[Array, Geometry]:
    """Return means of blocks of voxels, about `pixel_mm` wide; thick slices stay as they are."""
    sizes = zip(grid.signal.shape, grid.spacing_mm, strict=True)
    factors = [max(1, min(round(pixel_mm / step), size)) for size, step in sizes]
    depth, rows, columns = (size // factor for size, factor in zip(grid.signal.shape, factors, strict=True))
    k, j, i = factors
    used = grid.signal[: depth * k, : rows * j, : columns * i]
    means: Array = used.reshape(depth, k, rows, j, columns, i).mean(axis=(1, 3, 5), dtype=np.float32)
    affine = grid.geometry.affine.copy()
    affine[:3, 3] = grid.geometry.to_lps([(factor - 1) / 2 for factor in factors])
    affine[:3, :3] *= factors
    return means, Geometry(affine, (depth, rows, columns), grid.geometry.frame_of_reference)


def _with_slope(array: Array, indices: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return values and slopes, per voxel along each axis, of an array at fractional indices, interpolated linearly."""
    size = np.array(array.shape)
    base = np.clip(np.floor(indices).astype(np.int64), 0, np.maximum(size - 2, 0))
    z, y, x = np.clip(indices - base, 0, 1).T
    step = np.minimum(size - 1, 1) * np.array([size[1] * size[2], size[2], 1])
    first = np.ravel_multi_index(tuple(base.T), array.shape)
    flat = array.ravel()
    corners = np.stack([flat[first + np.array([k, j, i]) @ step] for k, j, i in np.ndindex(2, 2, 2)])
    corners = corners.astype(np.float64).reshape(2, 2, 2, len(indices))
    (near, far), across = corners[:, :, 0], corners[:, :, 1] - corners[:, :, 0]
    near, far = near + across[0] * x, far + across[1] * x  # along columns; each has two rows left
    by_row = np.stack([near[1] - near[0], far[1] - far[0]])
    low, high = near[0] + by_row[0] * y, far[0] + by_row[1] * y
    in_row = across[:, 0] + (across[:, 1] - across[:, 0]) * y
    slope = np.stack([high - low, by_row[0] + (by_row[1] - by_row[0]) * z, in_row[0] + (in_row[1] - in_row[0]) * z], 1)
    return low + (high - low) * z, slope
