"""What archives are asked to send: each series once, and no study of which the instances contradict one another."""

import math
import sqlite3
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from node.dicom.identifiers import InstanceUID, SeriesUID, StudyUID
from node.eventlog import alias
from node.ledger.acts import noted
from node.ledger.database import Database
from node.records import (
    Act,
    RestingStudy,
    Retrieval,
    RetrievalReason,
    RetrievalState,
    StudyState,
    Wanted,
)

_TURN = 100  # retrievals; chosen
_PRIORS = (RetrievalReason.PRIOR, RetrievalReason.RESULT)
# What was pulled as a prior is of an older study, and is not measured. One of which reports of ours alone were asked
# for is that only as long as nothing else of it is here: its images may be sent to be measured.
IS_PRIOR = f"""(
    EXISTS (
        SELECT 1 FROM retrieval AS mark
        WHERE mark.study = study.uid AND mark.reason = '{RetrievalReason.PRIOR}'
    )
    OR EXISTS (
        SELECT 1 FROM retrieval AS mark
        WHERE mark.study = study.uid AND mark.reason = '{RetrievalReason.RESULT}'
    )
    AND NOT EXISTS (
        SELECT 1 FROM instance AS sent
        WHERE sent.study = study.uid
            AND sent.series NOT IN (SELECT asked.series FROM retrieval AS asked WHERE asked.study = study.uid)
    )
)"""
_RESTING = f"""
    SELECT study.uid, study.patient_id, study.issuer, study.last_seen_s, instance.series, count(*)
    FROM study
    JOIN instance ON instance.study = study.uid AND NOT instance.contradicts
    WHERE study.state IN ('{StudyState.GATHERING}', '{StudyState.MEASURABLE}', '{StudyState.NOT_ELIGIBLE}')
        AND study.last_seen_s BETWEEN ? AND ?
        AND (? OR NOT {IS_PRIOR})
    GROUP BY study.uid, instance.series
    ORDER BY study.last_seen_s, study.uid
"""
_DUE = f"""
    SELECT retrieval.id, retrieval.study, retrieval.series, retrieval.reason, retrieval.attempts, patient.state
    FROM retrieval
    JOIN study AS patient ON patient.uid = retrieval.for_study
    LEFT JOIN study ON study.uid = retrieval.study
    WHERE retrieval.archive = ? AND retrieval.state = '{RetrievalState.ASKED}' AND retrieval.next_try_s <= ?
        AND patient.state != '{StudyState.HELD}' AND coalesce(study.state, '') != '{StudyState.HELD}'
    ORDER BY retrieval.next_try_s, retrieval.id
    LIMIT {_TURN}
"""
_ASK = f"""
    INSERT INTO retrieval (
        study, series, archive, reason, for_study, instances, asked_s, next_try_s, state, attempts, status
    )
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, '{RetrievalState.ASKED}', 0, '')
"""
# The reason stays: with it goes the mark of a prior.
_ASK_AGAIN = f"""
    UPDATE retrieval
    SET state = '{RetrievalState.ASKED}', instances = ?, next_try_s = ?, attempts = ?, status = '', settled_s = NULL
    WHERE id = ?
"""
_KEEP_PRIORS = f"""
    UPDATE study
    SET state = '{StudyState.NOT_ELIGIBLE}', reason = 'prior of another study: kept, not measured', since_s = ?
    WHERE state = '{StudyState.GATHERING}' AND last_seen_s < ? AND {IS_PRIOR}
        AND NOT EXISTS (
            SELECT 1 FROM retrieval WHERE retrieval.study = study.uid AND retrieval.state = '{RetrievalState.ASKED}'
        )
    RETURNING alias
"""
_SHOWN = f"""
    SELECT study, series, reason, archive, state, attempts, status, next_try_s, settled_s, instances
    FROM retrieval
    WHERE (
            state = '{RetrievalState.ASKED}'
            OR (state = '{RetrievalState.FAILED}' AND settled_s > :failed_after_s)
            OR (state = '{RetrievalState.DONE}' AND settled_s > :done_after_s)
        )
        AND (:study IS NULL OR :study IN (study, for_study))
    ORDER BY asked_s DESC, id
    LIMIT :limit
"""
_PRIOR_NAMED = f"""
    SELECT uid FROM study
    WHERE :name IN (uid, alias) AND state IN ('{StudyState.GATHERING}', '{StudyState.NOT_ELIGIBLE}') AND {IS_PRIOR}
"""
# The rows stay: by them nobody asks for these series again.
_IS_NO_PRIOR = f"""
    UPDATE retrieval
    SET reason = '{RetrievalReason.OPERATOR}'
    WHERE study = ? AND reason IN ('{RetrievalReason.PRIOR}', '{RetrievalReason.RESULT}')
"""
_GATHER = f"""
    UPDATE study
    SET state = '{StudyState.GATHERING}', reason = '', changes = changes + 1, since_s = ?, whole_by = NULL
    WHERE uid = ?
"""


@dataclass(frozen=True, slots=True)
class _Before:
    id: int
    archive: str
    state: str
    attempts: int
    instances: int | None


@dataclass(frozen=True, slots=True)
class RetrievalRow:
    """A retrieval as an operator sees it: of a study and series by alias; times in seconds since 1970.

    `instances` is how many the archive says there are, or, when it is done, how many of the series are here.
    """

    study: str
    series: str
    reason: str
    archive: str
    state: str
    attempts: int
    status: str
    next_try_s: float
    settled_s: float | None
    instances: int | None


class Retrievals:
    """Rows about what archives are asked."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # ---------------------------------------------------------------- questions

    def resting(self, *, seen_after_s: float, seen_before_s: float, priors: bool = False) -> list[RestingStudy]:
        """Return the studies that an archive may be asked about, by the time of their last instance.

        Those that are held, or were dropped, are not among them, nor are priors unless that is wished.
        """
        studies: dict[str, RestingStudy] = {}
        rows = self._database.connection.execute(_RESTING, (seen_after_s, seen_before_s, priors)).fetchall()
        held: dict[str, dict[SeriesUID, int]] = {}
        for uid, patient_id, issuer, last_seen_s, series, instances in rows:
            held.setdefault(uid, {})[SeriesUID(series)] = instances
            studies[uid] = RestingStudy(StudyUID(uid), patient_id, issuer, last_seen_s, held[uid])
        return list(studies.values())

    def find(self, study_name: str) -> RestingStudy | StudyState | None:
        """Return a study by its alias or UID; only its state where nothing may be pulled for it; None if unknown."""
        wanted = "SELECT uid, state, last_seen_s FROM study WHERE alias = ? OR uid = ?"
        found = self._database.connection.execute(wanted, (study_name, study_name)).fetchone()
        if found is None:
            return None
        uid, state, last_seen_s = found
        resting = self.resting(seen_after_s=last_seen_s, seen_before_s=last_seen_s, priors=True)
        return next((one for one in resting if one.study == uid), StudyState(state))

    # ---------------------------------------------------------------- retrievals

    def ask(self, wanted: Iterable[Wanted], *, most_series: int, now: float) -> int:
        """Enter what archives shall send, and return how many of it is new: one transaction.

        Not entered is what was asked for before, of whatever archive: unless that failed and this is another archive,
        or the archive has more of it now, or an operator wishes it. Nor is more than `most_series` for one study,
        unless an operator wishes it; nothing of a study that is held; and no prior of which we know the study already.
        """
        with self._database.begin() as connection:
            return sum(_enter(connection, one, most_series, now) for one in wanted)

    def due(self, archive: str, *, now: float) -> list[Retrieval]:
        """Return what an archive is to be asked for now, the longest due first; nothing of a study that is held."""
        rows = self._database.connection.execute(_DUE, (archive, now)).fetchall()
        return [
            Retrieval(
                id_, StudyUID(study), SeriesUID(series), RetrievalReason(reason), attempts, state == StudyState.EXPIRED
            )
            for id_, study, series, reason, attempts, state in rows
        ]

    def begin(self, id_: int, *, next_try_s: float) -> None:
        """Note an attempt before it is made, and when the next one is: an attempt that kills us counts too."""
        with self._database.begin() as connection:
            connection.execute(
                "UPDATE retrieval SET attempts = attempts + 1, next_try_s = ? WHERE id = ?", (next_try_s, id_)
            )

    def postpone(self, id_: int, status: str) -> None:
        """Note why an attempt came to nothing."""
        with self._database.begin() as connection:
            connection.execute("UPDATE retrieval SET status = ? WHERE id = ?", (status, id_))

    def settle(self, id_: int, state: RetrievalState, status: str, *, now: float, instances: int = 0) -> None:
        """Note how it ended; `instances`: how many there are. An archive must say more to be asked again."""
        with self._database.begin() as connection:
            connection.execute(
                "UPDATE retrieval SET state = ?, status = ?, settled_s = ?, "
                "instances = max(coalesce(instances, 0), ?) WHERE id = ?",
                (state, status, now, instances, id_),
            )

    def held_instances(self, study: StudyUID, series: SeriesUID) -> frozenset[InstanceUID]:
        """Return the instances of a series that are in the spool, with whatever content."""
        wanted = "SELECT sop_instance FROM instance WHERE study = ? AND series = ?"
        return frozenset(uid for (uid,) in self._database.connection.execute(wanted, (study, series)).fetchall())

    def keep_priors(self, *, seen_before_s: float, now: float) -> list[str]:
        """Close the priors of which nothing is to come any more, unmeasured; return their aliases."""
        with self._database.begin() as connection:
            return [name for (name,) in connection.execute(_KEEP_PRIORS, (now, seen_before_s)).fetchall()]

    def adopt(self, study_name: str, *, now: float, who: str = "") -> bool:
        """Take the mark of a prior from a study, by its alias or UID, so that it gathers; False if it has none.

        What was dropped since, and what is held, is left as it is. `who` wants it, and is noted.
        """
        with self._database.begin() as connection:
            found = connection.execute(_PRIOR_NAMED, {"name": study_name}).fetchone()
            if found is None:
                return False
            connection.execute(_IS_NO_PRIOR, found)
            connection.execute(_GATHER, (now, *found))
            connection.execute(*noted(Act.ADOPTED, alias(*found), who, now=now))
        return True

    # ---------------------------------------------------------------- what people look at

    def rows(
        self, *, failed_after_s: float, done_after_s: float = math.inf, study: str | None = None, limit: int = 50
    ) -> list[RetrievalRow]:
        """Return the retrievals that are open, and those that failed, or were done, since a moment; newest first.

        `study`: those of the study of this UID, or made for it, alone.
        """
        asked = {"failed_after_s": failed_after_s, "done_after_s": done_after_s, "study": study, "limit": limit}
        shown = self._database.connection.execute(_SHOWN, asked).fetchall()
        return [RetrievalRow(alias(of_study), alias(series), *rest) for of_study, series, *rest in shown]


def _enter(connection: sqlite3.Connection, one: Wanted, most_series: int, now: float) -> bool:
    of_both = "SELECT uid, state FROM study WHERE uid IN (?, ?)"
    states = dict(connection.execute(of_both, (one.study, one.for_study)).fetchall())
    of_series = "SELECT id, archive, state, attempts, instances FROM retrieval WHERE study = ? AND series = ?"
    before = [_Before(*row) for row in connection.execute(of_series, (one.study, one.series)).fetchall()]
    if StudyState.HELD in states.values() or any(row.state == RetrievalState.ASKED for row in before):
        return False
    same = next((row for row in before if row.archive == one.archive), None)
    by_operator = one.reason is RetrievalReason.OPERATOR
    if same is not None:
        grown = same.state == RetrievalState.DONE and (one.instances or 0) > (same.instances or 0)
        if not (by_operator or grown):
            return False
        connection.execute(_ASK_AGAIN, (one.instances, now, 0 if by_operator else same.attempts, same.id))
        return True
    came = any(row.state == RetrievalState.DONE for row in before)
    if not by_operator and (came or not _may_be_new(connection, one, most_series, states)):
        return False
    connection.execute(_ASK, (one.study, one.series, one.archive, one.reason, one.for_study, one.instances, now, now))
    return True


def _may_be_new(connection: sqlite3.Connection, one: Wanted, most_series: int, known: Collection[str]) -> bool:
    """Return whether a series may be asked for that nobody was asked for yet; `known` are studies that we know."""
    is_prior = f"SELECT 1 FROM study WHERE uid = ? AND {IS_PRIOR}"
    of_older_study = one.reason in _PRIORS and one.study in known
    if of_older_study and connection.execute(is_prior, (one.study,)).fetchone() is None:
        return False
    asked = "SELECT count(*) FROM retrieval WHERE for_study = ?"
    ((so_far,),) = connection.execute(asked, (one.for_study,)).fetchall()
    return bool(so_far < most_series)
