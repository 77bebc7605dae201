"""The tables are defined once, in schema.py; what makes them is the file written from that."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from node.ledger import database, open_database, schema


def test_the_file_that_makes_the_tables_is_what_the_schema_gives() -> None:
    command = "python -m node.ledger.schema"

    written = Path(schema.__file__).with_name("schema.sql").read_text()

    assert command in written.splitlines()[0]
    assert written == schema.as_sql(), f"made anew by: {command}"


def test_every_table_and_index_of_the_schema_is_made(tmp_path: Path) -> None:
    open_database(tmp_path / "node.db")

    with closing(sqlite3.connect(tmp_path / "node.db")) as connection:
        made = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'")}

    indexes = {index.name for table in schema.metadata.tables.values() for index in table.indexes}
    assert made == set(schema.metadata.tables) | indexes


def test_tables_that_are_made_in_part_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that dies, or a disk that fills up, in the middle: the next one finds none of them and makes all."""
    cut = tmp_path / "cut.sql"
    cut.write_text(schema.as_sql() + "CREATE nonsense;")
    with monkeypatch.context() as patch:
        patch.setattr(database, "_TABLES", cut)
        with pytest.raises(sqlite3.OperationalError):
            open_database(tmp_path / "node.db")

    open_database(tmp_path / "node.db")


def test_a_connection_on_which_a_transaction_failed_is_not_used_again(tmp_path: Path) -> None:
    """SQLite opens for reading only what it cannot open for writing, and tells it when something is written."""
    opened = open_database(tmp_path / "node.db")
    before = opened.connection
    before.execute("PRAGMA query_only = ON")  # as such a connection answers

    with pytest.raises(sqlite3.OperationalError, match="readonly"), opened.begin() as connection:
        connection.execute("DELETE FROM study")
    with opened.begin() as connection:
        connection.execute("DELETE FROM study")

    assert opened.connection is not before


def test_a_transaction_that_fails_is_undone_and_holds_no_lock(tmp_path: Path) -> None:
    opened = open_database(tmp_path / "node.db")
    reading = []

    def fail() -> None:
        with opened.begin() as connection:
            connection.execute("INSERT INTO segment VALUES (1, 2, 3, 4)")
            reading.append(connection.execute("SELECT * FROM segment"))  # what is read halfway outlives a connection
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()

    with closing(sqlite3.connect(tmp_path / "node.db", timeout=0, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert other.execute("SELECT * FROM segment").fetchall() == []
