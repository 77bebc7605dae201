"""What the report says of levels, and of what EMG suspects."""

from dataclasses import replace

import pytest

from node.findings import Findings, Location, Measurement, Side, Suspicion
from node.report.wording import suspicion
from tests.report.builders import LESION, LESION_MM, MEASUREMENTS, WITH_LESION, built, evidence, items, objects, value

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
        "Focal candidates on that side from L3 to S1: lesion 1."
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


@pytest.mark.parametrize(
    ("lesions", "asked", "there"),
    [
        ([(Side.LEFT, "L4")], ASKED, "on that side from L3 to S1: lesion 1."),
        ([(Side.LEFT, "L3"), (Side.LEFT, "S1")], ASKED, "on that side from L3 to S1: lesion 1, lesion 2."),
        ([(Side.LEFT, "L2"), (Side.RIGHT, "L4")], ASKED, "on that side from L3 to S1: none."),
        ([(Side.LEFT, "L4"), (Side.LEFT, None)], ASKED, "L3 to S1: lesion 1. Level not determined: lesion 2."),
        ([(Side.LEFT, "L2/L3")], ASKED, "on that side from L3 to S1: lesion 1."),
        ([(Side.RIGHT, "L4")], replace(ASKED, side="both"), "on either side from L3 to S1: lesion 1."),
        ([(Side.LEFT, "T1")], replace(ASKED, level="C8"), "on that side from C6 to T2: lesion 1."),
        ([(Side.LEFT, "S1")], replace(ASKED, level="L4-S1"), "on that side from L3 to S1: lesion 1."),
        ([(Side.LEFT, "C1")], replace(ASKED, level="C1"), "on that side from C1 to C3: lesion 1."),
        ([(Side.LEFT, None), (Side.RIGHT, None)], ASKED, "lesion 1. No vertebral level is given for them"),
        ([], ASKED, "on that side: none. No vertebral level is given for them"),
    ],
)
def test_candidates_near_the_suspected_level_are_listed(
    lesions: list[tuple[Side, str | None]], asked: Suspicion, there: str
) -> None:
    assert there in suspicion(findings(*lesions, asked=asked), asked)


def test_a_suspicion_that_is_told_later_makes_another_report_of_the_same_images() -> None:
    before = objects(Measurement(replace(WITH_LESION, suspicion=None), MEASUREMENTS[NAMED].regions), evidence())
    after = objects(Measurement(replace(WITH_LESION, suspicion=ASKED), MEASUREMENTS[NAMED].regions), evidence())

    assert before["sr"].SOPInstanceUID != after["sr"].SOPInstanceUID
