"""Reading a study from the spool to volumes, beside what pydicom's own reading of the same bytes costs.

`python -m benchmarks.reading` prints the table; `make bench` has it too.
"""

import gc
import hashlib
import io
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset
from rich.console import Console

from benchmarks.sheet import Sheet
from node.dicom.identifiers import derived_uid
from node.dicom.stacks import split
from node.dicom.volumes import by_uid, read_volume
from node.jobs.steps import InputFile, read_instance
from node.records import Origin
from node.simulator import Recipe, simulate
from node.simulator.encoding import encode
from node.simulator.multiframe import to_enhanced
from node.simulator.recipe import Syntax
from node.spool import Spool, SpoolReader

_SERIES, _SLICES, _ROUNDS = 8, 25, 5
_SEGMENT_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Reading:
    """What reading one study costs, in seconds of CPU: the median of the rounds, which take turns."""

    name: str
    instances: int
    pydicom_s: float
    ours_s: float


def run(rounds: int = _ROUNDS) -> list[Reading]:
    """Return the costs of studies of 200 slices of 320 x 256 each."""
    classic = _study("explicit")
    with tempfile.TemporaryDirectory(prefix="paraspinal-bench-") as folder:
        place = Path(folder)
        return [
            _measure("classic, uncompressed", classic, place / "a", rounds),
            _measure("classic, RLE", _study("rle"), place / "b", 1),
            _measure("classic, JPEG 2000", _study("jpeg2000"), place / "c", rounds),
            _measure("Enhanced, uncompressed", [[to_enhanced(one)] for one in classic], place / "d", rounds),
        ]


def sheet(readings: Sequence[Reading]) -> Sheet:
    rows = [
        (one.name, str(one.instances), f"{one.pydicom_s:.3f}", f"{one.ours_s:.3f}", f"{one.ours_s / one.pydicom_s:.2f}")
        for one in readings
    ]
    columns = ("200 slices, 320 x 256", "instances", "pydicom, CPU s", "spool to volumes, CPU s", "ratio")
    return Sheet("Reading a study of 8 series from the spool to volumes", columns, rows)


def _study(syntax: Syntax) -> list[list[Dataset]]:
    """Return eight series of the same 25 slices, under other UIDs."""
    instances = simulate(Recipe(series=("pre",), slices=_SLICES)).datasets
    series = []
    for number in range(_SERIES):
        series.append([deepcopy(one) for one in instances])
        for one in series[-1]:
            one.SeriesInstanceUID = derived_uid(one.SeriesInstanceUID, str(number))
            one.SOPInstanceUID = derived_uid(one.SOPInstanceUID, str(number))
            one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID
            if syntax != "explicit":
                encode(one, syntax)
    return series


def _measure(name: str, study: Sequence[Sequence[Dataset]], folder: Path, rounds: int) -> Reading:
    spool = Spool(folder, segment_bytes=_SEGMENT_BYTES, spare=0)
    reader = SpoolReader(folder)
    files = [[_record(spool, reader, one) for one in series] for series in study]
    flat = [one for series in files for one in series]
    contents = [bytes(one.read()) for one in flat]

    def by_pydicom() -> None:
        for content in contents:
            _ = dcmread(io.BytesIO(content)).pixel_array

    def by_us() -> None:
        for series in files:
            instances = [read_instance(one) for one in series]
            (stack,) = split(instances)
            read_volume(stack, by_uid(instances).__getitem__)

    gc.collect()
    gc.freeze()  # what was simulated is not there in a step
    times = [(_cpu_s(by_pydicom), _cpu_s(by_us)) for _ in range(rounds + 1)][1:]  # the first is for warming up
    spool.close()
    return Reading(name, len(flat), *(statistics.median(one) for one in zip(*times, strict=True)))


def _cpu_s(work: Callable[[], None]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def _record(spool: Spool, reader: SpoolReader, dataset: Dataset) -> InputFile:
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    recording = spool.begin()
    recording.add(buffer.getvalue())
    origin = Origin(
        transfer_syntax=dataset.file_meta.TransferSyntaxUID,
        sop_class=dataset.SOPClassUID,
        sop_instance=dataset.SOPInstanceUID,
        study=dataset.StudyInstanceUID,
        series=dataset.SeriesInstanceUID,
        patient_id="",
        issuer="",
        calling_ae="BENCH",
        called_ae="PARASPINAL",
        address="127.0.0.1",
    )
    header = recording.commit(origin, head_length=0, now=0.0)
    path, offset = reader.path_of(header.place)
    return InputFile(path, hashlib.sha256(buffer.getvalue()).hexdigest(), offset, header.length)


if __name__ == "__main__":
    Console(width=150).print(sheet(run()).on_screen())
