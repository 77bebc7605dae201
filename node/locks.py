"""Locks between processes: a file that is held for the life of its holder, whatever ends it."""

import contextlib
import fcntl
import time
from pathlib import Path
from typing import TextIO

from node.errors import LedgerError

_PATIENCE_S, _PAUSE_S = 3.0, 0.1  # chosen


def hold(lock_file: Path) -> TextIO:
    """Return the open file with the lock on it, which lasts until it is closed or the process ends.

    Waits a little: somebody who only looks holds it for an instant, a killed process for some milliseconds.

    Raises
    ------
    LedgerError
        If another process holds the lock.
    """
    opened = lock_file.open("w")
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return opened
        if time.monotonic() > deadline:
            opened.close()
            raise LedgerError(f"another process works in {lock_file.parent}: stop it first")
        time.sleep(_PAUSE_S)


def is_held(lock_file: Path) -> bool:
    """Return whether a process holds the lock now."""
    if not lock_file.exists():
        return False
    with lock_file.open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
