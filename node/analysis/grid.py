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

Spacing = tuple[float, float, float]
Box = tuple[slice, slice, slice]


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """The signal of a volume in canonical order, its geometry in that order, and the way back."""

    signal: Array
    geometry: Geometry
    axes: CanonicalAxes

    @classmethod
    def of(cls, volume: Volume) -> "Grid":
        axes = CanonicalAxes.of(volume.geometry)
        signal = np.ascontiguousarray(axes.apply(volume.array), dtype=np.float32)
        return cls(signal, axes.apply_to(volume.geometry), axes)

    @property
    def spacing_mm(self) -> Spacing:
        return self.geometry.spacing_mm


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


def whole(box: Box, inside: npt.NDArray[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Return an array of `shape` that holds `inside` in `box` and zeros elsewhere."""
    array = np.zeros(shape, inside.dtype)
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


def masked_mean(volume: Array, mask: Mask, blur: Callable[[Array], Array]) -> Array:
    """Return the local mean, under `blur`, of the voxels of `volume` in `mask`."""
    share = blur(mask.astype(np.float32))
    mean: Array = blur(np.where(mask, volume, np.float32(0))) / np.maximum(share, np.float32(1e-4) * share.max() + 1e-9)
    return mean


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
