"""Fixtures: real parts in a temporary folder, and what real input there is."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from pynetdicom import _config

from node import eventlog
from node.ledger import Arrivals, Database, open_database
from node.ledger.ledger import Ledger
from node.spool import Results, Spool

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


def needs(program: str, package: str) -> str:
    """Return the path of a program of a Debian package, or skip by name."""
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        if os.environ.get("PARASPINAL_REQUIRE_PEERS"):  # CI installs them: there a skip would hide a failure
            pytest.fail(f"{program} (Debian package {package}) is not installed")
        pytest.skip(f"{program} (Debian package {package}) is not installed")
    return found


def needs_file(path: str, package: str) -> Path:
    """Return a file of a Debian package, or skip by name."""
    if not Path(path).exists():
        if os.environ.get("PARASPINAL_REQUIRE_PEERS"):
            pytest.fail(f"{path} (Debian package {package}) is not installed")
        pytest.skip(f"{path} (Debian package {package}) is not installed")
    return Path(path)


def shared(*parts: str) -> Path:
    """Return a path of the shared material beside the project, or skip with the reason."""
    path = SHARED.joinpath(*parts)
    if not path.exists():
        if os.environ.get("PARASPINAL_REQUIRE_PEERS"):
            pytest.fail(f"../shared/{'/'.join(parts)} is not beside the project")
        pytest.skip(f"../shared/{'/'.join(parts)} is not beside the project")
    return path


@pytest.fixture(autouse=True)
def _alias_key(tmp_path_factory: pytest.TempPathFactory) -> None:
    eventlog.use_alias_key(tmp_path_factory.getbasetemp() / "alias.key")


@pytest.fixture(autouse=True)
def _own_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo what a receiver sets for its whole process, which in a test is not its own."""
    monkeypatch.setattr(_config, "STORE_RECV_CHUNKED_DATASET", False)
    monkeypatch.setattr(tempfile, "tempdir", tempfile.tempdir)


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    """A spool of small segments, without the thread that fills them ahead."""
    spool = Spool(tmp_path / "spool", segment_bytes=1 << 20, spare=0)
    yield spool
    spool.close()


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return Results(tmp_path / "results")


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return open_database(tmp_path / "node.db")


@pytest.fixture
def ledger(database: Database) -> Ledger:
    return Ledger(database)


@pytest.fixture
def arrivals(database: Database) -> Arrivals:
    return Arrivals(database)
