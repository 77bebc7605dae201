"""Stacks: the frames of one series, split into sets that each make one volume.

A series may hold several time points, echoes, Dixon parts, magnitude and phase, b-values, the three planes of a
localizer. What says something about the signal (component, part, echo, ...) splits wherever it varies. What also varies
within one volume (acquisition number, times) splits only where frames share a place, and only into as many stacks as
there are frames in one place. Nothing depends on the order of the instances, on Instance Number, or on pixels.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from node.dicom.frames import MOST_FRAMES, Frame, is_image, read_frames
from node.dicom.geometry import nearest_plane
from node.dicom.headers import COMPONENTS, Acquisition
from node.dicom.identifiers import InstanceUID, SeriesUID
from node.dicom.views import Known, uid_of
from node.errors import UnplacedError, VolumeError

MOST_STACKS = 2_000  # of a series: 20,000 frames in time points of 10 slices; in practice up to some hundred; chosen
_SERIES = Tag(0x0020000E)
_LARGEST_UNEVENNESS = 0.10  # of the spacing; docs/analysis.md, IN-2
_SAME_DIRECTION = 1e-3  # of a unit vector: 0.06 degrees
_SAME_SPACING = 1e-3  # relative
_SAME_PLACE_MM = 0.05  # along the normal; a sixth of the thinnest slices in use; chosen
_LARGEST_SHIFT = 0.5  # of a pixel, that a slice may lie beside the line through first and last; chosen
_SAME_NUMBER = 0.05  # ms, degrees, s/mm2: two values nearer than this differ by rounding only; chosen


class FaultKind(StrEnum):
    """What keeps a stack from being a volume."""

    TOO_FEW = "too few"
    DUPLICATE = "duplicate"
    GAP = "gap"
    UNEVEN = "uneven"
    SHIFTED = "shifted"


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a stack makes no regular volume: a code of docs/analysis.md, and what was found, in our own words."""

    code: str
    text: str
    kind: FaultKind


@dataclass(frozen=True, slots=True)
class Stack:
    """Frames of one series that make one volume, or would, but for `faults`.

    Parameters
    ----------
    series : str
        Series Instance UID.
    number : int
        Which of the stacks of its series, from 1; the same whenever the same instances are split.
    frames : tuple of Frame
        From the first to the last in the direction of the slice normal.
    acquisition : Acquisition
        What the frames have in common; of the times the earliest.
    splits : mapping of str to str
        What tells this stack from others of its series: "echo" -> "2 of 3", "part" -> "water".
    faults : tuple of Fault
        Empty if the frames lie as those of one volume do.
    left_out : int
        Instances of its series whose frames have no place, as a cine or a report page sent as multi-frame image: they
        are of no stack.
    """

    series: SeriesUID
    number: int
    frames: tuple[Frame, ...]
    acquisition: Acquisition
    splits: Mapping[str, str] = field(default_factory=dict)
    faults: tuple[Fault, ...] = ()
    left_out: int = 0

    @property
    def instances(self) -> tuple[InstanceUID, ...]:
        """SOP Instance UIDs of the frames, each once, in the order of the frames."""
        return tuple(dict.fromkeys(frame.instance for frame in self.frames))

    @property
    def scale(self) -> str:
        """What makes signal of the stored values: `frames.Scale.source`, or "mixed" if the frames differ in it."""
        sources = {frame.scale.source for frame in self.frames}
        return sources.pop() if len(sources) == 1 else "mixed"


_Array = npt.NDArray[np.float64]
_Flags = npt.NDArray[np.bool_]
_Key = Callable[[Frame], Any]
_Part = tuple[dict[str, str], list[Frame]]


def split(headers: Sequence[Dataset]) -> tuple[Stack, ...]:
    """Return the stacks of one series, in an order that depends on what they are alone.

    Raises
    ------
    VolumeError
        IN-1 if there is no image, the instances are of several series, an image has no place, or there are more frames
        than `MOST_FRAMES`, or more stacks than `MOST_STACKS`. What is no image (raw data, presentation states, reports)
        is passed over: some vendors send it in the series it belongs to. So are multi-frame images whose frames have no
        place, but they are counted, and a series of nothing else is refused.
    """
    names = {uid_of(header, _SERIES) for header in headers}
    if len(names) != 1:
        raise VolumeError("IN-1", "a stack needs instances of one series")
    series = SeriesUID(names.pop())
    frames, unplaced = _frames([header for header in headers if is_image(header)])
    if not frames:
        raise unplaced[0] if unplaced else VolumeError("IN-1", "the series holds no image")
    frames.sort(key=_identity)
    stacks: list[Stack] = []
    elsewhere = _Elsewhere(frames)
    for splits, aligned in _by_geometry(frames):
        elsewhere.than(aligned)
        for more, alike in _by_signal(aligned):
            for last, together in _by_time(alike):
                if len(stacks) == MOST_STACKS:
                    raise _too_many_stacks(len(frames))
                ordered = tuple(sorted(together, key=lambda one: (one.place_mm, _identity(one))))
                stacks.append(
                    Stack(
                        series=series,
                        number=len(stacks) + 1,
                        frames=ordered,
                        acquisition=_common(ordered),
                        splits=splits | more | last,
                        faults=tuple(_faults(ordered, elsewhere)),
                        left_out=len(unplaced),
                    )
                )
    return tuple(stacks)


def _frames(images: Sequence[Dataset]) -> tuple[list[Frame], list[UnplacedError]]:
    """Return the frames of all images, and of those whose frames have no place, why."""
    known = Known()
    frames: list[Frame] = []
    unplaced: list[UnplacedError] = []
    for number, header in enumerate(images, start=1):
        try:
            frames.extend(read_frames(header, known))
        except UnplacedError as error:
            unplaced.append(error)
        if len(frames) > MOST_FRAMES:
            found = f"{len(frames)} in the first {number} of {len(images)} instances"
            raise VolumeError("IN-1", f"a series of more than {MOST_FRAMES} frames: {found}")
    return frames, unplaced


def _too_many_stacks(frames: int) -> VolumeError:
    return VolumeError("IN-1", f"a series of more than {MOST_STACKS} stacks, in {frames} frames")


def _identity(frame: Frame) -> tuple[str, int, int, int]:
    tile = frame.tile
    return frame.instance, frame.number, tile.row if tile else 0, tile.column if tile else 0


# ---------------------------------------------------------------------- geometry


def _by_geometry(frames: Sequence[Frame]) -> list[_Part]:
    """Group frames that are parallel, of one matrix, pixel spacing and frame of reference."""
    groups = sorted(_aligned(frames), key=lambda group: (_grid(group[0]), _identity(group[0])))
    firsts = [group[0] for group in groups]
    orientations, spacings = np.array([one.orientation for one in firsts]), np.array([one.spacing for one in firsts])
    several_matrices = len({(one.rows, one.columns) for one in firsts}) > 1
    references = {uid: n for n, uid in enumerate(sorted({one.acquisition.frame_of_reference for one in firsts}), 1)}
    named: list[_Part] = []
    for number, group in enumerate(groups, start=1):
        one, splits = group[0], {}
        if not _parallel(one, orientations).all():
            splits["orientation"] = f"{nearest_plane(one.normal)}, {number} of {len(groups)}"
        if several_matrices:
            splits["matrix"] = f"{one.rows} x {one.columns}"
        if not _same_spacing(one, spacings).all():
            splits["pixel spacing"] = f"{one.spacing[0]:.3f} x {one.spacing[1]:.3f} mm"
        if len(references) > 1:
            splits["frame of reference"] = f"{references[one.acquisition.frame_of_reference]} of {len(references)}"
        named.append((splits, group))
    return named


def _aligned(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Return the groups, each with the first frame of it first: a frame is of the first group that it fits into.

    Most frames say the same as one before, to the last digit. Of the others each is compared with the first frames of
    all groups at once: one by one took hours where every frame has an orientation of its own.
    """
    groups: list[list[Frame]] = []
    by_words: dict[tuple[object, ...], list[Frame]] = {}
    kinds: dict[tuple[object, ...], int] = {}
    firsts = np.empty((MOST_STACKS, 9))  # kind, orientation, pixel spacing
    for frame in frames:
        exact = (frame.rows, frame.columns, frame.acquisition.frame_of_reference)
        words = (exact, frame.orientation, frame.spacing)
        if words not in by_words:
            kind, known = kinds.setdefault(exact, len(kinds)), firsts[: len(groups)]
            fits = (known[:, 0] == kind) & _parallel(frame, known[:, 1:7]) & _same_spacing(frame, known[:, 7:])
            if not fits.any():
                if len(groups) == MOST_STACKS:
                    raise _too_many_stacks(len(frames))
                firsts[len(groups)] = (kind, *frame.orientation, *frame.spacing)
                groups.append([])
            by_words[words] = groups[int(fits.argmax()) if fits.any() else -1]
        by_words[words].append(frame)
    return groups


def _parallel(frame: Frame, orientations: _Array) -> _Flags:
    """Return of each orientation, shape (..., 6), whether it is that of a frame."""
    return np.asarray(np.abs(orientations - frame.orientation).max(axis=-1) <= _SAME_DIRECTION)


def _same_spacing(frame: Frame, spacings: _Array) -> _Flags:
    """Return of each pixel spacing, shape (..., 2), whether it is that of a frame."""
    return np.asarray((np.abs(spacings - frame.spacing) <= _SAME_SPACING * spacings).all(axis=-1))


def _grid(frame: Frame) -> tuple[Any, ...]:
    orientation = tuple(round(one, 2) + 0.0 for one in frame.orientation)
    return frame.acquisition.frame_of_reference, orientation, frame.rows, frame.columns, frame.spacing


# ---------------------------------------------------------------------- signal


def _by_signal(frames: Sequence[Frame]) -> list[_Part]:
    """Split by everything that says that another signal was measured, or another quantity computed."""
    parts: list[_Part] = [({}, list(frames))]
    for name, key, words in _SIGNAL:
        parts = [
            (splits | more, group) for splits, together in parts for more, group in _divided(together, name, key, words)
        ]
    return parts


def _divided(frames: Sequence[Frame], name: str, key: _Key, words: Callable[[Any], str] | None) -> list[_Part]:
    groups = _grouped(frames, key)
    if len(groups) == 1:
        return [({}, list(frames))]
    return [
        ({name: words(value) if words else f"{number} of {len(groups)}"}, group)
        for number, (value, group) in enumerate(groups, start=1)
    ]


def _grouped(frames: Sequence[Frame], key: _Key) -> list[tuple[Any, list[Frame]]]:
    """Return groups of one key, by ascending key; what has none comes first. Numbers that nearly agree are one."""
    groups: dict[Any, list[Frame]] = defaultdict(list)
    for frame in frames:
        groups[key(frame)].append(frame)
    ordered = sorted(groups.items(), key=lambda one: (one[0] is not None, one[0] if one[0] is not None else 0))
    joined = ordered[:1]
    for value, group in ordered[1:]:
        if isinstance(value, float) and joined[-1][0] is not None and value - joined[-1][0] <= _SAME_NUMBER:
            joined[-1][1].extend(group)
            joined[-1] = (value, joined[-1][1])
        else:
            joined.append((value, group))
    return joined


_SIGNAL: tuple[tuple[str, _Key, Callable[[Any], str] | None], ...] = (
    ("component", lambda one: one.acquisition.complex_component, lambda value: COMPONENTS.get(value, "not said")),
    ("part", lambda one: one.acquisition.part, lambda value: value or "not said"),
    ("image type", lambda one: one.acquisition.image_type, None),
    ("echo", lambda one: one.acquisition.echo_time_ms, None),
    ("inversion time", lambda one: one.acquisition.inversion_time_ms, None),
    ("flip angle", lambda one: one.acquisition.flip_angle_deg, None),
    ("velocity", lambda one: (one.acquisition.velocity_direction, one.acquisition.velocity_cm_s or 0.0), None),
    ("b-value", lambda one: one.acquisition.b_value, None),
    ("stack", lambda one: one.acquisition.stack_id, None),
)

# ---------------------------------------------------------------------- time


def _by_time(frames: Sequence[Frame]) -> list[_Part]:
    """Split frames that share places by what may also vary within one volume."""
    most = _most_in_one_place(frames)
    if most == 1:
        return [({}, list(frames))]
    for exact in (True, False):  # one attribute that tells all apart is better than several
        for name, key in _TIME:
            groups = _grouped(frames, key)
            left = max(_most_in_one_place(group) for _value, group in groups)
            if 1 < len(groups) <= most and (left == 1 if exact else left < most):
                return [
                    (_numbered(name, number, len(groups)) | more, together)
                    for number, (_value, group) in enumerate(groups, start=1)
                    for more, together in _by_time(group)
                ]
    return _by_rank(frames, most) or [({}, list(frames))]


def _by_rank(frames: Sequence[Frame], most: int) -> list[_Part]:
    """Split frames that were acquired again and again, slice by slice: the first of each place, the second, ...

    Only if all places hold as many frames: else a missing one would put others into the wrong time point.
    """
    places = _places(frames)
    for name, key in _TIME:
        if all(None not in keys and len(keys) == most for keys in ({key(one) for one in place} for place in places)):
            ordered = [sorted(place, key=key) for place in places]
            return [(_numbered(name, rank + 1, most), [place[rank] for place in ordered]) for rank in range(most)]
    return []


def _numbered(name: str, number: int, count: int) -> dict[str, str]:
    return {name: f"{number} of {count}"}


def _places(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Return the frames of each place along the normal."""
    places: list[list[Frame]] = []
    last_mm = -np.inf
    for frame in sorted(frames, key=lambda one: one.place_mm):
        if frame.place_mm - last_mm > _SAME_PLACE_MM:
            places.append([])
            last_mm = frame.place_mm
        places[-1].append(frame)
    return places


def _most_in_one_place(frames: Sequence[Frame]) -> int:
    return max(len(place) for place in _places(frames))


def _in_plane_mm(frame: Frame) -> tuple[int, int]:
    along_row, along_column = frame.orientation[:3], frame.orientation[3:]
    return (
        round(sum(p * d for p, d in zip(frame.position, along_row, strict=True))),
        round(sum(p * d for p, d in zip(frame.position, along_column, strict=True))),
    )


_TIME: tuple[tuple[str, _Key], ...] = (
    ("station", _in_plane_mm),
    ("time point", lambda one: one.acquisition.temporal_position),
    ("trigger time", lambda one: one.acquisition.trigger_time_ms),
    ("gradient direction", lambda one: one.acquisition.gradient_direction),
    ("time point", lambda one: one.acquisition.acquisition_number),
    ("time point", lambda one: one.acquisition.acquired_at_s),
    ("echo number", lambda one: one.acquisition.echo_number),
    ("dimension index", lambda one: one.acquisition.dimension_index),
)

# ---------------------------------------------------------------------- what is common, what is wrong


def _common(frames: Sequence[Frame]) -> Acquisition:
    facts = [frame.acquisition for frame in frames]

    def same(name: str) -> Any:
        values = {getattr(one, name) for one in facts}
        return values.pop() if len(values) == 1 else type(values.pop())() if name == "dimension_index" else None

    def least(name: str) -> float | None:
        return min((value for one in facts if (value := getattr(one, name)) is not None), default=None)

    return replace(
        facts[0],
        acquired_at_s=least("acquired_at_s"),
        trigger_time_ms=least("trigger_time_ms"),
        acquisition_number=same("acquisition_number"),
        temporal_position=same("temporal_position"),
        dimension_index=same("dimension_index"),
        contrast_agent=any(one.contrast_agent for one in facts),
        lossy=any(one.lossy for one in facts),
        colour=any(one.colour for one in facts),
    )


def _faults(frames: Sequence[Frame], elsewhere: "_Elsewhere") -> list[Fault]:
    if len(frames) < 2:
        return [Fault("IN-1", "a volume needs at least two slices, found 1", FaultKind.TOO_FEW)]
    places = _places(frames)
    shared = sum(len(place) > 1 for place in places)
    if shared:
        text = f"duplicate: {shared} of {len(places)} places hold more than one frame, and no header says why"
        return [Fault("IN-2", text, FaultKind.DUPLICATE)]
    at_mm = np.array([frame.place_mm for frame in frames])
    steps = np.diff(at_mm)
    step = float(np.median(steps))
    wrong = np.abs(steps - step) > _LARGEST_UNEVENNESS * step
    if not wrong.any():
        shift_mm = _largest_shift_mm(frames)
        if shift_mm > _LARGEST_SHIFT * min(frames[0].spacing):
            text = f"slices lie {shift_mm:.2f} mm beside the line of the others"
            return [Fault("IN-2", text, FaultKind.SHIFTED)]
        return []
    faults = []
    for k in np.flatnonzero(wrong).tolist():
        reason = _why_elsewhere(frames[k], elsewhere.between(frames[k], float(at_mm[k]), float(at_mm[k + 1])))
        missing = steps[k] > (2 - _LARGEST_UNEVENNESS) * step
        what = "gap: slices are missing" if missing else "uneven spacing"
        text = f"{what}: {steps[k]:.2f} mm from slice {k + 1} to {k + 2}, elsewhere {step:.2f} mm{reason}"
        faults.append(Fault("IN-2", text, FaultKind.GAP if missing else FaultKind.UNEVEN))
    return faults


class _Elsewhere:
    """The frames of a series that are not parallel to some of it, or of another grid; asked only where slices lack."""

    def __init__(self, series: Sequence[Frame]) -> None:
        self._series = series
        self._number = {id(one): number for number, one in enumerate(series)}
        self._centres_mm = _centres_mm(series)
        self._aligned: Sequence[Frame] = ()
        self._sorted: tuple[npt.NDArray[np.intp], _Array] | None = None  # numbers, places on the normal

    def than(self, aligned: Sequence[Frame]) -> None:
        """Look at the frames that are not among `aligned`, which have one slice normal."""
        self._aligned, self._sorted = aligned, None

    def between(self, frame: Frame, from_mm: float, to_mm: float) -> Frame | None:
        """Return the first of them whose centre lies there along the normal of a frame of `aligned`, if one does."""
        numbers, at_mm = self._sorted = self._sorted or self._sorted_along(np.array(frame.normal))
        first, last = np.searchsorted(at_mm, from_mm, "right"), np.searchsorted(at_mm, to_mm, "left")
        return self._series[int(numbers[first:last].min())] if first < last else None

    def _sorted_along(self, normal: _Array) -> tuple[npt.NDArray[np.intp], _Array]:
        is_elsewhere = np.ones(len(self._series), np.bool_)
        is_elsewhere[[self._number[id(one)] for one in self._aligned]] = False
        numbers = np.flatnonzero(is_elsewhere)
        at_mm = self._centres_mm[numbers] @ normal
        order = np.argsort(at_mm)
        return numbers[order], at_mm[order]


def _centres_mm(frames: Sequence[Frame]) -> _Array:
    """Return the middles of frames in LPS, shape (frames, 3)."""
    orientations = np.array([one.orientation for one in frames])
    along_row_mm = np.array([one.spacing[1] * (one.columns - 1) / 2 for one in frames])[:, None]
    along_column_mm = np.array([one.spacing[0] * (one.rows - 1) / 2 for one in frames])[:, None]
    corners = np.array([one.position for one in frames])
    centres: _Array = corners + orientations[:, :3] * along_row_mm + orientations[:, 3:] * along_column_mm
    return centres


def _why_elsewhere(frame: Frame, one: Frame | None) -> str:
    if one is None:
        return ""
    if not _parallel(frame, np.array(one.orientation)):
        return "; a slice there has another orientation"
    if (frame.rows, frame.columns) != (one.rows, one.columns):
        return "; a slice there has another matrix"
    return "; a slice there has another pixel spacing or frame of reference"


def _largest_shift_mm(frames: Sequence[Frame]) -> float:
    """Return how far slices lie beside the line through the first and the last, in their plane."""
    positions = np.array([frame.position for frame in frames])
    normal = np.array(frames[0].normal)
    along = positions @ normal
    line = positions[0] + np.outer((along - along[0]) / (along[-1] - along[0]), positions[-1] - positions[0])
    return float(np.linalg.norm(positions - line, axis=1).max())
