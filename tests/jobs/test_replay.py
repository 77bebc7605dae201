"""A report that there is no result, made again; `test_registering` has one that was compared with an earlier one."""

import datetime as dt
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from node import process
from node.errors import ReplayError
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


def test_an_outline_or_a_frame_that_is_another_one_differs(desk: Desk, tmp_path: Path) -> None:
    _task, told = told_that_there_is_no_result(desk, tmp_path)
    (path,) = desk.results.root.glob("*.dcm")
    image, outline = Dataset(), Dataset()
    image.ReferencedFrameNumber, image.ReferencedSOPInstanceUID = 3, "2.25.3"
    outline.ValueType, outline.GraphicData, outline.ReferencedSOPSequence = "SCOORD3D", [1.0, 2.0, 3.5], [image]
    told.ContentSequence.append(outline)
    told.save_as(path)

    again = replay(desk.settings, told.SOPInstanceUID)

    place = f"/{len(told.ContentSequence)} SCOORD3D"
    assert set(again.differences) == {
        f"{place} GraphicData: was [1.0, 2.0, 3.5], is nothing",
        f"{place} ReferencedFrameNumber: was 3, is nothing",
        f"{place} ReferencedSOPInstanceUID: was 2.25.3, is nothing",
    }


def test_a_report_of_another_attempt_of_its_job_is_not_replayed(desk: Desk, tmp_path: Path) -> None:
    task, told = told_that_there_is_no_result(desk, tmp_path)

    retried = replace(task, started=STARTED + dt.timedelta(hours=1), manifest="2")
    desk.ledger.note_task(desk.job.id, retried.as_json())

    with pytest.raises(ReplayError, match="tried again since"):
        replay(desk.settings, told.SOPInstanceUID)
