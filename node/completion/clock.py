"""Whether the clock of the machine was set: by it instances are stamped, and quiet times are told."""

import contextlib
import json
import logging
from pathlib import Path

from node import durable, eventlog
from node.eventlog import Event

_SET_BY_S = 2.0  # more than a clock is slewed between two looks, and less than any quiet period; chosen
_KEPT_WITHIN_S = 0.5  # how far the kept distance may be off before it is written again; chosen
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")  # proc(5): another one after each boot


class ClockWatch:
    """Compares the clock that may be set with the one that counts since the machine was booted.

    Parameters
    ----------
    file : Path, optional
        Where their distance is kept, so that a clock that is set while no worker runs is noticed at its next start.
        After a boot it means nothing, but then the receiver has been away as well, and excuses that.
    """

    def __init__(self, file: Path | None = None, *, boot_id: str | None = None) -> None:
        self._file = file
        self._boot_id = _BOOT_ID.read_text().strip() if boot_id is None else boot_id
        self._distance_s = self._kept_s = self._read()

    def was_set(self, now: float, monotonic_s: float) -> bool:
        """Return whether the clock was set since the last look that was noted, or the machine was suspended.

        Parameters
        ----------
        now : float
            Seconds since 1970.
        monotonic_s : float
            Seconds of the clock that nobody sets (CLOCK_MONOTONIC, the same for all processes).
        """
        if self._distance_s is None:
            return False
        by_s = now - monotonic_s - self._distance_s
        if abs(by_s) <= _SET_BY_S:
            return False
        eventlog.record(Event.CLOCK_SET, logging.WARNING, seconds=round(by_s))
        return True

    def note(self, now: float, monotonic_s: float) -> None:
        """Note how the clocks stand, once what follows from it is done: whoever dies before finds it again."""
        self._distance_s = now - monotonic_s
        if self._kept_s is None or abs(self._distance_s - self._kept_s) > _KEPT_WITHIN_S:
            self._keep(self._distance_s)

    def _read(self) -> float | None:
        if self._file is None:
            return None
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            kept = json.loads(self._file.read_text())
            return float(kept["distance_s"]) if kept["boot_id"] == self._boot_id else None
        return None

    def _keep(self, distance_s: float) -> None:
        self._kept_s = distance_s
        if self._file is not None:
            with contextlib.suppress(OSError):  # a full disk: noticed is what is set while we run
                durable.write(self._file, json.dumps({"boot_id": self._boot_id, "distance_s": distance_s}).encode())
