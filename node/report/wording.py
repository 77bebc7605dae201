"""Wording: every sentence of the report, for a radiologist who reads nothing else of it. In American English."""

import math

from node.findings import Findings, Gate, LesionFindings, MuscleFindings, Note

INTENDED_USE = "Investigational. Not for diagnostic use."

_GRADES = {  # docs/analysis.md 13.1
    0: "nothing found",
    1: "regional enhancement or asymmetry only",
    2: "focal candidate",
    3: "focal candidate, supported by MR venography",
}

# docs/analysis.md 13.1: printed wherever something enhances, because enhancement is not specific
DIFFERENTIAL = (
    "Enhancement is not specific. To be considered: denervation; facet-joint synovitis or effusion; myositis; abscess "
    "or phlegmon; post-operative or needle track (weeks to months); hematoma; radiation; trauma or delayed-onset "
    "soreness; schwannoma, desmoid, hemangioma; normal vessels; physiological heterogeneity; metastasis."
)


def summary(findings: Findings) -> str:
    """Return the answer, and that nobody has looked at it yet."""
    return f"{findings.summary.rstrip(' .')}. Automated result, not reviewed by a physician."


def grade(findings: Findings) -> str:
    """Return the grade in words."""
    if findings.grade is None:
        return "Not graded"
    return f"{findings.grade} on a scale of 0 to 3: {_GRADES[findings.grade]}"


def lesion(finding: LesionFindings) -> str:
    """Return one line on a lesion: which side, where, how large, how much it enhances.

    The place is given as viewers show it (L or R, P or A, H or F, in mm), because a report in viewers that draw no
    SEG has no other pointer into the images.
    """
    facts = [
        f"centroid at {_place(finding.centroid_mm)}",
        f"{finding.long_axis_mm:.0f} x {finding.short_axis_mm:.0f} mm in plane",
        f"{finding.volume_mm3 / 1000:.2f} mL",
    ]
    if finding.enhancement_pct is not None:
        facts.append(f"enhancement {finding.enhancement_pct:.0f} %")
    if finding.muscle_ratio is not None:
        facts.append(f"{finding.muscle_ratio:.1f} times that of the reference muscle")
    return f"Lesion {finding.number}, {finding.side}: {', '.join(facts)}."


def muscle(finding: MuscleFindings) -> str:
    """Return one line on the muscles of a side."""
    facts = [f"{finding.volume_mm3 / 1000:.1f} mL"]
    if finding.enhancement_pct is not None:
        facts.append(f"enhancement {finding.enhancement_pct:.0f} %")
    if finding.asymmetry_pct is not None:
        facts.append(f"asymmetry index {finding.asymmetry_pct:+.0f} % against the {finding.side.other}")
    return f"Muscles, {finding.side}: {', '.join(facts)}."


def note(entry: Note) -> str:
    """Return a caveat or a refusal with its code."""
    return f"{entry.code}: {entry.text}"


def gate(check: Gate) -> str:
    """Return what a gate found, what it wanted, and whether it passed."""
    return f"{check.code} {'passed' if check.passed else 'failed'}: found {_found(check.found)}, wanted {check.wanted}"


def _found(value: float | str) -> str:
    if isinstance(value, str):
        return value
    return f"{value:.4g}" if math.isfinite(value) else "no value"


def _place(position_mm: tuple[float, float, float]) -> str:
    """Return an LPS position with the letters of PS3.3 C.7.6.1.1.1."""
    words = (
        f"{letters[value < 0]} {abs(value):.1f}" for value, letters in zip(position_mm, ("LR", "PA", "HF"), strict=True)
    )
    return f"{', '.join(words)} mm (DICOM patient coordinates)"
