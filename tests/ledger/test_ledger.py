import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from node.delivery.dicom import SENT
from node.dicom.identifiers import InstanceUID, SeriesUID, StudyUID
from node.errors import LedgerError
from node.ledger import Arrivals, Database, Deliveries, open_database
from node.ledger.arrivals import OF_RESULTS
from node.ledger.engine import engine_of
from node.ledger.gathering import GatheringStudy
from node.ledger.ledger import Ledger
from node.ledger.retrievals import Retrievals
from node.ledger.rulings import Rulings
from node.records import (
    DeliveryState,
    Job,
    Place,
    ReceivedInstance,
    ResultRecord,
    RetrievalReason,
    Role,
    RoleDecision,
    SegmentEnd,
    SeriesRole,
    StackKey,
    StudyState,
    Version,
    Wanted,
)
from tests.builders import ORIGIN
from tests.conftest import ROOT

STUDY, SERIES = StudyUID("2.25.1"), SeriesUID("2.25.1.1")
OTHER_STUDY, OTHER_SERIES = StudyUID("2.25.2"), SeriesUID("2.25.2.1")


def received(number: int, *, contradicts: bool = False, segment: int = 1, **origin: str) -> ReceivedInstance:
    """Return the `number`-th record of a segment, of records of 4 KiB."""
    values = {"sop_instance": f"{SERIES}.{number}", "study": STUDY, "series": SERIES} | origin
    place = Place(segment, 77, 4096 * number)
    following = SegmentEnd(segment, 77, 4096 * (number + 1), number)
    return ReceivedInstance(place, following, replace(ORIGIN, **values), float(number), contradicts)


FIRST, SECOND, THIRD = received(1), received(2), received(3)


def enqueue_nothing(_connection: sa.Connection, *_what: object) -> None:
    """Stand in for the queue where a test is not about it."""


def close(ledger: Ledger, *, now: float = 100.0, eligible: bool = True) -> list[Job]:
    jobs: list[Job] = []
    (gathered,) = ledger.gathering()
    (one,) = gathered.series
    ledger.close(
        gathered,
        whole_by={one.series: "quiet"},
        roles={StackKey(one.series): RoleDecision(SeriesRole.AXIAL_T1, "because")},
        selection={Role.POST: StackKey(one.series)} if eligible else None,
        reason="",
        enqueue=lambda _connection, job: jobs.append(job),
        now=now,
    )
    return jobs


def settle(ledger: Ledger, job: Job) -> None:
    result = ResultRecord(InstanceUID(f"2.25.9.{job.generation}"), "1.2", job.id, "sr", "path")
    ledger.settle(job.id, "findings", [result], {"pacs": {"sr"}}, now=200.0)


def state(ledger: Ledger) -> StudyState:
    (row,) = ledger.study_rows()
    return row.state


def forced(ledger: Ledger) -> dict[str, str | None]:
    """Return who wants each study closed now."""
    with ledger.engine.connect() as connection:
        rows = connection.execute(sa.text("SELECT uid, forced_by FROM study"))
        return {row.uid: row.forced_by for row in rows}


def states(database: Path) -> dict[str, str]:
    """Return the state of every study, also of those without instances."""
    with sqlite3.connect(database) as connection:
        return dict(connection.execute("SELECT uid, state FROM study"))


def test_what_is_entered_is_found_where_it_is(arrivals: Arrivals, ledger: Ledger) -> None:
    arrivals.enter([FIRST, SECOND], now=1.0)

    assert arrivals.versions(FIRST.origin.sop_instance) == [Version(FIRST.place, False)]
    assert ledger.places(STUDY, SERIES) == [FIRST.place, SECOND.place]
    assert arrivals.ends() == {1: SECOND.following}
    assert arrivals.needed_segments() == {1}
    (gathered,) = ledger.gathering()
    assert [(one.series, one.instances, one.last_seen_s) for one in gathered.series] == [(SERIES, 2, 1.0)]


def test_a_batch_entered_twice_is_there_once(arrivals: Arrivals, ledger: Ledger) -> None:
    arrivals.enter([FIRST, SECOND], now=1.0)
    arrivals.enter([FIRST, SECOND], now=2.0)

    assert ledger.counts()["instances"] == 2
    assert arrivals.versions(FIRST.origin.sop_instance) == [Version(FIRST.place, False)]
    assert state(ledger) is StudyState.GATHERING


def test_the_rows_follow_each_segment_by_itself(arrivals: Arrivals) -> None:
    arrivals.enter([received(1), received(2, segment=2), received(3)], now=1.0)
    arrivals.enter([received(4)], now=2.0)

    assert {number: end.sequence for number, end in arrivals.ends().items()} == {1: 4, 2: 2}


def test_a_batch_that_breaks_off_leaves_nothing(
    arrivals: Arrivals, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    from node.ledger import arrivals as module

    monkeypatch.setattr(module, "_ENTER_SEGMENT", "INSERT INTO nowhere VALUES (?, ?, ?, ?)")

    with pytest.raises(sqlite3.OperationalError):
        arrivals.enter([FIRST], now=1.0)

    assert (ledger.counts(), arrivals.ends()) == ({"instances": 0}, {})


def test_a_series_that_is_sent_again_is_not_quiet_and_reopens_nothing(arrivals: Arrivals, ledger: Ledger) -> None:
    arrivals.enter([FIRST], now=1.0)
    arrivals.enter([], repeated=[(STUDY, SERIES)], now=50.0)
    (gathered,) = ledger.gathering()
    close(ledger)
    arrivals.enter([], repeated=[(STUDY, SERIES)], now=200.0)

    assert [one.last_seen_s for one in gathered.series] == [50.0]
    assert ledger.gathering() == []


def test_a_lookup_sees_what_is_committed_only(arrivals: Arrivals, database: Database) -> None:
    """Its thread has a connection of its own: on another's it would see into a transaction."""
    arrivals.enter([FIRST], now=1.0)
    arrivals.versions(FIRST.origin.sop_instance)

    with ThreadPoolExecutor(1) as other, closing(database.connect()) as writing:
        writing.execute("DELETE FROM instance")
        seen = other.submit(arrivals.versions, FIRST.origin.sop_instance).result()

    assert seen == [Version(FIRST.place, False)]


def test_nobody_changes_a_study_between_the_look_at_it_and_the_entry(
    arrivals: Arrivals, database: Database, tmp_path: Path
) -> None:
    """Else an operator's release in that moment is undone, or another patient missed."""
    arrivals.enter([FIRST], now=1.0)
    refused: list[str] = []

    def interfere(statement: str) -> None:
        if "FROM study" in statement:
            with closing(sqlite3.connect(tmp_path / "node.db", timeout=0)) as other:
                try:
                    other.execute("UPDATE study SET patient_id = 'ANOTHER'")
                except sqlite3.OperationalError as error:
                    refused.append(str(error))

    database.connection.set_trace_callback(interfere)  # called as a statement begins
    arrivals.enter([SECOND], now=2.0)

    assert refused == ["database is locked"]


# ------------------------------------------------------------------ studies that are held


def test_a_contradiction_holds_the_study_and_more_instances_do_not_free_it(arrivals: Arrivals, ledger: Ledger) -> None:
    arrivals.enter([FIRST], now=1.0)
    held = arrivals.enter([received(2, contradicts=True, sop_instance=FIRST.origin.sop_instance)], now=2.0)
    again = arrivals.enter([THIRD], now=3.0)

    assert [one.reason for one in held] == ["two contents under one SOP Instance UID"]
    assert again == []  # it was held already: one alarm
    assert state(ledger) is StudyState.HELD
    assert ledger.gathering() == []


def test_a_contradiction_within_one_batch_holds_a_new_study(arrivals: Arrivals, ledger: Ledger) -> None:
    held = arrivals.enter([FIRST, received(2, contradicts=True, sop_instance=FIRST.origin.sop_instance)], now=1.0)

    assert len(held) == 1
    assert state(ledger) is StudyState.HELD


@pytest.mark.parametrize("in_one_batch", [False, True])
def test_the_study_of_the_contradicted_instance_is_held_as_well(
    arrivals: Arrivals, tmp_path: Path, in_one_batch: bool
) -> None:
    liar = received(2, contradicts=True, sop_instance=FIRST.origin.sop_instance, study=OTHER_STUDY, series=OTHER_SERIES)

    batches = [[FIRST, liar]] if in_one_batch else [[FIRST], [liar]]
    held = [one for batch in batches for one in arrivals.enter(batch, now=1.0)]

    assert states(tmp_path / "node.db") == {STUDY: "held", OTHER_STUDY: "held"}
    assert len(held) == 2


@pytest.mark.parametrize("in_one_batch", [False, True])
@pytest.mark.parametrize("stranger", [{"patient_id": "SOMEBODY ELSE"}, {"issuer": "ANOTHER HOSPITAL"}])
def test_two_patients_under_one_study_hold_it(
    arrivals: Arrivals, ledger: Ledger, stranger: dict[str, str], in_one_batch: bool
) -> None:
    other = received(2, **stranger)

    batches = [[FIRST, other]] if in_one_batch else [[FIRST], [other]]
    held = [one.reason for batch in batches for one in arrivals.enter(batch, now=1.0)]

    assert held == ["two patients under one Study Instance UID"]
    assert state(ledger) is StudyState.HELD


def test_a_study_that_was_held_while_it_was_looked_at_is_not_closed(arrivals: Arrivals, ledger: Ledger) -> None:
    arrivals.enter([FIRST], now=1.0)
    (before,) = ledger.gathering()
    liar = received(2, contradicts=True, sop_instance=FIRST.origin.sop_instance, study=OTHER_STUDY, series=OTHER_SERIES)
    arrivals.enter([liar], now=2.0)  # it holds the first study without adding to it

    closed = ledger.close(
        before, whole_by={}, roles={}, selection=None, reason="nothing", enqueue=enqueue_nothing, now=3.0
    )

    assert not closed
    assert {row.state for row in ledger.study_rows()} == {StudyState.HELD}


@pytest.mark.parametrize(("latest", "counts"), [(False, 1), (True, 2)])
def test_a_released_study_gathers_with_the_contents_that_were_chosen(
    arrivals: Arrivals, ledger: Ledger, latest: bool, counts: int
) -> None:
    contents = [FIRST, received(2, contradicts=True, sop_instance=FIRST.origin.sop_instance)]
    arrivals.enter([*contents, THIRD], now=1.0)
    (row,) = ledger.study_rows()

    left_out = ledger.release(row.alias, latest=latest, now=5.0)

    (gathered,) = ledger.gathering()
    assert left_out == 1
    assert [(one.instances, one.last_seen_s) for one in gathered.series] == [(2, 5.0)]
    assert ledger.places(STUDY, SERIES) == [contents[counts - 1].place, THIRD.place]
    (job,) = close(ledger)
    assert [place for _uid, place in ledger.inputs(job.id)[Role.POST]] == [contents[counts - 1].place, THIRD.place]
    assert len(arrivals.versions(FIRST.origin.sop_instance)) == 2


@pytest.mark.parametrize(("latest", "counts"), [(False, 0), (True, 1)])
def test_a_released_study_is_of_one_patient_and_more_of_that_one_do_not_hold_it(
    arrivals: Arrivals, ledger: Ledger, latest: bool, counts: int
) -> None:
    patients = ("FIRST", "SECOND")
    arrivals.enter([received(1, patient_id=patients[0]), received(2, patient_id=patients[1])], now=1.0)
    (row,) = ledger.study_rows()

    assert ledger.release(row.alias, latest=latest, now=5.0) == 1

    assert ledger.places(STUDY, SERIES) == [received(1 + counts).place]
    assert arrivals.enter([received(3, patient_id=patients[counts])], now=6.0) == []
    assert len(arrivals.enter([received(4, patient_id=patients[1 - counts])], now=7.0)) == 1


@pytest.mark.parametrize("latest", [False, True])
def test_an_instance_that_came_of_two_patients_counts_with_the_content_of_the_one_that_is_chosen(
    arrivals: Arrivals, ledger: Ledger, latest: bool
) -> None:
    """Also where its own first, or latest, content is of the other patient."""
    sop_instance = received(9).origin.sop_instance

    def of(number: int, patient: str) -> ReceivedInstance:
        return received(number, contradicts=number > 2, sop_instance=sop_instance, patient_id=patient)

    contents = [of(2, "OTHER"), of(3, "THIS"), of(4, "THIS"), of(5, "OTHER")]
    decisive = received(6 if latest else 1, patient_id="THIS")
    arrivals.enter(sorted([decisive, *contents], key=lambda one: one.received_s), now=1.0)
    (row,) = ledger.study_rows()

    assert ledger.release(row.alias, latest=latest, now=7.0) == 3

    assert set(ledger.places(STUDY, SERIES)) == {decisive.place, contents[2 if latest else 1].place}


def test_who_wanted_a_study_closed_did_not_want_it_closed_in_spite_of_a_doubt(
    arrivals: Arrivals, ledger: Ledger
) -> None:
    """Neither when it is held by what comes for it nor by what comes for another study."""
    arrivals.enter([FIRST], now=1.0)
    assert ledger.force(STUDY, "root", now=1.0)
    arrivals.enter([SECOND], now=2.0)
    assert [one.forced_by for one in ledger.gathering()] == ["root"]  # growth is no doubt

    arrivals.enter([received(4, contradicts=True, sop_instance=FIRST.origin.sop_instance)], now=3.0)
    assert forced(ledger) == {STUDY: None}
    (doubtful,) = ledger.doubtful(quiet_since_s=5.0)
    assert ledger.go_on(doubtful, now=5.0)

    assert ledger.force(STUDY, "root", now=1.0)
    elsewhere = {"sop_instance": FIRST.origin.sop_instance, "study": OTHER_STUDY, "series": OTHER_SERIES}
    arrivals.enter([received(5, contradicts=True, **elsewhere)], now=6.0)
    assert forced(ledger) == {STUDY: None, OTHER_STUDY: None}


def test_a_study_that_goes_on_of_itself_is_not_forced(arrivals: Arrivals, ledger: Ledger) -> None:
    arrivals.enter([FIRST, received(2, contradicts=True, sop_instance=FIRST.origin.sop_instance)], now=1.0)
    with ledger.engine.begin() as connection:  # as tables of before may have it
        connection.execute(sa.text("UPDATE study SET forced_by = 'root'"))
    (doubtful,) = ledger.doubtful(quiet_since_s=5.0)

    assert ledger.go_on(doubtful, now=5.0)

    assert forced(ledger) == {STUDY: None}


def test_a_prior_of_another_study_cannot_be_forced(arrivals: Arrivals, database: Database, ledger: Ledger) -> None:
    arrivals.enter([FIRST], now=1.0)
    prior = Wanted(OTHER_STUDY, OTHER_SERIES, "pacs", RetrievalReason.PRIOR, STUDY, 1)
    Retrievals(database).ask([prior], most_series=1, now=2.0)
    arrivals.enter([received(2, study=OTHER_STUDY, series=OTHER_SERIES)], now=3.0)

    assert not ledger.force(OTHER_STUDY, "root", now=1.0)

    assert ledger.force(STUDY, "root", now=1.0)
    assert forced(ledger) == {STUDY: "root", OTHER_STUDY: None}


def test_only_what_is_held_can_be_released(arrivals: Arrivals, ledger: Ledger) -> None:
    arrivals.enter([FIRST], now=1.0)
    (row,) = ledger.study_rows()

    assert ledger.release(row.alias, latest=False, now=2.0) is None
    assert ledger.release("nobody", latest=False, now=2.0) is None


# ------------------------------------------------------------------ retention


def test_a_study_that_is_done_with_expires_and_needs_no_segment(
    arrivals: Arrivals, ledger: Ledger, tmp_path: Path
) -> None:
    arrivals.enter([FIRST], now=1.0)
    close(ledger, eligible=False)

    assert arrivals.expire(before_s=1.0) == 0  # seen at that very moment
    assert arrivals.expire(before_s=1.5) == 1

    assert states(tmp_path / "node.db") == {STUDY: "expired"}
    assert (arrivals.needed_segments(), arrivals.versions(FIRST.origin.sop_instance)) == (set(), [])
    assert arrivals.ends() == {1: FIRST.following}  # what was dropped is not entered again at the next start


def test_a_study_expires_when_its_job_is_settled_and_its_results_are_delivered(
    arrivals: Arrivals, ledger: Ledger
) -> None:
    arrivals.enter([FIRST], now=1.0)
    (job,) = close(ledger)
    expired = [arrivals.expire(before_s=1e9)]
    settle(ledger, job)
    expired.append(arrivals.expire(before_s=1e9))
    Deliveries(ledger.database).advance(
        f"2.25.9.{job.generation}", "pacs", DeliveryState.STORED, "0x0000", was=DeliveryState.OWED, now=300.0
    )
    expired.append(arrivals.expire(before_s=1e9))

    assert expired == [0, 0, 1]


def test_neither_a_gathering_nor_a_held_study_expires(arrivals: Arrivals, ledger: Ledger) -> None:
    arrivals.enter([FIRST, received(2, study=OTHER_STUDY, series=OTHER_SERIES)], now=1.0)
    arrivals.enter([received(3, study=OTHER_STUDY, series=OTHER_SERIES, patient_id="ANOTHER")], now=1.0)

    assert arrivals.expire(before_s=1e9) == 0
    assert ledger.counts()["instances"] == 3


def test_an_instance_of_an_expired_study_opens_it_again(arrivals: Arrivals, ledger: Ledger) -> None:
    arrivals.enter([FIRST], now=1.0)
    close(ledger, eligible=False)
    arrivals.expire(before_s=1e9)

    arrivals.enter([SECOND], now=2.0)

    assert [one.instances for one in ledger.gathering()[0].series] == [1]


def test_a_job_of_an_expired_study_never_gets_the_instances_of_another(arrivals: Arrivals, ledger: Ledger) -> None:
    """Jobs list ids, and those of a table that was emptied would else be given again."""
    arrivals.enter([FIRST], now=1.0)
    (job,) = close(ledger)
    ledger.fail(job.id, "no memory", now=50.0)
    arrivals.expire(before_s=1e9)
    arrivals.enter([received(2, study=OTHER_STUDY, series=OTHER_SERIES)], now=60.0)

    assert ledger.inputs(job.id) == {Role.POST: []}


@pytest.mark.slow
def test_four_processes_open_new_ledgers_at_once(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from node.ledger import Arrivals, Database, open_database;"
        "print('ready', flush=True); sys.stdin.readline();"
        "print([len(Arrivals(open_database(Path(sys.argv[1]) / f'{n}.db')).ends()) for n in range(30)])"
    )
    openers = [
        subprocess.Popen(
            [sys.executable, "-c", code, tmp_path], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    for one in openers:  # all have imported what they need
        assert one.stdout is not None
        one.stdout.readline()

    for one in openers:
        assert one.stdin is not None
        one.stdin.write("\n")
        one.stdin.flush()

    assert [one.communicate(timeout=60)[0] for one in openers] == [f"{[0] * 30}\n"] * 4


def test_a_database_is_opened_while_a_worker_holds_its_lock(tmp_path: Path) -> None:
    """The lock under which it is opened must be none that somebody holds for life."""
    from node import locks, process

    (tmp_path / process.RECEIVER_LOCK).parent.mkdir()
    held = [locks.hold(tmp_path / name) for name in (process.WORKER_LOCK, process.RECEIVER_LOCK)]
    command = (
        "import sys; from pathlib import Path; from node.ledger import open_database; open_database(Path(sys.argv[1]))"
    )

    subprocess.run([sys.executable, "-c", command, tmp_path / "node.db"], cwd=ROOT, check=True, timeout=20)

    for one in held:
        one.close()


# ------------------------------------------------------------------ completion, jobs, delivery


def test_a_commit_is_synced_to_disk(tmp_path: Path) -> None:
    database = open_database(tmp_path / "node.db")

    with closing(database.connect()) as ours, closing(engine_of(database).raw_connection()) as queues:
        found = [
            [connection.cursor().execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
            for connection in (ours, queues)
        ]

    assert found == [["wal", 2]] * 2  # 2: FULL


def test_closing_a_study_makes_its_job_in_the_same_transaction(arrivals: Arrivals, ledger: Ledger) -> None:
    arrivals.enter([FIRST], now=1.0)
    (gathered,) = ledger.gathering()

    def fail(_connection: sa.Connection, _job: Job) -> None:
        raise RuntimeError("the queue is away")

    with pytest.raises(RuntimeError):
        ledger.close(
            gathered,
            whole_by={SERIES: "quiet"},
            roles={StackKey(SERIES): RoleDecision(SeriesRole.AXIAL_T1, "because")},
            selection={Role.POST: StackKey(SERIES)},
            reason="",
            enqueue=fail,
            now=2.0,
        )

    assert ledger.job_rows() == []
    assert [row.state for row in ledger.study_rows()] == [StudyState.GATHERING]


def test_a_study_that_grew_while_it_was_looked_at_stays_open(arrivals: Arrivals, ledger: Ledger) -> None:
    arrivals.enter([FIRST], now=1.0)
    (before,) = ledger.gathering()
    arrivals.enter([SECOND], now=2.0)

    closed = ledger.close(
        GatheringStudy(before.study, before.changes, before.series),
        whole_by={SERIES: "quiet"},
        roles={},
        selection=None,
        reason="nothing",
        enqueue=enqueue_nothing,
        now=3.0,
    )

    assert not closed
    assert len(ledger.gathering()) == 1


def test_a_late_instance_reopens_a_study_and_its_next_job_is_a_new_generation(
    arrivals: Arrivals, ledger: Ledger
) -> None:
    arrivals.enter([FIRST], now=1.0)
    (first,) = close(ledger)
    arrivals.enter([SECOND], now=3.0)
    (second,) = close(ledger, now=101.0)

    assert (first.generation, second.generation) == (1, 2)
    assert len(ledger.inputs(second.id)[Role.POST]) == 2


def test_a_job_with_the_inputs_of_an_older_one_repeats_it(arrivals: Arrivals, ledger: Ledger) -> None:
    arrivals.enter([FIRST], now=1.0)
    (first,) = close(ledger)
    ledger.note_inputs(first.id, "digest")
    settle(ledger, first)
    arrivals.enter([SECOND], now=3.0)
    (second,) = close(ledger, now=101.0)

    assert ledger.note_inputs(second.id, "digest") == f"repeats {first.id}"
    assert ledger.note_inputs(first.id, "digest") == ""  # a step that a crash repeats finds itself, not its heir


def test_a_job_that_was_cancelled_does_not_stand_in_for_a_later_one(arrivals: Arrivals, ledger: Ledger) -> None:
    arrivals.enter([FIRST], now=1.0)
    (first,) = close(ledger)
    ledger.note_inputs(first.id, "digest")  # and nothing more: it has no results, and never will
    arrivals.enter([SECOND], now=60.0)
    (second,) = close(ledger, now=101.0)

    assert ledger.note_inputs(second.id, "digest") == ""


def test_a_job_measures_what_was_there_when_its_study_was_closed(arrivals: Arrivals, ledger: Ledger) -> None:
    arrivals.enter([FIRST], now=1.0)
    (first,) = close(ledger)
    arrivals.enter([SECOND], now=60.0)

    assert ledger.inputs(first.id)[Role.POST] == [(InstanceUID(FIRST.origin.sop_instance), FIRST.place)]


def test_a_failed_job_does_not_stand_in_for_a_later_one(arrivals: Arrivals, ledger: Ledger) -> None:
    arrivals.enter([FIRST], now=1.0)
    (first,) = close(ledger)
    ledger.note_inputs(first.id, "digest")
    ledger.fail(first.id, "no memory", now=50.0)
    arrivals.enter([SECOND], now=60.0)
    (second,) = close(ledger, now=101.0)

    assert ledger.note_inputs(second.id, "digest") == ""


def test_an_outage_of_ours_is_not_quiet_time(arrivals: Arrivals, ledger: Ledger) -> None:
    arrivals.enter([FIRST], now=1.0)

    arrivals.excuse_outage(now=1000.0)

    (gathered,) = ledger.gathering()
    assert [one.last_seen_s for one in gathered.series] == [1000.0]


def test_settling_twice_owes_each_object_once(arrivals: Arrivals, ledger: Ledger) -> None:
    arrivals.enter([FIRST], now=1.0)
    (job,) = close(ledger)
    settle(ledger, job)
    settle(ledger, job)

    assert [one.state for one in Deliveries(ledger.database).rows(job.id)] == [DeliveryState.OWED]


def test_tables_of_another_version_are_refused(tmp_path: Path) -> None:
    with open_database(tmp_path / "node.db").begin() as connection:
        connection.execute("UPDATE ledger_version SET version = 99")

    with pytest.raises(LedgerError, match="version 99"):
        open_database(tmp_path / "node.db")


def test_a_state_that_does_not_exist_cannot_be_written(arrivals: Arrivals, tmp_path: Path) -> None:
    arrivals.enter([FIRST], now=1.0)

    with sqlite3.connect(tmp_path / "node.db") as connection, pytest.raises(sqlite3.IntegrityError):
        connection.execute("UPDATE study SET state = 'finished'")


def test_a_release_changes_no_other_study_and_leaves_no_instance_out(arrivals: Arrivals, ledger: Ledger) -> None:
    """The same UID came in two studies with two contents: each keeps its own."""
    elsewhere = received(9, sop_instance=f"{SERIES}.1", study=OTHER_STUDY, series=OTHER_SERIES, contradicts=True)
    arrivals.enter([FIRST, SECOND], now=1.0)
    arrivals.enter([elsewhere], now=2.0)
    first, second = sorted(ledger.study_rows(), key=lambda row: row.instances, reverse=True)

    assert (first.state, second.state) == (StudyState.HELD, StudyState.HELD)
    assert ledger.release(first.alias, latest=True, now=3.0) == 0

    assert [one.instances for one in ledger.gathering()[0].series] == [2]
    assert [one.contradicts for one in arrivals.versions(f"{SERIES}.1")] == [False, True]
    now = {row.alias: row.state for row in ledger.study_rows()}
    assert (now[first.alias], now[second.alias]) == (StudyState.GATHERING, StudyState.HELD)


@pytest.mark.parametrize("latest", [False, True])
def test_first_and_latest_are_told_by_the_time_of_arrival(arrivals: Arrivals, ledger: Ledger, latest: bool) -> None:
    """A ledger that was lost is entered again segment by segment, not in the order of arrival."""
    older = replace(received(2, sop_instance=f"{SERIES}.1", contradicts=True), received_s=0.5)
    arrivals.enter([FIRST, older], now=1.0)

    ledger.release(ledger.study_rows()[0].alias, latest=latest, now=3.0)

    contradicts = [one.contradicts for one in arrivals.versions(f"{SERIES}.1")]
    assert contradicts == ([False, True] if latest else [True, False])


def test_a_study_that_comes_again_is_not_old(arrivals: Arrivals, ledger: Ledger) -> None:
    arrivals.enter([FIRST], now=1.0)
    close(ledger, eligible=False)
    arrivals.enter([], repeated=[(STUDY, SERIES)], now=1000.0)

    assert arrivals.expire(before_s=999.0) == 0
    assert arrivals.expire(before_s=1001.0) == 1


def test_all_that_is_held_is_told_page_by_page(
    arrivals: Arrivals, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.ledger.arrivals._PAGE", 2)
    arrivals.enter([received(k) for k in range(1, 6)], now=1.0)

    told = [one.sop_instance for one in arrivals.held()]
    place = next(iter(arrivals.held(STUDY))).place

    assert told == [f"{SERIES}.{k}" for k in range(1, 6)]
    assert arrivals.still_held(place)
    assert not arrivals.still_held(replace(place, offset=place.offset + 1))
    assert arrivals.instances_by_segment() == {1: 5}


def test_a_result_of_ours_that_comes_back_is_kept_and_its_study_stays_measured(
    ledger: Ledger, arrivals: Arrivals
) -> None:
    arrivals.enter([FIRST], now=0.0)
    (job,) = close(ledger)
    settle(ledger, job)
    (before,) = ledger.study_rows()
    ours = {"sop_instance": f"2.25.9.{job.generation}", "series": "2.25.1.77"}

    held = arrivals.enter([received(5, **ours)], now=300.0)
    held += arrivals.enter([received(6, contradicts=True, patient_id="COERCED", **ours)], now=301.0)

    (row,) = ledger.study_rows()
    assert held == []
    assert (row.state, row.since_s, row.last_seen_s) == (StudyState.MEASURABLE, before.since_s, before.last_seen_s)
    assert row.instances == before.instances + 2
    assert ledger.superseded(job.id) == ""
    assert [one.whole_by for one in ledger.stack_rows(STUDY) if one.number == 0] == ["a result of this node, sent back"]


@pytest.mark.parametrize("eligible", [True, False])
def test_a_result_that_another_node_made_reopens_no_study_that_is_closed_but_an_image_beside_it_does(
    ledger: Ledger, arrivals: Arrivals, eligible: bool
) -> None:
    arrivals.enter([FIRST], now=0.0)
    close(ledger, eligible=eligible)
    (before,) = ledger.study_rows()
    sent = {str(sop_class) for classes in SENT.values() for sop_class in classes}
    theirs = [
        received(number, sop_instance=f"2.25.8.{number}", series="2.25.1.88", sop_class=sop_class)
        for number, sop_class in enumerate(sorted(sent), 5)
    ]

    arrivals.enter(theirs, now=300.0)
    (after,) = ledger.study_rows()
    arrivals.enter([replace(theirs[0], place=replace(theirs[0].place, generation=78)), SECOND], now=301.0)

    assert (after.state, after.since_s, after.instances) == (before.state, before.since_s, 1 + len(sent))
    assert ledger.study_rows()[0].state is StudyState.GATHERING


def test_a_result_that_another_node_made_reopens_no_study_that_was_dropped_and_is_kept_for_as_long_as_others(
    ledger: Ledger, arrivals: Arrivals
) -> None:
    arrivals.enter([FIRST], now=0.0)
    (job,) = close(ledger)
    ledger.settle(
        job.id, "findings", [ResultRecord(InstanceUID("2.25.9"), "1.2", job.id, "sr", "p")], {}, now=2.0, review=True
    )
    arrivals.expire(before_s=1e9)
    theirs = received(5, sop_instance="2.25.8.5", series="2.25.1.88", sop_class=sorted(OF_RESULTS)[0])

    arrivals.enter([theirs], now=300.0)

    pulled = Retrievals(ledger.database).resting(seen_after_s=0.0, seen_before_s=1e9, priors=True)
    assert (state(ledger), ledger.gathering(), pulled) == (StudyState.EXPIRED, [], [])
    assert Rulings(ledger.database).obstacle(job.id) == ""
    assert ledger.superseded(job.id) == ""
    kept = [(arrivals.expire(before_s=before_s), arrivals.still_held(theirs.place)) for before_s in (300.0, 300.1)]
    assert kept == [(0, True), (0, False)]


def test_a_result_of_ours_is_no_part_of_what_gathers_though_images_that_come_with_it_are(
    ledger: Ledger, arrivals: Arrivals
) -> None:
    arrivals.enter([FIRST], now=0.0)
    (job,) = close(ledger)
    settle(ledger, job)
    ours = received(5, sop_instance=f"2.25.9.{job.generation}", series="2.25.1.77")

    arrivals.enter([ours, received(6)], now=300.0)

    (gathered,) = ledger.gathering()
    assert [(one.series, one.instances) for one in gathered.series] == [(SERIES, 2)]
    assert [one.series for one in ledger.series_held(STUDY)] == [SERIES]


def test_a_result_of_ours_that_was_moved_to_another_study_makes_none_to_measure(
    ledger: Ledger, arrivals: Arrivals
) -> None:
    arrivals.enter([FIRST], now=0.0)
    (job,) = close(ledger)
    settle(ledger, job)

    arrivals.enter(
        [received(5, sop_instance=f"2.25.9.{job.generation}", study=OTHER_STUDY, series=OTHER_SERIES)], now=3.0
    )

    assert ledger.gathering() == []
    assert {row.state for row in ledger.study_rows()} == {StudyState.MEASURABLE, StudyState.NOT_ELIGIBLE}
