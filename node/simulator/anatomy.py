"""Anatomy: which tissues every voxel of a grid holds; and the bodies it is sampled from."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from node.dicom.geometry import Geometry
from node.simulator.canvas import Canvas, Labels, Point
from node.simulator.phantom import paint_phantom, plexus_mm
from node.simulator.physics import Array, Image, SmoothField
from node.simulator.tissues import Label

# Six places in every voxel, as shares of it along slices, rows and columns. Each axis is cut six times, so an edge
# along any axis yields seven steps of partial volume where a 2 x 2 x 2 pattern would yield three.
_PLACES = (np.array([(0, 3, 1), (1, 0, 4), (2, 5, 2), (3, 1, 5), (4, 4, 0), (5, 2, 3)]) + 0.5) / 6 - 0.5
_GRAIN = 0.025  # of proton density, standard deviation as a share: tissue is never even; chosen


@dataclass(frozen=True, slots=True, eq=False)
class Anatomy:
    """What the voxels of one grid are made of.

    Parameters
    ----------
    geometry : Geometry
        Where the voxels lie in the scanner.
    labels : ndarray of uint8, shape (6, slices, rows, columns)
        The tissue at six places in every voxel: the voxel is their mixture.
    affines : tuple of ndarray
        For each of the six: from (slice, row, column, 1) to body coordinates.
    water, fat : ndarray of float32, shape (slices, rows, columns)
        Factors on the proton densities of the tissue table; of real images (`measured`), the densities themselves.
    measured : bool
        Whether `water` and `fat` come from real images.
    """

    geometry: Geometry
    labels: Labels
    affines: tuple[Array, ...]
    water: Image
    fat: Image
    measured: bool

    def share(self, *labels: int) -> Image:
        """Return how much of every voxel bears one of `labels`, 0 to 1."""
        return self.mix(np.isin(np.arange(256), labels).astype(np.float32))

    def mix(self, per_label: npt.NDArray[np.float32]) -> Image:
        """Return the mean over every voxel of a value per label."""
        total = per_label[self.labels[0]]
        for part in self.labels[1:]:
            total += per_label[part]
        mean: Image = total / np.float32(len(self.labels))
        return mean


@dataclass(frozen=True, slots=True)
class Box:
    """A box in body coordinates, LPS mm."""

    low: Point
    high: Point

    @classmethod
    def around(cls, points: Array) -> "Box":
        """Return the smallest box that holds `points`, shape (n, 3)."""
        low, high = points.min(axis=0).tolist(), points.max(axis=0).tolist()
        return cls((low[0], low[1], low[2]), (high[0], high[1], high[2]))

    @property
    def centre(self) -> Array:
        centre: Array = np.add(self.low, self.high) / 2
        return centre

    @property
    def size(self) -> Array:
        size: Array = np.subtract(self.high, self.low)
        return size


class Body(Protocol):
    """A patient who can be put into the scanner."""

    @property
    def field_of_view(self) -> Box:
        """What an image shows in its plane."""
        ...

    @property
    def muscles(self) -> Box:
        """What a stack of images covers across its planes."""
        ...

    @property
    def pixel_mm(self) -> float: ...

    @property
    def slice_mm(self) -> float: ...

    def sample(self, geometry: Geometry, to_body: Array) -> Anatomy:
        """Return the anatomy on a grid; `to_body` takes LPS positions in the scanner to body coordinates."""
        ...

    def plexus_mm(self, side: float, z: float) -> Point:
        """Return a place of the paravertebral venous plexus of a side (1 left, -1 right) at height `z`."""
        ...


@dataclass(frozen=True, slots=True)
class Phantom:
    """The built-in digital phantom of the lumbar spine.

    `muscle_fat` is the share of the posterior muscles that streaks of fat replace; `seed` decides where.
    """

    seed: int
    muscle_fat: float
    field_of_view: Box = Box((-160, -153, -128), (160, 103, 128))
    muscles: Box = Box((-78, 20, -48), (78, 72, 48))
    pixel_mm: float = 1.0
    slice_mm: float = 4.0

    def sample(self, geometry: Geometry, to_body: Array) -> Anatomy:
        """Return the anatomy on a grid; see `Body`."""
        rng = np.random.default_rng([self.seed, 1])
        streaks = SmoothField.random(rng, wavelength_mm=18)
        grain = SmoothField.random(rng, wavelength_mm=14)
        affines = places_in_voxels(geometry, to_body)
        labels = np.full((len(affines), *geometry.shape), Label.AIR, np.uint8)
        paint_phantom(Canvas(labels, affines), streaks, muscle_fat=self.muscle_fat)
        density = 1 + np.float32(_GRAIN) * grain.on(to_body @ geometry.affine, geometry.shape)
        return Anatomy(geometry, labels, affines, density, density, measured=False)

    def plexus_mm(self, side: float, z: float) -> Point:
        """Return a place of the ascending lumbar vein."""
        return plexus_mm(side, z)


def places_in_voxels(geometry: Geometry, to_body: Array) -> tuple[Array, ...]:
    """Return, for each of the six places in a voxel, the affine from indices to body coordinates."""
    affines = []
    for place in _PLACES:
        shift = np.eye(4)
        shift[:3, 3] = place
        affines.append(to_body @ geometry.affine @ shift)
    return tuple(affines)
