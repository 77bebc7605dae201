"""What an operator decides about the results of a job, from another process than the node's: approve, reject, recall.

Each leaves who, when and why in the ledger, and what is owed by it; the worker sends that as it sends all else, and
tells the event log (`jobs.watch.RulingWatch`): what this process logs is read by nobody.
"""

import contextlib
import datetime as dt
import time
from io import BytesIO

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import UID

from node import __version__, process
from node.dicom.identifiers import InstanceUID
from node.errors import RulingError, SpoolError
from node.ledger import open_database
from node.ledger.rulings import DecidedRow, Rulings, WaitingRow
from node.records import RECALL_NOTE, ResultRecord, ResultRole, Ruling
from node.report.gate import check_verified
from node.report.rulings import RECALL_REASONS, rejection_note, verified
from node.report.sources import SeriesEvidence, Study
from node.settings import ReportSettings, Settings
from node.spool import Results, SpoolReader, read_header

__all__ = ["RECALL_REASONS", "Decisions"]


class Decisions:
    """Decisions about what is in the data folder of the settings.

    A result that is missing, or not on disk as it was made, is a SpoolError wherever it is needed.

    Raises
    ------
    SettingsError
        If no node has worked there.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        data_dir = process.worked_data_dir(settings)
        self._rulings = Rulings(open_database(data_dir / process.DATABASE))
        self._results = Results(data_dir / process.RESULTS)
        self._spool = SpoolReader(data_dir / process.SPOOL)

    def waiting(self) -> list[WaitingRow]:
        """Return the jobs whose results wait for review."""
        return self._rulings.waiting()

    def decided(self, *, since_s: float) -> list[DecidedRow]:
        """Return what was decided since a moment (seconds since 1970), the newest first."""
        return self._rulings.decided(since_s=since_s)[::-1]

    def approve(self, job: str, *, name: str, reason: str, organization: str) -> list[str]:
        """Verify the report of a job in a person's name, and have the results sent; return the destinations.

        Raises
        ------
        RulingError
            If there is nothing to approve, or the person is not named as a report needs it.
        GateError
            If the verified report does not pass the output gate.
        """
        results = self._of(job)
        report = next((one for one in reversed(results) if one.role == ResultRole.SR), None)
        if report is None:
            raise RulingError(f"{job}: it has no report")
        obstacle = self._rulings.obstacle(job)  # here for the sake of what need not be made then
        if obstacle:
            raise RulingError(f"{job}: {obstacle}")
        was_sent = self._rulings.was_sent(report.sop_instance)
        organization = organization or self._settings.review.organization or self._settings.report.institution
        made = verified(
            self._read(report), name=name, organization=organization, moment=_now(), replaces=was_sent
        )  # fmt: skip
        segmentations = [self._read(one) for one in results if one.role == ResultRole.SEG]
        check_verified(made, self._read(report), segmentations)
        record = self._stored(made, job, ResultRole.SR)
        owed = {
            one.name: {each.sop_instance for each in (*results, record) if one.gets(each.role)} - {report.sop_instance}
            for one in self._settings.destination
        }
        obstacle = self._rulings.approve(job, [record], owed, name, reason, report=report.sop_instance, now=time.time())
        if obstacle:
            raise RulingError(f"{job}: {obstacle}")
        return sorted(owed)

    def reject(self, job: str, *, name: str, reason: str) -> None:
        """Have the results of a job that wait never be sent; RulingError if none wait."""
        if not self._rulings.reject(job, name, reason, now=time.time()):
            raise RulingError(f"{job}: no results of it wait for review")

    def recall(self, job: str, *, title: str, name: str, text: str) -> list[str]:
        """Have every destination told that the results of a job do not hold; return those destinations.

        Raises
        ------
        RulingError
            If none has any, they were recalled before, or the job is under way again; if nothing is left here that
            says whose they are.
        """
        if why := self._rulings.under_way(job):  # before its results are read: they may change until it has ended
            raise RulingError(f"{job}: {why}")
        results = [one for one in self._of(job) if self._rulings.was_sent(one.sop_instance)]
        if self._ruling(job) is Ruling.RECALLED:
            raise RulingError(f"{job}: it is {self._ruling(job)} already")
        if not self._rulings.holders(job):
            raise RulingError(f"{job}: no destination holds results of it")
        whose = self._whose(job)
        named = [_standing_for(one, whose) for one in results]
        note = rejection_note(named, RECALL_REASONS[title], text=text, moment=_now())
        record = self._stored(note, job, RECALL_NOTE)
        holders = self._rulings.recall(job, record, name, f"{title}: {text}", now=time.time())
        if not holders:  # by somebody else, this moment
            raise RulingError(f"{job}: it is {self._ruling(job)} already")
        return holders

    def others(self, job: str) -> list[str]:
        """Return the other jobs of the same study whose results destinations have, and that still hold."""
        return self._rulings.others(job)

    def _whose(self, job: str) -> Dataset:
        """Return a data set with patient and study of a job's results, and with us as their equipment.

        The job's last report; where our disk has lost it, any other result, or else an image that was measured.
        """
        for one in self._rulings.of_its_patient(job):
            with contextlib.suppress(SpoolError, OSError):
                return self._read(one)
        for place in self._rulings.measured(job):
            with contextlib.suppress(Exception):  # what peers send may break pydicom anywhere
                study = Study.of([SeriesEvidence("", (read_header(self._spool.read(place)),), ())])
                if study.received_set is None:  # else nobody here can write the name as it came
                    return _as_ours(study.header, self._settings.report)
        raise RulingError(
            f"{job}: a note must say whose results they are, and nothing that does is left here, no result of its "
            "study and no image that was measured: have them hidden at the destinations themselves"
        )

    def _of(self, job: str) -> list[ResultRecord]:
        results = self._rulings.results(job)
        if not results:
            raise RulingError(f"{job}: there is no such job with results")
        return results

    def _ruling(self, job: str) -> Ruling | None:
        found = self._rulings.of(job)
        return None if found is None else found.ruling

    def _read(self, one: ResultRecord) -> Dataset:
        return dcmread(BytesIO(self._results.read(one.path)))

    def _stored(self, made: Dataset, job: str, role: str) -> ResultRecord:
        buffer = BytesIO()
        made.save_as(buffer, enforce_file_format=True)
        path = self._results.store(buffer.getvalue())
        return ResultRecord(
            InstanceUID(str(made.SOPInstanceUID)), str(made.SOPClassUID), job, role, path, str(made.SeriesInstanceUID)
        )


def _standing_for(one: ResultRecord, whose: Dataset) -> Dataset:
    """Return a data set with the identity of a result, and with patient and study."""
    made = Dataset()
    made.update(whose)
    identity = {"SOPClassUID": one.sop_class, "SOPInstanceUID": one.sop_instance, "SeriesInstanceUID": one.series}
    for keyword, uid in identity.items():
        made.pop(keyword, None)  # both data sets have this element: to set its value would set it in the other, too
        setattr(made, keyword, UID(uid))
    return made


def _as_ours(header: Dataset, product: ReportSettings) -> Dataset:
    """Return the header of an image as if the node had made it."""
    header.Manufacturer, header.ManufacturerModelName = product.manufacturer, product.model
    header.DeviceSerialNumber, header.SoftwareVersions = product.serial_number, __version__
    header.InstitutionName = product.institution or header.get("InstitutionName")
    return header


def _now() -> dt.datetime:
    return dt.datetime.now().astimezone().replace(microsecond=0)
