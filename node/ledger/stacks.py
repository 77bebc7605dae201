"""Decisions about stacks, as rows."""

from typing import Any

import sqlalchemy as sa

from node.dicom.identifiers import StudyUID
from node.records import Confidence, Contrast, RoleDecision, SeriesRole, StackKey


def values_of(study_uid: StudyUID, key: StackKey, decision: RoleDecision) -> dict[str, Any]:
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


def decision_of(row: sa.Row[Any] | None) -> RoleDecision | None:
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
