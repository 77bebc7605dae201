"""What `check` says of the port: that of a running node is no fault, that of a stranger is one."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from node import locks, process
from node.checks import Check, run_checks
from node.settings import Settings


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def port_row(data_dir: Path, port: int) -> Check:
    settings = Settings.checked(
        {"node": {"data_dir": data_dir}, "association": {"bind": "127.0.0.1", "port": port}, "peer": []}
    )
    return next(one for one in run_checks(settings) if one.name == "port")


def test_the_port_that_a_running_node_listens_at_is_no_fault(tmp_path: Path, taken: int) -> None:
    lock = tmp_path / process.RECEIVER_LOCK
    lock.parent.mkdir()

    with locks.hold(lock):
        row = port_row(tmp_path, taken)

    assert row.passed
    assert "in use by this node" in row.found


def test_a_port_that_another_program_listens_at_is_a_fault(tmp_path: Path, taken: int) -> None:
    row = port_row(tmp_path, taken)

    assert not row.passed
    assert "in use" in row.found
    assert "this node" not in row.found
