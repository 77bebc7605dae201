"""The answer to EMG: what is seen at the level and side that it suspects, and at the neighbours.

A muscle of one posterior ramus lies lower than its root, so one vertebra above and two below are looked at as well
(docs/analysis.md, 13.2). Where no vertebra could be named, every slab of that side is told, and the match is left to
the reader. Sentences hold nothing that names the patient.
"""

from collections.abc import Sequence

from node.analysis.asymmetry import least_enhancement_pct
from node.findings import POSTERIOR, VERTEBRAE, LesionFindings, MuscleFindings, Note, Side, Suspicion, TargetedAnswer
from node.settings import AnalysisSettings


def answer(
    asked: Suspicion,
    levels: Sequence[MuscleFindings],
    lesions: Sequence[LesionFindings],
    refusals: Sequence[Note],
    given: int | None,
    settings: AnalysisSettings,
    *,
    caveats: Sequence[Note] = (),
) -> TargetedAnswer:
    """Return the answer to what EMG suspects; `given` is the grade, None if foci were not judged."""
    sides = list(Side) if asked.side == "both" else [Side(asked.side)]
    rows = [one for one in levels if one.muscle == POSTERIOR]
    codes = ", ".join(dict.fromkeys(one.code for one in refusals)) or "no series before and after contrast"
    measured = any(one.enhancement_pct is not None for one in rows)
    lacking = "too little lean muscle" if measured else codes  # where a level has no enhancement
    left_out = next((one.text for one in caveats if one.code == "SEG-PART"), "")
    on_side = [one for one in lesions if one.side in sides]
    no_foci = "No focal candidate." if given is not None else f"Focal candidates were not judged ({codes})."
    if not any(_level(one) for one in rows):
        return _unmatched(asked, [one for one in rows if one.side in sides], on_side, no_foci, codes, left_out)

    suspected = _vertebrae(asked)
    near = vertebrae_near(asked, settings)
    said = []
    for vertebra in suspected:
        for side in sides:
            row = next((one for one in rows if _level(one) == vertebra and one.side is side), None)
            other = next((one for one in rows if _level(one) == vertebra and one.side is side.other), None)
            said.append(f"At {vertebra} {side}: {_measured(row, other, lacking, settings)}.")
    here = [one for one in on_side if _named(one) & set(suspected)]
    there = [one for one in on_side if _named(one) & set(near) and one not in here]
    outlined = {(_level(one), one.side) for one in rows}
    if not {(vertebra, side) for vertebra in suspected for side in sides} <= outlined:
        no_foci = f"Foci were not looked for where no muscle was outlined. {no_foci}"
    said.append(_candidates(here) if here else no_foci)
    beside = [one for one in rows if _level(one) in near and _level(one) not in suspected]
    said.append(_neighbours(beside, there, sides, "" if given is not None else codes))
    unnamed = [one for one in on_side if not _named(one)]
    if unnamed:
        said.append(f"Of unknown level: {_candidates(unnamed)}")
    said.append(left_out)
    chosen = [one for one in rows if _level(one) in near]
    return TargetedAnswer(
        statement=" ".join(one for one in said if one),
        levels=(*(one for one in chosen if one.side in sides), *(one for one in chosen if one.side not in sides)),
        lesions=tuple(one.number for one in (*here, *there)),
        matched=True,
    )


def vertebrae_near(asked: Suspicion, settings: AnalysisSettings) -> tuple[str, ...]:
    """Return the vertebrae that are answered for, from head to feet."""
    named = [VERTEBRAE.index(one) for one in _vertebrae(asked)]
    return VERTEBRAE[max(0, named[0] - settings.levels_above) : named[-1] + settings.levels_below + 1]


def _vertebrae(asked: Suspicion) -> tuple[str, ...]:
    """Return the vertebrae of the suspected roots. The eighth cervical root has none: it leaves below the seventh."""
    named = [VERTEBRAE.index("C7" if root == "C8" else root) for root in asked.level.split("-")]
    return VERTEBRAE[named[0] : named[-1] + 1]


def _unmatched(
    asked: Suspicion, rows: Sequence[MuscleFindings], lesions: Sequence[LesionFindings], no_foci: str, codes: str,
    left_out: str,
) -> TargetedAnswer:  # fmt: skip
    where = "on either side" if asked.side == "both" else f"on the {asked.side}"
    measured = [f"{_slices(one)} {one.side} {_rise(one)}" for one in rows if one.enhancement_pct is not None]
    regional = f"enhancement {', '.join(measured)}" if measured else f"enhancement not measurable ({codes})"
    return TargetedAnswer(
        statement=f"No vertebra could be named: the match to {asked.level} is left to the reader. From the head down "
        f"{where}: {regional}. {_candidates(lesions) if lesions else no_foci} {left_out}".rstrip(),
        levels=tuple(rows),
        lesions=tuple(one.number for one in lesions),
        matched=False,
    )


def _measured(row: MuscleFindings | None, other: MuscleFindings | None, codes: str, settings: AnalysisSettings) -> str:
    """Return what one level and side shows, against the other side and the other levels."""
    if row is None:
        return "not measured, no muscle was outlined there"
    if row.enhancement_pct is None:
        if row.vessel_fraction_pct is None or other is None or other.vessel_fraction_pct is None:
            return f"not measurable ({codes})"
        against = f"against {other.vessel_fraction_pct:.1f} % on the {other.side}"
        return f"enhancement not measurable ({codes}); vessels {row.vessel_fraction_pct:.1f} % {against}"
    facts = (
        [f"{other.enhancement_pct:.0f} % on the {other.side}"] if other and other.enhancement_pct is not None else []
    )
    if row.relative_enhancement:
        elsewhere = row.enhancement_pct / row.relative_enhancement
        facts.append(f"{elsewhere:.0f} % elsewhere (R {row.relative_enhancement:.1f})")
    elif row.relative_enhancement is None and row.diffuse is not None:
        facts.append(f"less than {least_enhancement_pct(settings):.0f} % elsewhere")
    against = f" against {' and '.join(facts)}" if facts else ""
    return f"enhancement {row.enhancement_pct:.0f} %{against}: {_regional(row, settings)}"


def _regional(row: MuscleFindings, settings: AnalysisSettings) -> str:
    if row.diffuse:
        return "diffuse enhancement"
    if row.asymmetry_pct is not None and 2 * row.asymmetry_pct > 100 * settings.asymmetry_flag:
        return "more than on the other side"
    return "not diffuse" if row.diffuse is not None else "no other level to compare with"


def _neighbours(
    rows: Sequence[MuscleFindings], lesions: Sequence[LesionFindings], sides: Sequence[Side], unjudged: str
) -> str:
    """Return what is seen beside the suspected level; `unjudged` are the codes for which foci were not judged."""
    if not rows:
        return ""
    names = ", ".join(dict.fromkeys(level for one in rows if (level := _level(one))))
    diffuse = [f"diffuse enhancement at {_level(one)} {one.side}" for one in rows if one.diffuse and one.side in sides]
    found = "; ".join([*diffuse, *([_candidates(lesions).rstrip(".")] if lesions else [])])
    if not found:
        on_side = [one for one in rows if one.side in sides]
        is_judged = not unjudged and all(one.enhancement_pct is not None for one in on_side)
        found = "nothing more on that side" if is_judged else f"not judged ({unjudged or 'not measured'})"
    return f"Neighbouring levels ({names}): {found}."


def _candidates(lesions: Sequence[LesionFindings]) -> str:
    each = ", ".join(f"{one.number} ({one.long_axis_mm:.0f} mm, {one.side})" for one in lesions)
    return f"Focal candidate{'s' if len(lesions) > 1 else ''} {each}."


def _rise(row: MuscleFindings) -> str:
    return f"{row.enhancement_pct:.0f} %" + (" (diffuse)" if row.diffuse else "")


def _slices(row: MuscleFindings) -> str:
    if row.location is None or row.location.slices is None:
        return "slab"
    first, last = row.location.slices
    return f"slices {first} to {last}" if last > first else f"slice {first}"


def _level(row: MuscleFindings) -> str | None:
    return None if row.location is None else row.location.level


def _named(lesion: LesionFindings) -> set[str]:
    """Return the vertebrae that the level of a lesion names: "L4", both of a disc, all of "L2 to L4"."""
    level = None if lesion.location is None else lesion.location.level
    if level is None:
        return set()
    named = [VERTEBRAE.index(one) for end in level.split(" to ") for one in end.split("/")]
    return set(VERTEBRAE[min(named) : max(named) + 1])
