"""Left and right: what codes say of a side, against where the voxels lie. Patient left is +x (PS3.3 C.7.6.2.1.1)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes as standard
from pydicom.sr.coding import Code
from pydicom.uid import SegmentationStorage

from node.report import codes
from node.report.gate.reading import NONE, children, code_in, content, is_sr, name_of, text, value_of

_LEAST_MM = 5.0  # beyond the midline: a region across it has no side that voxels could contradict; chosen
_BESIDE_MM = 5.0  # to head and foot of a region, within which the muscles tell the midline; chosen


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """A segment: `side` may be `NONE`; `points` are the centres of its voxels, shape (n, 3), in mm, LPS."""

    side: Code
    is_muscle: bool
    points: npt.NDArray[np.float64]


def segments_of(made: Sequence[Dataset]) -> dict[str, Segment]:
    """Return all segments, by their Tracking UIDs."""
    return {
        text(segment, "TrackingUID"): Segment(
            _side_of(segment),
            code_in(segment, "SegmentedPropertyTypeCodeSequence") == codes.DEEP_BACK_MUSCLE,
            _points(dataset, frames, int(segment.SegmentNumber)),
        )
        for dataset in made
        if dataset.get("SOPClassUID") == SegmentationStorage
        for frames in (_frames(dataset),)
        for segment in dataset.SegmentSequence
    }


def laterality(made: Sequence[Dataset], segments: Mapping[str, Segment]) -> Iterator[str]:
    """Yield where a segment lies on the other side than it says, or a report says another side than its segment."""
    yield from _of_voxels(list(segments.values()))
    for report in filter(is_sr, made):
        for group in content(report):
            if name_of(group) == codes.MEASUREMENT_GROUP:
                yield from _of_group(group, segments)


def _of_voxels(segments: Sequence[Segment]) -> Iterator[str]:
    muscles = {one.side: one.points for one in segments if one.is_muscle and len(one.points)}
    left, right = muscles.get(codes.LEFT), muscles.get(codes.RIGHT)
    if left is None or right is None:
        return  # nothing tells the midline
    if left[:, 0].mean() <= right[:, 0].mean():
        yield "GATE-SIDE the muscles of the left lie to the right of those of the right"
        return
    for one in segments:
        if one.side == NONE or one.is_muscle or not len(one.points):
            continue
        beyond_mm = float(one.points[:, 0].mean()) - _midline(one.points, left, right)
        if (beyond_mm < -_LEAST_MM and one.side == codes.LEFT) or (beyond_mm > _LEAST_MM and one.side == codes.RIGHT):
            yield f"GATE-SIDE a segment that says {one.side.meaning!r} lies on the other side"


def _midline(region: npt.NDArray[np.float64], left: npt.NDArray[np.float64], right: npt.NDArray[np.float64]) -> float:
    """Return x in the middle between both muscles, at the height of a region; of all of them if none is there."""
    lowest, highest = region[:, 2].min() - _BESIDE_MM, region[:, 2].max() + _BESIDE_MM
    beside = [one[(one[:, 2] >= lowest) & (one[:, 2] <= highest), 0] for one in (left, right)]
    if not all(map(len, beside)):
        beside = [left[:, 0], right[:, 0]]
    return float(sum(one.mean() for one in beside)) / 2


def _of_group(group: Dataset, segments: Mapping[str, Segment]) -> Iterator[str]:
    own = {_laterality(site) for site in children(group, standard.SCT.FindingSite)}
    for item in children(group, codes.TRACKING_UNIQUE_IDENTIFIER):
        segment = segments.get(text(item, "UID"))
        if segment is not None and own != {segment.side}:
            yield "GATE-SIDE a measurement group says another side than its segment"
    for number in group.ContentSequence:
        for site in children(number, standard.SCT.FindingSite):
            if _laterality(site) not in own:
                yield "GATE-SIDE a number says another side than its measurement group"


def _laterality(site: Dataset) -> Code:
    return next((value_of(item) for item in children(site, standard.SCT.Laterality)), NONE)


def _side_of(segment: Dataset) -> Code:
    """Return the side that a segment's description says, in the region or in the type."""
    for sequence, modifier in (
        ("AnatomicRegionSequence", "AnatomicRegionModifierSequence"),
        ("SegmentedPropertyTypeCodeSequence", "SegmentedPropertyTypeModifierCodeSequence"),
    ):
        for item in segment.get(sequence, ()):
            if (side := code_in(item, modifier)) != NONE:
                return side
    return NONE


def _frames(dataset: Dataset) -> npt.NDArray[np.uint8]:
    """Return the frames of a binary segmentation, shape (frames, rows, columns)."""
    shape = (int(dataset.NumberOfFrames), int(dataset.Rows), int(dataset.Columns))
    bits = np.unpackbits(np.frombuffer(dataset.PixelData, np.uint8), bitorder="little")  # PS3.5 section 8.1.1
    return bits[: shape[0] * shape[1] * shape[2]].reshape(shape)


def _points(dataset: Dataset, frames: npt.NDArray[np.uint8], number: int) -> npt.NDArray[np.float64]:
    """Return the centres of a segment's voxels, by the geometry of its frames (PS3.3 equation C.7.6.2.1-1)."""
    shared = dataset.SharedFunctionalGroupsSequence[0]
    found = [np.empty((0, 3))]
    for frame, own in zip(frames, dataset.PerFrameFunctionalGroupsSequence, strict=True):
        if int(_macro(own, shared, "SegmentIdentificationSequence").ReferencedSegmentNumber) != number:
            continue
        across, down = np.reshape(_macro(own, shared, "PlaneOrientationSequence").ImageOrientationPatient, (2, 3))
        row_mm, column_mm = map(float, _macro(own, shared, "PixelMeasuresSequence").PixelSpacing)
        corner = np.array(_macro(own, shared, "PlanePositionSequence").ImagePositionPatient, np.float64)
        rows, columns = np.nonzero(frame)
        found.append(
            corner + np.outer(columns * column_mm, across.astype(float)) + np.outer(rows * row_mm, down.astype(float))
        )
    return np.concatenate(found)


def _macro(own: Dataset, shared: Dataset, keyword: str) -> Dataset:
    item: Dataset = (own if keyword in own else shared)[keyword].value[0]
    return item
