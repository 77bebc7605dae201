"""Resampling: a series on the grid of another, in patient space."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from node.analysis.itk import sitk
from node.dicom.geometry import FloatArray, Geometry
from node.ports import Array, Mask


@dataclass(frozen=True, slots=True, eq=False)
class Movement:
    """A rigid movement of points in LPS, in mm: x -> rotation (x - centre) + centre + shift."""

    rotation: FloatArray
    shift: FloatArray
    centre: FloatArray

    @classmethod
    def none(cls, centre: FloatArray) -> "Movement":
        return cls(np.eye(3), np.zeros(3), centre)

    def apply(self, points: FloatArray) -> FloatArray:
        """Return the moved points, shape (..., 3)."""
        moved: FloatArray = (points - self.centre) @ self.rotation.T + self.centre + self.shift
        return moved

    def inverse(self) -> "Movement":
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
    return _resample(mask.astype(np.float32), geometry, onto, movement, sitk.sitkLinear) >= 0.5


def to_image(array: npt.NDArray[np.generic], geometry: Geometry) -> Any:
    """Return an array as an image in patient space; SimpleITK names the axes the other way round."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(array))
    image.SetOrigin(geometry.affine[:3, 3].tolist())
    image.SetSpacing(geometry.spacing_mm[::-1])
    image.SetDirection(geometry.directions[:, ::-1].ravel().tolist())
    return image


def _resample(array: Array, geometry: Geometry, onto: Geometry, movement: Movement, interpolator: int) -> Array:
    transform = sitk.AffineTransform(3)
    transform.SetCenter(movement.centre.tolist())
    transform.SetMatrix(movement.rotation.ravel().tolist())
    transform.SetTranslation(movement.shift.tolist())
    resampler = sitk.ResampleImageFilter()
    resampler.SetNumberOfThreads(1)
    resampler.SetSize([int(n) for n in onto.shape[::-1]])
    resampler.SetOutputOrigin(onto.affine[:3, 3].tolist())
    resampler.SetOutputSpacing(onto.spacing_mm[::-1])
    resampler.SetOutputDirection(onto.directions[:, ::-1].ravel().tolist())
    resampler.SetTransform(transform)
    resampler.SetInterpolator(interpolator)
    resampled: Array = sitk.GetArrayFromImage(resampler.Execute(to_image(array, geometry)))
    return resampled
