"""Dynamics: the time points of a dynamic examination, each a volume, and when each was acquired.

They are stacks of one series, or a series each (`completion.phases`). What parts those of one series is one of several
attributes (`dicom.stacks`), and so is what dates them: acquisition times differ from one time point to the next on most
scanners; some state one time for all and tell the delay of each elsewhere.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from pydicom.dataset import Dataset

from node.dicom.frames import Frame
from node.dicom.identifiers import InstanceUID
from node.dicom.stacks import Stack
from node.dicom.views import FrameView, view_of
from node.dicom.volumes import Volume, read_volume
from node.errors import VolumeError

_TIMES = frozenset({"time point", "trigger time", "dimension index"})  # keys of `Stack.splits`
_SAME_PLACE_MM = 0.05
_TRIGGER_TIME, _TIME_OFFSET = 0x00181060, 0x0020930D  # ms; s: Temporal Position Time Offset
_POSITION, _RESOLUTION = 0x00200100, 0x00200110  # Temporal Position Identifier; Temporal Resolution, ms
# Dynamic Scan Begin Time, s: as read by converters of public repositories; no statement of the maker was found.
_PHILIPS_BEGIN, _PHILIPS_CREATOR = 0x200510A0, "Philips MR Imaging DD 001"


def time_points(stacks: Sequence[Stack], number: int) -> tuple[Stack, ...]:
    """Return the stacks of a series that differ from one of them in time alone, itself included, in their order.

    An incomplete one, as the last of a series that was broken off, is left out.
    """
    chosen = stacks[number - 1]
    return tuple(one for one in stacks if _timeless(one) == _timeless(chosen) and _same_grid(one, chosen))


def is_one_dynamic(stacks: Sequence[Stack]) -> bool:
    """Return whether the stacks of a series differ in time alone, but for incomplete ones."""
    return all(_timeless(one) == _timeless(stacks[0]) for one in stacks)


def read_time_points(
    points: Sequence[Stack], instance_of: Callable[[InstanceUID], Dataset], *, largest_bytes: int
) -> tuple[Volume, ...]:
    """Return the volumes of time points in the order of time; `acquired_at_s` is set for each as far as known.

    Parameters
    ----------
    points : sequence of Stack
        Of `time_points`.
    instance_of : callable
        Gives an instance with its pixel data; asked at least once for each, those of one time point together.
    largest_bytes : int
        Memory that all volumes together may take.

    Raises
    ------
    VolumeError
        DYN-1 if they take more memory, or else as `read_volume`.
    """
    first = points[0].frames[0]
    size = len(points) * len(points[0].frames) * first.rows * first.columns * 4
    if size > largest_bytes:
        found = f"{len(points)} time points of {len(points[0].frames)} slices of {first.rows} x {first.columns}"
        raise VolumeError("DYN-1", f"{found} take {size >> 20} MB, more than the {largest_bytes >> 20} MB there are")
    volumes = [read_volume(one, instance_of, largest_bytes=largest_bytes) for one in points]
    moments = times_s(points, instance_of)
    dated = zip(volumes, moments or [None] * len(volumes), strict=True)
    volumes = [replace(one, acquisition=replace(one.acquisition, acquired_at_s=at_s)) for one, at_s in dated]
    return tuple(volumes if moments is None else [volumes[n] for n in np.argsort(moments)])


def times_s(points: Sequence[Stack], instance_of: Callable[[InstanceUID], Dataset]) -> tuple[float, ...] | None:
    """Return when each was acquired, in seconds of one clock; None where no attribute tells them all apart."""
    acquired_at_s = [one.acquisition.acquired_at_s for one in points]
    return moments_s(acquired_at_s, lambda: [_view(one.frames[0], instance_of) for one in points])


def moments_s(
    acquired_at_s: Sequence[float | None], read_views: Callable[[], Sequence[FrameView]]
) -> tuple[float, ...] | None:
    """Return the same of what is known of them: acquisition times, and, where these do not do, a view of each.

    Content Time is not asked: an image made later bears the clock of its reconstruction.
    """
    if (moments := _distinct(acquired_at_s)) is not None:
        return moments
    begin_s = min((at_s for at_s in acquired_at_s if at_s is not None), default=0.0)
    views = read_views()
    for delay_s in _DELAYS:
        if (delays := _distinct([delay_s(view) for view in views])) is not None:
            return tuple(begin_s + one for one in delays)
    return None


def _distinct(moments: Sequence[float | None]) -> tuple[float, ...] | None:
    known = tuple(one for one in moments if one is not None)
    if len(known) < len(moments) or any(one >= other for one, other in pairwise(sorted(known))):
        return None
    return known


def _view(frame: Frame, instance_of: Callable[[InstanceUID], Dataset]) -> FrameView:
    return view_of(instance_of(frame.instance), frame.number)


def _number(value: object) -> float | None:
    try:
        return None if value is None else float(str(value))
    except ValueError:
        return None


def _scaled(view: FrameView, tag: int, by: float) -> float | None:
    value = _number(view.value(tag))
    return None if value is None else value * by


def _by_position(view: FrameView) -> float | None:
    step_s = _scaled(view, _RESOLUTION, 1e-3)
    return None if not step_s else _scaled(view, _POSITION, step_s)


_DELAYS: tuple[Callable[[FrameView], float | None], ...] = (
    lambda view: _scaled(view, _TIME_OFFSET, 1.0),
    lambda view: _scaled(view, _TRIGGER_TIME, 1e-3),
    lambda view: _number(view.private(_PHILIPS_BEGIN, _PHILIPS_CREATOR)),
    _by_position,
)


def _timeless(stack: Stack) -> dict[str, str]:
    return {by: which for by, which in stack.splits.items() if by not in _TIMES}


def _same_grid(one: Stack, other: Stack) -> bool:
    return len(one.frames) == len(other.frames) and all(
        np.allclose(a.position, b.position, atol=_SAME_PLACE_MM)
        for a, b in ((one.frames[0], other.frames[0]), (one.frames[-1], other.frames[-1]))
    )
