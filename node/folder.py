"""The same measurement on a folder of DICOM files: assembly, analysis and report, without network or ledger."""

import datetime as dt
import hashlib
import json
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset

from node import durable
from node.completion import StackFacts, decide_roles, read_facts, read_table, select
from node.dicom.identifiers import SeriesUID
from node.emg import read_order
from node.errors import HeaderError, VolumeError
from node.findings import Findings
from node.jobs import steps
from node.records import Role, RoleDecision, StackKey
from node.settings import Settings

FINDINGS_FILE = "findings.json"
_OURS = (FINDINGS_FILE, "seg-lesions.dcm", "seg-muscles.dcm", "seg-vessels.dcm", "sr.dcm")
_IDENTIFIERS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")


@dataclass(frozen=True, slots=True)
class FolderResult:
    """What became of a folder: `findings` is None where the study is not eligible, and `reason` says why."""

    findings: Findings | None
    reason: str
    objects: tuple[Path, ...]


def measure_folder(study_dir: Path, out: Path, settings: Settings) -> FolderResult:
    """Measure the study in `study_dir` and write result objects and `findings.json` into `out`.

    The numbers are those of the served node: it runs the same functions, only in a sandbox and with checkpoints.

    Raises
    ------
    HeaderError
        If the folder holds no DICOM instance, or instances of more than one study.
    """
    for name in _OURS:  # what lies there may be of another study
        (out / name).unlink(missing_ok=True)
    series = _read_series(study_dir)
    facts = [one for found in series.values() for one in _facts([header for _path, header in found])]
    roles = decide_roles(facts, read_table(settings.completion.roles))
    selection = select(facts, roles, post_alone=settings.completion.post_alone)
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
        order = read_order(
            [dcmread(files[0].path, stop_before_pixels=True) for files in inputs.values()], settings.emg.rules
        )
        stacks = {role: key.number for role, key in selection.stacks.items()}
        task = steps.Task(inputs, settings.analysis, settings.report, started, stacks=stacks)
        task = replace(task, memory_limit_mb=settings.jobs.step_memory_limit_mb)
        replace(task, suspicion=order.suspicion, unclear=order.unclear).write(work)
        steps.measure(folder)
        objects = [_move(work / one["file"], out) for one in steps.report(folder)]
        findings = steps.read_measurement(work).findings
    content = findings.to_json() | {"series": _series_json(selection.stacks, roles)}
    durable.write(out / FINDINGS_FILE, json.dumps(content, indent=2).encode() + b"\n")
    return FolderResult(findings, selection.reason, tuple(objects))


def _read_series(study_dir: Path) -> dict[SeriesUID, list[tuple[Path, Dataset]]]:
    series: dict[SeriesUID, list[tuple[Path, Dataset]]] = defaultdict(list)
    studies, seen = set(), set()
    for path in sorted(one for one in study_dir.rglob("*") if one.is_file()):
        try:
            header = dcmread(path, stop_before_pixels=True)
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


def _facts(headers: Sequence[Dataset]) -> tuple[StackFacts, ...]:
    """Return the facts of a series; none of one that is no image, such as a report."""
    try:
        return read_facts(headers)
    except (HeaderError, VolumeError):
        return ()


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
