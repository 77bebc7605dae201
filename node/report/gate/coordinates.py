"""Coordinates: on the image that shows what they outline or point to, or in its frame of reference; and drawable."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from node.dicom.headers import find_value
from node.report import codes
from node.report.gate.reading import children, content, is_sr, name_of, text
from node.report.gate.sides import Segment

Points = npt.NDArray[np.float64]


def coordinates(made: Sequence[Dataset], sources: Sequence[Dataset], segments: Mapping[str, Segment]) -> Iterator[str]:
    """Yield what is wrong with the SCOORD and SCOORD3D items of the reports (PS3.3 sections C.18.6 and C.18.9)."""
    frames = {text(one, "FrameOfReferenceUID") for one in sources} - {""}
    images = {text(one, "SOPInstanceUID"): one for one in sources}
    for dataset in filter(is_sr, made):
        for item in content(dataset):
            if text(item, "ValueType") == "SCOORD3D":
                yield from _in_space(item, frames)
            elif text(item, "ValueType") == "SCOORD":
                yield from _on_image(item, images)
            elif name_of(item) == codes.MEASUREMENT_GROUP:
                yield from _of_group(item, segments, images)


def _in_space(item: Dataset, frames: set[str]) -> Iterator[str]:
    values = np.array(item.get("GraphicData") or [], np.float64)
    if text(item, "GraphicType") != "POINT" or len(values) != 3 or not np.isfinite(values).all():
        yield "GATE-STRUCTURE we draw nothing in space but single points"
    if text(item, "ReferencedFrameOfReferenceUID") not in frames:
        yield "GATE-REFERENCE coordinates are in a frame of reference of none of the images"


def _on_image(item: Dataset, images: Mapping[str, Dataset]) -> Iterator[str]:
    """Yield what is wrong with an outline or a point, and with the image that it was selected from."""
    points, (image, frame), shape = _points(item), _selected(item, images), text(item, "GraphicType")
    if points is None:
        yield "GATE-STRUCTURE coordinates are not two numbers each"
    elif shape not in ("POINT", "POLYLINE"):
        yield f"GATE-STRUCTURE we draw no {shape or 'shape without a name'}"
    elif shape == "POINT" and len(points) > 1:
        yield "GATE-STRUCTURE a point has more than one place"
    elif shape == "POLYLINE" and (len(points) < 4 or not np.array_equal(points[0], points[-1])):
        yield "GATE-STRUCTURE an outline is not closed"
    if image is None:
        yield "GATE-REFERENCE coordinates are on none of the images"
    elif not 0 < frame <= int(image.get("NumberOfFrames") or 1):
        yield "GATE-REFERENCE coordinates are on a frame that their image does not have"
    elif points is not None and ((points < 0).any() or (points > (int(image.Columns), int(image.Rows))).any()):
        yield "GATE-RANGE coordinates lie beside their image"


def _of_group(group: Dataset, segments: Mapping[str, Segment], images: Mapping[str, Dataset]) -> Iterator[str]:
    """Yield where the outline of a region does not lie within the region's segment."""
    tracks = [text(item, "UID") for item in children(group, codes.TRACKING_UNIQUE_IDENTIFIER)]
    segment = next((segments[one] for one in tracks if one in segments), None)
    if segment is None or not len(segment.points):
        return
    named = {text(item, "UID") for item in children(group, codes.SOURCE_SERIES)}
    for item in content(group):
        points, (image, frame) = _points(item), _selected(item, images)
        if text(item, "ValueType") != "SCOORD" or points is None or image is None:
            continue
        if named and text(image, "SeriesInstanceUID") not in named:
            yield "GATE-REFERENCE an outline is on an image of another series than its segment"
        down_mm, right_mm = map(float, find_value(image, "PixelSpacing", frame - 1))
        right, down = np.reshape(find_value(image, "ImageOrientationPatient", frame - 1), (2, 3)).astype(float)
        corner = np.array(find_value(image, "ImagePositionPatient", frame - 1), np.float64)
        columns, rows = points.T - 0.5
        places = corner + np.outer(columns * right_mm, right) + np.outer(rows * down_mm, down)
        beyond_mm = np.maximum(segment.points.min(axis=0) - places, places - segment.points.max(axis=0))
        if beyond_mm.max() > max(down_mm, right_mm):  # a corner is half a pixel from the middle of its voxel
            yield "GATE-SIDE an outline does not lie where its segment does"


def _points(item: Dataset) -> Points | None:
    """Return the places of an item, shape (n, 2); None if it has no such."""
    values = np.array(item.get("GraphicData") or [], np.float64)
    if not len(values) or len(values) % 2 or not np.isfinite(values).all():
        return None
    return values.reshape(-1, 2)


def _selected(item: Dataset, images: Mapping[str, Dataset]) -> tuple[Dataset | None, int]:
    """Return the image that coordinates were selected from, and the number of the frame, from 1."""
    referenced = [one for child in item.get("ContentSequence", ()) for one in child.get("ReferencedSOPSequence", ())]
    if len(referenced) != 1:
        return None, 0
    image = images.get(text(referenced[0], "ReferencedSOPInstanceUID"))
    named = referenced[0].get("ReferencedFrameNumber")
    is_whole = named is None and (image is None or int(image.get("NumberOfFrames") or 1) == 1)
    return image, 1 if is_whole else int(named) if isinstance(named, int | str) else 0
