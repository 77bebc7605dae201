"""Requests for storage commitment, and the reports that are owed on them."""

from collections.abc import Sequence
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from node.dicom.references import CommitmentRequest, Reference
from node.ledger.schema import commitment
from node.records import CommitmentState, OwedReport

_MOST_OWED = 1_000_000  # instances of all requests that are owed, some 130 bytes each; chosen
_TURN = 100  # reports; chosen


class Owing(StrEnum):
    """What became of a request."""

    NEW = "new"
    KNOWN = "known"  # the same request was made before
    IN_USE = "in use"  # another request was made under its Transaction UID
    TOO_MANY = "too many"  # are owed already


class Commitments:
    """Rows about storage commitment; the tables are made by `Ledger`, which comes first."""

    def __init__(self, database: sa.Engine) -> None:
        self.database = database

    def owe(self, request: CommitmentRequest, peer: str, *, now: float, next_try_s: float) -> tuple[Owing, int]:
        """Owe a peer the report on its request, and return the id of that.

        What was owed and abandoned is owed again; what was reported is not. A peer is known by its AE title.
        """
        asked = [[one.sop_class, one.sop_instance] for one in request.references]
        same = sa.and_(commitment.c.peer == peer, commitment.c.transaction_uid == request.transaction_uid)
        with self.database.begin() as connection:
            owed = connection.execute(
                sa.select(sa.func.coalesce(sa.func.sum(commitment.c.instances), 0)).where(
                    commitment.c.state == CommitmentState.OWED
                )
            ).scalar_one()
            if owed + len(asked) > _MOST_OWED:
                return Owing.TOO_MANY, 0
            made = connection.execute(
                sqlite.insert(commitment)
                .values(
                    peer=peer, transaction_uid=request.transaction_uid, referenced=asked, instances=len(asked),
                    state=CommitmentState.OWED, attempts=0, status="", requested_s=now, next_try_s=next_try_s,
                )
                .on_conflict_do_nothing()
                .returning(commitment.c.id)
            ).scalar_one_or_none()  # fmt: skip
            if made is not None:
                return Owing.NEW, made
            held = connection.execute(sa.select(commitment.c.id, commitment.c.referenced).where(same)).one()
            if held.referenced != asked:
                return Owing.IN_USE, held.id
            connection.execute(
                commitment.update()
                .where(commitment.c.id == held.id, commitment.c.state == CommitmentState.ABANDONED)
                .values(state=CommitmentState.OWED, attempts=0, requested_s=now, next_try_s=next_try_s, settled_s=None)
            )
            return Owing.KNOWN, held.id

    def due(self, *, now: float, besides: Sequence[int] = ()) -> list[OwedReport]:
        """Return what is owed and to be tried now; not all if that is much.

        It goes round the peers: of each the longest due first, then of each the next, so that no peer has to wait for
        all that is owed to another. `besides` are ids of what is to be tried now whatever its row says.
        """
        order = commitment.c.next_try_s, commitment.c.id
        wanted = (
            sa.select(commitment.c.id, commitment.c.peer, commitment.c.attempts, commitment.c.requested_s)
            .where(
                commitment.c.state == CommitmentState.OWED,
                sa.or_(commitment.c.next_try_s <= now, commitment.c.id.in_(besides)),
            )
            .order_by(sa.func.row_number().over(partition_by=commitment.c.peer, order_by=order), *order)
            .limit(_TURN + len(besides))
        )
        with self.database.connect() as connection:
            return [OwedReport(*row) for row in connection.execute(wanted)]

    def next_due_s(self) -> float | None:
        """Return when the next report is to be tried, in seconds since 1970; None if nothing is owed."""
        first = sa.select(sa.func.min(commitment.c.next_try_s)).where(commitment.c.state == CommitmentState.OWED)
        with self.database.connect() as connection:
            due_s: float | None = connection.execute(first).scalar_one()
        return due_s

    def request(self, id_: int) -> CommitmentRequest:
        """Return what was asked."""
        wanted = sa.select(commitment.c.transaction_uid, commitment.c.referenced).where(commitment.c.id == id_)
        with self.database.connect() as connection:
            row = connection.execute(wanted).one()
        return CommitmentRequest(row.transaction_uid, tuple(Reference(*one) for one in row.referenced))

    def postpone(self, id_: int, status: str, *, next_try_s: float) -> None:
        """Note a failed attempt, and when the next one is."""
        with self.database.begin() as connection:
            connection.execute(
                commitment.update()
                .where(commitment.c.id == id_)
                .values(attempts=commitment.c.attempts + 1, status=status, next_try_s=next_try_s)
            )

    def settle(self, id_: int, state: CommitmentState, status: str, *, now: float) -> None:
        """Note how it ended: no more attempts."""
        with self.database.begin() as connection:
            connection.execute(
                commitment.update()
                .where(commitment.c.id == id_)
                .values(state=state, attempts=commitment.c.attempts + 1, status=status, settled_s=now)
            )

    def forget(self, *, settled_before_s: float) -> int:
        """Drop what was settled long ago, and return how many requests that were."""
        with self.database.begin() as connection:
            return connection.execute(
                commitment.delete().where(
                    commitment.c.state != CommitmentState.OWED, commitment.c.settled_s < settled_before_s
                )
            ).rowcount

    def counts(self) -> dict[str, int]:
        """Return how many requests there are in each state."""
        wanted = sa.select(commitment.c.state, sa.func.count()).group_by(commitment.c.state)
        with self.database.connect() as connection:
            return {row[0]: row[1] for row in connection.execute(wanted)}
