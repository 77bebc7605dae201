"""A delivered report made again from what the node still holds, to compare its numbers and its UIDs.

The job is done again as it was told (`job.task` in the ledger): the same instances, whose digests are looked at, and
the settings of that day. Nothing is written but a temporary folder, and nothing sent.
"""

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset

from node import process
from node.errors import ReplayError
from node.jobs import sandbox
from node.jobs.steps import Task
from node.ledger import open_database
from node.ledger.ledger import Ledger
from node.settings import Settings
from node.spool import Results

_UIDS = ("UID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "ReferencedSOPInstanceUID")


@dataclass(frozen=True, slots=True)
class Replay:
    """What came out: the job, how many numbers and UIDs were compared, and each that differs, in words."""

    job: str
    compared: int
    differences: tuple[str, ...]


def replay(settings: Settings, sop_instance: str) -> Replay:
    """Make the report with a SOP Instance UID again, and compare.

    Raises
    ------
    ReplayError
        If the node has made no such report, or not from what can be measured again.
    SpoolError
        If what was measured is no longer held.
    """
    data_dir = process.worked_data_dir(settings)
    found = Ledger(open_database(data_dir / process.DATABASE)).report(sop_instance)
    if found is None:
        raise ReplayError("this node has made no report with that SOP Instance UID")
    record, told = found
    delivered = dcmread(Results(data_dir / process.RESULTS).path_of(record.path))
    task = Task.from_json(told)
    with tempfile.TemporaryDirectory(prefix="paraspinal-replay-") as folder:
        task.write(Path(folder))
        sandbox.run_step("measure", Path(folder), settings.jobs)
        made = [
            one
            for one in sandbox.run_step("report", Path(folder), settings.jobs)["objects"]
            if one["role"] == record.role
        ]
        if not made:
            raise ReplayError("no report came out of it")
        again = dcmread(Path(folder, made[0]["file"]))
    is_same_instance = delivered.VerificationFlag == "UNVERIFIED"  # what a person verified is another one
    before, now = (dict(_compared(one, with_own_uid=is_same_instance)) for one in (delivered, again))
    return Replay(record.job, len(before), tuple(_differences(before, now)))


def _compared(report: Dataset, *, with_own_uid: bool) -> Iterator[tuple[str, str]]:
    """Yield each number and UID of a report, and which release made it, by a name that tells its place."""
    yield "release", str(report.SoftwareVersions)
    if with_own_uid:
        yield "SOP Instance UID", str(report.SOPInstanceUID)
    yield "Series Instance UID", str(report.SeriesInstanceUID)
    yield from _content(report, "")


def _content(item: Dataset, place: str) -> Iterator[tuple[str, str]]:
    for number, one in enumerate(item.get("ContentSequence", ()), 1):
        names = one.get("ConceptNameCodeSequence")
        here = f"{place}/{number} {names[0].CodeMeaning if names else one.ValueType}"
        for measured in one.get("MeasuredValueSequence", ()):
            yield here, f"{measured.NumericValue} {measured.MeasurementUnitsCodeSequence[0].CodeValue}"
        for each in (one, *one.get("ReferencedSOPSequence", ())):
            for keyword in _UIDS:
                if keyword in each:
                    yield f"{here} {keyword}", str(each[keyword].value)
        yield from _content(one, here)


def _differences(before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    for place in (*before, *(place for place in now if place not in before)):
        was, became = before.get(place, "nothing"), now.get(place, "nothing")
        if was != became:
            yield f"{place}: was {was}, is {became}"
