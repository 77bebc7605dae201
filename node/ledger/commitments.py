"""Requests for storage commitment, and the reports that are owed on them."""

import json
from collections.abc import Sequence
from enum import StrEnum

from node.dicom.references import CommitmentRequest, Reference
from node.ledger.database import Database
from node.records import CommitmentState, OwedReport

_MOST_OWED = 1_000_000  # instances of all requests that are owed, some 130 bytes each; chosen
_TURN = 100  # reports; chosen
_OWE = f"""
    INSERT INTO commitment (
        peer, transaction_uid, referenced, instances, requested_s, next_try_s, state, attempts, status
    )
    VALUES (?, ?, ?, ?, ?, ?, '{CommitmentState.OWED}', 0, '')
    ON CONFLICT DO NOTHING
    RETURNING id
"""
_OWE_AGAIN = f"""
    UPDATE commitment
    SET state = '{CommitmentState.OWED}', attempts = 0, requested_s = ?, next_try_s = ?, settled_s = NULL
    WHERE id = ? AND state = '{CommitmentState.ABANDONED}'
"""


class Owing(StrEnum):
    """What became of a request."""

    NEW = "new"
    KNOWN = "known"  # the same request was made before
    IN_USE = "in use"  # another request was made under its Transaction UID
    TOO_MANY = "too many"  # are owed already


class Commitments:
    """Rows about storage commitment."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def owe(self, request: CommitmentRequest, peer: str, *, now: float, next_try_s: float) -> tuple[Owing, int]:
        """Owe a peer the report on its request, and return the id of that.

        What was owed and abandoned is owed again; what was reported is not. A peer is known by its AE title.
        """
        asked = [[one.sop_class, one.sop_instance] for one in request.references]
        with self._database.begin() as connection:
            wanted = "SELECT coalesce(sum(instances), 0) FROM commitment WHERE state = ?"
            ((owed,),) = connection.execute(wanted, (CommitmentState.OWED,)).fetchall()
            if owed + len(asked) > _MOST_OWED:
                return Owing.TOO_MANY, 0
            made = connection.execute(
                _OWE, (peer, request.transaction_uid, json.dumps(asked), len(asked), now, next_try_s)
            ).fetchall()
            if made:
                return Owing.NEW, made[0][0]
            wanted = "SELECT id, referenced FROM commitment WHERE peer = ? AND transaction_uid = ?"
            ((id_, referenced),) = connection.execute(wanted, (peer, request.transaction_uid)).fetchall()
            if json.loads(referenced) != asked:
                return Owing.IN_USE, id_
            connection.execute(_OWE_AGAIN, (now, next_try_s, id_))
            return Owing.KNOWN, id_

    def due(self, *, now: float, besides: Sequence[int] = ()) -> list[OwedReport]:
        """Return what is owed and to be tried now; not all if that is much.

        It goes round the peers: of each the longest due first, then of each the next, so that no peer has to wait for
        all that is owed to another. `besides` are ids of what is to be tried now whatever its row says.
        """
        wanted = f"""
            SELECT id, peer, attempts, requested_s
            FROM commitment
            WHERE state = '{CommitmentState.OWED}'
                AND (next_try_s <= ? OR id IN (SELECT value FROM json_each(?)))
            ORDER BY row_number() OVER (PARTITION BY peer ORDER BY next_try_s, id), next_try_s, id
            LIMIT ?
        """
        asked = (now, json.dumps(list(besides)), _TURN + len(besides))
        return [OwedReport(*row) for row in self._database.connection.execute(wanted, asked).fetchall()]

    def next_due_s(self) -> float | None:
        """Return when the next report is to be tried, in seconds since 1970; None if nothing is owed."""
        first = "SELECT min(next_try_s) FROM commitment WHERE state = ?"
        ((due_s,),) = self._database.connection.execute(first, (CommitmentState.OWED,)).fetchall()
        return None if due_s is None else float(due_s)

    def request(self, id_: int) -> CommitmentRequest:
        """Return what was asked."""
        wanted = "SELECT transaction_uid, referenced FROM commitment WHERE id = ?"
        ((transaction_uid, referenced),) = self._database.connection.execute(wanted, (id_,)).fetchall()
        return CommitmentRequest(transaction_uid, tuple(Reference(*one) for one in json.loads(referenced)))

    def postpone(self, id_: int, status: str, *, next_try_s: float) -> None:
        """Note a failed attempt, and when the next one is."""
        with self._database.begin() as connection:
            connection.execute(
                "UPDATE commitment SET attempts = attempts + 1, status = ?, next_try_s = ? WHERE id = ?",
                (status, next_try_s, id_),
            )

    def settle(self, id_: int, state: CommitmentState, status: str, *, now: float) -> None:
        """Note how it ended: no more attempts."""
        with self._database.begin() as connection:
            connection.execute(
                "UPDATE commitment SET state = ?, attempts = attempts + 1, status = ?, settled_s = ? WHERE id = ?",
                (state, status, now, id_),
            )

    def forget(self, *, settled_before_s: float) -> int:
        """Drop what was settled long ago, and return how many requests that were."""
        with self._database.begin() as connection:
            return connection.execute(
                "DELETE FROM commitment WHERE state <> ? AND settled_s < ?", (CommitmentState.OWED, settled_before_s)
            ).rowcount

    def counts(self) -> dict[str, int]:
        """Return how many requests there are in each state."""
        wanted = "SELECT state, count(*) FROM commitment GROUP BY state"
        return dict(self._database.connection.execute(wanted).fetchall())
