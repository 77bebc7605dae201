"""Resampling: a series on the grid of another, in patient space."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from node.analysis.grid import Box, box_around, part
from node.analysis.itk import sitk
from node.dicom.geometry import FloatArray, Geometry
from node.ports import Array, Mask


@dataclass(frozen=True, slots=True, eq=False)
class Slip:
    """How slices lie beside one another, within their planes: of a patient who moved during a 2D series.

    Parameters
    ----------
    normal : ndarray, shape (3,)
        Of the slices, LPS.
    axes : ndarray, shape (2, 3)
        Within them.
    knots_mm : ndarray, shape (n,)
        Places along the normal, ascending; linear in between.
    shifts : ndarray, shape (n, 2)
        Along `axes`, in mm.
    """

    normal: FloatArray
    axes: FloatArray
    knots_mm: FloatArray
    shifts: FloatArray

    @property
    def size_mm(self) -> float:
        """The root mean square of the displacements."""
        return float(np.sqrt(np.square(self.shifts).sum(axis=1).mean()))

    @classmethod
    def none(cls, geometry: Geometry, axis: int, apart_mm: float) -> "Slip":
        """Return none yet, for slices of a grid along one of its axes, with knots about `apart_mm` apart."""
        normal, step_mm = geometry.directions[:, axis], geometry.spacing_mm[axis]
        first_mm = float(geometry.affine[:3, 3] @ normal) - step_mm / 2
        long_mm = geometry.shape[axis] * step_mm
        knots_mm = first_mm + np.linspace(0.0, long_mm, 1 + max(1, round(long_mm / apart_mm)))
        return cls(normal, np.delete(geometry.directions, axis, axis=1).T, knots_mm, np.zeros((len(knots_mm), 2)))

    def shares(self, points: FloatArray) -> FloatArray:
        """Return how much each knot counts at each point, shape (points, knots)."""
        step = self.knots_mm[1] - self.knots_mm[0]
        heights = np.clip(points @ self.normal, self.knots_mm[0], self.knots_mm[-1])
        shares: FloatArray = np.maximum(0.0, 1 - np.abs(heights[:, None] - self.knots_mm) / step)
        return shares

    def at(self, points: FloatArray) -> FloatArray:
        """Return the displacement of points, LPS mm, shape (..., 3)."""
        heights = points @ self.normal
        first, second = (np.interp(heights, self.knots_mm, column) for column in self.shifts.T)
        displaced: FloatArray = first[..., None] * self.axes[0] + second[..., None] * self.axes[1]
        return displaced


@dataclass(frozen=True, slots=True, eq=False)
class Movement:
    """A movement of points in LPS, in mm: x -> rotation (x + slip - centre) + centre + shift. Rigid without a slip."""

    rotation: FloatArray
    shift: FloatArray
    centre: FloatArray
    slip: Slip | None = None

    @classmethod
    def none(cls, centre: FloatArray) -> "Movement":
        return cls(np.eye(3), np.zeros(3), centre)

    def apply(self, points: FloatArray) -> FloatArray:
        """Return the moved points, shape (..., 3)."""
        slipped = points if self.slip is None else points + self.slip.at(points)
        moved: FloatArray = (slipped - self.centre) @ self.rotation.T + self.centre + self.shift
        return moved

    def inverse(self) -> "Movement":
        """Return the way back, without the slip."""
        return Movement(self.rotation.T, -self.rotation.T @ self.shift, self.centre)

    @property
    def translation_mm(self) -> float:
        return float(np.linalg.norm(self.shift))

    @property
    def angle_deg(self) -> float:
        return float(np.degrees(np.arccos(np.clip((np.trace(self.rotation) - 1) / 2, -1, 1))))


def bring(moving: Array, geometry: Geometry, onto: Geometry, movement: Movement) -> tuple[Array, Mask]:
    """Return `moving`, which lies on `geometry`, on the grid `onto`; and where it has values there.

    `movement` takes points of `onto` to those of `moving`. Cubic B-splines: linear interpolation would blur one series
    of a pair and not the other, and every edge would enhance.
    """
    signal = _resample(moving, geometry, onto, movement, sitk.sitkBSpline)
    covered = _resample(np.ones(moving.shape, np.float32), geometry, onto, movement, sitk.sitkNearestNeighbor) > 0
    return np.clip(signal, moving.min(), moving.max()), covered


def bring_mask(mask: Mask, geometry: Geometry, onto: Geometry, movement: Movement) -> Mask:
    """Return `mask`, which lies on `geometry`, on the grid `onto`: the voxels that are at least half inside."""
    brought = np.zeros(onto.shape, bool)
    if mask.any():
        source = box_around(mask, geometry.spacing_mm, max(geometry.spacing_mm))
        target = _reached(part(geometry, source), onto, movement)
        if all(one.start < one.stop for one in target):
            share = bring_share(mask[source], part(geometry, source), part(onto, target), movement)
            brought[target] = share >= 0.5
    return brought


def _reached(source: Geometry, onto: Geometry, movement: Movement) -> Box:
    """Return the box of `onto` outside of which no voxel comes from the grid `source`."""
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(source.shape) + 1) - 1
    places = onto.to_index(movement.inverse().apply(source.to_lps(corners)))
    slip_mm = 0.0 if movement.slip is None else float(np.abs(movement.slip.shifts).sum(axis=-1).max())
    margin = np.ceil(slip_mm / np.array(onto.spacing_mm)) + 1
    low, high = np.floor(places.min(axis=0) - margin), np.ceil(places.max(axis=0) + margin) + 1
    head, back, left = (
        slice(int(np.clip(first, 0, size)), int(np.clip(last, 0, size)))
        for first, last, size in zip(low, high, onto.shape, strict=True)
    )
    return head, back, left


def bring_share(
    mask: Mask, geometry: Geometry, onto: Geometry, movement: Movement, *, outside: float = 0.0
) -> Array:  # fmt: skip
    """Return how much of each voxel of `onto` lies in `mask`, seen from its middle; `outside` beyond `geometry`."""
    return _resample(mask.astype(np.float32), geometry, onto, movement, sitk.sitkLinear, outside)


def to_image(array: npt.NDArray[np.generic], geometry: Geometry) -> Any:
    """Return an array as an image in patient space; SimpleITK names the axes the other way round."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(array))
    image.SetOrigin(geometry.affine[:3, 3].tolist())
    image.SetSpacing(geometry.spacing_mm[::-1])
    image.SetDirection(geometry.directions[:, ::-1].ravel().tolist())
    return image


def _resample(
    array: Array, geometry: Geometry, onto: Geometry, movement: Movement, interpolator: int, outside: float = 0.0
) -> Array:
    transform = sitk.AffineTransform(3)
    transform.SetCenter(movement.centre.tolist())
    transform.SetMatrix(movement.rotation.ravel().tolist())
    transform.SetTranslation(movement.shift.tolist())
    resampler = sitk.ResampleImageFilter()
    resampler.SetNumberOfThreads(2)  # each voxel by itself: the same bits with any number
    resampler.SetSize([int(n) for n in onto.shape[::-1]])
    resampler.SetOutputOrigin(onto.affine[:3, 3].tolist())
    resampler.SetOutputSpacing(onto.spacing_mm[::-1])
    resampler.SetOutputDirection(onto.directions[:, ::-1].ravel().tolist())
    resampler.SetTransform(transform if movement.slip is None else _slipped(transform, movement.slip, onto))
    resampler.SetInterpolator(interpolator)
    resampler.SetDefaultPixelValue(outside)
    resampled: Array = sitk.GetArrayFromImage(resampler.Execute(to_image(array, geometry)))
    return resampled


def _slipped(transform: Any, slip: Slip, onto: Geometry) -> Any:
    """Return a transform that moves points by the slip first."""
    axis = int(np.argmax(np.abs(slip.normal @ onto.directions)))
    # The slip changes along the normal alone: within the slices two places, just outside the grid, are enough.
    counts, starts, steps = ([2, 2, 2], [-1.0, -1.0, -1.0], [count + 1 for count in onto.shape])
    counts[axis], starts[axis], steps[axis] = onto.shape[axis], 0.0, 1
    affine = onto.affine.copy()
    affine[:3, 3] = onto.to_lps(starts)
    affine[:3, :3] *= steps
    field = Geometry(affine, (counts[0], counts[1], counts[2]), onto.frame_of_reference)
    places = field.to_lps(np.moveaxis(np.indices(field.shape), 0, -1))
    displaced = sitk.GetImageFromArray(slip.at(places), isVector=True)
    displaced.CopyInformation(to_image(np.zeros(field.shape, np.float32), field))
    both = sitk.CompositeTransform(3)
    both.AddTransform(transform)
    both.AddTransform(sitk.DisplacementFieldTransform(displaced))  # the last one is applied first
    return both
