"""What archives are asked to send, as rows: once, and not for ever."""

import pytest

from node.dicom.identifiers import SeriesUID, StudyUID
from node.eventlog import alias
from node.ledger import Arrivals, Database
from node.ledger.ledger import Ledger
from node.ledger.retrievals import Retrievals
from node.records import RestingStudy, RetrievalReason, RetrievalState, StudyState, Wanted
from tests.ledger.test_ledger import received

STUDY, PRIOR = StudyUID("2.25.1"), StudyUID("2.25.50")
SERIES = SeriesUID("2.25.1.2")


@pytest.fixture
def retrievals(database: Database, arrivals: Arrivals) -> Retrievals:
    """Rows beside a study that gathers."""
    arrivals.enter([received(1)], now=1.0)
    return Retrievals(database)


def wanted(
    series: str = SERIES,
    *,
    archive: str = "pacs",
    reason: RetrievalReason = RetrievalReason.MISSING,
    study: str = STUDY,
    instances: int | None = 4,
) -> Wanted:
    return Wanted(StudyUID(study), SeriesUID(series), archive, reason, STUDY, instances)


def ask(retrievals: Retrievals, *what: Wanted, most_series: int = 100) -> int:
    return retrievals.ask(what, most_series=most_series, now=10.0)


def end(retrievals: Retrievals, state: RetrievalState, *, archive: str = "pacs", instances: int = 4) -> None:
    (one,) = retrievals.due(archive, now=1e9)
    retrievals.begin(one.id, next_try_s=20.0)
    retrievals.settle(one.id, state, "because", now=20.0, instances=instances)


def test_a_series_is_asked_for_once(retrievals: Retrievals) -> None:
    assert ask(retrievals, wanted()) == 1
    assert ask(retrievals, wanted(), wanted(archive="other")) == 0
    assert len(retrievals.due("pacs", now=10.0)) == 1
    assert retrievals.due("other", now=10.0) == []


def test_what_came_is_not_asked_for_again_of_any_archive(retrievals: Retrievals) -> None:
    ask(retrievals, wanted())
    end(retrievals, RetrievalState.DONE)

    assert ask(retrievals, wanted(), wanted(archive="other"), wanted(reason=RetrievalReason.LOCALIZER)) == 0


def test_what_has_grown_at_the_archive_since_it_came_is_asked_for_again(retrievals: Retrievals) -> None:
    ask(retrievals, wanted())
    end(retrievals, RetrievalState.DONE, instances=4)

    assert ask(retrievals, wanted(instances=None)) == 0
    assert ask(retrievals, wanted(instances=6)) == 1
    (again,) = retrievals.due("pacs", now=10.0)
    assert again.attempts == 1  # an archive of which the counts climb for ever is not asked for ever


def test_an_archive_that_counts_more_than_it_has_is_not_asked_over_and_over(retrievals: Retrievals) -> None:
    ask(retrievals, wanted(instances=10))
    end(retrievals, RetrievalState.DONE, instances=8)

    assert ask(retrievals, wanted(instances=10)) == 0


def test_what_failed_is_asked_of_another_archive_and_not_again_of_the_same(retrievals: Retrievals) -> None:
    ask(retrievals, wanted())
    end(retrievals, RetrievalState.FAILED)

    assert ask(retrievals, wanted()) == 0
    assert ask(retrievals, wanted(archive="other")) == 1


@pytest.mark.parametrize("state", [RetrievalState.DONE, RetrievalState.FAILED])
def test_an_operator_may_ask_again_for_whatever_ended(retrievals: Retrievals, state: RetrievalState) -> None:
    ask(retrievals, wanted())
    end(retrievals, state)

    assert ask(retrievals, wanted(reason=RetrievalReason.OPERATOR)) == 1
    (again,) = retrievals.due("pacs", now=10.0)
    assert again.attempts == 0


def test_an_attempt_counts_from_before_it_is_made_and_waits_for_its_turn(
    retrievals: Retrievals, database: Database
) -> None:
    ask(retrievals, wanted())
    (one,) = retrievals.due("pacs", now=10.0)
    retrievals.begin(one.id, next_try_s=30.0)

    after_a_crash = Retrievals(database)

    assert after_a_crash.due("pacs", now=29.0) == []
    assert [again.attempts for again in after_a_crash.due("pacs", now=30.0)] == [1]


def test_nothing_is_due_for_a_study_that_is_held_until_it_is_released(
    retrievals: Retrievals, arrivals: Arrivals, ledger: Ledger
) -> None:
    ask(retrievals, wanted())
    arrivals.enter([received(1, segment=2, contradicts=True)], now=11.0)

    assert retrievals.due("pacs", now=20.0) == []
    assert ask(retrievals, wanted("2.25.1.3"), wanted("2.25.1.4", reason=RetrievalReason.OPERATOR)) == 0
    ledger.release(alias(STUDY), latest=False, now=21.0)
    assert len(retrievals.due("pacs", now=22.0)) == 1


def test_a_prior_is_not_among_what_gathers_and_is_closed_when_it_has_come(
    retrievals: Retrievals, arrivals: Arrivals, ledger: Ledger, database: Database
) -> None:
    ask(retrievals, wanted("2.25.50.1", study=PRIOR, reason=RetrievalReason.PRIOR))
    arrivals.enter([received(9, study=PRIOR, series="2.25.50.1", sop_instance="2.25.50.1.1")], now=11.0)

    assert [one.study for one in ledger.gathering()] == [STUDY]
    assert retrievals.keep_priors(seen_before_s=100.0, now=100.0) == []  # more of it may come
    end(retrievals, RetrievalState.DONE)
    assert retrievals.keep_priors(seen_before_s=11.0, now=11.0) == []  # it has only just come
    assert retrievals.keep_priors(seen_before_s=100.0, now=100.0) == [alias(PRIOR)]
    kept = next(row for row in ledger.study_rows() if row.alias == alias(PRIOR))
    assert (kept.state, kept.reason.partition(":")[0]) == (StudyState.NOT_ELIGIBLE, "prior of another study")


def test_a_late_instance_of_a_prior_does_not_have_it_measured(
    retrievals: Retrievals, arrivals: Arrivals, ledger: Ledger
) -> None:
    ask(retrievals, wanted("2.25.50.1", study=PRIOR, reason=RetrievalReason.PRIOR))
    end(retrievals, RetrievalState.DONE)
    for number in (8, 9):
        instance = {"study": PRIOR, "series": "2.25.50.1", "sop_instance": f"2.25.50.1.{number}"}
        arrivals.enter([received(number, **instance)], now=float(number))
        assert [one.study for one in ledger.gathering()] == [STUDY]
        assert retrievals.keep_priors(seen_before_s=100.0, now=100.0) == [alias(PRIOR)]


def test_a_study_that_is_here_is_no_prior_and_goes_on_being_measured(
    retrievals: Retrievals, arrivals: Arrivals, ledger: Ledger
) -> None:
    arrivals.enter([received(9, study=PRIOR, series="2.25.50.1", sop_instance="2.25.50.1.1")], now=2.0)

    assert ask(retrievals, wanted("2.25.50.2", study=PRIOR, reason=RetrievalReason.PRIOR)) == 0
    assert {one.study for one in ledger.gathering()} == {STUDY, PRIOR}


def test_further_series_of_a_prior_may_be_asked_for_after_the_first_came(
    retrievals: Retrievals, arrivals: Arrivals
) -> None:
    ask(retrievals, wanted("2.25.50.1", study=PRIOR, reason=RetrievalReason.PRIOR))
    arrivals.enter([received(9, study=PRIOR, series="2.25.50.1", sop_instance="2.25.50.1.1")], now=11.0)

    assert ask(retrievals, wanted("2.25.50.2", study=PRIOR, reason=RetrievalReason.PRIOR)) == 1


def test_the_limit_of_series_counts_what_was_asked_for_before(retrievals: Retrievals) -> None:
    assert ask(retrievals, *(wanted(f"2.25.1.{number}") for number in range(10, 15)), most_series=3) == 3
    assert ask(retrievals, wanted("2.25.1.20"), most_series=3) == 0
    assert ask(retrievals, wanted("2.25.1.20", reason=RetrievalReason.OPERATOR), most_series=3) == 1


def test_what_is_shown_names_the_study_by_its_alias(retrievals: Retrievals) -> None:
    ask(retrievals, wanted())

    (row,) = retrievals.rows(failed_after_s=0.0)

    assert (row.study, row.state, row.archive) == (alias(STUDY), "asked", "pacs")
    assert STUDY not in repr(row)


def test_a_study_is_found_by_its_alias_unless_it_is_held(retrievals: Retrievals, arrivals: Arrivals) -> None:
    found = retrievals.find(alias(STUDY))
    assert isinstance(found, RestingStudy)
    assert (found.study, dict(found.held)) == (STUDY, {"2.25.1.1": 1})
    assert "SECRET" not in repr(found)

    arrivals.enter([received(1, segment=2, contradicts=True)], now=11.0)

    assert retrievals.find(alias(STUDY)) is StudyState.HELD
    assert retrievals.find("nobody") is None


def test_a_prior_can_be_adopted_and_is_measured_then(
    retrievals: Retrievals, arrivals: Arrivals, ledger: Ledger
) -> None:
    ask(retrievals, wanted("2.25.50.1", study=PRIOR, reason=RetrievalReason.PRIOR))
    arrivals.enter([received(9, study=PRIOR, series="2.25.50.1", sop_instance="2.25.50.1.1")], now=11.0)
    end(retrievals, RetrievalState.DONE)
    retrievals.keep_priors(seen_before_s=100.0, now=100.0)

    assert not retrievals.adopt(alias(STUDY), now=200.0)
    assert retrievals.adopt(alias(PRIOR), now=200.0)

    assert {one.study for one in ledger.gathering()} == {STUDY, PRIOR}
    assert retrievals.keep_priors(seen_before_s=300.0, now=300.0) == []
    assert not retrievals.adopt(alias(PRIOR), now=400.0)
    assert ask(retrievals, wanted("2.25.50.1", study=PRIOR, reason=RetrievalReason.PRIOR)) == 0


def test_what_was_pulled_is_shown_of_its_study_and_of_the_one_that_it_was_pulled_for(retrievals: Retrievals) -> None:
    ask(retrievals, wanted("2.25.50.1", study=PRIOR, reason=RetrievalReason.PRIOR))
    end(retrievals, RetrievalState.DONE)

    assert retrievals.rows(failed_after_s=0.0) == []
    for study in (STUDY, PRIOR, None):
        (row,) = retrievals.rows(failed_after_s=0.0, done_after_s=0.0, study=study)
        assert (row.study, row.series, row.state) == (alias(PRIOR), alias("2.25.50.1"), "done")
    assert retrievals.rows(failed_after_s=0.0, done_after_s=0.0, study="2.25.99") == []


def test_a_study_of_which_reports_alone_were_asked_for_is_measured_once_its_images_are_sent(
    retrievals: Retrievals, arrivals: Arrivals, ledger: Ledger
) -> None:
    ask(retrievals, wanted("2.25.50.1", study=PRIOR, reason=RetrievalReason.RESULT))
    arrivals.enter([received(8, study=PRIOR, series="2.25.50.1", sop_instance="2.25.50.1.1")], now=11.0)
    end(retrievals, RetrievalState.DONE)
    alone = [one.study for one in ledger.gathering()], retrievals.keep_priors(seen_before_s=100.0, now=100.0)

    arrivals.enter([received(9, study=PRIOR, series="2.25.50.2", sop_instance="2.25.50.2.1")], now=101.0)

    assert alone == ([STUDY], [alias(PRIOR)])
    assert {one.study for one in ledger.gathering()} == {STUDY, PRIOR}
    assert retrievals.keep_priors(seen_before_s=1000.0, now=1000.0) == []
    assert PRIOR in [one.study for one in retrievals.resting(seen_after_s=0.0, seen_before_s=1e9)]
    for reason in (RetrievalReason.PRIOR, RetrievalReason.RESULT):  # it is no prior any more, nor becomes one
        assert ask(retrievals, wanted("2.25.50.3", study=PRIOR, reason=reason)) == 0


def test_a_study_knows_of_earlier_results_that_are_to_come_and_of_nothing_else(
    retrievals: Retrievals, ledger: Ledger
) -> None:
    ask(retrievals, wanted(), wanted("2.25.50.2", study=PRIOR, reason=RetrievalReason.PRIOR))
    images_alone = [one.coming for one in ledger.gathering()]

    ask(retrievals, wanted("2.25.60.1", study="2.25.60", reason=RetrievalReason.RESULT))
    asked = [one.coming for one in ledger.gathering()]
    for one in retrievals.due("pacs", now=1e9):
        retrievals.settle(one.id, RetrievalState.DONE, "", now=20.0)

    assert (images_alone, asked, [one.coming for one in ledger.gathering()]) == ([0], [1], [0])


def test_a_study_of_which_images_are_pulled_after_its_report_is_a_prior(
    retrievals: Retrievals, arrivals: Arrivals, ledger: Ledger
) -> None:
    ask(retrievals, wanted("2.25.50.1", study=PRIOR, reason=RetrievalReason.RESULT))
    arrivals.enter([received(8, study=PRIOR, series="2.25.50.1", sop_instance="2.25.50.1.1")], now=11.0)

    assert ask(retrievals, wanted("2.25.50.2", study=PRIOR, reason=RetrievalReason.PRIOR)) == 1
    for number in (2, 3):
        instance = {"study": PRIOR, "series": f"2.25.50.{number}", "sop_instance": f"2.25.50.{number}.1"}
        arrivals.enter([received(8 + number, **instance)], now=12.0)
        assert [one.study for one in ledger.gathering()] == [STUDY]


def test_a_study_of_which_a_report_was_pulled_can_be_adopted(
    retrievals: Retrievals, arrivals: Arrivals, ledger: Ledger
) -> None:
    ask(retrievals, wanted("2.25.50.1", study=PRIOR, reason=RetrievalReason.RESULT))
    arrivals.enter([received(8, study=PRIOR, series="2.25.50.1", sop_instance="2.25.50.1.1")], now=11.0)

    assert retrievals.adopt(alias(PRIOR), now=12.0)
    assert {one.study for one in ledger.gathering()} == {STUDY, PRIOR}
