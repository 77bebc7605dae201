"""Volumes: instances (or frames) of one series, stacked by position in the patient."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from node.dicom.geometry import Geometry
from node.dicom.headers import Acquisition, read_acquisition
from node.dicom.identifiers import InstanceUID, SeriesUID
from node.errors import VolumeError

_LARGEST_UNEVENNESS = 0.10  # of the spacing; docs/analysis.md, IN-2
_SAME_DIRECTION = 1e-3  # of a unit vector: 0.06 degrees
_PHILIPS_SCALE_SLOPE = Tag(0x2005, 0x100E)


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """One series as one regular grid of signal.

    Parameters
    ----------
    array : ndarray of float32, shape (slices, rows, columns)
        Displayed values (PS3.3 C.11.1), or floating point values for Philips.
    geometry : Geometry
        Where the voxels lie.
    series : str
        Series Instance UID.
    instances : tuple of str
        SOP Instance UID of each slice; of one multi-frame instance, the same UID for each.
    frames : tuple of int
        Index, from 0, of each slice's frame in its instance; 0 in a classic instance.
    acquisition : Acquisition
        How the series was acquired.
    """

    array: npt.NDArray[np.float32]
    geometry: Geometry
    series: SeriesUID
    instances: tuple[InstanceUID, ...]
    frames: tuple[int, ...]
    acquisition: Acquisition


@dataclass(frozen=True, slots=True, eq=False)
class _Frame:
    instance: InstanceUID
    index: int
    position: npt.NDArray[np.float64]
    orientation: npt.NDArray[np.float64]
    spacing: tuple[float, float]
    signal: npt.NDArray[np.float32]


def stack(instances: Sequence[Dataset]) -> Volume:
    """Return the volume that the instances of one series make.

    Slices are sorted along the slice normal, from the first to the last in the direction of the normal; never by
    Instance Number.

    Raises
    ------
    VolumeError
        IN-1 if there is nothing to stack, or a position or pixels are missing; IN-2 if orientation, matrix or spacing
        differ between slices, two slices share a place, or the distances differ by more than 10 %.
    """
    frames = [frame for instance in instances for frame in _frames(instance)]
    if len(frames) < 2:
        raise VolumeError("IN-1", f"a volume needs at least two slices, found {len(frames)}")
    first = frames[0]
    if any(np.abs(frame.orientation - first.orientation).max() > _SAME_DIRECTION for frame in frames):
        raise VolumeError("IN-2", "the slices of the series are not parallel")
    if any(frame.signal.shape != first.signal.shape for frame in frames):
        raise VolumeError("IN-2", "the slices of the series have different matrices")
    if any(not np.allclose(frame.spacing, first.spacing, rtol=1e-3) for frame in frames):
        raise VolumeError("IN-2", "the slices of the series have different pixel spacings")
    if len({str(instance.get("FrameOfReferenceUID", "")) for instance in instances}) > 1:
        raise VolumeError("IN-2", "the slices of the series have different frames of reference")

    along_row, along_column = first.orientation[:3], first.orientation[3:]
    normal = np.cross(along_row, along_column)
    frames.sort(key=lambda frame: float(frame.position @ normal))
    places = np.array([frame.position for frame in frames])
    steps = np.diff(places @ normal)
    step = float(np.median(steps))
    if step <= 0 or steps.min() < 0.01 * step:
        raise VolumeError("IN-2", "two slices lie in one place: several time points, echoes or copies in one series")
    if np.abs(steps - step).max() > _LARGEST_UNEVENNESS * step:
        raise VolumeError(
            "IN-2", f"slice distances range from {steps.min():.2f} to {steps.max():.2f} mm: slices are missing"
        )

    affine = np.eye(4)
    affine[:3, 0] = (places[-1] - places[0]) / (len(frames) - 1)  # a sheared stack keeps its shear
    affine[:3, 1] = along_column * first.spacing[0]
    affine[:3, 2] = along_row * first.spacing[1]
    affine[:3, 3] = places[0]
    rows, columns = first.signal.shape
    return Volume(
        array=np.stack([frame.signal for frame in frames]),
        geometry=Geometry(affine, (len(frames), rows, columns), str(instances[0].get("FrameOfReferenceUID", ""))),
        series=SeriesUID(str(instances[0].SeriesInstanceUID)),
        instances=tuple(frame.instance for frame in frames),
        frames=tuple(frame.index for frame in frames),
        acquisition=read_acquisition(instances[0]),
    )


def _frames(dataset: Dataset) -> Iterator[_Frame]:
    """Yield the frames of one instance; a classic instance is its only frame."""
    if int(dataset.get("SamplesPerPixel", 1)) != 1:
        raise VolumeError("IN-1", "the series is in colour")
    pixels = _pixels(dataset)
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence")
    if per_frame is None:
        yield _frame(dataset, 0, [dataset], pixels)
        return
    shared = [
        element.value[0]
        for element in dataset.SharedFunctionalGroupsSequence[0]
        if element.VR == "SQ" and element.value
    ]
    planes = pixels.reshape(len(per_frame), *pixels.shape[-2:])
    for index, (item, plane) in enumerate(zip(per_frame, planes, strict=True)):
        own = [element.value[0] for element in item if element.VR == "SQ" and element.value]
        yield _frame(dataset, index, own + shared, plane)


def _pixels(dataset: Dataset) -> npt.NDArray[np.generic]:
    try:
        return np.asarray(dataset.pixel_array)
    except Exception as error:  # decoders raise what they like on broken pixels, and their texts quote the data set
        raise VolumeError("IN-1", "an instance has no pixels, or none that can be decoded") from error


def _frame(dataset: Dataset, index: int, groups: Sequence[Dataset], stored: npt.NDArray[np.generic]) -> _Frame:
    def numbers(keyword: str, count: int) -> list[float]:
        for group in groups:
            value = group.get(keyword)
            if value is not None and value != "":
                values = [float(one) for one in (value if count > 1 else [value])]
                if len(values) == count:
                    return values
        return []

    position, orientation = numbers("ImagePositionPatient", 3), numbers("ImageOrientationPatient", 6)
    spacing = numbers("PixelSpacing", 2)
    if not (position and orientation and spacing):
        raise VolumeError("IN-1", "an instance has no position, orientation or pixel spacing")
    slope = (numbers("RescaleSlope", 1) or [1.0])[0]
    intercept = (numbers("RescaleIntercept", 1) or [0.0])[0]
    signal = stored.astype(np.float32) * np.float32(slope) + np.float32(intercept)
    scale = next((group[_PHILIPS_SCALE_SLOPE].value for group in groups if _PHILIPS_SCALE_SLOPE in group), None)
    if scale and slope:  # Chenevert et al. 2014, PMC3998685: only this is comparable between Philips series
        signal = signal / np.float32(slope * float(scale))
    return _Frame(
        instance=InstanceUID(str(dataset.SOPInstanceUID)),
        index=index,
        position=np.array(position),
        orientation=np.array(orientation),
        spacing=(spacing[0], spacing[1]),
        signal=signal,
    )
