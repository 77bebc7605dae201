"""Earlier results in a job: which the job is told of, with which it compares, and that the same comes out again."""

import datetime as dt
import hashlib
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from node.dicom.identifiers import InstanceUID
from node.errors import SpoolError
from node.findings import Findings, Location
from node.jobs import priors, steps
from node.ledger.ledger import Ledger
from node.records import ResultRecord, Role
from node.settings import AnalysisSettings, ReportSettings
from node.spool import Results, Spool
from tests.builders import part10
from tests.jobs.test_rules_in_results import POST, PRE, Bench, site_rules
from tests.report.builders import LESION, LESION_MM, WITH_LESION, built, evidence, items

NAMED = "levels and a suspicion by EMG"
NOW = replace(WITH_LESION, lesions=(replace(LESION, location=Location("L4", LESION_MM, None)),))


def report(**attributes: Any) -> Dataset:
    made = deepcopy(built(NAMED)["sr"])
    for keyword, value in {"StudyInstanceUID": "2.25.61", "StudyDate": "20250102", **attributes}.items():
        setattr(made, keyword, value)
    return made


def header(**attributes: Any) -> Dataset:
    made = deepcopy(evidence("post")[0].headers[0])
    made.FrameOfReferenceUID = "2.25.77"
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


def file_of(folder: Path, content: bytes) -> steps.InputFile:
    digest = hashlib.sha256(content).hexdigest()
    (folder / digest).write_bytes(content)
    return steps.InputFile(folder / digest, digest)


def compared(folder: Path, *reports: Dataset, own: Dataset | None = None) -> Findings:
    task = steps.Task(
        {Role.POST: []}, AnalysisSettings(), ReportSettings(), dt.datetime(2026, 1, 2, tzinfo=dt.UTC),
        earlier=tuple(file_of(folder, part10(one)) for one in reports),
    )  # fmt: skip
    return priors.compared(NOW, task, own or header())


def test_a_lesion_is_compared_with_the_newest_earlier_result(tmp_path: Path):
    findings = compared(tmp_path, report(), report(StudyInstanceUID="2.25.62", StudyDate="20250601"))

    assert [one.study_date for one in findings.earlier] == ["20250601", "20250102"]
    (prior,) = (one.prior for one in findings.lesions)
    assert prior is not None
    assert prior.study_date == "20250601"


def test_of_two_reports_of_a_study_the_later_one_counts(tmp_path: Path):
    verified = report(SOPInstanceUID="2.25.64", InstanceNumber=2)
    newer = report(SOPInstanceUID="2.25.65", ContentDate="20260103")

    assert [one.sop_instance for one in compared(tmp_path, verified, report()).earlier] == ["2.25.64"]
    assert [one.sop_instance for one in compared(tmp_path, newer, verified).earlier] == ["2.25.65"]


@pytest.mark.parametrize(
    "other",
    [
        {"StudyDate": "20260102", "StudyTime": "101500"},  # as the study's own
        {"StudyDate": "20260102", "StudyTime": ""},
        {"StudyDate": "20260103"},
    ],
)
def test_what_is_not_of_an_earlier_study_for_certain_is_no_prior(tmp_path: Path, other: dict[str, str]):
    findings = compared(tmp_path, report(**other))

    assert (findings.earlier, findings.lesions[0].prior) == ((), None)


def test_the_study_itself_is_not_its_own_prior(tmp_path: Path):
    own = header()

    assert compared(tmp_path, report(StudyInstanceUID=own.StudyInstanceUID), own=own).earlier == ()


def test_a_report_under_the_same_id_with_another_name_is_not_used_and_that_is_said(tmp_path: Path):
    findings = compared(tmp_path, report(PatientName="Roe^Richard"), report(PatientBirthDate="19600101"))

    assert (findings.earlier, findings.lesions[0].prior) == ((), None)
    assert [one.code for one in findings.caveats].count("PRI-1") == 1
    assert not any("Roe" in one.text for one in findings.caveats)


def test_without_a_date_of_its_own_a_study_is_compared_with_none_and_that_is_said(tmp_path: Path):
    findings = compared(tmp_path, report(), own=header(StudyDate=""))

    assert findings.earlier == ()
    assert "PRI-2" in [one.code for one in findings.caveats]


def test_what_cannot_be_read_is_no_prior_and_what_has_changed_on_disk_an_error(tmp_path: Path):
    task = steps.Task({Role.POST: []}, AnalysisSettings(), ReportSettings(), dt.datetime(2026, 1, 2, tzinfo=dt.UTC))
    garbage = file_of(tmp_path, b"\0" * 128 + b"DICM" + b"\xff" * 400)
    broken = report()
    items(broken, "Imaging Measurements", "Measurement Group", "Volume")[0].MeasuredValueSequence = [Dataset()]
    changed = replace(file_of(tmp_path, part10(report())), sha256="0" * 64)

    findings = priors.compared(NOW, replace(task, earlier=(garbage, file_of(tmp_path, part10(broken)))), header())

    assert findings.earlier == ()
    with pytest.raises(SpoolError):
        priors.compared(NOW, replace(task, earlier=(changed,)), header())


OTHER = "2.25.2000"


def reported(bench: Bench) -> None:
    """Give the newest job its report."""
    path = Results(bench.folder / "results").store(part10(report()))
    row = bench.ledger.job_rows()[0]
    made = ResultRecord(InstanceUID("2.25.9"), report().SOPClassUID, row.id, "sr", path)
    bench.ledger.settle(row.id, "findings", [made], {}, now=bench.now)


def jobs_of_two_studies(bench: Bench, **others: str) -> tuple[steps.Task, steps.Task]:
    """A study that got a report, and one that came after it."""
    bench.receive(1, **PRE)
    bench.receive(2, **POST)
    first = bench.job()
    reported(bench)
    bench.receive(1, **PRE, study=OTHER, **others)
    bench.receive(2, **POST, study=OTHER, **others)
    return first, bench.job()


def test_a_job_is_told_of_the_patients_reports_and_its_manifest_covers_them(
    spool: Spool, ledger: Ledger, tmp_path: Path
):
    first, second = jobs_of_two_studies(Bench(spool, ledger, tmp_path))

    (one,) = second.earlier
    assert (first.earlier, first.revised) == ((), None)
    assert read_uid(one) == report().SOPInstanceUID
    assert steps.Task.from_json(second.as_json()) == second


def test_a_study_that_is_measured_again_is_told_of_its_own_report_apart_from_priors(
    spool: Spool, ledger: Ledger, tmp_path: Path
):
    bench = Bench(spool, ledger, tmp_path)
    bench.receive(1, **PRE)
    bench.receive(2, **POST)
    bench.job()
    reported(bench)
    bench.receive(3, Modality="CT")  # reopens the study, and is not measured

    again = bench.job(site_rules(tmp_path, 1))

    assert again.revised is not None
    assert read_uid(again.revised) == report().SOPInstanceUID
    assert (again.earlier, again.predecessor and again.predecessor.sop_instance) == ((), "2.25.9")


def test_a_job_is_not_told_of_reports_of_another_patient(spool: Spool, ledger: Ledger, tmp_path: Path):
    _first, second = jobs_of_two_studies(Bench(spool, ledger, tmp_path), PatientID="ANOTHER")

    assert second.earlier == ()


def read_uid(one: steps.InputFile) -> str:
    return str(dcmread(one.open()).SOPInstanceUID)
