"""A body known from real water and fat images with muscle labels, read from NIfTI files."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from node.dicom.geometry import CanonicalAxes, Geometry
from node.errors import SimulatorError
from node.simulator.anatomy import Anatomy, Box, places_in_voxels
from node.simulator.canvas import Labels, Point
from node.simulator.physics import Array, Image
from node.simulator.tissues import Label

_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_WHOLE_ON_ONE_SIDE = 0.8  # of a label's voxels; chosen: below that the label holds both sides
_FAT_DENSITY = 0.9  # of pure fat against the water of muscle; chosen
_NEAR_MUSCLE_PIXELS = 12  # where the coil sees fat and muscle about alike; chosen
# The window of `_lean_back`: tables of muscle depth and width in docs/analysis.md, rounded outwards; chosen.
_SKIN_MM, _BACK_MM, _MIDLINE_MM, _HALF_BACK_MM = 5.0, 75.0, 4.0, 80.0
_LEAN = 2.0  # times as much water as fat; chosen
_BODY_SHARE = 0.12  # of the typical muscle signal; chosen: air was 0 in the images at hand


@dataclass(frozen=True, slots=True, eq=False)
class ImagedBody:
    """A body in canonical order (axes to the head, the back, the left); body coordinates are those of its file.

    Parameters
    ----------
    labels : ndarray of uint8
        Left and right posterior paraspinal muscle, other tissue, air.
    water, fat : ndarray of float32, shape of `labels`
        Proton densities: 1 is the water of the muscle; pure fat near the muscle has 0.9. The weighting of the source
        is taken out by these two numbers alone; the shading of its coil stays in.
    geometry : Geometry
        The grid.
    """

    labels: Labels
    water: Image
    fat: Image
    geometry: Geometry

    @property
    def field_of_view(self) -> Box:
        return Box.around(self.geometry.to_lps(np.array([np.full(3, -0.5), np.subtract(self.geometry.shape, 0.5)])))

    @property
    def muscles(self) -> Box:
        where = np.argwhere(np.isin(self.labels, (Label.LEFT_MUSCLE, Label.RIGHT_MUSCLE)))
        low, high = where.min(axis=0) - 0.5, where.max(axis=0) + 0.5
        low[0], high[0] = -0.5, self.geometry.shape[0] - 0.5  # the stack is the stack of the source
        return Box.around(self.geometry.to_lps([low, high]))

    @property
    def pixel_mm(self) -> float:
        return self.geometry.spacing_mm[2]

    @property
    def slice_mm(self) -> float:
        return self.geometry.spacing_mm[0]

    def sample(self, geometry: Geometry, to_body: Array) -> Anatomy:
        """Return the anatomy on a grid; see `Body`."""
        to_index = np.linalg.inv(self.geometry.affine) @ to_body @ geometry.affine
        water, fat = (resample(image, to_index, geometry.shape, order=1) for image in (self.water, self.fat))
        labels = resample(self.labels, to_index, geometry.shape, order=0)
        affines = places_in_voxels(geometry, to_body)
        return Anatomy(geometry, np.stack([labels] * len(affines)), affines, water, fat, measured=True)

    def plexus_mm(self, side: float, z: float) -> Point:
        """Return a place in front of a side's muscle, where the ascending lumbar vein is to be expected."""
        box = self.muscles
        return float(box.centre[0]) + side * 25, box.low[1] - 8, z


def resample(image: npt.NDArray[Any], to_index: Array, shape: tuple[int, ...], *, order: int) -> npt.NDArray[Any]:
    """Return `image` on another grid; `to_index` maps its indices to those of `image`. Its border goes on outside."""
    steps = np.round(to_index, 3)
    if np.array_equal(np.abs(steps[:3, :3]), np.eye(3)) and np.allclose(steps[:3, 3] % 1, 0):
        box = image[tuple(slice(None, None, int(steps[axis, axis])) for axis in range(3))]
        if box.shape == shape:
            return np.ascontiguousarray(box)
    resampled: npt.NDArray[Any] = ndimage.affine_transform(
        image, to_index[:3, :3], to_index[:3, 3], output_shape=shape, order=order, mode="nearest"
    )
    return resampled


def read_body(water: Path, fat: Path, labels: Path | None = None, *, muscle_labels: tuple[int, ...] = ()) -> ImagedBody:
    """Return the body that NIfTI files of one grid show; the affine is that of the fat file.

    The side of each muscle follows from where it lies, never from its number. `muscle_labels` says which numbers
    are posterior paraspinal muscle; empty: all but 0. Without a label file the lean tissue behind the spine is taken
    for it: it is what will enhance like muscle, and what the truth calls muscle, canal and joints included.

    Raises
    ------
    SimulatorError
        If a file cannot be read, the grids differ in size, or no muscle is labelled.
    """
    images = [_read(path) for path in (water, fat, labels) if path is not None]
    shapes = {image.shape[:3] for image in images}
    if len(shapes) != 1 or len(images[0].shape) != 3:
        raise SimulatorError(f"water, fat and label images must be volumes of one size, not {sorted(shapes)}")
    # In TUM_lumbar_dixon the water files lack the origin and differ in the fourth digit of the spacing: one affine
    # for all, the fat file's.
    affine = _RAS_TO_LPS @ np.asarray(images[1].affine, np.float64)[:, [2, 1, 0, 3]]
    arrays = [np.asarray(image.dataobj).transpose(2, 1, 0) for image in images]
    source = Geometry(affine, arrays[0].shape, "")
    axes = CanonicalAxes.of(source)
    water_signal, fat_signal, *labelled = (np.ascontiguousarray(axes.apply(array)) for array in arrays)
    geometry = axes.apply_to(source)
    numbers = labelled[0] if labelled else _lean_back(water_signal, fat_signal, geometry)

    wanted = muscle_labels or tuple(int(number) for number in np.unique(numbers) if number)
    muscle = np.isin(numbers, wanted)
    if not muscle.any():
        raise SimulatorError(f"no muscle: the labels hold none of the numbers {wanted}")
    typical = float(np.median(water_signal[muscle]))
    filled = _filled(water_signal + fat_signal > _BODY_SHARE * typical)
    tissue = np.where(filled, np.uint8(Label.OTHER), np.uint8(Label.AIR))
    left = _left_side(numbers, wanted, geometry)
    tissue[muscle & left] = Label.LEFT_MUSCLE
    tissue[muscle & ~left] = Label.RIGHT_MUSCLE
    pure_fat = (
        ndimage.binary_dilation(muscle, iterations=_NEAR_MUSCLE_PIXELS) & (fat_signal > 4 * water_signal) & filled
    )
    fat_typical = float(np.median(fat_signal[pure_fat])) / _FAT_DENSITY if pure_fat.any() else typical
    return ImagedBody(
        tissue, (water_signal / typical).astype(np.float32), (fat_signal / fat_typical).astype(np.float32), geometry
    )


def _filled(body: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    return np.stack([ndimage.binary_fill_holes(plane) for plane in ndimage.binary_opening(body, iterations=2)])


def _lean_back(water: npt.NDArray[Any], fat: npt.NDArray[Any], geometry: Geometry) -> npt.NDArray[np.uint8]:
    """Return 1 where lean tissue lies behind the spine: within a window under the skin of the back."""
    both = water + fat
    body = _filled(both > _BODY_SHARE * np.percentile(both[both > 0], 90))
    _, row_mm, column_mm = geometry.spacing_mm
    rows = np.arange(body.shape[1])[:, None]
    skin = np.where(body, rows, -1).max(axis=1, keepdims=True)  # the hindmost row of each column
    depth_mm = (skin - rows) * row_mm
    middle = np.argwhere(body)[:, 2].mean()
    aside_mm = np.abs(np.arange(body.shape[2]) - middle) * column_mm
    window = (depth_mm > _SKIN_MM) & (depth_mm < _BACK_MM) & (aside_mm > _MIDLINE_MM) & (aside_mm < _HALF_BACK_MM)
    lean = body & window & (water > _LEAN * fat)
    return np.stack([ndimage.binary_opening(plane, iterations=2) for plane in lean]).astype(np.uint8)


def _left_side(numbers: npt.NDArray[Any], wanted: tuple[int, ...], geometry: Geometry) -> npt.NDArray[np.bool_]:
    """Return which muscle voxels are the patient's left ones, by their LPS x against the middle of all muscle."""
    where = np.argwhere(np.isin(numbers, wanted))
    x = geometry.to_lps(where)[:, 0]
    left_of_middle = x > (x.min() + x.max()) / 2
    found = numbers[tuple(where.T)]
    for number in wanted:
        share = left_of_middle[found == number].mean() if (found == number).any() else 0.5
        if max(share, 1 - share) > _WHOLE_ON_ONE_SIDE:  # the innermost voxels of a muscle may cross the middle
            left_of_middle[found == number] = share > 0.5
    left = np.zeros(numbers.shape, bool)
    left[tuple(where.T)] = left_of_middle
    return left


def _read(path: Path) -> Any:
    try:
        return nib.load(path)
    except (OSError, nib.filebasedimages.ImageFileError) as error:
        raise SimulatorError(f"{path}: not a readable NIfTI file ({type(error).__name__})") from error
