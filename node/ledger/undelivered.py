"""What waits for an operator, because a destination did not take it, and what is owed again because one says so."""

import json
from collections.abc import Collection

from node.ledger.acts import noted
from node.ledger.database import Database
from node.records import DELIVERED, FOR_AN_OPERATOR, Act, DeliveryState

# Of a delivery: its destination has a newer revision of the study.
IS_PASSED_OVER = f"""
    EXISTS (
        SELECT 1
        FROM result AS own
        JOIN job AS older ON older.id = own.job
        CROSS JOIN job AS newer ON newer.study = older.study AND newer.generation > older.generation
        CROSS JOIN result AS later ON later.job = newer.id
        CROSS JOIN delivery AS there ON there.sop_instance = later.sop_instance
        WHERE own.sop_instance = delivery.sop_instance AND there.destination = delivery.destination
            AND there.state IN ({", ".join(f"'{state}'" for state in DELIVERED)})
    )
"""
# Of the attempts one is kept, if there were any: what a mute destination may have taken is still to be recalled there.
_OWE_AGAIN = f"""
    UPDATE delivery
    SET state = '{DeliveryState.OWED}', attempts = min(attempts, 1), turns = 0, looks = 0, next_try_s = :now,
        updated_s = :now, released_by = :released_by
    WHERE state IN (SELECT value FROM json_each(:states))
        AND sop_instance IN (SELECT sop_instance FROM result WHERE job = :job)
        AND :destination IN ('', destination)
        AND (:although_newer OR NOT {IS_PASSED_OVER})
"""


class Undelivered:
    """Rows about deliveries that came to nothing; times in seconds since 1970."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def owe_again(self, job: str, *, now: float, although_newer: bool = False, who: str = "") -> int:
        """Owe again what waits for an operator of a job's results, and return how many objects that are.

        Not where a newer revision of the study is already, which would then be the one before; but `although_newer`.
        `who` wants it, and is noted.
        """
        return self._again(job, "", FOR_AN_OPERATOR, now, although_newer, Act.RETRIED, who)

    def release(self, job: str, destination: str, who: str, *, now: float, although_newer: bool = False) -> int:
        """Owe again what a destination holds up of a job's results, to be sent whatever it knows of the study."""
        return self._again(job, destination, (DeliveryState.HELD,), now, although_newer, Act.RELEASED, who)

    def passed_over(self, job: str) -> list[str]:
        """Return the destinations that have a newer revision, while something of this job waits for an operator."""
        wanted = f"""
            SELECT DISTINCT delivery.destination
            FROM delivery
            JOIN result ON result.sop_instance = delivery.sop_instance
            WHERE result.job = ? AND delivery.state IN (SELECT value FROM json_each(?)) AND {IS_PASSED_OVER}
            ORDER BY delivery.destination
        """
        found = self._database.connection.execute(wanted, (job, json.dumps(FOR_AN_OPERATOR))).fetchall()
        return [destination for (destination,) in found]

    def waiting(self) -> dict[str, list[str]]:
        """Return the operator's list: by state the jobs of which a destination has objects that wait for somebody."""
        wanted = """
            SELECT DISTINCT delivery.state, result.job
            FROM delivery
            JOIN result ON result.sop_instance = delivery.sop_instance
            WHERE delivery.state IN (SELECT value FROM json_each(?))
            ORDER BY result.job
        """
        found: dict[str, list[str]] = {}
        for state, job in self._database.connection.execute(wanted, (json.dumps(FOR_AN_OPERATOR),)).fetchall():
            found.setdefault(state, []).append(job)
        return found

    def _again(
        self,
        job: str,
        destination: str,
        states: Collection[DeliveryState],
        now: float,
        although_newer: bool,
        act: Act,
        who: str,
    ) -> int:
        """`destination`: of this one alone; "" of all."""
        asked = {
            "job": job, "destination": destination, "states": json.dumps(list(states)), "now": now,
            "although_newer": although_newer, "released_by": who if act is Act.RELEASED else "",
        }  # fmt: skip
        with self._database.begin() as connection:
            objects = connection.execute(_OWE_AGAIN, asked).rowcount
            if objects:
                detail = f"{objects} objects owed again{destination and f' to {destination}'}"
                connection.execute(*noted(act, job, who, detail, now=now))
            return objects
