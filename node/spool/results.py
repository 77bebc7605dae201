"""Result objects: one file each, named by the digest of its content, written by the worker."""

import errno
import hashlib
from pathlib import Path

from node import durable
from node.errors import SpoolError, SpoolFullError


class Results:
    """Content-addressed files under one folder.

    A result has no place in the segments: those are written by the receiving process alone, and a study has three or
    four results, so that their syncs do not count.

    Parameters
    ----------
    root : Path
        The folder; made if missing, readable by the owner alone.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True, mode=0o700)

    def store(self, content: bytes) -> str:
        """Write `content` durably and return its path in the folder; the same content is one file.

        Raises
        ------
        SpoolFullError
            If the disk is full.
        SpoolError
            If it refuses otherwise.
        """
        path = f"{hashlib.sha256(content).hexdigest()}.dcm"
        try:
            if (self.root / path).exists():  # the same bytes, perhaps not yet named durably
                durable.sync_folder(self.root)
            else:
                durable.write(self.root / path, content)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise SpoolFullError("the disk of the node is full") from error
            raise SpoolError(f"the spool could not be written ({error.strerror})") from error
        return path

    def has(self, path: str) -> bool:
        """Return whether a stored file is there."""
        return (self.root / path).is_file()

    def path_of(self, path: str) -> Path:
        """Return the absolute path of a stored file; SpoolError if it is not there."""
        absolute = self.root / path
        if not absolute.is_file():
            raise SpoolError("a result that the ledger knows is missing from the spool")
        return absolute

    def read(self, path: str) -> bytes:
        """Return what was stored; SpoolError if it is not there, or not what it was, which no waiting puts right.

        An OSError is the system's, and may pass.
        """
        content = self.path_of(path).read_bytes()
        if hashlib.sha256(content).hexdigest() != Path(path).stem:
            raise SpoolError("a result is not on disk as it was made")
        return content

    def drop(self, path: str) -> bool:
        """Remove a stored file, and return whether it was there; SpoolError if the disk refuses."""
        try:
            (self.root / path).unlink()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise SpoolError(f"a result could not be removed ({error.strerror})") from error
        return True

    def sweep(self) -> int:
        """Remove what a crash left unfinished and return how many; only while nobody writes, so: at start."""
        unfinished = list(self.root.glob(f"*{durable.PART}"))
        for file in unfinished:
            file.unlink(missing_ok=True)
        return len(unfinished)
