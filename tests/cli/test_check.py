"""What `check` says of the port: that of a running node is no fault, that of a stranger is one."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from node import process
from node.checks import Check, run_checks
from node.reception import Reception
from node.settings import Settings

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

    assert at_ours.passed
    assert "in use by this node" in at_ours.found
    assert not at_another.passed
    assert at_another.found == f"port {taken} is in use by another program; this node listens at {ours}"


def test_a_port_that_a_receiver_had_once_is_not_its_own_for_ever(tmp_path: Path, taken: int) -> None:
    (tmp_path / process.RECEIVER_PORT).write_text(f"{taken}\n")

    assert not port_row(tmp_path, taken).passed


def test_a_port_that_another_program_listens_at_is_a_fault(tmp_path: Path, taken: int) -> None:
    row = port_row(tmp_path, taken)

    assert not row.passed
    assert "in use" in row.found
    assert "this node" not in row.found
