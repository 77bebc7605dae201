"""What the receiving process leaves out: it is the one that every site runs day and night, and that peers can reach."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.peers import until

LEFT_OUT = {"sqlalchemy", "asyncio", "dbos", "apscheduler", "scipy"}


def modules_of_a_receiver(data: Path, log: Path) -> set[str]:
    """Start a receiver, end it when it is up, and return what it had imported."""
    environment = os.environ | {"PYTHONPROFILEIMPORTTIME": "1"}  # each import is told on standard error
    command = [sys.executable, "-m", "node", "receive", "--data", str(data), "--port", "0"]
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, cwd=ROOT, env=environment)
    until(lambda: b"N100" in log.read_bytes() or process.poll() is not None, what="the receiver")
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 0
    lines = log.read_text().splitlines()
    return {line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")}


@pytest.mark.slow
def test_a_receiver_imports_neither_sqlalchemy_nor_what_only_others_need(tmp_path: Path) -> None:
    new = modules_of_a_receiver(tmp_path / "data", tmp_path / "new")
    again = modules_of_a_receiver(tmp_path / "data", tmp_path / "again")

    assert "node.ledger.arrivals" in new & again
    assert sorted(LEFT_OUT & (new | again)) == []
