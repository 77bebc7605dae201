"""The ledger's methods: each is one transaction."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from node.dicom.identifiers import InstanceUID, SeriesUID, StudyUID
from node.errors import ConflictError, LedgerError
from node.eventlog import alias
from node.ledger import schema
from node.ledger.schema import delivery, instance, job, ledger_version, result, series, study
from node.records import (
    DeliveryRecord,
    DeliveryState,
    InstanceIdentity,
    Job,
    ReceivedInstance,
    ResultRecord,
    Role,
    RoleDecision,
    SeriesProgress,
    StudyState,
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


class Ledger:
    """Rows about studies, jobs, results and deliveries in one database.

    Raises
    ------
    LedgerError
        If the tables in the database are of another version.
    """

    def __init__(self, database: sa.Engine) -> None:
        self.database = database
        schema.metadata.create_all(database)
        with database.begin() as connection:
            held = connection.execute(sa.select(ledger_version.c.version)).scalar_one_or_none()
            if held is None:
                connection.execute(ledger_version.insert().values(version=schema.SCHEMA_VERSION))
            elif held != schema.SCHEMA_VERSION:
                raise LedgerError(
                    f"the ledger has tables of version {held}, this release needs {schema.SCHEMA_VERSION}: "
                    "use the release that wrote it, or another data folder"
                )

    # ---------------------------------------------------------------- association

    def repeats(self, identity: InstanceIdentity, *, now: float) -> bool:
        """Return whether just this instance is held; if so, its series is not quiet, for somebody still sends it.

        Raises
        ------
        ConflictError
            If the same SOP Instance UID is held with other content, or in another study or series.
        """
        known = sa.select(sa.true()).where(instance.c.sop_instance == identity.sop_instance)
        with self.database.connect() as connection:
            if connection.execute(known).first() is None:  # the usual case must not cost a commit
                return False
        with self.database.begin() as connection:
            return _repeats(connection, identity, now)

    def enter(self, received: ReceivedInstance, *, now: float) -> bool:
        """Enter an instance and return whether it is new; one that is new reopens its study.

        Raises
        ------
        ConflictError
            As of `repeats`.
        """
        with self.database.begin() as connection:
            if _repeats(connection, received.identity, now):
                return False
            connection.execute(
                sqlite.insert(study)
                .values(
                    uid=received.identity.study, alias=alias(received.identity.study), state=StudyState.GATHERING,
                    reason="", generation=0, changes=1, first_seen_s=now, last_seen_s=now,
                )
                .on_conflict_do_update(
                    index_elements=["uid"],
                    set_={
                        "state": StudyState.GATHERING, "reason": "", "changes": study.c.changes + 1, "last_seen_s": now,
                    },
                )
            )  # fmt: skip
            connection.execute(
                sqlite.insert(series)
                .values(uid=received.identity.series, study=received.identity.study, last_seen_s=now)
                .on_conflict_do_update(
                    index_elements=["uid", "study"], set_={"last_seen_s": now, "whole_by": None, "role": None}
                )
            )
            connection.execute(
                instance.insert().values(
                    sop_instance=received.identity.sop_instance, sop_class=received.sop_class,
                    study=received.identity.study, series=received.identity.series,
                    data_set_sha256=received.identity.data_set_sha256, transfer_syntax=received.transfer_syntax,
                    path=received.path, sha256=received.sha256, size=received.size, calling_ae=received.calling_ae,
                    received_s=now,
                )
            )  # fmt: skip
        return True

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
                sa.func.count(instance.c.sop_instance).label("instances"),
            )
            .join(series, series.c.study == study.c.uid)
            .join(instance, sa.and_(instance.c.series == series.c.uid, instance.c.study == study.c.uid))
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

    def paths(self, study_uid: StudyUID, series_uid: SeriesUID) -> list[str]:
        """Return the spool paths of a series' instances, in the order of their SOP Instance UIDs."""
        wanted = (
            sa.select(instance.c.path)
            .where(instance.c.study == study_uid, instance.c.series == series_uid)
            .order_by(instance.c.sop_instance)
        )
        with self.database.connect() as connection:
            return list(connection.execute(wanted).scalars())

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

    def inputs(self, job_id: str) -> dict[Role, list[tuple[InstanceUID, str, str]]]:
        """Return, for each role of a job, SOP Instance UID, spool path and SHA-256 of its instances, by UID.

        They are those that were there when the study was closed: what came later is of the next generation.
        """
        with self.database.connect() as connection:
            selection = connection.execute(sa.select(job.c.selection).where(job.c.id == job_id)).scalar_one()
            return {
                Role(role): [
                    (InstanceUID(found.sop_instance), found.path, found.sha256)
                    for found in connection.execute(
                        sa.select(instance.c.sop_instance, instance.c.path, instance.c.sha256)
                        .where(instance.c.sop_instance.in_(members))
                        .order_by(instance.c.sop_instance)
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
            .join(instance, instance.c.study == study.c.uid)
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


def _repeats(connection: sa.Connection, identity: InstanceIdentity, now: float) -> bool:
    # The write comes first: only then does SQLite hold its lock, and no other writer can come in between.
    connection.execute(
        series.update().where(series.c.uid == identity.series, series.c.study == identity.study).values(last_seen_s=now)
    )
    held = connection.execute(
        sa.select(instance.c.study, instance.c.series, instance.c.data_set_sha256).where(
            instance.c.sop_instance == identity.sop_instance
        )
    ).one_or_none()
    if held is None:
        return False
    if held != (identity.study, identity.series, identity.data_set_sha256):
        raise ConflictError("another content is held under this SOP Instance UID")
    return True


def _members(connection: sa.Connection, study_uid: StudyUID, series_uid: SeriesUID) -> list[str]:
    wanted = sa.select(instance.c.sop_instance).where(instance.c.study == study_uid, instance.c.series == series_uid)
    return list(connection.execute(wanted.order_by(instance.c.sop_instance)).scalars())
