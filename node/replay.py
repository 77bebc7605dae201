"""A delivered report made again from what the node still holds, to compare its numbers, codes, UIDs and coordinates.

The job is done again as it was told (`job.task` in the ledger): the same instances and earlier results, whose digests
are looked at, and the settings of that day. Nothing is written but a temporary folder, and nothing sent. A report that
says that there is no result comes out again if the measurement still does not end, and differs in all if it now does.
"""

import datetime as dt
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset

from node import process
from node.errors import NodeError, ReplayError, SpoolError
from node.jobs import sandbox
from node.jobs.answers import NOT_MEASURED, NOT_REPORTED, REFUSALS, Answer
from node.jobs.steps import Task
from node.ledger import open_database
from node.ledger.ledger import Ledger
from node.settings import Settings
from node.spool import Results

_PLAIN = (
    "UID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "ReferencedSOPInstanceUID",
    "ReferencedFrameNumber", "GraphicData",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Replay:
    """What came out: the job, how many values were compared, and each that differs, in words."""

    job: str
    compared: int
    differences: tuple[str, ...]


def replay(settings: Settings, sop_instance: str) -> Replay:
    """Make the report with a SOP Instance UID again, and compare.

    Raises
    ------
    ReplayError
        If the node has made no such report, or not from what can be measured again: of a job's attempts that is what
        the last one was told.
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
    for one in (*task.earlier, *(() if task.revised is None else (task.revised,))):
        one.read()  # a job goes on without one that is gone, and says so
    with tempfile.TemporaryDirectory(prefix="paraspinal-replay-") as folder:
        task.write(Path(folder))
        made = [one for one in _answer(Path(folder), settings)["objects"] if one["role"] == record.role]
        if not made:
            raise ReplayError("no report came out of it")
        again = dcmread(Path(folder, made[0]["file"]))
    if again.SeriesInstanceUID != delivered.SeriesInstanceUID and _moment(delivered) != task.started:
        raise ReplayError("its job was tried again since, and what was told then made another report")
    is_same_instance = delivered.VerificationFlag == "UNVERIFIED"  # what a person verified is another one
    before, now = (dict(_compared(one, with_own_uid=is_same_instance)) for one in (delivered, again))
    differences = tuple(_differences(before, now))
    for image in (one for files in task.earlier_images.values() for one in files if differences):
        image.read()  # likewise; but not all that a job is given is used, and what comes out without it is as good
    return Replay(record.job, len(before), differences)


def _moment(report: Dataset) -> dt.datetime:
    """Return when the analysis of a report began (`report.provenance`)."""
    told = f"{report.ContentDate}{str(report.ContentTime)[:6]}{report.TimezoneOffsetFromUTC}"
    return dt.datetime.strptime(told, "%Y%m%d%H%M%S%z")


def _answer(folder: Path, settings: Settings) -> Answer:
    """Do a job's steps again, and answer as the pipeline does: what cannot be measured gets a report that says so."""
    step: Callable[..., Answer] = partial(sandbox.run_step, folder=folder, limits=settings.jobs)
    try:
        step("measure")
    except SpoolError:
        raise
    except NodeError:
        return step("refuse", code=NOT_MEASURED, text=REFUSALS[NOT_MEASURED])
    try:
        return step("report")
    except NodeError:
        return step("refuse", code=NOT_REPORTED, text=REFUSALS[NOT_REPORTED])


def _compared(report: Dataset, *, with_own_uid: bool) -> Iterator[tuple[str, str]]:
    """Yield each number, code, UID and outline of a report, and its release, by a name that tells its place."""
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
        for code in one.get("ConceptCodeSequence", ()):
            yield f"{here} code", f"{code.CodeValue} {code.CodingSchemeDesignator}"
        for each in (one, *one.get("ReferencedSOPSequence", ())):
            for keyword in _PLAIN:
                if keyword in each:
                    yield f"{here} {keyword}", str(each[keyword].value)
        yield from _content(one, here)


def _differences(before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    for place in (*before, *(place for place in now if place not in before)):
        was, became = before.get(place, "nothing"), now.get(place, "nothing")
        if was != became:
            yield f"{place}: was {was}, is {became}"
