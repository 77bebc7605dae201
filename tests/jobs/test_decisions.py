"""What an operator approves goes through the output gate before it is owed to anybody."""

from pathlib import Path

import pytest
from pydicom import dcmread

from node import process
from node.errors import GateError, RulingError
from node.ledger import Arrivals, Deliveries, open_database
from node.ledger.ledger import Ledger
from node.records import ResultRecord
from node.rulings import Decisions
from node.settings import Settings
from node.spool import Results
from tests.builders import part10
from tests.ledger.test_ledger import FIRST, close
from tests.report.builders import built

WHO = {"name": "Curie^Marie", "reason": "looked at", "organization": "Radium"}


class Desk:
    """A data folder with the results of a job that wait for review."""

    def __init__(self, folder: Path) -> None:
        shelf = {"name": "shelf", "kind": "folder", "folder": str(folder)}
        self.settings = Settings.checked({"node": {"data_dir": str(folder)}, "destination": [shelf]})
        self.database = open_database(folder / process.DATABASE)
        self.results = Results(folder / process.RESULTS)
        Arrivals(self.database).enter([FIRST], now=1.0)
        ledger = Ledger(self.database)
        (job,) = close(ledger, now=2.0)
        self.job = str(job.id)
        records = [
            ResultRecord(one.SOPInstanceUID, one.SOPClassUID, self.job, one.Modality.lower(), self._stored(name))
            for name, one in built().items()
        ]
        ledger.settle(self.job, "findings", records, {"shelf": {"seg", "sr"}}, now=3.0, review=True)

    def _stored(self, name: str) -> str:
        path = self.results.store(part10(built()[name]))
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
    desk = Desk(tmp_path)
    report = dcmread(desk.report)
    report.PatientID = "SECRET-ID"
    desk.report.write_bytes(part10(report))

    with pytest.raises(GateError, match="GATE-IDENTITY PatientID") as raised:
        Decisions(desk.settings).approve(desk.job, **WHO)

    assert "SECRET" not in str(raised.value)
    assert desk.owed() == []


def test_nothing_is_recalled_or_approved_while_its_job_is_measured_again(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    Ledger(desk.database).reopen(desk.job)
    files = list(desk.results.root.iterdir())

    with pytest.raises(RulingError, match="it is being measured"):
        Decisions(desk.settings).approve(desk.job, **WHO)
    with pytest.raises(RulingError, match="it is being measured"):
        Decisions(desk.settings).recall(desk.job, title="quality", name="Curie", text="wrong")

    assert list(desk.results.root.iterdir()) == files  # no object was made for it
    assert desk.owed() == []
