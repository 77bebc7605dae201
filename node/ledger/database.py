"""The database handle that ledger and queue share, so that one transaction spans both."""

from pathlib import Path
from typing import Any

import sqlalchemy as sa


def open_database(file: Path) -> sa.Engine:
    """Return the handle of the SQLite database in `file`, made if missing.

    Every commit is durable: write-ahead log with a full sync (one per commit).
    """
    database = sa.create_engine(f"sqlite:///{file.resolve()}")

    @sa.event.listens_for(database, "connect")
    def _set_up(connection: Any, _record: object) -> None:
        # The first write takes the lock at once, and waits for it; a transaction that reads first must not write later.
        connection.isolation_level = "IMMEDIATE"
        for pragma in ("busy_timeout=30000", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    return database
