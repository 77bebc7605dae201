"""The ledger's methods: each is one transaction."""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from node.dicom.identifiers import InstanceUID, SeriesUID, StudyUID
from node.errors import LedgerError
from node.eventlog import alias
from node.ledger import schema
from node.ledger.schema import delivery, instance, job, ledger_version, result, segment, series, study
from node.records import (
    DeliveryRecord,
    DeliveryState,
    Job,
    Place,
    ReceivedInstance,
    ResultRecord,
    Role,
    RoleDecision,
    SegmentEnd,
    SeriesProgress,
    StudyState,
    Version,
)

Enqueue = Callable[[sa.Connection, Job], None]
EnqueueDelivery = Callable[[sa.Connection, str, str], None]
EnqueueAgain = Callable[[sa.Connection, str, str, int], None]  # the last: attempts that were spent before


@dataclass(frozen=True, slots=True)
class GatheringStudy:
    """A study that may be complete; `changes` is what `close` compares, so that nothing arrives unseen."""

    study: StudyUID
    changes: int
    series: tuple[SeriesProgress, ...]


@dataclass(frozen=True, slots=True)
class HeldStudy:
    """A study that is held from now on, by its alias, and why."""

    alias: str
    reason: str


@dataclass(frozen=True, slots=True)
class StudyRow:
    """A study as an operator sees it: no identifier, only its alias."""

    alias: str
    state: StudyState
    reason: str
    generation: int
    instances: int
    series: int
    last_seen_s: float


@dataclass(frozen=True, slots=True)
class JobRow:
    """A job as an operator sees it."""

    id: str
    study_alias: str
    outcome: str | None
    created_s: float
    settled_s: float | None


_counts = sa.not_(instance.c.contradicts)  # only the first of several contents is ever measured
_PAGE = 1000
# A batch whose commit failed for all we know is entered again.
_INSERT_INSTANCE = sqlite.insert(instance).on_conflict_do_nothing()
_VERSIONS = (
    sa.select(instance.c.segment, instance.c.generation, instance.c.place, instance.c.contradicts)
    .where(instance.c.sop_instance == sa.bindparam("sop_instance"))
    .order_by(instance.c.id)
)
_insert_series = sqlite.insert(series)
_UPSERT_SERIES = _insert_series.on_conflict_do_update(
    index_elements=["uid", "study"],
    set_={"last_seen_s": _insert_series.excluded.last_seen_s, "whole_by": None, "role": None},
)
_insert_segment = sqlite.insert(segment)
_UPSERT_SEGMENT = _insert_segment.on_conflict_do_update(
    index_elements=["number"],
    set_={name: _insert_segment.excluded[name] for name in ("generation", "written", "sequence")},
)


@dataclass(frozen=True, slots=True)
class HeldInstance:
    """An instance in the spool, and the alias of its study."""

    sop_instance: str
    study_alias: str
    place: Place
    contradicts: bool


class Ledger:
    """Rows about studies, jobs, results and deliveries in one database.

    Raises
    ------
    LedgerError
        If the tables in the database are of another version.
    """

    def __init__(self, database: sa.Engine) -> None:
        self.database = database
        # The receiver asks on every instance, in a thread for each association: no layer above the driver (4 us instead
        # of 18), and a connection for each thread (a lock around one doubled the CPU time of four associations).
        self._versions = str(_VERSIONS.compile(database))
        self._lookups = sa.create_engine(database.url, poolclass=sa.NullPool, hide_parameters=True)
        self._here = threading.local()
        with database.begin() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")  # DDL takes no lock by itself, and two processes may start
            schema.metadata.create_all(connection)
            held = connection.execute(sa.select(ledger_version.c.version)).scalar_one_or_none()
            if held is None:
                connection.execute(ledger_version.insert().values(version=schema.SCHEMA_VERSION))
            elif held != schema.SCHEMA_VERSION:
                raise LedgerError(
                    f"the ledger has tables of version {held}, this release needs {schema.SCHEMA_VERSION}: "
                    "use the release that wrote it, or another data folder"
                )

    # ---------------------------------------------------------------- association

    def versions(self, sop_instance: str) -> list[Version]:
        """Return what is held under a SOP Instance UID, in the order of its arrival."""
        cursor = getattr(self._here, "cursor", None)
        if cursor is None:
            self._here.connection = self._lookups.raw_connection()
            self._here.cursor = cursor = self._here.connection.cursor()
        cursor.execute(self._versions, (sop_instance,))
        return [Version(Place(*place), bool(contradicts)) for *place, contradicts in cursor.fetchall()]

    def ends(self) -> dict[int, SegmentEnd]:
        """Return by number how far the rows follow each segment."""
        with self.database.connect() as connection:
            rows = connection.execute(sa.select(segment)).all()
        return {row.number: SegmentEnd(row.number, row.generation, row.written, row.sequence) for row in rows}

    def enter(
        self, received: Sequence[ReceivedInstance], *, repeated: Iterable[tuple[str, str]] = (), now: float
    ) -> list[HeldStudy]:
        """Enter instances in one transaction, and return the studies that are held from now on.

        An instance reopens its study, unless that is held. A study is held when an instance contradicts one of the
        same SOP Instance UID, or when its instances are of two patients. What is entered already is left as it is.

        Parameters
        ----------
        received : sequence of ReceivedInstance
            In the order in which they were recorded.
        repeated : iterable of (study, series)
            Of instances that came again: such a series is not quiet, for somebody still sends it.
        now : float
            Seconds since 1970.
        """
        with self.database.begin() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")  # a study may be closed or released while we look at it
            for study_uid, series_uid in set(repeated):
                connection.execute(
                    series.update()
                    .where(series.c.uid == series_uid, series.c.study == study_uid)
                    .values(last_seen_s=now)
                )
                connection.execute(study.update().where(study.c.uid == study_uid).values(last_seen_s=now))
            held = _enter_studies(connection, received, now)
            if received:
                members = {(one.origin.series, one.origin.study) for one in received}
                connection.execute(
                    _UPSERT_SERIES,
                    [{"uid": uid, "study": study_uid, "last_seen_s": now} for uid, study_uid in members],
                )
                connection.execute(_INSERT_INSTANCE, [_instance_values(one) for one in received])
                for one in received:
                    if one.contradicts:
                        held += _hold_others(connection, one, now)
            last = {one.following.segment: one.following for one in received}
            if last:
                connection.execute(
                    _UPSERT_SEGMENT,
                    [
                        {
                            "number": one.segment, "generation": one.generation, "written": one.end,
                            "sequence": one.sequence,
                        }
                        for one in last.values()
                    ],
                )  # fmt: skip
        return held

    def release(self, study_alias: str, *, latest: bool, now: float) -> int | None:
        """Let a held study gather again, with the first or the latest patient, and content of each instance.

        First and latest by the time of arrival, among what came for this study. The others stay in the spool and
        count no more; another study that is held for the same instances stays held. Returns how many instances were
        left out; None if no such study is held.
        """
        with self.database.begin() as connection:
            uid = connection.execute(
                study.update()
                .where(study.c.alias == study_alias, study.c.state == StudyState.HELD)
                .values(state=StudyState.GATHERING, reason="", changes=study.c.changes + 1, last_seen_s=now)
                .returning(study.c.uid)
            ).scalar_one_or_none()
            if uid is None:
                return None
            order = [column.desc() if latest else column.asc() for column in (instance.c.received_s, instance.c.id)]
            decisive = sa.select(instance).where(instance.c.study == uid).order_by(*order).limit(1)
            patient = connection.execute(decisive).one()
            connection.execute(
                study.update().where(study.c.uid == uid).values(patient_id=patient.patient_id, issuer=patient.issuer)
            )
            place = sa.func.row_number().over(partition_by=instance.c.sop_instance, order_by=order).label("place")
            ranked = sa.select(instance.c.id, place).where(instance.c.study == uid).subquery()
            chosen = sa.select(ranked.c.id).where(ranked.c.place == 1)
            other_patient = sa.or_(instance.c.patient_id != patient.patient_id, instance.c.issuer != patient.issuer)
            of_study = instance.c.study == uid
            connection.execute(
                instance.update()
                .where(of_study)
                .values(contradicts=sa.or_(instance.c.id.not_in(chosen), other_patient))
            )
            connection.execute(
                series.update().where(series.c.study == uid).values(last_seen_s=now, whole_by=None, role=None)
            )
            left_out = sa.select(sa.func.count()).select_from(instance).where(of_study, instance.c.contradicts)
            return connection.execute(left_out).scalar_one()

    def expire(self, *, before_s: float) -> int:
        """Drop the instances of studies that were last seen before that moment and are done with; return how many.

        Done with: not gathering, not held, no job without an outcome, nothing owed to a destination. Their rows stay,
        without the instances.
        """
        open_jobs = sa.exists().where(job.c.study == study.c.uid, job.c.settled_s.is_(None))
        owing = (
            sa.exists()
            .where(job.c.study == study.c.uid, result.c.job == job.c.id)
            .where(delivery.c.sop_instance == result.c.sop_instance, delivery.c.state == DeliveryState.OWED)
        )
        done_with = sa.and_(
            study.c.state.in_([StudyState.MEASURABLE, StudyState.NOT_ELIGIBLE]),
            study.c.last_seen_s < before_s, sa.not_(open_jobs), sa.not_(owing),
        )  # fmt: skip
        with self.database.begin() as connection:
            gone = connection.execute(
                study.update().where(done_with).values(state=StudyState.EXPIRED).returning(study.c.uid)
            ).scalars().all()  # fmt: skip
            expired = sa.select(study.c.uid).where(study.c.state == StudyState.EXPIRED)
            for table in (instance, series):
                connection.execute(table.delete().where(table.c.study.in_(expired)))
        return len(gone)

    def needed_segments(self) -> set[int]:
        """Return the segments of the spool that a row refers to."""
        with self.database.connect() as connection:
            return set(connection.execute(sa.select(instance.c.segment).distinct()).scalars())

    def excuse_outage(self, *, now: float) -> None:
        """Restart the quiet time of what gathers: while we were away nobody could send, which is not quiet."""
        with self.database.begin() as connection:
            gathering = sa.select(study.c.uid).where(study.c.state == StudyState.GATHERING)
            connection.execute(series.update().where(series.c.study.in_(gathering)).values(last_seen_s=now))

    # ---------------------------------------------------------------- completion

    def gathering(self) -> list[GatheringStudy]:
        """Return the studies that gather, with their series."""
        counted = (
            sa.select(
                study.c.uid, study.c.changes, series.c.uid.label("series"), series.c.last_seen_s,
                sa.func.count(instance.c.id).label("instances"),
            )
            .join(series, series.c.study == study.c.uid)
            .join(instance, sa.and_(_counts, instance.c.series == series.c.uid, instance.c.study == study.c.uid))
            .where(study.c.state == StudyState.GATHERING)
            .group_by(study.c.uid, study.c.changes, series.c.uid, series.c.last_seen_s)
            .order_by(study.c.first_seen_s, study.c.uid, series.c.uid)
        )  # fmt: skip
        with self.database.connect() as connection:
            rows = connection.execute(counted).all()
        studies: dict[StudyUID, tuple[int, list[SeriesProgress]]] = {}
        for row in rows:
            progress = SeriesProgress(SeriesUID(row.series), StudyUID(row.uid), row.instances, row.last_seen_s)
            studies.setdefault(StudyUID(row.uid), (row.changes, []))[1].append(progress)
        return [GatheringStudy(uid, changes, tuple(members)) for uid, (changes, members) in studies.items()]

    def places(self, study_uid: StudyUID, series_uid: SeriesUID) -> list[Place]:
        """Return where a series' instances are, in the order of their SOP Instance UIDs."""
        wanted = (
            sa.select(instance.c.segment, instance.c.generation, instance.c.place)
            .where(_counts, instance.c.study == study_uid, instance.c.series == series_uid)
            .order_by(instance.c.sop_instance)
        )
        with self.database.connect() as connection:
            return [Place(*row) for row in connection.execute(wanted)]

    def close(
        self,
        gathered: GatheringStudy,
        *,
        whole_by: Mapping[SeriesUID, str],
        roles: Mapping[SeriesUID, RoleDecision],
        selection: Mapping[Role, SeriesUID] | None,
        reason: str,
        enqueue: Enqueue,
        now: float,
    ) -> bool:
        """Close a study: with its job if there is a selection to measure, else as not eligible.

        One transaction: the states change and the job exists, or neither. Nothing happens, and False is returned, if
        the study has grown since it was looked at.
        """
        state = StudyState.NOT_ELIGIBLE if selection is None else StudyState.MEASURABLE
        with self.database.begin() as connection:
            generation = connection.execute(
                study.update()
                .where(
                    study.c.uid == gathered.study,
                    study.c.state == StudyState.GATHERING,
                    study.c.changes == gathered.changes,
                )
                .values(state=state, reason=reason, generation=study.c.generation + (0 if selection is None else 1))
                .returning(study.c.generation)
            ).scalar_one_or_none()
            if generation is None:
                return False
            for uid, decision in roles.items():
                connection.execute(
                    series.update()
                    .where(series.c.uid == uid, series.c.study == gathered.study)
                    .values(whole_by=whole_by[uid], role=decision.role, role_evidence=decision.evidence)
                )
            if selection is None:
                return True
            made = Job(f"{alias(gathered.study)}-{generation}", gathered.study, generation)
            connection.execute(
                job.insert().values(
                    id=made.id, study=made.study, generation=generation, created_s=now,
                    selection={role.value: _members(connection, made.study, uid) for role, uid in selection.items()},
                )
            )  # fmt: skip
            enqueue(connection, made)
        return True

    # ---------------------------------------------------------------- jobs

    def inputs(self, job_id: str) -> dict[Role, list[tuple[InstanceUID, Place]]]:
        """Return, for each role of a job, SOP Instance UID and place of its instances, by UID.

        They are those that were there when the study was closed: what came later is of the next generation.
        """
        with self.database.connect() as connection:
            selection = connection.execute(sa.select(job.c.selection).where(job.c.id == job_id)).scalar_one()
            return {
                Role(role): [
                    (InstanceUID(row.sop_instance), Place(row.segment, row.generation, row.place))
                    for row in connection.execute(
                        sa.select(instance).where(instance.c.id.in_(members)).order_by(instance.c.sop_instance)
                    )
                ]
                for role, members in selection.items()
            }

    def note_inputs(self, job_id: str, digest: str) -> str | None:
        """Note what a job measures, and return the older job that has results of just that, if there is one."""
        with self.database.begin() as connection:
            created_s = connection.execute(
                job.update().where(job.c.id == job_id).values(input_digest=digest).returning(job.c.created_s)
            ).scalar_one()
            has_results = sa.exists().where(result.c.job == job.c.id)
            return connection.execute(
                sa.select(job.c.id)
                .where(job.c.input_digest == digest, job.c.created_s < created_s, has_results)
                .order_by(job.c.created_s)
                .limit(1)
            ).scalar_one_or_none()

    def settle(
        self,
        job_id: str,
        outcome: str,
        results: Sequence[ResultRecord],
        destinations: Iterable[str],
        *,
        enqueue: EnqueueDelivery,
        now: float,
    ) -> None:
        """Close a job and owe its results to the destinations: one transaction. Repeating it changes nothing."""
        with self.database.begin() as connection:
            connection.execute(job.update().where(job.c.id == job_id).values(outcome=outcome, settled_s=now))
            for one in results:
                connection.execute(
                    sqlite.insert(result)
                    .values(
                        sop_instance=one.sop_instance,
                        sop_class=one.sop_class,
                        job=one.job,
                        role=one.role,
                        path=one.path,
                    )
                    .on_conflict_do_nothing()
                )
            for destination in destinations:
                for one in results:
                    connection.execute(
                        sqlite.insert(delivery)
                        .values(
                            sop_instance=one.sop_instance, destination=destination, state=DeliveryState.OWED,
                            attempts=0, status="", updated_s=now,
                        )
                        .on_conflict_do_nothing()
                    )  # fmt: skip
                if results:
                    enqueue(connection, job_id, destination)

    def reopen(self, job_id: str) -> None:
        """Forget how a job ended: it is tried again."""
        with self.database.begin() as connection:
            connection.execute(job.update().where(job.c.id == job_id).values(outcome=None, settled_s=None))

    def fail(self, job_id: str, reason: str, *, now: float) -> None:
        """Write down why a job came to nothing."""
        with self.database.begin() as connection:
            connection.execute(job.update().where(job.c.id == job_id).values(outcome=reason, settled_s=now))

    # ---------------------------------------------------------------- delivery

    def owed(self, job_id: str, destination: str) -> list[ResultRecord]:
        """Return what a destination has not yet taken of a job's results, references before the report."""
        wanted = (
            sa.select(result)
            .join(delivery, delivery.c.sop_instance == result.c.sop_instance)
            .where(
                result.c.job == job_id, delivery.c.destination == destination, delivery.c.state == DeliveryState.OWED
            )
            .order_by(result.c.role)  # "seg..." before "sr": every reference resolves on arrival
        )
        with self.database.connect() as connection:
            rows = connection.execute(wanted).all()
        return [ResultRecord(InstanceUID(row.sop_instance), row.sop_class, row.job, row.role, row.path) for row in rows]

    def note_delivery(
        self, sop_instance: str, destination: str, state: DeliveryState, status: str, *, attempt: int, now: float
    ) -> None:
        """Write down what became of one object in one attempt."""
        with self.database.begin() as connection:
            connection.execute(
                delivery.update()
                .where(delivery.c.sop_instance == sop_instance, delivery.c.destination == destination)
                .values(state=state, status=status, attempts=attempt, updated_s=now)
            )

    def owe_again(self, job_id: str, *, enqueue: EnqueueAgain, now: float) -> int:
        """Owe again what was abandoned of a job's results, and return how many objects that are: one transaction."""
        results = sa.select(result.c.sop_instance).where(result.c.job == job_id)
        abandoned = sa.and_(delivery.c.sop_instance.in_(results), delivery.c.state == DeliveryState.ABANDONED)
        with self.database.begin() as connection:
            owed = connection.execute(
                delivery.update()
                .where(abandoned)
                .values(state=DeliveryState.OWED, updated_s=now)
                .returning(delivery.c.destination)
            ).scalars().all()  # fmt: skip
            for destination in sorted(set(owed)):
                spent = connection.execute(  # by any of the job's objects: the ids of those attempts are taken
                    sa.select(sa.func.max(delivery.c.attempts)).where(
                        delivery.c.sop_instance.in_(results), delivery.c.destination == destination
                    )
                ).scalar_one()
                enqueue(connection, job_id, destination, spent)
        return len(owed)

    # ---------------------------------------------------------------- what people look at

    def study_rows(self, limit: int = 100) -> list[StudyRow]:
        """Return the studies seen last, newest first."""
        wanted = (
            sa.select(
                study.c.alias, study.c.state, study.c.reason, study.c.generation, study.c.last_seen_s,
                sa.func.count(instance.c.sop_instance).label("instances"),
                sa.func.count(sa.distinct(instance.c.series)).label("series"),
            )
            .outerjoin(instance, instance.c.study == study.c.uid)
            .group_by(study.c.uid)
            .order_by(study.c.last_seen_s.desc())
            .limit(limit)
        )  # fmt: skip
        with self.database.connect() as connection:
            rows = connection.execute(wanted).all()
        return [
            StudyRow(
                row.alias,
                StudyState(row.state),
                row.reason,
                row.generation,
                row.instances,
                row.series,
                row.last_seen_s,
            )
            for row in rows
        ]

    def held(self, study_name: str | None = None) -> Iterator[HeldInstance]:
        """Yield every instance that is held, in the order of arrival; of one study, by its alias or UID, if given.

        What comes or goes meanwhile may be among them or not. No transaction is left open between two of them.
        """
        wanted = sa.select(instance, study.c.alias).join(study, study.c.uid == instance.c.study).order_by(instance.c.id)
        if study_name is not None:
            wanted = wanted.where(sa.or_(study.c.uid == study_name, study.c.alias == study_name))
        last = 0
        while True:
            with self.database.connect() as connection:
                rows = connection.execute(wanted.where(instance.c.id > last).limit(_PAGE)).all()
            for row in rows:
                place = Place(row.segment, row.generation, row.place)
                yield HeldInstance(row.sop_instance, row.alias, place, row.contradicts)
            if len(rows) < _PAGE:
                return
            last = rows[-1].id

    def still_held(self, place: Place) -> bool:
        """Return whether a row refers to a place: an instance may have been dropped since it was asked for."""
        wanted = sa.select(sa.true()).where(
            instance.c.segment == place.segment,
            instance.c.generation == place.generation,
            instance.c.place == place.offset,
        )
        with self.database.connect() as connection:
            return connection.execute(wanted).first() is not None

    def instances_by_segment(self) -> dict[int, int]:
        """Return how many rows refer to each segment."""
        wanted = sa.select(instance.c.segment, sa.func.count()).group_by(instance.c.segment)
        with self.database.connect() as connection:
            return {row[0]: row[1] for row in connection.execute(wanted)}

    def job_rows(self, limit: int = 100, *, ids: Sequence[str] | None = None) -> list[JobRow]:
        """Return the jobs made last, newest first; of `ids` alone if given."""
        wanted = (
            sa.select(job.c.id, study.c.alias, job.c.outcome, job.c.created_s, job.c.settled_s)
            .join(study, study.c.uid == job.c.study)
            .order_by(job.c.created_s.desc())
            .limit(limit)
        )
        if ids is not None:
            wanted = wanted.where(job.c.id.in_(ids))
        with self.database.connect() as connection:
            return [
                JobRow(row.id, row.alias, row.outcome, row.created_s, row.settled_s)
                for row in connection.execute(wanted)
            ]

    def series_rows(self, study_alias: str) -> list[tuple[str, str, str, str]]:
        """Return alias, role, role evidence and what closed it, for each series of a study."""
        wanted = (
            sa.select(series.c.uid, series.c.role, series.c.role_evidence, series.c.whole_by)
            .join(study, study.c.uid == series.c.study)
            .where(study.c.alias == study_alias)
            .order_by(series.c.uid)
        )
        with self.database.connect() as connection:
            return [
                (alias(row.uid), row.role or "", row.role_evidence or "", row.whole_by or "")
                for row in connection.execute(wanted)
            ]

    def delivery_rows(self, job_id: str) -> list[DeliveryRecord]:
        """Return the deliveries of one job."""
        wanted = (
            sa.select(delivery, result.c.role)
            .join(result, result.c.sop_instance == delivery.c.sop_instance)
            .where(result.c.job == job_id)
            .order_by(delivery.c.destination, result.c.role)
        )
        with self.database.connect() as connection:
            return [
                DeliveryRecord(
                    InstanceUID(row.sop_instance),
                    row.role,
                    row.destination,
                    DeliveryState(row.state),
                    row.attempts,
                    row.status,
                )
                for row in connection.execute(wanted)
            ]

    def held_studies(self) -> list[str]:
        """Return the aliases of the studies that wait for `release`."""
        wanted = sa.select(study.c.alias).where(study.c.state == StudyState.HELD).order_by(study.c.first_seen_s)
        with self.database.connect() as connection:
            return list(connection.execute(wanted).scalars())

    def jobs_with_abandoned(self) -> list[str]:
        """Return the jobs of which a destination never took an object: the operator's list."""
        wanted = (
            sa.select(result.c.job)
            .join(delivery, delivery.c.sop_instance == result.c.sop_instance)
            .where(delivery.c.state == DeliveryState.ABANDONED)
            .distinct()
            .order_by(result.c.job)
        )
        with self.database.connect() as connection:
            return list(connection.execute(wanted).scalars())

    def counts(self) -> dict[str, int]:
        """Return how many instances there are, and how many studies and deliveries in each state."""
        with self.database.connect() as connection:
            found = {"instances": connection.execute(sa.select(sa.func.count()).select_from(instance)).scalar_one()}
            for name, table in (("studies", study), ("deliveries", delivery)):
                for state, number in connection.execute(
                    sa.select(table.c.state, sa.func.count()).group_by(table.c.state)
                ):
                    found[f"{name} {state}"] = number
        return found


def _enter_studies(connection: sa.Connection, received: Sequence[ReceivedInstance], now: float) -> list[HeldStudy]:
    """Enter or reopen the studies of instances, and return those that are held by them."""
    by_study: dict[str, list[ReceivedInstance]] = {}
    for one in received:
        by_study.setdefault(one.origin.study, []).append(one)
    held = []
    for uid, members in by_study.items():
        first = members[0].origin
        before = connection.execute(
            sa.select(study.c.state, study.c.patient_id, study.c.issuer).where(study.c.uid == uid)
        ).one_or_none()
        patient = (before.patient_id, before.issuer) if before else (first.patient_id, first.issuer)
        was_held = before is not None and before.state == StudyState.HELD
        reason = _contradiction(members, patient)
        if before is None:
            connection.execute(
                study.insert().values(
                    uid=uid, alias=alias(uid), state=StudyState.HELD if reason else StudyState.GATHERING,
                    reason=reason, generation=0, changes=len(members), patient_id=patient[0], issuer=patient[1],
                    first_seen_s=now, last_seen_s=now,
                )
            )  # fmt: skip
        else:
            change = {"changes": study.c.changes + len(members), "last_seen_s": now}
            if reason and not was_held:
                change |= {"state": StudyState.HELD, "reason": reason}
            elif not was_held:
                change |= {"state": StudyState.GATHERING, "reason": ""}
            connection.execute(study.update().where(study.c.uid == uid).values(change))
        if reason and not was_held:
            held.append(HeldStudy(alias(uid), reason))
    return held


def _contradiction(members: Sequence[ReceivedInstance], patient: tuple[str, str]) -> str:
    if any(one.contradicts for one in members):
        return "two contents under one SOP Instance UID"
    if any((one.origin.patient_id, one.origin.issuer) != patient for one in members):
        return "two patients under one Study Instance UID"
    return ""


def _hold_others(connection: sa.Connection, one: ReceivedInstance, now: float) -> list[HeldStudy]:
    """Hold the other studies that have an instance of this SOP Instance UID: they are in doubt as well."""
    others = sa.select(instance.c.study).where(instance.c.sop_instance == one.origin.sop_instance)
    reason = "an instance of it came again in another study"
    found = connection.execute(
        study.update()
        .where(study.c.uid.in_(others), study.c.uid != one.origin.study, study.c.state != StudyState.HELD)
        .values(state=StudyState.HELD, reason=reason, last_seen_s=now)
        .returning(study.c.alias)
    ).scalars()
    return [HeldStudy(name, reason) for name in found]


def _instance_values(one: ReceivedInstance) -> dict[str, object]:
    origin = one.origin
    return {
        "sop_instance": origin.sop_instance,
        "sop_class": origin.sop_class,
        "study": origin.study,
        "series": origin.series,
        "patient_id": origin.patient_id,
        "issuer": origin.issuer,
        "transfer_syntax": origin.transfer_syntax,
        "segment": one.place.segment,
        "generation": one.place.generation,
        "place": one.place.offset,
        "contradicts": one.contradicts,
        "calling_ae": origin.calling_ae,
        "received_s": one.received_s,
    }


def _members(connection: sa.Connection, study_uid: StudyUID, series_uid: SeriesUID) -> list[int]:
    wanted = sa.select(instance.c.id).where(_counts, instance.c.study == study_uid, instance.c.series == series_uid)
    return list(connection.execute(wanted.order_by(instance.c.sop_instance)).scalars())
