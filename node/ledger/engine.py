"""The same database for SQLAlchemy, by which the ledger and the queue engine share a transaction."""

import sqlite3
from typing import Any

import sqlalchemy as sa

from node.ledger.database import Database


class Rows:
    """Rows of the ledger; `engine` is what the queue shares."""

    def __init__(self, database: Database) -> None:
        self.database, self.engine = database, engine_of(database)


def engine_of(database: Database) -> sa.Engine:
    """Return a SQLAlchemy engine on the connections of a database."""
    # What a statement was given is not told in the text of its error: rows hold Patient IDs and UIDs.
    engine = sa.create_engine(f"sqlite:///{database.file}", creator=database.connect, hide_parameters=True)

    @sa.event.listens_for(engine, "handle_error")
    def _part_with_read_only(context: Any) -> None:
        # As in `Database.begin`: the pool would give that connection out again and again.
        if getattr(context.original_exception, "sqlite_errorcode", None) == sqlite3.SQLITE_READONLY:
            context.is_disconnect = True

    return engine
