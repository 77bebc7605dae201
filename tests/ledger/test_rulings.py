"""Decisions about results: what holds, what is owed by it, and what is not sent any more."""

from dataclasses import replace

import pytest

from node.dicom.identifiers import InstanceUID
from node.ledger import Arrivals, Database, Deliveries
from node.ledger.ledger import Ledger
from node.ledger.rulings import Rulings
from node.records import DeliveryState, ResultRecord, Ruling
from tests.ledger.test_ledger import FIRST, close

SEG, SR, VERIFIED, NOTE = map(InstanceUID, ("2.25.91", "2.25.92", "2.25.93", "2.25.94"))


@pytest.fixture
def job(arrivals: Arrivals, ledger: Ledger) -> str:
    arrivals.enter([FIRST], now=1.0)
    (made,) = close(ledger, now=2.0)
    return str(made.id)


def settle(ledger: Ledger, job: str, *, review: bool = False) -> None:
    results = [ResultRecord(SEG, "1.2.3", job, "seg", "a.dcm"), ResultRecord(SR, "1.2.4", job, "sr", "b.dcm")]
    owed = {"pacs": {"seg", "sr"}, "other": {"sr"}}
    ledger.settle(job, "findings", results, owed, now=3.0, review=review)


def owed(database: Database, job: str) -> set[tuple[str, str]]:
    return {(one.sop_instance, one.destination) for one in Deliveries(database).rows(job)}


def ruling(database: Database, job: str) -> Ruling | None:
    found = Rulings(database).of(job)
    return None if found is None else found.ruling


def test_results_that_wait_for_review_are_owed_to_nobody(database: Database, ledger: Ledger, job: str) -> None:
    settle(ledger, job, review=True)
    settle(ledger, job, review=True)  # a step that runs again

    assert owed(database, job) == set()
    assert [one.job for one in Rulings(database).waiting()] == [job]


def test_approval_owes_what_it_frees_and_counts_once(database: Database, ledger: Ledger, job: str) -> None:
    settle(ledger, job, review=True)
    made = [ResultRecord(VERIFIED, "1.2.4", job, "sr", "c.dcm")]
    rulings = Rulings(database)

    done = [rulings.approve(job, made, {"pacs": [SEG, VERIFIED]}, "Curie", "seen", now=4.0) for _ in range(2)]

    assert done == [True, False]
    assert owed(database, job) == {(SEG, "pacs"), (VERIFIED, "pacs")}
    assert (ruling(database, job), rulings.waiting()) == (Ruling.APPROVED, [])


def test_what_is_rejected_is_never_owed_nor_approved(database: Database, ledger: Ledger, job: str) -> None:
    settle(ledger, job, review=True)
    rulings = Rulings(database)

    assert rulings.reject(job, "Curie", "motion", now=4.0)

    assert not rulings.approve(job, [], {"pacs": [SR]}, "Curie", "seen", now=5.0)
    assert (owed(database, job), ruling(database, job)) == (set(), Ruling.REJECTED)


def test_what_was_sent_without_review_cannot_be_rejected(database: Database, ledger: Ledger, job: str) -> None:
    settle(ledger, job)

    assert not Rulings(database).reject(job, "Curie", "motion", now=4.0)
    assert ruling(database, job) is None


def test_a_recall_tells_all_that_hold_results_and_sends_no_more_of_them(
    database: Database, ledger: Ledger, job: str
) -> None:
    settle(ledger, job)
    deliveries = Deliveries(database)
    deliveries.advance(SEG, "pacs", DeliveryState.STORED, "0x0000", now=4.0, attempts=1)
    deliveries.advance(SR, "other", DeliveryState.HELD, "another patient", now=4.0)  # nothing of it went there

    told = Rulings(database).recall(job, ResultRecord(NOTE, "1.2.5", job, "ko", "d.dcm"), "Curie", "wrong", now=5.0)

    assert told == ["pacs"]
    assert owed(database, job) == {(SEG, "pacs"), (NOTE, "pacs")}
    assert ruling(database, job) is Ruling.RECALLED


def test_a_recalled_report_is_replaced_by_none(
    arrivals: Arrivals, database: Database, ledger: Ledger, job: str
) -> None:
    settle(ledger, job)
    Rulings(database).recall(job, ResultRecord(NOTE, "1.2.5", job, "ko", "d.dcm"), "Curie", "wrong", now=5.0)
    place = replace(FIRST.place, offset=8192)
    arrivals.enter([replace(FIRST, place=place, origin=replace(FIRST.origin, sop_instance="2.25.1.7"))], now=6.0)

    (newer,) = close(ledger, now=7.0)

    assert ledger.earlier_report(newer.id) is None


def test_results_of_a_study_that_has_newer_ones_are_outdated(
    arrivals: Arrivals, database: Database, ledger: Ledger, job: str
) -> None:
    settle(ledger, job, review=True)
    before = Rulings(database).is_outdated(job)
    place = replace(FIRST.place, offset=8192)
    arrivals.enter([replace(FIRST, place=place, origin=replace(FIRST.origin, sop_instance="2.25.1.7"))], now=6.0)
    (newer,) = close(ledger, now=7.0)
    ledger.settle(newer.id, "findings", [ResultRecord(VERIFIED, "1.2.4", newer.id, "sr", "c.dcm")], {}, now=8.0)

    assert (before, Rulings(database).is_outdated(job)) == (False, True)
