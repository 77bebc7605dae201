"""Earlier results: read from our own reports, of the same patient only; and what a report says of the change since."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from functools import cache

import pytest
from pydicom.dataset import Dataset

from node.delivery.fallback import fitted
from node.dicom.moments import study_began
from node.findings import EarlierResult, Findings, Gate, Location, Measurement, Recognition, Registration
from node.report import gate, wording
from node.report.earlier import is_of_patient, read_report
from node.report.pages import draw_lesion
from tests.report.builders import (
    LESION,
    LESION_MM,
    MEASUREMENTS,
    REFUSED,
    WITH_LESION,
    WITHOUT_LESION,
    built,
    evidence,
    items,
    objects,
    pictures,
    regions,
    value,
)
from tests.report.defects import group

NAMED = "levels and a suspicion by EMG"
SOURCES = tuple(header for series in evidence() for header in series.headers)


def told(shape: str = NAMED) -> EarlierResult:
    result = read_report(built(shape)["sr"])
    assert result is not None
    return result


def compared_findings() -> Findings:
    """The lesion has grown by half, and enhances less, since a result of the year before."""
    (before,) = told().lesions
    then = replace(
        before, tracking_identifier="PVM lesion 2", volume_mm3=533.3333, long_axis_mm=12.1, enhancement_pct=120.0
    )
    gone = replace(then, tracking_identifier="PVM lesion 1", tracking_uid="2.25.71", level=None)
    earlier = EarlierResult("2.25.61", "2.25.62", told().sop_class, "2.25.63", "20250102", "0.0.9", (then, gone))
    lesion = replace(
        LESION,
        location=Location("L4", LESION_MM, (4, 5)),
        tracking_identifier=then.tracking_identifier,
        tracking_uid=then.tracking_uid,
        prior=Recognition(then, "20250102", "both at L4 on the left", "medium"),
    )
    return replace(WITH_LESION, lesions=(lesion,), earlier=(earlier,))


@cache
def compared() -> dict[str, Dataset]:
    return objects(Measurement(compared_findings(), regions()))


def test_a_report_is_read_as_what_was_measured():
    measured = MEASUREMENTS[NAMED].findings.lesions[0]
    report = built(NAMED)["sr"]

    result = told()

    (lesion,) = result.lesions
    assert (result.study_date, result.sop_instance) == ("20260102", report.SOPInstanceUID)
    assert (lesion.tracking_identifier, lesion.side, lesion.level) == ("PVM lesion 1", measured.side, "L4")
    assert lesion.tracking_uid == value(items(group(built(NAMED)), "Tracking Unique Identifier")[0])
    assert lesion.centroid_mm == measured.centroid_mm
    assert lesion.frame_of_reference == SOURCES[0].FrameOfReferenceUID
    for name in (
        "volume_mm3",
        "long_axis_mm",
        "short_axis_mm",
        "enhancement_pct",
        "midline_distance_mm",
        "skin_distance_mm",
    ):
        assert getattr(lesion, name) == pytest.approx(getattr(measured, name)), name


def test_a_lesion_without_a_level_is_read_without_one():
    (lesion,) = told("findings with MRV").lesions

    assert (lesion.level, lesion.volume_mm3) == (None, 800.0)


def test_a_report_that_went_out_as_an_older_class_is_read_as_well():
    (sent,) = fitted([built(NAMED)["sr"]], ["1.2.840.10008.5.1.4.1.1.88.22"])

    result = read_report(sent)

    assert result is not None
    assert result.lesions == told().lesions


def test_without_findings_a_report_is_a_result_without_lesions_and_a_refusal_is_none():
    assert told("no findings").lesions == ()
    assert read_report(built("refused without muscles")["sr"]) is None


def no_scheme(report: Dataset) -> None:
    del report.CodingSchemeIdentificationSequence


def other_title(report: Dataset) -> None:
    report.ConceptNameCodeSequence[0].CodeValue = "126002"


def no_day(report: Dataset) -> None:
    report.StudyDate = ""


@pytest.mark.parametrize("edit", [no_scheme, other_title, no_day])
def test_what_is_not_ours_or_has_no_day_is_not_read(edit: Callable[[Dataset], None]):
    report = deepcopy(built()["sr"])
    edit(report)

    assert read_report(report) is None


def test_an_identifier_that_we_do_not_write_is_not_taken_over():
    made = deepcopy(built())
    items(group(made), "Tracking Identifier")[0].TextValue = "Doe^Jane, lesion 1"

    result = read_report(made["sr"])

    assert result is not None
    assert result.lesions == ()


@pytest.mark.parametrize(
    ("name", "value"), [("Volume", 0), ("Volume", -3), ("Long axis", -1), ("Relative signal enhancement", -130)]
)
def test_a_lesion_with_a_number_that_cannot_be_is_not_read(name: str, value: int):
    made = deepcopy(built(NAMED))
    for item in items(group(made), name):
        for measured in item.MeasuredValueSequence:
            measured.NumericValue = measured.FloatingPointValue = value

    result = read_report(made["sr"])

    assert result is not None
    assert result.lesions == ()


def test_lesions_that_repeat_a_track_are_not_read():
    report = deepcopy(built(NAMED)["sr"])
    (container,) = items(report, "Imaging Measurements")
    container.ContentSequence = [*container.ContentSequence, *deepcopy(items(container, "Measurement Group"))]

    result = read_report(report)

    assert result is not None
    assert result.lesions == ()


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"])
def test_a_report_that_cannot_be_referred_to_is_not_read(keyword: str):
    report = deepcopy(built()["sr"])
    setattr(report, keyword, "")

    assert read_report(report) is None


@pytest.mark.parametrize(
    ("keyword", "theirs", "same"),
    [
        ("PatientID", "PVM0002", False),
        ("PatientID", "", False),
        ("IssuerOfPatientID", "HOSPITAL", False),
        ("PatientName", "Roe^Jane", False),
        ("PatientName", "DOE^JANE^^", True),
        ("PatientName", "", True),
        ("PatientBirthDate", "19500102", False),
        ("PatientBirthDate", "", True),
        ("PatientSex", "M", False),
    ],
)
def test_a_report_is_of_the_patient_only_where_nothing_says_otherwise(keyword: str, theirs: str, same: bool):
    report = deepcopy(built()["sr"])
    setattr(report, keyword, theirs)

    assert is_of_patient(report, SOURCES[0]) is same


def test_a_report_carries_the_issuer_by_which_it_is_compared():
    def of_hospital(header: Dataset) -> None:
        header.IssuerOfPatientID = "HOSPITAL"

    series = evidence("pre", "post", edit=of_hospital)
    report = objects(MEASUREMENTS["no findings"], series, wanted=())["sr"]

    assert is_of_patient(report, series[0].headers[0])
    assert not is_of_patient(report, SOURCES[0])


def test_a_study_without_a_patient_id_has_no_earlier_results():
    (header,) = deepcopy(SOURCES[:1])
    report = deepcopy(built()["sr"])
    header.PatientID = report.PatientID = ""

    assert not is_of_patient(report, header)


def test_the_moment_of_a_study_is_as_much_as_its_header_says():
    header = Dataset()
    header.StudyDate, header.StudyTime = "2026.01.02", "10:15:00.25"
    (bare,) = deepcopy([header])
    bare.StudyTime = None

    assert (study_began(header), study_began(bare), study_began(Dataset())) == ("20260102101500", "20260102", "")


def test_a_recognized_lesion_has_its_earlier_track_in_report_and_segmentation():
    made = compared()

    (lesion,) = told().lesions
    (segment,) = made["seg-lesions"].SegmentSequence
    assert value(items(group(made), "Tracking Unique Identifier")[0]) == segment.TrackingUID == lesion.tracking_uid
    assert value(items(group(made), "Tracking Identifier")[0]) == segment.TrackingID == "PVM lesion 2"


def test_earlier_values_and_their_change_are_numbers_of_the_lesion():
    found = group(compared())

    said = {
        name: value(items(found, name)[0])
        for name in (
            "Volume in the earlier result",
            "Change of volume since the earlier result",
            "Long axis in the earlier result",
            "Change of long axis since the earlier result",
            "Relative signal enhancement in the earlier result",
            "Change of relative enhancement since the earlier result",
            "Recognized as the lesion of an earlier result",
        )
    }
    assert [*said.values()][:6] == pytest.approx([533.333, 50.0, 12.1, 2.0, 120.0, -20.0], rel=1e-4)
    assert said["Recognized as the lesion of an earlier result"] == "By level, side and depth, not registered"


def test_the_change_is_said_in_words_with_what_was_not_recognized():
    report = compared()["sr"]

    comparison = [value(one) for one in items(report, "Qualitative Evaluations", "Comparison to previous studies")]
    changes = [value(one) for one in items(report, "Qualitative Evaluations", "Description of Change")]
    assert comparison == [
        "Compared with earlier results of this node: 2025-01-02 (lesions: 2; release 0.0.9). Nothing was registered "
        "between studies, and how far values differ without a change of the patient is not known."
    ]
    assert changes == [
        "Lesion 1, left: recognized as PVM lesion 2 of 2025-01-02 (both at L4 on the left; confidence medium): "
        "volume 0.80 mL, was 0.53 mL (+50 %); long axis 14 mm, was 12 mm (+2 mm); enhancement 100 %, was 120 % "
        "(-20 points).",
        "PVM lesion 1 of 2025-01-02 (left, level not determined, 12 mm): recognized as no lesion of this examination. "
        "That does not mean that it is gone.",
    ]


def test_what_was_registered_is_said_and_that_a_place_that_was_looked_at_is_empty():
    findings = compared_findings()
    gates = (Gate("PRI-REG-2", 0.9, ">= 0.8 likeness of the backs", True),)
    (lesion,) = findings.lesions
    assert lesion.prior is not None
    placed = replace(lesion, prior=replace(lesion.prior, by="registration"))

    registered = replace(findings, lesions=(placed,), registrations=(Registration("2.25.61", gates, ("2.25.71",)),))
    unsure = replace(findings, registrations=(Registration("2.25.61", (replace(gates[0], passed=False),)),))

    assert "The images of 2025-01-02 were registered with these, and" in wording.comparison(registered)
    assert "Nothing was registered between studies, and" in wording.comparison(unsure)
    assert wording.changes(registered)[1].endswith(
        "recognized as no lesion of this examination. Where it lay, as far as registration tells, this examination has "
        "no candidate. That does not mean that it is gone."
    )
    assert "has no candidate" not in wording.changes(unsure)[1]
    (said,) = items(group(objects(Measurement(registered, regions()))), "Recognized as the lesion of an earlier result")
    assert value(said) == "By its place after registration of the earlier images"


def test_the_earlier_report_is_other_evidence():
    (study,) = compared()["sr"].PertinentOtherEvidenceSequence

    (series,) = study.ReferencedSeriesSequence
    (named,) = series.ReferencedSOPSequence
    assert (study.StudyInstanceUID, series.SeriesInstanceUID) == ("2.25.61", "2.25.62")
    assert named.ReferencedSOPInstanceUID == "2.25.63"


@pytest.mark.parametrize(
    ("findings", "sentence"),
    [
        (WITHOUT_LESION, "No earlier result was compared with."),
        (REFUSED, "Not compared with earlier results."),
        (
            replace(REFUSED, earlier=(EarlierResult("2.25.1", "2.25.2", "1.2.3", "2.25.3", "20250102", "0.1.0", ()),)),
            "Earlier results of this node: 2025-01-02 (lesions: 0; release 0.1.0). "
            "Not compared: no foci were looked for.",
        ),
    ],
)
def test_that_nothing_was_compared_is_said(findings: Findings, sentence: str):
    report = objects(Measurement(findings, replace(regions(), muscles=None, lesions=None, vessels=None)), wanted=())[
        "sr"
    ]

    (said,) = items(report, "Qualitative Evaluations", "Comparison to previous studies")
    assert value(said) == sentence
    assert items(report, "Qualitative Evaluations", "Description of Change") == []


def other_identifier(made: dict[str, Dataset]) -> None:
    items(group(made), "Tracking Identifier")[0].TextValue = "PVM lesion 7"
    made["seg-lesions"].SegmentSequence[0].TrackingID = "PVM lesion 7"


def own_uid(made: dict[str, Dataset]) -> None:
    items(group(made), "Tracking Unique Identifier")[0].UID = "2.25.99"
    made["seg-lesions"].SegmentSequence[0].TrackingUID = "2.25.99"


def other_value(made: dict[str, Dataset]) -> None:
    (item,) = items(group(made), "Volume in the earlier result")
    item.MeasuredValueSequence[0].NumericValue = item.MeasuredValueSequence[0].FloatingPointValue = 633.333


def other_evidence(made: dict[str, Dataset]) -> None:
    (study,) = made["sr"].PertinentOtherEvidenceSequence
    study.ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID = "2.25.99"


def shrunk_below_nothing(made: dict[str, Dataset]) -> None:
    (item,) = items(group(made), "Change of volume since the earlier result")
    item.MeasuredValueSequence[0].NumericValue = item.MeasuredValueSequence[0].FloatingPointValue = -120


@pytest.mark.parametrize(
    ("seed", "message"),
    [
        (
            other_identifier,
            "GATE-TRACKING a lesion has the Tracking UID of an earlier one, and another Tracking Identifier",
        ),
        (own_uid, "GATE-TRACKING a lesion is compared with an earlier one, and has not its Tracking UID"),
        (other_value, "GATE-RANGE 'Volume in the earlier result' is not what the earlier result told"),
        (other_evidence, "GATE-REFERENCE its other evidence is none of the results that it was compared with"),
        (shrunk_below_nothing, "GATE-RANGE 'Change of volume since the earlier result' cannot be -120"),
    ],
)
def test_what_an_earlier_result_does_not_tell_does_not_leave(seed: Callable[[dict[str, Dataset]], None], message: str):
    made = deepcopy(compared())
    seed(made)

    found = gate.faults(tuple(made.values()), SOURCES, compared_findings().earlier)

    assert any(message in fault for fault in found), found


def test_a_lesion_that_the_newest_result_lists_as_well_may_be_compared_with_an_older_one():
    (compared_with,) = compared_findings().earlier
    newest = replace(
        compared_with,
        sop_instance="2.25.64",
        lesions=tuple(replace(one, level="L2", volume_mm3=1.0) for one in compared_with.lesions),
    )

    made = tuple(compared().values())

    assert gate.faults(made, SOURCES, [newest, compared_with]) == []
    assert any("is not what the earlier result told" in fault for fault in gate.faults(made, SOURCES, [newest]))


def test_a_track_of_an_earlier_lesion_on_the_other_side_does_not_leave():
    earlier = compared_findings().earlier[0]
    swapped = replace(earlier, lesions=tuple(replace(one, side=one.side.other) for one in earlier.lesions))

    found = gate.faults(tuple(compared().values()), SOURCES, [swapped])

    assert any(
        "GATE-SIDE a lesion has the Tracking UID of an earlier one on the other side" in fault for fault in found
    )


def test_the_pages_of_a_lesion_and_of_the_report_tell_the_change():
    findings = compared_findings()
    (lesion,) = findings.lesions
    assert lesion.prior is not None

    page, plain = (draw_lesion(one, findings, pictures()) for one in (lesion, replace(lesion, prior=None)))

    assert page is not None
    assert plain is not None
    assert page.crop((0, 40, 1200, 112)).tobytes() != plain.crop((0, 40, 1200, 112)).tobytes()
