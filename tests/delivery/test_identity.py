"""Nothing is sent to whoever knows the study as another patient's, unless a human says so."""

import pytest
from pydicom.uid import KeyObjectSelectionDocumentStorage

from node.delivery.identity import contradiction
from node.dicom.identifiers import InstanceUID, SeriesUID, StudyUID
from node.errors import RefusedError, RetrievalError
from node.ledger.rulings import Rulings
from node.records import RECALL_NOTE, DeliveryState, KnownStudy, ResultRecord
from tests.builders import SECRET, mr, part10
from tests.delivery.desk import REPORT, SEG, Desk, objects
from tests.delivery.test_fallback import KO_UID, key_objects
from tests.delivery.test_outbox import Scripted

OURS = KnownStudy("SECRET-ID", SECRET, "A1")
HELD, OWED, STORED, SEEN = DeliveryState.HELD, DeliveryState.OWED, DeliveryState.STORED, DeliveryState.SEEN


class Knows:
    """An archive that is asked: whose study it is, and what it has of it."""

    def __init__(self, study: KnownStudy | None, *, shows: frozenset[str] = frozenset()) -> None:
        self.study, self.shows, self.silent = study, shows, False

    def known(self, _study: StudyUID) -> KnownStudy | None:
        if self.silent:
            raise RetrievalError("no association with the archive")
        return self.study

    def instances(self, _study: StudyUID, _series: SeriesUID) -> frozenset[InstanceUID]:
        if self.silent:
            raise RetrievalError("no association with the archive")
        return frozenset(map(InstanceUID, self.shows))


@pytest.mark.parametrize(
    ("known", "differs"),
    [
        (OURS, ""),
        (KnownStudy("OTHER", SECRET, "A1"), "Patient ID"),
        (KnownStudy("SECRET-ID", "ANOTHER^PATIENT", "A1"), "Patient's Name"),
        (KnownStudy("SECRET-ID", SECRET, "A2"), "Accession Number"),
        (KnownStudy("OTHER", "ANOTHER", "A1"), "Patient ID and Patient's Name"),
        (KnownStudy("", "", ""), ""),  # what is empty says nothing
        (KnownStudy(" SECRET-ID ", "Secret^Patient^^", "A1\0"), ""),  # how it is written down does not count
        (KnownStudy("SECRET-ID", "SECRET^PATIENT=秘密", "A1"), ""),  # a group that we do not have
    ],
)
def test_what_both_say_must_agree(known: KnownStudy, differs: str) -> None:
    found = contradiction(mr(AccessionNumber="A1"), known)

    assert found == (f"the study is there under another {differs}" if differs else "")


@pytest.mark.parametrize(
    ("ours", "theirs", "alike"),
    [
        ("Müller^Jörg", "Müller^Jörg", True),  # composed or not
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "YAMADA^TAROU=山田^太郎", True),
        ("Yamada^Tarou=山田^太郎", "Yamada^Tarou=山田^次郎", False),
        ("Hong^Gildong=洪^吉洞", "=洪^吉洞", True),
        ("A^B", "B^A", False),
    ],
)
def test_names_are_compared_group_by_group(ours: str, theirs: str, alike: bool) -> None:
    made = mr(PatientName=ours, SpecificCharacterSet="ISO_IR 192")

    assert (contradiction(made, KnownStudy("", theirs, "")) == "") is alike


def test_a_result_is_held_where_the_study_is_anothers_and_sent_once_a_human_says_so(desk: Desk) -> None:
    job = desk.owe()
    outbox = desk.outbox(destination := Scripted("stored"), inquiry=Knows(KnownStudy("OTHER", "", "")))
    desk.run(outbox)
    held, sent_before = desk.states(job), list(destination.got)
    desk.run(outbox, after_s=1e6)

    released = desk.undelivered.release(job, "", "radiologist", now=desk.now)
    desk.run(outbox)

    assert held == [(HELD, "the study is there under another Patient ID")] * 2
    assert (sent_before, released) == ([], 2)
    assert destination.got == [[SEG, REPORT]]
    assert {one.released_by for one in desk.deliveries.rows(job)} == {"radiologist"}


def test_a_retry_looks_again(desk: Desk) -> None:
    job = desk.owe()
    archive = Knows(KnownStudy("OTHER", "", ""))
    outbox = desk.outbox(Scripted("stored"), inquiry=archive)
    desk.run(outbox)
    archive.study = OURS  # somebody has put it right there

    desk.undelivered.owe_again(job, now=desk.now)
    desk.run(outbox)

    assert [state for state, _ in desk.states(job)] == [STORED, STORED]


def test_a_study_that_is_not_there_is_waited_for_and_then_held(desk: Desk) -> None:
    job = desk.owe()
    outbox = desk.outbox(destination := Scripted("stored"), inquiry=Knows(None))
    desk.run(outbox)
    at_first = desk.states(job)
    for _ in range(3):
        desk.run(outbox, after_s=100.0)

    assert at_first == [(OWED, "the destination has no such study")] * 2
    assert desk.states(job) == [(HELD, "the destination has no such study")] * 2
    assert destination.got == []


def test_only_answers_count_until_a_study_that_is_not_there_is_held(desk: Desk) -> None:
    job = desk.owe()
    archive = Knows(None)
    archive.silent = True
    outbox = desk.outbox(Scripted("stored"), inquiry=archive)
    for _ in range(5):
        desk.run(outbox, after_s=10_000.0)
    archive.silent = False
    states = []
    for _ in range(3):
        desk.run(outbox, after_s=10_000.0)
        states.append({state for state, _ in desk.states(job)})
    held = desk.rows(job)["sr"]
    desk.undelivered.owe_again(job, now=desk.now)
    desk.run(outbox)

    assert states == [{OWED}, {OWED}, {HELD}]
    assert (held.attempts, held.looks) == (5, 2)  # what failed; what was answered before the answer that held it
    assert {state for state, _ in desk.states(job)} == {OWED}  # a retry looks as often again


def test_what_was_held_at_the_first_look_was_never_sent_and_is_not_recalled(desk: Desk) -> None:
    job = desk.owe()
    desk.run(desk.outbox(Scripted("stored"), inquiry=Knows(KnownStudy("OTHER", "", ""))))

    assert Rulings(desk.ledger.database).holders(job) == []


def test_whoever_has_never_let_us_in_holds_nothing_and_whoever_may_be_asked_this_moment_may(desk: Desk) -> None:
    job = desk.owe(None, "pacs", "viewer")
    desk.run(desk.outbox(Scripted(RefusedError("association rejected for good"))))

    assert desk.states(job)[0] == (DeliveryState.PARKED, "association rejected for good")
    assert Rulings(desk.ledger.database).holders(job) == ["viewer"]


def test_a_recall_goes_wherever_its_results_are_whosever_the_study_is_there_by_now(desk: Desk) -> None:
    job = desk.owe()
    archive = Knows(OURS)
    outbox = desk.outbox(destination := Scripted("stored"), inquiry=archive)
    desk.run(outbox)
    archive.study = KnownStudy("OTHER", "", "")  # merged with another patient, which may be why
    path = desk.results.store(part10(key_objects()))
    note = ResultRecord(InstanceUID(KO_UID), KeyObjectSelectionDocumentStorage, job, RECALL_NOTE, path)

    Rulings(desk.ledger.database).recall(job, note, "Curie", "another patient's", now=desk.now)
    desk.run(outbox)

    assert desk.rows(job)[RECALL_NOTE].state is STORED
    assert destination.got == [[SEG, REPORT], [KO_UID]]


def test_nothing_is_sent_while_nobody_can_be_asked(desk: Desk) -> None:
    job = desk.owe()
    archive = Knows(OURS)
    archive.silent = True
    outbox = desk.outbox(destination := Scripted("stored"), inquiry=archive)
    desk.run(outbox)
    silent = (desk.states(job), list(destination.got))
    archive.silent = False
    desk.run(outbox, after_s=100.0)

    assert silent == ([(OWED, "no association with the archive")] * 2, [])
    assert destination.got == [[SEG, REPORT]]


def test_what_an_archive_shows_was_seen(desk: Desk) -> None:
    job = desk.owe()
    archive = Knows(OURS, shows=frozenset({SEG}))
    outbox = desk.outbox(Scripted("stored"), inquiry=archive)
    desk.run(outbox)
    stored = [state for state, _ in desk.states(job)]
    desk.run(outbox, after_s=10.0)
    half = [state for state, _ in desk.states(job)]
    archive.shows = frozenset({SEG, REPORT})
    desk.run(outbox, after_s=100.0)

    assert stored == [STORED, STORED]
    assert half == [SEEN, STORED]
    assert [state for state, _ in desk.states(job)] == [SEEN, SEEN]
    assert desk.run(outbox, after_s=1e6) == 0


def test_what_an_archive_took_and_never_shows_is_an_operators(desk: Desk) -> None:
    desk.settings = desk.settings.model_copy(update={"attempts": 3})
    job = desk.owe()
    outbox = desk.outbox(destination := Scripted("stored"), inquiry=Knows(OURS))
    for _ in range(6):
        desk.run(outbox, after_s=1000.0)

    assert desk.states(job) == [(DeliveryState.PARKED, "stored, but a C-FIND does not find it")] * 2
    assert len(destination.got) == 1


def test_no_value_of_the_patient_is_told(desk: Desk) -> None:
    job = desk.owe(objects(AccessionNumber="SECRET-A1"))

    desk.run(desk.outbox(Scripted("stored"), inquiry=Knows(KnownStudy("SECRET-2", "SECRET^OTHER", "SECRET-A2"))))

    assert "SECRET" not in repr(desk.rows(job)) + repr(OURS)


def test_a_study_that_was_known_once_is_given_all_the_patience_again(desk: Desk) -> None:
    job = desk.owe()
    archive = Knows(None)
    outbox = desk.outbox(Scripted("later"), inquiry=archive)
    looks = []
    for known in (None, None, OURS, None, None):
        archive.study = known
        desk.run(outbox, after_s=10_000.0)
        looks.append(desk.rows(job)["sr"].looks)

    assert looks == [1, 2, 0, 1, 2]
    assert desk.rows(job)["sr"].state is OWED
