"""What destinations report on the storage commitment that they were asked for.

What was asked is a row for each object, made before the question is put (`Deliveries.ask`), gone when it is answered.
"""

import logging
from collections.abc import Callable

from node import eventlog
from node.dicom.references import CommitmentReport
from node.eventlog import Event
from node.ledger.database import Database
from node.ledger.rulings import LAST_RULING
from node.ledger.undelivered import IS_PASSED_OVER
from node.records import RECALL_NOTE, DeliveryState, Ruling

_IS_RECALLED = f"coalesce({LAST_RULING}, '') = '{Ruling.RECALLED}'"
_IS_NOTE = f"result.role = '{RECALL_NOTE}'"
_ASKED = f"""
    SELECT delivery.sop_instance, delivery.destination,
        coalesce(nullif(delivery.sent_instance, ''), delivery.sop_instance),
        delivery.attempts, delivery.state, result.job,
        {_IS_RECALLED} AND NOT {_IS_NOTE}, NOT {_IS_RECALLED} AND {IS_PASSED_OVER}
    FROM commitment_request AS asked
    JOIN delivery ON delivery.sop_instance = asked.sop_instance AND delivery.destination = asked.destination
    JOIN result ON result.sop_instance = delivery.sop_instance
    WHERE asked.transaction_uid = ?
"""
_ANSWERED = "DELETE FROM commitment_request WHERE transaction_uid = ? AND sop_instance = ? AND destination = ?"
_NOTE_REPORT = """
    UPDATE delivery
    SET state = ?, status = ?, turns = 0, next_try_s = ?, updated_s = ?
    WHERE sop_instance = ? AND destination = ?
"""
# Failure Reasons that the same bytes will get tomorrow: class-instance conflict, SOP Class not supported
# (PS3.3 section C.14.1.1).
_FOR_GOOD = frozenset({0x0119, 0x0122})
_REPORTED = {  # in which state an object is by a report -> what is told of that
    DeliveryState.COMMITTED: (Event.DELIVERY_COMMITTED, logging.INFO),
    DeliveryState.OWED: (Event.DELIVERY_UNCOMMITTED, logging.WARNING),
    DeliveryState.PARKED: (Event.DELIVERY_PARKED, logging.ERROR),
    DeliveryState.WITHDRAWN: (Event.DELIVERY_UNCOMMITTED, logging.INFO),
}


class Promises:
    """Reports on deliveries; times in seconds since 1970."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def reported(self, report: CommitmentReport, *, wait_s: Callable[[int], float], attempts: int, now: float) -> bool:
        """Note what a destination commits itself to, and what not: that is owed again. False if nobody asked.

        Not owed again is what was recalled meanwhile, or what would come after a newer revision: an operator's.

        However late a report comes, and whatever was asked since: what the destination took responsibility for it has.

        Parameters
        ----------
        wait_s : callable
            After how many seconds to send again what was sent so many times.
        attempts : int
            How often to send what is not committed to, until it waits for an operator.
        """
        counted: dict[tuple[str, str, DeliveryState, str], int] = {}
        with self._database.begin() as connection:
            rows = connection.execute(_ASKED, (report.transaction_uid,)).fetchall()
            for sop_instance, destination, sent, sent_times, state, job, is_recalled, is_passed_over in rows:
                next_try_s: float | None = now
                if sent in report.failed:
                    is_news = state == DeliveryState.STORED
                    reason = report.failed[sent]
                    now_in, status = DeliveryState.OWED, f"not committed to: 0x{reason:04X}"
                    next_try_s = now + wait_s(sent_times)
                    if is_recalled:
                        now_in, status, next_try_s = DeliveryState.WITHDRAWN, "recalled", None
                    elif sent_times >= attempts or reason in _FOR_GOOD:
                        now_in, status, next_try_s = DeliveryState.PARKED, f"stored, but {status}", None
                    elif is_passed_over:  # it would come after the newer one
                        now_in, next_try_s = DeliveryState.PARKED, None
                        status = f"stored, but {status}, and a newer revision is there"
                elif sent in report.committed:
                    is_news = state in (DeliveryState.STORED, DeliveryState.PARKED)
                    now_in, status = DeliveryState.COMMITTED, "committed to"
                else:
                    continue  # not a word on it: the request runs out, and is made again
                connection.execute(_ANSWERED, (report.transaction_uid, sop_instance, destination))
                if is_news:
                    connection.execute(_NOTE_REPORT, (now_in, status, next_try_s, now, sop_instance, destination))
                    key = (job, destination, now_in, status)
                    counted[key] = counted.get(key, 0) + 1
        for (job, destination, now_in, status), objects in counted.items():
            event, level = _REPORTED[now_in]
            eventlog.record(
                event, level, job=job, destination=destination, objects=objects, status=f"'{status}'"
            )  # fmt: skip
        return bool(rows)
