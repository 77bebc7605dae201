"""The golden table: at least 95 % of the roles right, and no pair that is none."""

import warnings
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import islice, permutations
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from node.completion import RoleTable, StackFacts, decide_roles, read_facts, read_table, select
from node.completion.pairs import find_pairs
from node.errors import HeaderError, VolumeError
from node.records import StackKey
from tests.completion.golden import STUDIES, Series, Study, headers
from tests.conftest import shared


@cache
def table() -> RoleTable:
    return read_table()


@cache
def facts(study: Study, index: int) -> tuple[StackFacts, ...]:
    return read_facts(headers(study, index))


def labels(study: Study) -> list[str]:
    """Return the label of each series: of its stacks, which must all have the same."""
    everything = [one for index in range(len(study.series)) for one in facts(study, index)]
    roles = decide_roles(everything, table())
    found = []
    for index in range(len(study.series)):
        (label,) = {roles[one.key].label for one in facts(study, index)}
        found.append(label)
    return found


def test_the_table_holds_at_least_sixty_header_sets_of_six_makers() -> None:
    assert sum(len(study.series) for study in STUDIES) >= 60
    assert len({study.vendor for study in STUDIES}) == 6


def test_at_least_nineteen_of_twenty_header_sets_get_the_role_that_they_have(record_property: object) -> None:
    wrong = [
        (study.name, series.description, series.label, found)
        for study in STUDIES
        for series, found in zip(study.series, labels(study), strict=True)
        if found != series.label
    ]
    everything = sum(len(study.series) for study in STUDIES)

    print(f"roles: {everything - len(wrong)} of {everything} right; wrong: {wrong}")
    assert len(wrong) <= 0.05 * everything, wrong


@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.name)
def test_what_becomes_of_a_study_is_what_it_is(study: Study) -> None:
    everything = [one for index in range(len(study.series)) for one in facts(study, index)]

    selection = select(everything, decide_roles(everything, table()), post_alone=False)

    assert selection.reason.startswith(study.outcome), selection.reason


def sets() -> Iterator[tuple[Series, StackFacts]]:
    """Yield every regular header set, with its facts as if it were of one patient on one day."""
    for study in STUDIES:
        for index, series in enumerate(study.series):
            for one in facts(study, index)[:1]:
                yield series, one


def is_true_pair(before: Series, after: Series) -> bool:
    """Return whether the two really are one sequence before and after contrast."""
    a, b = before.truth, after.truth
    return bool(a.acquisition) and a.acquisition == b.acquisition and (a.contrast, b.contrast) == (False, True)


@pytest.mark.slow
@pytest.mark.parametrize(("frames", "every"), [(("2.25.9", "2.25.9"), 1), (("2.25.9", "2.25.10"), 4), (("", ""), 4)])
def test_no_two_header_sets_of_the_table_become_a_pair_unless_they_are_one(frames: tuple[str, str], every: int) -> None:
    """Every two of the table, as if of one study, in one frame of reference; every fourth in two, and without any.

    Other frames add a condition to a pair and take none away.

    Of a header that says the contrary of the truth about contrast, torn out of its own study, nobody can tell: such
    combinations are counted apart, and are for the pixels (ROLE-CONTRAST).
    """
    right, wrong, beyond_headers, weighed = 0, [], 0, 0
    everything = list(sets())
    for (before, first), (after, second) in islice(permutations(everything, 2), 0, None, every):
        weighed += 1
        study = [of_one_study(first, "1", 0.0, frames[0]), of_one_study(second, "2", 900.0, frames[1])]
        for pair in find_pairs(study, decide_roles(study, table())):
            if not pair.comparable:
                continue
            pre, post = (before, after) if pair.pre is study[0] else (after, before)
            if is_true_pair(pre, post):
                right += 1
            elif pre.lies or post.lies:
                beyond_headers += 1
            else:
                wrong.append((pre.description, post.description))

    print(
        f"{weighed} combinations: {right} right pairs, {len(wrong)} false, {beyond_headers} that only pixels can tell"
    )
    assert right > 20 / every
    assert wrong == []


def of_one_study(one: StackFacts, series: str, after_s: float, frame: str = "2.25.9") -> StackFacts:
    start_s = 63_902_000_000.0
    acquisition = replace(one.acquisition, acquired_at_s=start_s + after_s, bolus_at_s=None, frame_of_reference=frame)
    return replace(one, key=StackKey(series, 1), acquisition=acquisition, patient="one", day="20260102")  # type: ignore[arg-type]


# ---------------------------------------------------------------- real headers: heads and phantoms


LOCALIZERS = {"ge_premier_3plane_FF", "failing"}  # three planes each; all other series are none of what is measured


def real_series(folder: Path) -> dict[tuple[str, str], list[Dataset]]:
    """Return the instances by folder and Series Instance UID."""
    series: dict[tuple[str, str], list[Dataset]] = {}
    for path in sorted(one for one in folder.rglob("*") if one.is_file()):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                header = dcmread(path, stop_before_pixels=True)
        except Exception:  # licences and notes lie beside them
            continue
        if "SeriesInstanceUID" in header:
            kind = path.relative_to(folder).parts[0]
            series.setdefault((kind, str(header.SeriesInstanceUID)), []).append(header)
    return series


@pytest.mark.slow
@pytest.mark.parametrize(("collection", "least"), [("vendor_pack_dcm_qa", 16), ("dicom2nifti_vendor_headers", 9)])
def test_real_heads_and_phantoms_are_none_of_what_is_measured_and_no_pair(collection: str, least: int) -> None:
    found: list[StackFacts] = []
    wanted: list[str] = []
    for (kind, _uid), instances in real_series(shared("data", collection)).items():
        try:
            stacks = read_facts(instances)
        except (HeaderError, VolumeError):
            continue  # raw data, reports, slices that lie nowhere
        found += stacks
        wanted += ["localizer" if kind in LOCALIZERS else "other"] * len(stacks)

    everything = [of_one_study(one, str(number), 60.0 * number) for number, one in enumerate(found)]
    roles = decide_roles(everything, table())
    wrong = [(one, roles[facts.key].label) for one, facts in zip(wanted, everything, strict=True)
             if roles[facts.key].role != one]  # fmt: skip

    print(f"{collection}: {len(found)} stacks, {len(wrong)} with another role than theirs: {wrong}")
    assert len(found) >= least
    assert wrong == []
    assert [pair for pair in find_pairs(everything, roles) if pair.comparable] == []
