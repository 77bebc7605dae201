"""People and the results of a served node: reviewed before they are sent, made again, recalled."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from node.simulator import Recipe
from tests.conftest import ROOT
from tests.peers import Orthanc, ServedNode, storescu, until
from tests.walk.conftest import SMALL
from tests.walk.test_walk import validator_errors

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

WHO = ("--user", "Curie^Marie", "--reason", "looked at")


def cli(node: ServedNode, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "node", "--config", str(node.config), *words]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, check=False, env=os.environ | {"COLUMNS": "200"}
    )


def in_archive(orthanc: Orthanc, folder: Path, modality: str) -> list[Dataset]:
    return [one for one in map(dcmread, orthanc.files(folder)) if one.Modality == modality]


def notes_in(orthanc: Orthanc, folder: Path) -> list[Dataset]:
    return [one for one in in_archive(orthanc, folder, "KO") if "recalled" in one.SeriesDescription]


def test_results_are_reviewed_sent_made_again_and_recalled(
    orthanc: Orthanc, simulated: Callable[[str, Recipe], Path], tmp_path: Path
) -> None:
    node = ServedNode(tmp_path / "node", orthanc.port, settings='[review]\nrequired = true\norganization = "Radium"\n')
    study = simulated("small", SMALL) / "dicom"
    received = tmp_path / "received"
    try:
        node.start()
        assert storescu(node.port, study).returncode == 0
        until(lambda: "J403" in node.log or "J402" in node.log, 200, what="the results")
        (line,) = node.console().jobs()
        before = (line.ruling, line.deliveries, orthanc.instances(), cli(node, "review", "list").stdout)

        approved = cli(node, "review", "approve", line.id, *WHO)
        until(lambda: in_archive(orthanc, received, "SR"), 60, what="the report")
        (report,) = in_archive(orthanc, received, "SR")
        again = cli(node, "replay", report.SOPInstanceUID)
        recalled = cli(node, "recall", line.id, *WHO)
        until(lambda: notes_in(orthanc, received), 60, what="the note")
        notes = notes_in(orthanc, received)
        (ruled,) = node.console().jobs()
        twice = cli(node, "recall", line.id, *WHO)
    finally:
        node.kill()

    assert before[:3] == ("waits for review", {}, [])
    assert line.id in before[3]
    assert approved.returncode == 0, approved.stderr
    (observer,) = report.VerifyingObserverSequence
    assert (report.VerificationFlag, observer.VerifyingObserverName) == ("VERIFIED", "Curie^Marie")
    assert observer.VerifyingOrganization == "Radium"
    assert "PredecessorDocumentsSequence" not in report  # the unverified one was never sent
    assert (again.returncode, "all equal" in again.stdout) == (0, True), again.stdout
    assert recalled.returncode == 0, recalled.stderr
    (note,) = notes
    named = {
        item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        for item in note.ContentSequence
        if "ReferencedSOPSequence" in item
    }
    assert note.ConceptNameCodeSequence[0].CodeValue == "113001"
    assert report.SOPInstanceUID in named
    assert (ruled.ruling, twice.returncode) == ("recalled", 1)
    told = validator_errors(received, study)
    assert told.rstrip().endswith("errors: 0"), told
