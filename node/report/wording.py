"""Wording: every sentence of the report, for a radiologist who reads nothing else of it. In American English."""

import math

from node.findings import VERTEBRAE, Findings, Gate, LesionFindings, Location, MuscleFindings, Note, Suspicion

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
        *_location(finding.location),
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
    facts = [*_location(finding.location), f"{finding.volume_mm3 / 1000:.1f} mL"]
    if finding.enhancement_pct is not None:
        facts.append(f"enhancement {finding.enhancement_pct:.0f} %")
    if finding.asymmetry_pct is not None:
        facts.append(f"asymmetry index {finding.asymmetry_pct:+.0f} % against the {finding.side.other}")
    return f"Muscles, {finding.side}: {', '.join(facts)}."


def suspicion(findings: Findings, asked: Suspicion) -> str:
    """Return what EMG suspects, who says so, and which candidates lie there."""
    question = f"{asked.level}, {asked.side} (source: {asked.source}, {asked.basis})"
    on_side = [one for one in findings.lesions if asked.side in ("both", one.side.value)]
    there = "on that side" if asked.side != "both" else "on either side"
    if not any(one.location and one.location.level for one in findings.lesions):
        found = ", ".join(f"lesion {one.number}" for one in on_side) or "none"
        return (
            f"Suspected by EMG: {question}. Focal candidates {there}: {found}. No vertebral level is given for them: "
            "the match to the suspected level is left to the reader."
        )
    near = _near(asked)
    matching = [one for one in on_side if one.location and _named(one.location.level) & set(near)]
    found = ", ".join(f"lesion {one.number}" for one in matching) or "none"
    unnamed = ", ".join(f"lesion {one.number}" for one in on_side if one.location is None or one.location.level is None)
    return f"Suspected by EMG: {question}. Focal candidates {there} from {near[0]} to {near[-1]}: {found}." + (
        f" Level not determined: {unnamed}." if unnamed else ""
    )


def _near(asked: Suspicion) -> tuple[str, ...]:
    """Return the vertebrae from one above the suspected root to two below: a dorsal ramus runs downward.

    docs/analysis.md 13.2. The eighth cervical root has no vertebra: it leaves below the seventh.
    """
    named = [VERTEBRAE.index("C7" if root == "C8" else root) for root in asked.level.split("-")]
    return VERTEBRAE[max(0, named[0] - 1) : named[-1] + 3]


def _named(level: str | None) -> set[str]:
    """Return the vertebrae that a level names: "L4", or "L4/L5" of a disc."""
    return set() if level is None else set(level.split("/"))


def level_basis(findings: Findings) -> str:
    """Return how vertebrae were counted, or why none is named."""
    basis = findings.level_basis
    return f"{basis[0].upper()}{basis[1:].rstrip(' .')}."


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


def _location(location: Location | None) -> list[str]:
    if location is None:
        return []
    level = [f"at {location.level}"] if location.level else ["level not determined"]
    if location.slices is None:
        return level
    first, last = location.slices
    slices = f"axial slice {first}" if first == last else f"axial slices {first} to {last}"
    return [*level, f"{slices} counted from the head"]


def _place(position_mm: tuple[float, float, float]) -> str:
    """Return an LPS position with the letters of PS3.3 C.7.6.1.1.1."""
    words = (
        f"{letters[value < 0]} {abs(value):.1f}" for value, letters in zip(position_mm, ("LR", "PA", "HF"), strict=True)
    )
    return f"{', '.join(words)} mm (DICOM patient coordinates)"
