"""One file per instance, named by the digest of its content."""

import contextlib
import errno
import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from node import durable
from node.errors import SpoolError, SpoolFullError


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file that is on disk for good; `path` is relative to the spool."""

    path: str
    sha256: str
    size: int


class Spool:
    """Content-addressed files under one folder.

    Parameters
    ----------
    root : Path
        The folder; made if missing, readable by the owner alone.
    floor_bytes : int
        Free space that is never used: the ledger needs it to write down what was received.
    """

    def __init__(self, root: Path, *, floor_bytes: int = 0) -> None:
        self.root = root
        self._floor_bytes = floor_bytes
        root.mkdir(parents=True, exist_ok=True, mode=0o700)

    def store(self, content: bytes) -> StoredFile:
        """Write `content` durably and return where it is; the same content is one file.

        Raises
        ------
        SpoolFullError
            If the space left would fall below the floor.
        SpoolError
            If the disk refuses.
        """
        digest = hashlib.sha256(content).hexdigest()
        path = Path(digest[:2], f"{digest}.dcm")
        try:
            if shutil.disk_usage(self.root).free - len(content) < self._floor_bytes:
                raise SpoolFullError("the free space of the spool has reached its floor")
            self._write(self.root / path, content)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise SpoolFullError("the disk of the spool is full") from error
            raise SpoolError(f"the spool could not be written ({error.strerror})") from error
        return StoredFile(str(path), digest, len(content))

    def path_of(self, path: str) -> Path:
        """Return the absolute path of a stored file.

        Raises
        ------
        SpoolError
            If it is not there.
        """
        absolute = self.root / path
        if not absolute.is_file():
            raise SpoolError("a file that the ledger knows is missing from the spool")
        return absolute

    def sweep(self) -> int:
        """Remove what a crash left unfinished and return how many; only while nobody writes, so: at start."""
        unfinished = list(self.root.glob(f"*/*{durable.PART}"))
        for file in unfinished:
            with contextlib.suppress(FileNotFoundError):
                file.unlink()
        return len(unfinished)

    def _write(self, target: Path, content: bytes) -> None:
        made_folder = not target.parent.exists()
        target.parent.mkdir(exist_ok=True, mode=0o700)
        if target.exists():  # the same bytes lie there already, perhaps not yet named durably
            durable.sync_folder(target.parent)
        else:
            durable.write(target, content)
        if made_folder:
            durable.sync_folder(self.root)
