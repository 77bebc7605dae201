"""Roles are given to stacks: one series may hold several."""

from collections.abc import Iterator
from typing import Any

from pydicom.dataset import Dataset

from node.completion import StackFacts, decide_roles, read_facts, read_table, select
from node.records import Role
from tests.builders import series_of

TABLE = read_table()
VIBE = {
    "ScanningSequence": "GR", "SequenceVariant": "SP", "MRAcquisitionType": "3D", "RepetitionTime": 4.5, "EchoTime": 2,
    "FlipAngle": 10, "AcquisitionDate": "20260102",
}  # fmt: skip
AGENT = {"ContrastBolusAgent": "GADOBUTROL"}


def one_series(*parts: dict[str, Any], number: int = 1) -> Iterator[Dataset]:
    """Yield the instances of one series that holds each of `parts` at the same places."""
    for which, attributes in enumerate(parts):
        for instance in series_of(number, **(VIBE | attributes)):
            instance.SOPInstanceUID = f"{instance.SOPInstanceUID}.{which}"
            yield instance


def labels(facts: tuple[StackFacts, ...]) -> list[str]:
    roles = decide_roles(facts, TABLE)
    return [roles[one.key].label for one in facts]


def mdixon(word: str, clock: str, **more: Any) -> dict[str, Any]:
    kind = ["DERIVED", "PRIMARY", word, word, "DERIVED"]
    return {"ImageType": kind, "AcquisitionTime": clock, "SeriesDescription": "mDIXON T1"} | more


def test_the_parts_of_a_dixon_in_one_series_get_their_own_roles() -> None:
    facts = read_facts(list(one_series(*(mdixon(word, "100000") for word in ("W", "F", "IP", "OP")))))

    assert sorted(labels(facts)) == ["Dixon fat", "Dixon in-phase pre", "Dixon opposed-phase", "Dixon water pre"]


def test_of_two_series_with_all_parts_the_same_part_of_each_is_measured() -> None:
    words = ("W", "F", "IP", "OP")
    before = read_facts(list(one_series(*(mdixon(word, "100000") for word in words))))
    after = read_facts(list(one_series(*(mdixon(word, "101000", **AGENT) for word in words), number=2)))
    facts = (*before, *after)

    selection = select(facts, decide_roles(facts, TABLE), post_alone=False)

    assert selection.reason == "contrast pair"
    assert selection.stacks is not None
    part = {one.key: one.acquisition.dixon_part for one in facts}
    assert [part[selection.stacks[role]] for role in (Role.PRE, Role.POST)] == ["in-phase", "in-phase"]


def test_time_points_of_one_series_are_dynamic() -> None:
    points = [{"TemporalPositionIdentifier": n, "AcquisitionTime": f"10000{n}", **AGENT} for n in range(1, 5)]

    facts = read_facts(list(one_series(*points)))

    assert labels(facts) == ["dynamic"] * 4
    assert [one.time_points for one in facts] == [4] * 4


def test_fast_time_points_with_a_large_flip_angle_are_a_venography() -> None:
    twist = {"RepetitionTime": 2.8, "EchoTime": 1.0, "FlipAngle": 25, "SeriesDescription": "twist_cor"}
    points = [{"TemporalPositionIdentifier": n, "AcquisitionTime": f"10000{n}", **twist} for n in range(1, 5)]

    assert set(labels(read_facts(list(one_series(*points))))) == {"MRV contrast-enhanced"}


def test_angled_groups_of_an_axial_series_are_no_localizer() -> None:
    """One group for each disc, tilted by up to 17 degrees."""
    discs = [[1, 0, 0, 0, 1, 0], [1, 0, 0, 0, 0.985, 0.174], [1, 0, 0, 0, 0.956, -0.292]]
    instances = [
        instance
        for which, plane in enumerate(discs)
        for instance in series_of(1, slices=4, ImageOrientationPatient=plane)
        if not instance.add_new("SOPInstanceUID", "UI", f"{instance.SOPInstanceUID}.{which}")
    ]

    assert set(labels(read_facts(instances))) == {"axial T1 pre"}


def test_two_stacks_of_one_moment_that_no_header_tells_apart_are_in_no_pair() -> None:
    """Two parts of a Dixon that lost their names: which of them is water?"""
    unnamed = {"AcquisitionTime": "100000"}
    twins = [*read_facts(list(one_series(unnamed))), *read_facts(list(one_series(unnamed, number=2)))]
    after = read_facts(list(one_series({"AcquisitionTime": "101000", **AGENT}, number=3)))
    facts = [*twins, *after]

    selection = select(facts, decide_roles(facts, TABLE), post_alone=False)

    assert selection.reason.endswith("not to be compared: CMP-SEQ")


def test_a_series_that_came_again_under_other_uids_is_not_before_itself() -> None:
    once = read_facts(list(one_series({"AcquisitionTime": "100000"})))
    again = read_facts(list(one_series({"AcquisitionTime": "100000", **AGENT}, number=2)))
    facts = [*once, *again]

    selection = select(facts, decide_roles(facts, TABLE), post_alone=False)

    assert selection.stacks is None
