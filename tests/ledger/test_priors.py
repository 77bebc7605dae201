"""Which reports are earlier ones of a job's patient: the same Patient ID and issuer, and what still holds."""

import pytest

from node.dicom.identifiers import InstanceUID
from node.ledger import Arrivals, Database
from node.ledger.ledger import Ledger
from node.ledger.priors import Priors
from node.ledger.rulings import Rulings
from node.records import ResultRecord
from tests.ledger.test_ledger import OTHER_SERIES, OTHER_STUDY, STUDY, close, received

SR = "1.2.840.10008.5.1.4.1.1.88.34"
THERE = {"study": OTHER_STUDY, "series": OTHER_SERIES}


@pytest.fixture
def priors(database: Database) -> Priors:
    return Priors(database)


def job_of(arrivals: Arrivals, ledger: Ledger, number: int, **origin: str) -> str:
    arrivals.enter([received(number, sop_instance=f"2.25.7.{number}", **origin)], now=float(number))
    (job,) = close(ledger, now=number + 0.5)
    return str(job.id)


def reported(ledger: Ledger, job: str, path: str, *, review: bool = False) -> None:
    result = ResultRecord(InstanceUID(f"2.25.9.{path}"), SR, job, "sr", path)
    ledger.settle(job, "findings", [result], {}, now=50.0, review=review)


def test_the_report_of_another_study_of_the_patient_is_an_earlier_one(
    arrivals: Arrivals, ledger: Ledger, priors: Priors
):
    first = job_of(arrivals, ledger, 1)
    before = priors.made(first)
    reported(ledger, first, "a")
    second = job_of(arrivals, ledger, 2, **THERE)

    assert (before, priors.made(first), priors.made(second)) == ([], [], ["a"])


@pytest.mark.parametrize(
    ("then", "now"),
    [
        ({"patient_id": "1"}, {"patient_id": "2"}),
        ({"patient_id": "1", "issuer": "A"}, {"patient_id": "1", "issuer": "B"}),
        ({"patient_id": "1", "issuer": ""}, {"patient_id": "1", "issuer": "B"}),
        ({"patient_id": ""}, {"patient_id": ""}),
        ({"patient_id": "  "}, {"patient_id": "  "}),
    ],
)
def test_another_patient_id_or_issuer_or_none_is_another_patient(
    arrivals: Arrivals, ledger: Ledger, priors: Priors, then: dict[str, str], now: dict[str, str]
):
    reported(ledger, job_of(arrivals, ledger, 1, **then), "a")
    job = job_of(arrivals, ledger, 2, **THERE, **now)
    arrivals.enter(
        [received(3, sop_instance="2.25.8", study="2.25.3", series="2.25.3.1", sop_class=SR, **then)], now=3.0
    )

    assert (priors.made(job), priors.received(job)) == ([], [])


def test_of_each_study_the_last_report_counts(arrivals: Arrivals, ledger: Ledger, priors: Priors):
    for number, path in ((1, "a"), (2, "b")):
        reported(ledger, job_of(arrivals, ledger, number), path)

    assert priors.made(job_of(arrivals, ledger, 3, **THERE)) == ["b"]


def test_what_waits_for_review_or_was_recalled_does_not_count(
    arrivals: Arrivals, ledger: Ledger, priors: Priors, database: Database
):
    first = job_of(arrivals, ledger, 1)
    reported(ledger, first, "a", review=True)
    job = job_of(arrivals, ledger, 2, **THERE)
    waiting = priors.made(job)
    rulings = Rulings(database)
    verified = ResultRecord(InstanceUID("2.25.9.1"), SR, first, "sr", "verified")
    rulings.approve(first, [verified], {"pacs": ["2.25.9.1"]}, "Curie", "seen", report="2.25.9.a", now=60.0)
    approved = priors.made(job)
    rulings.recall(first, ResultRecord(InstanceUID("2.25.9.2"), "1.2", first, "ko", "note"), "Curie", "wrong", now=61.0)

    assert (waiting, approved, priors.made(job)) == ([], ["verified"], [])


def test_a_study_that_is_held_counts_for_nobody(arrivals: Arrivals, ledger: Ledger, priors: Priors):
    reported(ledger, job_of(arrivals, ledger, 1), "a")
    job = job_of(arrivals, ledger, 2, **THERE)
    arrivals.enter([received(3, sop_instance="2.25.7.3", patient_id="SOMEBODY ELSE")], now=3.0)

    assert priors.made(job) == []


def test_a_report_that_an_archive_sent_is_found_unless_we_made_reports_of_its_study(
    arrivals: Arrivals, ledger: Ledger, priors: Priors
):
    first = job_of(arrivals, ledger, 1)
    of_archive = received(2, sop_instance="2.25.8", study="2.25.3", series="2.25.3.1", sop_class=SR)
    of_ours = received(3, sop_instance="2.25.9.7", sop_class=SR)
    job = job_of(arrivals, ledger, 4, **THERE)

    arrivals.enter([of_archive], now=5.0)
    arrivals.enter([of_ours], now=6.0)
    both = priors.received(job)
    reported(ledger, first, "a")

    assert both == [of_ours.place, of_archive.place]
    assert priors.received(job) == [of_archive.place]


def test_images_are_given_only_if_all_are_held_and_as_they_were_sent_last(
    arrivals: Arrivals, ledger: Ledger, priors: Priors
):
    job_of(arrivals, ledger, 1)
    other = job_of(arrivals, ledger, 2, study="2.25.3", series="2.25.3.1", patient_id="SOMEBODY ELSE")
    job = job_of(arrivals, ledger, 3, **THERE)
    again = received(4, sop_instance="2.25.7.1")
    arrivals.enter([again], now=5.0)

    assert priors.images(job, STUDY, ["2.25.7.1"]) == [again.place]
    assert priors.images(job, STUDY, ["2.25.7.1", "2.25.7.9"]) == []  # another one is not held
    assert priors.images(job, OTHER_STUDY, ["2.25.7.3"]) == []  # the study's own
    assert priors.images(other, STUDY, ["2.25.7.1"]) == []  # somebody else's
