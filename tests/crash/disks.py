"""File systems of their own for a node: small ones, and some that lose their power. Only root can mount."""

import contextlib
import fcntl
import gc
import os
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import needs

_SHUTDOWN, _NO_LOG_FLUSH = 0x8004587D, 2  # linux/fs/ext4/ext4.h: EXT4_IOC_SHUTDOWN, EXT4_GOING_FLAGS_NOLOGFLUSH


@contextlib.contextmanager
def mounted(folder: Path, *options: str) -> Iterator[None]:
    """Mount a file system on a new folder for the time of the block; skip where that is not possible."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a file system")
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["mount", *options, str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this machine mounts no such file system: {done.stderr.strip()}")
    try:
        yield
    finally:
        _unmount(folder)


def small_tmpfs(folder: Path, megabytes: int) -> contextlib.AbstractContextManager[None]:
    """Mount a file system in memory."""
    return mounted(folder, "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs")


class LoopDisk:
    """An ext4 file system in a file, whose power can be cut."""

    def __init__(self, image: Path, megabytes: int) -> None:
        self._image = image
        with image.open("wb") as file:
            file.truncate(megabytes << 20)
        subprocess.run([needs("mkfs.ext4", "e2fsprogs"), "-q", "-F", str(image)], check=True)

    def mounted(self, folder: Path) -> contextlib.AbstractContextManager[None]:
        """Mount it; after a cut that is when the journal is played back."""
        return mounted(folder, "-o", "loop", str(self._image))

    @staticmethod
    def cut(folder: Path) -> None:
        """Let nothing more reach the disk: page cache and journal in memory are lost."""
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, _SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
        finally:
            os.close(descriptor)


def _unmount(folder: Path) -> None:
    gc.collect()  # of this process: connections to the ledger, and mapped segments
    for _ in range(50):  # who was killed a moment ago may still hold a file
        if subprocess.run(["umount", str(folder)], capture_output=True, check=False).returncode == 0:
            return
        time.sleep(0.1)
    subprocess.run(["umount", "-l", str(folder)], check=False)
    pytest.fail(f"something still uses {folder}")
