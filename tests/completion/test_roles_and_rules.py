from typing import Any

import pytest

from node.completion import StackFacts, decide_roles, read_facts, read_table, select
from node.dicom.identifiers import SeriesUID
from node.records import Role, StackKey
from tests.builders import SECRET, series_of

AGENT = {"ContrastBolusAgent": "GADOBUTROL", "AcquisitionDate": "20260102", "AcquisitionTime": "101500"}
BEFORE = {"AcquisitionDate": "20260102", "AcquisitionTime": "100000"}


TABLE = read_table()


def facts(number: int, **attributes: Any) -> StackFacts:
    (one,) = read_facts(list(series_of(number, **attributes)))
    return one


def role(**attributes: Any) -> str:
    one = facts(1, **attributes)
    return decide_roles([one], TABLE)[one.key].label


def selected(*study: StackFacts, post_alone: bool = False) -> dict[Role, StackKey] | str:
    selection = select(study, decide_roles(study, TABLE), post_alone=post_alone)
    return dict(selection.stacks) if selection.stacks is not None else selection.reason


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({}, "axial T1 pre"),
        (AGENT, "axial T1 post"),
        ({"ContrastBolusAgent": "NONE"}, "axial T1 pre"),
        ({"SeriesDescription": "T1 TSE tra +C"}, "axial T1 post"),
        ({"SeriesDescription": "t1_tse_tra_post_gd"}, "axial T1 post"),
        ({"SeriesDescription": "T1 ax without contrast"}, "axial T1 pre"),
        ({"SeriesDescription": "T1 ax sans injection"}, "axial T1 pre"),
        ({"SeriesDescription": "T1 tra post OP"}, "axial T1 pre"),  # after surgery, not after contrast
        ({"SeriesDescription": "t1 tra pre", **AGENT}, "axial T1 contradictory"),  # left over, or wrong: no guess
        ({**AGENT, "ContrastBolusStartTime": "101600"}, "axial T1 pre"),  # named, and given afterwards
        ({"ImageType": ["DERIVED", "SECONDARY", "SUB"], **AGENT}, "derived"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "localizer"),
        ({"SeriesDescription": "3-plane loc"}, "localizer"),
        ({"RepetitionTime": 3500, "EchoTime": 90}, "axial T2"),
        ({"ScanningSequence": ["SE", "IR"], "InversionTime": 150, "RepetitionTime": 4000}, "axial STIR"),
        (
            {"ScanningSequence": "GR", "SequenceVariant": "SP", "RepetitionTime": 5, "EchoTime": 2, "FlipAngle": 10},
            "axial T1 pre",
        ),
        (
            {"ScanningSequence": "GR", "SequenceVariant": "SS", "RepetitionTime": 5, "EchoTime": 2, "FlipAngle": 60},
            "other",
        ),
        ({"AngioFlag": "Y", "ScanningSequence": "GR"}, "MRV time of flight"),
        ({"SeriesDescription": "MRV 2D TOF"}, "MRV time of flight"),
        ({"LossyImageCompression": "01"}, "other"),
        ({"Modality": "CT"}, "other"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "DIXON", "FAT"]}, "Dixon fat"),
        ({"BodyPartExamined": "HEAD"}, "axial T1 pre"),  # it lies too often to be asked
    ],
)
def test_the_role_of_a_stack_follows_its_header(attributes: dict[str, Any], expected: str) -> None:
    assert role(**attributes) == expected


def test_two_dimensional_time_of_flight_is_recognised_by_its_physics() -> None:
    physics = {
        "ScanningSequence": "GR", "SequenceVariant": "SP", "MRAcquisitionType": "2D", "ScanOptions": ["FC", "SP"],
        "RepetitionTime": 25, "EchoTime": 6, "FlipAngle": 50,
    }  # fmt: skip

    assert role(**physics) == "MRV time of flight"


def test_slices_in_several_planes_are_a_localizer() -> None:
    planes = [[1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, -1], [1, 0, 0, 0, 0, -1]]
    headers = [next(series_of(1, slices=1, ImageOrientationPatient=plane)) for plane in planes]
    for number, header in enumerate(headers):
        header.SOPInstanceUID = f"2.25.5.{number}"

    stacks = read_facts(headers)

    assert {decision.label for decision in decide_roles(stacks, TABLE).values()} == {"localizer"}


def test_evidence_quotes_no_text_of_the_header() -> None:
    one = facts(1, SeriesDescription=f"T1 post {SECRET}", ContrastBolusAgent=SECRET)

    assert SECRET.split("^")[0] not in decide_roles([one], TABLE)[one.key].evidence


def test_a_contrast_pair_of_one_frame_of_reference_is_measurable() -> None:
    assert selected(facts(1, **BEFORE), facts(2, **AGENT)) == {
        Role.PRE: StackKey(SeriesUID("2.25.1000.1"), 1),
        Role.POST: StackKey(SeriesUID("2.25.1000.2"), 1),
    }


def test_an_mrv_in_the_same_space_joins_the_pair() -> None:
    mrv, elsewhere = facts(3, AngioFlag="Y"), facts(4, AngioFlag="Y", FrameOfReferenceUID="2.25.7", slices=9)

    found = selected(facts(1, **BEFORE), facts(2, **AGENT), mrv, elsewhere)

    assert isinstance(found, dict)
    assert found[Role.MRV] == mrv.key


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"PatientID": "ANOTHER"}, "CMP-FOR"),
        ({"PixelSpacing": [0.5, 0.5]}, "CMP-GEO: pixel spacing ratio 2.00"),
        ({"SliceThickness": 8.0}, "CMP-GEO: slice thickness 4.00 and 8.00"),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 0.98, 0.199]}, "CMP-GEO: orientations 11.5 degrees apart"),
        ({"AcquisitionTime": "140000"}, "CMP-TIME: post 4.0 h after pre"),
        ({"AcquisitionTime": "090000"}, "pre-contrast T1 missing"),  # what comes after a series with contrast has some
    ],
)
def test_series_that_do_not_fit_are_no_pair_and_the_reason_is_said(change: dict[str, Any], reason: str) -> None:
    found = selected(facts(1, **BEFORE), facts(2, **(AGENT | change)))

    assert isinstance(found, str)
    assert reason in found


def test_of_two_pre_series_the_one_of_the_same_protocol_is_taken() -> None:
    other = facts(1, RepetitionTime=700, **BEFORE)
    same = facts(2, **BEFORE)

    found = selected(other, same, facts(3, **AGENT))

    assert isinstance(found, dict)
    assert found[Role.PRE] == same.key


def test_a_post_series_alone_is_measured_only_where_the_settings_say_so() -> None:
    post = facts(2, **AGENT)

    assert selected(post) == "no contrast pair and no MRV: pre-contrast T1 missing"
    assert selected(post, post_alone=True) == {Role.POST: post.key}


def test_an_mrv_alone_is_measurable() -> None:
    mrv = facts(3, AngioFlag="Y")

    assert selected(mrv) == {Role.MRV: mrv.key}


def test_two_series_without_a_sign_of_contrast_are_not_guessed_to_be_a_pair() -> None:
    found = selected(facts(1, **BEFORE), facts(2, AcquisitionDate="20260102", AcquisitionTime="101500"))

    assert found == "no contrast pair and no MRV: post-contrast T1 missing"
