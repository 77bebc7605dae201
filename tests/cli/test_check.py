"""What `check` says: of the port, the disk, of who is not there, and at last whether a start would succeed."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from node import process
from node.checks import Check, Verdict, run_checks
from node.errors import SettingsError
from node.ledger import open_database
from node.reception import Reception
from node.settings import Settings
from node.simulator.archive import Archive
from node.worker import Worker
from tests.cli.test_cli import run

__all__ = ["run"]  # a fixture

SETTINGS = {"association": {"bind": "127.0.0.1", "port": 0}, "spool": {"segment_mb": 1, "spare_segments": 0}}


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def port_row(data_dir: Path, port: int) -> Check:
    settings = Settings.checked(
        {"node": {"data_dir": data_dir}, "association": {"bind": "127.0.0.1", "port": port}, "peer": []}
    )
    return next(one for one in run_checks(settings) if one.name == "port")


def test_the_port_that_a_running_node_listens_at_is_no_fault_and_a_stranger_at_it_is_one(
    tmp_path: Path, taken: int
) -> None:
    reception = Reception(Settings.checked(SETTINGS | {"node": {"data_dir": tmp_path}}))
    reception.start()
    try:
        ours = reception.port
        at_ours, at_another = port_row(tmp_path, ours), port_row(tmp_path, taken)
    finally:
        reception.stop()

    assert at_ours.verdict is Verdict.OK
    assert "in use by this node" in at_ours.found
    assert at_another.verdict is Verdict.FAULT
    assert at_another.found == f"port {taken} is in use by another program; this node listens at {ours}"


def test_a_port_that_a_receiver_had_once_is_not_its_own_for_ever(tmp_path: Path, taken: int) -> None:
    (tmp_path / process.RECEIVER_PORT).write_text(f"{taken}\n")

    assert port_row(tmp_path, taken).verdict is Verdict.FAULT


def test_a_file_of_rules_that_is_not_there_stops_a_worker_in_the_words_of_the_check(tmp_path: Path) -> None:
    rules = str(tmp_path / "absent.toml")
    settings = Settings.checked(SETTINGS | {"node": {"data_dir": tmp_path}, "completion": {"roles": rules}})

    with pytest.raises(SettingsError, match="cannot be read") as raised:
        Worker(settings)

    (row,) = (one for one in run_checks(settings) if one.name == "rules")
    assert row == Check("rules", str(raised.value), Verdict.FAULT)


def test_a_port_that_another_program_listens_at_is_a_fault(tmp_path: Path, taken: int) -> None:
    row = port_row(tmp_path, taken)

    assert row.verdict is Verdict.FAULT
    assert "in use" in row.found
    assert "this node" not in row.found


def test_each_row_says_in_a_word_what_it_is_and_the_last_line_whether_a_start_would_succeed(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    with Archive(tmp_path / "archive", ae_title="ANOTHER") as archive:
        settings = (
            f'[node]\ndata_dir = "{tmp_path / "data"}"\n[association]\nport = 0\n'
            f'[[destination]]\nname = "pacs"\nae_title = "ARCHIVE"\nport = {archive.port}\n'
        )
        (tmp_path / "site.toml").write_text(settings)
        warned = run("--config", "site.toml", "check")
        (tmp_path / "site.toml").write_text(settings + "[spool]\nfree_space_floor_mb = 900000000\n")
        full = run("--config", "site.toml", "check")
        open_database(tmp_path / "data" / process.DATABASE)
        status = run("--config", "site.toml", "status")

    (echo,) = (line for line in warned[1].splitlines() if "C-ECHO pacs" in line)
    assert "warning" in echo
    assert "for good: called AE title not recognized: what is for it will be parked" in echo
    assert (warned[0], warned[1].splitlines()[-1]) == (0, "a start would succeed; 1 warning")
    (folder,) = (line for line in full[1].splitlines() if "data folder" in line)
    assert "fault" in folder
    assert "no instance is taken" in full[1]
    assert "disk: [spool] free_space_floor_mb is reached: each instance is refused with 0xA700" in status[1]
    assert (full[0], full[1].splitlines()[-1]) == (2, "1 fault: to put right before a start; 1 warning")


@pytest.mark.parametrize(
    ("peer", "verdict"),
    [
        ({"ae_title": "ARCHIVE", "addresses": ["127.0.0.0/8"]}, Verdict.OK),
        ({"ae_title": "ARCHIVE", "addresses": ["10.0.0.0/8"]}, Verdict.WARNING),
        ({"ae_title": "MR1", "addresses": ["127.0.0.1"]}, Verdict.WARNING),
    ],
)
def test_whoever_is_to_commit_itself_must_be_let_in_to_report(tmp_path: Path, peer: dict, verdict: Verdict) -> None:
    pacs = {"name": "pacs", "ae_title": "ARCHIVE", "host": "127.0.0.1", "port": 1, "commitment": True}
    settings = Settings.checked(
        {"node": {"data_dir": tmp_path}, "association": {"port": 0}, "destination": [pacs], "peer": [peer]}
    )

    (row,) = (one for one in run_checks(settings) if one.name == "commitment of pacs")

    assert row.verdict is verdict
    assert ("is rejected" in row.found) == (verdict is Verdict.WARNING)
