import logging
from typing import Any

import pytest
from pydicom.dataset import Dataset

from node.completion import QuietPeriod, Watcher
from node.ledger import Ledger
from node.records import Job, StudyState
from node.settings import CompletionSettings
from node.spool import Spool, SpoolReader
from tests.builders import SECRET, STUDY, receive, series_of

QUIET_S = 60.0
POST = {"ContrastBolusAgent": "GADOBUTROL", "AcquisitionDate": "20260102", "AcquisitionTime": "101500"}
PRE = {"AcquisitionDate": "20260102", "AcquisitionTime": "100000"}


class Desk:
    """A watcher over real spool and ledger; `jobs` is what it enqueued."""

    def __init__(self, spool: Spool, ledger: Ledger) -> None:
        self.spool, self.ledger, self.jobs = spool, ledger, list[Job]()
        self.watcher = Watcher(
            ledger,
            SpoolReader(spool.root),
            QuietPeriod(QUIET_S),
            CompletionSettings(),
            lambda _connection, job: self.jobs.append(job),
        )

    def receive(self, dataset: Dataset, *, now: float, content: bytes | None = None) -> None:
        receive(self.spool, self.ledger, dataset, now=now, content=content)

    def receive_pair(self, *, now: float, **attributes: Any) -> None:
        for dataset in [*series_of(1, **(PRE | attributes)), *series_of(2, **(POST | attributes))]:
            self.receive(dataset, now=now)


@pytest.fixture
def desk(spool: Spool, ledger: Ledger) -> Desk:
    return Desk(spool, ledger)


def test_a_study_with_a_contrast_pair_becomes_a_job_after_its_quiet_period(desk: Desk) -> None:
    desk.receive_pair(now=0.0)

    desk.watcher.run_once(now=QUIET_S - 1)
    assert desk.jobs == []
    desk.watcher.run_once(now=QUIET_S)

    assert [job.study for job in desk.jobs] == [STUDY]


def test_a_closed_study_is_not_looked_at_again(desk: Desk) -> None:
    desk.receive_pair(now=0.0)

    desk.watcher.run_once(now=QUIET_S)
    desk.watcher.run_once(now=2 * QUIET_S)

    assert len(desk.jobs) == 1


def test_a_series_that_still_comes_holds_the_study_open(desk: Desk) -> None:
    desk.receive_pair(now=0.0)
    desk.receive(next(series_of(3, AngioFlag="Y")), now=QUIET_S)

    desk.watcher.run_once(now=QUIET_S + 1)

    assert desk.jobs == []


def test_a_late_instance_makes_a_second_job(desk: Desk) -> None:
    desk.receive_pair(now=0.0)
    desk.watcher.run_once(now=QUIET_S)
    desk.receive(next(series_of(3, AngioFlag="Y")), now=QUIET_S + 5)

    desk.watcher.run_once(now=3 * QUIET_S)

    assert [job.generation for job in desk.jobs] == [1, 2]


def test_a_study_that_cannot_be_measured_is_not_eligible_and_says_why(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger("paraspinal-node").propagate = True
    caplog.set_level(logging.INFO)
    for dataset in series_of(1, SeriesDescription=SECRET):
        desk.receive(dataset, now=0.0)

    desk.watcher.run_once(now=QUIET_S)

    (row,) = desk.ledger.study_rows()
    assert row.state is StudyState.NOT_ELIGIBLE
    assert row.reason == "no contrast pair and no MRV: post-contrast T1 missing"
    assert row.reason in caplog.text
    assert "SECRET" not in caplog.text
    assert STUDY not in caplog.text


def test_a_series_that_cannot_be_read_costs_the_series_and_not_the_study(desk: Desk) -> None:
    desk.receive_pair(now=0.0)
    broken = next(series_of(4))
    desk.receive(broken, content=b"this is no DICOM file", now=0.0)

    desk.watcher.run_once(now=QUIET_S)

    assert len(desk.jobs) == 1


@pytest.mark.parametrize(
    "odd", [{"PixelSpacing": [0.0, 0.0]}, {"RepetitionTime": "many"}, {"AcquisitionDate": "today"}]
)
def test_an_odd_study_does_not_hold_up_the_others(desk: Desk, odd: dict[str, Any]) -> None:
    for dataset in [*series_of(1, study="2.25.1", **PRE), *series_of(2, study="2.25.1", **POST)]:
        for keyword, value in odd.items():
            dataset.add_new(keyword, "LO" if isinstance(value, str) else "DS", value)
        desk.receive(dataset, now=0.0)
    desk.receive_pair(now=0.0)

    desk.watcher.run_once(now=QUIET_S)

    assert STUDY in [job.study for job in desk.jobs]


def test_a_study_that_breaks_the_rules_themselves_waits_and_the_others_go_on(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    from node.completion import watcher

    select = watcher.select

    def break_on_the_first(facts: Any, *arguments: Any, **more: Any) -> Any:
        if facts[0].series.startswith("2.25.1."):
            raise ZeroDivisionError
        return select(facts, *arguments, **more)

    monkeypatch.setattr(watcher, "select", break_on_the_first)
    for dataset in series_of(1, study="2.25.1"):
        desk.receive(dataset, now=0.0)
    desk.receive_pair(now=0.0)

    desk.watcher.run_once(now=QUIET_S)

    assert [job.study for job in desk.jobs] == [STUDY]
    assert [study.study for study in desk.ledger.gathering()] == ["2.25.1"]


def test_what_gathered_before_a_restart_is_closed_after_it(desk: Desk, spool: Spool, ledger: Ledger) -> None:
    desk.receive_pair(now=0.0)

    ledger.excuse_outage(now=1000.0)
    restarted = Desk(spool, ledger)
    restarted.watcher.run_once(now=1000.0)
    assert restarted.jobs == []
    restarted.watcher.run_once(now=1000.0 + QUIET_S)

    assert len(restarted.jobs) == 1
