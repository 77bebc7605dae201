"""The database handle that ledger and queue share, so that one transaction spans both."""

import contextlib
import fcntl
import sqlite3
from pathlib import Path
from typing import Any

import sqlalchemy as sa


def open_database(file: Path) -> sa.Engine:
    """Return the handle of the SQLite database in `file`, made if missing.

    Every commit is durable: write-ahead log with a full sync (one per commit).
    """
    # Two processes open it at the same moment, and turning the write-ahead log on waits for nobody.
    with file.with_suffix(".opening").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with contextlib.closing(sqlite3.connect(file)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
    # What a statement was given is not told in the text of its error: rows hold Patient IDs and UIDs.
    database = sa.create_engine(f"sqlite:///{file.resolve()}", hide_parameters=True)

    @sa.event.listens_for(database, "connect")
    def _set_up(connection: Any, _record: object) -> None:
        # The first write takes the lock at once, and waits for it; a transaction that reads first must not write later.
        connection.isolation_level = "IMMEDIATE"
        for pragma in ("busy_timeout=30000", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(database, "handle_error")
    def _part_with_read_only(context: Any) -> None:
        # A file that cannot be opened for writing at the moment - EIO, no descriptors left - SQLite opens for reading,
        # and says so only when something is written. The pool would give that connection out again and again.
        if getattr(context.original_exception, "sqlite_errorcode", None) == sqlite3.SQLITE_READONLY:
            context.is_disconnect = True

    return database
