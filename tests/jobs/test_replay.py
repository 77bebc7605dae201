"""A report made again: with the earlier result that it was compared with, and a report that there is no result."""

import datetime as dt
import hashlib
import shutil
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from node import process
from node.errors import ReplayError, SpoolError
from node.findings import Side
from node.jobs import answers, steps
from node.jobs.steps import Task
from node.ledger import Arrivals, open_database
from node.ledger.ledger import Ledger
from node.records import ResultRecord, Role
from node.replay import replay
from node.settings import AnalysisSettings, ReportSettings, Settings
from node.spool import Results
from tests.builders import part10
from tests.ledger.test_ledger import FIRST, close
from tests.report.builders import items, value
from tests.walk.test_laterality import study

pytestmark = pytest.mark.slow

STARTED = dt.datetime(2026, 1, 2, 11, tzinfo=dt.UTC)


def files_of(folder: Path, instances: Sequence[Dataset]) -> list[steps.InputFile]:
    made = []
    for one in instances:
        content = part10(one)
        digest = hashlib.sha256(content).hexdigest()
        (folder / digest).write_bytes(content)
        made.append(steps.InputFile(folder / digest, digest))
    return made


def a_year_later(instances: Sequence[Dataset]) -> list[Dataset]:
    """The same images as of a later study, in the same frame of reference."""
    made = deepcopy(list(instances))
    for one in made:
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
            setattr(one, keyword, f"{one[keyword].value[:50]}.2")
        one.StudyDate = str(int(one.StudyDate[:4]) + 1) + one.StudyDate[4:]
        one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID
    return made


class Desk:
    """A data folder in which jobs were done, and can be replayed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings = Settings.checked({"node": {"data_dir": str(folder)}})
        self.database = open_database(folder / process.DATABASE)
        self.ledger, self.results = Ledger(self.database), Results(folder / process.RESULTS)
        (folder / "alias.key").write_bytes(b"k" * 32)
        Arrivals(self.database).enter([FIRST], now=1.0)
        (self.job,) = close(self.ledger, now=2.0)

    def settle(self, task: steps.Task, made: answers.Answer, work: Path) -> Dataset:
        """Keep the report of a job's answer as the pipeline does, and return it."""
        (one,) = (each for each in made["objects"] if each["role"] == "sr")
        content = (work / one["file"]).read_bytes()
        record = ResultRecord(one["sop_instance"], one["sop_class"], self.job.id, "sr", self.results.store(content))
        self.ledger.note_task(self.job.id, task.as_json())
        self.ledger.settle(self.job.id, "findings", [record], {}, now=3.0)
        return dcmread(work / one["file"])


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    (tmp_path / "data").mkdir()
    return Desk(tmp_path / "data")


def task_of(folder: Path, instances: Any, **others: Any) -> steps.Task:
    inputs = {role: files_of(folder, instances(role.value)) for role in (Role.PRE, Role.POST)}
    values = {"analysis": AnalysisSettings(segmenter="compartments"), "manifest": "1"} | others
    return steps.Task(inputs, report=ReportSettings(objects=("seg", "sr")), started=STARTED, **values)


def done(task: steps.Task, work: Path) -> answers.Answer:
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    task.write(work)
    steps.measure(str(work))
    return steps.report(str(work))


def test_a_lesion_keeps_its_track_in_a_later_study_and_a_replay_gives_the_same(desk: Desk, tmp_path: Path) -> None:
    before = study("HFS", Side.LEFT)
    work = tmp_path / "work"
    first = done(task_of(tmp_path, before.of), work)
    (sr,) = (dcmread(work / one["file"]) for one in first["objects"] if one["role"] == "sr")
    earlier = files_of(tmp_path, [sr])

    task = task_of(tmp_path, lambda kind: a_year_later(before.of(kind)), earlier=tuple(earlier))
    answer = done(task, work)
    later = desk.settle(task, answer, work)
    again = replay(desk.settings, later.SOPInstanceUID)
    earlier[0].path.write_bytes(b"")

    assert answer["faults"] == []
    tracks = [
        [value(one) for one in items(report, "Imaging Measurements", "Measurement Group", "Tracking Unique Identifier")]
        for report in (sr, later)
    ]
    assert tracks[0][0] == tracks[1][0]  # the lesion
    assert tracks[0][1:] != tracks[1][1:]  # the muscles are those of each study
    (change,) = (value(one) for one in items(later, "Qualitative Evaluations", "Description of Change"))
    assert "0 mm apart in one frame of reference; confidence high" in str(change)
    assert "(+0 %)" in str(change)
    assert (again.differences, again.compared > 100) == ((), True)
    with pytest.raises(SpoolError):  # a job would go on without the earlier result, a replay does not
        replay(desk.settings, later.SOPInstanceUID)


def told_that_there_is_no_result(desk: Desk, folder: Path) -> tuple[Task, Dataset]:
    """Settle a job whose measurement did not end; return its task, and the report that says so."""
    nobody = AnalysisSettings.model_construct(**{**AnalysisSettings().model_dump(), "segmenter": "of-nobody"})
    task = task_of(folder, study("HFS", Side.LEFT).of, analysis=nobody)
    work = folder / "work"
    work.mkdir()
    task.write(work)
    code = answers.NOT_MEASURED
    told = desk.settle(task, steps.refuse(str(work), code, answers.REFUSALS[code]), work)
    return task, told


def test_a_report_that_there_is_no_result_comes_out_again(desk: Desk, tmp_path: Path) -> None:
    _task, told = told_that_there_is_no_result(desk, tmp_path)

    again = replay(desk.settings, told.SOPInstanceUID)

    assert again.differences == ()
    assert again.compared > 10


def test_a_report_of_another_attempt_of_its_job_is_not_replayed(desk: Desk, tmp_path: Path) -> None:
    task, told = told_that_there_is_no_result(desk, tmp_path)

    retried = replace(task, started=STARTED + dt.timedelta(hours=1), manifest="2")
    desk.ledger.note_task(desk.job.id, retried.as_json())

    with pytest.raises(ReplayError, match="tried again since"):
        replay(desk.settings, told.SOPInstanceUID)
