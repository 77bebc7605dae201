"""A back drawn from formulas: what the code under test must find is known because it was painted.

All is a function of the place in the patient (LPS, mm), so any orientation, spacing or movement is rendered exactly,
without interpolation. x grows to the left, y to the back, z to the head; the origin lies in the spinal canal.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from node.dicom.geometry import Geometry
from node.dicom.headers import Acquisition, read_acquisition
from node.dicom.identifiers import InstanceUID, SeriesUID
from node.dicom.volumes import Volume

Points = npt.NDArray[np.float64]
FRAME = "1.2.826.0.1.3680043.8.498.1"

SIGNAL = {
    "air": 0.0,
    "skin": 40.0,
    "fat": 250.0,
    "tissue": 95.0,
    "bone": 15.0,
    "marrow": 150.0,
    "csf": 35.0,
    "muscle": 100.0,
}
FAT_ENHANCEMENT = 0.02  # as the settings assume; what follows from another value, docs/analysis.md tells
TISSUE_ENHANCEMENT = 0.3
MUSCLE_CENTRE_MM = (36.0, 38.0)  # beside the midline, behind the canal
MUSCLE_HALF_AXES_MM = (31.0, 19.0)
BACK_OF_THE_SKIN_MM = 78.0


@dataclass(frozen=True)
class Ball:
    """A lesion: a ball with a rise of its own; `core` is the share of its radius that does not enhance."""

    centre_mm: tuple[float, float, float]
    radius_mm: float
    enhancement: float = 1.1
    core: float = 0.0


@dataclass(frozen=True)
class Tube:
    """A straight vessel between two points."""

    start_mm: tuple[float, float, float]
    end_mm: tuple[float, float, float]
    radius_mm: float


@dataclass(frozen=True)
class Back:
    """What is painted. Enhancements are shares: 0.35 means 35 %."""

    left: float = 0.35
    right: float = 0.35
    lesions: Sequence[Ball] = ()
    vessels: Sequence[Tube] = ()
    streaks: bool = True  # fat between the muscles

    def draw(self, points: Points, *, contrast: bool) -> npt.NDArray[np.float64]:
        """Return the signal at `points`, shape (..., 3)."""
        x, y, z = np.moveaxis(points, -1, 0)
        swell = 1 + 0.06 * np.sin(z / 30)
        image = np.full(x.shape, SIGNAL["air"])

        def paint(inside: npt.NDArray[np.float64], name: str, rise: float | npt.NDArray[np.float64]) -> None:
            nonlocal image
            image = image * (1 - inside) + inside * SIGNAL[name] * (1 + rise * contrast)

        # Distances are of the order of mm near each border: an edge of half a millimetre stands for partial volume.
        across = 150 * swell * (1 - np.sqrt((x / (150 * swell)) ** 2 + ((y + 22) / (100 * swell)) ** 2))
        paint(_soft(across), "skin", 0.1)
        paint(_soft(across - 2), "fat", FAT_ENHANCEMENT)
        paint(_soft(across - 32), "tissue", TISSUE_ENHANCEMENT)
        for side, rise in ((1, self.left), (-1, self.right)):
            away = side * x
            paint(_soft(_ellipse(away, y, (40, 36), (42, 26))), "fat", FAT_ENHANCEMENT)
            paint(self.muscle(points, side), "muscle", rise)
            if self.streaks:
                septum = 0.6 - np.abs(away - 24 - 0.25 * (y - 38) - 3 * np.sin(z / 15))
                paint(_soft(septum) * self.muscle(points, side), "fat", FAT_ENHANCEMENT)
        vertebra = np.where(np.mod(z, 36) < 26, 1.0, 0.55)
        paint(_soft(22 - np.hypot(x, y + 26)), "bone", 0.0)
        paint(_soft(20 - np.hypot(x, y + 26)) * vertebra, "marrow", 0.1)
        paint(_soft(12 - np.hypot(x, y)), "bone", 0.0)
        paint(_soft(9 - np.hypot(x, y)), "csf", 0.0)
        spine = np.minimum(3 - np.abs(x), np.minimum(y - 8, 42 + 8 * np.sin(z / 6) - y))
        paint(_soft(spine), "bone", 0.0)
        for lesion in self.lesions:
            distance = np.linalg.norm(points - np.array(lesion.centre_mm), axis=-1)
            paint(_soft(lesion.radius_mm - distance), "muscle", lesion.enhancement)
            paint(_soft(lesion.core * lesion.radius_mm - distance) * (lesion.core > 0), "muscle", 0.0)
        for tube in self.vessels:
            paint(_soft(tube.radius_mm - _to_line(points, tube)), "muscle", 1.7)
        return image

    def venography(self, points: Points) -> npt.NDArray[np.float64]:
        """Return a time-of-flight like signal: vessels bright, all else dark and even."""
        image = 0.25 * self.draw(points, contrast=False) ** 0.7
        for tube in self.vessels:
            inside = _soft(tube.radius_mm - _to_line(points, tube))
            image = image * (1 - inside) + 60 * inside
        return image

    @staticmethod
    def muscle(points: Points, side: int) -> npt.NDArray[np.float64]:
        """Return the muscle of one side: 1 left, -1 right."""
        x, y, z = np.moveaxis(points, -1, 0)
        wave = 1 + 0.05 * np.sin(z / 18)
        a, b = MUSCLE_HALF_AXES_MM
        return _soft(_ellipse(side * x, y, MUSCLE_CENTRE_MM, (a * wave, b * wave)))


def head(points: Points, *, contrast: bool) -> npt.NDArray[np.float64]:
    """Return the signal of a head: scalp, skull, brain in two halves; bright fat around it, and no muscle."""
    x, y, z = np.moveaxis(points, -1, 0)
    deep = 90 * (1 - np.sqrt((x / 75) ** 2 + ((y + 10) / 90) ** 2))
    image = np.zeros(x.shape)
    for depth_mm, signal in ((0.0, 40.0), (2.0, 250.0), (9.0, 15.0), (14.0, 110.0)):
        inside = _soft(deep - depth_mm)
        image = image * (1 - inside) + inside * signal
    folds = _soft(3 - np.abs(x)) + 0.5 * _soft(np.sin(x / 6) + np.sin(y / 7 + z / 9) - 1.2) * _soft(30 - deep)
    image = image * (1 - 0.6 * np.clip(folds, 0, 1) * _soft(deep - 15))
    return image * (1 + 0.1 * contrast)


def _soft(distance_mm: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return 1 / (1 + np.exp(-np.clip(distance_mm / 0.25, -40, 40)))


def _ellipse(
    x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], centre: tuple[float, float],
    half_axes: tuple[float, float] | tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]],
) -> npt.NDArray[np.float64]:  # fmt: skip
    """Return how deep inside the ellipse a point lies, roughly in mm."""
    a, b = half_axes
    return (1 - np.sqrt(((x - centre[0]) / a) ** 2 + ((y - centre[1]) / b) ** 2)) * b


def _to_line(points: Points, tube: Tube) -> npt.NDArray[np.float64]:
    start, end = np.array(tube.start_mm), np.array(tube.end_mm)
    along = np.clip(((points - start) @ (end - start)) / np.sum((end - start) ** 2), 0, 1)
    return np.linalg.norm(points - start - along[..., None] * (end - start), axis=-1)


# ---------------------------------------------------------------- grids


def grid(
    orientation: str = "axial", *, spacing_mm: tuple[float, float, float] = (4.0, 1.2, 1.2),
    size_mm: tuple[float, float, float] = (72.0, 180.0, 220.0), frame: str = FRAME,
) -> Geometry:  # fmt: skip
    """Return a grid around the spine. `size_mm` and `spacing_mm` are (head, back, left) for every orientation.

    Orientations: axial, sagittal, coronal; each with "-flipped" for slices in the other order, and "-turned" for rows
    and columns in the other order, as a prone or feet-first position makes them.
    """
    kind, _, variant = orientation.partition("-")
    head, back, left = np.array([0, 0, 1.0]), np.array([0, 1.0, 0]), np.array([1.0, 0, 0])
    axes = {"axial": (head, back, left), "sagittal": (left, -head, back), "coronal": (back, -head, left)}[kind]
    if variant == "flipped":
        axes = (-axes[0], axes[1], axes[2])
    elif variant == "turned":
        axes = (axes[0], -axes[1], -axes[2])
    steps = [float(np.abs(axis) @ np.array(spacing_mm[::-1])) for axis in axes]
    extents = [float(np.abs(axis) @ np.array(size_mm[::-1])) for axis in axes]
    shape = tuple(round(extent / step) for extent, step in zip(extents, steps, strict=True))
    affine = np.eye(4)
    for column, (axis, step) in enumerate(zip(axes, steps, strict=True)):
        affine[:3, column] = axis * step
    middle = np.array([0.0, 10.0, 0.0])
    affine[:3, 3] = middle - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Geometry(affine, shape, frame)


# ---------------------------------------------------------------- series


def acquisition(**changes: object) -> Acquisition:
    """Return the header of an ordinary T1 TSE, with `changes` to its attributes."""
    header = Dataset()
    usual: dict[str, object] = {
        "Modality": "MR", "SeriesDescription": "t1_tse_tra", "ImageType": ["ORIGINAL", "PRIMARY", "M", "ND"],
        "ScanningSequence": "SE", "SequenceVariant": "SK", "MRAcquisitionType": "2D", "RepetitionTime": 550,
        "EchoTime": 10, "FlipAngle": 150, "EchoTrainLength": 3, "MagneticFieldStrength": 1.5, "PixelBandwidth": 200,
        "ReceiveCoilName": "SP", "FrameOfReferenceUID": FRAME,
    }  # fmt: skip
    for keyword, value in {**usual, **changes}.items():
        setattr(header, keyword, value)
    return read_acquisition(header)


Movement = Callable[[Points], Points]


def stay(points: Points) -> Points:
    return points


@dataclass(frozen=True)
class Scanner:
    """How series are made: noise as a share of muscle, receiver gain, coil shading."""

    snr: float = np.inf  # of muscle before contrast
    gain: float = 1.0
    shading_mm: float = np.inf  # over which the signal falls to 1/e, from the back forward
    seed: int = 0

    def acquire(
        self, signal: Callable[[Points], npt.NDArray[np.float64]], geometry: Geometry, *, movement: Movement = stay,
        acquired: Acquisition | None = None, oversampled: int = 2,
    ) -> Volume:  # fmt: skip
        """Return the volume of `signal` on `geometry`; each voxel is the mean of several points across the slice."""
        indices = np.stack(np.indices(geometry.shape, dtype=np.float64), axis=-1)
        total = np.zeros(geometry.shape)
        offsets = (np.arange(oversampled) + 0.5) / oversampled - 0.5
        for offset in offsets:
            total += signal(movement(geometry.to_lps(indices + np.array([offset, 0, 0]))))
        image = total / oversampled
        if np.isfinite(self.shading_mm):
            image = image * np.exp((geometry.to_lps(indices)[..., 1] - BACK_OF_THE_SKIN_MM) / self.shading_mm)
        if np.isfinite(self.snr):
            random = np.random.default_rng(self.seed)
            sigma = SIGNAL["muscle"] / self.snr
            if np.isfinite(self.shading_mm):
                sigma *= np.exp((MUSCLE_CENTRE_MM[1] - BACK_OF_THE_SKIN_MM) / self.shading_mm)
            image = np.hypot(image + random.normal(0, sigma, image.shape), random.normal(0, sigma, image.shape))
        return volume(self.gain * image, geometry, acquired)


def volume(array: npt.NDArray[np.floating], geometry: Geometry, acquired: Acquisition | None = None) -> Volume:
    """Return an array as the volume of a series."""
    slices = geometry.shape[0]
    return Volume(
        array=array.astype(np.float32), geometry=geometry, series=SeriesUID("1.2.3"),
        instances=tuple(InstanceUID(f"1.2.3.{k}") for k in range(slices)), frames=(0,) * slices,
        acquisition=acquired or acquisition(),
    )  # fmt: skip


def pair(
    back: Back, geometry: Geometry, *, snr: float = np.inf, gain: float = 1.0, shading_mm: float = np.inf,
    seed: int = 0, movement: Movement = stay,
) -> tuple[Volume, Volume]:  # fmt: skip
    """Return the pre- and the post-contrast series; the patient moves before the first one by `movement`."""
    before = Scanner(snr=snr, shading_mm=shading_mm, seed=2 * seed)
    after = Scanner(snr=snr, shading_mm=shading_mm, seed=2 * seed + 1, gain=gain)
    return (
        before.acquire(lambda points: back.draw(points, contrast=False), geometry, movement=movement),
        after.acquire(lambda points: back.draw(points, contrast=True), geometry),
    )
