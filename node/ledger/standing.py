"""How it stands with each destination: what it is owed and why, what waits for an operator, what it has."""

from dataclasses import dataclass

from node.ledger.database import Database
from node.records import DELIVERED, FOR_AN_OPERATOR, DeliveryState

_OWED = DeliveryState.OWED
_WAITING, _THERE = (", ".join(f"'{one}'" for one in states) for states in (FOR_AN_OPERATOR, DELIVERED))
# Of all rows no more than the counts, and the rest of the few that are owed or wait. `+`: SQLite would begin with all
# of the destination.
_STANDING = f"""
    SELECT
        destination,
        sum(delivery.state = '{_OWED}'),
        sum(delivery.state IN ({_WAITING})),
        sum(delivery.state IN ({_THERE})),
        sum(delivery.state IN ({_THERE}) AND delivery.next_try_s IS NOT NULL),
        (
            SELECT min(job.settled_s)
            FROM delivery AS owed
            JOIN result ON result.sop_instance = owed.sop_instance
            JOIN job ON job.id = result.job
            WHERE +owed.destination = delivery.destination AND owed.state = '{_OWED}'
        ),
        coalesce((
            SELECT last.status
            FROM delivery AS last
            WHERE +last.destination = delivery.destination
                AND last.state IN ('{_OWED}', {_WAITING}) AND last.status <> ''
            ORDER BY last.updated_s DESC, last.attempts DESC
            LIMIT 1
        ), '')
    FROM delivery
    GROUP BY destination
    ORDER BY destination
"""


@dataclass(frozen=True, slots=True)
class StandingRow:
    """How many objects a destination is owed, how many for it wait for an operator, and how many it has."""

    destination: str
    owed: int
    waiting: int
    there: int
    unproven: int  # of those that it has
    oldest_job_ended_s: float | None  # of what is owed, in seconds since 1970; it may be owed again since later
    status: str  # why the one that was tried last is still owed, or waits


def standing(database: Database) -> list[StandingRow]:
    """Return how it stands with each destination that ever was owed anything."""
    return [StandingRow(*row) for row in database.connection.execute(_STANDING).fetchall()]
