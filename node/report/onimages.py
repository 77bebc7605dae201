"""On the images: regions and points in the pixels of a slice, as a report points to them (SCOORD, PS3.3 C.18.6)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import highdicom as hd
import numpy as np
import numpy.typing as npt

from node.dicom.headers import find_value
from node.errors import ReportError
from node.findings import Measurement, Side
from node.report.contours import contours
from node.report.segmentations import lesion_region, muscle_region
from node.report.sources import SeriesEvidence, Study

OUTLINE, POINT = "POLYLINE", "POINT"  # the first closed


@dataclass(frozen=True, slots=True, eq=False)
class OnImage:
    """An outline or a point in one slice.

    Parameters
    ----------
    points : ndarray, shape (n, 2)
        Column and row of the point or of each corner, from the upper left corner of the first pixel; the last corner
        is the first again.
    image : SourceImageForRegion
        The slice.
    """

    points: npt.NDArray[np.float64]
    image: hd.sr.SourceImageForRegion


def outlines_of(mask: npt.NDArray[np.bool_], series: SeriesEvidence) -> Iterator[OnImage]:
    """Yield the outlines of a mask, shape (slices, rows, columns), in the order of the slices."""
    for number in np.flatnonzero(mask.any(axis=(1, 2))):
        image = _image(series, int(number))
        for corners in contours(mask[number]):
            yield OnImage(corners[:, ::-1] + 0.5, image)


def point_of(place_mm: Sequence[float], series: SeriesEvidence) -> OnImage:
    """Return where a point of the patient, LPS in millimetres, is seen: in the slice that lies nearest to it."""
    seen = [_seen(place_mm, series, number) for number in range(len(series.slices))]
    nearest = min(range(len(seen)), key=lambda number: seen[number][1])
    return OnImage(np.array([seen[nearest][0]]), _image(series, nearest))


def coordinates(measurement: Measurement, study: Study) -> dict[str, hd.sr.CoordinatesForMeasurement]:
    """Return, by the Tracking Identifier of each lesion and muscle, its outline in the slice that shows most of it."""
    masks = measurement.regions
    lesions = [lesion_region(one) for one in measurement.findings.lesions]
    found = {}
    for mask, regions in ((masks.muscles, [muscle_region(side) for side in Side]), (masks.lesions, lesions)):
        for region in regions:
            if mask is None or not (inside := mask == region.label).any():
                continue
            series = study.series_of(masks.reference)
            if len(series.slices) != len(mask):
                raise ReportError(f"regions of {len(mask)} slices lie on a series of {len(series.slices)}")
            found[region.tracking_identifier] = _largest(inside, series)
    return found


def _largest(mask: npt.NDArray[np.bool_], series: SeriesEvidence) -> hd.sr.CoordinatesForMeasurement:
    number = int(mask.sum(axis=(1, 2)).argmax())
    alone = np.zeros_like(mask)
    alone[number] = mask[number]
    largest = max(outlines_of(alone, series), key=lambda one: _area(one.points))
    return hd.sr.CoordinatesForMeasurement(OUTLINE, largest.points, largest.image)


def _area(points: npt.NDArray[np.float64]) -> float:
    x, y = points.T
    return abs(float((x[:-1] * y[1:] - x[1:] * y[:-1]).sum())) / 2


def _seen(place_mm: Sequence[float], series: SeriesEvidence, number: int) -> tuple[tuple[float, float], float]:
    """Return column and row of a slice straight in front of a point, and how far that lies from the slice in mm."""
    index, frame = series.slices[number]
    header = series.headers[index]
    down_mm, right_mm = map(float, find_value(header, "PixelSpacing", frame))
    right, down = np.reshape([float(one) for one in find_value(header, "ImageOrientationPatient", frame)], (2, 3))
    offset = np.subtract(place_mm, [float(one) for one in find_value(header, "ImagePositionPatient", frame)])
    point = (float(offset @ right) / right_mm + 0.5, float(offset @ down) / down_mm + 0.5)
    return point, abs(float(offset @ np.cross(right, down)))


def _image(series: SeriesEvidence, number: int) -> hd.sr.SourceImageForRegion:
    index, frame = series.slices[number]
    header = series.headers[index]
    frames = [frame + 1] if "NumberOfFrames" in header else None
    return hd.sr.SourceImageForRegion(header.SOPClassUID, header.SOPInstanceUID, frames)
