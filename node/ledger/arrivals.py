"""What arrived: rows about instances, and about the segments of the spool that hold them.

In plain SQL on the standard library's driver, for the receiving process has no SQLAlchemy (12 MB of memory).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from sqlite3 import Connection

from node.eventlog import alias
from node.ledger.database import Database
from node.records import DeliveryState, Place, ReceivedInstance, SegmentEnd, StudyState, Version

_PAGE = 1000
_VERSIONS = "SELECT segment, generation, place, contradicts FROM instance WHERE sop_instance = ? ORDER BY id"
# A batch whose commit failed for all we know is entered again.
_ENTER_INSTANCE = """
    INSERT INTO instance (
        sop_instance, sop_class, study, series, patient_id, issuer, transfer_syntax,
        segment, generation, place, contradicts, calling_ae, received_s
    )
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT DO NOTHING
"""
_ENTER_SERIES = """
    INSERT INTO series (uid, study, last_seen_s)
    VALUES (?, ?, ?)
    ON CONFLICT (uid, study) DO UPDATE SET last_seen_s = excluded.last_seen_s, whole_by = NULL
"""
_OUR_RESULT = "a result of this node, sent back"
# As which results go out, ours and those of others (`delivery.dicom`): none of it is ever measured.
OF_RESULTS = frozenset(
    f"1.2.840.10008.5.1.4.1.1.{number}" for number in ("7", "30", "66.4", "88.22", "88.33", "88.34", "88.59", "104.1")
)
_CLOSED = (StudyState.MEASURABLE, StudyState.NOT_ELIGIBLE, StudyState.EXPIRED)
# Last seen never: it holds up nobody who waits until a study is quiet.
_ENTER_SERIES_OF_OURS = f"""
    INSERT INTO series (uid, study, last_seen_s, whole_by)
    VALUES (?, ?, 0, '{_OUR_RESULT}')
    ON CONFLICT (uid, study) DO NOTHING
"""
_ENTER_SEGMENT = """
    INSERT INTO segment (number, generation, written, sequence)
    VALUES (?, ?, ?, ?)
    ON CONFLICT (number) DO UPDATE
    SET generation = excluded.generation, written = excluded.written, sequence = excluded.sequence
"""
_ENTER_STUDY = """
    INSERT INTO study (
        uid, alias, state, reason, generation, changes, patient_id, issuer, first_seen_s, last_seen_s, since_s
    )
    VALUES (?, ?, ?, ?, 0, ?, ?, ?, ?, ?, ?)
"""
# Who wanted a study closed did not know of the doubt that holds it.
_CHANGE_STATE = f"""
    UPDATE study
    SET since_s = CASE WHEN state = :state THEN since_s ELSE :now END,
        state = :state, reason = :reason, whole_by = NULL,
        forced_by = CASE WHEN :state = '{StudyState.HELD}' THEN NULL ELSE forced_by END
    WHERE uid = :uid
"""
_EXPIRE = f"""
    UPDATE study
    SET state = '{StudyState.EXPIRED}'
    WHERE state IN ('{StudyState.MEASURABLE}', '{StudyState.NOT_ELIGIBLE}')
        AND last_seen_s < ?
        AND NOT EXISTS (SELECT 1 FROM job WHERE job.study = study.uid AND job.settled_s IS NULL)
        AND NOT EXISTS (
            SELECT 1
            FROM job
            JOIN result ON result.job = job.id
            JOIN delivery ON delivery.sop_instance = result.sop_instance
            WHERE job.study = study.uid AND delivery.state IN ('{DeliveryState.OWED}', '{DeliveryState.HELD}')
        )
"""


@dataclass(frozen=True, slots=True)
class HeldStudy:
    """A study that is held from now on, by its alias, and why."""

    alias: str
    reason: str


@dataclass(frozen=True, slots=True)
class HeldInstance:
    """An instance in the spool, and the alias of its study."""

    sop_instance: str
    study_alias: str
    place: Place
    contradicts: bool


class Arrivals:
    """Rows about what is in the spool."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def versions(self, sop_instance: str) -> list[Version]:
        """Return what is held under a SOP Instance UID, in the order of its arrival."""
        rows = self._database.connection.execute(_VERSIONS, (sop_instance,)).fetchall()
        return [Version(Place(*place), bool(contradicts)) for *place, contradicts in rows]

    def ends(self) -> dict[int, SegmentEnd]:
        """Return by number how far the rows follow each segment."""
        wanted = "SELECT number, generation, written, sequence FROM segment"
        return {row[0]: SegmentEnd(*row) for row in self._database.connection.execute(wanted).fetchall()}

    def enter(
        self, received: Sequence[ReceivedInstance], *, repeated: Iterable[tuple[str, str]] = (), now: float
    ) -> list[HeldStudy]:
        """Enter instances in one transaction, and return the studies that are held from now on.

        An instance reopens its study, unless that is held; but a result, whoever made it, reopens none that is closed
        or was dropped: what would be measured then is what was measured before. A study is held when an instance
        contradicts one of the same SOP Instance UID, or when its instances are of two patients. What is entered already
        is left as it is. A result of this node that an archive sends back is kept, and does none of this: else
        each report would have its own study measured again, for ever where archives route on arrival.

        Parameters
        ----------
        received : sequence of ReceivedInstance
            In the order in which they were recorded.
        repeated : iterable of (study, series)
            Of instances that came again: such a series is not quiet, for somebody still sends it.
        now : float
            Seconds since 1970.
        """
        with self._database.begin() as connection:  # a study may be closed or released while we look at it
            for study, series in set(repeated):
                connection.execute(
                    "UPDATE series SET last_seen_s = ? WHERE (uid, study) = (?, ?)", (now, series, study)
                )
                connection.execute("UPDATE study SET last_seen_s = ? WHERE uid = ?", (now, study))
            ours = {one.place for one in received if _is_result(connection, one)}
            others = [one for one in received if one.place not in ours]
            held = _enter_studies(connection, others, now)
            _enter_of_ours(connection, [one for one in received if one.place in ours], now)
            members = {(one.origin.series, one.origin.study) for one in others}
            connection.executemany(_ENTER_SERIES, [(*member, now) for member in members])
            connection.executemany(_ENTER_INSTANCE, map(_instance_row, received))
            for one in others:
                if one.contradicts:
                    held += _hold_others(connection, one, now)
            last = {one.following.segment: one.following for one in received}
            connection.executemany(
                _ENTER_SEGMENT, [(one.segment, one.generation, one.end, one.sequence) for one in last.values()]
            )
        return held

    def expire(self, *, before_s: float) -> int:
        """Drop the instances of studies that were last seen before that moment and are done with; return how many.

        Done with: not gathering, not held, no job without an outcome, nothing owed to a destination. Their rows stay,
        without the instances. Results of others that come for such a study are kept as long, from then on.
        """
        expired = f"SELECT uid FROM study WHERE state = '{StudyState.EXPIRED}' AND last_seen_s < ?"
        with self._database.begin() as connection:
            gone = connection.execute(_EXPIRE, (before_s,)).rowcount
            for table in ("instance", "series", "expectation", "expected_instance", "procedure_step"):
                connection.execute(f"DELETE FROM {table} WHERE study IN ({expired})", (before_s,))
        return gone

    def needed_segments(self) -> set[int]:
        """Return the segments of the spool that a row refers to."""
        rows = self._database.connection.execute("SELECT DISTINCT segment FROM instance").fetchall()
        return {number for (number,) in rows}

    def excuse_outage(self, *, now: float) -> None:
        """Restart the quiet time of what gathers: while we were away nobody could send, which is not quiet."""
        gathering = f"SELECT uid FROM study WHERE state = '{StudyState.GATHERING}'"
        with self._database.begin() as connection:
            connection.execute(f"UPDATE series SET last_seen_s = ? WHERE study IN ({gathering})", (now,))

    # ---------------------------------------------------------------- what people look at

    def held(self, study_name: str | None = None) -> Iterator[HeldInstance]:
        """Yield every instance that is held, in the order of arrival; of one study, by its alias or UID, if given.

        What comes or goes meanwhile may be among them or not. No transaction is left open between two of them.
        """
        of_study = "" if study_name is None else "AND study = (SELECT uid FROM study WHERE :study IN (uid, alias))"
        wanted = f"""
            SELECT instance.id, sop_instance, alias, segment, instance.generation, place, contradicts
            FROM instance
            JOIN study ON study.uid = instance.study
            WHERE instance.id > :last {of_study}
            ORDER BY instance.id
            LIMIT :page
        """
        asked = {"last": 0, "study": study_name, "page": _PAGE}
        while True:
            rows = self._database.connection.execute(wanted, asked).fetchall()
            for asked["last"], sop_instance, study_alias, *place, contradicts in rows:
                yield HeldInstance(sop_instance, study_alias, Place(*place), bool(contradicts))
            if len(rows) < _PAGE:
                return

    def still_held(self, place: Place) -> bool:
        """Return whether a row refers to a place: an instance may have been dropped since it was asked for."""
        wanted = "SELECT 1 FROM instance WHERE segment = ? AND generation = ? AND place = ?"
        found = self._database.connection.execute(wanted, (place.segment, place.generation, place.offset)).fetchall()
        return bool(found)

    def instances_by_segment(self) -> dict[int, int]:
        """Return how many rows refer to each segment."""
        wanted = "SELECT segment, count(*) FROM instance GROUP BY segment"
        return dict(self._database.connection.execute(wanted).fetchall())


def _is_result(connection: Connection, one: ReceivedInstance) -> bool:
    """Return whether an instance is a result of this node: known by its UID, which names what was measured and how."""
    wanted = """
        SELECT 1 FROM result WHERE sop_instance = :uid UNION ALL SELECT 1 FROM delivery WHERE sent_instance = :uid
    """
    return connection.execute(wanted, {"uid": one.origin.sop_instance}).fetchone() is not None


def _enter_of_ours(connection: Connection, received: Sequence[ReceivedInstance], now: float) -> None:
    """Enter series of our own results; and their study, where an archive has moved them to one that we do not know."""
    for one in received:
        origin, state = one.origin, StudyState.NOT_ELIGIBLE
        if connection.execute("SELECT 1 FROM study WHERE uid = ?", (origin.study,)).fetchone() is None:
            patient = (origin.patient_id, origin.issuer)
            values = (origin.study, alias(origin.study), state, _OUR_RESULT, 1, *patient, now, now, now)
            connection.execute(_ENTER_STUDY, values)
        connection.execute(_ENTER_SERIES_OF_OURS, (origin.series, origin.study))


def _enter_studies(connection: Connection, received: Sequence[ReceivedInstance], now: float) -> list[HeldStudy]:
    """Enter or reopen the studies of instances, and return those that are held by them."""
    by_study: dict[str, list[ReceivedInstance]] = {}
    for one in received:
        by_study.setdefault(one.origin.study, []).append(one)
    held = []
    for uid, members in by_study.items():
        first = members[0].origin
        before = connection.execute("SELECT state, patient_id, issuer FROM study WHERE uid = ?", (uid,)).fetchone()
        state, *patient = before or (StudyState.GATHERING, first.patient_id, first.issuer)
        was_held = state == StudyState.HELD
        reason = _contradiction(members, tuple(patient))
        results_alone = all(one.origin.sop_class in OF_RESULTS for one in members)
        if reason:
            state = StudyState.HELD
        elif not (results_alone and state in _CLOSED):
            state = StudyState.GATHERING
        if before is None:
            values = (uid, alias(uid), state, reason, len(members), *patient, now, now, now)
            connection.execute(_ENTER_STUDY, values)
        else:
            connection.execute(
                "UPDATE study SET changes = changes + ?, last_seen_s = ? WHERE uid = ?", (len(members), now, uid)
            )
            if not (was_held or state in _CLOSED):
                connection.execute(_CHANGE_STATE, {"uid": uid, "state": state, "reason": reason, "now": now})
        if reason and not was_held:
            held.append(HeldStudy(alias(uid), reason))
    return held


def _contradiction(members: Sequence[ReceivedInstance], patient: tuple[str, ...]) -> str:
    if any(one.contradicts for one in members):
        return "two contents under one SOP Instance UID"
    if any((one.origin.patient_id, one.origin.issuer) != patient for one in members):
        return "two patients under one Study Instance UID"
    return ""


def _hold_others(connection: Connection, one: ReceivedInstance, now: float) -> list[HeldStudy]:
    """Hold the other studies that have an instance of this SOP Instance UID: they are in doubt as well."""
    reason = "an instance of it came again in another study"
    hold = f"""
        UPDATE study
        SET state = '{StudyState.HELD}', reason = ?, last_seen_s = ?, since_s = ?, whole_by = NULL, forced_by = NULL
        WHERE uid IN (SELECT study FROM instance WHERE sop_instance = ?)
            AND uid <> ?
            AND state <> '{StudyState.HELD}'
        RETURNING alias
    """
    found = connection.execute(hold, (reason, now, now, one.origin.sop_instance, one.origin.study)).fetchall()
    return [HeldStudy(name, reason) for (name,) in found]


def _instance_row(one: ReceivedInstance) -> tuple[object, ...]:
    """Return the values of `_ENTER_INSTANCE`."""
    origin, place = one.origin, one.place
    return (
        origin.sop_instance, origin.sop_class, origin.study, origin.series, origin.patient_id, origin.issuer,
        origin.transfer_syntax, place.segment, place.generation, place.offset, one.contradicts, origin.calling_ae,
        one.received_s,
    )  # fmt: skip
