"""Where a report says that a region is seen: the image, the frame, and the outline in its pixels."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
from pydicom.dataset import Dataset

from node.report import gate
from node.report.onimages import coordinates
from node.report.sources import SeriesEvidence, Study
from tests.report.builders import (
    MEASUREMENTS,
    SHAPE,
    built,
    classic_series,
    enhanced_series,
    evidence,
    items,
    regions,
    value,
)

_GROUPS = ("Imaging Measurements", "Measurement Group")


@pytest.mark.parametrize("series", [classic_series("post"), enhanced_series("post", (3, 0, 6, 1, 7, 2, 5, 4))])
def test_a_region_is_outlined_in_the_slice_that_shows_most_of_it(series: SeriesEvidence) -> None:
    lesion = np.zeros(SHAPE, np.uint8)
    lesion[3, 44:48, 42:46] = 1
    lesion[5, 44:46, 40:43] = lesion[5, 50, 40] = 1  # less, and in two parts
    lesion[4, 41:50, 38:41] = lesion[4, 44, 50] = 1  # most, in two parts
    measurement = replace(MEASUREMENTS["findings with MRV"], regions=replace(regions(), lesions=lesion))

    found = coordinates(measurement, Study.of([series]))

    seen = found["PVM lesion 1"]
    assert corners(seen) == {(38.0, 41.0), (41.0, 41.0), (41.0, 50.0), (38.0, 50.0)}
    (image,) = seen.ContentSequence
    (referenced,) = image.ReferencedSOPSequence
    index, frame = series.slices[4]
    assert referenced.ReferencedSOPInstanceUID == series.headers[index].SOPInstanceUID
    assert referenced.get("ReferencedFrameNumber") == (None if len(series.headers) > 1 else frame + 1)
    assert corners(found["PVM muscle right"]) == {(12.0, 40.0), (28.0, 40.0), (28.0, 52.0), (12.0, 52.0)}


def test_each_group_of_a_report_names_the_outline_of_its_region() -> None:
    outlines = {
        value(items(group, "Tracking Identifier")[0]): [
            child for number in group.ContentSequence if number.ValueType == "NUM" for child in items(number, "Source")
        ]
        for group in items(built()["sr"], *_GROUPS)
    }

    assert all(outlines.values())  # OHIF 3.13 shows nothing of a report that has a group without
    assert {(one.RelationshipType, one.ValueType, one.GraphicType) for each in outlines.values() for one in each} == {
        ("INFERRED FROM", "SCOORD", "POLYLINE")
    }
    assert corners(outlines["PVM lesion 1"][0]) == {(42.0, 44.0), (46.0, 44.0), (46.0, 48.0), (42.0, 48.0)}
    assert corners(outlines["PVM muscle left"][0]) == {(36.0, 40.0), (52.0, 40.0), (52.0, 52.0), (36.0, 52.0)}


def corners(item: Dataset) -> set[tuple[float, float]]:
    return {(column, row) for column, row in np.reshape(item.GraphicData, (-1, 2)).tolist()}


def exchanged(item: Dataset) -> None:
    item.GraphicData = np.reshape(item.GraphicData, (-1, 2))[:, ::-1].ravel().tolist()


def of_the_other_side(item: Dataset) -> None:
    item.GraphicData = [64 - one if number % 2 == 0 else one for number, one in enumerate(item.GraphicData)]


def before_contrast(item: Dataset) -> None:
    (other,) = evidence("pre")
    item.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID = other.headers[4].SOPInstanceUID


def another_slice(item: Dataset) -> None:
    (series,) = evidence("post")
    index, _frame = series.slices[7]
    item.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID = series.headers[index].SOPInstanceUID


def no_such_frame(item: Dataset) -> None:
    item.ContentSequence[0].ReferencedSOPSequence[0].ReferencedFrameNumber = 99


@pytest.mark.parametrize(
    ("seed", "message"),
    [
        (exchanged, "GATE-SIDE an outline does not lie where its segment does"),
        (of_the_other_side, "GATE-SIDE an outline does not lie where its segment does"),
        (another_slice, "GATE-SIDE an outline does not lie where its segment does"),
        (before_contrast, "GATE-REFERENCE an outline is on an image of another series than its segment"),
        (no_such_frame, "GATE-REFERENCE coordinates are on a frame that their image does not have"),
    ],
)
def test_an_outline_that_is_not_where_its_segment_is_does_not_leave(
    seed: Callable[[Dataset], None], message: str
) -> None:
    made = deepcopy(built())
    lesion = items(made["sr"], *_GROUPS)[0]
    seed(next(one for number in lesion.ContentSequence if number.ValueType == "NUM" for one in items(number, "Source")))

    found = gate.faults(tuple(made.values()), [header for one in evidence() for header in one.headers])

    assert any(message in fault for fault in found), found
