"""What people decide about the results of a job: approve, reject, recall; and what that owes to the destinations.

In plain SQL; each method is one transaction, so that no result goes out without the decision, or the other way round.
"""

import sqlite3
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from node.dicom.identifiers import InstanceUID
from node.errors import RulingError
from node.ledger.database import Database
from node.records import (
    DELIVERED,
    NOT_DELIVERED,
    Act,
    DeliveryState,
    Place,
    ResultRecord,
    ResultRole,
    Ruling,
    StudyState,
)

_INSERT = "INSERT INTO ruling (job, ruling, who, reason, decided_s) VALUES (?, ?, ?, ?, ?)"
LAST_RULING = "(SELECT ruling FROM ruling WHERE ruling.job = result.job ORDER BY ruling.id DESC LIMIT 1)"  # of a result
_LAST = "SELECT ruling, who, reason, decided_s FROM ruling WHERE job = ? ORDER BY id DESC LIMIT 1"
_WAITING = f"""
    SELECT job.id, study.alias, ruling.decided_s
    FROM ruling
    JOIN job ON job.id = ruling.job
    JOIN study ON study.uid = job.study
    WHERE ruling.id IN (SELECT max(id) FROM ruling GROUP BY job) AND ruling.ruling = '{Ruling.WAITING}'
        AND EXISTS (SELECT 1 FROM result WHERE result.job = job.id)
    ORDER BY ruling.decided_s
"""
_DECIDED = """
    SELECT ruling.id, job.id, study.alias, ruling.ruling, ruling.who, ruling.reason, ruling.decided_s
    FROM ruling
    JOIN job ON job.id = ruling.job
    JOIN study ON study.uid = job.study
    WHERE ruling.who <> '' AND ruling.id > ? AND ruling.decided_s >= ?
    ORDER BY ruling.id
"""
_OWE = f"""
    INSERT INTO delivery (
        sop_instance, destination, state, attempts, turns, looks, status, updated_s, next_try_s,
        sent_class, sent_instance, released_by
    )
    VALUES (?, ?, '{DeliveryState.OWED}', 0, 0, 0, '', ?, ?, '', '', '')
    ON CONFLICT DO NOTHING
"""
_OF_JOB = "SELECT sop_instance FROM result WHERE job = ?"
_DELIVERED = f"""
    SELECT DISTINCT sop_instance
    FROM delivery
    WHERE sop_instance IN ({_OF_JOB}) AND state IN ({", ".join(f"'{state}'" for state in DELIVERED)})
"""
# Where an object is, or may be: a destination that was mute may have taken it before it fell silent.
_HOLDERS = f"""
    SELECT DISTINCT destination
    FROM delivery
    WHERE sop_instance IN ({_OF_JOB}) AND (attempts > 0 OR state = '{DeliveryState.OWED}')
    ORDER BY destination
"""
# The rows stay: a report that was sent may be owed again, and only its row knows under which UID it went.
_WITHDRAW = f"""
    UPDATE delivery
    SET state = '{DeliveryState.WITHDRAWN}', status = 'recalled', next_try_s = NULL, updated_s = ?
    WHERE sop_instance IN ({_OF_JOB})
        AND state IN ({", ".join(f"'{state}'" for state in NOT_DELIVERED)})
"""
# Why nothing is decided about the results of a job: it was reopened, and will make others.
_IS_UNDER_WAY = "SELECT 1 FROM job WHERE id = ? AND settled_s IS NULL"
_UNDER_WAY = "it is being measured: wait for the end of that, or cancel it first"
_LAST_REPORT = f"""
    SELECT sop_instance FROM result WHERE job = ? AND role = '{ResultRole.SR}' ORDER BY rowid DESC LIMIT 1
"""
# A study that was released from a hold may have been of two patients: then of its other jobs nobody knows whose.
_OF_ITS_PATIENT = f"""
    SELECT sop_instance, sop_class, job, role, path, series
    FROM result
    JOIN job ON job.id = result.job
    JOIN study ON study.uid = job.study
    WHERE job.study = (SELECT study FROM job WHERE id = :job)
        AND (
            job.id = :job
            OR NOT EXISTS (SELECT 1 FROM act WHERE act.subject = study.alias AND act.act = '{Act.RELEASED}')
        )
    ORDER BY job.id = :job DESC, role = '{ResultRole.SR}' DESC, job.generation DESC, result.rowid DESC
"""
_MEASURED = """
    SELECT segment, instance.generation, place
    FROM instance
    WHERE id IN (SELECT chosen.atom FROM job, json_tree(job.selection) AS chosen WHERE job.id = ?)
    ORDER BY id
"""
_OTHERS = """
    SELECT other.id
    FROM job AS own
    JOIN job AS other ON other.study = own.study AND other.id <> own.id
    WHERE own.id = ?
    ORDER BY other.generation
"""
# Why the results of a job are not to be approved: no newer ones are there or under way, and its study is as it was.
_OF_STUDY = "SELECT study.state FROM job JOIN study ON study.uid = job.study WHERE job.id = ?"
_NEWER = """
    SELECT newer.id
    FROM job AS own
    JOIN job AS newer ON newer.study = own.study AND newer.generation > own.generation
    WHERE own.id = ? AND (newer.settled_s IS NULL OR EXISTS (SELECT 1 FROM result WHERE result.job = newer.id))
    ORDER BY newer.generation DESC
    LIMIT 1
"""
_CHANGED = {
    StudyState.GATHERING: "its study gathers again, and will be measured anew",
    StudyState.HELD: "its study is held: it contradicts itself",
    StudyState.NOT_ELIGIBLE: "its study has grown, and is not eligible any more",
}


@dataclass(frozen=True, slots=True)
class RulingRow:
    """What holds for the results of a job, by whose word and why; in seconds since 1970 since when."""

    ruling: Ruling
    who: str
    reason: str
    decided_s: float


@dataclass(frozen=True, slots=True)
class WaitingRow:
    """A job whose results wait for review, with its study's alias; in seconds since 1970 since when."""

    job: str
    study_alias: str
    since_s: float


@dataclass(frozen=True, slots=True)
class DecidedRow:
    """What a person decided about the results of a job, with its study's alias; when, in seconds since 1970."""

    id: int  # greater in a later one
    job: str
    study_alias: str
    ruling: Ruling
    who: str
    reason: str
    decided_s: float


class Rulings:
    """Rows about decisions; times in seconds since 1970."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, job: str) -> RulingRow | None:
        """Return the decision that holds for a job; None if people have no say about it."""
        row = self._database.connection.execute(_LAST, (job,)).fetchone()
        return None if row is None else RulingRow(Ruling(row[0]), *row[1:])

    def waiting(self) -> list[WaitingRow]:
        """Return the jobs whose results wait for review, the longest waiting first."""
        return [WaitingRow(*row) for row in self._database.connection.execute(_WAITING).fetchall()]

    def decided(self, *, after: int = 0, since_s: float = 0.0) -> list[DecidedRow]:
        """Return all that people decided, in its order: after a row, since a moment. None of it is ever dropped."""
        rows = self._database.connection.execute(_DECIDED, (after, since_s)).fetchall()
        return [DecidedRow(id_, job, name, Ruling(what), *rest) for id_, job, name, what, *rest in rows]

    def results(self, job: str) -> list[ResultRecord]:
        """Return the result objects of a job, as they were made."""
        wanted = "SELECT sop_instance, sop_class, job, role, path, series FROM result WHERE job = ? ORDER BY rowid"
        rows = self._database.connection.execute(wanted, (job,)).fetchall()
        return [ResultRecord(InstanceUID(uid), *others) for uid, *others in rows]

    def of_its_patient(self, job: str) -> list[ResultRecord]:
        """Return the results that are of the same patient as a job's: its own, the last report first; then others."""
        rows = self._database.connection.execute(_OF_ITS_PATIENT, {"job": job}).fetchall()
        return [ResultRecord(InstanceUID(uid), *others) for uid, *others in rows]

    def measured(self, job: str) -> list[Place]:
        """Return where the images are that a job measured, as far as they are still held."""
        return [Place(*row) for row in self._database.connection.execute(_MEASURED, (job,)).fetchall()]

    def obstacle(self, job: str) -> str:
        """Return why the results of a job cannot be approved; "" if they can."""
        return _obstacle(self._database.connection, job)

    def under_way(self, job: str) -> str:
        """Return why nothing is to be decided yet about what a job makes; "" if it has ended."""
        return _UNDER_WAY if _under_way(self._database.connection, job) else ""

    def was_sent(self, sop_instance: str) -> bool:
        """Return whether an object is owed to a destination, or there."""
        wanted = "SELECT 1 FROM delivery WHERE sop_instance = ? LIMIT 1"
        return self._database.connection.execute(wanted, (sop_instance,)).fetchone() is not None

    def delivered(self, job: str) -> set[str]:
        """Return which results of a job a destination has."""
        return {uid for (uid,) in self._database.connection.execute(_DELIVERED, (job,)).fetchall()}

    def last(self) -> int:
        """Return the id of the last decision, as `decided` takes it; 0 if there is none."""
        (found,) = self._database.connection.execute("SELECT coalesce(max(id), 0) FROM ruling").fetchone()
        return int(found)

    def holders(self, job: str) -> list[str]:
        """Return the destinations that hold, or may hold, results of a job."""
        return [name for (name,) in self._database.connection.execute(_HOLDERS, (job,)).fetchall()]

    def others(self, job: str) -> list[str]:
        """Return the other jobs of a job's study whose results are, or may be, at a destination and hold, by id."""
        found = [name for (name,) in self._database.connection.execute(_OTHERS, (job,)).fetchall()]
        return [one for one in found if self._holds(one) and self.holders(one)]

    def _holds(self, job: str) -> bool:
        found = self.of(job)
        return found is None or found.ruling not in (Ruling.REJECTED, Ruling.RECALLED)

    def approve(
        self, job: str, made: Sequence[ResultRecord], owed: Mapping[str, Collection[str]], who: str, reason: str, *,
        report: str, now: float,
    ) -> str:  # fmt: skip
        """Enter the objects that an approval made, and owe what it frees.

        `owed`: for each destination the SOP Instance UIDs of what it is to get; `report`: that of the report that was
        looked at. Returns ""; if nothing was done, why.
        """
        with self._database.begin() as connection:
            obstacle = _obstacle(connection, job)
            if not obstacle and connection.execute(_LAST_REPORT, (job,)).fetchone() != (report,):
                obstacle = "it has another report by now"
            if not obstacle:
                _enter(connection, made)
                _owe(connection, owed, now)
                connection.execute(_INSERT, (job, Ruling.APPROVED, who, reason, now))
            return obstacle

    def reject(self, job: str, who: str, reason: str, *, now: float) -> bool:
        """Note that results that wait are never to be sent; False if none wait."""
        with self._database.begin() as connection:
            last = connection.execute(_LAST, (job,)).fetchone()
            if last is None or last[0] != Ruling.WAITING:
                return False
            connection.execute(_INSERT, (job, Ruling.REJECTED, who, reason, now))
            return True

    def recall(self, job: str, note: ResultRecord, who: str, reason: str, *, now: float) -> list[str]:
        """Owe a rejection note to all that hold results of a job, and nothing else any more; return who they are.

        None, and nothing is done, if they were recalled before.

        Raises
        ------
        RulingError
            If the job is under way again: what it makes then would be recalled by nobody.
        """
        with self._database.begin() as connection:
            if _under_way(connection, job):
                raise RulingError(f"{job}: {_UNDER_WAY}")
            last = connection.execute(_LAST, (job,)).fetchone()
            if last is not None and last[0] == Ruling.RECALLED:
                return []
            holders = [name for (name,) in connection.execute(_HOLDERS, (job,)).fetchall()]
            connection.execute(_WITHDRAW, (now, job))
            _enter(connection, [note])
            _owe(connection, {name: [note.sop_instance] for name in holders}, now)
            connection.execute(_INSERT, (job, Ruling.RECALLED, who, reason, now))
        return holders


def _under_way(connection: sqlite3.Connection, job: str) -> bool:
    return connection.execute(_IS_UNDER_WAY, (job,)).fetchone() is not None


def _obstacle(connection: sqlite3.Connection, job: str) -> str:
    last = connection.execute(_LAST, (job,)).fetchone()
    if last is not None and last[0] != Ruling.WAITING:
        return f"it is {last[0]} already"
    if _under_way(connection, job):
        return _UNDER_WAY
    (state,) = connection.execute(_OF_STUDY, (job,)).fetchone()
    if state in _CHANGED:
        return _CHANGED[StudyState(state)]
    newer = connection.execute(_NEWER, (job,)).fetchone()
    return "" if newer is None else f"{newer[0]} has newer results of its study, or is at them"


def _enter(connection: sqlite3.Connection, made: Sequence[ResultRecord]) -> None:
    connection.executemany(
        """
        INSERT INTO result (sop_instance, sop_class, job, role, path, series) VALUES (?, ?, ?, ?, ?, ?)
        ON CONFLICT DO NOTHING
        """,
        [(one.sop_instance, one.sop_class, one.job, one.role, one.path, one.series) for one in made],
    )


def _owe(connection: sqlite3.Connection, owed: Mapping[str, Collection[str]], now: float) -> None:
    connection.executemany(_OWE, [(one, name, now, now) for name, ones in owed.items() for one in ones])
