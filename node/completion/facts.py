"""Facts: what the headers of one stack say, in the words that a rule may ask for.

`VOCABULARY` is closed. Each fact has a kind, which decides what a rule can want of it, and whether its value may be
shown: numbers and our own words may, text of a header may not.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from node.dicom.geometry import nearest_plane
from node.dicom.headers import COMPONENTS, Acquisition
from node.dicom.identifiers import SeriesUID
from node.dicom.stacks import Fault, Stack, split
from node.dicom.views import FrameView, view_of
from node.records import StackKey

_AXIS_COSINE = 0.8  # of the slice normal: nearer than 37 degrees to a patient axis; the design's, chosen
_SAME_PLACE_MM = 0.5


@dataclass(frozen=True, slots=True)
class StackFacts:
    """What is known of one stack before its pixels are read.

    Parameters
    ----------
    key : StackKey
        Which stack.
    acquisition : Acquisition
        What is common to its frames.
    slices : int
        How many frames it has.
    spacing_mm : float or None
        Median distance of neighbouring slices along the normal; None of a single slice.
    centre_mm : tuple of float
        The middle of the box that the slices fill, LPS.
    size_mm : tuple of float
        Of that box along normal, columns (downwards) and rows (rightwards).
    planes : int
        In how many of the patient's planes the whole series was acquired: a localizer has several; the angled groups
        of an axial series are all nearest to one.
    stacks : int
        Stacks of the series.
    time_points : int
        Stacks of the series that differ from this one in time only, itself included; or `phases`.
    splits : mapping
        What parts this stack from the others of its series.
    faults : tuple of Fault
        What keeps it from being one regular volume.
    scale : str
        How stored values become signal: `dicom.stacks.Stack.scale`.
    sender : str
        AE title that sent it; "" where it comes from a folder.
    patient, day : str
        Patient ID and Study Date, which must be one and the same in a pair; never shown.
    view : FrameView
        All that the header of its first frame says.
    left_out : int
        Instances of the series whose frames have no place: `dicom.stacks.Stack.left_out`.
    phases : tuple of StackKey
        Of a time point that came as a series of its own: all time points of its dynamic in the order of time, itself
        included (`completion.phases`); empty of all others.
    """

    key: StackKey
    acquisition: Acquisition
    slices: int
    spacing_mm: float | None
    centre_mm: tuple[float, float, float]
    size_mm: tuple[float, float, float]
    planes: int
    stacks: int
    time_points: int
    splits: Mapping[str, str]
    faults: tuple[Fault, ...]
    scale: str
    sender: str = field(repr=False)
    patient: str = field(repr=False)
    day: str = field(repr=False)
    view: FrameView = field(repr=False)
    left_out: int = 0
    phases: tuple[StackKey, ...] = ()

    @property
    def series(self) -> SeriesUID:
        return self.key.series

    @property
    def obliqueness_deg(self) -> float | None:
        """Angle between the slice normal and the patient axis nearest to it."""
        normal = self._normal
        return None if normal is None else float(np.degrees(np.arccos(min(1.0, np.abs(normal).max()))))

    @property
    def plane(self) -> str:
        """Return "axial", "sagittal", "coronal", "oblique", or "" where orientation or pixel spacing is missing."""
        normal = self._normal
        if normal is None:
            return ""
        return nearest_plane(normal) if np.abs(normal).max() > _AXIS_COSINE else "oblique"

    @property
    def extent_mm(self) -> float | None:
        """From the first to the last slice, with their thickness."""
        if self.spacing_mm is None:
            return self.acquisition.slice_thickness_mm
        return self.spacing_mm * (self.slices - 1) + (self.acquisition.slice_thickness_mm or 0.0)

    @property
    def _normal(self) -> Any:
        orientation = np.array(self.acquisition.orientation)
        if len(orientation) != 6 or min(self.acquisition.pixel_spacing_mm, default=0.0) <= 0:
            return None
        normal = np.cross(orientation[:3], orientation[3:])
        length = float(np.linalg.norm(normal))
        return normal / length if np.isfinite(length) and length > 0 else None


def read_facts(headers: Sequence[Dataset], *, sender: str = "") -> tuple[StackFacts, ...]:
    """Return the facts of each stack of a series from the headers of all its instances, in the order of `split`.

    Raises
    ------
    HeaderError, VolumeError
        If the headers make no stack.
    """
    by_instance = {str(header.SOPInstanceUID): header for header in headers}
    stacks = split(headers)
    planes = {nearest_plane(stack.frames[0].normal) for stack in stacks}
    return tuple(
        _facts(
            stack,
            by_instance[str(stack.frames[0].instance)],
            planes=len(planes),
            stacks=len(stacks),
            time_points=time_points,
            sender=sender,
        )
        for stack, time_points in zip(stacks, _time_points(stacks), strict=True)
    )


def _facts(stack: Stack, header: Dataset, *, planes: int, stacks: int, time_points: int, sender: str) -> StackFacts:
    centre_mm, size_mm = _box_mm(stack)
    return StackFacts(
        key=StackKey(SeriesUID(str(stack.series)), stack.number),
        acquisition=stack.acquisition,
        slices=len(stack.frames),
        spacing_mm=_spacing_mm(stack),
        centre_mm=centre_mm,
        size_mm=size_mm,
        planes=planes,
        stacks=stacks,
        time_points=time_points,
        splits=stack.splits,
        faults=tuple(stack.faults),
        scale=stack.scale,
        sender=sender,
        patient=f"{header.get('PatientID', '')}\x1f{header.get('IssuerOfPatientID', '')}",
        day=str(header.get("StudyDate", "")),
        view=view_of(header, stack.frames[0].number),
        left_out=stack.left_out,
    )


def _time_points(stacks: Sequence[Stack]) -> list[int]:
    """Return of each stack how many of its series, itself included, differ from it in time only."""
    alike = defaultdict[tuple[object, ...], list[int]](list)
    for number, stack in enumerate(stacks):
        but_time = sorted((by, which) for by, which in stack.splits.items() if by != "time point")
        alike[(len(stack.frames), *but_time)].append(number)
    found = [0] * len(stacks)
    for numbers in alike.values():
        corners = np.array([stacks[number].frames[0].position for number in numbers])
        for number, corner in zip(numbers, corners, strict=True):
            found[number] = int((np.abs(corners - corner) <= _SAME_PLACE_MM).all(axis=1).sum())
    return found


def _box_mm(stack: Stack) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    first, last = stack.frames[0], stack.frames[-1]
    along_row, along_column = np.array(first.orientation[:3]), np.array(first.orientation[3:])
    down_mm, right_mm = first.spacing[0] * first.rows, first.spacing[1] * first.columns
    middle = (np.array(first.position) + np.array(last.position)) / 2
    centre = middle + along_column * (down_mm - first.spacing[0]) / 2 + along_row * (right_mm - first.spacing[1]) / 2
    way = np.array(last.position) - np.array(first.position)
    through_mm = abs(float(way @ np.cross(along_row, along_column))) + (stack.acquisition.slice_thickness_mm or 0.0)
    x, y, z = (float(one) for one in centre)
    return (x, y, z), (through_mm, down_mm, right_mm)


def _spacing_mm(stack: Stack) -> float | None:
    if len(stack.frames) < 2:
        return None
    orientation = np.array(stack.frames[0].orientation)
    along = np.array([frame.position for frame in stack.frames]) @ np.cross(orientation[:3], orientation[3:])
    return float(np.median(np.abs(np.diff(along))))


# ---------------------------------------------------------------- what rules may ask for


class Kind(StrEnum):
    """Of a fact: what a rule may want of it."""

    NUMBER = "number"
    WORDS = "words"  # of a header: shown only where a rule names them
    OWN_WORD = "own word"  # of ours: always shown
    TEXT = "text"  # of a header: never shown
    FLAG = "flag"


@dataclass(frozen=True, slots=True)
class Fact:
    """One fact that rules may ask for: how it is called in evidence, its kind, and its unit."""

    called: str
    kind: Kind
    of: Callable[[StackFacts], Any]
    unit: str = ""


def _acquired(name: str) -> Callable[[StackFacts], Any]:
    return lambda facts: getattr(facts.acquisition, name)


def _words(name: str) -> Callable[[StackFacts], Iterable[str]]:
    return lambda facts: tuple(getattr(facts.acquisition, name))


def _smallest(values: Sequence[float]) -> float | None:
    return min(values, default=None)


VOCABULARY: dict[str, Fact] = {
    "modality": Fact("modality", Kind.WORDS, lambda facts: (facts.acquisition.modality,)),
    "manufacturer": Fact("manufacturer", Kind.WORDS, lambda facts: (facts.acquisition.manufacturer,)),
    "sender": Fact("sender", Kind.WORDS, lambda facts: (facts.sender,)),
    "image_type": Fact("image type", Kind.WORDS, _words("image_type")),
    "scanning_sequence": Fact("scanning sequence", Kind.WORDS, _words("scanning_sequence")),
    "sequence_variant": Fact("sequence variant", Kind.WORDS, _words("sequence_variant")),
    "scan_options": Fact("scan options", Kind.WORDS, _words("scan_options")),
    "acquisition_type": Fact("acquisition", Kind.WORDS, lambda facts: (facts.acquisition.acquisition_type,)),
    "acquisition_contrast": Fact("contrast", Kind.WORDS, lambda facts: (facts.acquisition.acquisition_contrast,)),
    "cardiac_synchronization": Fact(
        "cardiac synchronisation", Kind.WORDS, lambda facts: (facts.acquisition.cardiac_synchronization,)
    ),
    "tr": Fact("TR", Kind.NUMBER, _acquired("repetition_time_ms"), "ms"),
    "te": Fact("TE", Kind.NUMBER, _acquired("echo_time_ms"), "ms"),
    "ti": Fact("TI", Kind.NUMBER, _acquired("inversion_time_ms"), "ms"),
    "flip": Fact("flip angle", Kind.NUMBER, _acquired("flip_angle_deg"), "degrees"),
    "echo_train": Fact("echo train", Kind.NUMBER, _acquired("echo_train_length")),
    "field_strength": Fact("field strength", Kind.NUMBER, _acquired("field_strength_t"), "T"),
    "trigger_time": Fact("trigger time", Kind.NUMBER, _acquired("trigger_time_ms"), "ms"),
    "velocity_encoding": Fact("velocity encoding", Kind.NUMBER, _acquired("velocity_cm_s"), "cm/s"),
    "b_value": Fact("b value", Kind.NUMBER, _acquired("b_value"), "s/mm2"),
    "slice_thickness": Fact("slice thickness", Kind.NUMBER, _acquired("slice_thickness_mm"), "mm"),
    "pixel_spacing": Fact("pixel", Kind.NUMBER, lambda facts: _smallest(facts.acquisition.pixel_spacing_mm), "mm"),
    "slice_spacing": Fact("slice spacing", Kind.NUMBER, lambda facts: facts.spacing_mm, "mm"),
    "extent": Fact("extent", Kind.NUMBER, lambda facts: facts.extent_mm, "mm"),
    "obliqueness": Fact("obliqueness", Kind.NUMBER, lambda facts: facts.obliqueness_deg, "degrees"),
    "slices": Fact("slices", Kind.NUMBER, lambda facts: facts.slices),
    "planes": Fact("planes of the series", Kind.NUMBER, lambda facts: facts.planes),
    "stacks": Fact("stacks in the series", Kind.NUMBER, lambda facts: facts.stacks),
    "time_points": Fact("time points", Kind.NUMBER, lambda facts: facts.time_points),
    "plane": Fact("plane", Kind.OWN_WORD, lambda facts: facts.plane),
    "part": Fact("Dixon part", Kind.OWN_WORD, lambda facts: facts.acquisition.dixon_part),
    "component": Fact(
        "complex component", Kind.OWN_WORD, lambda facts: COMPONENTS.get(facts.acquisition.complex_component, "")
    ),
    "derived": Fact("derived", Kind.FLAG, _acquired("derived")),
    "projection": Fact("projection", Kind.FLAG, _acquired("projection")),
    "screenshot": Fact("screenshot", Kind.FLAG, _acquired("screenshot")),
    "colour": Fact("colour", Kind.FLAG, _acquired("colour")),
    "lossy": Fact("lossy compressed", Kind.FLAG, _acquired("lossy")),
    "fat_suppressed": Fact("fat suppression", Kind.FLAG, _acquired("fat_suppressed")),
    "magnetization_transfer": Fact("magnetisation transfer", Kind.FLAG, _acquired("magnetization_transfer")),
    "angiography": Fact("Angio Flag", Kind.FLAG, _acquired("angiography")),
    "time_of_flight": Fact("time-of-flight contrast", Kind.FLAG, _acquired("time_of_flight")),
    "phase_contrast": Fact("phase contrast", Kind.FLAG, _acquired("phase_contrast")),
    "contrast_agent": Fact("contrast agent named", Kind.FLAG, _acquired("contrast_agent")),
    "description": Fact("description", Kind.TEXT, lambda facts: (facts.acquisition.description,)),
    "sequence_name": Fact("sequence name", Kind.TEXT, lambda facts: (facts.acquisition.sequence_name,)),
}
