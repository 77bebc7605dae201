from typing import Any

import pytest

from node.completion import SeriesFacts, decide_roles, read_facts, select
from node.dicom.identifiers import SeriesUID
from node.records import Role
from tests.builders import SECRET, series_of

AGENT = {"ContrastBolusAgent": "GADOBUTROL", "AcquisitionDate": "20260102", "AcquisitionTime": "101500"}
BEFORE = {"AcquisitionDate": "20260102", "AcquisitionTime": "100000"}


def facts(number: int, **attributes: Any) -> SeriesFacts:
    headers = list(series_of(number, **attributes))
    return read_facts(SeriesUID(headers[0].SeriesInstanceUID), headers, instances=len(headers))


def role(**attributes: Any) -> Role:
    one = facts(1, **attributes)
    return decide_roles([one])[one.series].role


def selected(*study: SeriesFacts, post_alone: bool = False) -> dict[Role, SeriesUID] | str:
    selection = select(study, decide_roles(study), post_alone=post_alone)
    return dict(selection.series) if selection.series is not None else selection.reason


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({}, Role.PRE),
        (AGENT, Role.POST),
        ({"ContrastBolusAgent": "NONE"}, Role.PRE),
        ({"SeriesDescription": "T1 TSE tra +C"}, Role.POST),
        ({"SeriesDescription": "t1_tse_tra_post_gd"}, Role.POST),
        ({"SeriesDescription": "T1 ax without contrast"}, Role.PRE),
        ({"SeriesDescription": "t1 tra pre", **AGENT}, Role.OTHER),  # left over, or wrong: no guess
        ({**AGENT, "ContrastBolusStartTime": "101600"}, Role.PRE),  # the agent is named, and was given afterwards
        ({"ImageType": ["DERIVED", "SECONDARY", "SUB"], **AGENT}, Role.OTHER),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, Role.LOCALIZER),
        ({"SeriesDescription": "3-plane loc"}, Role.LOCALIZER),
        ({"RepetitionTime": 3500, "EchoTime": 90}, Role.OTHER),  # T2
        ({"ScanningSequence": ["SE", "IR"], "InversionTime": 150}, Role.OTHER),  # STIR
        ({"ScanningSequence": "GR", "SequenceVariant": "SP", "RepetitionTime": 5, "EchoTime": 2}, Role.PRE),
        ({"ScanningSequence": "GR", "SequenceVariant": "SS", "RepetitionTime": 5, "EchoTime": 2}, Role.OTHER),  # bSSFP
        ({"AngioFlag": "Y", "ScanningSequence": "GR"}, Role.MRV),
        ({"SeriesDescription": "MRV 2D TOF"}, Role.MRV),
        ({"LossyImageCompression": "01"}, Role.OTHER),
        ({"Modality": "CT"}, Role.OTHER),
        ({"ImageOrientationPatient": None}, Role.OTHER),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "DIXON", "FAT"]}, Role.OTHER),
        ({"BodyPartExamined": "HEAD"}, Role.PRE),  # it lies too often to be asked
    ],
)
def test_the_role_of_a_series_follows_its_header(attributes: dict[str, Any], expected: Role) -> None:
    assert role(**attributes) is expected


def test_two_dimensional_time_of_flight_is_recognised_by_its_physics() -> None:
    physics = {
        "ScanningSequence": "GR", "SequenceVariant": "SP", "MRAcquisitionType": "2D", "ScanOptions": ["FC", "SP"],
        "RepetitionTime": 25, "EchoTime": 6, "FlipAngle": 50,
    }  # fmt: skip

    assert role(**physics) is Role.MRV


def test_slices_in_several_planes_are_a_localizer() -> None:
    planes = [[1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, -1], [1, 0, 0, 0, 0, -1]]
    headers = [next(series_of(1, slices=1, ImageOrientationPatient=plane)) for plane in planes]
    one = read_facts(SeriesUID("2.25.1"), headers, instances=3)

    assert decide_roles([one])[one.series].role is Role.LOCALIZER


def test_evidence_quotes_no_text_of_the_header() -> None:
    one = facts(1, SeriesDescription=f"T1 post {SECRET}", ContrastBolusAgent=SECRET)

    assert SECRET.split("^")[0] not in decide_roles([one])[one.series].evidence


def test_a_contrast_pair_of_one_frame_of_reference_is_measurable() -> None:
    assert selected(facts(1, **BEFORE), facts(2, **AGENT)) == {
        Role.PRE: "2.25.1000.1",
        Role.POST: "2.25.1000.2",
    }


def test_an_mrv_in_the_same_space_joins_the_pair() -> None:
    mrv, elsewhere = facts(3, AngioFlag="Y"), facts(4, AngioFlag="Y", FrameOfReferenceUID="2.25.7", slices=9)

    found = selected(facts(1, **BEFORE), facts(2, **AGENT), mrv, elsewhere)

    assert isinstance(found, dict)
    assert found[Role.MRV] == mrv.series


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"FrameOfReferenceUID": "2.25.7"}, "frames of reference"),
        ({"PixelSpacing": [0.5, 0.5]}, "pixel spacings"),
        ({"SliceThickness": 8.0}, "thicknesses"),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 0.98, 0.199]}, "degrees"),
        ({"AcquisitionTime": "090000"}, "not acquired after"),
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
    assert found[Role.PRE] == same.series


def test_a_post_series_alone_is_measured_only_where_the_settings_say_so() -> None:
    post = facts(2, **AGENT)

    assert selected(post) == "no contrast pair and no MRV: pre-contrast T1 missing"
    assert selected(post, post_alone=True) == {Role.POST: post.series}


def test_an_mrv_alone_is_measurable() -> None:
    mrv = facts(3, AngioFlag="Y")

    assert selected(mrv) == {Role.MRV: mrv.series}


def test_two_series_without_a_sign_of_contrast_are_not_guessed_to_be_a_pair() -> None:
    found = selected(facts(1, **BEFORE), facts(2, AcquisitionDate="20260102", AcquisitionTime="101500"))

    assert found == "no contrast pair and no MRV: post-contrast T1 missing"
