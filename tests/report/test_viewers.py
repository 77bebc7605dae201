"""What viewers need of a report, by the rules of the readers of OHIF and dcmjs (read in their sources, 2026-11-26)."""

import pytest
from pydicom.dataset import Dataset

from tests.report.builders import MEASUREMENTS, built, everything, items, name, walk


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


def test_outlines_lie_on_images():
    drawn = items(reports("findings with MRV")[1], "Imaging Measurements", "Measurement Group", "Image Region")

    # OHIF 3.13 puts what lies in space on the first series of its frame of reference, and then shows no other
    assert [(one.ValueType, one.GraphicType) for one in drawn] == [
        ("SCOORD", "POINT"),
        ("SCOORD", "POLYLINE"),
        ("SCOORD", "POLYLINE"),
    ]


def test_nothing_says_that_a_viewer_may_edit_it():
    tracked = items(built()["sr"], "Imaging Measurements", "Measurement Group", "Tracking Identifier")

    assert not any(one.TextValue.startswith(("Cornerstone", "cornerstone")) for one in tracked)
