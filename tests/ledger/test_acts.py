"""What people did is noted with what it changed, and nothing that changed nothing."""

import pytest
import sqlalchemy as sa

from node.eventlog import alias
from node.ledger import Arrivals, Database, Deliveries, Undelivered
from node.ledger.acts import Acts, noted
from node.ledger.ledger import Ledger
from node.ledger.retrievals import Retrievals
from node.ledger.rulings import Rulings
from node.records import Act, DeliveryState, ResultRecord, RetrievalReason, Wanted
from tests.ledger.test_ledger import FIRST, OTHER_SERIES, OTHER_STUDY, STUDY, close, received, settle

NO_ACTS = "CREATE TRIGGER no_acts BEFORE INSERT ON act BEGIN SELECT RAISE(ABORT, 'not noted'); END"


def test_who_did_what_is_noted_by_alias_or_job_beside_what_was_decided_and_not_what_came_to_nothing(
    arrivals: Arrivals, database: Database, ledger: Ledger
) -> None:
    deliveries, undelivered = Deliveries(database), Undelivered(database)
    retrievals, rulings = Retrievals(database), Rulings(database)
    arrivals.enter([FIRST], now=1.0)
    ledger.force(STUDY, "curie", now=2.0)
    (job,) = close(ledger, now=3.0)
    settle(ledger, job)
    (row,) = deliveries.rows(job.id)
    for state, was in ((DeliveryState.HELD, DeliveryState.OWED), (DeliveryState.PARKED, DeliveryState.OWED)):
        deliveries.advance(row.sop_instance, row.destination, state, "", was=was, now=4.0)
        undelivered.release(job.id, "pacs", "meitner", now=5.0)
        undelivered.owe_again(job.id, who="curie", now=6.0)
    prior = Wanted(OTHER_STUDY, OTHER_SERIES, "pacs", RetrievalReason.PRIOR, STUDY, 1)
    retrievals.ask([prior], most_series=9, now=7.0)
    arrivals.enter([received(9, study=OTHER_STUDY, series=OTHER_SERIES)], now=7.0)
    for _ in range(2):
        retrievals.adopt(OTHER_STUDY, who="noether", now=8.0)
        ledger.release(alias(STUDY), latest=True, who="noether", now=9.0)
    arrivals.enter([received(1, contradicts=True, segment=2)], now=10.0)
    for _ in range(2):
        ledger.release(alias(STUDY), latest=True, who="noether", now=11.0)
    rulings.recall(job.id, ResultRecord(row.sop_instance, "1.2", job.id, "ko", "note"), "Hodgkin^D", "wrong", now=12.0)

    told = [(one.done_s, one.subject, one.what, one.who, one.detail) for one in Acts(database).since(0.0)]

    assert told == [
        (12.0, job.id, "recalled", "Hodgkin^D", "wrong"),
        (11.0, alias(STUDY), "released", "noether", "latest content, 1 instances left out"),
        (8.0, alias(OTHER_STUDY), "adopted", "noether", ""),
        (6.0, job.id, "retried", "curie", "1 objects owed again"),
        (5.0, job.id, "released", "meitner", "1 objects owed again to pacs"),
        (2.0, alias(STUDY), "force-completed", "curie", ""),
    ]
    assert Acts(database).since(12.5) == []


def test_an_act_is_noted_if_and_only_if_its_transaction_is(database: Database) -> None:
    try:
        with database.begin() as connection:
            connection.execute(*noted(Act.RETRIED, "a-1", "curie", now=1.0))
            raise ZeroDivisionError
    except ZeroDivisionError:
        pass

    assert Acts(database).since(0.0) == []


def test_a_job_is_reopened_and_that_is_noted_or_neither(arrivals: Arrivals, database: Database, ledger: Ledger) -> None:
    arrivals.enter([FIRST], now=1.0)
    (job,) = close(ledger, now=3.0)
    ledger.fail(job.id, "cancelled", now=4.0)
    with database.begin() as connection:
        connection.execute(NO_ACTS)
    with pytest.raises(sa.exc.IntegrityError):
        ledger.reopen(job.id, "curie", now=5.0)
    ended_s = ledger.job_rows()[0].settled_s
    with database.begin() as connection:
        connection.execute("DROP TRIGGER no_acts")

    reopened = ledger.reopen(job.id, "curie", now=6.0)

    assert (ended_s, reopened, ledger.job_rows()[0].settled_s) == (4.0, True, None)
    assert [(one.what, one.who, one.done_s) for one in Acts(database).since(0.0)] == [("retried", "curie", 6.0)]
