"""What is owed is sent in order, again after longer and longer waits, and in the end by nobody but an operator."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from node.delivery import Outbox
from node.dicom.identifiers import InstanceUID, SeriesUID, StudyUID
from node.errors import DeliveryError, RefusedError, RetrievalError
from node.ledger import Arrivals, open_database
from node.ledger.ledger import Ledger
from node.ports import Answer
from node.records import DeliveryState, KnownStudy
from node.simulator.archive import Archive
from tests.delivery.bad_archive import BadArchive
from tests.delivery.desk import REPORT, SEG, Desk, objects, peer, storage
from tests.spool.disk import no_descriptors

OWED, STORED, PARKED = DeliveryState.OWED, DeliveryState.STORED, DeliveryState.PARKED


class Scripted:
    """A destination that answers by a script: one item a call, the last for ever; an error is raised."""

    def __init__(self, *script: Exception | str, name: str = "pacs") -> None:
        self.script, self.name, self.got = list(script), name, list[list[str]]()

    def deliver(self, objects: Sequence[Dataset], _replaced: Mapping[str, tuple[str, str]], /) -> Iterator[Answer]:
        self.got.append([str(one.SOPInstanceUID) for one in objects])
        step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(step, Exception):
            raise step
        for one in objects:
            yield Answer(str(one.SOPInstanceUID), stored=step == "stored", permanent=step == "never", status=step)
            if step == "later":
                return


def test_what_is_owed_is_stored_in_order_and_written_down(desk: Desk, tmp_path: Path) -> None:
    job = desk.owe()

    with Archive(tmp_path / "archive") as archive:
        desk.run(desk.outbox(storage(archive.port)))

    assert list(archive.digests) == [SEG, REPORT]  # the reference resolves when the report arrives
    assert desk.states(job) == [(STORED, "0x0000")] * 2
    assert [row.attempts for row in desk.rows(job).values()] == [1, 1]


def test_a_refusal_is_tried_again_and_each_object_is_taken_once(desk: Desk, tmp_path: Path) -> None:
    job = desk.owe()

    with Archive(tmp_path / "archive", refuse_first=1) as archive:
        outbox = desk.outbox(storage(archive.port))
        desk.run(outbox)
        first = desk.states(job)
        for _ in range(3):
            desk.run(outbox, after_s=100.0)

    assert first == [(OWED, "0xA700"), (OWED, "not sent in this attempt")]
    assert {uid: len(contents) for uid, contents in archive.digests.items()} == {SEG: 1, REPORT: 1}
    assert desk.states(job) == [(STORED, "0x0000")] * 2


def test_waits_double_up_to_the_longest(desk: Desk) -> None:
    desk.owe()
    destination = Scripted("later")
    outbox = desk.outbox(destination)
    calls = []
    for second in range(10_000):
        desk.now = 2000.0 + second
        if outbox.run_once(now=desk.now):
            calls.append(second)

    waits = [later - earlier for earlier, later in pairwise(calls)]
    assert waits[:5] == [10, 20, 40, 80, 160]
    assert max(waits) <= desk.settings.longest_wait_s


@pytest.mark.parametrize(("chance", "wait_s"), [(0.0, 5.0), (0.5, 7.5), (1.0, 10.0)])
def test_a_wait_is_shorter_by_chance_by_up_to_a_half(desk: Desk, chance: float, wait_s: float) -> None:
    desk.owe()

    desk.run(Outbox(Scripted("later"), desk.deliveries, desk.results, desk.settings, chance=lambda: chance))

    assert desk.deliveries.due("pacs", now=desk.now + wait_s - 0.1) is None
    assert desk.deliveries.due("pacs", now=desk.now + wait_s) is not None


def test_after_the_last_attempt_an_operator_has_it_tried_again(desk: Desk) -> None:
    desk.settings = desk.settings.model_copy(update={"attempts": 2})
    job = desk.owe()
    outbox = desk.outbox(Scripted("later", "later", "stored"))
    desk.run(outbox)
    desk.run(outbox, after_s=100.0)
    abandoned, listed = desk.states(job), desk.undelivered.waiting()
    asked_again = desk.run(outbox, after_s=1e6)

    owed = desk.undelivered.owe_again(job, now=desk.now)
    desk.run(outbox)

    assert [state for state, _ in abandoned] == [DeliveryState.ABANDONED] * 2
    assert listed == {"abandoned": [job]}
    assert (asked_again, owed) == (0, 2)
    assert desk.states(job) == [(STORED, "stored")] * 2


@pytest.mark.parametrize(
    ("script", "reason"), [("never", "never"), (RefusedError("rejected for good"), "rejected for good")]
)
def test_what_is_never_taken_is_parked_at_once_with_the_reason(
    desk: Desk, script: Exception | str, reason: str
) -> None:
    job = desk.owe()
    outbox = desk.outbox(Scripted(script, "stored"))

    desk.run(outbox)
    parked = desk.states(job)
    again = desk.run(outbox, after_s=1e6)
    desk.undelivered.owe_again(job, now=desk.now)
    desk.run(outbox)

    assert parked == [(PARKED, reason)] * 2
    assert again == 0
    assert desk.states(job) == [(STORED, "stored")] * 2


def test_a_destination_that_is_away_is_asked_once_a_wait_however_much_is_owed_to_it(desk: Desk) -> None:
    jobs = [desk.owe(objects(number), study=number) for number in range(1, 6)]
    away = DeliveryError("no association")
    destination = Scripted(away, away, away, "stored")
    outbox = desk.outbox(destination)

    calls = [
        len(destination.got) for after_s in (0.0, 5.0, 5.0, 10.0, 10.0, 40.0) if desk.run(outbox, after_s=after_s) >= 0
    ]

    assert calls == [1, 1, 2, 2, 3, 8]  # then all of them at once: the waits were the destination's, not theirs
    assert len({tuple(one) for one in destination.got[:3]}) == 3  # each time another's turn, so that none is given up
    assert all(state is STORED for job in jobs for state, _ in desk.states(job))


def test_a_destination_that_is_away_for_long_is_one_alarm_and_one_all_clear(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    for study in range(1, 4):
        desk.owe(objects(study), study=study)
    outbox = desk.outbox(destination := Scripted(DeliveryError("no association")))
    told = []
    for hour in range(30):
        if hour == 2:
            told.append(caplog.text.count("D520"))  # it may be restarting
        desk.run(outbox, after_s=3600.0)
    destination.script[:] = ["stored"]
    for _ in range(2):
        desk.run(outbox, after_s=3600.0)

    assert told == [0]
    assert [line for line in caplog.messages if "D52" in line] == [
        "D520 destination not reached, or taking nothing, three times in a row destination=pacs "
        "reason='no association'",
        "D521 destination answers again destination=pacs",
    ]


def test_an_archive_that_lets_us_in_and_takes_nothing_is_one_alarm_and_one_all_clear(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    for study in (1, 2):
        desk.owe(objects(study), study=study)
    with BadArchive("a700") as archive:
        outbox = desk.outbox(storage(archive.port))
        told = []
        for hours in (0, 1, 1, 1):
            desk.run(outbox, after_s=3600.0 * hours)
            told.append(caplog.text.count("D520"))
        associations = archive.associations
    with Archive(Path(desk.results.root.parent / "archive"), port=archive.port):
        desk.run(outbox, after_s=3600.0)

    assert associations == 8  # one parcel's refusal keeps no other waiting
    assert told == [0, 0, 1, 1]  # two refusals in one moment are one moment's
    assert [line for line in caplog.messages if "D52" in line] == [
        "D520 destination not reached, or taking nothing, three times in a row destination=pacs reason='0xA700'",
        "D521 destination answers again destination=pacs",
    ]


def told_of(desk: Desk, outbox: Outbox, turns: int, caplog: pytest.LogCaptureFixture) -> list[str]:
    """Have so many turns, an hour between two, and return the codes of alarm and all-clear that were told."""
    caplog.set_level("INFO")
    caplog.clear()
    for _ in range(turns):
        desk.run(outbox, after_s=3600.0)
    return [line.split()[0] for line in caplog.messages if "D52" in line]


def test_a_fault_of_our_own_machine_is_no_absence_of_the_destination(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    desk.owe()
    outbox = desk.outbox(destination := Scripted("stored"))

    with no_descriptors():
        told = told_of(desk, outbox, 4, caplog)

    assert (told, destination.got) == ([], [])


@pytest.mark.parametrize(("away", "told"), [(2, []), (3, ["D521"])])
def test_who_rejects_the_association_for_good_is_there(
    desk: Desk, caplog: pytest.LogCaptureFixture, away: int, told: list[str]
) -> None:
    desk.owe(objects(1), study=1)
    gone = DeliveryError("no association")
    outbox = desk.outbox(Scripted(*[gone] * away, RefusedError("rejected for good"), gone))
    told_of(desk, outbox, away, caplog)

    rejected = told_of(desk, outbox, 1, caplog)
    desk.owe(objects(2), study=2)
    after = told_of(desk, outbox, 2, caplog)

    assert (rejected, after) == (told, [])


@pytest.mark.parametrize(
    ("status", "jobs", "told"), [("0xC000", 1, []), ("0xC000", 2, ["D520"]), ("0xA700", 1, ["D520"])]
)
def test_one_job_that_an_archive_cannot_understand_is_no_archive_that_takes_nothing(
    desk: Desk, caplog: pytest.LogCaptureFixture, status: str, jobs: int, told: list[str]
) -> None:
    class Refusing(Scripted):
        def deliver(self, objects: Sequence[Dataset], _replaced: Mapping[str, tuple[str, str]], /) -> Iterator[Answer]:
            yield Answer(str(objects[0].SOPInstanceUID), stored=False, permanent=False, status=status)

    for study in range(1, jobs + 1):
        desk.owe(objects(study), study=study)

    assert told_of(desk, desk.outbox(Refusing("")), 5, caplog) == told


def test_an_archive_that_answers_whose_study_it_is_is_back_though_nothing_may_be_sent_there(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    class Knowing:
        there = False

        def known(self, _study: StudyUID) -> KnownStudy | None:
            if not self.there:
                raise RetrievalError("no association")
            return None

        def instances(self, _study: StudyUID, _series: SeriesUID) -> frozenset[InstanceUID]:
            raise NotImplementedError

    desk.owe()
    outbox = desk.outbox(Scripted("stored"), inquiry=(archive := Knowing()))

    away = told_of(desk, outbox, 3, caplog)
    archive.there = True

    assert (away, told_of(desk, outbox, 1, caplog)) == (["D520"], ["D521"])


def test_a_newer_revision_waits_for_the_older_one(desk: Desk) -> None:
    older = desk.owe(objects(1))
    destination = Scripted("later", "stored")
    outbox = desk.outbox(destination)
    desk.run(outbox)
    newer = desk.owe(objects(2))
    desk.run(outbox, after_s=1.0)
    before = desk.states(newer)

    desk.run(outbox, after_s=100.0)

    assert [state for state, _ in before] == [OWED, OWED]
    assert destination.got == [["2.25.77.1", "2.25.77.2"]] * 2 + [["2.25.77.3", "2.25.77.4"]]
    assert desk.states(older) == desk.states(newer) == [(STORED, "stored")] * 2


def test_a_newer_revision_does_not_wait_for_one_that_is_parked_nor_for_another_study(desk: Desk) -> None:
    parked = desk.owe(objects(1))
    outbox = desk.outbox(Scripted("never", "later", "stored"))
    desk.run(outbox)
    waiting = desk.owe(objects(2), study=2)
    desk.run(outbox)

    newer = desk.owe(objects(3))
    desk.run(outbox)

    assert [desk.states(job)[0][0] for job in (parked, waiting, newer)] == [PARKED, OWED, STORED]


def test_an_archive_has_the_pause_that_it_is_given_between_two_objects(desk: Desk) -> None:
    came_s: list[float] = []

    class Watching(Scripted):
        def deliver(self, *arguments: Any) -> Iterator[Answer]:
            for answer in super().deliver(*arguments):
                came_s.append(time.monotonic())
                yield answer

    desk.owe()
    desk.run(desk.outbox(Watching("stored"), pause_s=0.2))

    assert [later - one >= 0.2 for one, later in pairwise(came_s)] == [True]


def test_there_is_no_pause_before_an_object_that_is_relabelled_nor_after_the_last(desk: Desk) -> None:
    class Relabelling(Scripted):
        def deliver(self, *arguments: Any) -> Iterator[Answer]:
            for answer in super().deliver(*arguments):
                yield replace(answer, stored=False, status="no answer", sent=("1.2.3", "2.25.99"))
                yield replace(answer, sent=("1.2.3", "2.25.99"))

    job = desk.owe(objects()[1:], roles=("sr",))
    began_s = time.monotonic()
    desk.run(desk.outbox(Relabelling("stored"), pause_s=5.0))

    assert time.monotonic() - began_s < 5.0
    assert desk.states(job) == [(STORED, "stored")]


def test_one_destination_delays_no_other(desk: Desk) -> None:
    job = desk.owe(None, "dead", "living")
    dead, living = Scripted(DeliveryError("no association"), name="dead"), Scripted("stored", name="living")

    desk.run(desk.outbox(dead))
    desk.run(desk.outbox(living))

    assert {one.destination: one.state for one in desk.deliveries.rows(job)} == {"dead": OWED, "living": STORED}


def test_a_plug_in_that_fails_in_its_own_way_leaves_everything_owed_and_its_text_unseen(desk: Desk) -> None:
    job = desk.owe()

    desk.run(desk.outbox(Scripted(KeyError("SECRET^PATIENT"))))

    assert desk.states(job) == [(OWED, "KeyError")] * 2


def test_what_was_answered_before_an_error_stays_answered(desk: Desk) -> None:
    class Breaks(Scripted):
        def deliver(self, objects: Sequence[Dataset], replaced: Mapping[str, tuple[str, str]], /) -> Iterator[Answer]:
            yield from super().deliver(objects[:1], replaced)
            raise RuntimeError

    job = desk.owe()
    desk.run(desk.outbox(Breaks("stored")))
    after = desk.outbox(destination := Scripted("stored"))
    desk.run(after, after_s=100.0)

    assert destination.got == [[REPORT]]
    assert desk.states(job) == [(STORED, "stored")] * 2


def test_deliveries_to_a_destination_that_left_the_settings_are_parked_until_it_is_back(desk: Desk) -> None:
    job = desk.owe(None, "gone", "pacs")

    parked = desk.deliveries.park_strangers(["pacs"], now=desk.now)
    states = {(one.destination, one.state) for one in desk.deliveries.rows(job)}
    desk.undelivered.owe_again(job, now=desk.now)
    desk.run(desk.outbox(Scripted("stored", name="gone")))

    assert parked == 2
    assert states == {("gone", PARKED), ("pacs", OWED)}
    assert {one.state for one in desk.deliveries.rows(job) if one.destination == "gone"} == {STORED}


def test_a_restarted_node_goes_on_where_the_last_one_was(desk: Desk, tmp_path: Path) -> None:
    job = desk.owe()
    desk.run(desk.outbox(Scripted("later")))

    reborn = Desk(Ledger(open_database(tmp_path / "node.db")), desk.results, now=desk.now + 100.0)
    reborn.run(reborn.outbox(Scripted("stored")))

    assert [row.attempts for row in reborn.rows(job).values()] == [2, 2]
    assert reborn.states(job) == [(STORED, "stored")] * 2


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        (lambda file: file.unlink(), "a result that the ledger knows is missing from the spool"),
        (lambda file: file.write_bytes(file.read_bytes()[:-1] + b"!"), "a result is not on disk as it was made"),
    ],
)
def test_what_is_damaged_on_our_disk_is_not_sent_and_an_operators_to_know(
    desk: Desk, harm: Callable[[Path], object], why: str
) -> None:
    job = desk.owe()
    (file, _) = desk.results.root.iterdir()
    harm(file)
    outbox = desk.outbox(destination := Scripted("stored"))

    desk.run(outbox)

    assert desk.states(job) == [(PARKED, why)] * 2
    assert destination.got == []


def test_what_cannot_be_read_at_the_moment_is_tried_again(desk: Desk) -> None:
    job = desk.owe()
    outbox = desk.outbox(Scripted("stored"))

    with no_descriptors():
        desk.run(outbox)
    at_first = desk.states(job)
    desk.run(outbox, after_s=100.0)

    assert at_first == [(OWED, "OSError (Too many open files)")] * 2
    assert desk.states(job) == [(STORED, "stored")] * 2


def test_an_archive_that_is_down_leaves_everything_owed(desk: Desk) -> None:
    job = desk.owe()

    desk.run(desk.outbox(storage(1)))

    assert desk.states(job) == [(OWED, "no association with 127.0.0.1:1: connection refused")] * 2


def test_a_study_of_which_something_is_owed_or_held_is_not_dropped(desk: Desk) -> None:
    job = desk.owe()
    arrivals = Arrivals(desk.ledger.database)

    dropped = [arrivals.expire(before_s=1e9)]
    for was, state in ((DeliveryState.OWED, DeliveryState.HELD), (DeliveryState.HELD, STORED)):
        for uid in (SEG, REPORT):
            desk.deliveries.advance(uid, "pacs", state, "", was=was, now=desk.now)
        dropped.append(arrivals.expire(before_s=1e9))

    assert dropped == [0, 0, 1]
    assert desk.states(job) == [(STORED, "")] * 2


def test_a_destination_gets_the_kinds_of_objects_that_its_settings_name() -> None:
    pacs, viewer = peer(104), peer(104, objects=["sr", "key-images"])

    assert all(pacs.gets(role) for role in ("sr", "seg", "seg-muscles", "map", "key-images", "ko", "pdf", "outlines"))
    assert [role for role in ("sr", "seg", "seg-muscles", "key-images", "ko") if viewer.gets(role)] == [
        "sr",
        "key-images",
    ]
