"""What an operator sees of how complete a study is, and how one is closed by hand."""

import json
from pathlib import Path

import pytest

from node import eventlog
from node.dicom.performed import PerformedStep, StepState
from node.ledger import Expectations, open_database
from node.ledger.ledger import Ledger
from node.spool import Spool
from tests.builders import STUDY
from tests.cli.test_cli import run
from tests.completion.desk import Desk

__all__ = ["run"]  # a fixture


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A study of which the modality is still at work, and its archive has more, in a data folder."""
    folder = tmp_path / "data"
    folder.mkdir()
    eventlog.use_alias_key(folder / "alias.key")
    database = open_database(folder / "node.db")
    spool = Spool(folder / "spool", segment_bytes=1 << 20, spare=0)
    desk = Desk(spool, Ledger(database))
    desk.receive_pair(now=0.0)
    step = PerformedStep(StepState.IN_PROGRESS, frozenset({STUDY}), {})
    Expectations(database).begin_step("2.25.5001", step, calling_ae="MR1", now=0.0)
    desk.expectations.expect(STUDY, "", "C-FIND", 20, now=0.0)
    return desk


def test_a_study_shows_what_it_waits_for_and_who_says_so(run, desk: Desk, tmp_path: Path) -> None:
    desk.look(now=100.0)
    (row,) = desk.ledger.study_rows()

    code, out, _err = run("status", row.alias, "--data", str(tmp_path / "data"))
    shown = json.loads(run("status", row.alias, "--json", "--data", str(tmp_path / "data"))[1])

    assert code == 0
    for words in (
        "gathering",
        "MPPS in progress; 12 of 20 by C-FIND",
        "MPPS of MR1: IN PROGRESS",
        "expects 12 of 20 instances (C-FIND)",
    ):
        assert words in out
    assert STUDY not in out
    assert shown["steps"] == [{"state": "IN PROGRESS", "calling_ae": "MR1"}]
    assert sorted(shown["instances_of"].values()) == [6, 6]


def test_a_study_is_closed_by_hand_and_who_did_it_is_shown(
    run, desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUDO_USER", "doctor who")
    (row,) = desk.ledger.study_rows()

    code, out, _err = run("force-complete", row.alias, "--data", str(tmp_path / "data"))
    desk.look(now=1.0)
    again, _out, err = run("force-complete", row.alias, "--data", str(tmp_path / "data"))

    assert (code, again, len(desk.jobs)) == (0, 1, 1)
    assert "is closed within 5 s" in out
    assert "no study" in err
    shown = run("status", row.alias, "--data", str(tmp_path / "data"))[1]
    assert "force-complete by doctor?who" in shown
    assert "whole because: force-complete by doctor?who" in run("why", row.alias, "--data", str(tmp_path / "data"))[1]
