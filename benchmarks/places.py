"""Where receivers write: memory shows the receiver itself, a disk shows its syncs."""

import mmap
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import psutil

_IN_MEMORY = ("tmpfs", "ramfs", "devtmpfs")
_RESERVE_BYTES = 3 << 30  # segments filled ahead, databases, and room to spare


class NoRoomError(Exception):
    """A place has not the room for a measurement."""


@dataclass(frozen=True, slots=True)
class Place:
    """A folder of our own on one kind of file system.

    On a disk nothing is deleted between runs: ext4 creates files up to four times slower after deletes in the same
    tree, because its allocator walks over freed inodes. Memory has no such effect, and less room.
    """

    name: str
    folder: Path
    is_disk: bool

    @contextmanager
    def new_folder(self, expected_bytes: int) -> Iterator[Path]:
        """Give an empty folder, all earlier writing synced.

        Raises
        ------
        NoRoomError
            If fewer than `expected_bytes` and some more are free.
        """
        free = shutil.disk_usage(self.folder).free
        if free < expected_bytes + _RESERVE_BYTES:
            raise NoRoomError(
                f"{self.name} has {free >> 20} MB free, of {(expected_bytes + _RESERVE_BYTES) >> 20} MB wanted"
            )
        if self.is_disk:
            os.sync()
        _touch_memory(expected_bytes)
        folder = next(path for number in count() if not (path := self.folder / f"run{number:03d}").exists())
        folder.mkdir()
        try:
            yield folder
        finally:
            if not self.is_disk:
                shutil.rmtree(folder)

    def clean(self) -> None:
        shutil.rmtree(self.folder)


def _touch_memory(size: int) -> None:
    """Let the machine have the memory that a run will fill.

    A virtual machine gets a page from its host when it is first touched, at several times the cost of using it: the
    first receiver of a comparison would pay for all that come after it.
    """
    mmap.mmap(-1, max(size, 1 << 20), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE).close()


def memory() -> Place | None:
    """Return a place in memory, or None where there is no /dev/shm."""
    shm = Path("/dev/shm")
    if not shm.is_dir() or file_system(shm) not in _IN_MEMORY:
        return None
    return Place("memory (tmpfs)", Path(tempfile.mkdtemp(prefix="paraspinal-bench-", dir=shm)), is_disk=False)


def disk(wanted: Path | None = None) -> Place:
    """Return a place on a disk; its name says so where all there is is memory."""
    candidates: Sequence[Path] = [wanted] if wanted else [Path(tempfile.gettempdir()), Path("/var/tmp"), Path.cwd()]
    found = next((one for one in candidates if file_system(one) not in _IN_MEMORY), candidates[0])
    kind = file_system(found)
    name = f"no disk found: {kind}" if kind in _IN_MEMORY else f"disk ({kind})"
    return Place(name, Path(tempfile.mkdtemp(prefix="paraspinal-bench-", dir=found)), is_disk=kind not in _IN_MEMORY)


def file_system(path: Path) -> str:
    """Return the kind of file system that a path lies on, "ext4" or "tmpfs"."""
    mounts = {Path(one.mountpoint): one.fstype for one in psutil.disk_partitions(all=True)}
    real = path.resolve()
    return next((mounts[one] for one in (real, *real.parents) if one in mounts), "unknown")
