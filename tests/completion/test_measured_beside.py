"""What is measured beside a pair, or in its place: Dixon fat, velocities, dynamic series."""

from collections.abc import Sequence
from typing import Any

import pytest
from pydicom.dataset import Dataset

from node.completion import Selection, StackFacts, decide_roles, read_facts, read_table, select
from node.records import Role
from tests.builders import series_of

TABLE = read_table()
DAY = {"AcquisitionDate": "20260102"}
AGENT = {"ContrastBolusAgent": "GADOBUTROL"}
VIBE = {
    "ScanningSequence": "GR", "SequenceVariant": "SP", "RepetitionTime": 5, "EchoTime": 2, "FlipAngle": 10,
    "MRAcquisitionType": "3D",
}  # fmt: skip
PHASE_CONTRAST = {
    "ScanningSequence": "GR", "SequenceVariant": "SP", "RepetitionTime": 40, "EchoTime": 7, "FlipAngle": 20,
    "SequenceName": "*fl2d1_v20in",
}  # fmt: skip


def facts(number: int, clock: str, **attributes: Any) -> StackFacts:
    (one,) = read_facts(list(series_of(number, **(DAY | {"AcquisitionTime": clock} | attributes))))
    return one


def dixon(number: int, clock: str, part: str, **attributes: Any) -> StackFacts:
    return facts(number, clock, **(VIBE | {"ImageType": ["DERIVED", "PRIMARY", "DIXON", part]} | attributes))


def dynamic(number: int, points: int, **attributes: Any) -> tuple[StackFacts, ...]:
    """Return the facts of one series of several time points, a minute apart."""
    instances: list[Dataset] = []
    for point in range(points):
        clock = {"AcquisitionTime": f"10{point:02d}00", "TemporalPositionIdentifier": point + 1}
        made = list(series_of(number, **(VIBE | DAY | clock | attributes)))
        for one in made:
            one.SOPInstanceUID = f"{one.SOPInstanceUID}.{point}"
        instances += made
    return read_facts(instances)


def selected(*study: StackFacts, post_alone: bool = False) -> Selection:
    return select(study, decide_roles(study, TABLE), post_alone=post_alone)


# ---------------------------------------------------------------- Dixon


def test_water_is_compared_with_water_and_its_fat_is_taken_along() -> None:
    water, fat = dixon(1, "100000", "WATER"), dixon(2, "100000", "FAT")
    after, fat_after = dixon(3, "101500", "WATER", **AGENT), dixon(4, "101500", "FAT", **AGENT)

    found = selected(water, fat, after, fat_after)

    assert found.stacks == {Role.PRE: water.key, Role.POST: after.key, Role.FAT: fat.key}
    assert found.reason == "contrast pair"


@pytest.mark.parametrize(
    "change",
    [{"AcquisitionTime": "100500"}, {"PixelSpacing": [2.0, 2.0]}, {"slices": 4}, {"FrameOfReferenceUID": "2.25.7"}],
)
def test_fat_of_another_acquisition_is_left_out(change: dict[str, Any]) -> None:
    pair = dixon(1, "100000", "WATER"), dixon(3, "101500", "WATER", **AGENT)
    fat = facts(2, "100000", **(VIBE | {"ImageType": ["DERIVED", "PRIMARY", "DIXON", "FAT"]} | change))

    stacks = selected(*pair, fat).stacks

    assert stacks is not None
    assert Role.FAT not in stacks


def test_in_phase_is_compared_with_in_phase_and_never_with_water() -> None:
    before, after = dixon(1, "100000", "IN_PHASE"), dixon(2, "101500", "IN_PHASE", **AGENT)

    assert selected(before, after).reason == "contrast pair"
    assert "CMP-FS" in selected(before, dixon(3, "101500", "WATER", **AGENT)).reason


def test_the_parts_of_a_dixon_in_one_series_are_told_apart() -> None:
    def both(number: int, clock: str, **attributes: Any) -> tuple[StackFacts, ...]:
        instances: list[Dataset] = []
        for k, part in enumerate(("WATER", "FAT")):
            kind = VIBE | DAY | {"AcquisitionTime": clock, "ImageType": ["DERIVED", "PRIMARY", "DIXON", part]}
            made = list(series_of(number, **(kind | attributes)))
            for one in made:
                one.SOPInstanceUID = f"{one.SOPInstanceUID}.{k}"
            instances += made
        return read_facts(instances)

    before, after = both(1, "100000"), both(2, "101500", **AGENT)
    stacks = selected(*before, *after).stacks

    assert stacks is not None
    parts = {one.key: one.acquisition.part for one in (*before, *after)}
    assert {role: (key.series, parts[key]) for role, key in stacks.items()} == {
        Role.PRE: (before[0].series, "water"),
        Role.POST: (after[0].series, "water"),
        Role.FAT: (before[0].series, "fat"),
    }


# ---------------------------------------------------------------- velocities


def phase_contrast(number: int, clock: str, kind: str, **attributes: Any) -> StackFacts:
    return facts(number, clock, **(PHASE_CONTRAST | {"ImageType": ["ORIGINAL", "PRIMARY", kind, "ND"]} | attributes))


def test_the_velocities_of_a_phase_contrast_go_with_its_magnitude() -> None:
    magnitude, velocity = phase_contrast(1, "100000", "MAG"), phase_contrast(2, "100000", "P")
    others = phase_contrast(3, "101000", "P")

    assert selected(others, velocity, magnitude).stacks == {Role.MRV: magnitude.key, Role.VELOCITY: velocity.key}
    assert selected(others, magnitude).stacks == {Role.MRV: magnitude.key}


def test_velocities_are_left_out_where_another_mrv_is_chosen() -> None:
    time_of_flight = facts(4, "100500", AngioFlag="Y")

    found = selected(phase_contrast(1, "100000", "MAG"), phase_contrast(2, "100000", "P"), time_of_flight)

    assert found.stacks == {Role.MRV: time_of_flight.key}


def test_velocities_go_with_a_pair_as_well() -> None:
    pair = facts(5, "100000"), facts(6, "101500", **AGENT)
    magnitude, velocity = phase_contrast(1, "100500", "MAG"), phase_contrast(2, "100500", "P")

    stacks = selected(*pair, magnitude, velocity).stacks

    assert stacks is not None
    assert (stacks[Role.MRV], stacks[Role.VELOCITY]) == (magnitude.key, velocity.key)


# ---------------------------------------------------------------- dynamic series


def first(stacks: Sequence[StackFacts]) -> StackFacts:
    return min(stacks, key=lambda one: one.key.number)


def test_a_dynamic_series_alone_is_measured_from_its_first_time_point_on() -> None:
    series = dynamic(1, 5)

    found = selected(*series)

    assert found.stacks == {Role.DYNAMIC: first(series).key}
    assert found.reason == "dynamic series alone"
    assert first(series).acquisition.acquired_at_s == min(one.acquisition.acquired_at_s or 0.0 for one in series)


def test_a_dynamic_series_in_the_space_of_a_pair_goes_with_it() -> None:
    pair = facts(5, "095000"), facts(6, "101500", **AGENT)
    near, far = dynamic(1, 5), dynamic(2, 6, FrameOfReferenceUID="2.25.7")

    stacks = selected(*pair, *near, *far).stacks

    assert stacks is not None
    assert stacks == {Role.PRE: pair[0].key, Role.POST: pair[1].key, Role.DYNAMIC: first(near).key}


def test_a_dynamic_series_stands_in_for_a_pair_that_must_not_be_compared() -> None:
    pair = facts(5, "095000"), facts(6, "101500", ScanOptions="FS", **AGENT)
    series = dynamic(1, 5)

    assert selected(*pair, *series).stacks == {Role.DYNAMIC: first(series).key}
    assert "CMP-FS" in selected(*pair).reason


def test_a_dynamic_series_comes_before_a_post_series_alone() -> None:
    series, post = dynamic(1, 5), facts(6, "101500", **AGENT)

    assert selected(*series, post, post_alone=True).stacks == {Role.DYNAMIC: first(series).key}


def test_of_two_dynamic_series_the_longer_one_is_taken() -> None:
    short, long = dynamic(1, 3), dynamic(2, 6)

    assert selected(*short, *long).stacks == {Role.DYNAMIC: first(long).key}


def test_a_dynamic_series_that_makes_no_volumes_is_left_out() -> None:
    series = dynamic(1, 5, ImagePositionPatient=[0.0, 0.0, 0.0])

    assert selected(*series).stacks is None
