"""Where voxels lie in the patient: affines in LPS millimetres, and the canonical axis order.

LPS is DICOM's patient coordinate system (PS3.3 C.7.6.2.1.1): x grows to the patient's left, y to the back, z to
the head. An index is always (slice, row, column).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Geometry:
    """The grid of one volume.

    Parameters
    ----------
    affine : ndarray of float64, shape (4, 4)
        From (slice, row, column, 1) to LPS in mm: the centre of the voxel.
    shape : tuple of int
        Slices, rows, columns.
    frame_of_reference : str
        Frame of Reference UID; positions are comparable only where it is the same.
    """

    affine: FloatArray
    shape: tuple[int, int, int]
    frame_of_reference: str

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbouring voxel centres along slices, rows, columns, in mm."""
        k, j, i = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(k), float(j), float(i)

    @property
    def directions(self) -> FloatArray:
        """Unit vectors in LPS as columns: along slices, rows (downwards), columns (rightwards). Shape (3, 3)."""
        unit: FloatArray = self.affine[:3, :3] / np.linalg.norm(self.affine[:3, :3], axis=0)
        return unit

    @property
    def voxel_mm3(self) -> float:
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    def to_lps(self, indices: npt.ArrayLike) -> FloatArray:
        """Return the LPS positions in mm, shape (..., 3), of `indices`, shape (..., 3); fractions are allowed."""
        points = np.asarray(indices, np.float64)
        mapped: FloatArray = points @ self.affine[:3, :3].T + self.affine[:3, 3]
        return mapped

    def to_index(self, points_mm: npt.ArrayLike) -> FloatArray:
        """Return the (fractional) indices, shape (..., 3), of LPS positions in mm, shape (..., 3)."""
        offset = np.asarray(points_mm, np.float64) - self.affine[:3, 3]
        mapped: FloatArray = offset @ np.linalg.inv(self.affine[:3, :3]).T
        return mapped


@dataclass(frozen=True, slots=True)
class CanonicalAxes:
    """How to turn an array into canonical order, and back.

    Canonical order: axis 0 runs to the head, axis 1 to the back, axis 2 to the patient's left, each by the
    nearest patient axis. In it "left" is a matter of index, whatever the orientation of the acquisition was.
    """

    order: tuple[int, int, int]  # canonical axis -> axis of the acquisition
    flipped: tuple[bool, bool, bool]  # per canonical axis

    @classmethod
    def of(cls, geometry: Geometry) -> "CanonicalAxes":
        """Return the axes that `geometry` needs."""
        toward = geometry.directions[[2, 1, 0]]  # rows: head, back, left; columns: slice, row, column axis
        remaining = [0, 1, 2]
        order = [0, 0, 0]
        for canonical in np.argsort(-np.abs(toward).max(axis=1)):  # the clearest axis first: no axis twice
            best = max(remaining, key=lambda axis: abs(toward[canonical, axis]))
            order[canonical] = best
            remaining.remove(best)
        head, back, left = order
        return cls(
            (head, back, left), (bool(toward[0, head] < 0), bool(toward[1, back] < 0), bool(toward[2, left] < 0))
        )

    def apply(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return a view of `array` in canonical order."""
        return array.transpose(self.order)[self._steps]

    def undo(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return a view of a canonical `array` in the order of the acquisition."""
        return array[self._steps].transpose(np.argsort(self.order).tolist())

    @property
    def _steps(self) -> tuple[slice, ...]:
        return tuple(slice(None, None, -1) if flipped else slice(None) for flipped in self.flipped)

    def apply_to(self, geometry: Geometry) -> Geometry:
        """Return the geometry of the canonical view."""
        affine = geometry.affine.copy()
        affine[:3, :3] = geometry.affine[:3, list(self.order)]
        shape = (geometry.shape[self.order[0]], geometry.shape[self.order[1]], geometry.shape[self.order[2]])
        for axis in range(3):
            if self.flipped[axis]:
                affine[:3, 3] += affine[:3, axis] * (shape[axis] - 1)
                affine[:3, axis] *= -1
        return Geometry(affine, shape, geometry.frame_of_reference)


def nearest_plane(normal: Sequence[float]) -> str:
    """Return which of the patient's planes is nearest to the one with that normal: "axial", "sagittal", "coronal"."""
    return ("sagittal", "coronal", "axial")[int(np.argmax(np.abs(normal)))]
