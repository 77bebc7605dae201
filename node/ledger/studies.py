"""What becomes of studies: gathering, held, closed with a job; each method is one transaction."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from node.dicom.identifiers import SeriesUID, StudyUID
from node.eventlog import alias
from node.ledger.acts import noted
from node.ledger.arrivals import Arrivals
from node.ledger.conditions import COUNTS, IS_PRIOR, IS_RESULT, RULING
from node.ledger.engine import Rows
from node.ledger.gathering import GatheringStudy, gathering
from node.ledger.schema import instance, job, result, series, stack, study
from node.ledger.stacks import values_of
from node.records import Act, Job, Place, Role, RoleDecision, Ruling, StackKey, StudyState

Enqueue = Callable[[sa.Connection, Job], None]


@dataclass(frozen=True, slots=True)
class DoubtfulStudy:
    """A held study; `doubles` are the instances of it that came in several contents, each in the order of arrival."""

    study: StudyUID
    changes: int
    doubles: tuple[tuple[Place, ...], ...]


class Studies(Rows):
    """Rows about studies."""

    def gathering(self) -> list[GatheringStudy]:
        """Return the studies that gather, with their series and all that others say of them."""
        with self.engine.connect() as connection:
            return gathering(connection)

    def note_waiting(self, gathered: GatheringStudy, reason: str) -> None:
        """Note what a study waits for, for people to see; nothing if it has grown meanwhile."""
        with self.engine.begin() as connection:
            connection.execute(study.update().where(_is_as_seen(gathered)).values(reason=reason))

    def restart_quiet(self, *, now: float) -> None:
        """Restart the quiet time of what gathers: by a clock that was set nobody can tell how long it was."""
        Arrivals(self.database).excuse_outage(now=now)

    def close(
        self,
        gathered: GatheringStudy,
        *,
        whole_by: Mapping[SeriesUID, str],
        study_whole_by: str = "",
        roles: Mapping[StackKey, RoleDecision],
        selection: Mapping[Role, StackKey] | None,
        phases: Sequence[SeriesUID] = (),
        reason: str,
        enqueue: Enqueue,
        now: float,
    ) -> bool:
        """Close a study: with its job if there is a selection to measure, else as not eligible.

        `phases` are the series of a dynamic whose time points came as a series each.

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
                connection.execute(stack.insert().values(values_of(gathered.study, key, decision)))
            if selection is None:
                return True
            made = Job(f"{alias(gathered.study)}-{generation}", gathered.study, generation)
            connection.execute(
                job.insert().values(
                    id=made.id, study=made.study, generation=generation, created_s=now, task="",
                    selection={
                        role.value: _members(
                            connection, made.study, phases if role is Role.DYNAMIC and phases else [key.series]
                        )
                        for role, key in selection.items()
                    },
                    stacks={role.value: key.number for role, key in selection.items()},
                )
            )  # fmt: skip
            enqueue(connection, made)
        return True

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

    def release(self, study_alias: str, *, latest: bool, now: float, who: str = "") -> int | None:
        """Let a held study gather again, with the first or the latest patient, and content of each instance.

        First and latest by the time of arrival, among what came for this study. The others stay in the spool and
        count no more; another study that is held for the same instances stays held. Returns how many instances were
        left out; None if no such study is held. `who` wants it, and is noted.
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
            number = connection.execute(left_out).scalar_one()
            detail = f"{'latest' if latest else 'first'} content, {number} instances left out"
            connection.exec_driver_sql(*noted(Act.RELEASED, study_alias, who, detail, now=now))
            return number

    def force(self, study_name: str, who: str, *, now: float) -> bool:
        """Have a study, by its alias or UID, closed at the next look with what is there.

        Of a study that was found not eligible, or was set aside, it is decided again; and of one whose last results
        people rejected or recalled. False if there is no such study in one of these states, or it is a prior of
        another, or holds nothing but results of ours.
        """
        named = sa.or_(study.c.alias == study_name, study.c.uid == study_name)
        gathers = sa.and_(study.c.state == StudyState.GATHERING, sa.not_(IS_PRIOR))
        to_measure = sa.exists().where(instance.c.study == study.c.uid, COUNTS, sa.not_(IS_RESULT))
        was_refused = sa.and_(study.c.state == StudyState.NOT_ELIGIBLE, sa.not_(IS_PRIOR), to_measure)
        has_results = sa.exists().where(result.c.job == job.c.id)
        last_ruling = (
            sa.select(RULING)
            .where(job.c.study == study.c.uid, has_results)
            .order_by(job.c.generation.desc())
            .limit(1)
            .correlate(study)
            .scalar_subquery()
        )
        is_under_way = sa.exists().where(job.c.study == study.c.uid, job.c.settled_s.is_(None))
        was_dismissed = sa.and_(
            study.c.state == StudyState.MEASURABLE,
            sa.not_(is_under_way),
            last_ruling.in_((Ruling.REJECTED, Ruling.RECALLED)),
        )
        again = {"state": StudyState.GATHERING, "reason": "", "changes": study.c.changes + 1, "since_s": now}
        with self.engine.begin() as connection:
            for state, values in ((gathers, {}), (was_refused, again), (was_dismissed, again)):
                forced = study.update().where(named, state).values(forced_by=who, **values).returning(study.c.alias)
                found = connection.execute(forced).scalar_one_or_none()
                if found is not None:
                    connection.exec_driver_sql(*noted(Act.FORCED, found, who, now=now))
                    return True
            return False

    def places(self, study_uid: StudyUID, series_uid: SeriesUID) -> list[Place]:
        """Return where a series' instances are, in the order of their SOP Instance UIDs."""
        wanted = (
            sa.select(instance.c.segment, instance.c.generation, instance.c.place)
            .where(COUNTS, instance.c.study == study_uid, instance.c.series == series_uid)
            .order_by(instance.c.sop_instance)
        )
        with self.engine.connect() as connection:
            return [Place(*row) for row in connection.execute(wanted)]


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


def _members(connection: sa.Connection, study_uid: StudyUID, series_uids: Sequence[SeriesUID]) -> list[int]:
    wanted = sa.select(instance.c.id).where(COUNTS, instance.c.study == study_uid, instance.c.series.in_(series_uids))
    return list(connection.execute(wanted.order_by(instance.c.sop_instance)).scalars())
