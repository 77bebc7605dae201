"""The studies that gather, with their series and all that others say of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from node.dicom.identifiers import SeriesUID, StudyUID
from node.dicom.performed import StepState
from node.ledger.conditions import COUNTS, IS_PRIOR, IS_RESULT
from node.ledger.schema import expectation, expected_instance, instance, procedure_step, retrieval, series, study
from node.records import Expectation, RetrievalReason, RetrievalState, SeriesProgress, StudyState


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
    coming: int = 0  # series with earlier results, asked of an archive to compare with, that are not here yet


_GATHERING = (
    sa.select(study)
    .where(study.c.state == StudyState.GATHERING, sa.not_(IS_PRIOR))
    .order_by(study.c.first_seen_s, study.c.uid)
)
_COUNTED = (
    sa.select(
        series.c.study, series.c.uid.label("series"), series.c.last_seen_s, instance.c.calling_ae,
        sa.func.count(instance.c.id).label("instances"),
    )
    .join(study, study.c.uid == series.c.study)
    .join(instance, sa.and_(COUNTS, instance.c.series == series.c.uid, instance.c.study == series.c.study))
    .where(study.c.state == StudyState.GATHERING, sa.not_(IS_RESULT))
    .group_by(series.c.study, series.c.uid, series.c.last_seen_s, instance.c.calling_ae)
    .order_by(series.c.study, series.c.uid)
)  # fmt: skip


def _of_gathering(table: sa.Table) -> sa.Select[Any]:
    return sa.select(table).join(study, study.c.uid == table.c.study).where(study.c.state == StudyState.GATHERING)


_NAMES = (
    expected_instance.c.study == expectation.c.study,
    expected_instance.c.series == expectation.c.series,
    expected_instance.c.source == expectation.c.source,
)
_ARRIVED = sa.exists().where(
    COUNTS,
    instance.c.sop_instance == expected_instance.c.sop_instance,
    instance.c.study == expected_instance.c.study,
    instance.c.series == expected_instance.c.series,
)
_EXPECTED = _of_gathering(expectation).add_columns(
    sa.select(sa.func.count()).where(*_NAMES).scalar_subquery().label("named"),
    sa.select(sa.func.count()).where(*_NAMES, _ARRIVED).scalar_subquery().label("arrived"),
)


_COMING = (
    sa.select(retrieval.c.for_study, sa.func.count().label("many"))
    .join(study, study.c.uid == retrieval.c.for_study)
    .where(
        study.c.state == StudyState.GATHERING,
        retrieval.c.reason == RetrievalReason.RESULT,
        retrieval.c.state == RetrievalState.ASKED,
    )
    .group_by(retrieval.c.for_study)
)


def _by_study(rows: Iterable[sa.Row[Any]]) -> dict[str, list[sa.Row[Any]]]:
    found: dict[str, list[sa.Row[Any]]] = {}
    for row in rows:
        found.setdefault(row.study, []).append(row)
    return found


def gathering(connection: sa.Connection) -> list[GatheringStudy]:
    """Return the studies that gather, the first seen first; but not those that hold results of ours alone."""
    studies = connection.execute(_GATHERING).all()
    if not studies:
        return []
    counted = _by_study(connection.execute(_COUNTED))
    expected = _by_study(connection.execute(_EXPECTED))
    steps = _by_study(connection.execute(_of_gathering(procedure_step)))
    coming = {row.for_study: row.many for row in connection.execute(_COMING)}
    return [
        _gathering(row, counted[row.uid], expected.get(row.uid, []), steps.get(row.uid, []), coming.get(row.uid, 0))
        for row in studies
        if row.uid in counted
    ]


def _gathering(
    row: sa.Row[Any],
    counted: Sequence[sa.Row[Any]],
    expected: Sequence[sa.Row[Any]],
    steps: Sequence[sa.Row[Any]],
    coming: int,
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
        coming=coming,
    )  # fmt: skip
