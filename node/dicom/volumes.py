"""Volumes: the frames of one stack as one regular grid of signal."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from node.dicom.frames import Frame
from node.dicom.geometry import Geometry
from node.dicom.headers import Acquisition
from node.dicom.identifiers import InstanceUID, SeriesUID
from node.dicom.pixels import LARGEST_BYTES, stored_frames
from node.dicom.stacks import FaultKind, Stack, split
from node.dicom.views import uid_of
from node.errors import VolumeError

_SOP_INSTANCE = Tag(0x00080018)

Stored = npt.NDArray[np.generic]


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """One stack as one regular grid of signal.

    Parameters
    ----------
    array : ndarray of float32, shape (slices, rows, columns)
        Displayed values (PS3.3 C.11.1), real world values without unit, or floating point values for Philips.
    geometry : Geometry
        Where the voxels lie.
    series : str
        Series Instance UID.
    instances : tuple of str
        SOP Instance UID of each slice; of one multi-frame instance or mosaic, the same UID for each.
    frames : tuple of int
        Index, from 0, of each slice's frame in its instance; 0 in a classic instance and for each tile of a mosaic.
    acquisition : Acquisition
        How the stack was acquired.
    scale : str
        What made signal of stored values: `dicom.frames.Scale.source` of its frames, "mixed" if they differ.
    """

    array: npt.NDArray[np.float32]
    geometry: Geometry
    series: SeriesUID
    instances: tuple[InstanceUID, ...]
    frames: tuple[int, ...]
    acquisition: Acquisition
    scale: str = "none"


def read_volume(
    stack: Stack, instance_of: Callable[[InstanceUID], Dataset], *, largest_bytes: int = LARGEST_BYTES
) -> Volume:
    """Return the volume that a stack makes.

    Parameters
    ----------
    instance_of : callable
        Gives an instance with its pixel data; asked once for each.
    largest_bytes : int
        Memory that the volume, or the decoded pixels of one frame, may take.

    Raises
    ------
    VolumeError
        The stack's first fault; IN-1 if pixels are missing, are not what the header says, cannot be decoded, or would
        take more memory than they may.
    """
    if stack.faults:
        fault, *_others = stack.faults
        twice = copies(stack, instance_of, largest_bytes=largest_bytes) if fault.kind is FaultKind.DUPLICATE else 0
        named = f"; {twice} frames are copies of others: the same pixels under another UID" if twice else ""
        raise VolumeError(fault.code, fault.text + named)
    if stack.acquisition.colour:
        raise VolumeError("IN-1", "the series is in colour")
    frames, first = stack.frames, stack.frames[0]
    shape = (len(frames), first.rows, first.columns)
    if shape[0] * shape[1] * shape[2] * 4 > largest_bytes:
        raise VolumeError("IN-1", f"{shape[0]} slices of {shape[1]} x {shape[2]} take more memory than a volume has")
    array = np.empty(shape, np.float32)
    for place, stored in _stored(frames, instance_of, largest_bytes):
        scale = frames[place].scale
        array[place] = stored
        if scale.slope != 1:
            array[place] *= np.float32(scale.slope)
        if scale.intercept:
            array[place] += np.float32(scale.intercept)
    return Volume(
        array=array,
        geometry=Geometry(_affine(frames), shape, first.acquisition.frame_of_reference),
        series=stack.series,
        instances=tuple(frame.instance for frame in frames),
        frames=tuple(frame.number for frame in frames),
        acquisition=stack.acquisition,
        scale=stack.scale,
    )


def stack(instances: Sequence[Dataset]) -> Volume:
    """Return the one volume that the instances of a series make.

    Raises
    ------
    VolumeError
        As `read_volume`; IN-2 if they make several.
    """
    stacks = split(instances)
    if len(stacks) > 1:
        names = ", ".join(sorted({name for one in stacks for name in one.splits}))
        raise VolumeError("IN-2", f"the series holds {len(stacks)} stacks, which differ in {names}")
    return read_volume(stacks[0], by_uid(instances).__getitem__)


def by_uid(instances: Iterable[Dataset]) -> dict[InstanceUID, Dataset]:
    """Return instances by their SOP Instance UIDs."""
    return {InstanceUID(uid_of(one, _SOP_INSTANCE)): one for one in instances}


def copies(stack: Stack, instance_of: Callable[[InstanceUID], Dataset], *, largest_bytes: int = LARGEST_BYTES) -> int:
    """Return how many frames of a stack hold the pixels of another one in their place.

    `largest_bytes`, and what is raised, as of `read_volume`.
    """
    seen: set[tuple[float, bytes]] = set()
    found = 0
    for place, stored in _stored(stack.frames, instance_of, largest_bytes):
        frame = stack.frames[place]
        content = (round(frame.place_mm, 1), hashlib.sha256(stored.tobytes()).digest())
        found += content in seen
        seen.add(content)
    return found


def _affine(frames: Sequence[Frame]) -> npt.NDArray[np.float64]:
    first, last = np.array(frames[0].position), np.array(frames[-1].position)
    affine = np.eye(4)
    affine[:3, 0] = (last - first) / (len(frames) - 1)  # a sheared stack keeps its shear
    affine[:3, 1] = np.array(frames[0].orientation[3:]) * frames[0].spacing[0]
    affine[:3, 2] = np.array(frames[0].orientation[:3]) * frames[0].spacing[1]
    affine[:3, 3] = first
    return affine


def _stored(
    frames: Sequence[Frame], instance_of: Callable[[InstanceUID], Dataset], largest_bytes: int
) -> Iterator[tuple[int, Stored]]:
    """Yield place in `frames` and stored values of each, instance by instance: only one is held decoded at a time."""
    wanted: dict[InstanceUID, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for place, frame in enumerate(frames):
        wanted[frame.instance][frame.number].append(place)
    for instance, places in wanted.items():
        for number, stored in stored_frames(instance_of(instance), sorted(places), largest_bytes=largest_bytes):
            for place in places[number]:
                tile = frames[place].tile
                if tile is None:
                    yield place, stored
                else:
                    yield place, stored[tile.row : tile.row + tile.rows, tile.column : tile.column + tile.columns]
