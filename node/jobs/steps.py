"""The CPU steps: files in, files out. The node runs them in the sandbox, `paraspinal-node measure` as they are.

A job has a folder. In it: `task.json`, which says what to measure and with which settings; then, from `measure`,
`measurement.json`, `regions.npz` and `pictures.npz`; then, from `report`, one DICOM file for each result object.
"""

import datetime as dt
import hashlib
import io
import itertools
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset

from node import durable, plugins
from node.dicom.dynamics import read_time_points, time_points
from node.dicom.files import inflated
from node.dicom.identifiers import InstanceUID
from node.dicom.stacks import Stack, split
from node.dicom.volumes import Volume, by_uid, read_volume
from node.errors import SpoolError, VolumeError
from node.findings import Algorithm, Findings, Measurement, Note, Picture, Regions, StudyVolumes, Suspicion
from node.jobs import answers, priors
from node.jobs.registering import Present
from node.records import Predecessor, Role
from node.settings import AnalysisSettings, ReportSettings
from node.spool import as_file, mapped

_TASK, _MEASUREMENT, _REGIONS, _PICTURES = "task.json", "measurement.json", "regions.npz", "pictures.npz"
_ARRAYS = ("muscles", "lesions", "vessels", "enhancement")
_VENOGRAPHY = frozenset({Role.MRV, Role.VELOCITY})
_PAIR = frozenset({Role.PRE, Role.POST})
_SMALL_BYTES = 4 << 20  # up to these an instance is read, not mapped: a quarter faster (docs/performance.md)
_SHARE_OF_A_VOLUME = 8  # of a step's memory: three volumes, what they were decoded from, and room to work; chosen
_SHARE_OF_A_DYNAMIC = 4  # likewise, of all its time points together


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

    def open(self) -> BinaryIO:
        """Return what `read` does as a file; inflated, if it is a whole file, which may be of any transfer syntax."""
        content = self.read()
        file = io.BytesIO(content) if isinstance(content, bytes) else as_file(content)
        return inflated(file) if self.length is None else file

    def as_json(self) -> list[str | int | None]:
        """Return it as JSON values."""
        return [str(self.path), self.sha256, self.offset, self.length]

    @classmethod
    def from_json(cls, values: Sequence[Any]) -> "InputFile":
        """Return what `as_json` wrote."""
        path, *others = values
        return cls(Path(path), *others)


@dataclass(frozen=True, slots=True)
class Task:
    """What to measure, with which settings, and when that began (with the zone of the site).

    `inputs` holds whole series; `stacks` says which stack of its series a role is, from 1 (`dicom.stacks.split`).
    `rules` is the rule table that gave the roles. With a `doubt` about which series is before and which after contrast
    they are not measured: it is the reason of the refusal (ROLE-CONTRAST). `manifest` is a digest of the inputs'
    contents; `predecessor` the earlier report of the study that the one of this task replaces, `revised` its file;
    `earlier` are reports of the patient's other studies, of which those of older ones are compared with (`priors`);
    `earlier_images` the instances on which their lesions were outlined, by the SHA-256 of the report.
    """

    inputs: Mapping[Role, Sequence[InputFile]]
    analysis: AnalysisSettings
    report: ReportSettings
    started: dt.datetime
    suspicion: Suspicion | None = None
    unclear: str = ""  # why nothing was taken from an order that speaks of EMG
    stacks: Mapping[Role, int] = field(default_factory=dict)
    memory_limit_mb: int = 4096
    rules: str = ""
    doubt: str = ""
    manifest: str = ""
    predecessor: Predecessor | None = None
    earlier: tuple[InputFile, ...] = ()
    revised: InputFile | None = None
    earlier_images: Mapping[str, tuple[InputFile, ...]] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Write the task durably: a job that resumes does what it began, whatever the settings say by then."""
        durable.write(folder / _TASK, self.as_json().encode())

    def as_json(self) -> str:
        """Return the task as JSON, by which it can be done again."""
        values = {
            "inputs": {role: [one.as_json() for one in files] for role, files in self.inputs.items()},
            "analysis": self.analysis.model_dump(mode="json"),
            "report": self.report.model_dump(mode="json"),
            "started": self.started.isoformat(),
            "suspicion": None if self.suspicion is None else asdict(self.suspicion),
            "unclear": self.unclear,
            "stacks": dict(self.stacks),
            "memory_limit_mb": self.memory_limit_mb,
            "rules": self.rules,
            "doubt": self.doubt,
            "manifest": self.manifest,
            "predecessor": None if self.predecessor is None else asdict(self.predecessor),
            "earlier": [one.as_json() for one in self.earlier],
            "revised": None if self.revised is None else self.revised.as_json(),
            "earlier_images": {
                report: [one.as_json() for one in files] for report, files in self.earlier_images.items()
            },
        }
        return json.dumps(values)

    @classmethod
    def read(cls, folder: Path) -> "Task":
        """Return the task of a job's folder."""
        return cls.from_json((folder / _TASK).read_text())

    @classmethod
    def from_json(cls, text: str) -> "Task":
        """Return the task that `as_json` wrote."""
        values = json.loads(text)
        return cls(
            inputs={
                Role(role): [InputFile.from_json(one) for one in files] for role, files in values["inputs"].items()
            },
            analysis=AnalysisSettings.model_validate(values["analysis"]),
            report=ReportSettings.model_validate(values["report"]),
            started=dt.datetime.fromisoformat(values["started"]),
            suspicion=None if values["suspicion"] is None else Suspicion(**values["suspicion"]),
            unclear=values["unclear"],
            stacks={Role(role): number for role, number in values["stacks"].items()},
            memory_limit_mb=values["memory_limit_mb"],
            rules=values["rules"],
            doubt=values["doubt"],
            manifest=values["manifest"],
            predecessor=None if values["predecessor"] is None else Predecessor(**values["predecessor"]),
            earlier=tuple(InputFile.from_json(one) for one in values.get("earlier", ())),
            revised=None if values.get("revised") is None else InputFile.from_json(values["revised"]),
            earlier_images={
                report: tuple(InputFile.from_json(one) for one in files)
                for report, files in values.get("earlier_images", {}).items()
            },
        )


def measure(folder: str) -> str:
    """Measure what the task says, and return the outcome; of a refusal with its codes.

    Raises
    ------
    SpoolError
        If an instance is missing, or is not what was received.
    """
    from node.analysis import measure as measure_volumes  # scipy, SimpleITK: only where a step runs
    from node.analysis import with_fallback

    place = Path(folder)
    task = Task.read(place)
    volumes, unusable = _volumes(task)
    points, no_points = _time_points(task)
    of_pair = [note for role, note in unusable.items() if role in _PAIR]
    beside = [note for role, note in unusable.items() if role not in _PAIR]
    (beside if _PAIR & set(task.inputs) else of_pair).extend(no_points)
    # Half of a pair is not measured as if it had been chosen alone: that is for the site to say (post_alone).
    whole_pair = all(role in volumes for role in task.inputs if role in _PAIR)
    measured = _VENOGRAPHY if task.doubt else frozenset(task.inputs) if whole_pair else frozenset()
    named: dict[str, Any] = {role.value: volume for role, volume in volumes.items() if role in measured}
    asked = plugins.load("segmenters", task.analysis.segmenter)()
    measurement = measure_volumes(
        StudyVolumes(**named, dynamic=points if Role.DYNAMIC in measured else ()),
        settings=task.analysis,
        segmenter=with_fallback(asked, task.analysis.least_accepted_fraction),
        detector=plugins.load("detectors", task.analysis.detector)(),
        labeller=plugins.load("labellers", task.analysis.labeller)(),
        suspicion=task.suspicion,
        refusals=(*of_pair, *_doubt(task)),
        beside=beside,
    )
    findings = replace(
        measurement.findings,
        algorithm=_of_task(measurement.findings.algorithm, task),
        caveats=(*measurement.findings.caveats, *_unclear(task)),
    )
    if points:
        volumes[Role.DYNAMIC] = points[-1]  # on whose slices regions are drawn
    if task.earlier or task.revised is not None:
        drawn_on = Role(measurement.regions.reference)
        present = _present(task, volumes.get(drawn_on), measurement)
        findings = priors.compared(findings, task, _header(task, drawn_on), present)
    arrays = {name: getattr(measurement.regions, name) for name in _ARRAYS}
    _write_arrays(place / _REGIONS, {name: array for name, array in arrays.items() if array is not None})
    pictures = measurement.pictures
    layers = {f"{n} {name}": layer for n, one in enumerate(pictures) for name, layer in one.layers.items()}
    _write_arrays(place / _PICTURES, layers)
    values = {
        "findings": findings.to_json(),
        "reference": measurement.regions.reference,
        "pictures": [
            [one.plane, [*one.layers], one.origin_mm, one.down_mm, one.right_mm, one.lesion] for one in pictures
        ],
        "slices": {role: list(zip(volume.instances, volume.frames, strict=True)) for role, volume in volumes.items()},
    }
    durable.write(place / _MEASUREMENT, json.dumps(values).encode())
    return findings.ending


def report(folder: str) -> answers.Answer:
    """Build the result objects of what was measured, and return what `answers.answer` does."""
    from node.report import SeriesEvidence  # highdicom: 0.5 s and 65 MB, likewise

    place = Path(folder)
    task = Task.read(place)
    values = json.loads((place / _MEASUREMENT).read_text())
    measurement = read_measurement(place)
    evidence = []
    for role, files in task.inputs.items():
        if role is Role.SAGITTAL and not measurement.findings.names_levels:
            continue  # nothing in the report comes from it
        headers = [dcmread(one.open(), stop_before_pixels=True) for one in files]
        measured = values["slices"].get(role.value, [])
        uids = {uid for uid, _frame in measured}  # of a series of several stacks, those of the one that was measured
        if uids and role is not Role.DYNAMIC:  # of that one all time points were measured
            headers = [header for header in headers if str(header.SOPInstanceUID) in uids]
        index = {str(header.SOPInstanceUID): position for position, header in enumerate(headers)}
        slices = tuple((index[uid], frame) for uid, frame in measured)
        evidence.append(SeriesEvidence(role=role.value, headers=tuple(headers), slices=slices))
    return answers.answer(place, task, measurement, evidence)


def refuse(folder: str, code: str, text: str) -> answers.Answer:
    """Build a report that says why nothing was measured, and return what `answers.refusal` does."""
    from node.analysis.results import algorithm_of
    from node.report import SeriesEvidence

    task = Task.read(Path(folder))
    evidence = [
        SeriesEvidence(role.value, tuple(dcmread(one.open(), stop_before_pixels=True) for one in files), ())
        for role, files in task.inputs.items()
    ]
    algorithm = _of_task(algorithm_of(task.analysis), task)
    return answers.refusal(Path(folder), task, algorithm, Note(code, text), evidence)


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
    with np.load(folder / _PICTURES) as arrays:
        pictures = tuple(
            Picture(plane, {name: arrays[f"{n} {name}"] for name in layers}, (*origin,), (*down,), (*right,), lesion)
            for n, (plane, layers, origin, down, right, lesion) in enumerate(values["pictures"])
        )
    return Measurement(Findings.from_json(values["findings"]), regions, pictures)


def _write_arrays(path: Path, arrays: Mapping[str, NDArray[np.generic]]) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    durable.write(path, buffer.getvalue())


def _present(task: Task, volume: Volume | None, measurement: Measurement) -> Present | None:
    """Return what earlier images are registered with; None where no post-contrast series was searched for foci."""
    findings, regions = measurement.findings, measurement.regions
    was_searched = findings.grade is not None or bool(findings.lesions)
    if volume is None or regions.muscles is None or regions.reference == Role.PRE or not was_searched:
        return None
    largest_bytes = task.memory_limit_mb * 2**20 // _SHARE_OF_A_VOLUME
    return Present(volume, regions.muscles, largest_bytes, task.analysis.thickest_slice_mm)


def _header(task: Task, role: Role) -> Dataset:
    """Return the header of an instance of the series in a role; of another series, where there is none."""
    files = task.inputs.get(role) or next(iter(task.inputs.values()))
    return dcmread(files[0].open(), stop_before_pixels=True)


def _doubt(task: Task) -> list[Note]:
    if not task.doubt:
        return []
    text = f"The headers do not agree which series is before and which after contrast: {task.doubt}."
    return [Note("ROLE-CONTRAST", text)]


def _of_task(algorithm: Algorithm, task: Task) -> Algorithm:
    """Return the algorithm with what it was given: the inputs, and the rule table that chose them.

    The configuration hash covers the rule table, too, but not the inputs: two studies have one configuration.
    """
    covered = hashlib.sha256(f"{algorithm.configuration_hash}\n{task.rules}".encode()).hexdigest()
    parameters = {**algorithm.parameters, "role_rules": task.rules, "input_manifest": task.manifest}
    return replace(algorithm, parameters=parameters, configuration_hash=covered)


def _unclear(task: Task) -> list[Note]:
    if not task.unclear:
        return []
    return [Note("EMG-1", f"EMG is spoken of, but no suspected level and side were taken: {task.unclear}.")]


def _volumes(task: Task) -> tuple[dict[Role, Volume], dict[Role, Note]]:
    """Return the volumes of the stacks that make one, and why the others do not."""
    volumes: dict[Role, Volume] = {}
    unusable: dict[Role, Note] = {}
    largest_bytes = task.memory_limit_mb * 2**20 // _SHARE_OF_A_VOLUME
    for role, files in task.inputs.items():
        if role is Role.DYNAMIC:
            continue
        try:
            volumes[role] = _volume([read_instance(one) for one in files], task.stacks.get(role, 1), largest_bytes)
        except VolumeError as error:
            if role is Role.SAGITTAL:
                continue  # it is not measured: levels are not determined, and that is said
            unusable[role] = Note(error.code, f"{role} series: {error.text}")
    return volumes, unusable


def _time_points(task: Task) -> tuple[tuple[Volume, ...], list[Note]]:
    """Return the volumes of a dynamic in the order of time, and why there are none; files are read one by one.

    All of them at once would take half as much memory again. Time points are stacks of one series, or a series each.
    """
    files = task.inputs.get(Role.DYNAMIC, ())
    if not files:
        return (), []
    headers = [dcmread(one.open(), stop_before_pixels=True) for one in files]
    places = {InstanceUID(str(header.SOPInstanceUID)): one for header, one in zip(headers, files, strict=True)}

    @lru_cache(maxsize=1)  # of one instance with all time points, each stack asks for it
    def instance_of(uid: InstanceUID) -> Dataset:
        return read_instance(places[uid])

    try:
        by_series = itertools.groupby(sorted(headers, key=_series_uid), key=_series_uid)
        stacks = [stack for _uid, of_series in by_series for stack in split(list(of_series))]
        number = task.stacks.get(Role.DYNAMIC, 1)
        _chosen(stacks, number)
        found = time_points(stacks, number)
        largest_bytes = task.memory_limit_mb * 2**20 // _SHARE_OF_A_DYNAMIC
        return read_time_points(found, instance_of, largest_bytes=largest_bytes), []
    except VolumeError as error:
        return (), [Note(error.code, f"{Role.DYNAMIC} series: {error.text}")]


def _series_uid(header: Dataset) -> str:
    return str(header.SeriesInstanceUID)


def _chosen(stacks: Sequence[Stack], number: int) -> Stack:
    if not 0 < number <= len(stacks):
        raise VolumeError("IN-1", f"stack {number} was chosen, the series has {len(stacks)}")
    return stacks[number - 1]


def _volume(instances: Sequence[Dataset], number: int, largest_bytes: int) -> Volume:
    stack = _chosen(split(instances), number)
    if any(frame.tile for frame in stack.frames):  # no frame of a SEG could name the tile that it was drawn on
        raise VolumeError("IN-1", "the slices are the tiles of a mosaic: results could not refer to them")
    return read_volume(stack, by_uid(instances).__getitem__, largest_bytes=largest_bytes)


def read_instance(one: InputFile) -> Dataset:
    """Return an instance with its pixels; SpoolError as of `InputFile.read`."""
    return dcmread(one.open())
