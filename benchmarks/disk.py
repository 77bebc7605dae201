"""What it costs to make one instance durable on this disk: as a file of its own, and as a record in a segment.

The record is the product's (`node.spool`), header and checksum included; the file is what the node wrote before.
"""

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.sheet import Sheet
from node import durable
from node.records import Origin
from node.spool import Spool

_SIZES = {"10 kB": 9_700, "0.2 MB": 206_000, "0.5 MB": 526_000}
_ROUNDS, _EACH = 3, 60
_SEGMENT = 128 << 20  # holds what one way writes of the largest size
_ORIGIN = Origin(
    "1.2.840.10008.1.2.1", "1.2.840.10008.5.1.4.1.1.4", "2.25.1", "2.25.2", "2.25.3", "P", "", "A", "B", ""
)


def floor(folder: Path) -> Sheet:
    """Return the milliseconds an instance takes, median of interleaved rounds; `folder` is empty and on the disk."""
    spools = [_spool(folder / name, spare=spare) for name, spare in (("filled", 1), ("reserved", 0))]
    (folder / "files").mkdir()
    ways: dict[str, Callable[[Path, bytes], None]] = {
        "file, fsync": _file,
        "file, fsync, rename, fsync of the folder": durable.write,
        "record in a segment with reserved blocks, fdatasync": lambda _target, content: _record(spools[1], content),
        "record in a zero-filled segment, fdatasync": lambda _target, content: _record(spools[0], content),
    }
    took: dict[tuple[str, str], list[float]] = {}
    for turn in range(_ROUNDS):
        for size_name, size in _SIZES.items():
            content = os.urandom(size)
            for number, (name, way) in enumerate(ways.items()):
                os.sync()
                for k in range(_EACH):
                    target = folder / "files" / f"{number}-{turn}-{size}-{k}"
                    began = time.perf_counter()
                    way(target, content)
                    took.setdefault((name, size_name), []).append(1e3 * (time.perf_counter() - began))
    for spool in spools:
        spool.close()
    rows = [[name, *(f"{statistics.median(took[name, size]):.2f}" for size in _SIZES)] for name in ways]
    return Sheet(
        "One durable instance on the disk, ms", ["way", *_SIZES], rows,
        [f"Medians of {_ROUNDS} interleaved rounds of {_EACH}. Directories in which nothing was deleted."],
    )  # fmt: skip


def _file(target: Path, content: bytes) -> None:
    with target.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _spool(folder: Path, *, spare: int) -> Spool:
    spool = Spool(folder, segment_bytes=_SEGMENT, spare=spare)
    list(spool.replay({}))
    spool.start()
    while spare and not list(folder.glob("*.segment")):
        time.sleep(0.05)  # until it is filled
    return spool


def _record(spool: Spool, content: bytes) -> None:
    recording = spool.begin()
    recording.add(content)
    recording.commit(_ORIGIN, head_length=0, now=0.0)
