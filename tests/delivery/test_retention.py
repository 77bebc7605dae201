"""Files of results go when nobody can need them any more: delivered, and of a study that was dropped itself."""

import pytest
from pydicom.uid import KeyObjectSelectionDocumentStorage

from node.delivery import ResultRetention
from node.dicom.identifiers import InstanceUID
from node.ledger import Arrivals
from node.ledger.rulings import Rulings
from node.records import RECALL_NOTE, DeliveryState, ResultRecord, Ruling, StudyState
from tests.builders import part10
from tests.delivery.desk import SEG, Desk, objects
from tests.delivery.test_fallback import KO_UID, key_objects
from tests.delivery.test_outbox import Scripted

OWED, STORED, PARKED = DeliveryState.OWED, DeliveryState.STORED, DeliveryState.PARKED
ABANDONED, WITHDRAWN = DeliveryState.ABANDONED, DeliveryState.WITHDRAWN


def drop_study(desk: Desk) -> None:
    Arrivals(desk.ledger.database).expire(before_s=desk.now + 1.0)
    assert desk.ledger.study_rows()[0].state is StudyState.EXPIRED


def left(desk: Desk, *, after_s: float = 1e6) -> set[str]:
    """Let time pass and a worker be started anew; return the digests of the files that are there after its turn."""
    desk.now += after_s
    last = desk.results.root.parent / "results-retained.txt"
    ResultRetention(desk.ledger, desk.results, last).run_once(now=desk.now)
    return {one.stem for one in desk.results.root.iterdir()}


def test_of_what_is_delivered_the_report_alone_outlasts_its_study(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    job = desk.owe(None, "pacs", "viewer")
    for name in ("pacs", "viewer"):
        desk.run(desk.outbox(Scripted("stored", name=name)))
    while_held = left(desk)
    drop_study(desk)

    after = [left(desk) for _ in range(2)]

    report = desk.results.root / desk.ledger.earlier_report(job).path  # type: ignore[union-attr]
    assert len(while_held) == 2
    assert after == [{report.stem}] * 2
    assert caplog.text.count("D505") == 1
    assert {state for state, _ in desk.states(job)} == {STORED}  # the rows know where they are


def test_a_worker_that_is_restarted_often_has_its_turn_once_in_six_hours(desk: Desk) -> None:
    for study in (1, 2):
        desk.owe(objects(study), study=study)
    desk.run(desk.outbox(Scripted("stored")))
    at_first = left(desk)
    drop_study(desk)

    after = [len(left(desk, after_s=3600.0)) for _ in range(7)]
    clock_set_back = desk.owe(objects(3), study=3)
    desk.run(desk.outbox(Scripted("stored")))
    drop_study(desk)

    assert (len(at_first), after) == (4, [4, 4, 4, 4, 4, 2, 2])
    assert len(left(desk, after_s=-1e5)) == 3, clock_set_back


@pytest.mark.parametrize(
    ("state", "next_try_s", "kept"),
    [
        (STORED, None, False),
        (WITHDRAWN, None, False),
        (STORED, 2000.0, True),  # still to be committed to, or seen; else it is sent again
        (PARKED, None, True),
        (ABANDONED, None, True),
    ],
)
def test_what_one_destination_may_still_be_sent_is_kept(
    desk: Desk, state: DeliveryState, next_try_s: float | None, kept: bool
) -> None:
    desk.owe(None, "pacs", "viewer")
    desk.run(desk.outbox(Scripted("stored")))
    desk.run(desk.outbox(Scripted("stored", name="viewer")))
    desk.deliveries.advance(SEG, "viewer", state, "", was=STORED, now=desk.now, next_try_s=next_try_s)
    drop_study(desk)

    assert len(left(desk)) == (2 if kept else 1)


def test_what_no_destination_has_is_kept_though_nothing_of_it_is_owed(desk: Desk) -> None:
    desk.owe()
    desk.deliveries.advance(SEG, "pacs", WITHDRAWN, "", was=OWED, now=desk.now)
    desk.run(desk.outbox(Scripted("stored")))
    drop_study(desk)

    assert len(left(desk)) == 2


def test_what_was_recalled_is_kept(desk: Desk) -> None:
    job = desk.owe(None, "pacs", "viewer")
    desk.run(desk.outbox(Scripted("stored")))
    path = desk.results.store(part10(key_objects()))
    note = ResultRecord(InstanceUID(KO_UID), KeyObjectSelectionDocumentStorage, job, RECALL_NOTE, path)
    Rulings(desk.ledger.database).recall(job, note, "Curie", "wrong", now=desk.now)
    for name in ("pacs", "viewer"):
        desk.run(desk.outbox(Scripted("stored", name=name)))
    drop_study(desk)

    assert len(left(desk)) == 3


def test_what_waits_for_review_keeps_what_was_sent_before_it(desk: Desk) -> None:
    job = desk.owe()
    desk.run(desk.outbox(Scripted("stored")))
    with desk.ledger.database.begin() as connection:
        connection.execute(
            "INSERT INTO ruling (job, ruling, who, reason, decided_s) VALUES (?, ?, '', '', 0)", (job, Ruling.WAITING)
        )
    drop_study(desk)

    assert len(left(desk)) == 2


def test_a_disk_that_refuses_is_told_once_a_turn(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    for study in (1, 2):
        desk.owe(objects(study), study=study)
    desk.run(desk.outbox(Scripted("stored")))
    drop_study(desk)
    for path in desk.ledger.done_with():
        (desk.results.root / path).unlink()
        (desk.results.root / path).mkdir()  # which is not removed as a file is

    left(desk)

    assert [line for line in caplog.messages if "retain-results" in line] == [
        "N110 a loop's turn failed; the next one tries again loop=retain-results error=SpoolError files=2"
    ]


def test_what_was_owed_to_nobody_is_kept_for_it_is_here_alone(desk: Desk) -> None:
    desk.owe(objects(), "pacs", roles=("seg", "sr"))
    with desk.ledger.database.begin() as connection:
        connection.execute("DELETE FROM delivery")
    drop_study(desk)

    assert len(left(desk)) == 2


def test_while_the_images_are_kept_so_are_the_results(desk: Desk) -> None:
    desk.owe()
    desk.run(desk.outbox(Scripted("stored")))

    assert len(left(desk)) == 2
