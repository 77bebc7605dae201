"""How it stands with each destination: what it is owed since when and why, what waits for an operator, what it has."""

from dataclasses import dataclass

from node.ledger.database import Database
from node.records import DeliveryState

_OWED = DeliveryState.OWED
_WAITING = ", ".join(f"'{one}'" for one in (DeliveryState.ABANDONED, DeliveryState.PARKED, DeliveryState.HELD))
_THERE = ", ".join(f"'{one}'" for one in (DeliveryState.STORED, DeliveryState.COMMITTED, DeliveryState.SEEN))
_STANDING = f"""
    SELECT
        destination,
        sum(delivery.state = '{_OWED}'),
        sum(delivery.state IN ({_WAITING})),
        sum(delivery.state IN ({_THERE})),
        sum(delivery.state IN ({_THERE}) AND delivery.next_try_s IS NOT NULL),
        min(CASE WHEN delivery.state = '{_OWED}' THEN job.settled_s END),
        coalesce((
            SELECT last.status
            FROM delivery AS last
            WHERE last.destination = delivery.destination AND last.state = '{_OWED}' AND last.status <> ''
            ORDER BY last.updated_s DESC, last.attempts DESC
            LIMIT 1
        ), '')
    FROM delivery
    JOIN result ON result.sop_instance = delivery.sop_instance
    JOIN job ON job.id = result.job
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
    owed_since_s: float | None  # seconds since 1970: when the job of the oldest that is owed ended
    status: str  # why the one that was tried last is still owed


def standing(database: Database) -> list[StandingRow]:
    """Return how it stands with each destination that ever was owed anything."""
    return [StandingRow(*row) for row in database.connection.execute(_STANDING).fetchall()]
