"""Which lesions are those of an earlier result, and that nothing is guessed."""

from dataclasses import replace
from typing import Any

import pytest

from node.analysis.brought import Brought
from node.analysis.recognition import recognized
from node.findings import EarlierLesion, EarlierResult, Findings, Gate, LesionFindings, Location, Side
from tests.report.builders import LESION, LESION_MM, WITH_LESION

FRAME = "2.25.5"
THEN = EarlierLesion(
    tracking_identifier="PVM lesion 2",
    tracking_uid="2.25.72",
    side=Side.LEFT,
    level="L4",
    centroid_mm=None,
    frame_of_reference="2.25.4",
    volume_mm3=500.0,
    long_axis_mm=11.0,
    short_axis_mm=9.0,
    enhancement_pct=80.0,
    midline_distance_mm=28.0,
    skin_distance_mm=45.0,
)


def now(number: int = 1, level: str | None = "L4", **others: Any) -> LesionFindings:
    return replace(LESION, number=number, location=Location(level, LESION_MM, None), **others)


def result(*lesions: EarlierLesion, day: str = "20251101") -> EarlierResult:
    return EarlierResult("2.25.1", "2.25.2", "1.2.3", "2.25.3", day, "0.1.0", lesions)


def compared(
    *lesions: LesionFindings, earlier: tuple[EarlierResult, ...] = (), revised: EarlierResult | None = None
) -> Findings:
    return recognized(replace(WITH_LESION, lesions=lesions), earlier, revised, FRAME)


def test_a_lesion_at_the_same_level_side_and_depth_is_recognized_and_keeps_its_track():
    (lesion,) = compared(now(), earlier=(result(THEN),)).lesions

    assert (lesion.tracking_identifier, lesion.tracking_uid) == ("PVM lesion 2", "2.25.72")
    assert lesion.prior is not None
    assert (lesion.prior.lesion, lesion.prior.study_date, lesion.prior.confidence) == (THEN, "20251101", "medium")
    assert lesion.prior.basis.startswith("both at L4 on the left, +2 mm from the midline and -4 mm from the skin")


@pytest.mark.parametrize(
    "other",
    [
        {"level": "L5"},
        {"level": None},
        {"side": Side.RIGHT},
        {"midline_distance_mm": 17.0},
        {"skin_distance_mm": 61.0},
        {"skin_distance_mm": None},
    ],
)
def test_what_lies_elsewhere_or_nobody_knows_where_is_not_recognized(other: dict[str, Any]):
    findings = compared(now(), earlier=(result(replace(THEN, **other)),))

    (lesion,) = findings.lesions
    assert (lesion.prior, lesion.tracking_uid) == (None, None)
    assert len(findings.unrecognized) == 1


@pytest.mark.parametrize("level", [None, "L4/L5", "L3 to L4"])
def test_a_lesion_without_one_vertebra_is_not_recognized_in_another_study(level: str | None):
    (lesion,) = compared(now(level=level), earlier=(result(replace(THEN, level=level)),)).lesions

    assert lesion.prior is None


def test_where_two_would_fit_neither_is_taken():
    twin = replace(THEN, tracking_identifier="PVM lesion 3", tracking_uid="2.25.73")

    two_then = compared(now(), earlier=(result(THEN, twin),))
    two_now = compared(now(1), now(2), earlier=(result(THEN),))

    assert [one.prior for one in (*two_then.lesions, *two_now.lesions)] == [None, None, None]


def test_a_new_lesion_takes_no_identifier_that_was_in_use():
    taken = [
        replace(THEN, side=Side.RIGHT, tracking_identifier=f"PVM lesion {n}", tracking_uid=f"2.25.{n}") for n in (1, 2)
    ]

    lesions = compared(now(1), now(2, "L2"), earlier=(result(*taken),)).lesions

    assert [one.tracking_identifier for one in lesions] == ["PVM lesion 3", "PVM lesion 4"]


def test_a_lesion_that_the_last_result_missed_is_recognized_in_the_one_before():
    findings = compared(now(), earlier=(result(day="20251201"), result(THEN)))

    (lesion,) = findings.lesions
    assert lesion.prior is not None
    assert lesion.prior.study_date == "20251101"


def test_in_one_frame_of_reference_the_place_decides_and_no_level_is_needed():
    x, y, z = LESION_MM
    there = replace(THEN, frame_of_reference=FRAME, level=None, centroid_mm=(x, y + 3.0, z))
    away = replace(there, centroid_mm=(x, y + 9.0, z), level="L4")

    (near,) = compared(now(level=None), earlier=(result(there),)).lesions
    (far,) = compared(now(), earlier=(result(away),)).lesions

    assert near.prior is not None
    assert (near.prior.basis, near.prior.confidence) == ("3 mm apart in one frame of reference", "medium")
    assert far.prior is None


def test_a_place_in_the_frame_of_reference_of_another_study_counts_only_where_nothing_speaks_against_it():
    there = replace(THEN, frame_of_reference=FRAME, centroid_mm=LESION_MM, level=None)
    twin = replace(there, tracking_identifier="PVM lesion 3", tracking_uid="2.25.73", centroid_mm=(0.0, 0.0, 0.0))
    x, y, z = LESION_MM
    registered = {"2.25.1": Brought((), {"2.25.72": (x, y, z + 34.0), "2.25.73": LESION_MM})}
    refused = {"2.25.1": Brought((Gate("PRI-REG-2", 0.4, ">= 0.8", passed=False),), {})}

    (of_level,) = compared(now(level="L3"), earlier=(result(replace(there, level="L4")),)).lesions
    (moved,) = by_place(now(level=None), there=registered, then=(there, twin)).lesions
    (unsure,) = by_place(now(level=None), there=refused, then=(there, twin)).lesions

    assert (of_level.prior, unsure.prior) == (None, None)
    assert (moved.tracking_uid, moved.prior and moved.prior.by) == ("2.25.73", "registration")


def test_a_study_that_is_measured_again_keeps_its_tracks_and_tells_no_change():
    before = result(replace(THEN, frame_of_reference=FRAME, centroid_mm=LESION_MM))

    findings = compared(now(level=None), revised=before)

    (lesion,) = findings.lesions
    assert (lesion.tracking_uid, lesion.prior, findings.earlier) == ("2.25.72", None, ())


def test_no_two_lesions_get_one_track():
    revised = result(replace(THEN, frame_of_reference=FRAME, centroid_mm=LESION_MM))

    lesions = compared(now(1), now(2, level=None), earlier=(result(THEN),), revised=revised).lesions

    assert [one.tracking_uid for one in lesions] == ["2.25.72", None]


def test_one_identifier_of_two_tracks_is_given_to_one_lesion_alone():
    earlier = result(replace(THEN, tracking_identifier="PVM lesion 1", tracking_uid="2.25.81"))
    there = replace(THEN, tracking_identifier="PVM lesion 1", frame_of_reference=FRAME, centroid_mm=LESION_MM)
    revised = result(replace(there, tracking_uid="2.25.82"))
    elsewhere = now(2, "L4", centroid_mm=(0.0, 0.0, 0.0))

    lesions = compared(now(1, "L2"), elsewhere, earlier=(earlier,), revised=revised).lesions

    assert [(one.tracking_identifier, one.tracking_uid) for one in lesions] == [
        ("PVM lesion 2", None),
        ("PVM lesion 1", "2.25.81"),
    ]


def test_of_two_earlier_results_with_one_identifier_the_newer_one_holds_it():
    newer = result(replace(THEN, tracking_identifier="PVM lesion 1", tracking_uid="2.25.81"), day="20251201")
    older = result(replace(THEN, tracking_identifier="PVM lesion 1", tracking_uid="2.25.82", level="L2"))

    both = compared(now(1, "L2"), now(2, "L4"), earlier=(newer, older)).lesions
    (only_older,) = compared(now(1, "L2"), earlier=(newer, older)).lesions

    assert [(one.tracking_identifier, one.tracking_uid) for one in both] == [
        ("PVM lesion 2", None),
        ("PVM lesion 1", "2.25.81"),
    ]
    assert (only_older.tracking_identifier, only_older.tracking_uid) == ("PVM lesion 2", None)


def brought(x_mm: float, *, looked_at: bool = True, uid: str = THEN.tracking_uid) -> dict[str, Brought]:
    """That the images of the earlier study were registered, and its lesion lies so far beside the present one."""
    x, y, z = LESION_MM
    return {"2.25.1": Brought((), {uid: (x + x_mm, y, z)}, frozenset({uid} if looked_at else ()))}


def by_place(
    *lesions: LesionFindings, there: dict[str, Brought], then: tuple[EarlierLesion, ...] = (replace(THEN, level=None),)
) -> Findings:
    return recognized(replace(WITH_LESION, lesions=lesions), (result(*then),), None, FRAME, there)


def test_where_the_earlier_images_were_registered_the_place_decides_and_no_level_is_needed():
    (near,) = by_place(now(level=None, long_axis_mm=12.0), there=brought(11.0)).lesions
    (far,) = by_place(now(level=None, long_axis_mm=12.0), there=brought(12.0)).lesions  # 6 mm and half of 11 mm

    assert near.prior is not None
    assert (near.tracking_uid, near.prior.by, near.prior.confidence) == ("2.25.72", "registration", "medium")
    assert near.prior.basis == "11 mm apart after registration of the earlier images"
    assert (far.prior, far.tracking_uid) == (None, None)


@pytest.mark.parametrize(("level", "x_mm"), [("L3", 2.0), ("L4", 20.0)])
def test_where_place_and_vertebra_say_different_things_nothing_is_recognized(level: str, x_mm: float):
    (lesion,) = by_place(now(level=level), there=brought(x_mm), then=(THEN,)).lesions

    assert lesion.prior is None


def test_a_lesion_near_two_places_or_on_the_other_side_is_recognized_as_neither():
    twin = replace(THEN, level=None, tracking_identifier="PVM lesion 3", tracking_uid="2.25.73")
    places = {**brought(3.0)["2.25.1"].places, **brought(-3.0, uid="2.25.73")["2.25.1"].places}

    (of_two,) = by_place(
        now(level=None), there={"2.25.1": Brought((), places)}, then=(replace(THEN, level=None), twin)
    ).lesions
    (other_side,) = by_place(now(level=None, side=Side.RIGHT), there=brought(0.0)).lesions

    assert (of_two.prior, other_side.prior) == (None, None)


def test_a_place_is_called_empty_only_where_it_was_looked_at_and_no_candidate_is_near():
    empty = [
        by_place(*lesions, there=there).registrations[0].empty
        for lesions, there in (
            ((), brought(0.0)),
            ((), brought(0.0, looked_at=False)),
            ((now(level=None),), brought(40.0)),
            ((now(level=None, side=Side.RIGHT),), brought(0.0)),  # nobody knows, but something is there
        )
    ]

    assert empty == [("2.25.72",), (), ("2.25.72",), ()]
