"""Deciding and saying: outcome, grade, and one sentence of summary."""

from collections.abc import Sequence

from node.findings import LesionFindings, MuscleFindings, Outcome, Side
from node.settings import AnalysisSettings


def asymmetry_index(muscles: Sequence[MuscleFindings]) -> float | None:
    """Return (left - right) / mean of both, of the enhancement; `asymmetry_pct` is half of it, in percent."""
    left = next((one.asymmetry_pct for one in muscles if one.side is Side.LEFT), None)
    return None if left is None else 2 * left / 100


def grade(muscles: Sequence[MuscleFindings], lesions: Sequence[LesionFindings], settings: AnalysisSettings) -> int:
    """Return 0 nothing, 1 asymmetry only, 2 focal candidate, 3 focal candidate with support by the MRV.

    For studies whose gates were passed; else nothing is graded.
    """
    if any(one.vascularity_increased for one in lesions):
        return 3
    if lesions:
        return 2
    index = asymmetry_index(muscles)
    return 1 if index is not None and abs(index) > settings.asymmetry_flag else 0


def outcome(given: int | None, muscles: Sequence[MuscleFindings], lesions: Sequence[LesionFindings]) -> Outcome:
    """Return the outcome; a study in which something was measured but not graded has findings, not none."""
    if given == 0:
        return Outcome.NO_FINDINGS
    measured = any(one.enhancement_pct is not None or one.vessel_fraction_pct is not None for one in muscles)
    return Outcome.FINDINGS if given or lesions or measured else Outcome.REFUSED


def summary(given: int | None, muscles: Sequence[MuscleFindings], lesions: Sequence[LesionFindings]) -> str:
    """Return one sentence for the reader; a candidate is never called a metastasis."""
    sides = ", ".join(f"{one.side} {one.enhancement_pct:.0f} %" for one in muscles if one.enhancement_pct is not None)
    regional = f"Muscle enhancement {sides}." if sides else "Muscle enhancement was not measured."
    if lesions:
        largest = max(lesions, key=lambda one: one.long_axis_mm)
        many = f"{len(lesions)} focal enhancing candidates" if len(lesions) > 1 else "One focal enhancing candidate"
        focal = f"{many}, the largest {largest.long_axis_mm:.0f} mm, {largest.side}"
        focal += ", with increased vascularity on MRV." if any(one.vascularity_increased for one in lesions) else "."
    elif given is None:
        focal = "Not graded."
    else:
        focal = "No focal enhancing candidate."
    asymmetric = " Enhancement is asymmetric." if given == 1 else ""
    return f"{focal} {regional}{asymmetric}"
