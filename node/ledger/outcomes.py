"""The result objects of jobs: entered and owed, held back, found again; each method is one transaction."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from node.dicom.identifiers import InstanceUID
from node.ledger.conditions import RULING
from node.ledger.engine import Rows
from node.ledger.schema import delivery, job, quarantine, result, ruling, study
from node.records import DELIVERED, DeliveryState, Quarantined, ResultRecord, ResultRole, Ruling, StudyState

_WAS_OWED = sa.exists().where(delivery.c.sop_instance == result.c.sop_instance)
# Nothing follows by itself, and no operator can have it sent again.
_AT_REST = sa.and_(delivery.c.next_try_s.is_(None), delivery.c.state.in_((*DELIVERED, DeliveryState.WITHDRAWN)))


class Outcomes(Rows):
    """Rows about result objects."""

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
        person has approved them; what was decided about results of an earlier attempt says nothing of these. Of those
        only what was owed to somebody stays.
        """
        with self.engine.begin() as connection:
            connection.execute(job.update().where(job.c.id == job_id).values(outcome=outcome, settled_s=now))
            made = [one.sop_instance for one in results]
            connection.execute(
                result.delete().where(result.c.job == job_id, result.c.sop_instance.not_in(made), sa.not_(_WAS_OWED))
            )
            are_new = [_enter(connection, one) for one in results]
            if not review:
                _owe(connection, results, owed, now)
            elif any(are_new):
                last = connection.execute(sa.select(RULING).where(job.c.id == job_id)).scalar_one()
                if last != Ruling.WAITING:
                    waiting = {"job": job_id, "ruling": Ruling.WAITING, "who": "", "reason": "", "decided_s": now}
                    connection.execute(ruling.insert().values(waiting))

    def earlier_report(self, job_id: str) -> ResultRecord | None:
        """Return the last report that was made of a job's study and still holds: a newer one replaces it."""
        own = sa.select(job.c.study).where(job.c.id == job_id).scalar_subquery()
        wanted = (
            sa.select(result)
            .join(job, job.c.id == result.c.job)
            .where(
                job.c.study == own,
                result.c.role == ResultRole.SR,
                sa.or_(
                    sa.func.coalesce(RULING, Ruling.APPROVED) == Ruling.APPROVED,
                    # The ruling is about what a retry made; what was sent of the attempt before is there.
                    sa.and_(RULING != Ruling.RECALLED, _WAS_OWED),
                ),
            )
            .order_by(job.c.generation.desc(), sa.literal_column("result.rowid").desc())
            .limit(1)
        )
        with self.engine.connect() as connection:
            row = connection.execute(wanted).one_or_none()
        return None if row is None else _record(row)

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
        return _record(row), row.task

    def done_with(self) -> list[str]:
        """Return the paths of what need not be kept of studies whose images were dropped: all but the reports.

        Not while a destination has not got it, or not proven that it has; nor what none has; nor of a job whose results
        were recalled, or wait for review.
        """
        wanted = (
            sa.select(result.c.path)
            .join(job, job.c.id == result.c.job)
            .join(study, study.c.uid == job.c.study)
            .where(
                study.c.state == StudyState.EXPIRED,
                result.c.role != ResultRole.SR,
                sa.func.coalesce(RULING, "").not_in((Ruling.RECALLED, Ruling.WAITING)),
                sa.exists().where(delivery.c.sop_instance == result.c.sop_instance, delivery.c.state.in_(DELIVERED)),
                sa.not_(sa.exists().where(delivery.c.sop_instance == result.c.sop_instance, sa.not_(_AT_REST))),
            )
        )
        with self.engine.connect() as connection:
            return list(connection.execute(wanted).scalars())

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


def _record(row: sa.Row[Any]) -> ResultRecord:
    return ResultRecord(InstanceUID(row.sop_instance), row.sop_class, row.job, row.role, row.path, row.series)


def _enter(connection: sa.Connection, one: ResultRecord) -> bool:
    """Enter an object, and return whether it was not there before."""
    values = {
        "sop_instance": one.sop_instance, "sop_class": one.sop_class, "job": one.job, "role": one.role,
        "path": one.path, "series": one.series,
    }  # fmt: skip
    return bool(connection.execute(sqlite.insert(result).values(values).on_conflict_do_nothing()).rowcount)


def _owe(
    connection: sa.Connection, results: Sequence[ResultRecord], owed: Mapping[str, Collection[str]], now: float
) -> None:
    for destination, roles in owed.items():
        for one in results:
            if one.role in roles:
                connection.execute(
                    sqlite.insert(delivery)
                    .values(
                        sop_instance=one.sop_instance, destination=destination, state=DeliveryState.OWED,
                        attempts=0, turns=0, looks=0, status="", updated_s=now, next_try_s=now,
                        sent_class="", sent_instance="", released_by="",
                    )
                    .on_conflict_do_nothing()
                )  # fmt: skip
