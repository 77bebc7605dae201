"""What the spool holds, for who wants to see it, check it, or take it out: the verbs `spool ...`.

It reads the ledger and the segments, while a node works with them or not, and changes nothing.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from node import eventlog, process
from node.errors import HeaderError, SettingsError, SpoolError
from node.eventlog import alias
from node.ledger import Ledger, open_database
from node.settings import Settings
from node.spool import SegmentState, SpoolReader


@dataclass(frozen=True, slots=True)
class Damage:
    """An instance that is not on disk as it was received."""

    instance_alias: str
    study_alias: str
    reason: str


class Holdings:
    """The spool of a data folder.

    Raises
    ------
    SettingsError
        If no node has worked there.
    """

    def __init__(self, settings: Settings) -> None:
        data_dir = settings.node.data_dir.resolve()
        file = data_dir / process.DATABASE
        if not file.exists():
            raise SettingsError(f"[node] data_dir: no node has worked in {data_dir} yet")
        eventlog.use_alias_key(data_dir / "alias.key")
        self._ledger = Ledger(open_database(file))
        self._spool = SpoolReader(data_dir / process.SPOOL)

    def segments(self) -> list[tuple[SegmentState, int]]:
        """Return every segment, and how many instances in it have a row."""
        rows = Counter(one.place.segment for one in self._ledger.held())
        return [(state, rows[state.number]) for state in self._spool.segments(self._ledger.ends())]

    def held(self) -> Iterator[tuple[str, str]]:
        """Yield SOP Instance UID and SHA-256 of the data set, as it is on disk now, of all that is held.

        The data set begins behind the file meta information. An instance that is damaged is left out.
        """
        for one in self._ledger.held():
            try:
                header, view = self._spool.read_record(one.place)
            except SpoolError:
                continue
            yield one.sop_instance, hashlib.sha256(view[header.head_length :]).hexdigest()

    def export(self, study: str, folder: Path) -> int:
        """Write the instances of a study, by its alias or UID, as Part 10 files, and return how many these are.

        Names are numbers in the order of arrival; one that contradicts others says so in its name.

        Raises
        ------
        HeaderError
            If no instance of such a study is held.
        SpoolError
            If one is damaged.
        """
        count = 0
        for count, one in enumerate(self._ledger.held(study), start=1):
            folder.mkdir(parents=True, exist_ok=True)
            name = f"{count:06d}{'-contradicts' if one.contradicts else ''}.dcm"
            (folder / name).write_bytes(self._spool.read(one.place))
        if not count:
            raise HeaderError("no instance of this study is held; see: status")
        return count

    def verify(self) -> Iterator[Damage | None]:
        """Read every instance from disk, not from memory; yield None for each that is whole."""
        for one in self._ledger.held():
            try:
                self._spool.read_record(one.place, from_disk=True)
            except SpoolError as error:
                yield Damage(alias(one.sop_instance), one.study_alias, str(error))
            else:
                yield None
