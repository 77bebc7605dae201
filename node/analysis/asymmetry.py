"""Asymmetry: one side of the back against the other, where there is enough to compare (docs/analysis.md, 9)."""

from collections.abc import Sequence

from node.analysis.decision import where
from node.analysis.verdict import Verdict
from node.findings import POSTERIOR, MuscleFindings, Note
from node.settings import AnalysisSettings

_LEAST_VESSELS_PCT = 0.05  # of the muscle, mean of both sides: below it a voxel or two decide. Chosen


def index_pct(this: float | None, other: float | None, least_pct: float) -> float | None:
    """Return (this - other) / (this + other) in percent, -100 to 100; None where there is too little to compare.

    That is where the mean of the two is not at least `least_pct`: the quotient would be one of noise, and without
    bounds. A side below zero counts as zero.
    """
    if this is None or other is None:
        return None
    this, other = max(this, 0.0), max(other, 0.0)
    if this + other < 2 * least_pct:
        return None
    return 100 * (this - other) / (this + other)


def of_enhancement_pct(this: float | None, other: float | None, settings: AnalysisSettings) -> float | None:
    """Return the index of two enhancements."""
    return index_pct(this, other, least_enhancement_pct(settings))


def of_vessels_pct(this: float | None, other: float | None) -> float | None:
    """Return the index of two vessel fractions."""
    return index_pct(this, other, _LEAST_VESSELS_PCT)


def least_enhancement_pct(settings: AnalysisSettings) -> float:
    """Return below which enhancement muscle is no measure for other muscle: as ROLE-CONTRAST has it for all of it."""
    return 100 * (settings.least_post_contrast_ratio - 1)


def check_sides(
    sides: Sequence[MuscleFindings], levels: Sequence[MuscleFindings], settings: AnalysisSettings
) -> Verdict:
    """Return where the sides are not compared although both were measured (SIDE-1); rows are left before right."""
    unlike = ["as a whole"] if _unlike(sides) else []
    named = ", ".join(map(where, _unlike(levels)))
    if named:
        unlike.append(f"at {named}")
    if not unlike:
        return Verdict()
    text = (
        f"The sides are not compared {' and '.join(unlike)}: the muscle enhances by less than "
        f"{least_enhancement_pct(settings):.0f} % there (mean of both sides)."
    )
    return Verdict(caveats=(Note("SIDE-1", text),))


def _unlike(found: Sequence[MuscleFindings]) -> list[MuscleFindings]:
    rows = [one for one in found if one.muscle == POSTERIOR]
    return [
        left
        for left, right in zip(rows[::2], rows[1::2], strict=True)
        if left.asymmetry_pct is None and left.enhancement_pct is not None and right.enhancement_pct is not None
    ]


def check_levels(levels: Sequence[MuscleFindings], settings: AnalysisSettings) -> Verdict:
    """Return where a level has no R although there are others: they hardly enhance (LEVEL-1)."""
    rows = [one for one in levels if one.muscle == POSTERIOR and one.diffuse is not None]
    without = [f"{where(one)} {one.side}" for one in rows if one.relative_enhancement is None]
    if not without:
        return Verdict()
    text = (
        f"No quotient with the other levels is given of {', '.join(without)}: those enhance by less than "
        f"{least_enhancement_pct(settings):.0f} % (median)."
    )
    return Verdict(caveats=(Note("LEVEL-1", text),))
