import threading
import time

import pytest

from node.association.register import Register
from node.association.retention import Retention
from node.errors import SpoolError
from node.ledger import Arrivals
from node.ledger.ledger import Ledger
from node.records import Origin, StudyState
from node.spool import Spool, SpoolReader
from tests.builders import mr, origin_of, record

DAY_S = 86400.0


def of(sop_instance: str, study: str) -> Origin:
    return origin_of(mr(sop_instance, study=study, series=f"{study}.1"))


@pytest.fixture
def register(spool: Spool, arrivals: Arrivals) -> Register:
    register = Register(spool, arrivals)
    register.replay(now=0.0)
    return register


def fill(spool: Spool, register: Register, study: str, *, instances: int) -> None:
    for k in range(instances):
        header = record(spool, bytes(100_000), origin=of(f"{study}.{k}", study))
        register.enter(header, contradicts=False)


def close(ledger: Ledger, *, now: float) -> None:
    for gathered in ledger.gathering():
        ledger.close(
            gathered, whole_by={}, roles={}, selection=None, reason="", enqueue=lambda *_: None, now=now
        )  # fmt: skip


def test_segments_of_studies_that_are_done_with_start_afresh(
    spool: Spool, arrivals: Arrivals, ledger: Ledger, register: Register
) -> None:
    fill(spool, register, "2.25.1", instances=25)  # of 1 MiB segments: two are sealed
    register.flush(now=0.0)
    close(ledger, now=0.0)
    old = register.versions("2.25.1.0")[0].place
    retention = Retention(spool, arrivals, register, keep_days=2)

    assert retention.run_once(now=1.9 * DAY_S) == 0
    assert retention.run_once(now=2.1 * DAY_S) == 2

    assert ledger.study_rows()[0].state is StudyState.EXPIRED
    with pytest.raises(SpoolError):
        SpoolReader(spool.root).read(old)
    before = {path.name for path in spool.root.glob("*.segment")}
    fill(spool, register, "2.25.2", instances=15)
    assert {path.name for path in spool.root.glob("*.segment")} == before  # they are used again


def test_a_segment_with_one_instance_that_is_needed_stays(
    spool: Spool, arrivals: Arrivals, ledger: Ledger, register: Register
) -> None:
    fill(spool, register, "2.25.1", instances=5)
    fill(spool, register, "2.25.2", instances=5)  # seals the segment
    register.flush(now=0.0)
    close(ledger, now=0.0)
    fill(spool, register, "2.25.2", instances=0)
    register.note_repeat("2.25.2", "2.25.2.1")
    header = record(spool, b"late", origin=of("2.25.2.99", "2.25.2"))
    register.enter(header, contradicts=False)
    register.flush(now=3 * DAY_S)  # the second study gathers again

    Retention(spool, arrivals, register, keep_days=2).run_once(now=4 * DAY_S)

    assert {row.state for row in ledger.study_rows()} == {StudyState.EXPIRED, StudyState.GATHERING}
    assert len(SpoolReader(spool.root).read(register.versions("2.25.2.0")[0].place)) > 0


def test_rows_that_are_still_to_be_written_keep_their_segment(
    spool: Spool, arrivals: Arrivals, register: Register
) -> None:
    fill(spool, register, "2.25.1", instances=12)  # one segment is sealed, and no row is written yet

    assert Retention(spool, arrivals, register, keep_days=1).run_once(now=0.0) == 0

    assert len(SpoolReader(spool.root).read(register.versions("2.25.1.0")[0].place)) > 0


def test_a_study_that_came_again_is_not_dropped(
    spool: Spool, arrivals: Arrivals, ledger: Ledger, register: Register
) -> None:
    fill(spool, register, "2.25.1", instances=3)
    register.flush(now=0.0)
    close(ledger, now=0.0)
    with register.claim("2.25.1.0"):
        register.note_repeat("2.25.1", "2.25.1.1")  # its sender is told that it is held

    Retention(spool, arrivals, register, keep_days=2).run_once(now=3 * DAY_S)

    assert ledger.study_rows()[0].state is StudyState.NOT_ELIGIBLE
    assert len(SpoolReader(spool.root).read(register.versions("2.25.1.0")[0].place)) > 0


def test_nothing_is_dropped_while_an_instance_is_being_compared(
    spool: Spool, arrivals: Arrivals, ledger: Ledger, register: Register
) -> None:
    fill(spool, register, "2.25.1", instances=3)
    register.flush(now=0.0)
    close(ledger, now=0.0)
    retention = Retention(spool, arrivals, register, keep_days=2)
    dropping = threading.Thread(target=retention.run_once, kwargs={"now": 3 * DAY_S})
    with register.claim("2.25.1.0"):
        dropping.start()
        time.sleep(0.2)
        during = ledger.counts()["instances"]
        register.note_repeat("2.25.1", "2.25.1.1")
    dropping.join(5.0)

    assert (during, ledger.counts()["instances"]) == (3, 3)
    with register.claim("2.25.1.0") as versions:
        assert len(versions) == 1


def test_without_keep_days_nothing_is_ever_dropped(
    spool: Spool, arrivals: Arrivals, ledger: Ledger, register: Register
) -> None:
    fill(spool, register, "2.25.1", instances=12)
    register.flush(now=0.0)
    close(ledger, now=0.0)

    assert Retention(spool, arrivals, register, keep_days=0).run_once(now=1e12) == 0

    assert ledger.study_rows()[0].state is StudyState.NOT_ELIGIBLE
