"""The same measurement on a folder of DICOM files: assembly, analysis and report, without network or ledger."""

import datetime as dt
import hashlib
import json
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from pydicom.dataset import Dataset

from node import durable
from node.completion import read_table
from node.completion.contents import Source, read_contents
from node.dicom.files import read_file_header
from node.dicom.identifiers import SeriesUID
from node.emg import read_order
from node.errors import GateError, HeaderError
from node.findings import Findings
from node.jobs import sandbox, steps
from node.records import Role, RoleDecision, StackKey, contrast_doubt, rule_table
from node.settings import Settings

FINDINGS_FILE = "findings.json"
_OURS = (FINDINGS_FILE, "seg-*.dcm", "map.dcm", "key-image-*.dcm", "sr.dcm", "outlines.dcm", "ko.dcm", "pdf.dcm")
_IDENTIFIERS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")


@dataclass(frozen=True, slots=True)
class FolderResult:
    """What became of a folder: `findings` is None where the study is not eligible, and `reason` says why."""

    findings: Findings | None
    reason: str
    objects: tuple[Path, ...]


def measure_folder(study_dir: Path, out: Path, settings: Settings) -> FolderResult:
    """Measure the study in `study_dir` and write result objects and `findings.json` into `out`.

    The numbers are those of the served node: it runs the same steps, in the same sandbox, only without a queue.

    Raises
    ------
    HeaderError
        If the folder holds no DICOM instance, or instances of more than one study.
    GateError
        If the result objects do not pass the output gate.
    SandboxError
        If a step ran past [jobs] step_time_limit_s or step_memory_limit_mb, or crashed.
    """
    for name in _OURS:  # what lies there may be of another study
        for earlier in out.glob(name):
            earlier.unlink()
    series = _read_series(study_dir)
    contents = read_contents(
        [Source(uid, partial(_headers, found)) for uid, found in series.items()],
        read_table(settings.completion.roles),
        post_alone=settings.completion.post_alone,
    )
    roles, selection = contents.roles, contents.selection
    if selection.stacks is None:
        return FolderResult(None, selection.reason, ())
    inputs = {
        role: [
            steps.InputFile(path, hashlib.sha256(path.read_bytes()).hexdigest()) for path, _header in series[key.series]
        ]
        for role, key in selection.stacks.items()
    }
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="paraspinal-measure-") as folder:
        work = Path(folder)
        started = dt.datetime.now().astimezone().replace(microsecond=0)
        order = read_order([series[key.series][0][1] for key in selection.stacks.values()], settings.emg.rules)
        stacks = {role: key.number for role, key in selection.stacks.items()}
        task = steps.Task(inputs, settings.analysis, settings.report, started, stacks=stacks)
        task = replace(task, memory_limit_mb=settings.jobs.step_memory_limit_mb)
        chosen = {role: roles[key] for role, key in selection.stacks.items()}
        task = replace(task, rules=rule_table(chosen), doubt=contrast_doubt(chosen), manifest=_manifest(task))
        replace(task, suspicion=order.suspicion, unclear=order.unclear).write(work)
        sandbox.run_step("measure", Path(folder), settings.jobs)
        answer = sandbox.run_step("report", Path(folder), settings.jobs)
        if answer["faults"]:
            raise GateError("the result objects are not fit to be sent:\n" + "\n".join(answer["faults"]))
        objects = [_move(work / one["file"], out) for one in answer["objects"]]
        findings = steps.read_measurement(work).findings
    content = findings.to_json() | {"series": _series_json(selection.stacks, roles)}
    durable.write(out / FINDINGS_FILE, json.dumps(content, indent=2).encode() + b"\n")
    return FolderResult(findings, selection.reason, tuple(objects))


def _manifest(task: steps.Task) -> str:
    """Return a digest of what is measured: of the files as they are, each in its role."""
    lines = [f"{role} {task.stacks.get(role, 1)} {one.sha256}" for role, ones in task.inputs.items() for one in ones]
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def _read_series(study_dir: Path) -> dict[SeriesUID, list[tuple[Path, Dataset]]]:
    series: dict[SeriesUID, list[tuple[Path, Dataset]]] = defaultdict(list)
    studies, seen = set(), set()
    for path in sorted(one for one in study_dir.rglob("*") if one.is_file()):
        try:
            with path.open("rb") as file:
                header = read_file_header(file)
        except HeaderError:  # one that would become too large is of this study, for all we know
            raise
        except Exception:  # truth files, text, pictures: folders of researchers hold more than DICOM
            continue
        if not all(keyword in header for keyword in _IDENTIFIERS) or header.SOPInstanceUID in seen:
            continue
        seen.add(header.SOPInstanceUID)
        series[SeriesUID(str(header.SeriesInstanceUID))].append((path, header))
        studies.add(str(header.StudyInstanceUID))
    if len(studies) != 1:
        raise HeaderError(f"the folder must hold the instances of one study, found {len(studies)} studies")
    return {uid: sorted(found, key=lambda one: str(one[1].SOPInstanceUID)) for uid, found in series.items()}


def _headers(found: Sequence[tuple[Path, Dataset]]) -> list[Dataset]:
    return [header for _path, header in found]


def _series_json(selected: Mapping[Role, StackKey], roles: Mapping[StackKey, RoleDecision]) -> dict[str, object]:
    return {
        role.value: {
            "series_instance_uid": key.series,
            "stack": key.number,
            "role": roles[key].label,
            "rule": roles[key].rule,
            "rules": roles[key].table,
            "confidence": roles[key].confidence.value,
            "evidence": roles[key].evidence,
        }
        for role, key in selected.items()
    }


def _move(source: Path, folder: Path) -> Path:
    durable.write(folder / source.name, source.read_bytes())
    return folder / source.name
