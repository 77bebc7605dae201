"""What is owed to the destinations, and how far each object is proven to be there: one row for each of both.

A row moves owed -> stored -> committed -> seen, or waits for an operator (`undelivered`). `next_try_s` says when
something is to be done about it; without it nothing is, until an operator says so. So a process that dies loses
nothing, and none of it is in a queue that could forget it. No row is ever dropped: it alone knows what a destination
got, and under which UID.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from node.dicom.identifiers import InstanceUID, StudyUID
from node.ledger.database import Database
from node.records import DeliveryRecord, DeliveryState, Parcel, ResultRecord, ResultRole

_COLUMNS = """
    delivery.sop_instance, result.role, delivery.destination, delivery.state, delivery.attempts, delivery.turns,
    delivery.looks, delivery.status, delivery.sent_class, delivery.sent_instance, delivery.released_by
"""
# Of one study the revisions arrive in their order: the newer one waits until nothing of the older one is owed here.
# CROSS JOIN: SQLite keeps this order, from the study's few jobs on; it would begin with all that is owed.
_DUE = f"""
    SELECT result.job, delivery.state, job.study
    FROM delivery
    JOIN result ON result.sop_instance = delivery.sop_instance
    JOIN job ON job.id = result.job
    WHERE delivery.destination = :destination AND delivery.next_try_s <= :now
        AND NOT (
            delivery.state = '{DeliveryState.OWED}'
            AND EXISTS (
                SELECT 1
                FROM job AS older
                CROSS JOIN result AS first ON first.job = older.id
                CROSS JOIN delivery AS before ON before.sop_instance = first.sop_instance
                WHERE older.study = job.study AND older.generation < job.generation
                    AND before.destination = :destination AND before.state = '{DeliveryState.OWED}'
            )
        )
    ORDER BY delivery.next_try_s, delivery.attempts, job.created_s, job.generation
    LIMIT 1
"""
# What a report refers to in its content comes before it, what it only lists as evidence may follow (`ResultRole`); of
# one role, as they were made.
_IN_ORDER = " ".join(
    ["CASE result.role", *(f"WHEN '{role}' THEN {place}" for place, role in enumerate(ResultRole)), "ELSE 0 END"]
)
_OF_PARCEL = f"""
    SELECT {_COLUMNS}, result.sop_class, result.path, result.series
    FROM delivery
    JOIN result ON result.sop_instance = delivery.sop_instance
    WHERE result.job = ? AND delivery.destination = ? AND delivery.state = ? AND delivery.next_try_s <= ?
    ORDER BY {_IN_ORDER}, result.rowid
"""
_POSTPONE = """
    UPDATE delivery
    SET status = ?, turns = turns + ?, attempts = attempts + ?, looks = looks + ?, next_try_s = ?, updated_s = ?
    WHERE sop_instance = ? AND destination = ? AND state = ?
"""


class Deliveries:
    """Rows about deliveries; times in seconds since 1970."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # ---------------------------------------------------------------- the outbox of a destination

    def due(self, destination: str, *, now: float) -> Parcel | None:
        """Return the objects of one job that are to be seen to now at a destination, the longest due first."""
        connection = self._database.connection
        found = connection.execute(_DUE, {"destination": destination, "now": now}).fetchone()
        if found is None:
            return None
        job, state, study = found
        rows = connection.execute(_OF_PARCEL, (job, destination, state, now)).fetchall()
        return Parcel(
            job,
            StudyUID(study),
            DeliveryState(state),
            tuple(
                (ResultRecord(InstanceUID(row[0]), sop_class, job, row[1], path, series), _record(row))
                for *row, sop_class, path, series in rows
            ),
        )

    def advance(
        self,
        sop_instance: str,
        destination: str,
        state: DeliveryState,
        status: str,
        *,
        was: DeliveryState,
        now: float,
        next_try_s: float | None = None,
        attempts: int = 0,
    ) -> bool:
        """Note that an object came from one state into another, and when something follows, if anything does.

        `attempts`: how many to add. What was recalled, or a report has moved on, meanwhile stays so: then False.
        """
        with self._database.begin() as connection:
            moved = connection.execute(
                """
                UPDATE delivery
                SET state = ?, status = ?, turns = 0, attempts = attempts + ?, next_try_s = ?, updated_s = ?
                WHERE sop_instance = ? AND destination = ? AND state = ?
                """,
                (state, status, attempts, next_try_s, now, sop_instance, destination, was),
            )
            return bool(moved.rowcount)

    def note_sent(self, sop_instance: str, destination: str, sop_class: str, sent_instance: str) -> None:
        """Note as what an object is sent, answered or not; "" and "": as it is."""
        with self._database.begin() as connection:
            connection.execute(
                "UPDATE delivery SET sent_class = ?, sent_instance = ? WHERE sop_instance = ? AND destination = ?",
                (sop_class, sent_instance, sop_instance, destination),
            )

    def postpone(
        self,
        statuses: Mapping[str, str],
        destination: str,
        state: DeliveryState,
        *,
        now: float,
        next_try_s: float,
        attempts: int = 0,
        turns: int = 1,
        looks: int = 0,
    ) -> None:
        """Note a turn that left objects in their state, each with why, and when the next one is.

        `attempts`, `turns`, `looks`: how many to add. What a report has moved on meanwhile stays so.
        """
        with self._database.begin() as connection:
            connection.executemany(
                _POSTPONE,
                [
                    (status, turns, attempts, looks, next_try_s, now, one, destination, state)
                    for one, status in statuses.items()
                ],
            )

    def note_known(self, sop_instances: Collection[str], destination: str) -> None:
        """Note that a destination knows the study of objects: what it did not before counts no more."""
        with self._database.begin() as connection:
            connection.execute(
                """
                UPDATE delivery SET looks = 0
                WHERE destination = ? AND sop_instance IN (SELECT value FROM json_each(?))
                """,
                (destination, json.dumps(sorted(sop_instances))),
            )

    def replaced(self, study: str, destination: str) -> dict[str, tuple[str, str]]:
        """Return what a destination got, or may have, instead of results of a study, by the results' Instance UIDs.

        SOP Class and Instance UID of each.
        """
        wanted = """
            SELECT delivery.sop_instance, sent_class, sent_instance
            FROM delivery
            JOIN result ON result.sop_instance = delivery.sop_instance
            JOIN job ON job.id = result.job
            WHERE job.study = ? AND destination = ? AND sent_instance <> ''
        """
        rows = self._database.connection.execute(wanted, (study, destination)).fetchall()
        return {sop_instance: (sent_class, sent_instance) for sop_instance, sent_class, sent_instance in rows}

    def park_strangers(self, destinations: Collection[str], *, now: float) -> int:
        """Park what is owed to destinations that are none of these, and return how many objects that are."""
        with self._database.begin() as connection:
            return connection.execute(
                f"""
                UPDATE delivery
                SET state = CASE state WHEN '{DeliveryState.OWED}' THEN '{DeliveryState.PARKED}' ELSE state END,
                    status = 'no such destination in the settings', next_try_s = NULL, updated_s = ?
                WHERE next_try_s IS NOT NULL AND destination NOT IN (SELECT value FROM json_each(?))
                """,
                (now, json.dumps(sorted(destinations))),
            ).rowcount

    # ---------------------------------------------------------------- storage commitment

    def ask(
        self, sop_instances: Collection[str], destination: str, transaction_uid: str, *, now: float, next_try_s: float
    ) -> None:
        """Note, before it is done, that a destination is asked to commit itself to objects that it has stored."""
        with self._database.begin() as connection:
            connection.executemany(
                _POSTPONE,
                [
                    ("commitment asked for", 1, 0, 0, next_try_s, now, one, destination, DeliveryState.STORED)
                    for one in sop_instances
                ],
            )
            connection.executemany(
                "INSERT INTO commitment_request (transaction_uid, sop_instance, destination) VALUES (?, ?, ?)",
                [(transaction_uid, one, destination) for one in sop_instances],
            )

    # ---------------------------------------------------------------- what people look at

    def rows(self, job: str) -> list[DeliveryRecord]:
        """Return the deliveries of one job."""
        wanted = f"""
            SELECT {_COLUMNS}
            FROM delivery
            JOIN result ON result.sop_instance = delivery.sop_instance
            WHERE result.job = ?
            ORDER BY destination, role
        """
        return [_record(row) for row in self._database.connection.execute(wanted, (job,)).fetchall()]


def _record(row: Sequence[Any]) -> DeliveryRecord:
    sop_instance, role, destination, state, *rest = row
    return DeliveryRecord(InstanceUID(sop_instance), role, destination, DeliveryState(state), *rest)
