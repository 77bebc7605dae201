"""Deciding and saying: outcome, grade, and the summary."""

from collections.abc import Sequence

from node.findings import POSTERIOR, LesionFindings, MuscleFindings, Outcome
from node.settings import AnalysisSettings


def asymmetric(muscles: Sequence[MuscleFindings], settings: AnalysisSettings) -> list[MuscleFindings]:
    """Return the posterior compartments that enhance more than the other side, by more than the flag.

    The index (L - R) / mean of both is twice `asymmetry_pct`.
    """
    return [
        one
        for one in muscles
        if one.muscle == POSTERIOR
        and one.asymmetry_pct is not None
        and 2 * one.asymmetry_pct / 100 > settings.asymmetry_flag
    ]


def diffuse(levels: Sequence[MuscleFindings]) -> list[MuscleFindings]:
    """Return the levels whose posterior compartment enhances diffusely.

    Of single muscles that is told but not graded: outlines within the compartment are too weak for it, and psoas and
    quadratus lumborum are not muscles of the posterior ramus.
    """
    return [one for one in levels if one.muscle == POSTERIOR and one.diffuse]


def grade(
    sides: Sequence[MuscleFindings],
    levels: Sequence[MuscleFindings],
    lesions: Sequence[LesionFindings],
    settings: AnalysisSettings,
) -> int:
    """Return 0 nothing, 1 regional enhancement or asymmetry only, 2 focal candidate, 3 with support by the MRV.

    For studies whose gates were passed; else nothing is graded.
    """
    if any(one.vascularity_increased for one in lesions):
        return 3
    if lesions:
        return 2
    return 1 if diffuse(levels) or asymmetric((*sides, *levels), settings) else 0


def outcome(given: int | None, muscles: Sequence[MuscleFindings], lesions: Sequence[LesionFindings]) -> Outcome:
    """Return the outcome; a study in which something was measured but not graded has findings, not none."""
    if given == 0:
        return Outcome.NO_FINDINGS
    measured = any(one.enhancement_pct is not None or one.vessel_fraction_pct is not None for one in muscles)
    return Outcome.FINDINGS if given or lesions or measured else Outcome.REFUSED


def summary(
    given: int | None,
    sides: Sequence[MuscleFindings],
    levels: Sequence[MuscleFindings],
    lesions: Sequence[LesionFindings],
    settings: AnalysisSettings,
) -> str:
    """Return a few sentences for the reader; a candidate is never called a metastasis."""
    each = ", ".join(f"{one.side} {one.enhancement_pct:.0f} %" for one in sides if one.enhancement_pct is not None)
    regional = f"Muscle enhancement {each}." if each else "Muscle enhancement was not measured."
    if lesions:
        largest = max(lesions, key=lambda one: one.long_axis_mm)
        kind = "focal enhancing" if all(one.enhancement_pct is not None for one in lesions) else "focal bright"
        many = f"{len(lesions)} {kind} candidates" if len(lesions) > 1 else f"One {kind} candidate"
        focal = f"{many}, the largest {largest.long_axis_mm:.0f} mm, {largest.side}"
        focal += ", with increased vascularity on MRV." if any(one.vascularity_increased for one in lesions) else "."
    elif given is None:
        focal = "Not graded."
    else:
        focal = "No focal enhancing candidate."
    return " ".join(one for one in (focal, regional, _regional(sides, levels, settings)) if one)


def _regional(sides: Sequence[MuscleFindings], levels: Sequence[MuscleFindings], settings: AnalysisSettings) -> str:
    found = diffuse(levels)
    if found:
        return f"Diffuse enhancement at {', '.join(f'{where(one)} {one.side}' for one in found)}."
    if asymmetric(sides, settings):
        return "Enhancement is asymmetric."
    uneven = asymmetric(levels, settings)
    return f"Enhancement is asymmetric at {', '.join(map(where, uneven))}." if uneven else ""


def where(level: MuscleFindings) -> str:
    """Return the level of a row in words, or its slices."""
    place = level.location
    if place is None:
        return "one level"
    if place.level or place.slices is None:
        return place.level or "one level"
    return f"slices {place.slices[0]} to {place.slices[1]}"
