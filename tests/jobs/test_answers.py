"""Every study gets an answer: the results, or a report that there are none, and nothing that the gate held back."""

import datetime as dt
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from node.errors import JobError
from node.findings import Measurement
from node.jobs import answers, steps
from node.jobs.pipeline import Pipeline
from node.jobs.watch import CancelWatch
from node.ledger import Arrivals, Deliveries
from node.ledger.ledger import Ledger
from node.records import DeliveryState, Predecessor, Quarantined, ResultRecord, Role
from node.settings import AnalysisSettings, ReportSettings, Settings
from node.spool import Results, Spool, SpoolReader
from tests.jobs.test_rules_in_results import POST, PRE, Bench, Engine
from tests.ledger.test_ledger import FIRST, close
from tests.report.builders import MEASUREMENTS, REFUSED, evidence, items, value

SOUND = MEASUREMENTS["findings with MRV"]
EARLIER = Predecessor("2.25.1", "2.25.11", "1.2.840.10008.5.1.4.1.1.88.34", "2.25.12")
STARTED = dt.datetime(2026, 1, 2, 11, tzinfo=dt.UTC)


def task(predecessor: Predecessor | None = None) -> steps.Task:
    return steps.Task({Role.POST: []}, AnalysisSettings(), ReportSettings(), STARTED, predecessor=predecessor)


def answered(folder: Path, measurement: Measurement, told: steps.Task | None = None) -> answers.Answer:
    return answers.answer(folder, told or task(), measurement, evidence())


def report_of(folder: Path, answer: answers.Answer) -> Dataset:
    (found,) = [one for one in answer["objects"] if one["role"] == "sr"]
    return dcmread(folder / found["file"])


def sides_changed_over() -> Measurement:
    muscles = SOUND.regions.muscles
    assert muscles is not None
    changed = np.select([muscles == 1, muscles == 2], [2, 1]).astype(np.uint8)
    return replace(SOUND, regions=replace(SOUND.regions, muscles=changed))


def test_results_with_left_and_right_changed_over_are_held_back_and_a_report_says_that_there_are_none(tmp_path: Path):
    answer = answered(tmp_path, sides_changed_over())

    report = report_of(tmp_path, answer)
    told = [value(one) for one in items(report, "Qualitative Evaluations", "Not measured")]
    held_back = {dcmread(tmp_path / one["file"]).SOPInstanceUID for one in answer["quarantined"]}
    assert [one["role"] for one in answer["objects"]] == ["sr"]
    assert told == ["JOB-2: The results did not pass the checks before sending: GATE-SIDE."]
    assert any("GATE-SIDE the muscles of the left" in fault for fault in answer["faults"])
    assert len(held_back) == len(answer["quarantined"]) >= 4
    assert report.SOPInstanceUID not in held_back


def test_results_that_cannot_be_built_are_answered_likewise(tmp_path: Path):
    lesions = np.ones((2, 2, 2), np.uint8)  # not the shape of the images

    answer = answered(tmp_path, replace(SOUND, regions=replace(SOUND.regions, lesions=lesions)))

    assert [one["role"] for one in answer["objects"]] == ["sr"]
    assert answer["quarantined"] == []
    assert answer["faults"]


def test_sound_results_are_handed_on_whole(tmp_path: Path):
    answer = answered(tmp_path, SOUND)

    assert {"seg", "sr"} <= {one["role"] for one in answer["objects"]}
    assert (answer["quarantined"], answer["faults"], answer.get("left_out")) == ([], [], None)


def test_a_report_says_that_the_measurement_did_not_end(tmp_path: Path):
    why = answers.Note(answers.NOT_MEASURED, "The measurement did not end.")

    answer = answers.refusal(tmp_path, task(), REFUSED.algorithm, why, evidence())

    told = [value(one) for one in items(report_of(tmp_path, answer), "Qualitative Evaluations", "Not measured")]
    assert told == ["JOB-1: The measurement did not end."]


def test_a_report_names_the_one_that_it_replaces_and_is_another_instance(tmp_path: Path):
    first = report_of(tmp_path, answered(tmp_path, SOUND))
    earlier = Predecessor(first.StudyInstanceUID, first.SeriesInstanceUID, first.SOPClassUID, first.SOPInstanceUID)

    second = report_of(tmp_path, answered(tmp_path, SOUND, task(earlier)))

    (study,) = second.PredecessorDocumentsSequence
    (series,) = study.ReferencedSeriesSequence
    (named,) = series.ReferencedSOPSequence
    assert "PredecessorDocumentsSequence" not in first
    assert (study.StudyInstanceUID, series.SeriesInstanceUID) == (first.StudyInstanceUID, first.SeriesInstanceUID)
    assert named.ReferencedSOPInstanceUID == first.SOPInstanceUID != second.SOPInstanceUID


def test_a_predecessor_of_another_study_does_not_pass_the_gate(tmp_path: Path):
    answer = answered(tmp_path, SOUND, task(EARLIER))

    assert any("GATE-REFERENCE its predecessor is of another study" in fault for fault in answer["faults"])


def test_a_task_is_read_as_it_was_written():
    told = replace(task(EARLIER), manifest="5f70", doubt="dates")

    assert steps.Task.from_json(told.as_json()) == told


def settled(ledger: Ledger, job: str, uid: str) -> None:
    results = [ResultRecord(one, "1.2.3", job, role, f"{one}.dcm") for one, role in ((f"{uid}.1", "seg"), (uid, "sr"))]
    ledger.settle(job, "findings", results, {"pacs": {"seg", "sr"}}, now=9.0)


def test_the_report_to_replace_is_the_last_one_of_the_study(arrivals: Arrivals, ledger: Ledger):
    found = []
    for number in (1, 2, 3):
        arrivals.enter(
            [
                replace(
                    FIRST,
                    place=replace(FIRST.place, offset=4096 * number),
                    origin=replace(FIRST.origin, sop_instance=f"2.25.1.{number}"),
                )
            ],
            now=float(number),
        )
        (job,) = close(ledger, now=number + 0.5)
        earlier = ledger.earlier_report(job.id)
        found.append(earlier and earlier.sop_instance)
        settled(ledger, job.id, f"2.25.9{number}")

    assert found == [None, "2.25.91", "2.25.92"]


def test_what_is_in_quarantine_is_what_the_last_attempt_left_there(arrivals: Arrivals, ledger: Ledger):
    arrivals.enter([FIRST], now=1.0)
    (job,) = close(ledger, now=2.0)
    held_back = Quarantined("sr", "a.dcm", "SR 9004: GATE-UNIT")

    ledger.quarantined(job.id, [held_back])
    after_one = ledger.in_quarantine()
    ledger.quarantined(job.id, [])

    assert after_one == {job.id: [held_back]}
    assert ledger.in_quarantine(job.id) == {}


class Working(Engine):
    """In place of the queue's engine, within a job."""

    def this_workflow(self) -> str:
        return "the job"


@pytest.mark.slow
def test_a_job_that_cannot_measure_owes_a_report_that_says_so_and_fails(spool: Spool, ledger: Ledger, tmp_path: Path):
    bench = Bench(spool, ledger, tmp_path)
    bench.receive(1, **PRE)
    bench.receive(2, **POST)
    engine: Any = Working()
    settings = Settings.checked(
        {
            "analysis": {"segmenter": "of-nobody"},
            "destination": [{"name": "shelf", "kind": "folder", "folder": str(tmp_path)}],
        }
    )
    pipeline = Pipeline(
        engine, ledger, SpoolReader(spool.root), Results(tmp_path / "results"), settings, work=tmp_path / "work",
        quarantine=Results(tmp_path / "quarantine"), cancel=CancelWatch(engine),
    )  # fmt: skip
    bench.pipeline = pipeline
    bench.job()
    (job,) = ledger.job_rows()

    with pytest.raises(JobError, match="of-nobody"):
        pipeline._measure_study(job.id)

    (owed,) = Deliveries(ledger.database).rows(job.id)
    (file,) = (tmp_path / "results").iterdir()
    told = [value(one) for one in items(dcmread(file), "Qualitative Evaluations", "Not measured")]
    assert (owed.role, owed.destination, owed.state) == ("sr", "shelf", DeliveryState.OWED)
    assert told == ["JOB-1: The measurement did not end."]
    assert "of-nobody" in str(ledger.job_rows()[0].outcome)
