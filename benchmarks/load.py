"""What is sent: MR instances with the header of a simulated scanner, in Explicit VR Little Endian, made in memory.

Within a load all instances have one header but for their UIDs, and the same noise as pixels: a receiver looks at
neither. A hundred instances make a series.
"""

import io
import struct
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import UID

from node.simulator import Recipe, simulate
from node.simulator.multiframe import to_enhanced

_SERIES_INSTANCES = 100
_META_AT = 144  # preamble, "DICM" and the group length with its head, PS3.10 7.1


@dataclass(frozen=True, slots=True)
class Instance:
    """One object to send: its UIDs and its file; the data set begins at `data_set_at`."""

    sop_class: str
    sop_instance: str
    part10: bytes
    data_set_at: int

    @property
    def data_set(self) -> memoryview:
        return memoryview(self.part10)[self.data_set_at :]


@dataclass(frozen=True, slots=True)
class Load:
    """Some number of objects of one kind: `frames` of `rows` x `rows` x 16 bit; more than one frame is Enhanced MR."""

    name: str
    title: str
    instances: int
    rows: int
    frames: int = 1

    def make(self, *, first: int = 0) -> list[Instance]:
        """Return the objects; two lists of one load share no SOP Instance UID if their ranges from `first` do not."""
        dataset = _enhanced(self.frames) if self.frames > 1 else _classic()
        noise = np.random.default_rng(7).integers(0, 4096, (self.frames, self.rows, self.rows), dtype=np.uint16)
        dataset.Rows = dataset.Columns = self.rows
        dataset.PixelData = noise.tobytes()
        series, instance = _series_uid(0), _instance_uid(0)
        dataset.SeriesInstanceUID = series
        dataset.SOPInstanceUID = instance
        dataset.file_meta.MediaStorageSOPInstanceUID = UID(instance)
        file = io.BytesIO()
        dataset.save_as(file, enforce_file_format=True)
        part10 = file.getvalue()
        pixels_at = len(part10) - noise.nbytes
        head, pixels = part10[:pixels_at], part10[pixels_at:]
        data_set_at = _META_AT + struct.unpack_from("<L", head, _META_AT - 4)[0]
        instances = []
        for number in range(first, first + self.instances):
            uid = _instance_uid(number)
            own = head.replace(instance.encode(), uid.encode())
            own = own.replace(series.encode(), _series_uid(number // _SERIES_INSTANCES).encode())
            instances.append(Instance(str(dataset.SOPClassUID), uid, own + pixels, data_set_at))
        return instances


WARM_UP = Load("warm-up", "warm-up", 20, 320)
LOADS = (
    Load("10kB", "10 kB MR", 2000, 64),
    Load("0.2MB", "0.2 MB MR", 1000, 320),
    Load("0.5MB", "0.5 MB MR", 400, 512),
    Load("100MB", "100 MB Enhanced MR", 5, 512, frames=200),
)


def write_files(instances: Sequence[Instance], folder: Path) -> list[Path]:
    """Write the objects as Part 10 files, for senders that read files, and return their paths."""
    folder.mkdir(parents=True)
    paths = [folder / f"I{number:05d}" for number in range(len(instances))]
    for path, one in zip(paths, instances, strict=True):
        path.write_bytes(one.part10)
    return paths


# Of one length, whatever the number, so that they can be put into an encoded header.
def _series_uid(number: int) -> str:
    return f"2.25.1{number:029d}"


def _instance_uid(number: int) -> str:
    return f"2.25.2{number:029d}"


def _classic() -> Dataset:
    study = simulate(Recipe(series=("pre",), pixel_mm=4.0, slices=2, lesions=()))
    return deepcopy(study.of("pre")[0])


def _enhanced(frames: int) -> Dataset:
    first = _classic()
    slices = []
    for number in range(frames):
        one = deepcopy(first)
        one.SOPInstanceUID = _instance_uid(number)
        one.SliceLocation = number
        slices.append(one)
    return to_enhanced(slices)
