"""Retrievals from a real Orthanc into a real receiver, and from archives that misbehave."""

from collections.abc import Iterator
from typing import Any

import pytest
from pynetdicom import evt

from node.dicom.identifiers import SeriesUID, StudyUID
from node.eventlog import alias
from node.ledger import Arrivals
from node.records import RetrievalReason, RetrievalState, StudyState, Wanted
from tests.association.conftest import Held
from tests.builders import receive
from tests.ledger.test_ledger import received
from tests.retrieval.conftest import NOW, QUICK, Bench, Pacs, spine
from tests.retrieval.faults import Fake, answer, saying, serving


def want(bench: Bench, study: str, *series: int, reason: RetrievalReason = RetrievalReason.MISSING) -> None:
    wanted = [
        Wanted(StudyUID(study), SeriesUID(f"{study}.{one}"), "pacs", reason, StudyUID(study), 4) for one in series
    ]
    bench.retrievals.ask(wanted, most_series=100, now=NOW)


def begin(held: Held, study: str, datasets: int = 2) -> None:
    """Have some of the first series come from the scanner."""
    for one in spine(study, 1)[:datasets]:
        receive(held.spool, held.ledger, one, now=NOW)


def test_a_missing_series_comes_into_our_receiver(pacs: Pacs, held: Held, study: StudyUID) -> None:
    pacs.take(spine(study, 1) + spine(study, 2))
    begin(held, study, 4)
    bench = Bench(held, pacs.settings(pull=("missing",)))

    bench.asker.run_once(now=NOW + 11)
    bench.puller.run_once(now=NOW + 12)

    assert bench.held_of(study) == {f"{study}.1": 4, f"{study}.2": 4}
    assert bench.rows() == {f"{study}.2": (RetrievalState.DONE, 1, "")}


def test_of_a_series_that_is_held_in_part_only_the_rest_comes(pacs: Pacs, held: Held, study: StudyUID) -> None:
    # Were these sent again, those that are held would contradict, and hold the study.
    pacs.take(spine(study, 1, SeriesDescription="as the archive says"))
    begin(held, study, 2)
    bench = Bench(held, pacs.settings(pull=("missing",)))

    bench.asker.run_once(now=NOW + 11)
    bench.puller.run_once(now=NOW + 12)

    assert bench.held_of(study) == {f"{study}.1": 4}
    assert bench.state(study)[0] == StudyState.GATHERING


def test_what_was_pulled_is_counted_and_reopens_the_study(pacs: Pacs, held: Held, study: StudyUID) -> None:
    pacs.take(spine(study, 1) + spine(study, 2))
    begin(held, study, 4)
    bench = Bench(held, pacs.settings(pull=("missing",)))
    with bench.database.begin() as connection:
        connection.execute("UPDATE study SET state = 'not eligible', reason = 'post-contrast T1 missing'")

    bench.asker.run_once(now=NOW + 11)
    bench.puller.run_once(now=NOW + 12)

    (gathered,) = held.ledger.gathering()
    assert {one.series: one.instances for one in gathered.series} == {f"{study}.1": 4, f"{study}.2": 4}


def test_a_prior_comes_and_is_kept_without_being_measured(pacs: Pacs, held: Held, study: StudyUID) -> None:
    patient, prior = {"PatientID": f"P{study[-12:]}"}, f"{study}.100"
    pacs.take(spine(study, 1, **patient) + spine(prior, 1, StudyDate="20250101", **patient))
    for one in spine(study, 1, **patient):
        receive(held.spool, held.ledger, one, now=NOW)
    bench = Bench(held, pacs.settings(pull=("priors",)))

    bench.asker.run_once(now=NOW + 11)
    bench.puller.run_once(now=NOW + 12)
    gathering = [one.study for one in held.ledger.gathering()]
    bench.puller.run_once(now=1e12)  # long after

    assert bench.held_of(prior) == {f"{prior}.1": 4}
    assert gathering == [study]
    assert bench.state(prior) == (StudyState.NOT_ELIGIBLE, "prior of another study: kept, not measured")


def test_after_a_restart_what_was_asked_for_still_comes(pacs: Pacs, held: Held, study: StudyUID) -> None:
    pacs.take(spine(study, 2))
    begin(held, study)
    with serving(Fake(find_status=0xA700)) as down:
        before = Bench(held, down)
        want(before, study, 2)
        before.puller.run_once(now=NOW)

    after = Bench(held, pacs.settings())
    after.puller.run_once(now=NOW + 1)  # not yet: the wait lasts
    waiting = after.rows()
    after.puller.run_once(now=NOW + 10)

    assert waiting[f"{study}.2"][:2] == (RetrievalState.ASKED, 1)
    assert after.rows()[f"{study}.2"] == (RetrievalState.DONE, 2, "")
    assert after.held_of(study)[f"{study}.2"] == 4


def attempts_until_given_up(bench: Bench, study: str) -> tuple[str, int, str]:
    for later in (0, 10, 30, 70, 150, 310):
        bench.puller.run_once(now=NOW + later)
    return bench.rows()[f"{study}.2"]


def test_an_archive_that_is_down_is_tried_a_few_times_and_then_left_to_an_operator(held: Held, study: StudyUID) -> None:
    begin(held, study)
    with serving(Fake()) as settings:
        gone = settings
    bench = Bench(held, gone)
    want(bench, study, 2)

    state, attempts, why = attempts_until_given_up(bench, study)

    assert (state, attempts) == (RetrievalState.FAILED, 3)
    assert why == f"no association with 127.0.0.1:{gone.port}: connection refused"


def test_a_move_that_the_archive_refuses_is_given_up_with_its_status(held: Held, study: StudyUID) -> None:
    begin(held, study)
    fake = Fake({"IMAGE": [answer(SOPInstanceUID=f"{study}.2.1")]}, move_status=0xA801)
    with serving(fake) as settings:
        bench = Bench(held, settings, rows_follow_s=0.1)
        want(bench, study, 2)
        state, attempts, status = attempts_until_given_up(bench, study)

    assert (state, attempts) == (RetrievalState.FAILED, 3)
    assert status.startswith("the archive")
    assert len(fake.moves) == 3


def test_an_archive_that_says_it_sent_all_and_did_not_is_not_believed(held: Held, study: StudyUID) -> None:
    begin(held, study)
    fake = Fake({"IMAGE": [answer(SOPInstanceUID=f"{study}.2.1")]})
    with serving(fake) as settings:
        bench = Bench(held, settings, rows_follow_s=0.1)
        want(bench, study, 2)
        bench.puller.run_once(now=NOW)

    assert bench.rows()[f"{study}.2"] == (
        RetrievalState.ASKED,
        1,
        "the archive says that it sent all, yet not all has come",
    )


def test_what_came_although_the_archive_says_it_failed_is_here(held: Held, study: StudyUID) -> None:
    begin(held, study)

    class Late(Fake):
        def move(self, event: evt.Event) -> Iterator[Any]:
            receive(held.spool, held.ledger, spine(study, 2)[0], now=NOW)
            return super().move(event)

    with serving(Late({"IMAGE": [answer(SOPInstanceUID=f"{study}.2.1")]}, move_status=0xA702)) as settings:
        bench = Bench(held, settings)
        want(bench, study, 2)
        bench.puller.run_once(now=NOW)

    assert bench.rows()[f"{study}.2"] == (RetrievalState.DONE, 1, "")


def test_an_archive_that_reads_no_lists_is_asked_for_each_instance_by_itself(held: Held, study: StudyUID) -> None:
    begin(held, study)  # two of four
    fake = Fake({"IMAGE": [answer(SOPInstanceUID=f"{study}.1.{number}") for number in (1, 2, 3, 4)]})
    with serving(fake) as settings:
        bench = Bench(held, settings, rows_follow_s=0.1)
        want(bench, study, 1)
        bench.puller.run_once(now=NOW)
        bench.puller.run_once(now=NOW + 10)

    asked = [one.SOPInstanceUID for one in fake.moves]
    assert asked == [[f"{study}.1.3", f"{study}.1.4"], f"{study}.1.3", f"{study}.1.4"]


def test_an_archive_that_lists_no_instances_is_believed_if_something_came(held: Held, study: StudyUID) -> None:
    begin(held, study)
    with serving(Fake(sends=spine(study, 2), destination=held.port)) as settings:
        bench = Bench(held, settings)
        want(bench, study, 2)
        bench.puller.run_once(now=NOW)

    assert bench.held_of(study)[f"{study}.2"] > 0
    assert bench.rows()[f"{study}.2"] == (RetrievalState.DONE, 1, "")


def test_a_series_that_turns_out_larger_than_the_limit_is_not_moved(held: Held, study: StudyUID) -> None:
    begin(held, study)
    fake = Fake({"IMAGE": [answer(SOPInstanceUID=f"{study}.2.{number}") for number in range(11)]})
    with serving(fake) as settings:
        bench = Bench(held, settings, QUICK.model_copy(update={"most_instances": 10}))
        want(bench, study, 2)
        bench.puller.run_once(now=NOW)

    assert fake.moves == []
    assert "more than 10 instances" in bench.rows()[f"{study}.2"][2]


def test_nothing_is_moved_for_a_held_study(held: Held, study: StudyUID) -> None:
    begin(held, study)
    fake = Fake({"IMAGE": [answer(SOPInstanceUID=f"{study}.2.1")]})
    with serving(fake) as settings:
        bench = Bench(held, settings)
        want(bench, study, 2)
        Arrivals(bench.database).enter([received(7, study=study, contradicts=True)], now=NOW)
        bench.puller.run_once(now=NOW)

    assert fake.asked == fake.moves == []
    assert bench.rows()[f"{study}.2"] == (RetrievalState.ASKED, 0, "")


def test_nothing_is_moved_for_a_study_that_was_dropped(held: Held, study: StudyUID) -> None:
    begin(held, study)
    fake = Fake()
    with serving(fake) as settings:
        bench = Bench(held, settings)
        want(bench, study, 2)
        with bench.database.begin() as connection:
            connection.execute("UPDATE study SET state = 'expired'")
        bench.puller.run_once(now=NOW)

    assert fake.asked == []
    assert bench.rows()[f"{study}.2"] == (RetrievalState.FAILED, 0, "the study was dropped")


def test_an_attempt_that_killed_the_node_counts(held: Held, study: StudyUID) -> None:
    begin(held, study)
    fake = Fake()
    with serving(fake) as settings:
        bench = Bench(held, settings)
        want(bench, study, 2)
        (one,) = bench.retrievals.due("pacs", now=NOW)
        for _crash in range(QUICK.attempts):
            bench.retrievals.begin(one.id, next_try_s=NOW)
        bench.puller.run_once(now=NOW)

    assert fake.asked == []
    assert bench.rows()[f"{study}.2"] == (RetrievalState.FAILED, 3, "all attempts are spent")


@pytest.mark.slow
def test_an_archive_that_hangs_costs_an_attempt(held: Held, study: StudyUID) -> None:
    begin(held, study)
    with saying() as settings:
        bench = Bench(held, settings, QUICK.model_copy(update={"silence_s": 0.5}))
        want(bench, study, 2)
        bench.puller.run_once(now=NOW)

    assert bench.rows()[f"{study}.2"][:2] == (RetrievalState.ASKED, 1)


def test_no_log_line_of_a_retrieval_names_anybody(
    pacs: Pacs, held: Held, study: StudyUID, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "paraspinal-node")
    pacs.take(spine(study, 2))
    begin(held, study)
    bench = Bench(held, pacs.settings(pull=("missing", "priors")))

    bench.asker.run_once(now=NOW + 11)
    bench.puller.run_once(now=NOW + 12)

    lines = [one.getMessage() for one in caplog.records if one.name == "paraspinal-node"]
    assert any(line.startswith("R611") and alias(study) in line for line in lines)
    assert not [line for line in lines if "SECRET" in line or study in line]
