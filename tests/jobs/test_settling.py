"""Jobs that end without having said so, and jobs whose instances are gone: what ledger and operator are told."""

import sqlite3
from dataclasses import replace

import pytest

from node.console import Console
from node.dicom.identifiers import InstanceUID
from node.errors import RulingError, SpoolError
from node.jobs.pipeline import inputs_of
from node.ledger import Arrivals
from node.ledger.ledger import Ledger
from node.ledger.rulings import Rulings
from node.records import JobState, ResultRecord, Role
from node.settings import Settings
from tests.jobs.test_port import Bench, bench, until
from tests.ledger.test_acts import NO_ACTS
from tests.ledger.test_ledger import FIRST, close

__all__ = ["bench"]  # a fixture


def made_job(bench: Bench) -> str:
    """Return a job of the tiny node that is in its ledger as well."""
    Arrivals(bench.database).enter([FIRST], now=1.0)
    (job,) = close(Ledger(bench.database), now=2.0)
    (bench.folder / "work" / job.id).mkdir(parents=True)
    bench.enqueue(job.id)
    return job.id


def console(bench: Bench) -> Console:
    return Console(Settings.checked({"node": {"data_dir": bench.folder}}))


def outcome(bench: Bench, job: str) -> str | None:
    (row,) = Ledger(bench.database).job_rows(ids=[job])
    assert (row.outcome is None) == (row.settled_s is None)
    return row.outcome


def can_be_dropped(bench: Bench) -> bool:
    return Arrivals(bench.database).expire(before_s=1e9) == 1


@pytest.mark.slow
def test_a_queued_job_that_is_cancelled_is_settled_at_once_and_its_study_can_be_dropped(bench: Bench) -> None:
    bench.start().kill()  # it has made the queue's tables
    job = made_job(bench)

    assert console(bench).cancel(job, by="Curie M")
    assert not console(bench).cancel(job)

    assert outcome(bench, job) == "cancelled"
    assert [(one.subject, one.what, one.who) for one in console(bench).acts(since_s=0.0)] == [
        (job, "cancelled", "Curie?M")
    ]
    assert can_be_dropped(bench)


@pytest.mark.slow
def test_a_queued_job_that_is_cancelled_is_settled_though_it_cannot_be_noted_who_did_it(bench: Bench) -> None:
    bench.start().kill()
    job = made_job(bench)
    with bench.database.begin() as connection:
        connection.execute(NO_ACTS)

    with pytest.raises(sqlite3.IntegrityError):
        console(bench).cancel(job)

    assert outcome(bench, job) == "cancelled"


@pytest.mark.slow
def test_a_running_job_that_is_cancelled_is_settled_when_it_has_ended(bench: Bench) -> None:
    bench.start()
    (bench.folder / "hold-second").touch()
    job = made_job(bench)
    until(lambda: f"{job} second begins" in bench.trace())

    assert console(bench).cancel(job)
    while_it_runs = outcome(bench, job)
    (bench.folder / "hold-second").unlink()
    until(lambda: outcome(bench, job))

    assert (while_it_runs, outcome(bench, job)) == (None, "cancelled")
    assert f"{job} third begins" not in bench.trace()
    assert not (bench.folder / "work" / job).exists()
    assert can_be_dropped(bench)


@pytest.mark.slow
def test_a_job_that_was_set_aside_as_poison_is_settled(bench: Bench) -> None:
    worker = bench.start("1")
    (bench.folder / "hold-first").touch()
    job = made_job(bench)
    for deaths in (1, 2):
        until(lambda deaths=deaths: bench.trace().count(f"{job} first begins") == deaths)
        worker.kill()
        worker.wait()
        worker = bench.start("1")
    until(lambda: outcome(bench, job))

    assert bench.state(job) is JobState.FAILED
    assert outcome(bench, job) == "set aside: each of its attempts ended with the node"
    assert can_be_dropped(bench)


@pytest.mark.slow
def test_a_job_whose_study_was_dropped_is_not_tried_again(bench: Bench) -> None:
    bench.start()
    (bench.folder / "fail-second").touch()
    job = made_job(bench)
    until(lambda: outcome(bench, job))
    assert can_be_dropped(bench)

    with pytest.raises(SpoolError, match="no longer held"):
        console(bench).retry(job)

    assert bench.state(job) is JobState.FAILED
    assert outcome(bench, job) == "failed"


@pytest.mark.slow
def test_a_failed_job_whose_answer_was_recalled_is_not_tried_again(bench: Bench) -> None:
    bench.start()
    (bench.folder / "fail-second").touch()
    job = made_job(bench)
    until(lambda: outcome(bench, job))
    answer = ResultRecord(InstanceUID("2.25.91"), "1.2.4", job, "sr", "a.dcm")
    Ledger(bench.database).settle(job, "failed", [answer], {"pacs": {"sr"}}, now=3.0)
    note = replace(answer, sop_instance=InstanceUID("2.25.92"), role="ko")
    Rulings(bench.database).recall(job, note, "Curie", "wrong", now=4.0)

    with pytest.raises(RulingError, match="recalled; to measure the study anew: force-complete"):
        console(bench).retry(job)
    assert bench.state(job) is JobState.FAILED


@pytest.fixture
def job(arrivals: Arrivals, ledger: Ledger) -> str:
    arrivals.enter([FIRST], now=1.0)
    (made,) = close(ledger, now=2.0)
    ledger.fail(made.id, "failed", now=3.0)
    return str(made.id)


def test_what_a_job_measures_is_all_of_its_instances_or_an_error(arrivals: Arrivals, ledger: Ledger, job: str) -> None:
    before = inputs_of(ledger, job)
    arrivals.expire(before_s=1e9)

    assert [len(one) for one in before.values()] == [1]
    assert list(before) == [Role.POST]
    with pytest.raises(SpoolError, match="no longer held"):
        inputs_of(ledger, job)
