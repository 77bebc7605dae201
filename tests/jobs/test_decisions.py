"""What an operator approves goes through the output gate before it is owed to anybody."""

import copy
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from node import process
from node.errors import GateError, RulingError, SpoolError
from node.jobs.watch import RulingWatch
from node.ledger import Deliveries, open_database
from node.ledger.ledger import Ledger
from node.ledger.rulings import Rulings
from node.records import RECALL_NOTE, ResultRecord
from node.rulings import Decisions
from node.settings import Settings
from node.spool import Results, Spool
from node.takeout import export
from tests.builders import mr, part10, receive
from tests.cli.test_cli import run
from tests.ledger.test_ledger import close
from tests.report.builders import built, everything, name, value

__all__ = ["run"]  # a fixture

WHO = {"name": "Curie^Marie", "reason": "looked at", "organization": "Radium"}


class Desk:
    """A data folder with the results of a job that wait for review."""

    def __init__(self, folder: Path, made: dict[str, Dataset] | None = None) -> None:
        made = made or built()
        shelf = {"name": "shelf", "kind": "folder", "folder": str(folder)}
        self.settings = Settings.checked({"node": {"data_dir": str(folder)}, "destination": [shelf]})
        self.database = open_database(folder / process.DATABASE)
        self.results = Results(folder / process.RESULTS)
        ledger, report = Ledger(self.database), made["sr"]
        spool = Spool(folder / process.SPOOL, segment_bytes=1 << 20, spare=0)
        list(spool.replay({}))
        of_patient = {"PatientID": report.PatientID, "PatientName": report.PatientName, "Manufacturer": "of a scanner"}
        receive(spool, ledger, mr(study=report.StudyInstanceUID, **of_patient), now=1.0)
        spool.close()
        (job,) = close(ledger, now=2.0)
        self.job = str(job.id)
        records = [
            ResultRecord(
                one.SOPInstanceUID,
                one.SOPClassUID,
                self.job,
                one.Modality.lower(),
                self._stored(name, one),
                one.SeriesInstanceUID,
            )
            for name, one in made.items()
        ]
        ledger.settle(self.job, "findings", records, {"shelf": {"seg", "sr"}}, now=3.0, review=True)

    def _stored(self, name: str, made: Dataset) -> str:
        path = self.results.store(part10(made))
        if name == "sr":
            self.report = self.results.path_of(path)
        return path

    def owed(self) -> list[str]:
        return sorted(one.role for one in Deliveries(self.database).rows(self.job))


def test_what_is_approved_is_verified_and_owed(tmp_path: Path) -> None:
    desk = Desk(tmp_path)

    destinations = Decisions(desk.settings).approve(desk.job, **WHO)

    made = [dcmread(one) for one in desk.results.root.iterdir()]
    assert destinations == ["shelf"]
    assert desk.owed() == ["seg", "seg", "seg", "sr"]
    assert [one.VerificationFlag for one in made if one.Modality == "SR"].count("VERIFIED") == 1


def test_a_report_that_has_come_to_be_of_another_patient_is_not_approved(tmp_path: Path) -> None:
    made = copy.deepcopy(built())
    made["sr"].PatientID = "SECRET-ID"
    desk = Desk(tmp_path, made)

    with pytest.raises(GateError, match="GATE-IDENTITY PatientID") as raised:
        Decisions(desk.settings).approve(desk.job, **WHO)

    assert "SECRET" not in str(raised.value)
    assert desk.owed() == []


def test_a_report_that_is_not_on_disk_as_it_was_made_is_neither_approved_nor_exported(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    content = desk.report.read_bytes()
    desk.report.write_bytes(content.replace(b"Summary", b"Summarx", 1))

    for decide in (
        lambda: Decisions(desk.settings).approve(desk.job, **WHO),
        lambda: export(desk.settings, desk.job, tmp_path / "out"),
    ):
        with pytest.raises(SpoolError, match="not on disk as it was made"):
            decide()
    assert desk.owed() == []


def test_what_a_destination_has_may_be_missing_in_an_export_and_nothing_else(tmp_path: Path, run) -> None:
    desk = Desk(tmp_path)
    regions = next(one for one in desk.results.root.iterdir() if dcmread(one).Modality == "SEG")
    content = regions.read_bytes()
    regions.unlink()
    words = ("jobs", "export", desk.job, str(tmp_path / "out"), "--data", str(tmp_path))

    lost = run(*words)
    regions.write_bytes(content)
    Decisions(desk.settings).approve(desk.job, **WHO)
    with desk.database.begin() as connection:
        connection.execute("UPDATE delivery SET state = 'stored'")
    regions.unlink()
    dropped = run(*words)

    assert (lost[0], lost[2]) == (1, "failed: a result that the ledger knows is missing from the spool\n")
    assert (dropped[0], dropped[1]) == (
        0, f"4 of 5 objects in {tmp_path / 'out'}; the others were delivered, and are not kept any more\n",
    )  # fmt: skip


def test_nothing_is_recalled_or_approved_while_its_job_is_measured_again(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    Ledger(desk.database).reopen(desk.job, "curie", now=1.0)
    files = list(desk.results.root.iterdir())

    with pytest.raises(RulingError, match="it is being measured"):
        Decisions(desk.settings).approve(desk.job, **WHO)
    with pytest.raises(RulingError, match="it is being measured"):
        Decisions(desk.settings).recall(desk.job, title="quality", name="Curie", text="wrong")

    assert list(desk.results.root.iterdir()) == files  # no object was made for it
    assert desk.owed() == []


def named(note: Dataset) -> dict[str, tuple[str, str]]:
    """Return SOP Class and Series Instance UID of what a note names, by SOP Instance UID."""
    return {
        item.ReferencedSOPInstanceUID: (item.ReferencedSOPClassUID, series.SeriesInstanceUID)
        for study in note.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }


def sent_and_lost(folder: Path, *, but: str = "", images: bool = True) -> tuple[Desk, Dataset]:
    """Return a desk whose results were sent, with their report; the last of a role is still on disk, no other."""
    desk = Desk(folder)
    Decisions(desk.settings).approve(desk.job, **WHO)
    with desk.database.begin() as connection:
        connection.execute("UPDATE delivery SET attempts = 1")
    results = Rulings(desk.database).results(desk.job)
    report = dcmread(desk.results.path_of(results[-1].path))
    kept = [one.path for one in results if one.role == but][-1:]
    for one in results:
        if one.path not in kept:
            desk.results.drop(one.path)
    if not images:
        shutil.rmtree(folder / process.SPOOL)
    return desk, report


@pytest.mark.parametrize("left", ["sr", "seg", "the images alone"])
def test_a_recall_names_all_that_was_sent_by_whatever_is_left_that_says_whose_it_is(tmp_path: Path, left: str) -> None:
    desk, report = sent_and_lost(tmp_path, but=left, images="images" in left)

    Decisions(desk.settings).recall(desk.job, title="patient-safety", name="Curie^Marie", text="wrong side")

    (note,) = (one for one in map(dcmread, desk.results.root.iterdir()) if one.Modality == "KO")
    sent = [*(one for one in built().values() if one.Modality == "SEG"), report]
    assert named(note) == {one.SOPInstanceUID: (one.SOPClassUID, one.SeriesInstanceUID) for one in sent}
    of_patient = ("PatientID", "PatientName", "StudyInstanceUID", "Manufacturer", "SoftwareVersions")
    assert [note[one].value for one in of_patient] == [report[one].value for one in of_patient]
    assert desk.owed().count(RECALL_NOTE) == 1


def test_what_nobody_here_can_say_of_any_more_whose_it_is_cannot_be_recalled(tmp_path: Path) -> None:
    desk, _ = sent_and_lost(tmp_path, images=False)

    with pytest.raises(RulingError, match="have them hidden at the destinations themselves"):
        Decisions(desk.settings).recall(desk.job, title="quality", name="Curie^Marie", text="wrong side")

    assert RECALL_NOTE not in desk.owed()


def test_who_decided_what_when_and_why_is_listed_and_the_log_of_the_node_is_told_that_it_was(
    tmp_path: Path, run, caplog: pytest.LogCaptureFixture
) -> None:
    desk = Desk(tmp_path)
    decisions = Decisions(desk.settings)
    decisions.approve(desk.job, **WHO)
    caplog.set_level("INFO")
    watch = RulingWatch(Rulings(desk.database))  # a worker that starts now
    with desk.database.begin() as connection:
        connection.execute("UPDATE delivery SET attempts = 1")

    decisions.recall(desk.job, title="quality", name="Röntgen^Wilhelm", text="wrong, see [/ticket 12]")
    for _ in range(2):
        watch.run_once()
    listed = json.loads(run("review", "log", "--data", str(tmp_path), "--json")[1])
    shown = run("review", "log", "--data", str(tmp_path))

    assert shown[0] == 0
    assert "see [/ticket 12]" in shown[1]  # as it was written: no markup of the table
    assert [(one["job"], one["ruling"], one["who"], one["reason"]) for one in listed] == [
        (desk.job, "recalled", "Röntgen^Wilhelm", "quality: wrong, see [/ticket 12]"),
        (desk.job, "approved", "Curie^Marie", "looked at"),
    ]
    assert [line for line in caplog.messages if "J42" in line] == [
        f"J422 results recalled; a rejection note is owed to all that hold them job={desk.job}"
    ]
    assert decisions.decided(since_s=listed[0]["decided_s"] + 1.0) == []


@pytest.mark.slow
def test_what_waits_for_review_can_be_looked_at_without_a_viewer(tmp_path: Path, run) -> None:
    desk = Desk(tmp_path, everything())
    out = tmp_path / "out"
    words = ("jobs", "export", desk.job, str(out), "--data", str(tmp_path))

    code, said, _ = run(*words)
    again = run(*words)

    number = len(everything())
    assert (code, said) == (0, f"{number} objects in {out}\n")
    written = {one.SOPInstanceUID for one in map(dcmread, out.glob("*.dcm"))}
    assert written == {one.SOPInstanceUID for one in everything().values()}
    captures = [one for one in everything().values() if one.SOPClassUID == SecondaryCaptureImageStorage]
    pictures = [np.asarray(Image.open(file)) for file in sorted(out.glob("*.png"))]
    assert len(captures) == 2
    assert all(np.array_equal(one, other.pixel_array) for one, other in zip(pictures, captures, strict=True))
    assert [file.read_bytes()[:5] for file in out.glob("*.pdf")] == [b"%PDF-"]
    sentences = "".join(file.read_text() for file in out.glob("*.txt"))
    assert all(f"{name(one)}: {value(one)}\n" in sentences for one in everything()["sr"].ContentSequence
               if one.ValueType == "TEXT")  # fmt: skip
    assert "\nSummary: " in sentences
    assert desk.owed() == []
    assert (again[0], again[2]) == (
        1, "refused: files of this job would lie among others: name an empty or new folder\n",
    )  # fmt: skip
