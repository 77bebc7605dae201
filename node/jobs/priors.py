"""Priors: reads the earlier results that a job was given, and compares with those that are the patient's for certain.

It runs in the sandboxed step, for an archive may have sent what it reads.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pydicom import dcmread
from pydicom.dataset import Dataset

from node.findings import EarlierResult, Findings, Note

if TYPE_CHECKING:
    from node.jobs.steps import InputFile, Task

_MOST_COMPARED = 3  # results, the newest; chosen
_OTHER_PATIENT = Note(
    "PRI-1",
    "An earlier result under the same Patient ID has another issuer, name, day of birth or sex: not compared with it.",
)
_NO_DATE = Note("PRI-2", "The study has no date: earlier results cannot be told from later ones, and were not used.")


def compared(findings: Findings, task: "Task", header: Dataset) -> Findings:
    """Return the findings with what the earlier results of a task tell.

    Parameters
    ----------
    header : Dataset
        Of an instance of the series on which the lesions lie.

    Raises
    ------
    SpoolError
        If an earlier result is missing, or is not what it was.
    """
    from node.analysis.recognition import recognized  # scipy; and highdicom below: only where a step runs
    from node.report.earlier import acquired, is_of_patient

    before, caveats = acquired(header), []
    newest: dict[str, tuple[str, tuple[str, str, int], EarlierResult]] = {}  # by study: when it was, when reported
    for report, told in _read(task.earlier):
        if told.study == str(header.StudyInstanceUID):
            continue
        if not is_of_patient(report, header):
            caveats.append(_OTHER_PATIENT)
        elif not before:
            caveats.append(_NO_DATE)
        elif _is_before(acquired(report), before):
            found = (acquired(report), _made(report), told)
            newest[told.study] = max(found, newest.get(told.study, found), key=lambda one: one[1])
    earlier = [told for _when, _made, told in sorted(newest.values(), key=lambda one: one[:2], reverse=True)]
    revised = next((told for _report, told in _read([task.revised] if task.revised else [])), None)
    frame_of_reference = str(header.get("FrameOfReferenceUID") or "")
    tracked = recognized(findings, earlier[:_MOST_COMPARED], revised, frame_of_reference)
    return replace(tracked, caveats=(*tracked.caveats, *dict.fromkeys(caveats)))


def _read(files: Sequence["InputFile"]) -> Iterator[tuple[Dataset, EarlierResult]]:
    """Yield those of files that are reports of ours with a result, and what they tell."""
    from node.report.earlier import read_report

    for one in files:
        file = one.open()
        try:
            report = dcmread(file)
            list(report.iterall())  # pydicom converts a value when it is asked for
            told = read_report(report)
        except Exception:  # what peers send may break pydicom anywhere; it is none of ours then
            continue
        if told is not None:
            yield report, told


def _is_before(one: str, other: str) -> bool:
    """Return whether a moment, YYYYMMDD and as much of HHMMSS as is known, was before another for certain."""
    known = min(len(one), len(other))
    return one[:known] < other[:known]


def _made(report: Dataset) -> tuple[str, str, int]:
    """Return what is greater in a report that replaces another, or verifies it."""
    day, time = (str(report.get(keyword) or "") for keyword in ("ContentDate", "ContentTime"))
    return day, time, int(report.get("InstanceNumber") or 0)
