"""The whole corridor: DCMTK's storescu, the node as it is served, a real Orthanc, the validators."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage, SegmentationStorage

from node.demo.reading import read_report
from node.records import JobState
from node.simulator import Recipe
from node.simulator.loopback import listens
from tests.conftest import ROOT, needs, shared
from tests.peers import Orthanc, ServedNode, storescu, until
from tests.walk.conftest import SMALL

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def settled(node: ServedNode, jobs: int = 1) -> bool:
    """Return whether so many jobs are done and all their results are delivered."""
    status = node.console().status()
    done = [job for job in status["jobs"] if job["settled_s"]]
    return len(done) == jobs and not status["counts"].get("deliveries owed")


def serve_and_send(node: ServedNode, study: Path, event: str) -> None:
    """Start a node, send it a study, and return when its log tells of an event."""
    node.start()
    assert storescu(node.port, study / "dicom").returncode == 0
    until(lambda: event in node.log, 300, what=event)


def measure(study: Path, out: Path) -> None:
    """Measure a folder by the command line."""
    done = subprocess.run(
        [sys.executable, "-m", "node", "measure", str(study), "--out", str(out)],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def arrive(orthanc: Orthanc, folder: Path) -> tuple[list[Dataset], list[Dataset]]:
    """Return the reports and the segmentations that Orthanc gives out."""
    datasets = [dcmread(path) for path in orthanc.files(folder)]
    return (
        [one for one in datasets if one.SOPClassUID == Comprehensive3DSRStorage],
        [one for one in datasets if one.SOPClassUID == SegmentationStorage],
    )


def validator_errors(results: Path, sources: Path) -> str:
    """Return the last line of the validators of the shared tools."""
    script = shared("tools", "report", "check_report.sh")
    needs("dsrdump", "dcmtk")
    needs("java", "default-jre-headless")
    done = subprocess.run(
        ["bash", str(script), str(results), str(sources)],
        capture_output=True, text=True, check=False, env=os.environ | {"PYTHON": sys.executable},
    )  # fmt: skip
    return done.stdout


def test_a_study_of_real_anatomy_from_storescu_becomes_one_report_in_orthanc(
    node: ServedNode, orthanc: Orthanc, real_anatomy: Path, tmp_path: Path
) -> None:
    node.start()

    sent = storescu(node.port, real_anatomy / "dicom")
    until(lambda: settled(node), 300, what="the report")
    reports, segmentations = arrive(orthanc, tmp_path / "received")

    assert sent.returncode == 0
    assert len(reports) == 1
    assert {one.ContentLabel for one in segmentations} == {"PVM_MUSCLES", "PVM_LESIONS", "PVM_VESSELS"}
    assert "errors: 0" in validator_errors(tmp_path / "received", real_anatomy / "dicom")
    measure(real_anatomy / "dicom", tmp_path / "measured")
    of_folder = read_report(dcmread(tmp_path / "measured" / "sr.dcm"))
    assert of_folder.measured == read_report(reports[0]).measured
    assert len(of_folder.measured) > 10


def test_the_lesion_of_real_anatomy_is_found_where_it_was_put(real_anatomy: Path, tmp_path: Path) -> None:
    measure(real_anatomy / "dicom", tmp_path)

    findings = json.loads((tmp_path / "findings.json").read_text())
    documented = json.loads((ROOT / "docs" / "findings.schema.json").read_text())
    assert set(findings) == set(documented["properties"])
    truth = json.loads((real_anatomy / "truth.json").read_text())
    (lesion,), (painted,) = findings["lesions"], truth["lesions"]
    assert lesion["side"] == painted["side"]
    assert np.linalg.norm(np.subtract(lesion["centroid_mm"], painted["post_centre_mm"])) < painted["diameter_mm"] / 2


def test_each_kind_of_answer_arrives_and_no_log_line_names_a_patient(
    node: ServedNode, orthanc: Orthanc, simulated: Callable[[str, Recipe], Path], tmp_path: Path
) -> None:
    healthy = simulated("healthy", SMALL.model_copy(update={"seed": 21, "lesions": (), "patient_name": "SECRET^A"}))
    refused = simulated("refused", SMALL.model_copy(update={"seed": 22, "contrast": "labelled only"}))
    node.start()

    for folder in (healthy, refused):
        assert storescu(node.port, folder / "dicom").returncode == 0
    until(lambda: settled(node, 2), 300, what="two reports")
    reports, _segmentations = arrive(orthanc, tmp_path / "received")

    answers = {read_report(one).answer for one in reports}
    assert len(reports) == 2
    assert any("without findings" in answer and answer.startswith("All") for answer in answers)
    assert any(answer.startswith(("No algorithms", "Not all")) for answer in answers)
    sources = tmp_path / "sources"
    sources.mkdir()
    for folder in (healthy, refused):
        (sources / folder.name).symlink_to(folder / "dicom")
    assert "errors: 0" in validator_errors(tmp_path / "received", sources)
    assert any(job.outcome.startswith("refused: ROLE-CONTRAST") for job in node.console().jobs())
    shown = node.log + node.cli("status", "--json").stdout + node.cli("jobs", "list").stdout
    for report in reports:
        for identifier in (report.PatientName, report.PatientID, report.AccessionNumber, report.StudyInstanceUID):
            assert str(identifier) not in shown


def test_the_demonstration_shows_what_it_promises_and_ends_by_itself(tmp_path: Path) -> None:
    out = tmp_path / "demo"

    done = subprocess.run(
        [sys.executable, "-m", "node", "demo", "--out", str(out)],
        capture_output=True, text=True, cwd=ROOT, check=False, timeout=180, env=os.environ | {"COLUMNS": "120"},
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert "PVM lesion 1" in done.stdout
    assert (out / "results" / "lesion" / "key-image-1.png").stat().st_size > 10_000
    for study in ("lesion", "healthy", "no-contrast"):
        assert "errors: 0" in validator_errors(out / "results" / study, out / "scanner" / study / "dicom")


def test_a_study_that_is_not_eligible_makes_no_job_and_says_why(
    node: ServedNode, simulated: Callable[[str, Recipe], Path]
) -> None:
    only_pre = simulated("only-pre", SMALL.model_copy(update={"seed": 23, "series": ("localizer", "pre")}))
    node.start()

    assert storescu(node.port, only_pre / "dicom").returncode == 0
    studies = until(
        lambda: [one for one in node.console().status()["studies"] if one["state"] == "not eligible"], what="a verdict"
    )

    assert studies[0]["reason"] == "no contrast pair and no MRV: post-contrast T1 missing"
    assert node.console().jobs() == []
    assert "C301" in node.log


def test_a_late_series_makes_a_second_report_and_a_repeated_one_none(
    node: ServedNode, orthanc: Orthanc, simulated: Callable[[str, Recipe], Path], tmp_path: Path
) -> None:
    study = simulated("late", SMALL.model_copy(update={"seed": 24}))
    truth = json.loads((study / "truth.json").read_text())
    series = {dcmread(next(one.iterdir())).SeriesInstanceUID: one for one in (study / "dicom").iterdir()}
    node.start()

    for kind in ("pre", "post"):
        assert storescu(node.port, series[truth["series"][kind]]).returncode == 0
    until(lambda: settled(node), 300, what="the first report")
    assert storescu(node.port, series[truth["series"]["post"]]).returncode == 0  # held already: nothing happens
    assert storescu(node.port, series[truth["series"]["mrv"]]).returncode == 0
    until(lambda: settled(node, 2), 300, what="the second report")
    assert storescu(node.port, series[truth["series"]["localizer"]]).returncode == 0
    until(lambda: settled(node, 3), 300, what="the third job")
    reports, _segmentations = arrive(orthanc, tmp_path / "received")

    assert len(reports) == 2  # the localizer changes nothing that is measured: its job repeats the second
    first, second = sorted(reports, key=lambda one: "PredecessorDocumentsSequence" in one)
    (study_named,) = second.PredecessorDocumentsSequence
    named = study_named.ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID
    assert ("PredecessorDocumentsSequence" in first, named) == (False, first.SOPInstanceUID)
    assert sum(job.outcome.startswith("repeats") for job in node.console().jobs()) == 1


def test_results_that_an_archive_routes_back_are_kept_and_nothing_is_measured_again(
    node: ServedNode, orthanc: Orthanc, simulated: Callable[[str, Recipe], Path], tmp_path: Path
) -> None:
    study = simulated("lesion", SMALL)
    node.start()
    assert storescu(node.port, study / "dicom").returncode == 0
    until(lambda: settled(node), 300, what="the report")
    (before,) = node.console().status()["studies"]
    results = orthanc.files(tmp_path / "received")
    assert results, node.console().jobs()

    sent = storescu(node.port, tmp_path / "received")
    until(lambda: node.console().status()["counts"]["instances"] == before["instances"] + len(results), what="them")

    (after,) = node.console().status()["studies"]
    assert sent.returncode == 0
    assert (after["state"], after["since_s"]) == ("measurable", before["since_s"])  # it never gathered again
    assert len(node.console().jobs()) == 1


def test_sigterm_stops_in_order_and_a_restart_goes_on(
    node: ServedNode, orthanc: Orthanc, simulated: Callable[[str, Recipe], Path], tmp_path: Path
) -> None:
    study = simulated("lesion", SMALL)
    serve_and_send(node, study, "J400")

    assert node.terminate() == 0
    assert "N102" in node.log
    states = [job.state for job in node.console().jobs()]
    node.start()
    until(lambda: settled(node), 300, what="the report")
    reports, _segmentations = arrive(orthanc, tmp_path / "received")

    assert states in ([JobState.QUEUED], [JobState.SUCCEEDED])  # returned, unless it was quick enough to end
    assert len(reports) == 1


def test_a_cancelled_job_ends_at_once_and_a_retry_measures_it_again(
    node: ServedNode, orthanc: Orthanc, simulated: Callable[[str, Recipe], Path], tmp_path: Path
) -> None:
    study = simulated("lesion", SMALL)
    serve_and_send(node, study, "J400")
    (job,) = node.console().jobs()

    assert node.cli("jobs", "cancel", job.id).returncode == 0
    until(lambda: node.console().jobs()[0].state is JobState.CANCELLED, what="the job to be cancelled")
    assert orthanc.instances() == []
    assert node.cli("jobs", "retry", job.id).returncode == 0
    until(lambda: settled(node), 300, what="the report")
    reports, _segmentations = arrive(orthanc, tmp_path / "received")

    assert len(reports) == 1
    assert node.cli("jobs", "retry", job.id).returncode == 1  # nothing is left to try again


def test_work_finishes_what_a_stopped_node_holds_and_takes_no_calls(
    node: ServedNode, orthanc: Orthanc, simulated: Callable[[str, Recipe], Path], tmp_path: Path
) -> None:
    study = simulated("lesion", SMALL)
    serve_and_send(node, study, "C300")
    node.kill()

    node.start("work")
    assert not listens(node.port)
    until(lambda: settled(node), 300, what="the report")
    reports, _segmentations = arrive(orthanc, tmp_path / "received")

    assert len(reports) == 1
    assert node.terminate() == 0


def test_an_archive_that_is_away_gets_its_report_when_it_is_back(
    tmp_path: Path, simulated: Callable[[str, Recipe], Path]
) -> None:
    study = simulated("lesion", SMALL)
    away = Orthanc(tmp_path / "first")
    away.stop()
    node = ServedNode(tmp_path / "node", away.port)
    try:
        serve_and_send(node, study, "D501")

        back = Orthanc(tmp_path / "second", port=away.port)
        until(lambda: settled(node), 60, what="the delivery")
        reports, _segmentations = arrive(back, tmp_path / "received")
        back.stop()
    finally:
        node.kill()

    assert len(reports) == 1
