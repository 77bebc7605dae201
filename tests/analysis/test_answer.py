"""The answer to EMG: what is said of the level and side that it suspects."""

from dataclasses import replace

import pytest

from node.analysis.answer import answer
from node.analysis.detection import MultiscaleDetector
from node.analysis.levels import NoLabeller
from node.analysis.regional import Regional
from node.analysis.results import Tools, refusal, result
from node.analysis.segmentation import CompartmentSegmenter
from node.analysis.verdict import Verdict
from node.findings import LesionFindings, Location, MuscleFindings, Note, Regions, Side, Suspicion
from node.settings import AnalysisSettings
from tests.test_findings import FINDINGS

SETTINGS = AnalysisSettings()
VERTEBRAE = ("L2", "L3", "L4", "L5", "S1")


def row(level: str | None, side: Side, rise: float | None = 40.0, *, number: int = 0, **more: object) -> MuscleFindings:
    place = Location(level, (30.0, 60.0, -36.0 * number), (1 + 9 * number, 9 + 9 * number))
    usual = {"relative_enhancement": None if rise is None else rise / 40, "diffuse": None if rise is None else False}
    asymmetry = None if rise is None else 100 * (rise - 40) / (rise + 40)
    return MuscleFindings(side, 1000.0, 100.0, 140.0, rise, 5.0, asymmetry, 1.0, None, place, **{**usual, **more})


def rows(changed: dict[tuple[str, Side], MuscleFindings] | None = None) -> list[MuscleFindings]:
    return [
        (changed or {}).get((level, side), row(level, side, number=number))
        for number, level in enumerate(VERTEBRAE)
        for side in (Side.LEFT, Side.RIGHT)
    ]


def lesion(number: int, side: Side, level: str | None) -> LesionFindings:
    return replace(FINDINGS.lesions[0], number=number, side=side, location=Location(level, (0.0, 0.0, 0.0), (3, 4)))


def asked(level: str, side: str = "left") -> Suspicion:
    return Suspicion(level, side, "emg add", "operator")


DIFFUSE = {("L4", Side.LEFT): row("L4", Side.LEFT, 61.0, number=2, relative_enhancement=61 / 41, diffuse=True)}


def test_the_level_is_compared_with_the_other_side_and_with_the_other_levels() -> None:
    said = answer(asked("L4"), rows(DIFFUSE), (), (), 1, SETTINGS)

    assert said.statement == (
        "At L4 left: enhancement 61 % against 40 % on the right and 41 % elsewhere (R 1.5): diffuse enhancement. "
        "No focal candidate. Neighbouring levels (L3, L5, S1): nothing more on that side."
    )
    assert said.matched


def test_one_level_above_and_two_below_are_answered_for_suspected_side_first() -> None:
    said = answer(asked("L3", "right"), rows(), (), (), 0, SETTINGS)

    near = ("L2", "L3", "L4", "L5")
    assert [(one.location.level, one.side) for one in said.levels] == [
        *((level, Side.RIGHT) for level in near), *((level, Side.LEFT) for level in near),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("level", "near"),
    [("S1", ["L5", "S1"]), ("L4-L5", ["L3", "L4", "L5", "S1"]), ("L2", ["L2", "L3", "L4"]), ("T12", ["L2"])],
)
def test_the_neighbours_end_where_the_spine_or_the_images_do(level: str, near: list[str]) -> None:
    said = answer(asked(level), rows(), (), (), 0, SETTINGS)

    assert [one.location.level for one in said.levels if one.side is Side.LEFT] == near


def test_the_eighth_cervical_root_leaves_below_the_seventh_vertebra() -> None:
    seen = [row("C7", Side.LEFT), row("C7", Side.RIGHT)]

    assert answer(asked("C8"), seen, (), (), 0, SETTINGS).statement.startswith("At C7 left: enhancement 40 %")


def test_candidates_there_and_beside_are_named_and_those_of_the_other_side_are_not() -> None:
    found = [lesion(1, Side.LEFT, "L4"), lesion(2, Side.LEFT, "L5/S1"), lesion(3, Side.RIGHT, "L4"),
             lesion(4, Side.LEFT, "T4")]  # fmt: skip

    said = answer(asked("L4"), rows(DIFFUSE), found, (), 2, SETTINGS)

    assert said.lesions == (1, 2)
    assert "diffuse enhancement. Focal candidate 1 (12 mm, left)." in said.statement
    assert said.statement.endswith("Neighbouring levels (L3, L5, S1): Focal candidate 2 (12 mm, left).")


def test_a_neighbour_that_is_diffuse_is_named() -> None:
    said = answer(asked("L3"), rows(DIFFUSE), (), (), 1, SETTINGS)

    assert "At L3 left: enhancement 40 % against 40 % on the right and 40 % elsewhere (R 1.0): not diffuse." in (
        said.statement
    )
    assert "Neighbouring levels (L2, L4, L5): diffuse enhancement at L4 left." in said.statement


def test_what_was_not_measured_is_said_with_its_code() -> None:
    nothing = [row(level, side, None) for level in VERTEBRAE for side in Side]
    refusals = (Note("CMP-GAIN", "too little fat"),)

    said = answer(asked("L4"), nothing, (), refusals, None, SETTINGS)

    assert said.statement.startswith(
        "At L4 left: not measurable (CMP-GAIN). Focal candidates were not judged (CMP-GAIN)."
    )


def test_a_study_in_which_nothing_was_measured_is_answered_too() -> None:
    said = answer(asked("L4", "both"), (), (), (Note("SEG-0", "no muscles"),), None, SETTINGS)

    assert said.statement == (
        "No vertebra could be named: the match to L4 is left to the reader. From the head down on either side: "
        "enhancement not measurable (SEG-0). Focal candidates were not judged (SEG-0)."
    )
    assert (said.levels, said.lesions, said.matched) == ((), (), False)


def test_without_vertebrae_every_slab_of_that_side_is_told_and_the_match_left_to_the_reader() -> None:
    slabs = [row(None, side, 40.0 + 5 * number, number=number) for number in range(2) for side in Side]

    said = answer(asked("L4"), slabs, [lesion(1, Side.LEFT, None), lesion(2, Side.RIGHT, None)], (), 2, SETTINGS)

    assert said.statement == (
        "No vertebra could be named: the match to L4 is left to the reader. From the head down on the left: "
        "enhancement slices 1 to 9 left 40 %, slices 10 to 18 left 45 %. Focal candidate 1 (12 mm, left)."
    )
    assert [one.side for one in said.levels] == [Side.LEFT] * 2
    assert (said.lesions, said.matched) == ((1,), False)


def test_a_level_outside_of_the_images_is_said_to_be_so() -> None:
    assert (
        "At T8 left: not measured, no muscle was outlined there. Foci were not looked for where no muscle was outlined."
        in (answer(asked("T8"), rows(), (), (), 0, SETTINGS).statement)
    )


def test_neighbours_whose_foci_were_not_judged_are_not_said_to_be_free() -> None:
    said = answer(asked("L4"), rows(), (), (Note("REG-3", "It does not fit."),), None, SETTINGS).statement

    assert "nothing more" not in said
    assert "Neighbouring levels (L3, L5, S1): not judged (REG-3)." in said


def test_a_lesion_along_several_vertebrae_is_at_each_of_them() -> None:
    said = answer(asked("L4"), rows(), [lesion(1, Side.LEFT, "L3 to L5")], (), 2, SETTINGS)

    assert said.lesions == (1,)
    assert "No focal candidate" not in said.statement


LEFT_OUT = Note("SEG-PART", "No muscle was accepted in slices 1 to 3 from the head: foci were not looked for.")


@pytest.mark.parametrize("level", ["L4", None])
def test_slices_in_which_foci_were_not_looked_for_are_named_beside_what_was_not_found(level: str | None) -> None:
    seen = rows() if level else [row(None, side) for side in Side]

    said = answer(asked("L4"), seen, (), (), 0, SETTINGS, caveats=(LEFT_OUT,)).statement

    assert "No focal candidate." in said
    assert said.endswith(LEFT_OUT.text)


def test_a_level_among_others_that_hardly_enhance_is_not_said_to_have_none_to_compare_with() -> None:
    alone = row("L4", Side.LEFT, 30.0, number=2, relative_enhancement=None, diffuse=True)

    said = answer(asked("L4"), rows({("L4", Side.LEFT): alone}), (), (), 1, SETTINGS).statement

    assert "enhancement 30 % against 40 % on the right and less than 5 % elsewhere: diffuse enhancement." in said


def test_where_nothing_was_refused_the_reason_is_named_in_words() -> None:
    vessels = [replace(row(level, side, None), vessel_fraction_pct=1.0) for level in VERTEBRAE for side in Side]
    little = rows({("L4", Side.LEFT): row("L4", Side.LEFT, None, number=2)})

    of_mrv = answer(asked("L4"), vessels, (), (), None, SETTINGS).statement
    of_mrv_alone = Note("IN-2", "mrv series: slices are missing")
    of_pair = answer(asked("L4"), little, (), (of_mrv_alone,), 0, SETTINGS).statement

    assert "enhancement not measurable (no series before and after contrast); vessels 1.0 %" in of_mrv
    assert "Focal candidates were not judged (no series before and after contrast)." in of_mrv
    assert "At L4 left: not measurable (too little lean muscle)." in of_pair


def test_the_answer_of_a_study_whose_roles_are_in_doubt_names_the_doubt() -> None:
    doubt = Note("ROLE-CONTRAST", "The headers do not agree which series is before and which after contrast.")
    tools = Tools(
        SETTINGS, CompartmentSegmenter(), MultiscaleDetector(), NoLabeller(), None, asked("L4"), (doubt,)
    )  # fmt: skip
    of_mrv = tuple(replace(row(level, side, None), vessel_fraction_pct=1.0) for level in VERTEBRAE for side in Side)

    findings = result(
        ("mrv",), None, Regional((), of_mrv), (), Verdict(), tools, Regions(None, None, None, "mrv")
    ).findings  # fmt: skip

    assert findings.refusals == (doubt,)
    assert "enhancement not measurable (ROLE-CONTRAST)" in findings.answer.statement
    assert "Focal candidates were not judged (ROLE-CONTRAST)." in findings.answer.statement


def test_the_fault_of_an_mrv_is_told_but_is_no_reason_for_an_enhancement_that_is_missing() -> None:
    of_mrv, of_pair = Note("IN-2", "mrv series: slices are missing"), Note("SEG-0", "no muscles")
    tools = Tools(
        SETTINGS, CompartmentSegmenter(), MultiscaleDetector(), NoLabeller(), None, asked("L4"), beside=(of_mrv,)
    )  # fmt: skip

    findings = refusal(Verdict(refusals=(of_pair,)), tools).findings

    assert findings.refusals == (of_mrv, of_pair)
    assert findings.summary == "Enhancement was not measured (SEG-0)."
    assert "IN-2" not in findings.answer.statement
