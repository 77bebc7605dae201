"""Studies that break whoever reads them: they cost no other study, are set aside, and can be looked at again."""

import logging
import os
import signal
import sqlite3
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from node.completion import contents
from node.completion.contents import StoredSeries, Verdict
from node.jobs import sandbox
from node.ledger.ledger import Ledger
from node.records import StudyState
from node.spool import Spool
from tests.builders import STUDY, series_of
from tests.completion.desk import QUIET_S, Desk

POISON = "2.25.66"
HERE = "tests.completion.test_set_aside"


def verdict_or(harm: str, **arguments: Any) -> dict[str, Any]:
    """Read a study as the node does, but come to harm with the poisonous one."""
    if any(series.startswith(POISON) for series, _sender, _places in arguments["series"]):
        match harm:
            case "crash":
                os.kill(os.getpid(), signal.SIGSEGV)
            case "hang":
                time.sleep(60)
            case "grow":
                held = b"x" * (400 << 20)
                time.sleep(5 + len(held) % 2)
            case "break":
                raise ZeroDivisionError
    return contents.verdict(**arguments)


def read_apart(spool: Spool, harm: str, study: Any) -> Verdict:
    """Do as the worker does."""
    arguments = {
        "spool": str(spool.root),
        "series": [one.to_json() for one in study],
        "rules": None,
        "post_alone": False,
    }
    return Verdict.from_json(
        sandbox.run_isolated(
            f"{HERE}:verdict_or",
            arguments | {"harm": harm},
            time_limit_s=5.0,
            memory_limit_mb=300,
            cancelled=threading.Event(),
        )
    )


def receive_poison(desk: Desk) -> None:
    for dataset in series_of(1, study=POISON):
        desk.receive(dataset, now=0.0)


def row_of(ledger: Ledger, study: str) -> Any:
    (row,) = ledger.study_rows(name=study)
    return row


class Breaks:
    """Reading that fails by an error of our own making, as long as it is told to, and counts how often."""

    def __init__(self, error: Exception) -> None:
        self.error: Exception | None = error
        self.attempts = 0

    def __call__(self, study: list[StoredSeries]) -> Verdict:
        self.attempts += 1
        if self.error is not None:
            raise self.error
        return Verdict({}, None, "nothing to measure")


@pytest.mark.slow
@pytest.mark.parametrize("harm", ["crash", "hang", "grow", "break"])
def test_a_study_that_kills_its_reader_stops_no_other_and_is_set_aside(
    spool: Spool, ledger: Ledger, caplog: pytest.LogCaptureFixture, harm: str
) -> None:
    logging.getLogger("paraspinal-node").propagate = True
    desk = Desk(spool, ledger, read=partial(read_apart, spool, harm))
    receive_poison(desk)
    desk.receive_pair(now=0.0)

    for turn in range(6):
        desk.look(now=QUIET_S + 100.0 * turn)

    assert [job.study for job in desk.jobs] == [STUDY]
    poisonous = row_of(ledger, POISON)
    assert poisonous.state is StudyState.NOT_ELIGIBLE
    assert poisonous.reason.startswith("set aside after 3 attempts to look at it; the last: ")
    assert caplog.text.count("C317") == 1


def test_a_study_that_cannot_be_looked_at_is_tried_three_times_a_while_apart(spool: Spool, ledger: Ledger) -> None:
    breaks = Breaks(ZeroDivisionError())
    desk = Desk(spool, ledger, read=breaks)
    receive_poison(desk)

    tried = []
    for turn in range(60):
        desk.look(now=QUIET_S + 5.0 * turn)
        tried.append(breaks.attempts)

    assert [tried.index(number) * 5.0 for number in (1, 2, 3)] == [0.0, 60.0, 180.0]
    assert tried[-1] == 3
    assert "ZeroDivisionError" in row_of(ledger, POISON).reason


def test_a_forced_study_that_cannot_be_looked_at_ends_as_well_and_may_be_forced_again(
    spool: Spool, ledger: Ledger
) -> None:
    breaks = Breaks(ZeroDivisionError())
    desk = Desk(spool, ledger, read=breaks)
    receive_poison(desk)
    assert ledger.force(POISON, "root", now=0.0)
    for turn in range(4):
        desk.look(now=float(turn))
    assert row_of(ledger, POISON).state is StudyState.NOT_ELIGIBLE
    breaks.error = None

    assert ledger.force(POISON, "root", now=10.0)
    desk.look(now=11.0)

    assert (row_of(ledger, POISON).state, row_of(ledger, POISON).reason) == (
        StudyState.NOT_ELIGIBLE, "nothing to measure"
    )  # fmt: skip
    assert row_of(ledger, POISON).whole_by == "force-complete by root"


def test_a_new_instance_gives_a_study_all_its_attempts_again(spool: Spool, ledger: Ledger) -> None:
    breaks = Breaks(ZeroDivisionError())
    desk = Desk(spool, ledger, read=breaks)
    receive_poison(desk)
    desk.look(now=60.0)
    desk.look(now=120.0)
    desk.receive(next(series_of(2, study=POISON)), now=130.0)

    for at_s in (190.0, 250.0, 255.0):
        desk.look(now=at_s)

    assert breaks.attempts == 4
    assert row_of(ledger, POISON).state is StudyState.GATHERING


@pytest.mark.parametrize("error", [OSError(5, "EIO"), sa.exc.OperationalError("", None, Exception("locked"))])
def test_what_the_study_cannot_help_does_not_count_against_it(spool: Spool, ledger: Ledger, error: Exception) -> None:
    breaks = Breaks(error)
    desk = Desk(spool, ledger, read=breaks)
    receive_poison(desk)

    for turn in range(20):
        desk.look(now=QUIET_S + 5.0 * turn)

    assert breaks.attempts == 20
    assert row_of(ledger, POISON).state is StudyState.GATHERING


def test_what_is_told_to_another_process_comes_back_whole(desk_read: Verdict) -> None:
    assert Verdict.from_json(desk_read.to_json()) == desk_read
    assert desk_read.stacks
    assert len(desk_read.roles) == 3
    assert [*desk_read.left_out.values()] == ["InvalidDicomError"]


@pytest.fixture
def desk_read(spool: Spool, ledger: Ledger) -> Verdict:
    found: list[Verdict] = []

    def read(study: Any) -> Verdict:
        values = contents.verdict(str(spool.root), [one.to_json() for one in study], None, False)
        found.append(Verdict.from_json(values))
        return found[-1]

    desk = Desk(spool, ledger, read=read)
    desk.receive_pair(now=0.0)
    desk.receive(next(series_of(4)), content=b"this is no DICOM file", now=0.0)
    desk.look(now=QUIET_S)
    (verdict,) = found
    assert len(desk.jobs) == 1
    return verdict


def test_a_clock_that_is_set_while_only_the_worker_is_down_is_noticed(
    spool: Spool, ledger: Ledger, tmp_path: Path
) -> None:
    file = tmp_path / "clock.json"
    desk = Desk(spool, ledger, clock_file=file)
    desk.receive_pair(now=1000.0)
    desk.look(now=1001.0, monotonic_s=1.0)

    restarted = Desk(spool, ledger, clock_file=file)
    restarted.look(now=1010.0 + 3600.0, monotonic_s=10.0)
    assert restarted.jobs == []
    restarted.look(now=1070.0 + 3600.0, monotonic_s=70.0)

    assert len(restarted.jobs) == 1


def test_a_clock_that_was_set_is_noticed_again_by_whoever_follows_one_that_died_of_it(
    spool: Spool, ledger: Ledger, tmp_path: Path
) -> None:
    file = tmp_path / "clock.json"
    desk = Desk(spool, ledger, clock_file=file)
    desk.receive_pair(now=1000.0)
    desk.look(now=1001.0, monotonic_s=1.0)
    with ledger.database.begin() as connection:
        connection.execute("CREATE TRIGGER full BEFORE UPDATE ON series BEGIN SELECT RAISE(FAIL, 'disk full'); END")
    with pytest.raises(sqlite3.Error, match="disk full"):
        desk.look(now=1010.0 + 3600.0, monotonic_s=10.0)
    with ledger.database.begin() as connection:
        connection.execute("DROP TRIGGER full")

    restarted = Desk(spool, ledger, clock_file=file)
    restarted.look(now=1020.0 + 3600.0, monotonic_s=20.0)

    assert restarted.jobs == []


def test_a_worker_that_comes_back_to_a_clock_that_nobody_set_closes_at_once(
    spool: Spool, ledger: Ledger, tmp_path: Path
) -> None:
    file = tmp_path / "clock.json"
    desk = Desk(spool, ledger, clock_file=file)
    desk.receive_pair(now=1000.0)
    desk.look(now=1001.0, monotonic_s=1.0)

    restarted = Desk(spool, ledger, clock_file=file)
    restarted.look(now=1000.0 + QUIET_S, monotonic_s=QUIET_S)

    assert len(restarted.jobs) == 1
