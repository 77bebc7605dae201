"""Starts that fail, as processes of their own: what is said, what is not, and the exit status."""

import errno
import logging
import os
import re
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from node.association.tls import ServerTls
from node.ledger import open_database
from node.ledger.engine import engine_of
from node.reception import is_of_the_port, warn_of_end
from node.spool import Spool
from tests.association.test_tls import Authority
from tests.builders import mr, origin_of, part10, record
from tests.conftest import ROOT


def receive(data: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "node", "receive", "--data", str(data), "--port", "0", *options],
        capture_output=True, text=True, cwd=ROOT, check=False, timeout=30,
    )  # fmt: skip


@pytest.mark.slow
def test_a_ledger_that_refuses_a_row_at_the_start_is_told_without_what_the_row_says(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", segment_bytes=1 << 20, spare=0)
    list(spool.replay({}))
    dataset = mr(PatientID="CANARY-ID")
    record(spool, part10(dataset), origin_of(dataset))
    spool.close()
    open_database(tmp_path / "node.db")
    with closing(sqlite3.connect(tmp_path / "node.db")) as other:
        other.execute("CREATE TRIGGER refuse BEFORE INSERT ON study BEGIN SELECT RAISE(ABORT, 'no'); END")

    ended = receive(tmp_path)

    assert ended.returncode == 1
    assert re.search(r"N123 .* error=IntegrityError at=node\.ledger\.arrivals:\d+\n", ended.stderr)
    assert re.search(r"^failed: IntegrityError at node\.ledger\.arrivals:\d+$", ended.stderr, re.MULTILINE)
    assert not [secret for secret in ("CANARY", "Traceback", "2.25.1", "INSERT") if secret in ended.stderr]


def test_the_text_of_a_statements_error_does_not_hold_what_the_statement_was_given(tmp_path: Path) -> None:
    database = engine_of(open_database(tmp_path / "node.db"))
    with database.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE one (value TEXT CHECK (value = ''))")

    with pytest.raises(Exception, match="CHECK") as found, database.begin() as connection:
        connection.exec_driver_sql("INSERT INTO one VALUES (?)", ("CANARY-ID",))

    assert "CANARY" not in str(found.value)


def test_a_fault_of_the_spool_is_not_told_as_one_of_the_port(tmp_path: Path) -> None:
    def error_of(act: Callable[[], object]) -> OSError:
        with pytest.raises(OSError) as found:  # noqa: PT011 - which one is what the test asks
            act()
        return found.value

    with socket.create_server(("127.0.0.1", 0)) as taken:
        in_use = error_of(lambda: socket.create_server(taken.getsockname()))
    not_ours = error_of(lambda: socket.create_server(("192.0.2.1", 0)))
    a_folder = error_of(lambda: os.open(tmp_path, os.O_WRONLY))
    locked = PermissionError(errno.EACCES, "Permission denied", "/spool/1.segment")  # root is never refused a file

    assert [is_of_the_port(one) for one in (in_use, not_ours, a_folder, locked)] == [True, True, False, False]


def test_a_certificate_that_ends_within_thirty_days_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("paraspinal-node"), "propagate", True)
    tls = ServerTls(Authority(tmp_path).settings())
    end = datetime.now(UTC) + timedelta(days=tls.expires_in_days(datetime.now(UTC)))

    warn_of_end(tls, now=end - timedelta(days=31))
    assert "A133" not in caplog.text
    warn_of_end(tls, now=end - timedelta(days=10, hours=1))
    assert re.search(r"WARNING .*A133 .* days=10\b", caplog.text)
