"""The database file: how it is opened, and what holds for every connection to it.

Every commit is durable: write-ahead log with a full sync (one per commit).
"""

import contextlib
import fcntl
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

from node.errors import LedgerError

SCHEMA_VERSION = 6  # of the tables in schema.py: whoever changes them counts on
_TABLES = Path(__file__).with_name("schema.sql")


class Database:
    """The SQLite database in a file; each thread that asks has a connection of its own.

    A lock around a single one doubled the CPU time of four associations; and what another thread is about to write
    would be seen before it is committed.
    """

    def __init__(self, file: Path) -> None:
        self.file, self._of_thread = file, threading.local()

    def connect(self) -> sqlite3.Connection:
        """Return a new connection."""
        # The first write takes the lock at once, and waits for it; a transaction that reads first must not write later.
        connection = sqlite3.connect(self.file, isolation_level="IMMEDIATE", check_same_thread=False)
        for pragma in ("busy_timeout=30000", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")
        return connection

    @property
    def connection(self) -> sqlite3.Connection:
        """The connection of this thread, to read by."""
        connection: sqlite3.Connection | None = getattr(self._of_thread, "connection", None)
        if connection is None:
            connection = self._of_thread.connection = self.connect()
        return connection

    @contextlib.contextmanager
    def begin(self) -> Iterator[sqlite3.Connection]:
        """Give this thread's connection for one transaction, which nobody else writes in; undone if it fails."""
        connection = self.connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.commit()
        except BaseException:
            # A file that cannot be opened for writing at the moment - EIO, no descriptors left - SQLite opens for
            # reading, and says so only when something is written: a connection on which anything failed is not kept.
            del self._of_thread.connection
            with contextlib.suppress(sqlite3.Error):
                connection.rollback()
            connection.close()
            raise


def open_database(file: Path) -> Database:
    """Return the database in `file`, made with its tables if missing.

    Raises
    ------
    LedgerError
        If its tables are of another version.
    """
    database = Database(file.resolve())
    # Two processes open it at the same moment, and turning the write-ahead log on waits for nobody.
    with file.with_suffix(".opening").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with contextlib.closing(database.connect()) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'ledger_version'").fetchall():
                version = f"INSERT INTO ledger_version (version) VALUES ({SCHEMA_VERSION});"
                connection.executescript(f"BEGIN;\n{_TABLES.read_text()}\n{version}\nCOMMIT;")
            ((held,),) = connection.execute("SELECT version FROM ledger_version").fetchall()
    if held != SCHEMA_VERSION:
        raise LedgerError(
            f"the ledger has tables of version {held}, this release needs {SCHEMA_VERSION}: "
            "use the release that wrote it, or another data folder"
        )
    return database
