import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from node.dicom.identifiers import InstanceUID, SeriesUID, StudyUID
from node.errors import ConflictError, LedgerError
from node.ledger import GatheringStudy, Ledger, open_database
from node.ledger.schema import ledger_version
from node.records import (
    DeliveryState,
    InstanceIdentity,
    Job,
    ReceivedInstance,
    ResultRecord,
    Role,
    RoleDecision,
    StudyState,
)

STUDY, SERIES = StudyUID("2.25.1"), SeriesUID("2.25.1.1")
IDENTITY = InstanceIdentity(InstanceUID("2.25.1.1.1"), STUDY, SERIES, "data set")
FIRST = ReceivedInstance(IDENTITY, "1.2", "1.2.840.10008.1.2.1", "p", "sha", 9, "MR1")
SECOND = replace(FIRST, identity=replace(IDENTITY, sop_instance=InstanceUID("2.25.1.1.2")))


def enqueue_nothing(_connection: sa.Connection, *_what: object) -> None:
    """Stand in for the queue where a test is not about it."""


def close(ledger: Ledger, *, now: float = 100.0, selection: dict[Role, SeriesUID] | None = None) -> list[Job]:
    jobs: list[Job] = []
    (gathered,) = ledger.gathering()
    ledger.close(
        gathered,
        whole_by={SERIES: "quiet"},
        roles={SERIES: RoleDecision(Role.POST, "because")},
        selection={Role.POST: SERIES} if selection is None else selection,
        reason="",
        enqueue=lambda _connection, job: jobs.append(job),
        now=now,
    )
    return jobs


def settle(ledger: Ledger, job: Job) -> None:
    result = ResultRecord(InstanceUID(f"2.25.9.{job.generation}"), "1.2", job.id, "sr", "path")
    ledger.settle(job.id, "findings", [result], ["pacs"], enqueue=enqueue_nothing, now=200.0)


def test_an_instance_entered_twice_is_there_once(ledger: Ledger) -> None:
    assert [ledger.enter(FIRST, now=1.0), ledger.enter(FIRST, now=2.0)] == [True, False]
    assert ledger.counts()["instances"] == 1


def test_an_instance_that_comes_again_ends_the_quiet_but_reopens_nothing(ledger: Ledger) -> None:
    ledger.enter(FIRST, now=1.0)
    ledger.enter(FIRST, now=50.0)
    (gathered,) = ledger.gathering()
    close(ledger)
    ledger.enter(FIRST, now=200.0)

    assert [one.last_seen_s for one in gathered.series] == [50.0]
    assert ledger.gathering() == []


def test_other_content_under_a_known_uid_is_a_conflict(ledger: Ledger) -> None:
    ledger.enter(FIRST, now=1.0)

    with pytest.raises(ConflictError):
        ledger.enter(replace(FIRST, identity=replace(IDENTITY, data_set_sha256="other")), now=2.0)


def test_the_same_bytes_in_another_study_are_a_conflict(ledger: Ledger) -> None:
    ledger.enter(FIRST, now=1.0)

    with pytest.raises(ConflictError):
        ledger.enter(replace(FIRST, identity=replace(IDENTITY, study=StudyUID("2.25.2"))), now=2.0)


def test_the_same_data_set_in_another_file_is_a_repeat(ledger: Ledger) -> None:
    """Another release of the network library writes another file meta information; the instance is the same."""
    ledger.enter(FIRST, now=1.0)

    assert not ledger.enter(replace(FIRST, sha256="other", path="q"), now=2.0)
    assert ledger.paths(STUDY, SERIES) == ["p"]


def test_of_two_associations_that_bring_one_instance_at_once_one_enters_it_and_both_succeed(ledger: Ledger) -> None:
    together = threading.Barrier(8)

    def enter(_number: int) -> bool:
        together.wait()
        return ledger.enter(FIRST, now=1.0)

    with ThreadPoolExecutor(8) as associations:
        entered = list(associations.map(enter, range(8)))

    assert sorted(entered) == [False] * 7 + [True]


def test_a_commit_is_synced_to_disk(tmp_path: Path) -> None:
    database = open_database(tmp_path / "node.db")

    with database.connect() as connection:
        found = [connection.execute(sa.text(f"PRAGMA {name}")).scalar() for name in ("journal_mode", "synchronous")]

    assert found == ["wal", 2]  # 2: FULL


def test_closing_a_study_makes_its_job_in_the_same_transaction(ledger: Ledger) -> None:
    ledger.enter(FIRST, now=1.0)
    (gathered,) = ledger.gathering()

    def fail(_connection: sa.Connection, _job: Job) -> None:
        raise RuntimeError("the queue is away")

    with pytest.raises(RuntimeError):
        ledger.close(
            gathered,
            whole_by={SERIES: "quiet"},
            roles={SERIES: RoleDecision(Role.POST, "because")},
            selection={Role.POST: SERIES},
            reason="",
            enqueue=fail,
            now=2.0,
        )

    assert ledger.job_rows() == []
    assert [row.state for row in ledger.study_rows()] == [StudyState.GATHERING]


def test_a_study_that_grew_while_it_was_looked_at_stays_open(ledger: Ledger) -> None:
    ledger.enter(FIRST, now=1.0)
    (before,) = ledger.gathering()
    ledger.enter(SECOND, now=2.0)

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


def test_a_late_instance_reopens_a_study_and_its_next_job_is_a_new_generation(ledger: Ledger) -> None:
    ledger.enter(FIRST, now=1.0)
    (first,) = close(ledger)
    ledger.enter(SECOND, now=3.0)
    (second,) = close(ledger, now=101.0)

    assert (first.generation, second.generation) == (1, 2)
    assert len(ledger.inputs(second.id)[Role.POST]) == 2


def test_a_job_with_the_inputs_of_an_older_one_repeats_it(ledger: Ledger) -> None:
    ledger.enter(FIRST, now=1.0)
    (first,) = close(ledger)
    ledger.note_inputs(first.id, "digest")
    settle(ledger, first)
    ledger.enter(SECOND, now=3.0)
    (second,) = close(ledger, now=101.0)

    assert ledger.note_inputs(second.id, "digest") == first.id
    assert ledger.note_inputs(first.id, "digest") is None  # a step that a crash repeats finds itself, not its heir


def test_a_job_that_was_cancelled_does_not_stand_in_for_a_later_one(ledger: Ledger) -> None:
    ledger.enter(FIRST, now=1.0)
    (first,) = close(ledger)
    ledger.note_inputs(first.id, "digest")  # and nothing more: it has no results, and never will
    ledger.enter(SECOND, now=60.0)
    (second,) = close(ledger, now=101.0)

    assert ledger.note_inputs(second.id, "digest") is None


def test_a_job_measures_what_was_there_when_its_study_was_closed(ledger: Ledger) -> None:
    ledger.enter(FIRST, now=1.0)
    (first,) = close(ledger)
    ledger.enter(SECOND, now=60.0)

    assert [uid for uid, _path, _sha256 in ledger.inputs(first.id)[Role.POST]] == [IDENTITY.sop_instance]


def test_a_failed_job_does_not_stand_in_for_a_later_one(ledger: Ledger) -> None:
    ledger.enter(FIRST, now=1.0)
    (first,) = close(ledger)
    ledger.note_inputs(first.id, "digest")
    ledger.fail(first.id, "no memory", now=50.0)
    ledger.enter(SECOND, now=60.0)
    (second,) = close(ledger, now=101.0)

    assert ledger.note_inputs(second.id, "digest") is None


def test_an_outage_of_ours_is_not_quiet_time(ledger: Ledger) -> None:
    ledger.enter(FIRST, now=1.0)

    ledger.excuse_outage(now=1000.0)

    (gathered,) = ledger.gathering()
    assert [one.last_seen_s for one in gathered.series] == [1000.0]


def test_settling_twice_owes_each_object_once(ledger: Ledger) -> None:
    ledger.enter(FIRST, now=1.0)
    (job,) = close(ledger)
    settle(ledger, job)
    settle(ledger, job)

    assert [one.state for one in ledger.delivery_rows(job.id)] == [DeliveryState.OWED]


def test_abandoned_objects_are_owed_again_and_their_attempts_go_on(ledger: Ledger) -> None:
    ledger.enter(FIRST, now=1.0)
    (job,) = close(ledger)
    settle(ledger, job)
    report = ResultRecord(InstanceUID("2.25.9.9"), "1.2", job.id, "sr", "path")
    ledger.settle(job.id, "findings", [report], ["pacs"], enqueue=enqueue_nothing, now=200.0)
    ledger.note_delivery("2.25.9.1", "pacs", DeliveryState.ABANDONED, "0xA900", attempt=1, now=300.0)
    ledger.note_delivery("2.25.9.9", "pacs", DeliveryState.STORED, "0x0000", attempt=12, now=300.0)
    assert ledger.jobs_with_abandoned() == [job.id]
    asked: list[tuple[str, str, int]] = []

    owed = ledger.owe_again(job.id, enqueue=lambda _connection, *what: asked.append(what), now=301.0)

    assert (owed, asked) == (1, [(job.id, "pacs", 12)])
    assert len(ledger.owed(job.id, "pacs")) == 1


def test_tables_of_another_version_are_refused(tmp_path: Path) -> None:
    database = open_database(tmp_path / "node.db")
    Ledger(database)
    with database.begin() as connection:
        connection.execute(ledger_version.update().values(version=99))

    with pytest.raises(LedgerError, match="version 99"):
        Ledger(database)


def test_a_state_that_does_not_exist_cannot_be_written(ledger: Ledger, tmp_path: Path) -> None:
    ledger.enter(FIRST, now=1.0)

    with sqlite3.connect(tmp_path / "node.db") as connection, pytest.raises(sqlite3.IntegrityError):
        connection.execute("UPDATE study SET state = 'finished'")
