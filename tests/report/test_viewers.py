"""What viewers need of a report, by the rules of the readers of OHIF and dcmjs (read in their sources, 2026-11-26)."""

import numpy as np
import pytest
from pydicom.dataset import Dataset

from tests.report.builders import MEASUREMENTS, built, everything, evidence, items, name, walk

_NEAR_MM = 5.0  # to the slice on which OHIF puts coordinates in space


def reports(shape: str) -> list[Dataset]:
    made = built(shape) if shape != "findings with MRV" else everything(shape)
    return [made[one] for one in ("sr", "outlines") if one in made]


@pytest.mark.parametrize("shape", MEASUREMENTS)
def test_a_reader_of_tid_1500_finds_what_it_asks_for(shape: str):
    for report in reports(shape):
        assert report.ConceptNameCodeSequence[0].CodeValue == "126000"
        assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"
        assert items(report, "Image Library", "Image Library Group", "Source")
        assert all(len(item.ConceptNameCodeSequence) == 1 for item in walk(report))
        groups = items(report, "Imaging Measurements", "Measurement Group")
        assert groups
        tracks = []
        for group in groups:
            (track,) = [item for item in group.ContentSequence if item.ValueType == "UIDREF"][:1]
            assert name(track) == "Tracking Unique Identifier"  # the first UIDREF is taken for it
            tracks.append(track.UID)
            assert items(group, "Tracking Identifier")[0].TextValue
            assert items(group, "Finding")
            for number in (item for item in group.ContentSequence if item.ValueType == "NUM"):
                assert number.ContentSequence  # a reader takes the value type of what is below it
        assert len(set(tracks)) == len(tracks)  # groups of one track are merged, and drawn once


def test_coordinates_lie_on_a_slice_of_the_series_by_the_frame_of_reference():
    headers = [header for one in evidence("post") for header in one.headers]
    drawn = items(reports("findings with MRV")[1], "Imaging Measurements", "Measurement Group", "Image Region")

    assert [one.GraphicType for one in drawn] == ["POINT", "POLYLINE", "POLYLINE"]  # OHIF throws at a POLYGON
    for one in drawn:
        heights = [float(header.ImagePositionPatient[2]) for header in headers]
        assert one.ReferencedFrameOfReferenceUID == headers[0].FrameOfReferenceUID
        assert np.abs(np.array(heights) - one.GraphicData[2]).min() < _NEAR_MM


def test_nothing_says_that_a_viewer_may_edit_it():
    tracked = items(built()["sr"], "Imaging Measurements", "Measurement Group", "Tracking Identifier")

    assert not any(one.TextValue.startswith(("Cornerstone", "cornerstone")) for one in tracked)
