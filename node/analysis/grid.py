"""One volume in canonical order: the order in which all of the analysis works.

Canonical order is (head, back, left), see `dicom.geometry`: "left" is the upper end of the last axis, whatever the
orientation of the acquisition was. Only `regions` of the findings are turned back.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from node.dicom.geometry import CanonicalAxes, Geometry
from node.dicom.volumes import Volume
from node.ports import Array, Mask

_DARKER = np.float32(1.15)  # of muscle without fat the mean is 1.05 to 1.1 times that of its darker half. Chosen

Spacing = tuple[float, float, float]
Box = tuple[slice, slice, slice]


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """The signal of a volume, or of a part of it, in canonical order; its geometry in that order; and the way back.

    Parameters
    ----------
    signal : ndarray of float32
        In canonical order.
    geometry : Geometry
        Of `signal`.
    axes : CanonicalAxes
        How the volume was turned.
    box : tuple of slice
        The part of the turned volume that `signal` is.
    whole_shape : tuple of int
        The shape of the turned volume.
    """

    signal: Array
    geometry: Geometry
    axes: CanonicalAxes
    box: Box
    whole_shape: tuple[int, int, int]

    @classmethod
    def of(cls, volume: Volume) -> "Grid":
        """Return the whole of a volume."""
        axes = CanonicalAxes.of(volume.geometry)
        signal = np.ascontiguousarray(axes.apply(volume.array), dtype=np.float32)
        geometry = axes.apply_to(volume.geometry)
        head, back, left = geometry.shape
        return cls(signal, geometry, axes, (slice(0, head), slice(0, back), slice(0, left)), geometry.shape)

    @property
    def spacing_mm(self) -> Spacing:
        return self.geometry.spacing_mm

    @property
    def slices_along(self) -> int:
        """The axis along which the series was acquired, slice by slice."""
        return self.axes.order.index(0)

    def around(self, mask: Mask, margin_mm: float) -> "Grid":
        """Return the part that holds `mask`, with a margin; all of it if the mask is empty."""
        if not mask.any():
            return self
        inner = box_around(mask, self.spacing_mm, margin_mm)
        head, back, left = (
            slice(outer.start + one.start, outer.start + one.stop) for outer, one in zip(self.box, inner, strict=True)
        )
        signal = np.ascontiguousarray(self.signal[inner])
        return Grid(signal, part(self.geometry, inner), self.axes, (head, back, left), self.whole_shape)

    def as_acquired(self, array: npt.NDArray[Any], fill: float = 0) -> npt.NDArray[Any]:
        """Return an array on this grid on that of the whole volume, in the order of its acquisition."""
        return np.ascontiguousarray(self.axes.undo(whole(self.box, array, self.whole_shape, fill)))


def part(geometry: Geometry, box: Box) -> Geometry:
    """Return the geometry of the voxels in `box`."""
    affine = geometry.affine.copy()
    affine[:3, 3] = geometry.to_lps([one.start for one in box])
    head, back, left = (one.stop - one.start for one in box)
    return Geometry(affine, (head, back, left), geometry.frame_of_reference)


def box_around(mask: Mask, spacing_mm: Spacing, margin_mm: float) -> Box:
    """Return the smallest box that holds `mask` and `margin_mm` around it, within the array."""
    bounds = []
    for axis, step in enumerate(spacing_mm):
        used = np.nonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))[0]
        margin = int(np.ceil(margin_mm / step))
        bounds.append(slice(max(0, int(used[0]) - margin), min(mask.shape[axis], int(used[-1]) + 1 + margin)))
    return bounds[0], bounds[1], bounds[2]


def whole(box: Box, inside: npt.NDArray[Any], shape: tuple[int, ...], fill: float = 0) -> npt.NDArray[Any]:
    """Return an array of `shape` that holds `inside` in `box` and `fill` elsewhere."""
    array = np.full(shape, fill, inside.dtype)
    array[box] = inside
    return array


def smooth(volume: npt.NDArray[Any], sigma_mm: float, spacing_mm: Spacing) -> Array:
    """Return `volume` under a Gaussian that is 0.7 as wide along the slices, which are thick (docs/analysis.md)."""
    head, back, left = (sigma_mm / step for step in spacing_mm)
    smoothed: Array = ndimage.gaussian_filter(volume.astype(np.float32, copy=False), (0.7 * head, back, left))
    return smoothed


def smooth_in_plane(volume: Array, sigma_mm: float, spacing_mm: Spacing) -> Array:
    """Return `volume` under a Gaussian within the axial planes alone."""
    _, back, left = (sigma_mm / step for step in spacing_mm)
    smoothed: Array = ndimage.gaussian_filter(volume, (0.0, back, left))
    return smoothed


def smooth_coarsely(
    volume: Array, sigma_mm: float, spacing_mm: Spacing, blur: Callable[[Array, float, Spacing], Array] = smooth
) -> Array:
    """Return `blur`, computed on every second row and column: a fifth of the time, for a Gaussian of several voxels."""
    rows, columns = volume.shape[1:]
    padded = np.pad(volume, ((0, 0), (0, rows % 2), (0, columns % 2)), mode="edge")
    halved = (padded[:, ::2, ::2] + padded[:, 1::2, ::2] + padded[:, ::2, 1::2] + padded[:, 1::2, 1::2]) / np.float32(4)
    smoothed = blur(halved, sigma_mm, (spacing_mm[0], 2 * spacing_mm[1], 2 * spacing_mm[2]))
    return smoothed.repeat(2, axis=1).repeat(2, axis=2)[:, :rows, :columns]


def masked_mean(volume: Array, mask: Mask, blur: Callable[[Array], Array]) -> Array:
    """Return the local mean, under `blur`, of the voxels of `volume` in `mask`."""
    share = blur(mask.astype(np.float32))
    mean: Array = blur(np.where(mask, volume, np.float32(0))) / np.maximum(share, np.float32(1e-4) * share.max() + 1e-9)
    return mean


def muscle_level(volume: Array, muscle: Mask, blur: Callable[[Array], Array]) -> Array:
    """Return the local signal of muscle that may hold fat: the mean, at most 1.15 times that of what lies below it.

    Where half of the muscle is fat the mean alone is 1.7 times muscle: a lesion, and muscle itself, was then taken for
    bone, and 1 of 6 weak foci of 12 mm was lost (simulated contrast, 2026-11-26). Without fat nothing changes.
    """
    mean = masked_mean(volume, muscle, blur)
    darker = muscle & (volume < np.float32(1.01) * mean)  # all of it, where all is alike
    level: Array = np.minimum(mean, _DARKER * masked_mean(volume, darker, blur))
    return level


def ball(radius_mm: float, spacing_mm: Spacing) -> Mask:
    """Return the voxels within `radius_mm` of the middle one, as a structuring element."""
    reach = [int(radius_mm / step + 1e-6) for step in spacing_mm]
    offsets = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij"), axis=-1) * spacing_mm
    inside: Mask = np.linalg.norm(offsets, axis=-1) <= radius_mm + 1e-6
    return inside


def grown(mask: Mask, radius_mm: float, spacing_mm: Spacing) -> Mask:
    """Return the voxels within `radius_mm` of `mask`, itself among them."""
    near = np.zeros_like(mask)
    if mask.any():
        box = box_around(mask, spacing_mm, radius_mm)
        near[box] = ndimage.distance_transform_edt(~mask[box], sampling=spacing_mm) <= radius_mm
    return near


def disk(radius_mm: float, spacing_mm: Spacing) -> Mask:
    """Return `ball` within one axial plane."""
    return ball(radius_mm, (2 * radius_mm + 1, spacing_mm[1], spacing_mm[2]))
