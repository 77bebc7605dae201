from dataclasses import replace
from itertools import combinations

import highdicom as hd
import numpy as np
import pytest
from pydicom.dataset import Dataset

from node.errors import ReportError
from node.findings import Measurement
from node.report import SeriesEvidence
from tests.report.builders import (
    LESION,
    MEASUREMENTS,
    SHAPE,
    WITH_LESION,
    built,
    classic_series,
    enhanced_series,
    everything,
    evidence,
    objects,
    position_mm,
    regions,
)


def voxels(dataset: Dataset, segment: int) -> np.ndarray:
    """The segment on the grid of its source, slices from feet to head, as a reader puts it together."""
    volume = np.zeros(SHAPE, bool)
    frames = dataset.pixel_array.reshape(-1, *SHAPE[1:])
    shared = dataset.SharedFunctionalGroupsSequence[0]
    for group, frame in zip(dataset.PerFrameFunctionalGroupsSequence, frames, strict=True):
        identification = (group if "SegmentIdentificationSequence" in group else shared).SegmentIdentificationSequence
        if identification[0].ReferencedSegmentNumber == segment:
            height = group.PlanePositionSequence[0].ImagePositionPatient[2]
            volume[int(height / position_mm(1)[2])] = frame
    return volume


def sources(dataset: Dataset) -> set[tuple[float, str, int | None]]:
    """(height of the frame, SOP Instance UID of its source, frame number in it)."""
    found = set()
    for group in dataset.PerFrameFunctionalGroupsSequence:
        source = group.DerivationImageSequence[0].SourceImageSequence[0]
        found.add(
            (
                float(group.PlanePositionSequence[0].ImagePositionPatient[2]),
                str(source.ReferencedSOPInstanceUID),
                source.get("ReferencedFrameNumber"),
            )
        )
    return found


def test_no_two_regions_have_colours_that_are_hard_to_tell_apart():
    made = everything("findings with MRV")
    segments = [one for kind in ("muscles", "lesions", "vessels") for one in made[f"seg-{kind}"].SegmentSequence]
    assert len(segments) == 4

    colors = [np.multiply(one.RecommendedDisplayCIELabValue, (100, 255, 255)) / 65535 for one in segments]

    # PS3.3 C.10.7.1.1. The two blues that were there before were 12 apart.
    assert min(np.linalg.norm(one - other) for one, other in combinations(colors, 2)) > 60


def test_left_is_left():
    made = built()["seg-muscles"]
    left, right = made.SegmentSequence

    columns = {number: np.nonzero(voxels(made, number))[2].mean() for number in (1, 2)}

    side = left.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence[0]
    assert (left.SegmentLabel, side.CodeMeaning) == ("Paravertebral muscle left", "Left")
    assert right.SegmentLabel == "Paravertebral muscle right"
    assert columns[1] > columns[2]  # rows run to the patient's left


def test_the_side_of_a_lesion_stands_in_its_region():
    (segment,) = built()["seg-lesions"].SegmentSequence

    region = segment.AnatomicRegionSequence[0]
    assert region.CodeMeaning == "Deep muscle of back"
    assert region.AnatomicRegionModifierSequence[0].CodeMeaning == "Left"


@pytest.mark.parametrize(("role", "segment", "mask"), [("muscles", 2, 2), ("lesions", 1, 1), ("vessels", 1, 1)])
def test_the_voxels_of_a_segment_are_those_of_the_mask(role, segment, mask):
    expected = getattr(regions(), role) == mask

    assert np.array_equal(voxels(built()[f"seg-{role}"], segment), expected)


def test_highdicom_puts_the_segments_back_where_they_were():
    seg = hd.seg.Segmentation.from_dataset(built()["seg-lesions"])

    volume = seg.get_volume(combine_segments=False)

    where = np.argwhere(volume.array[..., 0])
    centre = volume.map_indices_to_reference(where.mean(axis=0)[None])[0]
    assert centre == pytest.approx([43.5 * 2.5 - 80, 45.5 * 2.5 - 80, 14.0])


def test_every_frame_names_the_instance_it_was_drawn_on():
    series = classic_series("post")
    expected = {
        (float(header.ImagePositionPatient[2]), header.SOPInstanceUID, None)
        for header in series.headers
        if header.ImagePositionPatient[2] in (12, 16)
    }

    assert sources(built()["seg-lesions"]) == expected


@pytest.mark.parametrize("places", [(0, 1, 2, 3, 4, 5, 6, 7), (3, 0, 7, 1, 6, 2, 5, 4)])
def test_every_frame_names_the_frame_of_a_multi_frame_source_whatever_their_order(places):
    series = (enhanced_series("pre", places), enhanced_series("post", places), classic_series("mrv"))
    instance = series[1].headers[0].SOPInstanceUID

    made = objects(series=series)

    assert sources(made["seg-lesions"]) == {(4.0 * place, instance, places.index(place) + 1) for place in (3, 4)}
    assert np.array_equal(voxels(made["seg-muscles"], 1), regions().muscles == 1)


def test_a_volume_may_come_from_two_multi_frame_instances():
    lower, upper = enhanced_series("post", range(8)), enhanced_series("post", range(8))
    upper.headers[0].SOPInstanceUID = "2.25.77"
    slices = tuple((0 if index < 4 else 1, index) for index in range(8))
    post = SeriesEvidence("post", (*lower.headers, *upper.headers), slices)

    made = objects(series=(*evidence("pre", "mrv"), post))["seg-lesions"]

    assert sources(made) == {(12.0, lower.headers[0].SOPInstanceUID, 4), (16.0, "2.25.77", 5)}
    assert len(made.SourceImageSequence) == 2


def test_an_orientation_that_jitters_in_the_last_digit_is_no_obstacle():
    post = classic_series("post")
    post.headers[2].ImageOrientationPatient = [1, 0.00001, 0, -0.00001, 1, 0]

    made = objects(series=(*evidence("pre", "mrv"), post))

    assert len(made["seg-muscles"].SegmentSequence) == 2


def test_an_empty_mask_makes_no_object():
    empty = replace(regions(), vessels=np.zeros(SHAPE, bool))

    assert sorted(objects(Measurement(WITH_LESION, empty))) == ["seg-lesions", "seg-muscles", "sr"]


def test_segments_are_numbered_without_gaps():
    second = replace(LESION, number=2, side=LESION.side.other)
    third = replace(LESION, number=3)
    mask = regions()
    mask.lesions[mask.lesions == 1] = 3

    measurement = Measurement(replace(WITH_LESION, lesions=(LESION, second, third)), mask)
    made = objects(measurement)["seg-lesions"]

    assert [(segment.SegmentNumber, segment.TrackingID) for segment in made.SegmentSequence] == [(1, "PVM lesion 3")]


def test_vessels_lie_on_the_grid_of_the_venography():
    made = built()["seg-vessels"]

    assert made.ReferencedSeriesSequence[0].SeriesInstanceUID == classic_series("mrv").headers[0].SeriesInstanceUID


def test_regions_on_a_series_that_is_not_there_are_refused():
    with pytest.raises(ReportError, match="'post' series"):
        objects(MEASUREMENTS["no findings"], evidence("pre"))


def test_a_mask_of_another_shape_than_its_series_is_refused():
    post = classic_series("post")
    short = SeriesEvidence("post", post.headers, post.slices[:-1])

    with pytest.raises(ReportError, match=r"shape \(8, 64, 64\), its series \(7, 64, 64\)"):
        objects(MEASUREMENTS["no findings"], (short,))


def test_regions_on_a_series_without_volume_are_refused():
    with pytest.raises(ReportError, match="no volume"):
        objects(MEASUREMENTS["no findings"], (replace(classic_series("post"), slices=()),))


def test_regions_without_a_frame_of_reference_are_told_without_segments():
    made = objects(series=evidence(edit=lambda header: delattr(header, "FrameOfReferenceUID")))

    assert list(made) == ["sr"]


def test_geometry_with_more_digits_than_a_decimal_string_holds_is_no_obstacle():
    def edit(header: Dataset) -> None:
        header.PixelSpacing = [0.93749999, 0.93749999]
        header.ImagePositionPatient = [-80 / 3, -80 / 7, float(header.ImagePositionPatient[2]) * 1.1111111]

    made = objects(series=evidence(edit=edit))

    assert all(len(text) <= 16 for text in _decimal_strings(made["seg-muscles"]))


def _decimal_strings(dataset: Dataset) -> list[str]:
    return [str(one) for element in dataset.iterall() if element.VR == "DS" for one in np.atleast_1d(element.value)]
