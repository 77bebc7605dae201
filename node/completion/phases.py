"""Phases: the time points of a dynamic examination that came as a series each. Pure.

Many scanners, and archives that split, send them so: alike in all but time. They are joined only where nothing else
fits: too few, too slow or irregular ones, and those of which nobody can tell which belong together, stay what each is
by itself, so that a series before and one after contrast are still a pair.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from statistics import median

from node.completion.facts import StackFacts
from node.completion.pairs import find_pairs
from node.completion.roles import ASKED, decide_roles
from node.completion.table import RoleTable
from node.dicom.dynamics import moments_s
from node.dicom.headers import Acquisition
from node.dicom.identifiers import SeriesUID
from node.records import Contrast, RoleDecision, SeriesRole, StackKey

_FEWEST, _LONGEST_STEP_S = 5, 15.0  # the median: DYN-2 of docs/analysis.md; of what is slower there are no curves
_LONGEST_PAUSE_S = 60.0  # for the injection, or a breath; after a longer one a prescan may have come. Chosen
_SHORTEST_STEP_S = 1.0  # nearer ones are two images of one moment, which some makers round; chosen
_LEAST_STEP = 0.6  # of the median: a scanner needs as long for each; whole seconds make 2 and 3 of 2.5. Chosen
_SAME_PLACE_MM, _SAME_DIRECTION = 0.05, 1e-3  # as `dicom.stacks` has them
_MOST = 1000  # series of a study that may be phases: each is weighed with each; chosen
_TEMPORAL_POSITIONS = 0x00200105  # Number of Temporal Positions

# What two phases of one examination may differ in; all else that is known of an acquisition is one for all.
_OF_TIME = frozenset(
    {
        "acquired_at_s", "bolus_at_s", "contrast_agent", "description", "acquisition_number", "temporal_position",
        "trigger_time_ms", "dimension_index",
    }
)  # fmt: skip
_COMMON = tuple(field.name for field in fields(Acquisition) if field.name not in _OF_TIME | {"orientation"})

Roles = Mapping[StackKey, RoleDecision]
_Group = list[StackFacts]


@dataclass(frozen=True, slots=True)
class Joined:
    """A study whose phases know one another.

    Parameters
    ----------
    facts : tuple of StackFacts
        All stacks; those that are joined with `phases`, and as many `time_points`.
    roles : mapping
        Of each stack, the joined ones being dynamic.
    doubt : str
        Why series that are alike, and as many as a dynamic has, were not joined; "" if there are none.
    """

    facts: tuple[StackFacts, ...]
    roles: Roles
    doubt: str = ""


def join_phases(study: Sequence[StackFacts], table: RoleTable) -> Joined:
    """Return the roles of a study, and which of its series are the time points of one dynamic."""
    roles = decide_roles(study, table)
    alone = Joined(tuple(study), roles)
    groups = [group for group in _alike(_candidates(study, roles)) if len(group) >= _FEWEST]
    if not groups:
        return alone
    found, doubts = [], []
    for group in groups:
        runs, doubt = _runs(group)
        found += runs
        doubts.append(doubt)
    doubt = _doubt(found, study, roles)
    if not found or doubt:
        return replace(alone, doubt="; ".join(dict.fromkeys(filter(None, [*doubts, doubt]))))
    phases = {one.key: tuple(each.key for each in run) for run in found for one in run}
    joined = tuple(
        replace(one, phases=phases[one.key], time_points=len(phases[one.key])) if one.key in phases else one
        for one in study
    )
    new_roles = decide_roles(joined, table)
    if any(new_roles[key].role is not SeriesRole.DYNAMIC for key in phases):
        return replace(alone, doubt=f"{len(phases)} series are alike, but by the rules no dynamic")
    return Joined(joined, new_roles)


def lacking_phases(study: Sequence[StackFacts]) -> dict[SeriesUID, str]:
    """Return which series of one time point show that others are missing, and how many of how many are here.

    Of series that are alike that is told once, with the last one.
    """
    numbers = defaultdict[SeriesUID, set[int | None]](set)
    for one in study:
        numbers[one.series].add(one.acquisition.temporal_position)
    single = [
        one
        for one in study
        if one.acquisition.temporal_position and len(numbers[one.series]) == 1 and not one.acquisition.derived
    ]  # subtractions bear the numbers of what they were made from, and lack the first
    if len(single) > _MOST:
        return {}
    found = {}
    for group in _alike(single):
        here = {one.acquisition.temporal_position or 0 for one in group}
        wanted = max(map(_stated, group))
        if len(here) < wanted:
            last = max(group, key=lambda one: (one.acquisition.temporal_position or 0, one.key))
            found[last.series] = f"{len(here)} of {wanted} time points"
    return found


def _stated(facts: StackFacts) -> int:
    try:
        return int(str(facts.view.value(_TEMPORAL_POSITIONS) or 0))
    except ValueError:
        return 0


# ---------------------------------------------------------------- which are alike


def _candidates(study: Sequence[StackFacts], roles: Roles) -> _Group:
    """Return the T1-weighted stacks of series of one time point, which may be one of a dynamic."""
    found = [
        one
        for one in study
        if one.time_points == 1
        and roles[one.key].role in ASKED
        and one.acquisition.frame_of_reference
        and one.acquisition.image_type  # without it nobody can tell a subtraction from what was acquired
        and not (one.faults or one.left_out or one.acquisition.derived)
    ]
    return found if len(found) <= _MOST else []


def _alike(stacks: Sequence[StackFacts]) -> Iterator[_Group]:
    """Yield the stacks that differ in time alone, group by group."""
    by_words: dict[tuple[object, ...], list[_Group]] = {}
    for one in stacks:
        common = (getattr(one.acquisition, name) for name in _COMMON)
        which = one.key.number, one.stacks, *sorted(one.splits.items())  # of its series
        groups = by_words.setdefault((one.patient, one.day, one.slices, one.scale, which, *common), [])
        for group in groups:
            if _same_place(one, group[0]):
                group.append(one)
                break
        else:
            groups.append([one])
    for groups in by_words.values():
        yield from groups


def _same_place(one: StackFacts, other: StackFacts) -> bool:
    here, there = ((*each.centre_mm, *each.size_mm, each.spacing_mm or 0.0) for each in (one, other))
    along, also_along = one.acquisition.orientation, other.acquisition.orientation
    return (
        len(along) == len(also_along)
        and all(abs(a - b) <= _SAME_DIRECTION for a, b in zip(along, also_along, strict=True))
        and all(abs(a - b) <= _SAME_PLACE_MM for a, b in zip(here, there, strict=True))
    )


# ---------------------------------------------------------------- which follow one another


def _moments_s(group: _Group) -> dict[StackKey, float] | None:
    moments = moments_s([one.acquisition.acquired_at_s for one in group], lambda: [one.view for one in group])
    return None if moments is None else dict(zip((one.key for one in group), moments, strict=True))


def _runs(group: _Group) -> tuple[list[_Group], str]:
    """Return the series that follow one another as time points do, run by run, and why there are none."""
    said = f"{len(group)} series are alike"
    at_s = _moments_s(group)
    if at_s is None:
        return [], f"{said}, but no header tells when each was acquired, or two are of one moment"
    ordered = sorted(group, key=lambda one: at_s[one.key])
    runs = [ordered[:1]]
    for one, later in pairwise(ordered):
        if at_s[later.key] - at_s[one.key] > _LONGEST_PAUSE_S:
            runs.append([])
        runs[-1].append(later)
    fit = []
    for run in runs:
        steps_s = [at_s[later.key] - at_s[one.key] for one, later in pairwise(run)]
        if len(run) < _FEWEST or median(steps_s) > _LONGEST_STEP_S:
            continue
        least_s, usual_s = min(steps_s), median(steps_s)
        if least_s < max(_SHORTEST_STEP_S, _LEAST_STEP * usual_s):
            return [], f"{said}, but two of them are within {least_s:.1f} s, the others {usual_s:.1f} s apart"
        fit.append(run)
    wanted = f"{_FEWEST} in steps of {_LONGEST_STEP_S:g} s, without a pause of more than {_LONGEST_PAUSE_S:g} s"
    return fit, "" if fit else f"{said}, but there are no {wanted}"


def _doubt(found: Sequence[_Group], study: Sequence[StackFacts], roles: Roles) -> str:
    """Return why series that follow one another are not joined all the same; "" if nothing forbids it."""
    if not found:
        return ""
    said = f"{len(found[0])} series follow one another"
    if any(roles[one.key].role is SeriesRole.DYNAMIC for one in study):
        return f"{said}, but another series is dynamic by itself"
    if any(not _is_one_acquisition(found[0], other) for other in found[1:]):
        return f"{said}, and others as well: nobody can tell which is the dynamic"
    return next(filter(None, (_beside_contrast(run, study, roles) for run in found)), "")


def _is_one_acquisition(one: _Group, other: _Group) -> bool:
    """Return whether two runs are parts of the same Dixon: of one grid and the same moments."""
    at_s, also_at_s = _moments_s(one), _moments_s(other)
    if at_s is None or also_at_s is None or len(one) != len(other):
        return False
    moments = zip(sorted(at_s.values()), sorted(also_at_s.values()), strict=True)
    return (
        one[0].acquisition.part != other[0].acquisition.part
        and _same_place(one[0], other[0])
        and all(abs(a - b) < _SHORTEST_STEP_S for a, b in moments)
    )


def _beside_contrast(run: _Group, study: Sequence[StackFacts], roles: Roles) -> str:
    """Return why contrast was not given during a run; "" if it was, or headers leave that to the pixels.

    An agent that is named in all of them says that it was given at some time; then the scanner must have counted them
    from the first one on, as it does in a dynamic. But where another series makes a pair with one of them, all of the
    run lies on one side of the injection.
    """
    first, last = (roles[run[number].key].contrast for number in (0, -1))
    if (first, last) == (Contrast.PRE, Contrast.POST):
        return ""
    said = f"{len(run)} series follow one another"
    all_named = all(one.acquisition.contrast_agent for one in run)
    timed = any(one.acquisition.bolus_at_s is not None for one in study)
    if first is not Contrast.PRE and (timed or not all_named or not _counted(run)):
        return f"{said}, but the first of them is not known to be before contrast"
    keys = {one.key for one in run}
    for pair in find_pairs(study, roles):
        if pair.comparable and (pair.pre.key in keys) != (pair.post.key in keys):
            side = "before the first" if pair.post.key in keys else "after the last"
            return f"{said}, but contrast was given {side} of them"
    return ""


def _counted(run: _Group) -> bool:
    """Return whether headers count the series of a run, the first of them being number 1."""
    for name in ("temporal_position", "acquisition_number"):
        numbers = [getattr(one.acquisition, name) or 0 for one in run]
        if numbers[0] == 1 and all(one < later for one, later in pairwise(numbers)):
            return True
    return False
