"""Wording: every sentence of the report, for a radiologist who reads nothing else of it. In American English."""

import math
from collections.abc import Sequence

from node.findings import (
    BiopsyPath,
    EarlierLesion,
    Findings,
    Gate,
    Kinetics,
    LesionFindings,
    Location,
    MuscleFindings,
    Note,
    Outcome,
    Recognition,
    Suspicion,
    TargetedAnswer,
)
from node.report.quantities import difference, volume_change_pct

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
    return f"{findings.summary.rstrip(' .')}. Automated result, not reviewed by a physician when it was made."


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
    facts = [*_location(finding.location), f"centroid at {_place(finding.centroid_mm)}", *_measured(finding)]
    return f"Lesion {finding.number}, {finding.side}: {', '.join(facts)}."


def lesion_in_short(finding: LesionFindings) -> str:
    """Return what was measured of a lesion, and its slices: for a picture, which shows the rest."""
    return f"{', '.join([*_measured(finding), *_location(finding.location)[1:]])}."


def _measured(finding: LesionFindings) -> list[str]:
    facts = [
        f"{finding.long_axis_mm:.0f} x {finding.short_axis_mm:.0f} mm in plane",
        f"{finding.volume_mm3 / 1000:.2f} mL",
    ]
    if finding.enhancement_pct is not None:
        facts.append(f"enhancement {finding.enhancement_pct:.0f} %")
    if finding.muscle_ratio is not None:
        facts.append(f"{finding.muscle_ratio:.1f} times that of the reference muscle")
    if finding.plexus_distance_mm is not None:
        facts.append(f"{finding.plexus_distance_mm:.0f} mm from the paravertebral venous plexus")
    if finding.draining_vessel is not None:
        facts.append(f"{'a' if finding.draining_vessel else 'no'} vessel joins it with the plexus")
    return facts + _kinetics(finding.kinetics)


def refusals(findings: Findings) -> list[str]:
    """Return a line on all that was not measured, and why; none where nothing was refused."""
    return [f"Not measured: {' '.join(map(note, findings.refusals))}"] if findings.refusals else []


def comparison(findings: Findings) -> str:
    """Return with which earlier results the examination was compared."""
    if not findings.earlier:
        if findings.outcome is Outcome.REFUSED:
            return "Not compared with earlier results."
        return "No earlier result was compared with."
    listed = [
        f"{_day(one.study_date)} (lesions: {len(one.lesions)}; release {one.release})" for one in findings.earlier
    ]
    if not _is_judged(findings):
        return f"Earlier results of this node: {', '.join(listed)}. Not compared: no foci were looked for."
    studies = {one.study for one in findings.registrations if one.succeeded}
    registered = [_day(one.study_date) for one in findings.earlier if one.study in studies]
    which = f"The images of {', '.join(registered)} were registered with these"
    if not registered:
        which = "Nothing was registered between studies"
    return (
        f"Compared with earlier results of this node: {', '.join(listed)}. {which}, and "
        "how far values differ without a change of the patient is not known."
    )


def changes(findings: Findings) -> list[str]:
    """Return a line on each lesion that there is or was: its change, or that it was not recognized."""
    if not findings.earlier or not _is_judged(findings):
        return []
    newest = _day(findings.earlier[0].study_date)
    empty = {uid for one in findings.registrations if one.study == findings.earlier[0].study for uid in one.empty}
    return [
        *(_change(one, one.prior) if one.prior else _unrecognized(one) for one in findings.lesions),
        *(_not_seen(one, newest, is_empty=one.tracking_uid in empty) for one in findings.unrecognized),
    ]


def _is_judged(findings: Findings) -> bool:
    """Return whether foci were looked for: else that none is there says nothing of one that was."""
    return findings.grade is not None or bool(findings.lesions)


def change(now: LesionFindings, prior: Recognition) -> str:
    """Return what a lesion was, and by how much that has changed since: for a picture, where room is short."""
    return f"Since {_day(prior.study_date)}: {_values(now, prior.lesion)}."


def _change(now: LesionFindings, prior: Recognition) -> str:
    then = f"{prior.lesion.tracking_identifier} of {_day(prior.study_date)}"
    how = f"{prior.basis}; confidence {prior.confidence}"
    return f"Lesion {now.number}, {now.side}: recognized as {then} ({how}): {_values(now, prior.lesion)}."


def _values(now: LesionFindings, then: EarlierLesion) -> str:
    facts = []
    if then.volume_mm3:
        grown = volume_change_pct(now.volume_mm3, then.volume_mm3)
        facts.append(f"volume {now.volume_mm3 / 1000:.2f} mL, was {then.volume_mm3 / 1000:.2f} mL ({grown:+z.0f} %)")
    if (longer := difference(now.long_axis_mm, then.long_axis_mm)) is not None:
        facts.append(f"long axis {now.long_axis_mm:.0f} mm, was {then.long_axis_mm:.0f} mm ({longer:+z.0f} mm)")
    if (more := difference(now.enhancement_pct, then.enhancement_pct)) is not None:
        facts.append(f"enhancement {now.enhancement_pct:.0f} %, was {then.enhancement_pct:.0f} % ({more:+z.0f} points)")
    return "; ".join(facts) or "no value to compare with"


def _unrecognized(now: LesionFindings) -> str:
    return (
        f"Lesion {now.number}, {now.side} (tracked as {now.tracking_identifier}): recognized in no earlier result. "
        "That does not mean that it is new."
    )


def _not_seen(then: EarlierLesion, day: str, *, is_empty: bool) -> str:
    facts = [f"at {then.level}" if then.level else "level not determined"]
    if then.long_axis_mm is not None:
        facts.append(f"{then.long_axis_mm:.0f} mm")
    there = " Where it lay, as far as registration tells, this examination has no candidate." if is_empty else ""
    return (
        f"{then.tracking_identifier} of {day} ({then.side}, {', '.join(facts)}): recognized as no lesion of this "
        f"examination.{there} That does not mean that it is gone."
    )


def _day(date: str) -> str:
    return f"{date[:4]}-{date[4:6]}-{date[6:]}"


def _kinetics(found: Kinetics | None) -> list[str]:
    if found is None:
        return []
    facts = [f"peak enhancement {found.peak_enhancement_pct:.0f} % {found.time_to_peak_s:.0f} s after its onset"]
    return facts if found.curve is None else [*facts, f"{found.curve} curve"]


def muscle(finding: MuscleFindings) -> str:
    """Return one line on the muscles of a side."""
    facts = [*_location(finding.location), f"{finding.volume_mm3 / 1000:.1f} mL"]
    if finding.enhancement_pct is not None:
        facts.append(f"enhancement {finding.enhancement_pct:.0f} %")
    if finding.asymmetry_pct is not None:
        facts.append(f"asymmetry index {finding.asymmetry_pct:+z.0f} % against the {finding.side.other}")
    if finding.fat_fraction_pct is not None:
        facts.append(f"fat fraction {finding.fat_fraction_pct:.0f} %")
    facts += _kinetics(finding.kinetics)
    return f"Muscles, {finding.side}: {', '.join(facts)}."


def levels(rows: Sequence[MuscleFindings]) -> list[str]:
    """Return one line on each level of a muscle, from the head down: left and right beside each other."""
    named: dict[tuple[str, str], list[MuscleFindings]] = {}
    for row in rows:
        named.setdefault((_level(row), row.muscle), []).append(row)
    return [f"{level}, {muscle}: {'; '.join(map(_row, found))}." for (level, muscle), found in named.items()]


def _level(row: MuscleFindings) -> str:
    return ", ".join(_location(row.location)) if row.location else "whole muscle"


def _row(row: MuscleFindings) -> str:
    facts = [
        text.format(value)
        for text, value in (
            ("enhancement {:.0f} %", row.enhancement_pct),
            ("{:.2f} times the other levels", row.relative_enhancement),
            ("asymmetry index {:+z.0f} %", row.asymmetry_pct),
            ("enhancing fraction {:.0f} %", row.enhancing_fraction_pct),
            ("fat fraction {:.0f} %", row.fat_fraction_pct),
            ("enhancement of water {:.0f} %", row.fat_corrected_enhancement_pct),
            ("vessel fraction {:.1f} %", row.vessel_fraction_pct),
            ("vessel asymmetry index {:+z.0f} %", row.vessel_asymmetry_pct),
            ("time to peak {:.0f} s", row.kinetics and row.kinetics.time_to_peak_s),
        )
        if value is not None
    ]
    if row.diffuse:
        facts.append("DIFFUSE")
    return f"{row.side} {', '.join(facts) or 'not measured'}"


def suspicion(asked: Suspicion, answer: TargetedAnswer | None) -> str:
    """Return what EMG suspects, who says so, and the answer at that place."""
    question = f"Suspected by EMG: {asked.level}, {asked.side} (source: {asked.source}, {asked.basis})."
    return question if answer is None else f"{question} {answer.statement}"


def biopsy(finding: LesionFindings, path: BiopsyPath) -> str:
    """Return the straight way to a candidate, and that it is geometry only."""
    slant = f"{abs(path.angle_deg):.0f} degrees from the sagittal plane"
    if round(path.angle_deg):
        slant += f", entering on the patient's {'left' if path.angle_deg > 0 else 'right'} of the target"
    if round(path.tilt_deg):
        slant += f", tilted {abs(path.tilt_deg):.0f} degrees toward the {'head' if path.tilt_deg > 0 else 'feet'}"
    clear = (
        "nothing that was outlined to be avoided within 20 mm"
        if path.clearance_of == "none"
        else f"{path.clearance_mm:.0f} mm from {path.clearance_of}"
    )
    return (
        f"Lesion {finding.number}, {finding.side}: target at {_place(path.target_mm)}; skin entry at "
        f"{_place(path.entry_mm)}; depth {path.depth_mm:.0f} mm; {slant}; {clear}. Geometry only: verify before use."
    )


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
