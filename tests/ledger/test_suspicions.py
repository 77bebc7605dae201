"""Statements on EMG findings: which study they hold for, which comes first, and what is measured again."""

from pathlib import Path
from typing import Any

import pytest

from node.emg import BY_HAND, DROP_FOLDER, Order, Statement
from node.emg.language import SuspectedSide
from node.errors import StatementError
from node.findings import Suspicion
from node.ledger import Arrivals, Database
from node.ledger.ledger import Ledger
from node.ledger.suspicions import Suspicions
from node.records import Role, StackKey, StudyState
from tests.ledger.test_ledger import FIRST, STUDY, close, enqueue_nothing, state

PATIENT = FIRST.origin.patient_id
ORDER = Order("A1", "20260102", Suspicion("L2", "right", "order", "StudyDescription"), "")
SILENT = Order("A1", "20260102", None, "")


@pytest.fixture
def suspicions(database: Database) -> Suspicions:
    return Suspicions(database)


def said(level: str = "L4", side: SuspectedSide = "left", source: str = BY_HAND, **keys: Any) -> Statement:
    return Statement(level, side, source, **(keys or {"accession_number": "A1"}))


def settle(suspicions: Suspicions, order: Order = ORDER) -> Suspicion | None:
    return suspicions.settle(STUDY, PATIENT, order)


@pytest.fixture
def measured(ledger: Ledger, arrivals: Arrivals, suspicions: Suspicions) -> Suspicions:
    """A study that was measured with what its order says."""
    arrivals.enter([FIRST], now=0.0)
    close(ledger)
    settle(suspicions)
    return suspicions


def test_the_order_holds_if_nothing_was_told(ledger: Ledger, arrivals: Arrivals, suspicions: Suspicions) -> None:
    arrivals.enter([FIRST], now=0.0)

    assert settle(suspicions) == ORDER.suspicion


@pytest.mark.parametrize(
    "keys",
    [{"study": STUDY}, {"accession_number": "A1"}, {"patient_id": PATIENT, "study_date": "20260102"}],
)
def test_a_statement_may_come_before_its_study_under_any_key(
    keys: dict[str, str], arrivals: Arrivals, suspicions: Suspicions
) -> None:
    assert suspicions.tell([said(**keys)], now=0.0) == []
    assert suspicions.waiting() == 1
    arrivals.enter([FIRST], now=1.0)

    assert settle(suspicions) == Suspicion("L4", "left", BY_HAND, "told for this study")
    assert suspicions.waiting() == 0


@pytest.mark.parametrize(
    "keys",
    [
        {"study": "2.25.77"},
        {"accession_number": "A2"},
        {"patient_id": PATIENT, "study_date": "20260103"},
        {"patient_id": "ANOTHER", "study_date": "20260102"},
    ],
)
def test_a_statement_for_another_study_does_not_hold(
    keys: dict[str, str], arrivals: Arrivals, suspicions: Suspicions
) -> None:
    suspicions.tell([said(**keys)], now=0.0)
    arrivals.enter([FIRST], now=1.0)

    assert settle(suspicions) == ORDER.suspicion


def test_a_study_without_accession_number_is_not_found_by_a_statement_without(
    arrivals: Arrivals, suspicions: Suspicions
) -> None:
    suspicions.tell([said(study="2.25.77")], now=0.0)
    arrivals.enter([FIRST], now=1.0)

    assert settle(suspicions, Order("", "", None, "")) is None


def test_what_a_person_says_comes_before_the_folder_and_of_one_source_the_latest(
    arrivals: Arrivals, suspicions: Suspicions
) -> None:
    arrivals.enter([FIRST], now=0.0)
    for one in (said("L1"), said("L3"), said("L5", source=DROP_FOLDER)):
        suspicions.tell([one], now=1.0)

    held = settle(suspicions)

    assert held is not None
    assert (held.level, held.source) == ("L3", BY_HAND)


def test_a_statement_that_comes_late_reopens_the_measured_study(measured: Suspicions, ledger: Ledger) -> None:
    again = measured.tell([said()], now=200.0)

    assert again == [ledger.study_rows()[0].alias]
    assert state(ledger) is StudyState.GATHERING
    assert [job.generation for job in close(ledger, now=300.0)] == [2]
    held = settle(measured)
    assert held is not None
    assert held.level == "L4"


def test_what_is_reopened_gathers_since_then_and_nothing_says_that_it_is_whole(
    measured: Suspicions, ledger: Ledger
) -> None:
    def close_as_whole(now: float) -> None:
        (gathered,) = ledger.gathering()
        (one,) = gathered.series
        ledger.close(
            gathered, whole_by={}, study_whole_by="quiet", roles={}, selection={Role.POST: StackKey(one.series)},
            reason="", enqueue=enqueue_nothing, now=now,
        )  # fmt: skip

    def reopened() -> tuple[float, str]:
        (row,) = ledger.study_rows()
        return row.since_s, row.whole_by

    measured.tell([said()], now=200.0)
    close_as_whole(now=300.0)
    settle(measured)
    assert reopened() == (300.0, "quiet")

    measured.tell([said("L5")], now=400.0)
    assert reopened() == (400.0, "")
    close_as_whole(now=500.0)
    settle(measured)
    measured.forget(STUDY, now=600.0)
    assert reopened() == (600.0, "")


def test_what_changes_nothing_reopens_nothing(measured: Suspicions, ledger: Ledger) -> None:
    measured.tell([said()], now=200.0)
    close(ledger, now=300.0)
    settle(measured)

    assert measured.tell([said()], now=400.0) == []
    assert measured.tell([said("L1", source=DROP_FOLDER)], now=400.0) == []
    assert measured.tell([said(accession_number="A2")], now=400.0) == []
    assert state(ledger) is StudyState.MEASURABLE


def test_a_study_that_is_not_eligible_stays_closed(ledger: Ledger, arrivals: Arrivals, suspicions: Suspicions) -> None:
    arrivals.enter([FIRST], now=0.0)
    close(ledger, eligible=False)

    assert suspicions.tell([said(study=STUDY)], now=200.0) == []
    assert state(ledger) is StudyState.NOT_ELIGIBLE


def test_what_was_told_can_be_taken_back(measured: Suspicions, ledger: Ledger) -> None:
    measured.tell([said()], now=200.0)
    close(ledger, now=300.0)
    settle(measured)

    assert len(measured.forget(STUDY, now=700.0)) == 1
    assert settle(measured) == ORDER.suspicion
    with pytest.raises(StatementError, match="no statement"):
        measured.forget(STUDY, now=700.0)


def test_an_operator_sees_what_is_suspected_and_why_nothing_was_taken(measured: Suspicions, ledger: Ledger) -> None:
    (row,) = measured.rows()
    settle(measured, Order("A1", "20260102", None, "two sides are named"))
    (unclear,) = measured.rows()

    assert (row.level, row.side, row.source, row.basis) == ("L2", "right", "order", "StudyDescription")
    assert (row.study_alias, unclear.unclear) == (ledger.study_rows()[0].alias, "two sides are named")
    settle(measured, SILENT)
    assert measured.rows() == []


def test_a_folder_of_many_statements_is_entered_in_one_go(measured: Suspicions, tmp_path: Path) -> None:
    assert measured.tell([said(accession_number=f"B{number}") for number in range(1000)], now=1.0) == []
    assert measured.waiting() == 1000
