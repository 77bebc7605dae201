"""Writing files that survive a power cut."""

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

PART = ".part"  # suffix of a file that is not whole yet


def write(target: Path, content: bytes) -> None:
    """Write `content` to `target` so that it is on disk, under its name, when this returns.

    A reader sees the old file, no file, or the whole new one: never half of it. The folder must exist.
    """
    part = target.with_name(f"{uuid.uuid4().hex}{PART}")
    try:
        with part.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    except OSError:
        part.unlink(missing_ok=True)  # on a full disk above all
        raise
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable; fsync of a file does not (fsync(2))."""
    with _opened(folder) as descriptor:
        os.fsync(descriptor)


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
