"""What is held is known at once, and has its row soon after, whatever becomes of the ledger and the process."""

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from node.association import register as module
from node.association.register import Register
from node.errors import SpoolFullError
from node.ledger import Arrivals, Database, open_database
from node.ledger.ledger import Ledger
from node.records import StudyState, Version
from node.spool import RecordHeader, Spool, SpoolReader
from node.spool import segment as segments
from tests.builders import ORIGIN, STUDY, record

SYNTAX = ORIGIN.transfer_syntax
HEAD = b"the head of the file"


@pytest.fixture
def register(spool: Spool, arrivals: Arrivals) -> Register:
    return Register(spool, arrivals)


@pytest.fixture
def writing(register: Register) -> Iterator[Register]:
    """A register whose thread writes rows."""
    register.start()
    yield register
    register.close()


def take_in(
    register: Register, spool: Spool, uid: str, content: bytes = b"data set", **origin: str
) -> RecordHeader | None:
    """Do as an association does; None: it is held already."""
    with register.claim(uid) as versions:
        if register.find(versions, SYNTAX, memoryview(content)) is not None:
            register.note_repeat(STUDY, ORIGIN.series)
            return None
        return record(
            spool,
            HEAD + content,
            replace(ORIGIN, sop_instance=uid, **origin),
            head_length=len(HEAD),
            enter=lambda header: register.enter(header, contradicts=bool(versions)),
        )


def crash(spool: Spool) -> Spool:
    """Return the spool as another process would find it; the register before is not closed."""
    spool.close()
    return Spool(spool.root, segment_bytes=1 << 20, spare=0)


def until(condition: Callable[[], object], timeout_s: float = 10.0) -> float:
    """Return after how many seconds it was so."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < timeout_s, "waited in vain"
        time.sleep(0.002)
    return time.monotonic() - began


# ------------------------------------------------------------------ lookups


def test_an_instance_is_known_before_it_has_a_row_and_after(
    register: Register, spool: Spool, arrivals: Arrivals
) -> None:
    header = take_in(register, spool, "2.25.1")
    assert header is not None
    before = register.versions("2.25.1"), arrivals.versions("2.25.1")
    register.flush(now=1.0)
    after = register.versions("2.25.1"), arrivals.versions("2.25.1")

    held = [Version(header.place, False)]
    assert before == (held, [])
    assert after == (held, held)


def test_the_same_content_is_held_once_and_another_one_contradicts_it(register: Register, spool: Spool) -> None:
    first = take_in(register, spool, "2.25.1", b"one")
    again = take_in(register, spool, "2.25.1", b"one")
    register.flush(now=1.0)
    other = take_in(register, spool, "2.25.1", b"other")
    repeated = take_in(register, spool, "2.25.1", b"other")

    assert first is not None
    assert other is not None
    assert (again, repeated) == (None, None)
    assert register.versions("2.25.1") == [Version(first.place, False), Version(other.place, True)]


def test_the_same_bytes_in_another_encoding_are_another_content(register: Register, spool: Spool) -> None:
    take_in(register, spool, "2.25.1", b"one")

    assert register.find(register.versions("2.25.1"), "1.2.840.10008.1.2", memoryview(b"one")) is None
    assert register.find(register.versions("2.25.1"), SYNTAX, memoryview(b"one")) is not None


@pytest.mark.parametrize("place", [0, 1 << 20, (1 << 20) + 1, (3 << 20) - 1])
def test_contents_that_differ_in_one_byte_anywhere_are_told_apart(register: Register, spool: Spool, place: int) -> None:
    content = bytearray(3 << 20)
    take_in(register, spool, "2.25.1", bytes(content))
    content[place] = 1

    assert register.find(register.versions("2.25.1"), SYNTAX, memoryview(content)) is None


def test_a_content_that_was_damaged_on_disk_is_not_the_same_and_both_are_kept(
    register: Register, spool: Spool, caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger("paraspinal-node").propagate = True
    header = take_in(register, spool, "2.25.1", b"one")
    assert header is not None
    with segments.path_of(spool.root, header.place.segment).open("r+b") as file:
        file.seek(header.place.offset + 2048 + len(HEAD))
        file.write(b"X")

    assert take_in(register, spool, "2.25.1", b"one") is not None
    assert "A223" in caplog.text


def test_a_claim_keeps_other_associations_out_until_the_instance_is_known(register: Register, spool: Spool) -> None:
    together = threading.Barrier(8)

    def send(_number: int) -> RecordHeader | None:
        together.wait()
        return take_in(register, spool, "2.25.1")

    with ThreadPoolExecutor(8) as associations:
        stored = list(associations.map(send, range(8)))

    assert sum(one is not None for one in stored) == 1
    assert len(register.versions("2.25.1")) == 1


def test_a_claim_ends_with_an_error_and_does_not_stand_in_the_way_of_other_instances(register: Register) -> None:
    def fail() -> None:
        with register.claim("2.25.1"), register.claim("2.25.2") as other:
            assert other == []
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()

    with register.claim("2.25.1") as versions:
        assert versions == []


# ------------------------------------------------------------------ rows


def test_rows_follow_within_a_second(writing: Register, spool: Spool, arrivals: Arrivals) -> None:
    take_in(writing, spool, "2.25.1")

    took_s = until(lambda: arrivals.versions("2.25.1"))

    assert took_s < 1.0


def test_a_series_that_is_sent_again_is_noted_within_a_second(writing: Register, spool: Spool, ledger: Ledger) -> None:
    take_in(writing, spool, "2.25.1")
    until(lambda: ledger.gathering())
    (before,) = ledger.gathering()

    take_in(writing, spool, "2.25.1")

    assert until(lambda: ledger.gathering()[0].series[0].last_seen_s > before.series[0].last_seen_s) < 1.0


@pytest.mark.parametrize("again", [False, True])
def test_neither_instances_nor_repeats_cost_a_commit_each(
    writing: Register, spool: Spool, arrivals: Arrivals, monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    take_in(writing, spool, "2.25.0")
    until(lambda: arrivals.versions("2.25.0"))
    commits = []
    enter = arrivals.enter
    monkeypatch.setattr(arrivals, "enter", lambda *what, **more: (commits.append(1), enter(*what, **more))[1])

    began = time.monotonic()
    for number in range(1, 101):
        take_in(writing, spool, "2.25.0" if again else f"2.25.{number}")
        time.sleep(0.002)
    took_s = time.monotonic() - began

    until(lambda: not writing._repeated and not writing._waiting)
    assert 1 <= len(commits) <= took_s / 0.05 + 2


def test_what_is_held_is_known_without_a_gap_while_rows_are_written(
    writing: Register, spool: Spool, ledger: Ledger
) -> None:
    done = threading.Event()
    known: list[str] = []
    gaps: list[str] = []

    def send(sender: int) -> None:
        for number in range(150):
            uid = f"2.25.{sender}.{number}"
            take_in(writing, spool, uid)
            known.append(uid)

    def look() -> None:
        while not done.is_set():
            for uid in known[-40:]:
                if len(writing.versions(uid)) != 1:
                    gaps.append(uid)

    with ThreadPoolExecutor(5) as threads:
        lookers = [threads.submit(look) for _ in range(2)]
        senders = [threads.submit(send, number) for number in range(3)]
        for one in senders:
            one.result()
        until(lambda: ledger.counts()["instances"] == 450)
        done.set()
        for one in lookers:
            one.result()

    assert gaps == []
    assert len(known) == 450


def test_the_rows_never_pass_over_an_instance_without_a_row(
    register: Register, spool: Spool, arrivals: Arrivals
) -> None:
    """The process dies between commit and entry, when another association's instance has its row already."""

    def be_slow(_header: RecordHeader) -> None:
        take_in(register, spool, "2.25.2")
        register.flush(now=1.0)

    slow = record(spool, HEAD + b"one", replace(ORIGIN, sop_instance="2.25.1"), head_length=len(HEAD), enter=be_slow)
    assert len(arrivals.versions("2.25.2")) == 1

    again = crash(spool)
    entered = Register(again, arrivals).replay(now=2.0)

    assert entered == 1
    assert arrivals.versions("2.25.1") == [Version(slow.place, False)]
    again.close()


def test_a_ledger_that_is_locked_costs_no_instance(
    spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger("paraspinal-node").propagate = True
    monkeypatch.setattr(module, "_RETRY_AFTER_S", 0.02)
    arrivals = impatient(tmp_path / "node.db")
    register = Register(spool, arrivals)
    register.start()
    with closing(sqlite3.connect(tmp_path / "node.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        take_in(register, spool, "2.25.1")
        until(lambda: "A214" in caplog.text)

        assert len(register.versions("2.25.1")) == 1
        assert take_in(register, spool, "2.25.1") is None
        assert take_in(register, spool, "2.25.2") is not None
        assert arrivals.versions("2.25.1") == []
        other.execute("ROLLBACK")

    until(lambda: arrivals.versions("2.25.1") and arrivals.versions("2.25.2"))
    register.close()
    assert caplog.text.count("A214") == 1  # said once, not every second


def test_the_last_rows_are_written_at_the_stop(spool: Spool, arrivals: Arrivals, ledger: Ledger) -> None:
    register = Register(spool, arrivals)
    register.start()
    for number in range(300):
        take_in(register, spool, f"2.25.{number}")

    register.close()

    assert ledger.counts()["instances"] == 300


def test_a_stop_with_a_ledger_that_fails_ends_and_the_rows_come_at_the_next_start(spool: Spool, tmp_path: Path) -> None:
    arrivals = impatient(tmp_path / "node.db")
    register = Register(spool, arrivals)
    register.start()
    with closing(sqlite3.connect(tmp_path / "node.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        take_in(register, spool, "2.25.1")
        register.close()
        other.execute("ROLLBACK")

    again = crash(spool)
    assert Register(again, arrivals).replay(now=1.0) == 1
    again.close()


def test_a_ledger_that_stays_behind_lets_nothing_more_in(
    register: Register, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_WAITING", 3)
    for number in range(3):
        register.require_room()
        take_in(register, spool, f"2.25.{number}")

    with pytest.raises(SpoolFullError, match="ledger"):
        register.require_room()
    register.flush(now=1.0)
    register.require_room()


class Impatient(Database):
    """Waits 20 ms for a lock, not 30 s."""

    def connect(self) -> sqlite3.Connection:
        connection = super().connect()
        connection.execute("PRAGMA busy_timeout=20")
        return connection


def impatient(file: Path) -> Arrivals:
    return Arrivals(Impatient(open_database(file).file))


# ------------------------------------------------------------------ after a crash


@pytest.mark.parametrize("written", [0, 1, 3])
def test_after_a_crash_every_instance_is_entered_once(spool: Spool, arrivals: Arrivals, written: int) -> None:
    register = Register(spool, arrivals)
    headers = []
    for number in range(3):
        headers.append(take_in(register, spool, f"2.25.{number}"))
        if number + 1 == written:
            register.flush(now=1.0)

    again = crash(spool)
    entered = Register(again, arrivals).replay(now=2.0)
    once_more = crash(again)
    nothing = Register(once_more, arrivals).replay(now=3.0)

    assert (entered, nothing) == (3 - written, 0)
    assert [arrivals.versions(f"2.25.{number}") for number in range(3)] == [
        [Version(header.place, False)] for header in headers if header is not None
    ]
    once_more.close()


def test_after_a_crash_an_instance_that_was_recorded_twice_is_entered_once(spool: Spool, arrivals: Arrivals) -> None:
    """Its first answer was lost between commit and entry, and it came again."""
    origin = replace(ORIGIN, sop_instance="2.25.1")
    first = record(spool, HEAD + b"one", origin, head_length=len(HEAD))
    record(spool, HEAD + b"one", origin, head_length=len(HEAD))

    again = crash(spool)

    assert Register(again, arrivals).replay(now=1.0) == 1
    assert arrivals.versions("2.25.1") == [Version(first.place, False)]
    again.close()


@pytest.mark.parametrize("written", [False, True])
def test_after_a_crash_a_contradiction_is_one(spool: Spool, arrivals: Arrivals, ledger: Ledger, written: bool) -> None:
    register = Register(spool, arrivals)
    first = take_in(register, spool, "2.25.1", b"one")
    if written:
        register.flush(now=1.0)
    other = take_in(register, spool, "2.25.1", b"other")
    assert first is not None
    assert other is not None

    again = crash(spool)
    Register(again, arrivals).replay(now=2.0)

    assert arrivals.versions("2.25.1") == [Version(first.place, False), Version(other.place, True)]
    assert [row.state for row in ledger.study_rows()] == [StudyState.HELD]
    again.close()


def test_a_long_patient_id_is_the_same_patient_after_a_crash(spool: Spool, arrivals: Arrivals, ledger: Ledger) -> None:
    """PS3.5 6.2 counts characters, and 64 of them may be hundreds of bytes; a record keeps the first 191."""
    register = Register(spool, arrivals)
    take_in(register, spool, "2.25.1", patient_id="\x1b$B9" * 100)
    register.flush(now=1.0)
    take_in(register, spool, "2.25.2", patient_id="\x1b$B9" * 100)

    again = crash(spool)
    Register(again, arrivals).replay(now=2.0)

    assert [(row.state, row.instances) for row in ledger.study_rows()] == [(StudyState.GATHERING, 2)]
    again.close()


def test_a_ledger_that_was_lost_is_rebuilt_from_the_spool(spool: Spool, arrivals: Arrivals, tmp_path: Path) -> None:
    register = Register(spool, arrivals)
    for number in range(600):
        take_in(register, spool, f"2.25.{number}")
    register.flush(now=1.0)

    again, new = crash(spool), Arrivals(open_database(tmp_path / "new.db"))
    rebuilt = Register(again, new)
    assert rebuilt.replay(now=2.0) == 600

    assert sum(new.instances_by_segment().values()) == 600
    (version,) = new.versions("2.25.599")
    assert SpoolReader(again.root).read(version.place) == HEAD + b"data set"
    assert (new.ends(), new.needed_segments()) == (arrivals.ends(), arrivals.needed_segments())
    again.close()
