"""A dynamic whose time points came as a series each, from the spool to its numbers: those of the same in one series."""

import datetime as dt
import hashlib
import json
from collections.abc import Sequence
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from node.completion import read_facts, read_table, select
from node.completion.phases import join_phases
from node.folder import measure_folder
from node.jobs import steps
from node.ledger.ledger import Ledger
from node.records import Role
from node.settings import AnalysisSettings, ReportSettings, Settings
from node.spool import Spool
from node.why import why
from tests.builders import part10, series_of
from tests.completion.test_measured_beside import AGENT, DAY, VIBE
from tests.completion.test_roles_stacks import mdixon, one_series
from tests.jobs.test_rules_in_results import Bench
from tests.jobs.test_steps import referenced
from tests.simulator.studies import coarse, study_of

POINTS, STEP_S = 8, 14.0


def receive_phase(bench: Bench, number: int) -> None:
    clock = {"AcquisitionTime": f"1000{number:02d}"}
    bench.receive(number, slices=3, **(VIBE | DAY | clock | (AGENT if number > 20 else {})))


def test_the_job_of_a_split_dynamic_holds_all_its_series_and_a_late_one_makes_another_job_with_it(
    spool: Spool, ledger: Ledger, tmp_path: Path
) -> None:
    bench = Bench(spool, ledger, tmp_path)
    for number in range(10, 50, 8):
        receive_phase(bench, number)
    first = bench.job()

    receive_phase(bench, 50)
    second = bench.job()

    assert [(role, len(files)) for role, files in first.inputs.items()] == [(Role.DYNAMIC, 15)]
    assert [(role, len(files)) for role, files in second.inputs.items()] == [(Role.DYNAMIC, 18)]
    assert first.stacks == second.stacks == {Role.DYNAMIC: 1}
    assert {row.decision.label for row in ledger.stack_rows(next(iter(ledger.study_rows())).alias) if row.decision} == {
        "dynamic"
    }


def test_of_series_with_all_parts_of_a_dixon_the_time_points_of_one_part_are_read(tmp_path: Path) -> None:
    words = ("W", "F", "IP", "OP")
    series = [
        list(one_series(*(mdixon(word, f"1000{10 * number:02d}", **more) for word in words), number=number + 1))
        for number in range(5)
        for more in [AGENT if number > 1 else {}]
    ]
    found = join_phases([one for instances in series for one in read_facts(instances)], read_table())
    selection = select(found.facts, found.roles, post_alone=False)
    assert selection.stacks is not None
    folder = written([one for instances in series for one in instances], tmp_path / "study")
    files = [steps.InputFile(one, hashlib.sha256(one.read_bytes()).hexdigest()) for one in folder.iterdir()]
    number = {Role.DYNAMIC: selection.stacks[Role.DYNAMIC].number}
    task = steps.Task(
        {Role.DYNAMIC: files}, AnalysisSettings(), ReportSettings(), dt.datetime.now(dt.UTC), stacks=number
    )

    points, notes = steps._time_points(task)

    assert notes == []
    assert {one.acquisition.part for one in points} == {"in-phase"}
    moments = [one.acquisition.acquired_at_s or 0.0 for one in points]
    assert [at_s - moments[0] for at_s in moments] == [0, 10, 20, 30, 40]
    assert selection.phases == tuple(str(instances[0].SeriesInstanceUID) for instances in series)


# ---------------------------------------------------------------- from pixels to findings


@cache
def in_one_series() -> Sequence[Dataset]:
    recipe = coarse(
        series=("dynamic",), pixel_mm=1.8, slices=6, time_points=POINTS, points_before=2, time_step_s=STEP_S
    )
    return study_of(recipe).of("dynamic")


def in_a_series_each() -> list[Dataset]:
    made = deepcopy(list(in_one_series()))
    for one in made:
        one.SeriesInstanceUID = f"{one.SeriesInstanceUID}.{one.AcquisitionNumber}"
        one.SeriesDescription = f"{one.SeriesDescription}_ph{one.AcquisitionNumber}"
        one.SeriesNumber = 100 + one.AcquisitionNumber
    return made


def written(instances: Sequence[Dataset], folder: Path) -> Path:
    folder.mkdir()
    for number, one in enumerate(instances):
        (folder / f"{number}.dcm").write_bytes(part10(one))
    return folder


def numbers(findings: dict[str, Any]) -> dict[str, Any]:
    """Return all that was measured, without the UIDs that are made of those of the instances."""
    measured = ("grade", "outcome", "muscles", "levels", "lesions", "gates", "caveats", "refusals")
    lesions = [one | {"tracking_uid": ""} for one in findings["lesions"]]
    return {name: findings[name] for name in measured} | {"lesions": lesions}


def test_why_says_why_series_that_are_alike_are_no_dynamic(tmp_path: Path) -> None:
    slow = [
        one
        for number in range(1, 7)
        for one in series_of(number, slices=2, **(VIBE | DAY | {"AcquisitionTime": f"10{number:02d}00"}))
    ]

    answer = why(str(written(slow, tmp_path / "study")), Settings())

    assert answer.no_dynamic.startswith("6 series are alike, but there are no 5 in steps of 15 s")
    assert Role.DYNAMIC not in answer.selected


@pytest.mark.slow
def test_a_dynamic_gives_the_same_numbers_in_one_series_and_in_a_series_each(
    tmp_path: Path,
) -> None:
    one, each = written(in_one_series(), tmp_path / "one"), written(in_a_series_each(), tmp_path / "each")
    settings = Settings()

    together = measure_folder(one, tmp_path / "of one", settings)
    apart = measure_folder(each, tmp_path / "of each", settings)

    assert apart.findings is not None
    assert together.findings is not None
    assert together.reason == apart.reason == "dynamic series alone"
    found, also = (json.loads((tmp_path / name / "findings.json").read_text()) for name in ("of one", "of each"))
    assert found["muscles"][0]["kinetics"] is not None
    assert numbers(found) == numbers(also)
    told = also["series"]["dynamic"]
    uids = sorted({str(one.SeriesInstanceUID) for one in in_a_series_each()})
    assert sorted(told["phases"]) == uids
    report = dcmread(tmp_path / "of each" / "sr.dcm")
    assert referenced(report) >= {str(one.SOPInstanceUID) for one in in_a_series_each()}
    assert evidence_series(report) >= set(uids)
    assert why(str(each), settings).selected[Role.DYNAMIC].count("+") == POINTS - 1


def evidence_series(report: Dataset) -> set[str]:
    """Return the series that a report says it stands on."""
    (study,) = report.CurrentRequestedProcedureEvidenceSequence
    return {str(one.SeriesInstanceUID) for one in study.ReferencedSeriesSequence}
