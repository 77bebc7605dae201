"""The answer to a study: its result objects, if they pass the output gate; else a report that says there is none.

What the gate holds back is handed on all the same, to be put where nothing is sent from.
"""

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from node import durable
from node.errors import ReportError, shown
from node.findings import Algorithm, Findings, Measurement, Note, Outcome, Regions
from node.jobs import priors
from node.records import Predecessor

if TYPE_CHECKING:
    from node.jobs.steps import Task
    from node.report import ResultObject, SeriesEvidence

NOT_MEASURED, NOT_REPORTED = "JOB-1", "JOB-2"  # docs/conformance.md
REFUSALS = {NOT_MEASURED: "The measurement did not end.", NOT_REPORTED: "The results could not be written."}
_NOT_COMPARED = Note(
    "PRI-5", "What would have been said of earlier results did not pass the checks before sending, and was left out."
)
_NO_ANALYSIS = "No analysis was possible. This is not a statement about the patient."

Answer = dict[str, Any]  # JSON values: a step's answer goes from process to process


def answer(folder: Path, task: "Task", measurement: Measurement, evidence: Sequence["SeriesEvidence"]) -> Answer:
    """Build the objects that tell what was measured, or why they cannot be sent.

    Returns
    -------
    dict
        "objects", in sending order, and "quarantined": role, UIDs and file name of each; "faults": why there are any
        of the latter, a line each; "left_out", if the comparison with earlier results was: why, in codes of the gate.
    """
    made, found = _checked(task, measurement, evidence)
    left_out: Answer = {}
    if found and (task.earlier or task.revised is not None):
        # What others told must not cost the patient a result.
        alone, remaining = _checked(task, priors.not_compared(measurement, _NOT_COMPARED), evidence)
        if not remaining:
            made, found, left_out = alone, [], {"left_out": _codes(found)}
    if not found:
        return {"objects": written(folder, made), "quarantined": [], "faults": [], **left_out}
    text = f"The results did not pass the checks before sending: {_codes(found)}."
    told = refusal(folder, task, measurement.findings.algorithm, Note(NOT_REPORTED, text), evidence)
    return {**told, "quarantined": written(folder, made, "quarantined-"), "faults": [*found, *told["faults"]]}


def _codes(faults: Sequence[str]) -> str:
    codes = sorted({word for line in faults for word in line.split() if word.startswith("GATE-")})
    return ", ".join(codes) or "they could not be written"


def _checked(
    task: "Task", measurement: Measurement, evidence: Sequence["SeriesEvidence"]
) -> tuple[tuple["ResultObject", ...], list[str]]:
    """Return the objects of a measurement, and what is wrong with them; no objects, if they could not be written."""
    from node.report import faults, unchecked  # highdicom: 0.5 s and 65 MB, only where a step runs

    made: tuple[ResultObject, ...] = ()
    try:
        made = unchecked(
            measurement,
            evidence,
            settings=task.report,
            started=task.started,
            predecessor=_predecessor(task, evidence),
        )
        return made, faults(made, evidence, measurement.findings.earlier)
    except ReportError as error:
        return made, [shown(error)]


def _predecessor(task: "Task", evidence: Sequence["SeriesEvidence"]) -> Predecessor | None:
    header = next((header for series in evidence for header in series.headers), None)
    return None if header is None else priors.predecessor(task, header)


def refusal(
    folder: Path, task: "Task", algorithm: Algorithm, why: Note, evidence: Sequence["SeriesEvidence"]
) -> Answer:
    """Build a report that says why there is no result; nothing, if that one cannot be sent either."""
    from node.report import build

    findings = Findings(
        outcome=Outcome.REFUSED,
        summary=_NO_ANALYSIS,
        inputs=(),
        grade=None,
        muscles=(),
        lesions=(),
        gates=(),
        caveats=(),
        refusals=(why,),
        # Another report than the one that could not be sent: its UIDs are its own.
        algorithm=replace(algorithm, parameters={**algorithm.parameters, "refused": why.code}),
        suspicion=task.suspicion,
    )
    nothing = Measurement(findings, Regions(None, None, None, "post"))
    try:
        made = build(
            nothing, evidence, settings=task.report, started=task.started, predecessor=_predecessor(task, evidence)
        )
    except ReportError as error:
        return {"objects": [], "quarantined": [], "faults": [f"no report says so: {shown(error)}"]}
    return {"objects": written(folder, made), "quarantined": [], "faults": []}


def written(folder: Path, made: Sequence["ResultObject"], prefix: str = "") -> list[dict[str, str]]:
    """Write objects into a job's folder, and return role, UIDs and file name of each."""
    objects = []
    for one in made:
        buffer = io.BytesIO()
        one.dataset.save_as(buffer, enforce_file_format=True)
        durable.write(folder / f"{prefix}{one.name}.dcm", buffer.getvalue())
        objects.append(
            {
                "role": one.role,
                "sop_instance": str(one.dataset.SOPInstanceUID),
                "sop_class": str(one.dataset.SOPClassUID),
                "series": str(one.dataset.SeriesInstanceUID),
                "file": f"{prefix}{one.name}.dcm",
            }
        )
    return objects
