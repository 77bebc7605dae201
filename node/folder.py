"""The same measurement on a folder of DICOM files: assembly, analysis and report, without network or ledger."""

import datetime as dt
import hashlib
import json
import re
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from pydicom.dataset import Dataset

from node import durable
from node.completion import Selection, read_table
from node.completion.contents import Source, read_contents
from node.dicom.files import read_file_header
from node.dicom.identifiers import SeriesUID
from node.emg import read_order
from node.errors import FolderError, GateError, HeaderError
from node.findings import Findings
from node.jobs import sandbox, steps
from node.records import Role, RoleDecision, StackKey, contrast_doubt, rule_table
from node.settings import Settings

FINDINGS_FILE = "findings.json"
_WRITTEN = (FINDINGS_FILE, "seg-*.dcm", "map.dcm", "key-image-*.dcm", "sr.dcm", "outlines.dcm", "ko.dcm", "pdf.dcm")
_BEFORE_OBJECTS = re.compile(r"(seg-(muscles|vessels|lesions)|map|key-image-\d+|sr|outlines|ko|pdf)\.dcm")
_IDENTIFIERS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")


@dataclass(frozen=True, slots=True)
class FolderResult:
    """What became of a folder: `findings` is None where the study is not eligible, and `reason` says why.

    `no_dynamic` is that of `completion.contents.Contents`.
    """

    findings: Findings | None
    reason: str
    objects: tuple[Path, ...]
    no_dynamic: str = ""


def measure_folder(study_dir: Path, out: Path, settings: Settings) -> FolderResult:
    """Measure the study in `study_dir` and write result objects and `findings.json` into `out`.

    The numbers are those of the served node: it runs the same steps, in the same sandbox, only without a queue.
    What an earlier measurement left in `out` goes when there is something to put in its place, and not before.

    Raises
    ------
    FolderError
        If `out` lies in the folder of the study, or holds files that would be overwritten and are not ours.
    HeaderError
        If the folder holds no DICOM instance, or instances of more than one study.
    GateError
        If the result objects do not pass the output gate.
    SandboxError
        If a step ran past [jobs] step_time_limit_s or step_memory_limit_mb, or crashed.
    """
    earlier = _earlier(study_dir, out)
    series = _read_series(study_dir)
    contents = read_contents(
        [Source(uid, partial(_headers, found)) for uid, found in series.items()],
        read_table(settings.completion.roles),
        post_alone=settings.completion.post_alone,
    )
    roles, selection = contents.roles, contents.selection
    if selection.stacks is None:
        return FolderResult(None, selection.reason, (), contents.no_dynamic)
    inputs = {
        role: [
            steps.InputFile(path, hashlib.sha256(path.read_bytes()).hexdigest())
            for path, _header in _instances(series, selection.series_of(role))
        ]
        for role in selection.stacks
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
        findings = steps.read_measurement(work).findings
        names = [str(one["file"]) for one in answer["objects"]]
        content = findings.to_json() | {"series": _series_json(selection, roles)}
        going = [one for one in earlier if one.name not in (FINDINGS_FILE, *names)]  # they may be of another study
        # First all that is or will be ours: whoever is killed in between has not locked himself out of the folder.
        _write_findings(out, content | {"objects": [*names, *(one.name for one in going)]})
        objects = [_move(work / name, out) for name in names]
        for path in going:
            path.unlink()
    _write_findings(out, content | {"objects": names})
    return FolderResult(findings, selection.reason, tuple(objects), contents.no_dynamic)


def _write_findings(out: Path, content: Mapping[str, object]) -> None:
    durable.write(out / FINDINGS_FILE, json.dumps(content, indent=2).encode() + b"\n")


def _earlier(study_dir: Path, out: Path) -> list[Path]:
    """Return the files in `out` that an earlier measurement made; FolderError if they are not all that is in our way.

    What is ours is what a findings.json there lists: somebody else's images may have the same names.
    """
    if out.resolve().is_relative_to(study_dir.resolve()):
        raise FolderError(f"{out} lies in the folder of the study: name another one for the results")
    there = sorted(path for name in _WRITTEN for path in out.glob(name))
    ours = _listed(out / FINDINGS_FILE)
    if others := [path.name for path in there if path.name not in ours]:
        raise FolderError(
            f"{out} holds {', '.join(others)}, which no findings.json there lists as a result: name another folder"
        )
    return there


def _listed(findings: Path) -> frozenset[str]:
    """Return the names of the files that a findings.json of ours tells of, with its own; none if it is not ours.

    Until 2026-11-26 it told of none: then they are the names that were written.
    """
    try:
        values = json.loads(findings.read_bytes())
        if "objects" not in values and {"schema_version", "outcome", "muscles"} <= {*values}:
            values["objects"] = [one.name for one in findings.parent.iterdir() if _BEFORE_OBJECTS.fullmatch(one.name)]
        return frozenset((FINDINGS_FILE, *values["objects"])) if "schema_version" in values else frozenset()
    except (OSError, ValueError, KeyError, TypeError):
        return frozenset()


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
    return {uid: sorted(found, key=_sop_instance) for uid, found in series.items()}


def _instances(
    series: Mapping[SeriesUID, Sequence[tuple[Path, Dataset]]], wanted: Sequence[SeriesUID]
) -> list[tuple[Path, Dataset]]:
    return sorted((one for uid in wanted for one in series[uid]), key=_sop_instance)


def _sop_instance(found: tuple[Path, Dataset]) -> str:
    return str(found[1].SOPInstanceUID)


def _headers(found: Sequence[tuple[Path, Dataset]]) -> list[Dataset]:
    return [header for _path, header in found]


def _series_json(selection: Selection, roles: Mapping[StackKey, RoleDecision]) -> dict[str, object]:
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
        | ({"phases": list(selection.phases)} if role is Role.DYNAMIC and selection.phases else {})
        for role, key in (selection.stacks or {}).items()
    }


def _move(source: Path, folder: Path) -> Path:
    durable.write(folder / source.name, source.read_bytes())
    return folder / source.name
