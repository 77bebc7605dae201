from dataclasses import replace

import highdicom as hd
import pytest
from pydicom.dataset import Dataset

from node.findings import Measurement, Note, Regions
from node.records import ResultRole
from node.report.wording import DIFFERENTIAL
from tests.report.builders import (
    LESION,
    MEASUREMENTS,
    REFUSED,
    WITH_LESION,
    WITHOUT_LESION,
    built,
    evidence,
    items,
    name,
    objects,
    regions,
    value,
    walk,
)

GROUPS = ("Imaging Measurements", "Measurement Group")
ANSWERS = "Qualitative Evaluations"


@pytest.fixture(scope="module")
def sr() -> Dataset:
    return built()["sr"]


def group(dataset: Dataset, tracking_identifier: str) -> Dataset:
    """The measurement group of that name."""
    return next(
        item for item in items(dataset, *GROUPS) if value(items(item, "Tracking Identifier")[0]) == tracking_identifier
    )


def numbers(item: Dataset) -> dict[tuple[str, str], tuple[float, str]]:
    """(name, method or derivation, "" where an outline alone is told) -> (value, unit)."""
    return {
        (name(number), value(told) if (told := number.ContentSequence[0]).ValueType == "CODE" else ""): (
            value(number),
            number.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0].CodeValue,
        )
        for number in item.ContentSequence
        if number.ValueType == "NUM"
    }


def _no_regions() -> Regions:
    return MEASUREMENTS["refused without muscles"].regions


def answers(dataset: Dataset, meaning: str) -> list[str]:
    return [value(item) for item in items(dataset, ANSWERS, meaning)]


def told(**changes: object) -> Dataset:
    """The report of the findings with a lesion, when they are changed so."""
    return objects(Measurement(replace(WITH_LESION, **changes), regions()), wanted=(ResultRole.SR,))["sr"]


def test_the_report_is_a_measurement_report_that_nobody_has_verified(sr):
    assert (sr.SOPClassUID.name, sr.ContentTemplateSequence[0].TemplateIdentifier) == (
        "Comprehensive 3D SR Storage",
        "1500",
    )
    assert (sr.CompletionFlag, sr.VerificationFlag, sr.PreliminaryFlag) == ("COMPLETE", "UNVERIFIED", "PRELIMINARY")
    assert "VerifyingObserverSequence" not in sr


def test_the_rows_of_the_template_stand_in_its_order(sr):
    assert [name(item) for item in sr.ContentSequence] == [
        "Language of Content Item and Descendants",
        "Observer Type",
        "Device Observer UID",
        "Device Observer Name",
        "Device Observer Manufacturer",
        "Device Observer Model Name",
        "Device Observer Serial Number",
        "Procedure reported",
        "Image Library",
        "Imaging Measurements",
        "Qualitative Evaluations",
    ]


def test_highdicom_reads_what_was_written(sr):
    content = hd.sr.Comprehensive3DSR.from_dataset(sr).content

    found = content.get_volumetric_roi_measurement_groups(tracking_uid=group(sr, "PVM lesion 1").ContentSequence[1].UID)

    assert [one.finding_type.meaning for one in found] == ["Enhancing Lesion"]
    assert found[0].finding_sites[0].laterality.meaning == "Left"


def test_every_number_of_a_lesion_is_there_with_unit_and_method(sr):
    assert numbers(group(sr, "PVM lesion 1")) == {
        ("Volume", ""): (800.0, "mm3"),  # OHIF 3.11 and 3.12 want its outline alone
        ("Long axis", "Largest axial in-plane diameter and its perpendicular"): (14.1, "mm"),
        ("Short axis", "Largest axial in-plane diameter and its perpendicular"): (10.0, "mm"),
        ("Pre-contrast signal intensity", "Median"): (201.0, "[arb'U]"),
        ("Post-contrast signal intensity", "Median"): (402.0, "[arb'U]"),
        ("Relative signal enhancement", "Median"): (100.0, "%"),
        ("Relative signal enhancement", "Maximum"): (131.0, "%"),
        ("Lesion to reference muscle enhancement ratio", "Ratio of relative enhancements"): (2.5, "{ratio}"),
        ("Vessel volume fraction on MR venography", "Threshold on MR venography"): (6.25, "%"),
        ("Vessel volume fraction around the lesion on MR venography", "Threshold on MR venography"): (2.0, "%"),
        ("Centroid distance from midsagittal plane", "Centroid of segmented voxels"): (30.0, "mm"),
        ("Distance from skin", "Centroid of segmented voxels"): (41.0, "mm"),
        ("Centroid position toward the patient's left", "Centroid of segmented voxels"): (30.0, "mm"),
        ("Centroid position toward the patient's back", "Centroid of segmented voxels"): (35.0, "mm"),
        ("Centroid position toward the patient's head", "Centroid of segmented voxels"): (14.0, "mm"),
    }


def test_the_asymmetry_of_each_side_has_its_own_sign(sr):
    key = ("Left-right enhancement asymmetry index", "Difference over sum of left and right enhancement")

    assert numbers(group(sr, "PVM muscle left"))[key] == (12.5, "%")
    assert numbers(group(sr, "PVM muscle right"))[key] == (-12.5, "%")


def test_what_was_not_measured_is_left_out():
    sr = told(lesions=(replace(LESION, pre_signal=None, enhancement_pct=None),))

    found = numbers(group(sr, "PVM lesion 1"))

    assert ("Pre-contrast signal intensity", "Median") not in found
    assert ("Relative signal enhancement", "Median") not in found
    assert ("Post-contrast signal intensity", "Median") in found


@pytest.mark.parametrize(
    ("fraction", "increased", "expected"),
    [
        (6.25, True, ["Vascularity present in lesion", "Increased"]),
        (0.0, False, ["Vascularity not present", "Not increased"]),
        (None, None, ["Vascularity not assessed"]),
    ],
)
def test_vascularity_is_what_the_venography_shows(fraction, increased, expected):
    lesion = replace(LESION, vessel_fraction_pct=fraction, vascularity_increased=increased)

    found = group(told(lesions=(lesion,)), "PVM lesion 1")

    codes = [value(item) for item in found.ContentSequence if "ascularity" in name(item)]
    assert codes == expected


def test_a_group_and_its_segment_share_one_tracking_identity():
    made = built()
    segments = {
        (dataset.SOPInstanceUID, segment.SegmentNumber): (segment.TrackingID, segment.TrackingUID)
        for dataset in made.values()
        for segment in dataset.get("SegmentSequence", ())
    }

    for found in items(made["sr"], *GROUPS):
        reference = items(found, "Referenced Segment")[0].ReferencedSOPSequence[0]
        tracking = tuple(value(items(found, f"Tracking {kind}")[0]) for kind in ("Identifier", "Unique Identifier"))
        assert segments[reference.ReferencedSOPInstanceUID, reference.ReferencedSegmentNumber] == tracking


def test_the_series_that_a_segment_was_drawn_on_is_named(sr):
    assert value(items(group(sr, "PVM lesion 1"), "Source series for segmentation")[0]) == (
        evidence("post")[0].headers[0].SeriesInstanceUID
    )


def test_the_place_of_a_lesion_can_be_read(sr):
    (line,) = [text for text in answers(sr, "Finding") if text.startswith("Lesion")]

    assert line.startswith("Lesion 1, left: centroid at L 30.0, P 35.0, H 14.0 mm")


def test_a_negative_coordinate_is_on_the_other_side():
    sr = told(lesions=(replace(LESION, centroid_mm=(-1.0, -2.0, -3.0)),))

    assert "R 1.0, A 2.0, F 3.0 mm" in answers(sr, "Finding")[0]


def test_the_intended_use_is_said_in_every_report():
    for shape in MEASUREMENTS:
        assert answers(built(shape)["sr"], "Intended use statement") == ["Investigational. Not for diagnostic use."]


@pytest.mark.parametrize(
    ("shape", "summary", "quality"),
    [
        ("findings with MRV", "All algorithms succeeded; with findings", "Diagnostic quality"),
        ("no findings", "All algorithms succeeded; without findings", "Diagnostic quality"),
        ("refused with muscles", "No algorithms succeeded; without findings", "Non-diagnostic quality"),
        ("refused without muscles", "No algorithms succeeded; without findings", "Non-diagnostic quality"),
    ],
)
def test_the_answer_to_the_examination_is_coded(shape, summary, quality):
    sr = built(shape)["sr"]

    assert answers(sr, "CAD Processing and Findings Summary") == [summary]
    assert answers(sr, "Imaging Study Quality") == [quality]


def test_something_refused_on_the_way_limits_the_answer():
    sr = told(refusals=(Note("MRV-3", "The venography could not be registered."),))

    assert answers(sr, "CAD Processing and Findings Summary") == ["Not all algorithms succeeded; with findings"]
    assert answers(sr, "Imaging Study Quality") == ["Limited quality"]
    assert answers(sr, "Not measured") == ["MRV-3: The venography could not be registered."]


def test_a_refusal_that_has_a_standard_code_is_coded_as_well():
    sr = built("refused without muscles")["sr"]

    assert answers(sr, "Quality Finding") == ["Inadequate contrast enhancement"]
    assert answers(sr, "Not measured") == ["ROLE-CONTRAST: The series after contrast shows no enhancement."]


def test_caveats_and_gates_are_told_with_their_values(sr):
    assert answers(sr, "Limitation") == ["MRV-2: Time-of-flight venography loses slow flow."]
    assert answers(sr, "Quality check") == [
        "REG-1 passed: found 1.25, wanted translation <= 15 mm",
        "SEG-0 passed: found 1, wanted >= 0.6",
    ]


def test_the_differential_is_printed_from_grade_1_on():
    measurement = Measurement(replace(WITHOUT_LESION, grade=1), _no_regions())

    assert answers(objects(measurement)["sr"], "Differential Diagnosis/Impression") == [DIFFERENTIAL]


def test_no_differential_is_printed_where_nothing_was_found():
    assert answers(built("no findings")["sr"], "Differential Diagnosis/Impression") == []


def test_the_algorithm_is_named_once_with_every_parameter_and_the_hash(sr):
    container = items(sr, "Imaging Measurements")[0]

    modifiers = [(name(item), value(item)) for item in container.ContentSequence if item.ValueType != "CONTAINER"]

    assert modifiers == [
        ("Algorithm Name", "PVM contrast-enhancement analysis"),
        ("Algorithm Version", "0.1.0"),
        ("Algorithm Parameters", "detector_threshold=7.0"),
        ("Algorithm Parameters", "least_muscle_ratio=1.5"),
        ("Algorithm Parameters", f"configuration_hash={WITH_LESION.algorithm.configuration_hash}"),
        ("Algorithm Family", "Histogram Analysis"),
    ]


def test_a_report_without_segmentations_has_groups_without_segments():
    made = objects(wanted=(ResultRole.SR,))

    assert list(made) == ["sr"]
    assert len(items(made["sr"], *GROUPS)) == 3
    assert not [item for item in walk(made["sr"]) if name(item) == "Referenced Segment"]


def test_a_refusal_without_muscles_has_one_group_for_the_examination():
    (found,) = items(built("refused without muscles")["sr"], *GROUPS)

    assert value(items(found, "Tracking Identifier")[0]) == "PVM exam"
    assert value(items(found, "Imaging Series Quality")[0]) == "Non-diagnostic quality"


def test_a_refusal_with_muscles_still_tells_their_volume():
    sr = built("refused with muscles")["sr"]

    assert ("Volume", "") in numbers(group(sr, "PVM muscle left"))


def test_the_library_lists_every_source_instance_once(sr):
    listed = [
        item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        for item in items(sr, "Image Library", "Image Library Group", "Source")
    ]

    assert sorted(listed) == sorted(header.SOPInstanceUID for series in evidence() for header in series.headers)


def test_a_study_that_was_refused_before_any_volume_was_made_still_gets_its_answer():
    series = tuple(replace(one, slices=()) for one in evidence("post"))

    sr = objects(Measurement(replace(REFUSED, algorithm=WITHOUT_LESION.algorithm), regions=_no_regions()), series)["sr"]

    assert answers(sr, "CAD Processing and Findings Summary") == ["No algorithms succeeded; without findings"]


def test_orders_of_the_source_are_referred_to():
    def order(header: Dataset) -> None:
        request, code = Dataset(), Dataset()
        request.RequestedProcedureID, request.RequestedProcedureDescription = "RP1", "MR lumbar spine wo/w"
        code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "MRLS", "99SITE", "MR lumbar spine"
        request.RequestedProcedureCodeSequence = [code]
        header.RequestAttributesSequence = [request]

    sr = objects(series=evidence(edit=order))["sr"]

    (request,) = sr.ReferencedRequestSequence
    assert (request.RequestedProcedureID, request.AccessionNumber) == ("RP1", "ACC0001")
    assert request.RequestedProcedureCodeSequence[0].CodeValue == "MRLS"


def test_what_is_only_bright_after_contrast_is_not_coded_as_enhancement():
    bright = replace(LESION, pre_signal=None, enhancement_pct=None, enhancement_max_pct=None, muscle_ratio=None)

    of_pair, of_post = (group(told(lesions=(one,)), "PVM lesion 1") for one in (LESION, bright))

    assert "Focal Contrast Enhancement" in [value(one) for one in items(of_pair, "Enhancement pattern")]
    assert items(of_post, "Enhancement pattern") == []
    assert not {name for name, _how in numbers(of_post)} & {
        "Relative signal enhancement", "Lesion to reference muscle enhancement ratio",
    }  # fmt: skip
