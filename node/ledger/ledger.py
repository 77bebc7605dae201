"""What becomes of what arrived: studies, jobs, results, deliveries; each method is one transaction."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from node.dicom.identifiers import InstanceUID, SeriesUID, StudyUID
from node.dicom.performed import StepState
from node.eventlog import alias
from node.ledger.arrivals import Arrivals
from node.ledger.database import Database
from node.ledger.engine import engine_of
from node.ledger.schema import (
    delivery,
    expectation,
    expected_instance,
    instance,
    job,
    procedure_step,
    quarantine,
    result,
    retrieval,
    ruling,
    series,
    stack,
    study,
)
from node.records import (
    Confidence,
    Contrast,
    DeliveryState,
    Expectation,
    Job,
    Place,
    Quarantined,
    ResultRecord,
    ResultRole,
    RetrievalReason,
    Role,
    RoleDecision,
    Ruling,
    SeriesProgress,
    SeriesRole,
    StackKey,
    StudyState,
)

Enqueue = Callable[[sa.Connection, Job], None]
SUPERSEDED = "superseded"


@dataclass(frozen=True, slots=True)
class GatheringStudy:
    """A study that may be complete; `changes` is what `close` compares, so that nothing arrives unseen."""

    study: StudyUID
    changes: int
    series: tuple[SeriesProgress, ...]
    since_s: float = 0.0  # since when it gathers, in seconds since 1970
    reason: str = ""  # what it waits for, as noted before
    forced_by: str = ""  # who wants it closed now
    steps: tuple[StepState, ...] = ()  # of the modalities that worked, or work, at it
    expected: tuple[Expectation, ...] = ()  # instances of all of it
    absent: tuple[Expectation, ...] = ()  # of series of which none is here


@dataclass(frozen=True, slots=True)
class DoubtfulStudy:
    """A held study; `doubles` are the instances of it that came in several contents, each in the order of arrival."""

    study: StudyUID
    changes: int
    doubles: tuple[tuple[Place, ...], ...]


@dataclass(frozen=True, slots=True)
class Overdue:
    """What has been in one state for long: a study by its alias, or a job by its id."""

    name: str
    state: str
    since_s: float


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
    since_s: float  # since when it is in its state
    whole_by: str


@dataclass(frozen=True, slots=True)
class SeriesRow:
    """A series of which instances are held, with its study's alias, state and reason, and who sent it."""

    study: StudyUID
    study_alias: str
    state: StudyState
    reason: str
    series: SeriesUID
    sender: str


@dataclass(frozen=True, slots=True)
class StackRow:
    """A stack as an operator sees it; of a series that was not looked at, number 0 and no decision.

    `instances` are those of its series.
    """

    series_alias: str
    number: int
    decision: RoleDecision | None
    whole_by: str
    instances: int = 0


@dataclass(frozen=True, slots=True)
class JobRow:
    """A job as an operator sees it."""

    id: str
    study_alias: str
    outcome: str | None
    created_s: float
    settled_s: float | None


_counts = sa.not_(instance.c.contradicts)  # only the first of several contents is ever measured
# What was pulled as a prior is of an older study, and is not measured (`retrievals`).
_IS_PRIOR = sa.exists().where(retrieval.c.study == study.c.uid, retrieval.c.reason == RetrievalReason.PRIOR)
_GATHERING = (
    sa.select(study)
    .where(study.c.state == StudyState.GATHERING, sa.not_(_IS_PRIOR))
    .order_by(study.c.first_seen_s, study.c.uid)
)
# A result of ours that came back is no part of what is measured (`arrivals`).
_IS_RESULT = sa.or_(
    sa.exists().where(result.c.sop_instance == instance.c.sop_instance),
    sa.exists().where(delivery.c.sent_instance == instance.c.sop_instance),
)
_COUNTED = (
    sa.select(
        series.c.study, series.c.uid.label("series"), series.c.last_seen_s, instance.c.calling_ae,
        sa.func.count(instance.c.id).label("instances"),
    )
    .join(study, study.c.uid == series.c.study)
    .join(instance, sa.and_(_counts, instance.c.series == series.c.uid, instance.c.study == series.c.study))
    .where(study.c.state == StudyState.GATHERING, sa.not_(_IS_RESULT))
    .group_by(series.c.study, series.c.uid, series.c.last_seen_s, instance.c.calling_ae)
    .order_by(series.c.study, series.c.uid)
)  # fmt: skip


class Ledger:
    """Rows about studies, jobs, results and deliveries; `engine` is what the queue shares."""

    def __init__(self, database: Database) -> None:
        self.database, self.engine = database, engine_of(database)

    # ---------------------------------------------------------------- operator

    def release(self, study_alias: str, *, latest: bool, now: float) -> int | None:
        """Let a held study gather again, with the first or the latest patient, and content of each instance.

        First and latest by the time of arrival, among what came for this study. The others stay in the spool and
        count no more; another study that is held for the same instances stays held. Returns how many instances were
        left out; None if no such study is held.
        """
        with self.engine.begin() as connection:
            uid = connection.execute(
                study.update()
                .where(study.c.alias == study_alias, study.c.state == StudyState.HELD)
                .values(
                    state=StudyState.GATHERING,
                    reason="",
                    changes=study.c.changes + 1,
                    last_seen_s=now,
                    since_s=now,
                    forced_by=None,
                )
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
            of_study = instance.c.study == uid
            of_patient = sa.and_(instance.c.patient_id == patient.patient_id, instance.c.issuer == patient.issuer)
            place = sa.func.row_number().over(partition_by=instance.c.sop_instance, order_by=order).label("place")
            # Of this patient's alone: else an instance whose first content is another's is left out altogether.
            ranked = sa.select(instance.c.id, place).where(of_study, of_patient).subquery()
            chosen = sa.select(ranked.c.id).where(ranked.c.place == 1)
            connection.execute(instance.update().where(of_study).values(contradicts=instance.c.id.not_in(chosen)))
            connection.execute(series.update().where(series.c.study == uid).values(last_seen_s=now, whole_by=None))
            left_out = sa.select(sa.func.count()).select_from(instance).where(of_study, instance.c.contradicts)
            return connection.execute(left_out).scalar_one()

    def force(self, study_name: str, who: str, *, now: float) -> bool:
        """Have a study, by its alias or UID, closed at the next look with what is there.

        Of a study that was found not eligible, or was set aside, it is decided again. False if there is no such study
        in one of these states, or it is a prior of another, or holds nothing but results of ours.
        """
        named = sa.or_(study.c.alias == study_name, study.c.uid == study_name)
        gathers = sa.and_(study.c.state == StudyState.GATHERING, sa.not_(_IS_PRIOR))
        to_measure = sa.exists().where(instance.c.study == study.c.uid, _counts, sa.not_(_IS_RESULT))
        was_refused = sa.and_(study.c.state == StudyState.NOT_ELIGIBLE, sa.not_(_IS_PRIOR), to_measure)
        again = {"state": StudyState.GATHERING, "reason": "", "changes": study.c.changes + 1, "since_s": now}
        with self.engine.begin() as connection:
            return any(
                connection.execute(study.update().where(named, state).values(forced_by=who, **values)).rowcount
                for state, values in ((gathers, {}), (was_refused, again))
            )

    # ---------------------------------------------------------------- completion

    def gathering(self) -> list[GatheringStudy]:
        """Return the studies that gather, with their series and all that others say of them."""
        with self.engine.connect() as connection:
            studies = connection.execute(_GATHERING).all()
            if not studies:
                return []
            counted = _by_study(connection.execute(_COUNTED))
            expected = _by_study(connection.execute(_EXPECTED))
            steps = _by_study(connection.execute(_of_gathering(procedure_step)))
        return [
            _gathering(row, counted[row.uid], expected.get(row.uid, []), steps.get(row.uid, []))
            for row in studies
            if row.uid in counted
        ]

    def note_waiting(self, gathered: GatheringStudy, reason: str) -> None:
        """Note what a study waits for, for people to see; nothing if it has grown meanwhile."""
        with self.engine.begin() as connection:
            connection.execute(study.update().where(_is_as_seen(gathered)).values(reason=reason))

    def restart_quiet(self, *, now: float) -> None:
        """Restart the quiet time of what gathers: by a clock that was set nobody can tell how long it was."""
        Arrivals(self.database).excuse_outage(now=now)

    def doubtful(self, *, quiet_since_s: float) -> list[DoubtfulStudy]:
        """Return the held studies whose instances are all of one patient and series, and that have come to rest."""
        other_patient = sa.or_(instance.c.patient_id != study.c.patient_id, instance.c.issuer != study.c.issuer)
        elsewhere = instance.alias()
        in_other_study = sa.exists().where(
            elsewhere.c.sop_instance == instance.c.sop_instance,
            sa.or_(elsewhere.c.study != instance.c.study, elsewhere.c.series != instance.c.series),
        )
        in_doubt = sa.exists().where(instance.c.study == study.c.uid, sa.or_(other_patient, in_other_study))
        held = sa.select(study.c.uid, study.c.changes).where(
            study.c.state == StudyState.HELD, study.c.last_seen_s <= quiet_since_s, sa.not_(in_doubt)
        )
        with self.engine.connect() as connection:
            return [
                DoubtfulStudy(StudyUID(row.uid), row.changes, _doubles(connection, row.uid))
                for row in connection.execute(held).all()
            ]

    def go_on(self, doubtful: DoubtfulStudy, *, now: float) -> bool:
        """Let a held study gather again with the first content of each instance; False if it has grown since."""
        with self.engine.begin() as connection:
            return bool(
                connection.execute(
                    study.update()
                    .where(
                        study.c.uid == doubtful.study,
                        study.c.state == StudyState.HELD,
                        study.c.changes == doubtful.changes,
                    )
                    .values(
                        state=StudyState.GATHERING,
                        reason="",
                        changes=study.c.changes + 1,
                        since_s=now,
                        forced_by=None,
                    )
                ).rowcount
            )

    def overdue(self, *, before_s: float) -> list[Overdue]:
        """Return the studies that have gathered or been held since before that moment, and jobs that have not ended."""
        waiting = sa.select(study.c.alias, study.c.state, study.c.since_s).where(
            study.c.state.in_([StudyState.GATHERING, StudyState.HELD]), study.c.since_s < before_s
        )
        unsettled = sa.select(job.c.id, sa.literal("not settled"), job.c.created_s).where(
            job.c.settled_s.is_(None), job.c.created_s < before_s
        )
        with self.engine.connect() as connection:
            return [Overdue(*row) for row in connection.execute(waiting.union_all(unsettled))]

    def series_held(self, study_name: str | None = None, *, since_s: float = 0.0) -> list[SeriesRow]:
        """Return the series of which instances are held: of one study by its alias or UID, or of those seen since."""
        wanted = (
            sa.select(
                study.c.uid, study.c.alias, study.c.state, study.c.reason, instance.c.series,
                sa.func.min(instance.c.calling_ae).label("sender"),
            )
            .join(instance, sa.and_(_counts, instance.c.study == study.c.uid))
            .where(study.c.last_seen_s >= since_s, sa.not_(_IS_RESULT))
            .group_by(study.c.uid, instance.c.series)
            .order_by(study.c.first_seen_s, study.c.uid, instance.c.series)
        )  # fmt: skip
        if study_name is not None:
            wanted = wanted.where(sa.or_(study.c.alias == study_name, study.c.uid == study_name))
        with self.engine.connect() as connection:
            rows = connection.execute(wanted).all()
        return [
            SeriesRow(StudyUID(uid), name, StudyState(state), reason, SeriesUID(series_uid), sender)
            for uid, name, state, reason, series_uid, sender in rows
        ]

    def places(self, study_uid: StudyUID, series_uid: SeriesUID) -> list[Place]:
        """Return where a series' instances are, in the order of their SOP Instance UIDs."""
        wanted = (
            sa.select(instance.c.segment, instance.c.generation, instance.c.place)
            .where(_counts, instance.c.study == study_uid, instance.c.series == series_uid)
            .order_by(instance.c.sop_instance)
        )
        with self.engine.connect() as connection:
            return [Place(*row) for row in connection.execute(wanted)]

    def close(
        self,
        gathered: GatheringStudy,
        *,
        whole_by: Mapping[SeriesUID, str],
        study_whole_by: str = "",
        roles: Mapping[StackKey, RoleDecision],
        selection: Mapping[Role, StackKey] | None,
        reason: str,
        enqueue: Enqueue,
        now: float,
    ) -> bool:
        """Close a study: with its job if there is a selection to measure, else as not eligible.

        One transaction: the states change and the job exists, or neither. Nothing happens, and False is returned, if
        the study has grown since it was looked at.
        """
        state = StudyState.NOT_ELIGIBLE if selection is None else StudyState.MEASURABLE
        with self.engine.begin() as connection:
            generation = connection.execute(
                study.update()
                .where(_is_as_seen(gathered))
                .values(
                    state=state,
                    reason=reason,
                    generation=study.c.generation + (0 if selection is None else 1),
                    since_s=now,
                    whole_by=study_whole_by,
                    forced_by=None,
                )
                .returning(study.c.generation)
            ).scalar_one_or_none()
            if generation is None:
                return False
            for uid, evidence in whole_by.items():
                connection.execute(
                    series.update()
                    .where(series.c.uid == uid, series.c.study == gathered.study)
                    .values(whole_by=evidence)
                )
            connection.execute(stack.delete().where(stack.c.study == gathered.study))
            for key, decision in roles.items():
                connection.execute(stack.insert().values(_stack_values(gathered.study, key, decision)))
            if selection is None:
                return True
            made = Job(f"{alias(gathered.study)}-{generation}", gathered.study, generation)
            connection.execute(
                job.insert().values(
                    id=made.id, study=made.study, generation=generation, created_s=now, task="",
                    selection={
                        role.value: _members(connection, made.study, key.series) for role, key in selection.items()
                    },
                    stacks={role.value: key.number for role, key in selection.items()},
                )
            )  # fmt: skip
            enqueue(connection, made)
        return True

    def superseded(self, job_id: str) -> str:
        """Return why a job is not to be done any more, `SUPERSEDED` first; "" if it is.

        Its study has grown since, or is in doubt: what it would report is known to be outdated, and what comes of the
        study as it is now will be reported instead.
        """
        wanted = (
            sa.select(study.c.alias, study.c.state, study.c.generation, job.c.generation.label("own"))
            .join(study, study.c.uid == job.c.study)
            .where(job.c.id == job_id)
        )
        with self.engine.connect() as connection:
            row = connection.execute(wanted).one()
        match StudyState(row.state):
            case StudyState.GATHERING:
                return f"{SUPERSEDED}: the study gathers again"
            case StudyState.HELD:
                return f"{SUPERSEDED}: the study is held"
            case StudyState.NOT_ELIGIBLE:
                return f"{SUPERSEDED}: the study has grown, and is not eligible"
            case StudyState.MEASURABLE | StudyState.EXPIRED:
                return f"{SUPERSEDED} by {row.alias}-{row.generation}" if row.generation != row.own else ""

    # ---------------------------------------------------------------- jobs

    def inputs(self, job_id: str) -> dict[Role, list[tuple[InstanceUID, Place]]]:
        """Return, for each role of a job, SOP Instance UID and place of its instances, by UID.

        They are those that were there when the study was closed: what came later is of the next generation.
        """
        with self.engine.connect() as connection:
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

    def stacks(self, job_id: str) -> dict[Role, int]:
        """Return, for each role of a job, which stack of its series is measured."""
        with self.engine.connect() as connection:
            numbers = connection.execute(sa.select(job.c.stacks).where(job.c.id == job_id)).scalar_one()
        return {Role(role): number for role, number in numbers.items()}

    def decisions(self, job_id: str) -> dict[Role, RoleDecision]:
        """Return, for each role of a job, what its study's last closing decided of the stack."""
        with self.engine.connect() as connection:
            selection, numbers = connection.execute(
                sa.select(job.c.selection, job.c.stacks).where(job.c.id == job_id)
            ).one()
            found = {
                Role(role): _decision(
                    connection.execute(
                        sa.select(stack)
                        .join(instance, sa.and_(instance.c.study == stack.c.study, instance.c.series == stack.c.series))
                        .where(instance.c.id == min(members), stack.c.number == numbers[role])
                    ).one_or_none()
                )
                for role, members in selection.items()
                if members
            }
        return {role: decision for role, decision in found.items() if decision is not None}

    def note_task(self, job_id: str, task: str) -> None:
        """Keep what a job was told, so that its numbers can be made again."""
        with self.engine.begin() as connection:
            connection.execute(job.update().where(job.c.id == job_id).values(task=task))

    def earlier_report(self, job_id: str) -> ResultRecord | None:
        """Return the last report that was made of a job's study and still holds: a newer one replaces it."""
        own = sa.select(job.c.study).where(job.c.id == job_id).scalar_subquery()
        last = (
            sa.select(ruling.c.ruling)
            .where(ruling.c.job == result.c.job)
            .order_by(ruling.c.id.desc())
            .limit(1)
            .scalar_subquery()
        )
        wanted = (
            sa.select(result)
            .join(job, job.c.id == result.c.job)
            .where(
                job.c.study == own,
                result.c.role == ResultRole.SR,
                sa.func.coalesce(last, Ruling.APPROVED) == Ruling.APPROVED,
            )
            .order_by(job.c.generation.desc(), sa.literal_column("result.rowid").desc())
            .limit(1)
        )
        with self.engine.connect() as connection:
            row = connection.execute(wanted).one_or_none()
        if row is None:
            return None
        return ResultRecord(InstanceUID(row.sop_instance), row.sop_class, row.job, row.role, row.path)

    def report(self, sop_instance: str) -> tuple[ResultRecord, str] | None:
        """Return a report, by its SOP Instance UID or one that it was sent under, and what its job was told."""
        sent_as = sa.exists().where(
            delivery.c.sop_instance == result.c.sop_instance, delivery.c.sent_instance == sop_instance
        )
        wanted = (
            sa.select(result, job.c.task)
            .join(job, job.c.id == result.c.job)
            .where(result.c.role == ResultRole.SR, sa.or_(result.c.sop_instance == sop_instance, sent_as))
        )
        with self.engine.connect() as connection:
            row = connection.execute(wanted).first()
        if row is None or not row.task:
            return None
        found = ResultRecord(InstanceUID(row.sop_instance), row.sop_class, row.job, row.role, row.path)
        return found, row.task

    def quarantined(self, job_id: str, objects: Sequence[Quarantined]) -> None:
        """Note which objects of a job's last attempt the output gate held back: often none."""
        with self.engine.begin() as connection:
            connection.execute(quarantine.delete().where(quarantine.c.job == job_id))
            for one in objects:
                values = {"job": job_id, "role": one.role, "path": one.path, "faults": one.faults}
                connection.execute(sqlite.insert(quarantine).values(values).on_conflict_do_nothing())

    def in_quarantine(self, job_id: str | None = None) -> dict[str, list[Quarantined]]:
        """Return what the output gate held back, by job; of one job if given."""
        wanted = sa.select(quarantine).order_by(quarantine.c.job, quarantine.c.role)
        if job_id is not None:
            wanted = wanted.where(quarantine.c.job == job_id)
        found: dict[str, list[Quarantined]] = {}
        with self.engine.connect() as connection:
            for row in connection.execute(wanted):
                found.setdefault(row.job, []).append(Quarantined(row.role, row.path, row.faults))
        return found

    def note_inputs(self, job_id: str, digest: str) -> str | None:
        """Note what a job measures, and return the newest job before it with results, if they are of just that.

        An older one does not count: the archive's newest report would go on saying something else.
        """
        with self.engine.begin() as connection:
            this = connection.execute(
                job.update()
                .where(job.c.id == job_id)
                .values(input_digest=digest)
                .returning(job.c.study, job.c.created_s)
            ).one()
            has_results = sa.exists().where(result.c.job == job.c.id)
            newest = connection.execute(
                sa.select(job.c.id, job.c.input_digest)
                .where(job.c.study == this.study, job.c.created_s < this.created_s, has_results)
                .order_by(job.c.created_s.desc())
                .limit(1)
            ).one_or_none()
            return newest.id if newest is not None and newest.input_digest == digest else None

    def settle(
        self,
        job_id: str,
        outcome: str,
        results: Sequence[ResultRecord],
        owed: Mapping[str, Collection[str]],
        *,
        now: float,
        review: bool = False,
    ) -> None:
        """Close a job and owe its results to the destinations: one transaction. Repeating it changes nothing.

        `owed`: for each destination the roles of the objects that it is to get. With `review` none gets any before a
        person has approved them.
        """
        with self.engine.begin() as connection:
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
            if review and results:
                waits = sa.select(ruling.c.id).where(ruling.c.job == job_id, ruling.c.ruling == Ruling.WAITING)
                if connection.execute(waits).first() is None:
                    connection.execute(
                        ruling.insert().values(job=job_id, ruling=Ruling.WAITING, who="", reason="", decided_s=now)
                    )
                return
            for destination, roles in owed.items():
                for one in results:
                    if one.role in roles:
                        connection.execute(
                            sqlite.insert(delivery)
                            .values(
                                sop_instance=one.sop_instance, destination=destination, state=DeliveryState.OWED,
                                attempts=0, turns=0, status="", updated_s=now, next_try_s=now, sent_class="",
                                sent_instance="", transaction_uid="", released_by="",
                            )
                            .on_conflict_do_nothing()
                        )  # fmt: skip

    def reopen(self, job_id: str) -> None:
        """Forget how a job ended: it is tried again."""
        with self.engine.begin() as connection:
            connection.execute(job.update().where(job.c.id == job_id).values(outcome=None, settled_s=None))

    def fail(self, job_id: str, reason: str, *, now: float) -> None:
        """Write down why a job came to nothing; its report that there is no result is nothing that another repeats."""
        with self.engine.begin() as connection:
            failed = {"outcome": reason, "settled_s": now, "input_digest": None}
            connection.execute(job.update().where(job.c.id == job_id).values(failed))

    # ---------------------------------------------------------------- what people look at

    def study_rows(self, limit: int = 100, *, name: str | None = None) -> list[StudyRow]:
        """Return the studies seen last, newest first; the one of an alias or UID alone if `name` is given."""
        wanted = (
            sa.select(
                study.c.alias, study.c.state, study.c.reason, study.c.generation, study.c.last_seen_s,
                study.c.since_s, study.c.whole_by,
                sa.func.count(instance.c.sop_instance).label("instances"),
                sa.func.count(sa.distinct(instance.c.series)).label("series"),
            )
            .outerjoin(instance, instance.c.study == study.c.uid)
            .group_by(study.c.uid)
            .order_by(study.c.last_seen_s.desc())
            .limit(limit)
        )  # fmt: skip
        if name is not None:
            wanted = wanted.where(sa.or_(study.c.alias == name, study.c.uid == name))
        with self.engine.connect() as connection:
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
                row.since_s,
                row.whole_by or "",
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
        with self.engine.connect() as connection:
            return [
                JobRow(row.id, row.alias, row.outcome, row.created_s, row.settled_s)
                for row in connection.execute(wanted)
            ]

    def stack_rows(self, study_name: str) -> list[StackRow]:
        """Return the stacks of a study, by its alias or UID, as its last closing found them, series by series."""
        instances = (
            sa.select(sa.func.count())
            .where(_counts, instance.c.study == series.c.study, instance.c.series == series.c.uid)
            .scalar_subquery()
        )
        wanted = (
            sa.select(series.c.uid, series.c.whole_by, instances.label("instances"), stack)
            .join(study, study.c.uid == series.c.study)
            .outerjoin(stack, sa.and_(stack.c.series == series.c.uid, stack.c.study == series.c.study))
            .where(sa.or_(study.c.alias == study_name, study.c.uid == study_name))
            .order_by(series.c.uid, stack.c.number)
        )
        with self.engine.connect() as connection:
            rows = connection.execute(wanted).all()
        return [
            StackRow(alias(row.uid), row.number or 0, _decision(row), row.whole_by or "", row.instances) for row in rows
        ]

    def held_studies(self) -> list[str]:
        """Return the aliases of the studies that wait for `release`."""
        wanted = sa.select(study.c.alias).where(study.c.state == StudyState.HELD).order_by(study.c.first_seen_s)
        with self.engine.connect() as connection:
            return list(connection.execute(wanted).scalars())

    def counts(self) -> dict[str, int]:
        """Return how many instances there are, and how many studies and deliveries in each state."""
        with self.engine.connect() as connection:
            found = {"instances": connection.execute(sa.select(sa.func.count()).select_from(instance)).scalar_one()}
            for name, table in (("studies", study), ("deliveries", delivery)):
                for state, number in connection.execute(
                    sa.select(table.c.state, sa.func.count()).group_by(table.c.state)
                ):
                    found[f"{name} {state}"] = number
        return found


def _is_as_seen(gathered: GatheringStudy) -> sa.ColumnElement[bool]:
    """Hold for the study if nothing has arrived since it was looked at."""
    return sa.and_(
        study.c.uid == gathered.study, study.c.state == StudyState.GATHERING, study.c.changes == gathered.changes
    )


def _doubles(connection: sa.Connection, study_uid: str) -> tuple[tuple[Place, ...], ...]:
    """Return where the contents are of each instance of a study that came in several."""
    of_study = instance.c.study == study_uid
    several = (
        sa.select(instance.c.sop_instance).where(of_study).group_by(instance.c.sop_instance).having(sa.func.count() > 1)
    )
    rows = connection.execute(
        sa.select(instance)
        .where(of_study, instance.c.sop_instance.in_(several))
        .order_by(instance.c.sop_instance, instance.c.id)
    )
    found: dict[str, list[Place]] = {}
    for row in rows:
        found.setdefault(row.sop_instance, []).append(Place(row.segment, row.generation, row.place))
    return tuple(tuple(ones) for ones in found.values())


def _of_gathering(table: sa.Table) -> sa.Select[Any]:
    return sa.select(table).join(study, study.c.uid == table.c.study).where(study.c.state == StudyState.GATHERING)


_NAMES = (
    expected_instance.c.study == expectation.c.study,
    expected_instance.c.series == expectation.c.series,
    expected_instance.c.source == expectation.c.source,
)
_ARRIVED = sa.exists().where(
    _counts,
    instance.c.sop_instance == expected_instance.c.sop_instance,
    instance.c.study == expected_instance.c.study,
    instance.c.series == expected_instance.c.series,
)
_EXPECTED = _of_gathering(expectation).add_columns(
    sa.select(sa.func.count()).where(*_NAMES).scalar_subquery().label("named"),
    sa.select(sa.func.count()).where(*_NAMES, _ARRIVED).scalar_subquery().label("arrived"),
)


def _by_study(rows: Iterable[sa.Row[Any]]) -> dict[str, list[sa.Row[Any]]]:
    found: dict[str, list[sa.Row[Any]]] = {}
    for row in rows:
        found.setdefault(row.study, []).append(row)
    return found


def _gathering(
    row: sa.Row[Any],
    counted: Sequence[sa.Row[Any]],
    expected: Sequence[sa.Row[Any]],
    steps: Sequence[sa.Row[Any]],
) -> GatheringStudy:
    """Return a study of its row and what belongs to it."""
    told: dict[str, list[Expectation]] = {}
    for one in expected:
        missing = one.named - one.arrived if one.named else None
        told.setdefault(one.series, []).append(Expectation(one.source, one.instances, one.noted_s, missing))
    of_series: dict[str, list[sa.Row[Any]]] = {}
    for one in counted:
        of_series.setdefault(one.series, []).append(one)
    return GatheringStudy(
        StudyUID(row.uid),
        row.changes,
        tuple(
            SeriesProgress(
                SeriesUID(uid), StudyUID(row.uid), sum(one.instances for one in ones), ones[0].last_seen_s,
                frozenset(one.calling_ae for one in ones), tuple(told.get(uid, ())),
            )
            for uid, ones in of_series.items()
        ),
        since_s=row.since_s,
        reason=row.reason,
        forced_by=row.forced_by or "",
        steps=tuple(StepState(one.state) for one in steps),
        expected=tuple(told.get("", ())),
        absent=tuple(one for uid, ones in told.items() if uid and uid not in of_series for one in ones),
    )  # fmt: skip


def _stack_values(study_uid: StudyUID, key: StackKey, decision: RoleDecision) -> dict[str, Any]:
    return {
        "study": study_uid,
        "series": key.series,
        "number": key.number,
        "role": decision.role,
        "contrast": decision.contrast,
        "fat_suppressed": decision.fat_suppressed,
        "confidence": decision.confidence,
        "rule": decision.rule,
        "rule_table": decision.table,
        "evidence": decision.evidence,
    }


def _decision(row: sa.Row[Any] | None) -> RoleDecision | None:
    """Return the decision of a row of `stack`, if it is one."""
    if row is None or row.role is None:
        return None
    return RoleDecision(
        SeriesRole(row.role),
        row.evidence,
        rule=row.rule,
        table=row.rule_table,
        confidence=Confidence(row.confidence),
        contrast=None if row.contrast is None else Contrast(row.contrast),
        fat_suppressed=row.fat_suppressed,
    )


def _members(connection: sa.Connection, study_uid: StudyUID, series_uid: SeriesUID) -> list[int]:
    wanted = sa.select(instance.c.id).where(_counts, instance.c.study == study_uid, instance.c.series == series_uid)
    return list(connection.execute(wanted.order_by(instance.c.sop_instance)).scalars())
