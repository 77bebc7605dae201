"""Grids: how SEG and parametric map lie on the series that they were drawn on, and refer to its instances."""

from copy import deepcopy

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedMRImageStorage

from node.dicom.headers import find_value
from node.errors import ReportError
from node.report.sources import SeriesEvidence, Study

Box = tuple[slice, slice, slice]


def grid_of(series: SeriesEvidence, study: Study, box: Box | None = None) -> Dataset:
    """Return a multi-frame header whose frames are the slices of the volume, or of a box of it, in their order.

    highdicom takes the geometry of a SEG from source images, but knows only series of classic instances with one
    orientation to the last digit, or one multi-frame instance with a shared orientation. Scanners send more kinds,
    so it is shown this stand-in, and the references to it are turned to the true instances afterwards.
    """
    positions = np.array([_position(series, index) for index in range(len(series.slices))])
    if len(positions) < 2:
        raise ReportError(f"regions lie on the {series.role!r} series, which has no volume")
    index, frame = series.slices[0]
    first = series.headers[index]
    spacing = float(np.linalg.norm(positions[-1] - positions[0])) / (len(positions) - 1)
    pixel_spacing = [float(one) for one in find_value(first, "PixelSpacing", frame)]
    orientation = np.array([float(one) for one in find_value(first, "ImageOrientationPatient", frame)])
    rows, columns = int(first.Rows), int(first.Columns)
    if box is not None:
        slices, down, right = box
        corner = orientation[3:] * pixel_spacing[0] * down.start + orientation[:3] * pixel_spacing[1] * right.start
        positions = positions[slices] + corner
        rows, columns = down.stop - down.start, right.stop - right.start

    shared = Dataset()
    shared.PixelMeasuresSequence = hd.PixelMeasuresSequence(
        pixel_spacing=pixel_spacing,
        slice_thickness=float(find_value(first, "SliceThickness", frame) or spacing),
        spacing_between_slices=spacing,
    )
    shared.PlaneOrientationSequence = hd.PlaneOrientationSequence(
        coordinate_system="PATIENT",
        image_orientation=orientation.tolist(),
    )
    grid = study.standing_for(first)
    grid.SOPClassUID = EnhancedMRImageStorage
    grid.FrameOfReferenceUID = first.FrameOfReferenceUID
    grid.Rows, grid.Columns = rows, columns
    grid.NumberOfFrames = len(positions)
    grid.SharedFunctionalGroupsSequence = [shared]
    grid.PerFrameFunctionalGroupsSequence = [_plane(position) for position in positions.tolist()]
    return grid


def _position(series: SeriesEvidence, index: int) -> list[float]:
    header_index, frame = series.slices[index]
    return [float(one) for one in find_value(series.headers[header_index], "ImagePositionPatient", frame)]


def _plane(position: list[float]) -> Dataset:
    item = Dataset()
    item.PlanePositionSequence = hd.PlanePositionSequence(coordinate_system="PATIENT", image_position=position)
    return item


def refer_to_sources(dataset: Dataset, series: SeriesEvidence, *, first: int = 0) -> None:
    """Let every frame name the source slice that it was drawn on, and the object all instances of the volume.

    `first` is the slice of the volume that the grid begins with.
    """
    for group in dataset.PerFrameFunctionalGroupsSequence:
        derivation = group.DerivationImageSequence[0]
        source = deepcopy(derivation.SourceImageSequence[0])  # segments of one slice share the item
        index, frame = series.slices[first + source.ReferencedFrameNumber - 1]
        header = series.headers[index]
        source.ReferencedSOPClassUID, source.ReferencedSOPInstanceUID = header.SOPClassUID, header.SOPInstanceUID
        if "PerFrameFunctionalGroupsSequence" in header:
            source.ReferencedFrameNumber = frame + 1
        else:
            del source.ReferencedFrameNumber
        derivation.SourceImageSequence = [source]
    used = [series.headers[index] for index in dict.fromkeys(index for index, _ in series.slices)]
    dataset.SourceImageSequence = [reference(header) for header in used]
    dataset.ReferencedSeriesSequence[0].ReferencedInstanceSequence = [reference(header) for header in used]


def reference(header: Dataset) -> Dataset:
    """Return the item that names an instance."""
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = header.SOPClassUID, header.SOPInstanceUID
    return item


def name_dimensions(dataset: Dataset, uid: str) -> None:
    """Replace the Dimension Organization UID, which highdicom draws by chance."""
    for item in (*dataset.DimensionOrganizationSequence, *dataset.DimensionIndexSequence):
        item.DimensionOrganizationUID = uid
