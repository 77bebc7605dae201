"""What EMG suspects, from the order, a file, and a person, to the report: with the node as it is served."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from node.folder import measure_folder
from node.settings import Settings
from node.simulator import Recipe, simulate, write
from node.simulator.archive import Archive
from node.simulator.recipe import LesionRecipe
from node.simulator.scanner import push
from tests.conftest import ROOT
from tests.peers import ServedNode, until
from tests.report.builders import name, walk

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SMALL = Recipe(
    pixel_mm=1.5, slices=12, series=("pre", "post"), lesions=(LesionRecipe(diameter_mm=16, vessels=0),),
    accession_number="ACC77",
)  # fmt: skip


def suspicions_told(folder: Path) -> list[str]:
    """Return what each report that an archive has says of EMG."""
    reports = [one for path in folder.glob("*.dcm") if (one := dcmread(path)).Modality == "SR"]
    return [
        item.TextValue for one in reports for item in walk(one) if name_of(item) == "Level and side suspected by EMG"
    ]


def name_of(item: Dataset) -> str:
    return name(item) if "ConceptNameCodeSequence" in item else ""


def node_says(node: ServedNode, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "node", "--config", str(node.config), *arguments],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_order_a_dropped_file_and_a_person_are_heard_one_after_the_other(tmp_path: Path) -> None:
    drops = tmp_path / "drops"
    drops.mkdir()
    study = simulate(SMALL)
    for dataset in study.datasets:
        dataset.ReasonForTheRequestedProcedure = "SECRET^PATIENT EMG: denervation L2 right"
    by_hand = ("emg", "add", "--accession", "ACC77", "--level", "L5/S1", "--side", "left")
    with Archive(tmp_path / "archive") as archive:
        node = ServedNode(tmp_path / "node", archive.port, settings=f'[emg]\nfolder = "{drops}"\nsweep_every_s = 0.5\n')

        def told(reports: int) -> str:
            until(lambda: len(suspicions_told(archive.folder)) == reports, 100, what=f"report {reports}")
            return "\n".join(suspicions_told(archive.folder))

        try:
            node.start()
            push(study.datasets, "127.0.0.1", node.port, called_ae="PARASPINAL")
            assert "Suspected by EMG: L2, right (source: order, ReasonForTheRequestedProcedure)" in told(1)

            (drops / "bad.json").write_text('{"accession_number": "ACC77", "level": "L4"}')
            (drops / "good.json").write_text('{"accession_number": "ACC77", "level": "L4", "side": "li"}')
            assert "Suspected by EMG: L4, left (source: drop folder, told for this study)" in told(2)
            assert (drops / "rejected" / "bad.json").exists()

            assert "is measured again" in node_says(node, *by_hand)
            assert "Suspected by EMG: L5-S1, left (source: emg add, told for this study)" in told(3)
            assert "no study that was measured" in node_says(node, *by_hand)

            (row,) = json.loads(node_says(node, "emg", "list", "--json"))["studies"]
            assert (row["level"], row["side"], row["source"]) == ("L5-S1", "left", "emg add")
            assert not any(word in node.log for word in ("SECRET", "ACC77", "good.json", "bad.json"))
        finally:
            node.kill()


def test_a_folder_is_measured_with_what_its_order_says_and_tells_why_no_level_is_named(tmp_path: Path) -> None:
    study = simulate(SMALL.model_copy(update={"series": ("t2", "pre", "post")}))
    for dataset in study.datasets:
        dataset.ReasonForTheRequestedProcedure = "EMG: Denervierung L2 re."
    write(study, tmp_path / "study")

    made = measure_folder(tmp_path / "study", tmp_path / "out", Settings())

    values = json.loads((tmp_path / "out" / "findings.json").read_text())
    assert made.findings is not None
    assert (values["suspicion"]["level"], values["suspicion"]["side"]) == ("L2", "right")
    assert values["level_basis"] == "level not determined: no labeller of vertebrae is set"
    assert "sagittal" in values["series"]
    report = dcmread(tmp_path / "out" / "sr.dcm")
    sources = {
        one.SeriesInstanceUID for one in report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    }
    assert study.of("t2")[0].SeriesInstanceUID not in sources  # nothing in the report comes from it
