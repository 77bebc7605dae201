"""What people look at: studies, series, stacks and jobs, by aliases."""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from node.dicom.identifiers import SeriesUID, StudyUID
from node.eventlog import alias
from node.ledger.conditions import COUNTS, IS_RESULT
from node.ledger.engine import Rows
from node.ledger.schema import delivery, instance, job, series, stack, study
from node.ledger.stacks import decision_of
from node.records import RoleDecision, StudyState


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


class Overview(Rows):
    """Rows as an operator sees them."""

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

    def series_held(self, study_name: str | None = None, *, since_s: float = 0.0) -> list[SeriesRow]:
        """Return the series of which instances are held: of one study by its alias or UID, or of those seen since."""
        wanted = (
            sa.select(
                study.c.uid, study.c.alias, study.c.state, study.c.reason, instance.c.series,
                sa.func.min(instance.c.calling_ae).label("sender"),
            )
            .join(instance, sa.and_(COUNTS, instance.c.study == study.c.uid))
            .where(study.c.last_seen_s >= since_s, sa.not_(IS_RESULT))
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

    def stack_rows(self, study_name: str) -> list[StackRow]:
        """Return the stacks of a study, by its alias or UID, as its last closing found them, series by series."""
        instances = (
            sa.select(sa.func.count())
            .where(COUNTS, instance.c.study == series.c.study, instance.c.series == series.c.uid)
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
            StackRow(alias(row.uid), row.number or 0, decision_of(row), row.whole_by or "", row.instances)
            for row in rows
        ]

    def job_rows(
        self, limit: int = 100, *, ids: Sequence[str] | None = None, study_name: str | None = None
    ) -> list[JobRow]:
        """Return the jobs made last, newest first; of `ids`, or of one study by its alias or UID, alone if given."""
        wanted = (
            sa.select(job.c.id, study.c.alias, job.c.outcome, job.c.created_s, job.c.settled_s)
            .join(study, study.c.uid == job.c.study)
            .order_by(job.c.created_s.desc())
            .limit(limit)
        )
        if ids is not None:
            wanted = wanted.where(job.c.id.in_(ids))
        if study_name is not None:
            wanted = wanted.where(sa.or_(study.c.alias == study_name, study.c.uid == study_name))
        with self.engine.connect() as connection:
            return [
                JobRow(row.id, row.alias, row.outcome, row.created_s, row.settled_s)
                for row in connection.execute(wanted)
            ]

    def held_studies(self) -> list[str]:
        """Return the aliases of the studies that wait for `release`."""
        wanted = sa.select(study.c.alias).where(study.c.state == StudyState.HELD).order_by(study.c.first_seen_s)
        with self.engine.connect() as connection:
            return list(connection.execute(wanted).scalars())

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
