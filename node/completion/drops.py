"""The drop folder: small files in which another system says what EMG found.

A file is taken whole into the ledger and then removed, or moved aside with the reason beside it; it is never lost. Its
name and what is in it are patient data: neither is logged.
"""

import logging
from pathlib import Path

from node import durable, eventlog
from node.emg import read_statements
from node.errors import StatementError
from node.eventlog import Event
from node.ledger.suspicions import Suspicions

ASIDE = "rejected"  # a folder within the drop folder
_SETTLED_S = 2.0  # a file that was written to more recently may still grow; chosen
_LARGEST = 1_000_000  # bytes; chosen
_SUFFIXES = frozenset({".json", ".csv"})


class DropFolder:
    """Looks at what lies in a folder, and takes it."""

    def __init__(self, folder: Path, suspicions: Suspicions) -> None:
        self._folder, self._suspicions = folder, suspicions

    def run_once(self, *, now: float) -> None:
        """Take every .json and .csv file that has been left alone for two seconds before `now` (since 1970).

        Raises
        ------
        StatementError
            If the folder cannot be listed: the disk of another machine may be away.
        """
        try:
            found = sorted(self._folder.iterdir())
        except OSError as error:
            raise StatementError(f"[emg] folder {self._folder} cannot be listed ({error.strerror})") from error
        for path in found:
            if path.suffix.lower() not in _SUFFIXES or path.name.startswith("."):
                continue  # hidden, or still under another name: whoever writes it has not finished
            try:
                state = path.lstat()
                if now - state.st_mtime >= _SETTLED_S:
                    self._take(path, state.st_size, now)
            except FileNotFoundError:
                continue  # taken back by whoever put it there
            except OSError as error:  # one that cannot be read must not hold up the others
                eventlog.record(Event.DROP_FAILED, logging.ERROR, error=type(error).__name__)

    def _take(self, path: Path, size: int, now: float) -> None:
        try:
            if path.is_symlink() or not path.is_file():
                raise StatementError("not a regular file")
            if size > _LARGEST:
                raise StatementError(f"larger than {_LARGEST} bytes")
            statements = read_statements(path.read_bytes(), is_csv=path.suffix.lower() == ".csv")
        except StatementError as error:
            self._set_aside(path, str(error))
            return
        again = self._suspicions.tell(statements, now=now)
        path.unlink()  # after the commit: a crash in between enters the same statements twice, which changes nothing
        eventlog.record(Event.DROP_TAKEN, statements=len(statements), measured_again=len(again))

    def _set_aside(self, path: Path, reason: str) -> None:
        aside = self._folder / ASIDE
        aside.mkdir(mode=0o700, exist_ok=True)
        number = 0
        while (target := aside / (f"{number}-{path.name}" if number else path.name)).exists():
            number += 1
        durable.write(target.with_name(f"{target.name}.reason.txt"), f"{reason}\n".encode())
        path.rename(target)
        eventlog.record(Event.DROP_SET_ASIDE, logging.WARNING, reason=f"'{reason}'")
