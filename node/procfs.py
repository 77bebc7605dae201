"""What the kernel tells of the processes of this machine: proc(5). Linux only."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ProcessStat:
    """One process: ids of itself, its parent and its group, and its resident pages."""

    pid: int
    parent: int
    group: int
    resident_pages: int


def process_stats() -> Iterator[ProcessStat]:
    """Yield each process, as far as it can be seen; one that ends meanwhile is left out."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()  # the name may hold blanks and brackets
        except OSError:  # it has ended meanwhile
            continue
        # proc(5) counts from 1, and two fields were cut off: 4 ppid, 5 pgrp, 24 rss
        yield ProcessStat(int(entry.name), int(fields[1]), int(fields[2]), int(fields[21]))
