"""What the report says of levels, and of what EMG suspects."""

from dataclasses import replace

from pydicom.dataset import Dataset

from node.findings import Findings, Location, Measurement, Side, Suspicion
from tests.report.builders import (
    LESION,
    LESION_MM,
    MEASUREMENTS,
    WITH_LESION,
    built,
    evidence,
    items,
    level_rows,
    name,
    objects,
    value,
)

NAMED = "levels and a suspicion by EMG"
ASKED = Suspicion("L4", "left", "order", "StudyDescription")


def said(shape: str, meaning: str) -> list[str]:
    return [value(item) for item in items(built(shape)["sr"], "Qualitative Evaluations", meaning)]


def findings(*lesions: tuple[Side, str | None], asked: Suspicion = ASKED) -> Findings:
    made = tuple(
        replace(LESION, number=number, side=side, location=Location(level, LESION_MM, (4, 5)))
        for number, (side, level) in enumerate(lesions, start=1)
    )
    return replace(WITH_LESION, lesions=made, suspicion=asked)


def test_the_suspicion_is_said_with_its_source_and_what_lies_there() -> None:
    assert said(NAMED, "Level and side suspected by EMG") == [
        "Suspected by EMG: L4, left (source: order, RequestAttributesSequence). "
        "At L4 left: enhancement 52 %: diffuse enhancement."
    ]


def test_without_a_suspicion_nothing_is_said_of_it() -> None:
    assert said("findings with MRV", "Level and side suspected by EMG") == []


def test_the_counting_basis_is_said_and_where_no_level_is_named_that() -> None:
    assert said(NAMED, "Vertebral level and counting basis") == [
        "Vertebral level counted from S1, assuming five lumbar vertebrae; labeller known 1."
    ]
    assert said("refused without muscles", "Vertebral level and counting basis") == ["Level not determined."]


def test_the_lines_of_lesion_and_muscles_name_level_and_slices() -> None:
    lesion, left, right = said(NAMED, "Finding")

    assert "Lesion 1, left: at L4, axial slices 4 to 5 counted from the head, centroid at" in lesion
    assert "at L2 to L5, axial slices 2 to 7 counted from the head" in left
    assert "at L2 to L5" in right


def test_a_lesion_without_a_level_says_so() -> None:
    one = Measurement(findings((Side.LEFT, None)), MEASUREMENTS[NAMED].regions)

    report = objects(one)["sr"]

    lesion, *_ = [value(item) for item in items(report, "Qualitative Evaluations", "Finding")]
    assert "Lesion 1, left: level not determined, axial slices 4 to 5" in lesion


def test_each_level_has_a_line_with_both_sides() -> None:
    lines = said(NAMED, "Muscle by level")

    assert len(lines) == 4
    assert lines[2].startswith(
        "at L4, axial slices 5 to 6 counted from the head, posterior compartment: left enhancement 52 %, "
        "2.40 times the other levels, asymmetry index +12 %"
    )
    assert "DIFFUSE; right enhancement 22 %" in lines[2]
    assert "DIFFUSE" not in lines[1]


def test_a_slab_without_a_vertebra_is_named_by_its_slices_and_has_no_coded_number() -> None:
    rows = level_rows(None, None)
    report = objects(Measurement(replace(WITH_LESION, levels=rows), MEASUREMENTS[NAMED].regions))["sr"]

    lines = [value(item) for item in items(report, "Qualitative Evaluations", "Muscle by level")]
    assert [line.partition(", posterior")[0] for line in lines] == [
        "level not determined, axial slices 1 to 2 counted from the head",
        "level not determined, axial slices 3 to 4 counted from the head",
    ]
    assert not of_levels(report)


def test_every_level_of_a_side_is_coded_with_its_vertebra_and_side() -> None:
    enhancement = {
        (vertebra, side): number
        for name, vertebra, side, number in of_levels(built(NAMED)["sr"])
        if name == "Relative signal enhancement at one vertebral level"
    }

    assert enhancement == {
        ("L2 vertebra", "Left"): 20.0,
        ("L2 vertebra", "Right"): 20.0,
        ("L3 vertebra", "Left"): 21.0,
        ("L3 vertebra", "Right"): 21.0,
        ("L4 vertebra", "Left"): 52.0,
        ("L4 vertebra", "Right"): 22.0,
        ("L5 vertebra", "Left"): 23.0,
        ("L5 vertebra", "Right"): 23.0,
    }


def of_levels(report: Dataset) -> list[tuple[str, str, str, float]]:
    """Name, vertebra, side and value of each number that has a place of its own within its group."""
    found = []
    for number in items(report, "Imaging Measurements", "Measurement Group"):
        for item in number.ContentSequence:
            for site in items(item, "Finding Site") if item.ValueType == "NUM" else ():
                side, vertebra = (value(items(site, one)[0]) for one in ("Laterality", "Topographical modifier"))
                found.append((name(item), vertebra, side, value(item)))
    return found


def test_a_lesion_at_one_vertebra_is_coded_there_and_one_at_a_disc_is_not() -> None:
    one, disc = (findings((Side.LEFT, level)) for level in ("L4", "L4/L5"))

    assert [coded(objects(Measurement(each, MEASUREMENTS[NAMED].regions))["sr"]) for each in (one, disc)] == [
        ["L4 vertebra"],
        [],
    ]


def coded(report: Dataset) -> list[str]:
    (lesion, *_muscles) = items(report, "Imaging Measurements", "Measurement Group")
    return [value(item) for item in items(lesion, "Finding Site", "Topographical modifier")]


def test_diffuse_enhancement_is_coded_in_the_muscle_of_its_side_alone() -> None:
    groups = items(built(NAMED)["sr"], "Imaging Measurements", "Measurement Group")

    patterns = [[value(item) for item in items(group, "Enhancement pattern")] for group in groups]

    assert patterns == [
        ["Focal Contrast Enhancement", "Washout delayed phase: Type 3 curve"],
        ["Diffuse Contrast Enhancement"],
        [],
    ]


def test_the_curve_over_time_is_coded_with_its_units() -> None:
    lesion, *_ = items(built(NAMED)["sr"], "Imaging Measurements", "Measurement Group")

    found = {
        name(item): (value(item), item.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0].CodeValue)
        for item in lesion.ContentSequence
        if item.ValueType == "NUM"
    }

    expected = {
        "Bolus Arrival Time": (12.0, "s"),
        "Time To Peak": (38.0, "s"),
        "Peak relative signal enhancement": (115.0, "%"),
        "Peak relative signal enhancement in the first minute": (108.0, "%"),
        "Maximum Slope": (4.25, "%/s"),
        "IAUC60": (3900.0, "%.s"),
        "IAUC90": (6800.0, "%.s"),
        "Ktrans": (0.21, "/min"),
        "kep": (0.64, "/min"),
        "ve": (0.33, "1"),
    }
    assert {name: found.get(name) for name in expected} == expected


def test_what_joins_a_lesion_with_the_plexus_is_told() -> None:
    lesion, *_ = items(built(NAMED)["sr"], "Imaging Measurements", "Measurement Group")

    assert value(items(lesion, "Distance to paravertebral venous plexus")[0]) == 12.5
    assert value(items(lesion, "Vessel between lesion and paravertebral venous plexus")[0]) == "Present"


def test_a_biopsy_path_is_told_with_its_sides_spelled_out() -> None:
    assert said(NAMED, "Biopsy path, a geometric proposal") == [
        "Lesion 1, left: target at L 31.0, P 36.0, H 14.0 mm (DICOM patient coordinates); "
        "skin entry at L 45.0, P 78.0, H 15.0 mm (DICOM patient coordinates); depth 44 mm; "
        "18 degrees from the sagittal plane, entering on the patient's left of the target, "
        "tilted 1 degrees toward the head; 7 mm from vessel. Geometry only: verify before use."
    ]


def test_a_suspicion_that_is_told_later_makes_another_report_of_the_same_images() -> None:
    before = objects(Measurement(replace(WITH_LESION, suspicion=None), MEASUREMENTS[NAMED].regions), evidence())
    after = objects(Measurement(replace(WITH_LESION, suspicion=ASKED), MEASUREMENTS[NAMED].regions), evidence())

    assert before["sr"].SOPInstanceUID != after["sr"].SOPInstanceUID
