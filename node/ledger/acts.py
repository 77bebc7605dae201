"""What people did to jobs and studies, and what they decided about results: who, when, what. None of it is dropped.

A ruling is a row of its own (`rulings`), for results hang on it; on an act nothing hangs. An act is noted in the
transaction that does it; a cancel, which the queue does in one of its own, right after.
"""

from dataclasses import dataclass

from node.ledger.database import Database
from node.records import Act

_INSERT = "INSERT INTO act (subject, act, who, detail, done_s) VALUES (?, ?, ?, ?, ?)"
_SINCE = """
    SELECT decided_s, job, ruling, who, reason, id FROM ruling WHERE who <> '' AND decided_s >= :since_s
    UNION ALL
    SELECT done_s, subject, act, who, detail, id FROM act WHERE done_s >= :since_s
    ORDER BY 1 DESC, 6 DESC
"""


@dataclass(frozen=True, slots=True)
class ActRow:
    """What somebody did or decided, and with what or why; when, in seconds since 1970.

    `subject`: a job by its id, or a study by its alias.
    """

    done_s: float
    subject: str
    what: str
    who: str
    detail: str


def noted(
    act: Act, subject: str, who: str, detail: str = "", *, now: float
) -> tuple[str, tuple[str, str, str, str, float]]:
    """Return the statement that notes an act, and its values, for whoever is in a transaction."""
    return _INSERT, (subject, act.value, who, detail, now)


class Acts:
    """Rows about acts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def note(self, act: Act, subject: str, who: str, *, now: float) -> None:
        """Note what was done in no transaction of the ledger."""
        with self._database.begin() as connection:
            connection.execute(*noted(act, subject, who, now=now))

    def since(self, since_s: float) -> list[ActRow]:
        """Return what was done and decided since a moment, the newest first."""
        rows = self._database.connection.execute(_SINCE, {"since_s": since_s}).fetchall()
        return [ActRow(*row) for *row, _ in rows]
