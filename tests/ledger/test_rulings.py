"""Decisions about results: what holds, what is owed by it, and what is not sent any more."""

from dataclasses import replace

import pytest

from node.dicom.identifiers import InstanceUID
from node.errors import RulingError
from node.ledger import Arrivals, Database, Deliveries, Undelivered
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

    done = [
        rulings.approve(job, made, {"pacs": [SEG, VERIFIED]}, "Curie", "seen", report=SR, now=4.0) for _ in range(2)
    ]

    assert done == ["", "it is approved already"]
    assert owed(database, job) == {(SEG, "pacs"), (VERIFIED, "pacs")}
    assert (ruling(database, job), rulings.waiting()) == (Ruling.APPROVED, [])


def test_what_is_rejected_is_never_owed_nor_approved(database: Database, ledger: Ledger, job: str) -> None:
    settle(ledger, job, review=True)
    rulings = Rulings(database)

    assert rulings.reject(job, "Curie", "motion", now=4.0)

    assert rulings.approve(job, [], {"pacs": [SR]}, "Curie", "seen", report=SR, now=5.0) == "it is rejected already"
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
    deliveries.advance(SEG, "pacs", DeliveryState.STORED, "0x0000", was=DeliveryState.OWED, now=4.0, attempts=1)
    # Nothing of it went there.
    deliveries.advance(SR, "other", DeliveryState.HELD, "another patient", was=DeliveryState.OWED, now=4.0)

    told = Rulings(database).recall(job, ResultRecord(NOTE, "1.2.5", job, "ko", "d.dcm"), "Curie", "wrong", now=5.0)

    again = Rulings(database).recall(job, ResultRecord(NOTE, "1.2.5", job, "ko", "d.dcm"), "Curie", "wrong", now=6.0)

    assert (told, again) == (["pacs"], [])
    states = {(one.sop_instance, one.destination): one.state for one in deliveries.rows(job)}
    assert states == {
        (SEG, "pacs"): DeliveryState.STORED,
        (SR, "pacs"): DeliveryState.WITHDRAWN,
        (SR, "other"): DeliveryState.WITHDRAWN,
        (NOTE, "pacs"): DeliveryState.OWED,
    }
    assert ruling(database, job) is Ruling.RECALLED
    assert Undelivered(database).waiting() == {}


def test_a_recalled_report_is_replaced_by_none(
    arrivals: Arrivals, database: Database, ledger: Ledger, job: str
) -> None:
    settle(ledger, job)
    Rulings(database).recall(job, ResultRecord(NOTE, "1.2.5", job, "ko", "d.dcm"), "Curie", "wrong", now=5.0)
    place = replace(FIRST.place, offset=8192)
    arrivals.enter([replace(FIRST, place=place, origin=replace(FIRST.origin, sop_instance="2.25.1.7"))], now=6.0)

    (newer,) = close(ledger, now=7.0)

    assert ledger.earlier_report(newer.id) is None


def grow(arrivals: Arrivals, number: int) -> None:
    place, name = replace(FIRST.place, offset=8192 * number), f"2.25.1.{7 + number}"
    arrivals.enter([replace(FIRST, place=place, origin=replace(FIRST.origin, sop_instance=name))], now=6.0)


def test_whose_results_are_may_be_read_from_another_revision_unless_its_study_was_released_from_a_hold(
    arrivals: Arrivals, database: Database, ledger: Ledger, job: str
) -> None:
    settle(ledger, job)
    grow(arrivals, 1)
    (newer,) = close(ledger, now=7.0)
    ledger.settle(newer.id, "findings", [ResultRecord(VERIFIED, "1.2.4", newer.id, "sr", "c.dcm")], {}, now=8.0)

    def read_from() -> list[str]:
        return [one.sop_instance for one in Rulings(database).of_its_patient(job)]

    before = read_from()
    arrivals.enter([replace(FIRST, place=replace(FIRST.place, segment=2), contradicts=True)], now=9.0)
    ledger.release(ledger.study_rows()[0].alias, latest=True, now=10.0)

    assert before == [SR, SEG, VERIFIED]
    assert read_from() == [SR, SEG]


def test_results_cannot_be_approved_while_something_newer_of_their_study_is_there_or_to_come(
    arrivals: Arrivals, database: Database, ledger: Ledger, job: str
) -> None:
    settle(ledger, job, review=True)
    rulings = Rulings(database)

    def why() -> str:
        return rulings.approve(job, [], {"pacs": [SR]}, "Curie", "seen", report=SR, now=9.0)

    grow(arrivals, 1)
    gathering = why()
    (newer,) = close(ledger, now=7.0)
    at_it = why()
    ledger.settle(newer.id, f"repeats {job}", [], {}, now=8.0)
    repeated = rulings.obstacle(job)
    ledger.settle(newer.id, "findings", [ResultRecord(VERIFIED, "1.2.4", newer.id, "sr", "c.dcm")], {}, now=8.0)
    outdated = why()

    assert gathering == "its study gathers again, and will be measured anew"
    assert at_it == outdated == f"{newer.id} has newer results of its study, or is at them"
    assert repeated == ""
    assert owed(database, job) == set()


def test_results_of_a_study_that_is_held_cannot_be_approved(
    arrivals: Arrivals, database: Database, ledger: Ledger, job: str
) -> None:
    settle(ledger, job, review=True)
    other = replace(FIRST.origin, sop_instance="2.25.1.7", patient_id="ANOTHER")
    arrivals.enter([replace(FIRST, place=replace(FIRST.place, offset=8192), origin=other)], now=6.0)

    why = Rulings(database).approve(job, [], {"pacs": [SR]}, "Curie", "seen", report=SR, now=9.0)

    assert why == "its study is held: it contradicts itself"
    assert ruling(database, job) is Ruling.WAITING


@pytest.mark.parametrize("decided", [None, Ruling.APPROVED, Ruling.REJECTED])
def test_what_a_retry_makes_waits_for_a_decision_of_its_own(
    database: Database, ledger: Ledger, job: str, decided: Ruling | None
) -> None:
    refusal, rulings = ResultRecord(NOTE, "1.2.4", job, "sr", "r.dcm"), Rulings(database)
    ledger.settle(job, "not measured", [refusal], {"pacs": {"sr"}}, now=3.0, review=True)
    if decided is Ruling.APPROVED:
        made = ResultRecord(VERIFIED, "1.2.4", job, "sr", "v.dcm")
        rulings.approve(job, [made], {"pacs": [VERIFIED]}, "Curie", "seen", report=NOTE, now=4.0)
    elif decided is Ruling.REJECTED:
        rulings.reject(job, "Curie", "no", now=4.0)
    ledger.reopen(job, "curie", now=3.0)
    settle(ledger, job, review=True)
    settle(ledger, job, review=True)  # a step that runs again

    assert ruling(database, job) is Ruling.WAITING
    sent_before = [VERIFIED] if decided is Ruling.APPROVED else []
    assert [one.sop_instance for one in rulings.results(job)] == [*sent_before, SEG, SR]  # nobody got the refusal
    assert owed(database, job) == {(one, "pacs") for one in sent_before}


def test_an_answer_that_was_sent_holds_until_it_is_recalled_whatever_becomes_of_what_a_retry_made(
    arrivals: Arrivals, database: Database, ledger: Ledger, job: str
) -> None:
    rulings = Rulings(database)
    ledger.settle(job, "not measured", [ResultRecord(SEG, "1.2.4", job, "sr", "r.dcm")], {}, now=3.0, review=True)
    made = ResultRecord(VERIFIED, "1.2.4", job, "sr", "v.dcm")
    rulings.approve(job, [made], {"pacs": [VERIFIED]}, "Curie", "seen", report=SEG, now=4.0)
    ledger.settle(job, "findings", [ResultRecord(SR, "1.2.4", job, "sr", "b.dcm")], {}, now=5.0, review=True)
    grow(arrivals, 1)
    (newer,) = close(ledger, now=7.0)

    waiting = ledger.earlier_report(newer.id)
    rulings.reject(job, "Curie", "no", now=8.0)
    rejected = ledger.earlier_report(newer.id)
    told = rulings.recall(job, ResultRecord(NOTE, "1.2.5", job, "ko", "d.dcm"), "Curie", "wrong", now=9.0)

    assert waiting == rejected == made
    assert told == ["pacs"]
    assert ledger.earlier_report(newer.id) is None


def test_a_retry_that_makes_nothing_leaves_nothing_to_be_approved(database: Database, ledger: Ledger, job: str) -> None:
    settle(ledger, job, review=True)
    ledger.settle(job, "superseded", [], {}, now=4.0, review=True)

    assert Rulings(database).waiting() == []


@pytest.mark.parametrize("ruled", [Ruling.REJECTED, Ruling.RECALLED])
def test_what_people_decided_against_is_not_made_again_and_hides_nothing_that_holds(
    arrivals: Arrivals, database: Database, ledger: Ledger, job: str, ruled: Ruling
) -> None:
    rulings = Rulings(database)
    ledger.note_inputs(job, "first")
    settle(ledger, job)
    grow(arrivals, 1)
    (second,) = close(ledger, now=7.0)
    ledger.note_inputs(second.id, "second")
    made = [ResultRecord(VERIFIED, "1.2.4", second.id, "sr", "c.dcm")]
    ledger.settle(second.id, "findings", made, {"pacs": {"sr"}}, now=8.0, review=ruled is Ruling.REJECTED)
    if ruled is Ruling.REJECTED:
        rulings.reject(second.id, "Curie", "no", now=9.0)
    else:
        rulings.recall(second.id, ResultRecord(NOTE, "1.2.5", second.id, "ko", "d.dcm"), "Curie", "wrong", now=9.0)
    grow(arrivals, 2)
    (third,) = close(ledger, now=10.0)

    assert ledger.note_inputs(third.id, "first") == f"repeats {job}"
    assert ledger.note_inputs(third.id, "second") == f"repeats {second.id}, which was {ruled}"
    assert ledger.note_inputs(third.id, "third") == ""


@pytest.mark.parametrize("review", [True, False])
def test_nothing_is_decided_about_the_results_of_a_job_that_is_measured_again(
    database: Database, ledger: Ledger, job: str, review: bool
) -> None:
    rulings, note = Rulings(database), ResultRecord(NOTE, "1.2.5", job, "ko", "d.dcm")
    settle(ledger, job, review=review)
    ledger.reopen(job, "curie", now=3.0)
    before = owed(database, job), ruling(database, job)

    obstacle = rulings.obstacle(job)
    approved = rulings.approve(job, [], {"pacs": [SEG]}, "Curie", "seen", report=SR, now=4.0)
    with pytest.raises(RulingError, match="it is being measured"):
        rulings.recall(job, note, "Curie", "wrong", now=4.0)

    assert obstacle == approved == "it is being measured: wait for the end of that, or cancel it first"
    assert (owed(database, job), ruling(database, job)) == before
    ledger.fail(job, "cancelled", now=5.0)
    if not review:
        assert rulings.recall(job, note, "Curie", "wrong", now=6.0) == ["other", "pacs"]


def test_a_report_is_not_approved_that_a_retry_has_replaced_since_it_was_looked_at(
    database: Database, ledger: Ledger, job: str
) -> None:
    ledger.settle(job, "not measured", [ResultRecord(NOTE, "1.2.4", job, "sr", "r.dcm")], {}, now=3.0, review=True)
    ledger.reopen(job, "curie", now=3.0)
    settle(ledger, job, review=True)

    why = Rulings(database).approve(job, [], {"pacs": [SEG]}, "Curie", "seen", report=NOTE, now=4.0)

    assert (why, owed(database, job)) == ("it has another report by now", set())


def test_a_job_whose_results_were_recalled_is_not_reopened(database: Database, ledger: Ledger, job: str) -> None:
    settle(ledger, job)
    reopened = ledger.reopen(job, "curie", now=3.0)
    settle(ledger, job)
    Rulings(database).recall(job, ResultRecord(NOTE, "1.2.5", job, "ko", "d.dcm"), "Curie", "wrong", now=5.0)

    assert (reopened, ledger.reopen(job, "curie", now=3.0)) == (True, False)
    assert ledger.job_rows(1, ids=[job])[0].settled_s is not None


@pytest.mark.parametrize("ruled", [Ruling.REJECTED, Ruling.RECALLED, None])
def test_a_study_is_measured_anew_on_demand_when_its_last_results_do_not_hold(
    database: Database, ledger: Ledger, job: str, ruled: Ruling | None
) -> None:
    rulings = Rulings(database)
    study = ledger.study_rows()[0].alias
    ledger.note_inputs(job, "digest")
    settle(ledger, job, review=ruled is Ruling.REJECTED)
    ledger.fail(job, "failed", now=3.5)
    if ruled is Ruling.REJECTED:
        rulings.reject(job, "Curie", "no", now=4.0)
    elif ruled is Ruling.RECALLED:
        rulings.recall(job, ResultRecord(NOTE, "1.2.5", job, "ko", "d.dcm"), "Curie", "wrong", now=4.0)

    forced = ledger.force(study, "root", now=5.0)

    assert forced is (ruled is not None)
    if forced:
        assert ledger.gathering()[0].forced_by == "root"
        (newer,) = close(ledger, now=6.0)
        assert ledger.note_inputs(newer.id, "digest") == ""  # a failure is nothing that another repeats
        assert not ledger.force(study, "root", now=7.0)  # it is at it
