"""What the spool holds, for who wants to see it, check it, or take it out: the verbs `spool ...`.

It reads the ledger and the segments, while a node works with them or not, and changes nothing. What retention drops
meanwhile is not damaged, and not held any more.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from node import process
from node.errors import RulingError, SpoolError
from node.eventlog import alias
from node.ledger import Arrivals, open_database
from node.ledger.arrivals import HeldInstance
from node.settings import Settings
from node.spool import RecordHeader, SegmentState, SpoolReader


@dataclass(frozen=True, slots=True)
class Damage:
    """An instance that is not on disk as it was received."""

    instance_alias: str
    study_alias: str
    reason: str


@dataclass(frozen=True, slots=True)
class Exported:
    """What became files, and what could not."""

    written: int
    damaged: tuple[Damage, ...]


class Holdings:
    """The spool of a data folder.

    Raises
    ------
    SettingsError
        If no node has worked there.
    """

    def __init__(self, settings: Settings) -> None:
        data_dir = process.worked_data_dir(settings)
        self._arrivals = Arrivals(open_database(data_dir / process.DATABASE))
        self._spool = SpoolReader(data_dir / process.SPOOL)

    def segments(self) -> list[tuple[SegmentState, int]]:
        """Return every segment, and how many instances in it have a row."""
        rows = self._arrivals.instances_by_segment()
        return [(state, rows.get(state.number, 0)) for state in self._spool.segments(self._arrivals.ends())]

    def held(self, damaged: list[Damage] | None = None) -> Iterator[tuple[str, str]]:
        """Yield SOP Instance UID and SHA-256 of the data set, as it is on disk now, of all that is held and whole.

        The data set begins behind the file meta information. What is not whole is appended to `damaged`.
        """
        for one in self._arrivals.held():
            found = self._read(one)
            if isinstance(found, Damage):
                if damaged is not None:
                    damaged.append(found)
            elif found is not None:
                header, view = found
                yield one.sop_instance, hashlib.sha256(view[header.head_length :]).hexdigest()

    def export(self, study: str, folder: Path) -> Exported:
        """Write the instances of a study, by its alias or UID, as Part 10 files into an empty or new folder.

        Names are numbers in the order of arrival; one that contradicts others says so in its name. One that is damaged
        becomes no file, and keeps its number.

        Raises
        ------
        RulingError
            If no instance of such a study is held, or the folder holds anything.
        SpoolError
            If the folder cannot be written.
        """
        written, damaged = 0, list[Damage]()
        try:
            if folder.exists() and any(folder.iterdir()):
                raise RulingError("files of this study would lie among others: name an empty or new folder")
            for number, one in enumerate(self._arrivals.held(study), start=1):
                found = self._read(one)
                if isinstance(found, Damage):
                    damaged.append(found)
                elif found is not None:
                    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                    file = folder / f"{number:06d}{'-contradicts' if one.contradicts else ''}.dcm"
                    file.touch(mode=0o600, exist_ok=False)
                    file.write_bytes(found[1])
                    written += 1
        except OSError as error:
            raise SpoolError(f"the folder cannot be written: {error.strerror}") from error
        if not written and not damaged:
            raise RulingError(f"no instance of a study {study} is held; see: status")
        return Exported(written, tuple(damaged))

    def verify(self) -> Iterator[Damage | None]:
        """Read every instance from disk, not from memory; yield None for each that is whole."""
        for one in self._arrivals.held():
            found = self._read(one, from_disk=True)
            if found is not None:
                yield found if isinstance(found, Damage) else None

    def _read(self, one: HeldInstance, *, from_disk: bool = False) -> tuple[RecordHeader, memoryview] | Damage | None:
        """Return header and Part 10 bytes of an instance, or what is wrong with it; None if dropped meanwhile."""
        try:
            return self._spool.read_record(one.place, from_disk=from_disk)
        except SpoolError as error:
            if not self._arrivals.still_held(one.place):
                return None
            return Damage(alias(one.sop_instance), one.study_alias, str(error))
