"""The CPU steps: files in, files out. The node runs them in the sandbox, `paraspinal-node measure` as they are.

A job has a folder. In it: `task.json`, which says what to measure and with which settings; then, from `measure`,
`measurement.json` and `regions.npz`; then, from `report`, one DICOM file for each result object.
"""

import datetime as dt
import hashlib
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset

from node import durable, plugins
from node.dicom.stacks import split
from node.dicom.volumes import Volume, by_uid, read_volume
from node.errors import SpoolError, VolumeError
from node.findings import Findings, Measurement, Note, Regions, StudyVolumes, Suspicion
from node.records import Role
from node.settings import AnalysisSettings, ReportSettings
from node.spool import as_file, mapped

_TASK, _MEASUREMENT, _REGIONS = "task.json", "measurement.json", "regions.npz"
_ARRAYS = ("muscles", "lesions", "vessels", "enhancement")
_SMALL_BYTES = 4 << 20  # up to these an instance is read, not mapped: a quarter faster (docs/performance.md)
_SHARE_OF_A_VOLUME = 8  # of a step's memory: three volumes, what they were decoded from, and room to work; chosen


@dataclass(frozen=True, slots=True)
class InputFile:
    """One instance to measure: where its Part 10 bytes are, a whole file or a stretch of one, and their SHA-256."""

    path: Path
    sha256: str
    offset: int = 0
    length: int | None = None  # to the end of the file

    def read(self) -> bytes | memoryview:
        """Return the bytes, many of them mapped; SpoolError if they cannot be read, or are not what they were."""
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                length = os.fstat(descriptor).st_size if self.length is None else self.length
                if length <= _SMALL_BYTES:
                    view: bytes | memoryview = os.pread(descriptor, length, self.offset)
                else:
                    view = mapped(descriptor, self.offset, length)
            finally:
                os.close(descriptor)
        except (OSError, ValueError) as error:  # ValueError: an empty file, or one that has become shorter
            raise SpoolError("an instance cannot be read from disk") from error
        if hashlib.sha256(view).hexdigest() != self.sha256:
            raise SpoolError("an instance on disk is not what was received: its checksum differs")
        return view


@dataclass(frozen=True, slots=True)
class Task:
    """What to measure, with which settings, and when that began (with the zone of the site).

    `inputs` holds whole series; `stacks` says which stack of its series a role is, from 1 (`dicom.stacks.split`).
    """

    inputs: Mapping[Role, Sequence[InputFile]]
    analysis: AnalysisSettings
    report: ReportSettings
    started: dt.datetime
    suspicion: Suspicion | None = None
    unclear: str = ""  # why nothing was taken from an order that speaks of EMG
    stacks: Mapping[Role, int] = field(default_factory=dict)
    memory_limit_mb: int = 4096

    def write(self, folder: Path) -> None:
        """Write the task durably: a job that resumes does what it began, whatever the settings say by then."""
        values = {
            "inputs": {
                role: [[str(one.path), one.sha256, one.offset, one.length] for one in files]
                for role, files in self.inputs.items()
            },
            "analysis": self.analysis.model_dump(mode="json"),
            "report": self.report.model_dump(mode="json"),
            "started": self.started.isoformat(),
            "suspicion": None if self.suspicion is None else asdict(self.suspicion),
            "unclear": self.unclear,
            "stacks": dict(self.stacks),
            "memory_limit_mb": self.memory_limit_mb,
        }
        durable.write(folder / _TASK, json.dumps(values).encode())

    @classmethod
    def read(cls, folder: Path) -> "Task":
        """Return the task of a job's folder."""
        values = json.loads((folder / _TASK).read_text())
        return cls(
            inputs={
                Role(role): [InputFile(Path(path), *others) for path, *others in files]
                for role, files in values["inputs"].items()
            },
            analysis=AnalysisSettings.model_validate(values["analysis"]),
            report=ReportSettings.model_validate(values["report"]),
            started=dt.datetime.fromisoformat(values["started"]),
            suspicion=None if values["suspicion"] is None else Suspicion(**values["suspicion"]),
            unclear=values["unclear"],
            stacks={Role(role): number for role, number in values["stacks"].items()},
            memory_limit_mb=values["memory_limit_mb"],
        )


def measure(folder: str) -> str:
    """Measure what the task says, and return the outcome.

    Raises
    ------
    SpoolError
        If an instance is missing, or is not what was received.
    """
    from node.analysis import measure as measure_volumes  # scipy, SimpleITK: only where a step runs
    from node.analysis import name_levels

    place = Path(folder)
    task = Task.read(place)
    volumes, unusable = _volumes(task)
    # Half of a pair is not measured as if it had been chosen alone: that is for the site to say (post_alone).
    whole_pair = all(role in volumes for role in task.inputs if role in (Role.PRE, Role.POST))
    named: dict[str, Any] = {role.value: volume for role, volume in volumes.items() if whole_pair}
    study = StudyVolumes(**named)
    measurement = measure_volumes(
        study,
        settings=task.analysis,
        segmenter=plugins.load("segmenters", task.analysis.segmenter)(),
        detector=plugins.load("detectors", task.analysis.detector)(),
    )
    measurement = name_levels(measurement, study, plugins.load("labellers", task.analysis.labeller)())
    findings = replace(
        measurement.findings,
        refusals=(*unusable, *measurement.findings.refusals),
        caveats=(*measurement.findings.caveats, *_unclear(task)),
        suspicion=task.suspicion,
    )
    arrays = {name: getattr(measurement.regions, name) for name in _ARRAYS}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{name: array for name, array in arrays.items() if array is not None})
    durable.write(place / _REGIONS, buffer.getvalue())
    values = {
        "findings": findings.to_json(),
        "reference": measurement.regions.reference,
        "slices": {role: list(zip(volume.instances, volume.frames, strict=True)) for role, volume in volumes.items()},
    }
    durable.write(place / _MEASUREMENT, json.dumps(values).encode())
    return str(findings.outcome)


def report(folder: str) -> list[dict[str, str]]:
    """Build the result objects of what was measured, and return role, UIDs and file name of each, in sending order."""
    from node.report import SeriesEvidence, build  # highdicom: 0.5 s and 65 MB, likewise

    place = Path(folder)
    task = Task.read(place)
    values = json.loads((place / _MEASUREMENT).read_text())
    measurement = read_measurement(place)
    evidence = []
    for role, files in task.inputs.items():
        if role is Role.SAGITTAL and not measurement.findings.names_levels:
            continue  # nothing in the report comes from it
        headers = [dcmread(_file(one.read()), stop_before_pixels=True) for one in files]
        measured = values["slices"].get(role.value, [])
        uids = {uid for uid, _frame in measured}  # of a series of several stacks, those of the one that was measured
        headers = [header for header in headers if not uids or str(header.SOPInstanceUID) in uids]
        index = {str(header.SOPInstanceUID): position for position, header in enumerate(headers)}
        slices = tuple((index[uid], frame) for uid, frame in measured)
        evidence.append(SeriesEvidence(role=role.value, headers=tuple(headers), slices=slices))
    made = build(measurement, evidence, settings=task.report, started=task.started)
    objects = []
    for one in made:
        buffer = io.BytesIO()
        one.dataset.save_as(buffer, enforce_file_format=True)
        durable.write(place / f"{one.role}.dcm", buffer.getvalue())
        objects.append(
            {
                "role": one.role,
                "sop_instance": str(one.dataset.SOPInstanceUID),
                "sop_class": str(one.dataset.SOPClassUID),
                "file": f"{one.role}.dcm",
            }
        )
    return objects


def read_measurement(folder: Path) -> Measurement:
    """Return what `measure` left in a job's folder."""
    values = json.loads((folder / _MEASUREMENT).read_text())
    with np.load(folder / _REGIONS) as arrays:
        regions = Regions(
            muscles=arrays.get("muscles"),
            lesions=arrays.get("lesions"),
            vessels=arrays.get("vessels"),
            enhancement=arrays.get("enhancement"),
            reference=values["reference"],
        )
    return Measurement(Findings.from_json(values["findings"]), regions)


def _unclear(task: Task) -> list[Note]:
    if not task.unclear:
        return []
    return [Note("EMG-1", f"The order speaks of EMG, but no suspected level and side were taken: {task.unclear}.")]


def _volumes(task: Task) -> tuple[dict[Role, Volume], list[Note]]:
    """Return the volumes of the stacks that make one, and why the others do not."""
    volumes, unusable = {}, []
    largest_bytes = task.memory_limit_mb * 2**20 // _SHARE_OF_A_VOLUME
    for role, files in task.inputs.items():
        try:
            volumes[role] = _volume([read_instance(one) for one in files], task.stacks.get(role, 1), largest_bytes)
        except VolumeError as error:
            if role is Role.SAGITTAL:
                continue  # it is not measured: levels are not determined, and that is said
            unusable.append(Note(error.code, f"{role} series: {error.text}"))
    return volumes, unusable


def _volume(instances: Sequence[Dataset], number: int, largest_bytes: int) -> Volume:
    stacks = split(instances)
    if not 0 < number <= len(stacks):
        raise VolumeError("IN-1", f"stack {number} was chosen, the series has {len(stacks)}")
    stack = stacks[number - 1]
    if any(frame.tile for frame in stack.frames):  # no frame of a SEG could name the tile that it was drawn on
        raise VolumeError("IN-1", "the slices are the tiles of a mosaic: results could not refer to them")
    return read_volume(stack, by_uid(instances).__getitem__, largest_bytes=largest_bytes)


def read_instance(one: InputFile) -> Dataset:
    """Return an instance with its pixels; SpoolError as of `InputFile.read`."""
    return dcmread(_file(one.read()))


def _file(content: bytes | memoryview) -> BinaryIO:
    return io.BytesIO(content) if isinstance(content, bytes) else as_file(content)
