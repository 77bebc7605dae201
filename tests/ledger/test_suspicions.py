"""Statements on EMG findings: which study they hold for, which comes first, and what is measured again."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from node.emg import BY_HAND, DROP_FOLDER, Order, Statement, read_order, read_statements
from node.emg.language import SuspectedSide
from node.errors import StatementError
from node.eventlog import alias
from node.findings import Suspicion
from node.ledger import Arrivals, Database
from node.ledger.ledger import Ledger
from node.ledger.suspicions import DOUBTFUL, Suspicions
from node.records import Role, StackKey, StudyState
from tests.ledger.test_ledger import FIRST, STUDY, close, enqueue_nothing, received, state

PATIENT = FIRST.origin.patient_id
ORDER = Order("A1", "20260102", Suspicion("L2", "right", "order", "StudyDescription"), "", PATIENT)
SILENT = Order("A1", "20260102", None, "", PATIENT)


@pytest.fixture
def suspicions(database: Database) -> Suspicions:
    return Suspicions(database)


def said(level: str = "L4", side: SuspectedSide = "left", source: str = BY_HAND, **keys: Any) -> Statement:
    return Statement(level, side, source, **(keys or {"accession_number": "A1"}))


def settle(suspicions: Suspicions, order: Order = ORDER) -> Suspicion | None:
    return suspicions.settle(STUDY, order, now=1000.0)[0]


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


# ---------------------------------------------------------------- issuers of Patient IDs

SECOND = "2.25.2"
OF_SECOND = received(2, study=SECOND, series="2.25.2.1", sop_instance="2.25.2.1.1")


def of_issuer(issuer: str, accession_number: str = "") -> Order:
    return Order(accession_number, "20260102", None, "", PATIENT, issuer)


def by_patient(issuer: str = "", level: str = "L4") -> Statement:
    return said(level, patient_id=PATIENT, issuer=issuer, study_date="20260102")


@pytest.fixture
def two_studies(arrivals: Arrivals, suspicions: Suspicions) -> Suspicions:
    """Studies of two patients who have the same Patient ID from two sites, examined on the same day."""
    arrivals.enter([FIRST, OF_SECOND], now=0.0)
    return suspicions


@pytest.mark.parametrize(
    ("told", "study", "holds"),
    [("A", "A", True), ("A", "B", False), ("", "A", True), ("A", "", True), ("", "", True)],
)
def test_issuers_that_are_both_named_must_agree(
    arrivals: Arrivals, suspicions: Suspicions, told: str, study: str, holds: bool
) -> None:
    arrivals.enter([FIRST], now=0.0)
    suspicions.tell([by_patient(told)], now=1.0)

    held, unclear = suspicions.settle(STUDY, of_issuer(study), now=2.0)

    assert (held is not None, unclear) == (holds, "")
    assert suspicions.waiting() == (0 if holds else 1)


def test_what_is_told_without_an_issuer_holds_for_neither_of_two_and_the_reason_is_kept(
    suspicions: Suspicions, arrivals: Arrivals, ledger: Ledger
) -> None:
    arrivals.enter([FIRST], now=0.0)
    close(ledger)
    suspicions.tell([by_patient()], now=1.0)
    alone, _ = suspicions.settle(STUDY, of_issuer("A"), now=2.0)
    standing = [row.standing for row in suspicions.told()]
    arrivals.enter([OF_SECOND], now=2.5)

    second, unclear = suspicions.settle(SECOND, of_issuer("B"), now=3.0)

    assert alone is not None
    assert standing == ["counts"]
    assert (second, unclear) == (None, DOUBTFUL)
    assert {row.state for row in ledger.study_rows()} == {StudyState.GATHERING}  # the first too: again, without it
    assert suspicions.settle(STUDY, of_issuer("A"), now=4.0) == (None, DOUBTFUL)
    assert {row.standing for row in suspicions.told()} == {f"not taken: {DOUBTFUL}"}
    assert {row.unclear for row in suspicions.rows()} == {DOUBTFUL}


def test_what_is_told_with_its_issuer_holds_for_that_one_of_two(two_studies: Suspicions) -> None:
    two_studies.tell([by_patient("A"), by_patient("B", "L1")], now=1.0)

    held = [two_studies.settle(*one, now=2.0)[0] for one in ((STUDY, of_issuer("A")), (SECOND, of_issuer("B")))]

    assert [one and one.level for one in held] == ["L4", "L1"]


def test_two_issuers_that_were_told_give_nothing_to_a_study_without_one(two_studies: Suspicions) -> None:
    two_studies.tell([by_patient("A"), by_patient("B", "L1")], now=1.0)

    assert two_studies.settle(STUDY, of_issuer(""), now=2.0) == (None, DOUBTFUL)


def test_an_order_counts_where_what_was_told_is_in_doubt(two_studies: Suspicions) -> None:
    two_studies.settle(SECOND, of_issuer("B"), now=1.0)
    two_studies.tell([by_patient()], now=2.0)

    assert two_studies.settle(STUDY, replace(ORDER, issuer="A"), now=3.0) == (ORDER.suspicion, DOUBTFUL)


def test_a_study_that_is_named_itself_needs_no_issuer(two_studies: Suspicions) -> None:
    two_studies.settle(SECOND, of_issuer("B"), now=1.0)
    two_studies.tell([by_patient(), said("L1", study=STUDY), said("L2", accession_number="A7")], now=2.0)

    held = [two_studies.settle(*one, now=3.0)[0] for one in ((STUDY, of_issuer("A")), (SECOND, of_issuer("B", "A7")))]

    assert [one and one.level for one in held] == ["L1", "L2"]


@pytest.mark.parametrize(("terms", "codec"), [("ISO_IR 100", "latin-1"), ("ISO_IR 192", "utf-8")])
def test_a_patient_id_with_other_than_ascii_letters_is_found_whatever_the_study_is_written_in(
    arrivals: Arrivals, suspicions: Suspicions, terms: str, codec: str
) -> None:
    arrivals.enter([FIRST], now=0.0)
    written = "MU\N{COMBINING DIAERESIS}LLER-7"  # as some systems write it: decomposed
    content = {"patient_id": written, "study_date": "20260102", "level": "L4", "side": "left"}
    suspicions.tell(read_statements(json.dumps(content).encode(), is_csv=False), now=1.0)
    header = Dataset()
    header.SpecificCharacterSet = terms
    header[0x00100020] = RawDataElement(Tag(0x00100020), "LO", 9, "MÜLLER-7".encode(codec), 0, False, True)
    header.StudyDate = "20260102"

    held, _ = suspicions.settle(STUDY, read_order([header], ()), now=2.0)

    assert held is not None
    assert held.level == "L4"


# ---------------------------------------------------------------- what people see, and what is not measured


def test_what_was_told_is_shown_from_the_start_with_what_became_of_it(
    arrivals: Arrivals, suspicions: Suspicions
) -> None:
    suspicions.tell([said("L1", study=STUDY), said("L3", source=DROP_FOLDER), said("L5", study="2.25.77")], now=5.0)
    before = suspicions.told()
    arrivals.enter([FIRST], now=6.0)
    settle(suspicions)

    shown = {row.level: (row.study_alias, row.key, row.standing) for row in suspicions.told()}

    waits = "waits until its study is measured"
    assert [row.standing for row in before] == [waits] * 3
    assert shown == {
        "L1": (alias(STUDY), "study", "counts"),
        "L3": (alias(STUDY), "accession number", f"another one counts, from {BY_HAND}"),
        "L5": (alias("2.25.77"), "study", waits),
    }


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


def test_what_is_taken_back_is_taken_from_every_study_that_it_held_for(
    ledger: Ledger, arrivals: Arrivals, suspicions: Suspicions
) -> None:
    suspicions.tell([said()], now=5.0)
    for study, instance in ((STUDY, FIRST), (SECOND, OF_SECOND)):
        arrivals.enter([instance], now=6.0)
        close(ledger)
        suspicions.settle(study, SILENT, now=1000.0)

    assert sorted(suspicions.forget(STUDY, now=2000.0)) == sorted([alias(STUDY), alias(SECOND)])
