"""Time points that came as a series each: joined to one dynamic, and nothing else is."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache, partial
from itertools import islice, product

import pytest

from node.completion import RoleTable, Selection, StackFacts, decide_roles, read_facts, read_table, select
from node.completion.contents import Source, Verdict, read_contents
from node.completion.phases import Joined, join_phases, lacking_phases
from node.ledger.ledger import Ledger
from node.records import Role, StackKey, StudyState
from node.spool import Spool
from tests.builders import series_of
from tests.completion.desk import QUIET_S, Desk
from tests.completion.golden import STUDIES, Study, headers
from tests.completion.golden_phases import DAMAGES, POINTS, SPLIT, STEP_S
from tests.completion.test_measured_beside import AGENT, DAY, VIBE, dynamic
from tests.completion.test_roles_golden import of_one_study, sets

FEWEST = 5
EVERY = 11  # combination is tried; all of them were on 2026-11-26 (docs/analysis.md, 3.1)


@cache
def table() -> RoleTable:
    return read_table()


@cache
def facts(study: Study) -> tuple[StackFacts, ...]:
    return tuple(one for index in range(len(study.series)) for one in read_facts(headers(study, index)))


def joined(study: Iterable[StackFacts]) -> tuple[Joined, Selection]:
    found = join_phases(list(study), table())
    return found, select(found.facts, found.roles, post_alone=False)


def groups(found: Joined) -> set[tuple[StackKey, ...]]:
    """Return the time points of each dynamic that was joined."""
    return {one.phases for one in found.facts if one.phases}


def true_groups(study: Study, stacks: Sequence[StackFacts]) -> set[tuple[StackKey, ...]]:
    by_truth: dict[str, list[StackKey]] = {}
    for series, one in zip(study.series, stacks, strict=True):
        if series.label == "dynamic":
            by_truth.setdefault(series.truth.acquisition, []).append(one.key)
    return {tuple(keys) for keys in by_truth.values()}


@pytest.mark.parametrize("study", SPLIT, ids=lambda study: study.name)
def test_time_points_that_came_as_a_series_each_are_one_dynamic_in_the_order_of_time(study: Study) -> None:
    found, selection = joined(reversed(facts(study)))

    assert groups(found) == true_groups(study, facts(study))
    labels = {one.key: found.roles[one.key].role for one in facts(study)}
    assert [labels[one.key] for one in facts(study)] == [series.label for series in study.series]
    assert selection.reason == study.outcome
    (chosen,) = (keys for keys in groups(found) if selection.stacks == {Role.DYNAMIC: keys[0]})
    assert selection.phases == tuple(key.series for key in chosen)


def test_of_a_dixon_the_images_with_bright_fat_are_the_dynamic() -> None:
    study = next(one for one in SPLIT if one.name == "siemens-dixon")

    _found, selection = joined(facts(study))

    part = {one.series: one.acquisition.dixon_part for one in facts(study)}
    assert {part[uid] for uid in selection.phases} == {"in-phase"}


# ---------------------------------------------------------------- what is none


def phase(number: int, at_s: float, **attributes: object) -> StackFacts:
    """Return the facts of a series of one time point; `at_s` after ten o'clock."""
    clock = f"10{int(at_s) // 60:02d}{at_s % 60:05.2f}"
    (found,) = read_facts(list(series_of(number, slices=3, **(VIBE | DAY | {"AcquisitionTime": clock} | attributes))))
    return found


def split(
    *at_s: float, first: int = 1, agent_from: int = 2, is_counted: bool = False, **attributes: object
) -> list[StackFacts]:
    """Return a series for each moment, the agent named from one of them on; `is_counted` by Acquisition Number."""
    found = []
    for number, one in enumerate(at_s):
        own = (AGENT if number >= agent_from else {}) | ({"AcquisitionNumber": number + 1} if is_counted else {})
        found.append(phase(first + number, one, **(own | attributes)))
    return found


TWELVE = tuple(12.0 * number for number in range(6))


@pytest.mark.parametrize(
    ("study", "why"),
    [
        (split(*TWELVE[:4]), ""),
        (split(*(20.0 * number for number in range(6))), "no 5 in steps of 15 s"),
        (split(*TWELVE[:3], *(at_s + 100 for at_s in TWELVE[3:])), "no 5 in steps of 15 s"),
        (split(*TWELVE, 12.0), "two are of one moment"),
        (split(*TWELVE, 18.0), "within 6.0 s, the others 12.0 s apart"),
        (split(*TWELVE, 12.4), "within 0.4 s, the others 12.0 s apart"),
        ([*split(*TWELVE), *split(*(at_s + 600 for at_s in TWELVE), first=11)], "others as well"),
        ([*split(*TWELVE), *split(*TWELVE, first=11, FlipAngle=14)], "others as well"),
        (split(*TWELVE, ScanningSequence="SE", RepetitionTime=550, EchoTime=12), "by the rules no dynamic"),
        (split(*TWELVE, ImageType=None), ""),
        (split(*TWELVE, FrameOfReferenceUID=None), ""),
        (split(*TWELVE, ContrastBolusStartTime="095900", agent_from=0, is_counted=True), "not known to be"),
        (split(*TWELVE, agent_from=0), "not known to be before contrast"),
        ([*split(*(at_s + 300 for at_s in TWELVE), agent_from=0, is_counted=True), phase(11, 0)], "before the first"),
        ([*split(*TWELVE, agent_from=9), phase(11, 400, **AGENT)], "after the last"),
        ([phase(11, 0, **AGENT), *split(*(at_s + 300 for at_s in TWELVE), agent_from=9, is_counted=True)], "not known"),
    ],
)  # fmt: skip
def test_series_that_may_be_something_else_stay_what_each_is_by_itself(study: list[StackFacts], why: str) -> None:
    found, selection = joined(study)

    assert why in found.doubt
    assert bool(why) == bool(found.doubt)
    assert groups(found) == set()
    assert found.roles == decide_roles(study, table())
    assert selection == select(study, found.roles, post_alone=False)


@pytest.mark.parametrize(("shift_mm", "is_one"), [(0.04, True), (0.06, False)])
def test_time_points_lie_in_one_place_as_the_slices_of_a_stack_do(shift_mm: float, is_one: bool) -> None:
    study = split(*TWELVE[:FEWEST])
    x, y, z = study[2].centre_mm
    study[2] = replace(study[2], centre_mm=(x, y + shift_mm, z))

    assert bool(groups(joined(study)[0])) == is_one


def test_beside_a_series_that_is_dynamic_by_itself_nothing_is_joined() -> None:
    found, selection = joined([*split(*TWELVE), *dynamic(11, 4)])

    assert "dynamic by itself" in found.doubt
    assert selection.phases == ()


def test_a_dynamic_of_several_series_goes_with_a_pair_of_its_own_frame_of_reference() -> None:
    """The pair is not made of time points; without it the dynamic is measured alone."""
    tse = {"ScanningSequence": "SE", "RepetitionTime": 550, "EchoTime": 12, "MRAcquisitionType": "2D"}
    pair = phase(21, -0.0, **(tse | {"AcquisitionTime": "095000"})), phase(22, 600, **(tse | AGENT))
    phases = split(*TWELVE)

    _found, beside = joined([*pair, *phases])
    _found, alone = joined(phases)

    assert beside.stacks == {Role.PRE: pair[0].key, Role.POST: pair[1].key, Role.DYNAMIC: phases[0].key}
    assert alone.stacks == {Role.DYNAMIC: phases[0].key}
    assert beside.phases == alone.phases == tuple(one.series for one in phases)


def false_dynamics(damaged: Iterable[tuple[Study, int, str]]) -> list[tuple[str, int, str]]:
    """Return which of five time points is still joined although one of its attributes is another."""
    found = []
    for study, index, damage in damaged:
        stacks = list(facts(study)[: FEWEST * len(study.series) // POINTS])
        series = list(study.series)
        series[index] = replace(series[index], more=series[index].more | DAMAGES[damage])
        (stacks[index],) = read_facts(headers(replace(study, series=tuple(series)), index))
        if any(stacks[index].key in keys for keys in groups(joined(stacks)[0])):
            found.append((study.name, index, damage))
    return found


def test_a_series_that_differs_in_anything_but_time_is_no_time_point() -> None:
    assert groups(joined(facts(SPLIT[0])[:FEWEST])[0])  # nothing else keeps these five apart
    assert false_dynamics(product(SPLIT[:1], [2], list(DAMAGES)[::2])) == []


@pytest.mark.slow
def test_no_damage_to_any_series_of_any_maker_leaves_it_a_time_point() -> None:
    damaged = [
        (study, index, damage)
        for study in SPLIT
        for index in range(FEWEST * len(study.series) // POINTS)
        for damage in DAMAGES
    ][::EVERY]

    found = false_dynamics(damaged)

    print(f"{len(damaged)} times one of five time points is another: {len(found)} false dynamics")
    assert found == []


@pytest.mark.slow
def test_no_header_set_of_the_golden_table_becomes_a_time_point_of_a_dynamic() -> None:
    """Each of the table beside each split dynamic, as if of one study: before it, within it, and after it."""
    right = withheld = 0
    wrong = []
    placed = product(SPLIT, list(sets()), (-300.0, STEP_S / 2, 300.0))
    for study, (series, other), at_s in islice(placed, 0, None, EVERY):
        stacks = [as_one_study(one) for one in facts(study)]
        found, _selection = joined([*stacks, of_one_study(other, "other", at_s)])
        if groups(found) and groups(found) <= true_groups(study, stacks):
            right += 1
        elif groups(found):
            wrong.append((study.name, series.description, at_s))
        else:
            withheld += 1
            assert found.doubt

    print(f"{right + withheld + len(wrong)} combinations: {right} right, {withheld} withheld, {len(wrong)} false")
    assert right > 0.9 * (right + withheld)
    assert wrong == []


def as_one_study(one: StackFacts) -> StackFacts:
    """Return a time point of a split dynamic as if of the study that `of_one_study` makes: it begins at ten o'clock."""
    at_s = one.acquisition.acquired_at_s
    assert at_s is not None
    return of_one_study(one, one.series, (at_s - 10 * 3600) % 86400)


@pytest.mark.slow
def test_what_the_golden_table_has_of_other_kinds_is_no_dynamic_however_often_it_was_acquired() -> None:
    """Each header set six times, twelve seconds apart: only T1-weighted gradient echoes are a dynamic by that."""
    wrong, right = [], 0
    for series, one in sets():
        again = [of_one_study(one, f"{number}", STEP_S * number) for number in range(POINTS)]
        found, _selection = joined(again)
        if not groups(found):
            continue
        is_gradient_echo = "GR" in one.acquisition.scanning_sequence
        if is_gradient_echo and series.truth.acquisition:
            right += 1
        else:
            wrong.append((series.label, series.description))

    print(f"{right} T1-weighted gradient echoes, {len(wrong)} others: {wrong}")
    assert wrong == []
    assert right > 10


@pytest.mark.slow
def test_no_study_of_the_golden_table_is_a_split_dynamic_even_if_acquired_in_short_steps() -> None:
    for study in STUDIES:
        stacks = [of_one_study(one, f"{number}", STEP_S * number) for number, one in enumerate(facts(study))]

        assert groups(joined(stacks)[0]) == set(), study.name


def test_what_was_acquired_in_the_pause_of_a_dynamic_is_not_surely_after_contrast() -> None:
    """The agent is named in all time points; it was given by the last of them."""
    tse = {"ScanningSequence": "SE", "RepetitionTime": 550, "EchoTime": 12}
    between = phase(11, 40, **tse)

    found, _selection = joined([*split(0, 12, 24, 80, 92, 104, agent_from=0, is_counted=True), between])

    assert groups(found)
    assert found.roles[between.key].label == "axial T1 pre"


# ---------------------------------------------------------------- counting and closing


def test_which_series_the_time_points_are_of_is_told_from_one_process_to_another() -> None:
    study = SPLIT[0]
    sources = [Source(one.series, partial(headers, study, index)) for index, one in enumerate(facts(study))]

    verdict = Verdict.of(read_contents(sources, table(), post_alone=False))

    assert verdict.phases == tuple(one.series for one in facts(study))
    assert Verdict.from_json(json.loads(json.dumps(verdict.to_json()))) == verdict


def counted(number: int, of: int = 5) -> dict[str, object]:
    return {"TemporalPositionIdentifier": number, "NumberOfTemporalPositions": of}


def numbered(number: int, **attributes: object) -> StackFacts:
    return phase(number, 12.0 * number, **(counted(number, of=6) | attributes))


def test_time_points_that_are_missing_are_counted_over_all_their_series_and_told_once() -> None:
    whole = [numbered(number) for number in range(1, 7)]

    assert lacking_phases(whole) == {}
    assert lacking_phases([one for one in whole if one is not whole[2]]) == {whole[5].series: "5 of 6 time points"}
    assert lacking_phases(whole[:1]) == {whole[0].series: "1 of 6 time points"}
    assert lacking_phases([*whole[:5], numbered(6, FlipAngle=14)]).keys() == {whole[4].series, whole[5].series}


def test_subtractions_of_all_later_time_points_from_the_first_lack_none() -> None:
    subtracted = [
        phase(20 + number, 12.0 * number, **counted(number, of=6), ImageType=["DERIVED", "SECONDARY", "SUBTRACT"])
        for number in range(2, 7)
    ]

    assert lacking_phases([*(numbered(number) for number in range(1, 7)), *subtracted]) == {}


def test_a_study_waits_for_a_time_point_that_is_missing_and_closes_when_all_are_here(
    spool: Spool, ledger: Ledger
) -> None:
    desk = Desk(spool, ledger)
    instances = {
        number: list(
            series_of(
                number,
                slices=3,
                **(VIBE | DAY | counted(number) | {"AcquisitionTime": f"1000{number}0"}),
                **(AGENT if number > 2 else {}),
            )
        )
        for number in range(1, 6)
    }
    for number in (1, 2, 3, 5):
        for one in instances[number]:
            desk.receive(one, now=0.0)
    desk.look(now=QUIET_S)
    waited_for = desk.reason

    for one in instances[4]:
        desk.receive(one, now=QUIET_S + 1)
    desk.look(now=2 * QUIET_S + 1)

    assert waited_for == "waits; 4 of 5 time points"
    assert (desk.state, desk.reason) == (StudyState.MEASURABLE, "dynamic series alone")
