"""What EMG suspects: statements by hand and from the drop folder, and what each study was measured with.

A statement may come before its study. One that comes after the study was measured reopens it, as a late instance does:
its next job is a new generation.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from node.emg import BY_HAND, Order, Statement
from node.emg.language import SuspectedSide
from node.errors import StatementError
from node.eventlog import alias
from node.findings import Suspicion
from node.ledger.database import Database
from node.records import StudyState

DOUBTFUL = "a Patient ID was told without its issuer, and more than one may have given it"

_TOLD_BASIS = "told for this study"
_KEYS = ("study", "accession_number", "patient_id", "issuer", "study_date")
_KINDS = {"study": "study", "accession_number": "accession number", "patient_id": "patient and date"}
# A row of either table holds for a study that these name; empty keys name none. An issuer that only one side names
# is let pass here, and looked at in `_told`: many archives and most people name none.
_CERTAIN = "(study = :study OR (:accession_number != '' AND accession_number = :accession_number))"
_NAMED = f"""
    ({_CERTAIN} OR (:patient_id != '' AND patient_id = :patient_id AND study_date = :study_date
        AND (issuer = :issuer OR '' IN (issuer, :issuer))))
"""
# Who says it for just this study comes first; the order's own words last (`emg.order`). Of one source, the latest.
_TOLD = f"""
    SELECT id, level, side, source, {_CERTAIN} OR (issuer != '' AND issuer = :issuer), issuer
    FROM emg_statement
    WHERE {_NAMED}
    ORDER BY source = '{BY_HAND}' DESC, id DESC
"""
_ISSUERS = "SELECT DISTINCT issuer FROM emg_suspicion WHERE patient_id = :patient_id AND study_date = :study_date"
_TELL = f"""
    INSERT INTO emg_statement ({", ".join(_KEYS)}, level, side, source, entered_s)
    VALUES ({", ".join(f":{key}" for key in _KEYS)}, :level, :side, :source, :entered_s)
"""
_NOTE = f"""
    INSERT OR REPLACE INTO emg_suspicion ({", ".join(_KEYS)}, level, side, source, basis, unclear)
    VALUES ({", ".join(f":{key}" for key in _KEYS)}, :level, :side, :source, :basis, :unclear)
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


@dataclass(frozen=True, slots=True)
class StatementRow:
    """What was told, as an operator sees it: `key` is the kind of its key, `standing` what became of it."""

    level: str
    side: SuspectedSide
    source: str
    entered_s: float
    key: str
    study_alias: str
    standing: str


@dataclass(frozen=True, slots=True)
class _Told:
    """What holds of all that was told for a study: the statement that counts, and those that are in doubt."""

    holds: tuple[int, str, SuspectedSide, str] | None  # id, level, side, source
    doubtful: frozenset[int]


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
        wanted = f"SELECT {', '.join(_KEYS)} FROM emg_suspicion WHERE study = ?"
        with self._database.begin() as connection:
            rows = connection.execute(wanted, (study,)).fetchall()
            keys = dict(zip(_KEYS, rows[0], strict=True)) if rows else dict.fromkeys(_KEYS, "") | {"study": study}
            if not connection.execute(f"DELETE FROM emg_statement WHERE {_NAMED}", keys).rowcount:
                raise StatementError("no statement holds for that study")
            again = dict.fromkeys(_reopen(connection, study, now))
            for uid in _measured_otherwise(connection, keys):  # a statement may have held for several studies
                again |= dict.fromkeys(_reopen(connection, uid, now))
        return list(again)

    def settle(self, study: str, order: Order, *, now: float) -> tuple[Suspicion | None, str]:
        """Return what holds for a study that is measured now, or why nothing was taken; note it with its order's keys.

        A statement that is entered from now on finds the study, and reopens it. Another study is reopened if what it
        was measured with is in doubt now, for this one has the same Patient ID from another issuer. `now` since 1970.
        """
        keys = {
            "study": study, "accession_number": order.accession_number, "patient_id": order.patient_id,
            "issuer": order.issuer, "study_date": order.study_date,
        }  # fmt: skip
        with self._database.begin() as connection:
            told = _told(connection, keys)
            holds, unclear = order.suspicion, "" if order.suspicion else order.unclear
            if told.holds is not None:
                holds, unclear = Suspicion(*told.holds[1:], _TOLD_BASIS), ""
            elif told.doubtful:
                unclear = DOUBTFUL
            said = {"level": "", "side": "", "source": "", "basis": "", "unclear": unclear}
            if holds is not None:
                said |= {"level": holds.level, "side": holds.side, "source": holds.source, "basis": holds.basis}
            connection.execute(_NOTE, keys | said)
            of_patient = dict.fromkeys(_KEYS, "") | {key: keys[key] for key in ("patient_id", "study_date")}
            for uid in _measured_otherwise(connection, of_patient):
                if uid != study:
                    _reopen(connection, uid, now)
        return holds, unclear

    def rows(self, limit: int = 100) -> list[SuspicionRow]:
        """Return what studies were measured with, those seen last first."""
        return [SuspicionRow(*row) for row in self._database.connection.execute(_ROWS, (limit,)).fetchall()]

    def told(self, limit: int = 100) -> list[StatementRow]:
        """Return what was told, the latest first, and what became of it in each study that it is for."""
        connection = self._database.connection
        wanted = f"""
            SELECT id, level, side, source, entered_s, {", ".join(_KEYS)} FROM emg_statement ORDER BY id DESC LIMIT ?
        """
        found = []
        for id_, level, side, source, entered_s, *named in connection.execute(wanted, (limit,)).fetchall():
            keys = dict(zip(_KEYS, named, strict=True))
            kind = next(words for key, words in _KINDS.items() if keys[key])
            standings = {alias(uid): standing for uid, standing in _standings(connection, id_, keys)}
            if not standings:
                standings = {keys["study"] and alias(keys["study"]): "waits until its study is measured"}
            for study, standing in standings.items():
                found.append(StatementRow(level, side, source, entered_s, kind, study, standing))
        return found

    def waiting(self) -> int:
        """Return how many statements have not found their study yet."""
        wanted = """
            SELECT count(*) FROM emg_statement AS said WHERE NOT EXISTS (
                SELECT 1 FROM emg_suspicion WHERE study = said.study
                UNION ALL SELECT 1 FROM emg_suspicion
                    WHERE said.accession_number != '' AND accession_number = said.accession_number
                UNION ALL SELECT 1 FROM emg_suspicion AS noted
                    WHERE said.patient_id != '' AND patient_id = said.patient_id AND study_date = said.study_date
                    AND (noted.issuer = said.issuer OR '' IN (noted.issuer, said.issuer))
            )
        """
        ((number,),) = self._database.connection.execute(wanted).fetchall()
        return int(number)


def _keys(one: Statement) -> dict[str, str]:
    return {key: getattr(one, key) for key in _KEYS}


def _told(connection: sqlite3.Connection, keys: dict[str, str]) -> _Told:
    """Return what holds for the study of these keys.

    In doubt is what names the patient without an issuer, or a study without one, where more than one issuer is known to
    have given that Patient ID to somebody who was examined on that day.
    """
    issuers = {keys["issuer"], *(issuer for (issuer,) in connection.execute(_ISSUERS, keys).fetchall())}
    said = connection.execute(_TOLD, keys).fetchall()
    named = {issuer for *_, certain, issuer in said if not certain and issuer}
    in_doubt = len(issuers) > 1 or len(named) > 1
    certain = [tuple(one) for *one, sure, _issuer in said if sure or not in_doubt]
    doubtful = frozenset(id_ for id_, *_, sure, _issuer in said if in_doubt and not sure)
    return _Told(next(iter(certain), None), doubtful)


def _standings(connection: sqlite3.Connection, statement: int, keys: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the UID of each measured study that a statement is for, and what became of it there."""
    noted = f"SELECT {', '.join(_KEYS)} FROM emg_suspicion WHERE {_NAMED}"
    for row in connection.execute(noted, keys).fetchall():
        told = _told(connection, dict(zip(_KEYS, row, strict=True)))
        if statement in told.doubtful:
            yield row[0], f"not taken: {DOUBTFUL}"
        elif told.holds is not None:
            counts = told.holds[0] == statement
            yield row[0], "counts" if counts else f"another one counts, from {told.holds[3]}"


def _reopen(connection: sqlite3.Connection, uid: str, now: float) -> list[str]:
    """Let a measured study gather again, and return its alias; nothing if it is not measured."""
    return [name for (name,) in connection.execute(_REOPEN, {"uid": uid, "now": now}).fetchall()]


def _measured_otherwise(connection: sqlite3.Connection, named: dict[str, str]) -> list[str]:
    """Return the studies that keys name, and that were measured with something else than what is told now."""
    wanted = f"SELECT {', '.join(_KEYS)}, level, side, source, basis FROM emg_suspicion WHERE {_NAMED}"
    found = []
    for *of_study, level, side, source, basis in connection.execute(wanted, named).fetchall():
        holds = _told(connection, dict(zip(_KEYS, of_study, strict=True))).holds
        before = (level, side, source) if basis == _TOLD_BASIS else None
        if (holds and holds[1:]) != before:
            found.append(of_study[0])
    return found
