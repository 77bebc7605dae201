"""Two series without a common frame of reference: a pair for registration to join, where nothing speaks against it."""

from typing import Any

import pytest

from node.completion import Selection, StackFacts, decide_roles, read_facts, read_table, select
from node.records import Role
from tests.builders import series_of

TABLE = read_table()
PRE = {"AcquisitionDate": "20260102", "AcquisitionTime": "100000"}
POST = {"AcquisitionDate": "20260102", "AcquisitionTime": "101500", "ContrastBolusAgent": "GADOBUTROL"}
ELSEWHERE = {"FrameOfReferenceUID": "2.25.7"}


def facts(number: int, **attributes: Any) -> StackFacts:
    (one,) = read_facts(list(series_of(number, **attributes)))
    return one


def selected(*study: StackFacts) -> Selection:
    return select(study, decide_roles(study, TABLE), post_alone=False)


@pytest.mark.parametrize("frames", [("2.25.7", "2.25.8"), (None, "2.25.8"), (None, None)])
def test_two_series_alike_in_shape_are_a_pair_wherever_they_lie(frames: tuple[str | None, str | None]) -> None:
    far = [0.0, 0.0, 900.0]
    pre = facts(1, **(PRE | {"FrameOfReferenceUID": frames[0]}))
    post = facts(2, **(POST | {"FrameOfReferenceUID": frames[1], "ImagePositionPatient": far, "slices": 1}))
    alike = facts(3, **(POST | {"FrameOfReferenceUID": frames[1]}))

    assert selected(pre, post).stacks is None  # one slice against six
    found = selected(pre, alike)

    assert found.stacks == {Role.PRE: pre.key, Role.POST: alike.key}
    assert found.reason == "contrast pair; weakened by CMP-FOR"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"slices": 8}, "CMP-FOR: not one frame of reference, and extents of 24 and 32 mm"),
        ({"Columns": 16}, "CMP-FOR: not one frame of reference, and extents of 8 and 16 mm"),
        ({"BodyPartExamined": "CSPINE"}, "CMP-FOR: not one frame of reference, and two parts of the body are named"),
        ({"PixelSpacing": [2.0, 2.0]}, "CMP-GEO"),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 0.98, 0.199]}, "CMP-GEO"),
        ({"PatientID": "ANOTHER"}, "CMP-FOR: not one patient"),
    ],
)
def test_what_is_unlike_in_two_frames_of_reference_is_no_pair(change: dict[str, Any], said: str) -> None:
    pre = facts(1, **PRE, BodyPartExamined="LSPINE")

    found = selected(pre, facts(2, **(POST | ELSEWHERE | change)))

    assert found.stacks is None
    assert said in found.reason


def test_a_pair_of_one_frame_of_reference_comes_before_any_other() -> None:
    first = facts(1, **PRE)
    pre = facts(2, **(PRE | ELSEWHERE | {"AcquisitionTime": "101000"}))
    post = facts(3, **(POST | ELSEWHERE))

    found = selected(first, pre, post)

    assert found.stacks == {Role.PRE: pre.key, Role.POST: post.key}
    assert found.reason == "contrast pair"


def test_who_did_not_leave_the_table_is_not_looked_for_in_another_frame_of_reference() -> None:
    """A neck before and after contrast, then fat-suppressed: the loin of another table position is not its partner."""
    neck, neck_after = facts(1, **PRE), facts(2, **(POST | {"ScanOptions": "FS"}))
    loin_after = facts(3, **(POST | ELSEWHERE | {"AcquisitionTime": "102000"}))

    found = selected(neck, neck_after, loin_after)

    assert found.stacks == {Role.PRE: neck.key, Role.POST: neck_after.key}  # refused in a report: CMP-FS
    assert "CMP-FS" in found.reason


def test_an_mrv_of_another_frame_of_reference_than_the_post_series_is_left_out() -> None:
    pre, post = facts(1, **PRE), facts(2, **(POST | ELSEWHERE))
    mrv = facts(3, AngioFlag="Y")

    stacks = selected(pre, post, mrv).stacks

    assert stacks is not None
    assert Role.MRV not in stacks
