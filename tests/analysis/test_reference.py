"""The reference muscle of a candidate: its own, nearby and not too near; the next best where there is too little."""

from dataclasses import replace

import numpy as np
import pytest

from node.analysis.foci import describe_foci
from node.analysis.lesions import Scene, keep_and_describe
from node.analysis.reference import check_references, reference_of
from node.findings import MuscleFindings, Side
from node.ports import Candidate
from node.settings import AnalysisSettings
from tests.analysis.phantom import grid
from tests.test_findings import FINDINGS

SPACING_MM = (4.0, 1.0, 1.0)
GEOMETRY = grid(spacing_mm=SPACING_MM, size_mm=(60.0, 60.0, 120.0))
HEAD, BACK, LEFT = np.indices(GEOMETRY.shape)
SIDES = np.where((BACK >= 5) & (BACK < 55), np.where(LEFT >= 65, 1, np.where(LEFT < 55, 2, 0)), 0).astype(np.uint8)
PARTS = np.where(SIDES == 1, np.where(LEFT < 85, 1, 3), np.where(SIDES == 2, np.where(LEFT >= 35, 2, 4), 0)).astype(
    np.uint8
)  # multifidus beside the midline, erector spinae beside it
REGION = (4 * (HEAD - 7)) ** 2 + (BACK - 30) ** 2 + (LEFT - 98) ** 2 <= 5**2  # in the left erector spinae
AWAY_MM = np.sqrt((4.0 * (HEAD - 7)) ** 2 + (BACK - 30) ** 2 + (LEFT - 98) ** 2) - 5
CLEAR = (SIDES > 0) & (AWAY_MM > 5)
MUSCLE, INFLAMED = 0.40, 0.80  # what enhances


def reference(clear: np.ndarray = CLEAR, parts: np.ndarray | None = PARTS):
    return reference_of(REGION, Side.LEFT, clear, SIDES, parts, SPACING_MM)


def test_it_is_the_same_muscle_5_to_25_mm_away_within_two_slices() -> None:
    found = reference()

    assert (found.name, found.failed) == ("erector spinae left, 5 to 25 mm away", False)
    assert set(PARTS[found.region]) == {3}
    assert AWAY_MM[found.region].min() > 5
    assert AWAY_MM[found.region].max() <= 25 + 1
    assert set(np.unique(HEAD[found.region])) == {4, 5, 6, 7, 8, 9, 10}


def test_where_muscles_are_not_told_apart_it_is_the_compartment_of_that_side() -> None:
    found = reference(parts=None)

    assert (found.name, found.failed) == ("posterior compartment left, 5 to 25 mm away", False)
    assert set(SIDES[found.region]) == {1}


@pytest.mark.parametrize(
    ("lacking", "name"),
    [
        (PARTS == 3, "posterior compartment left, 5 to 25 mm away"),
        (SIDES == 1, "posterior compartment of both sides in its slices"),
        (np.abs(HEAD - 7) < 4, "posterior compartment of both sides"),
    ],
)
def test_where_there_is_too_little_of_it_the_next_best_is_taken_by_name(lacking: np.ndarray, name: str) -> None:
    found = reference(CLEAR & ~lacking)

    assert (found.name, found.failed) == (name, True)
    assert not (found.region & lacking).any()


def scene(rise: np.ndarray, lean: np.ndarray, vessels: np.ndarray | None = None) -> Scene:
    pre = np.full(GEOMETRY.shape, 100, np.float32)
    post = (pre * (1 + np.where(REGION, 1.2, rise))).astype(np.float32)
    everywhere = np.ones(GEOMETRY.shape, bool)
    return Scene(pre, post, SIDES, lean, everywhere, vessels, GEOMETRY, 0, parts=PARTS)


def test_a_lesion_is_measured_against_its_own_muscle_and_not_against_what_enhances_elsewhere() -> None:
    rise = np.where(PARTS == 3, MUSCLE, INFLAMED)  # the other muscles, and the other side, are inflamed
    vein = (SIDES == 1) & (np.abs(BACK - 45) < 6)
    rise[vein] = 1.6

    (lesion,) = keep_and_describe(
        [Candidate(REGION, 5.0)], scene(rise, SIDES > 0, vein), AnalysisSettings()
    )  # fmt: skip

    assert lesion.findings.muscle_ratio == pytest.approx(1.2 / MUSCLE)
    assert lesion.findings.reference == "erector spinae left, 5 to 25 mm away"


def test_that_a_lesion_was_compared_with_other_muscle_is_said() -> None:
    rise = np.full(GEOMETRY.shape, MUSCLE)
    whole, little = scene(rise, SIDES > 0), scene(rise, (SIDES > 0) & (PARTS != 3))

    said = [describe_foci([Candidate(REGION, 5.0)], one, AnalysisSettings())[1].caveats for one in (whole, little)]

    assert said[0] == ()
    assert [(one.code, "candidate 1 (posterior compartment left" in one.text) for one in said[1]] == [("REF-1", True)]


@pytest.mark.parametrize(("ratio", "said"), [(120 / 40, []), (120 / 60, ["REF-2"]), (120 / 25, ["REF-2"])])
def test_a_reference_that_enhances_unlike_psoas_is_told(ratio: float, said: list[str]) -> None:
    lesion = replace(FINDINGS.lesions[0], enhancement_pct=120.0, muscle_ratio=ratio)
    psoas = [MuscleFindings(side, 1.0, 100.0, 142.0, 42.0, *[None] * 4, None, "psoas") for side in Side]

    assert [one.code for one in check_references([lesion], psoas).caveats] == said
    assert check_references([lesion], ()).caveats == ()  # psoas was not outlined
