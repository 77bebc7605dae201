"""What a job measures, and how it ends; each method is one transaction."""

import sqlalchemy as sa

from node.dicom.identifiers import InstanceUID
from node.ledger.acts import noted
from node.ledger.conditions import RULING
from node.ledger.engine import Rows
from node.ledger.schema import instance, job, result, stack, study
from node.ledger.stacks import decision_of
from node.records import Act, Place, Role, RoleDecision, Ruling, StudyState

SUPERSEDED = "superseded"


class Jobs(Rows):
    """Rows about jobs."""

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
                Role(role): decision_of(
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

    def note_inputs(self, job_id: str, digest: str) -> str:
        """Note what a job measures, and return how it ends if that was measured before; "" if it was not.

        That is the newest job before it with results that hold: an older one does not count, for the archive's newest
        report would go on saying something else. But what people rejected or recalled since then does: the same
        images, settings and release would make just that again.
        """
        with self.engine.begin() as connection:
            this = connection.execute(
                job.update()
                .where(job.c.id == job_id)
                .values(input_digest=digest)
                .returning(job.c.study, job.c.created_s)
            ).one()
            has_results = sa.exists().where(result.c.job == job.c.id)
            earlier = connection.execute(
                sa.select(job.c.id, job.c.input_digest, RULING.label("ruling"))
                .where(job.c.study == this.study, job.c.created_s < this.created_s, has_results)
                .order_by(job.c.created_s.desc())
            )
            for one in earlier:
                dismissed = one.ruling in (Ruling.REJECTED, Ruling.RECALLED)
                if one.input_digest == digest:
                    return f"repeats {one.id}, which was {one.ruling}" if dismissed else f"repeats {one.id}"
                if not dismissed:
                    return ""
            return ""

    def reopen(self, job_id: str, who: str, *, now: float) -> bool:
        """Forget how a job ended: it is tried again. Not if its results were recalled; return whether it was done.

        `who` wants it, and is noted.
        """
        holds = sa.func.coalesce(RULING, "") != Ruling.RECALLED
        with self.engine.begin() as connection:
            reopened = job.update().where(job.c.id == job_id, holds).values(outcome=None, settled_s=None)
            if not connection.execute(reopened).rowcount:
                return False
            connection.exec_driver_sql(*noted(Act.RETRIED, job_id, who, now=now))
            return True

    def fail(self, job_id: str, reason: str, *, now: float) -> None:
        """Write down why a job came to nothing; its report that there is no result is nothing that another repeats."""
        with self.engine.begin() as connection:
            failed = {"outcome": reason, "settled_s": now, "input_digest": None}
            connection.execute(job.update().where(job.c.id == job_id).values(failed))
