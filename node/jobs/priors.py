"""Priors: reads the earlier results that a job was given, and compares with those that are the patient's for certain.

It runs in the sandboxed step, for an archive may have sent what it reads.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pydicom import dcmread
from pydicom.dataset import Dataset

from node.dicom.moments import is_before, study_began
from node.errors import SpoolError
from node.findings import EarlierResult, Findings, Measurement, Note
from node.jobs import registering
from node.records import REPORT_SERIES, Predecessor

if TYPE_CHECKING:
    from node.analysis.brought import Brought
    from node.jobs.steps import InputFile, Task

MOST_COMPARED = 3  # results, the newest; chosen
_LESION, _SOURCE_SERIES = "PVM lesion", "121232"  # as `node.report` writes identifiers; DCM
_OTHER_PATIENT = Note(
    "PRI-1",
    "An earlier result under the same Patient ID has another issuer, name, day of birth or sex: not compared with it.",
)
_NO_DATE = Note("PRI-2", "The study has no date: earlier results cannot be told from later ones, and were not used.")
_GONE = Note("PRI-3", "An earlier result could not be read from disk any more: not compared with it.")
_OTHER_REVISED = Note(
    "PRI-4",
    "The report of this study that was made before has another Patient ID, issuer, name, day of birth or sex: this one "
    "does not name it, and lesions are tracked anew.",
)
_NO_IMAGES = Note(
    "PRI-6",
    "The images of an earlier result are not there, or could not be registered: its lesions are not compared by place.",
)


@dataclass(frozen=True, slots=True)
class _Told:
    """A report that was read: what it tells, how far its patient is that of the study, when its study began."""

    file: "InputFile"
    result: EarlierResult
    is_of_patient: bool
    agrees: bool
    began: str
    made: tuple[str, str, int]  # greater in a report that replaces another, or verifies it


def may_be_prior(report: Dataset, moment: str) -> bool:
    """Return whether a report is one of ours on a study that began before a moment, as far as its header tells.

    If the moment is "", nothing is known to be later.
    """
    is_ours = str(report.get("SeriesDescription") or "").startswith(REPORT_SERIES)
    return is_ours and (not moment or is_before(study_began(report), moment))


def instances_outlined(report: Dataset) -> list[str]:
    """Return the SOP Instance UIDs of the series on which a report of ours says that lesions were outlined; or none.

    Of a series of several stacks a report lists those that were measured. This process reads without highdicom.
    """
    series = {
        str(item.UID)
        for container in report.get("ContentSequence", ())
        for group in container.get("ContentSequence", ())
        if any(str(item.get("TextValue", "")).startswith(_LESION) for item in group.get("ContentSequence", ()))
        for item in group.get("ContentSequence", ())
        if "UID" in item and item.ConceptNameCodeSequence[0].CodeValue == _SOURCE_SERIES
    }
    return [
        str(instance.ReferencedSOPInstanceUID)
        for study in report.get("CurrentRequestedProcedureEvidenceSequence", ())
        for one in study.ReferencedSeriesSequence
        if str(one.SeriesInstanceUID) in series
        for instance in one.ReferencedSOPSequence
    ]


def compared(findings: Findings, task: "Task", header: Dataset, present: registering.Present | None = None) -> Findings:
    """Return the findings with what the earlier results of a task tell.

    One that is missing, or is not what it was, is told of as a caveat.

    Parameters
    ----------
    header : Dataset
        Of an instance of the series on which the lesions lie.
    present : registering.Present or None
        That series, and where in it foci were looked for; None: earlier images are not registered.
    """
    from node.analysis.recognition import recognized  # scipy: only where a step runs

    moment = study_began(header)
    caveats: list[Note] = []
    newest: dict[str, _Told] = {}  # by study
    for file in task.earlier:
        told = _read(file, header, caveats)
        if told is None or told.result.study == str(header.StudyInstanceUID):
            continue
        if not told.is_of_patient:
            caveats.append(_OTHER_PATIENT)
        elif not moment:
            caveats.append(_NO_DATE)
        elif is_before(told.began, moment):
            newest[told.result.study] = max(told, newest.get(told.result.study, told), key=lambda one: one.made)
    earlier = sorted(newest.values(), key=lambda one: (one.began, one.made), reverse=True)[:MOST_COMPARED]
    brought = {} if present is None else dict(_brought(earlier, task, header, present, caveats))
    revised = None if task.revised is None else _read(task.revised, header, caveats)
    if revised is not None and not revised.agrees:
        caveats.append(_OTHER_REVISED)
        revised = None
    tracked = recognized(
        findings,
        [one.result for one in earlier],
        None if revised is None else revised.result,
        str(header.get("FrameOfReferenceUID") or ""),
        brought,
    )
    return replace(tracked, caveats=(*tracked.caveats, *dict.fromkeys(caveats)))


def not_compared(measurement: Measurement, why: Note) -> Measurement:
    """Return a measurement as if no earlier result were known, and why."""
    findings = measurement.findings
    lesions = tuple(replace(one, tracking_identifier=None, tracking_uid=None, prior=None) for one in findings.lesions)
    alone = replace(findings, lesions=lesions, earlier=(), registrations=(), caveats=(*findings.caveats, why))
    return replace(measurement, findings=alone)


def predecessor(task: "Task", header: Dataset) -> Predecessor | None:
    """Return the report that a task's replaces; None if there is none, or it is not known to be of one patient."""
    from node.report.earlier import agrees  # highdicom: only where a step runs

    if task.revised is None:
        return task.predecessor
    try:
        report = dcmread(task.revised.open(), stop_before_pixels=True)
    except SpoolError:
        return None
    return task.predecessor if agrees(report, header) else None


def _brought(
    earlier: Sequence[_Told], task: "Task", header: Dataset, present: registering.Present, caveats: list[Note]
) -> Iterator[tuple[str, "Brought"]]:
    """Yield by study where the lesions of earlier results would lie; one that is not sure, or none, is told."""
    for one in (each for each in earlier if each.result.lesions):
        files = task.earlier_images.get(one.file.sha256, ())
        try:
            found = registering.brought(one.result, files, header, present)
        except Exception:  # whatever an earlier study's images hold, they cost this one no measurement
            found = None
        if found is None:
            caveats.append(_NO_IMAGES)
            continue
        yield one.result.study, found
        failed = ", ".join(gate.code for gate in found.gates if not gate.passed)
        if failed:
            caveats.append(_not_sure(one.result.study_date, failed))


def _not_sure(day: str, failed: str) -> Note:
    return Note(
        "PRI-7",
        f"The images of {day[:4]}-{day[4:6]}-{day[6:]} could not be registered with these for sure ({failed}): their "
        "lesions are not compared by place.",
    )


def _read(one: "InputFile", header: Dataset, caveats: list[Note]) -> _Told | None:
    """Return what a file tells; None if it is no report of ours with a result, or, with a caveat, is gone."""
    from node.report.earlier import agrees, is_of_patient, read_report  # highdicom: only where a step runs

    try:
        report = dcmread(one.open())
        list(report.iterall())  # pydicom converts a value when it is asked for
        result = read_report(report)
        if result is None:
            return None
        return _Told(
            one, result, is_of_patient(report, header), agrees(report, header), study_began(report), _made(report)
        )
    except SpoolError:
        caveats.append(_GONE)
        return None
    except Exception:  # what peers send may break pydicom anywhere; it is none of ours then
        return None


def _made(report: Dataset) -> tuple[str, str, int]:
    day, time = (str(report.get(keyword) or "") for keyword in ("ContentDate", "ContentTime"))
    return day, time, int(report.get("InstanceNumber") or 0)
