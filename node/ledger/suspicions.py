"""What EMG suspects: statements by hand and from the drop folder, and what each study was measured with.

A statement may come before its study. One that comes after the study was measured reopens it, as a late instance does:
its next job is a new generation.
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from node.emg import BY_HAND, Order, Statement
from node.emg.language import SuspectedSide
from node.errors import StatementError
from node.findings import Suspicion
from node.ledger.database import Database
from node.records import StudyState

# A row of either table holds for a study that these name; empty keys name none.
_NAMED = """
    (study = :study OR (:accession_number != '' AND accession_number = :accession_number)
        OR (:patient_id != '' AND patient_id = :patient_id AND study_date = :study_date))
"""
# Who says it for just this study comes first; the order's own words last (`emg.order`). Of one source, the latest.
_TOLD = f"""
    SELECT level, side, source FROM emg_statement WHERE {_NAMED} ORDER BY source = '{BY_HAND}' DESC, id DESC LIMIT 1
"""
_TELL = """
    INSERT INTO emg_statement (study, accession_number, patient_id, study_date, level, side, source, entered_s)
    VALUES (:study, :accession_number, :patient_id, :study_date, :level, :side, :source, :entered_s)
"""
_NOTE = """
    INSERT OR REPLACE INTO emg_suspicion
        (study, accession_number, patient_id, study_date, level, side, source, basis, unclear)
    VALUES (:study, :accession_number, :patient_id, :study_date, :level, :side, :source, :basis, :unclear)
"""
_REOPEN = f"""
    UPDATE study
    SET state = '{StudyState.GATHERING}', reason = '', changes = changes + 1, since_s = :now, whole_by = NULL
    WHERE uid = :uid AND state = '{StudyState.MEASURABLE}'
    RETURNING alias
"""
_ROWS = """
    SELECT alias, level, side, source, basis, unclear
    FROM emg_suspicion JOIN study ON study.uid = emg_suspicion.study
    WHERE level != '' OR unclear != ''
    ORDER BY last_seen_s DESC
    LIMIT ?
"""


@dataclass(frozen=True, slots=True)
class SuspicionRow:
    """What a study was last measured with, as an operator sees it; `unclear`: why nothing was taken from its order."""

    study_alias: str
    level: str
    side: SuspectedSide
    source: str
    basis: str
    unclear: str


class Suspicions:
    """Rows about what EMG suspects."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def uid_of(self, study_name: str) -> str | None:
        """Return the UID of the study that has an alias or UID, None if there is none."""
        wanted = "SELECT uid FROM study WHERE uid = :name OR alias = :name"
        found = self._database.connection.execute(wanted, {"name": study_name}).fetchall()
        return found[0][0] if found else None

    def tell(self, statements: Sequence[Statement], *, now: float) -> list[str]:
        """Enter statements in one transaction; return the aliases of the studies that are measured again for them.

        Those are the measured ones for which something else holds now than they were measured with.
        """
        again: dict[str, None] = {}
        with self._database.begin() as connection:
            for one in statements:
                said = {"level": one.level, "side": one.side, "source": one.source, "entered_s": now}
                connection.execute(_TELL, said | _keys(one))
            for one in statements:
                for uid in _measured_otherwise(connection, _keys(one)):
                    again |= dict.fromkeys(_reopen(connection, uid, now))
        return list(again)

    def forget(self, study: str, *, now: float) -> list[str]:
        """Drop the statements that hold for the study of a UID; return the aliases of what is measured again.

        `now` is in seconds since 1970.

        Raises
        ------
        StatementError
            If none holds.
        """
        wanted = "SELECT study, accession_number, patient_id, study_date FROM emg_suspicion WHERE study = ?"
        nothing = {"study": study, "accession_number": "", "patient_id": "", "study_date": ""}
        with self._database.begin() as connection:
            rows = connection.execute(wanted, (study,)).fetchall()
            keys = dict(zip(nothing, rows[0], strict=True)) if rows else nothing
            if not connection.execute(f"DELETE FROM emg_statement WHERE {_NAMED}", keys).rowcount:
                raise StatementError("no statement holds for that study")
            return _reopen(connection, study, now)

    def settle(self, study: str, patient_id: str, order: Order) -> Suspicion | None:
        """Return what holds for a study that is measured now, and note it with the keys of its order.

        A statement that is entered from now on finds the study, and reopens it.
        """
        keys = {"study": study, "accession_number": order.accession_number, "patient_id": patient_id.strip()}
        keys["study_date"] = order.study_date
        with self._database.begin() as connection:
            told = connection.execute(_TOLD, keys).fetchall()
            holds = order.suspicion
            for level, side, source in told:
                holds = Suspicion(level, side, source, "told for this study")
            said = {"level": "", "side": "", "source": "", "basis": ""}
            if holds is not None:
                said = {"level": holds.level, "side": holds.side, "source": holds.source, "basis": holds.basis}
            connection.execute(_NOTE, keys | said | {"unclear": "" if holds else order.unclear})
        return holds

    def rows(self, limit: int = 100) -> list[SuspicionRow]:
        """Return what studies were measured with, those seen last first."""
        return [SuspicionRow(*row) for row in self._database.connection.execute(_ROWS, (limit,)).fetchall()]

    def waiting(self) -> int:
        """Return how many statements have not found their study yet."""
        wanted = """
            SELECT count(*) FROM emg_statement AS said WHERE NOT EXISTS (
                SELECT 1 FROM emg_suspicion WHERE study = said.study
                UNION ALL SELECT 1 FROM emg_suspicion
                    WHERE said.accession_number != '' AND accession_number = said.accession_number
                UNION ALL SELECT 1 FROM emg_suspicion
                    WHERE said.patient_id != '' AND patient_id = said.patient_id AND study_date = said.study_date
            )
        """
        ((number,),) = self._database.connection.execute(wanted).fetchall()
        return int(number)


def _keys(one: Statement) -> dict[str, str]:
    return {
        "study": one.study,
        "accession_number": one.accession_number,
        "patient_id": one.patient_id,
        "study_date": one.study_date,
    }


def _reopen(connection: sqlite3.Connection, uid: str, now: float) -> list[str]:
    """Let a measured study gather again, and return its alias; nothing if it is not measured."""
    return [name for (name,) in connection.execute(_REOPEN, {"uid": uid, "now": now}).fetchall()]


def _measured_otherwise(connection: sqlite3.Connection, named: dict[str, str]) -> list[str]:
    """Return the studies that keys name, and that were measured with something else than what is told now."""
    noted = connection.execute(
        f"""
        SELECT study, accession_number, patient_id, study_date, level, side, source
        FROM emg_suspicion WHERE {_NAMED}
        """,
        named,
    ).fetchall()
    found = []
    for *keys, level, side, source in noted:
        told = connection.execute(_TOLD, dict(zip(named, keys, strict=True))).fetchall()
        if told != [(level, side, source)]:
            found.append(keys[0])
    return found
