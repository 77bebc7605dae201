"""Rules: what makes a study measurable, and which of its stacks are measured. Pure.

A study is measurable with a contrast pair, or with a dynamic series, or with an MRV, or with a post-contrast series
alone where the settings say so. Two series that look like a pair and must not be *compared* (another sequence, fat
suppression, coil), and two of which the headers do not agree which is which (ROLE-CONTRAST), are handed to the analysis
all the same: its refusal, with the code, is a result that the radiologist gets. Two that are apart in space or time are
no pair, and a study without a pair gets no report: it is "not eligible", with the reason.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from node.completion.facts import StackFacts
from node.completion.pairs import Pair, compare, find_pairs
from node.dicom.identifiers import SeriesUID
from node.records import Contrast, Role, RoleDecision, SeriesRole, StackKey

# Slow flow shows best where it is not the only contrast: order of preference, chosen.
_VENOGRAPHY_ORDER = (SeriesRole.MRV_TOF, SeriesRole.MRV_CE, SeriesRole.MRV_BSSFP, SeriesRole.MRV_PC_MAGNITUDE)
# What vertebrae, discs and sacrum show best in: order of preference, chosen.
_LEVELS_ORDER = (SeriesRole.SAGITTAL_T2, SeriesRole.SAGITTAL_T1, SeriesRole.SAGITTAL_STIR)
_SAME_PLACE_MM = 0.5
_SAME_MOMENT_S = 1.0  # parts of one acquisition bear one time, which some makers round; chosen
_SAME_DIRECTION = 1e-3  # of a direction cosine

Roles = Mapping[StackKey, RoleDecision]
Chosen = dict[Role, StackKey]


@dataclass(frozen=True, slots=True)
class Selection:
    """The stacks to measure by role, or, where there is none, the reason; and the pairs that were weighed.

    Of a dynamic series the stack is its first time point, and all of them are meant; `phases` are the series of its
    time points where they came as a series each, in the order of time.
    """

    stacks: Mapping[Role, StackKey] | None
    reason: str
    pairs: tuple[Pair, ...] = ()
    phases: tuple[SeriesUID, ...] = ()

    def series_of(self, role: Role) -> tuple[SeriesUID, ...]:
        """Return the series to measure in a role: one, or the phases of a dynamic; none if it is not selected."""
        if role is Role.DYNAMIC and self.phases:
            return self.phases
        return tuple(key.series for key in [(self.stacks or {}).get(role)] if key is not None)


def select(study: Sequence[StackFacts], roles: Roles, *, post_alone: bool) -> Selection:
    """Return which stacks of a study are measured, or why it is not eligible."""
    selection = _select(study, roles, post_alone=post_alone)
    dynamic = (selection.stacks or {}).get(Role.DYNAMIC)
    phases = next((facts.phases for facts in study if facts.key == dynamic), ())
    return replace(selection, phases=tuple(key.series for key in phases))


def _select(study: Sequence[StackFacts], roles: Roles, *, post_alone: bool) -> Selection:
    pairs = find_pairs(study, roles)
    post = [facts for facts in study if roles[facts.key].contrast is Contrast.POST]
    mrv = [facts for facts in study if roles[facts.key].purpose is Role.MRV]
    dynamic = _best_dynamic(study, roles)
    best = max((pair for pair in pairs if not pair.apart), key=_pair_rank, default=None)
    if best is not None and (best.comparable or dynamic is None):
        return Selection(_with_pair(best, study, roles), _pair_reason(best), pairs)
    if dynamic is not None:
        chosen = {Role.DYNAMIC: dynamic.key} | _beside(dynamic, study, roles)
        return Selection(chosen, "dynamic series alone", pairs)
    if post and post_alone:
        alone = max(post, key=lambda facts: (not facts.faults, facts.plane == "axial", facts.slices))
        return Selection({Role.POST: alone.key} | _beside(alone, study, roles), "post-contrast series alone", pairs)
    unclear = _unclear_pair(study, roles)
    if unclear is not None:
        reason = "ROLE-CONTRAST: headers disagree about which of two series is before and which after contrast"
        return Selection(_with_pair(unclear, study, roles), reason, pairs)
    if mrv:
        venography = _best_venography(mrv, roles)
        return Selection({Role.MRV: venography.key} | _velocity(venography, study, roles), "MRV alone", pairs)
    return Selection(None, _why_none(study, roles, pairs), pairs)


def _with_pair(pair: Pair, study: Sequence[StackFacts], roles: Roles) -> Chosen:
    """Return a pair with what else is measured of its study."""
    chosen = {Role.PRE: pair.pre.key, Role.POST: pair.post.key} | _beside(pair.post, study, roles)
    if pair.pre.acquisition.dixon_part == "water":
        chosen |= _part_of(pair.pre, Role.FAT, study, roles)
    near = [facts for facts in study if _frame(facts) == _frame(pair.post)]
    if (dynamic := _best_dynamic(near, roles)) is not None:
        chosen[Role.DYNAMIC] = dynamic.key
    return chosen


def _pair_reason(pair: Pair) -> str:
    if not pair.comparable:
        return f"series that look like a contrast pair, not to be compared: {_codes(pair)}"
    return f"contrast pair; weakened by {_codes(pair)}" if pair.differences else "contrast pair"


def _codes(pair: Pair) -> str:
    return ", ".join(sorted({one.code for one in pair.forbidding or pair.differences}))


def _why_none(study: Sequence[StackFacts], roles: Roles, pairs: Sequence[Pair]) -> str:
    unclear = sum(roles[facts.key].contrast is Contrast.CONTRADICTORY for facts in study)
    doubt = f"; ROLE-CONTRAST: headers disagree about contrast in {unclear} T1 series" if unclear else ""
    if pairs:
        found = sorted({str(one) for pair in pairs for one in pair.forbidding if pair.apart})
        return f"no contrast pair: {'; '.join(found)}{doubt}"
    there = {roles[facts.key].contrast for facts in study}
    names = {Contrast.PRE: "pre-contrast T1", Contrast.POST: "post-contrast T1"}
    missing = " and ".join(name for contrast, name in names.items() if contrast not in there)
    return f"no contrast pair and no MRV: {missing} missing{doubt}"


def _pair_rank(pair: Pair) -> tuple[bool, bool, bool, bool, bool, int, float, float]:
    """Order pairs: comparable, without a caveat, regular, with bright fat, axial, long; the first pre, the first post.

    An unnamed series may be a second one after contrast, the first one hardly is. Fat is what the gain is taken from,
    and what the built-in segmenter stands on.
    """
    pre, post = pair.pre, pair.post
    return (
        pair.comparable,
        not pair.differences,
        not pre.faults and not post.faults,
        not pre.acquisition.fat_suppressed and pre.acquisition.dixon_part != "water",
        pre.plane == post.plane == "axial",
        min(pre.slices, post.slices),
        -(pre.acquisition.acquired_at_s or 0.0),
        -(post.acquisition.acquired_at_s or 0.0),
    )


def _unclear_pair(study: Sequence[StackFacts], roles: Roles) -> Pair | None:
    """Return the two stacks that would be a pair if the headers agreed which is which; the earlier one as pre."""
    asked = [facts for facts in study if roles[facts.key].contrast is not None]
    found = []
    for two in combinations(asked, 2):
        if all(roles[facts.key].contrast is not Contrast.CONTRADICTORY for facts in two):
            continue
        pre, post = sorted(two, key=lambda facts: facts.acquisition.acquired_at_s or 0.0)
        found.append(Pair(pre, post, compare(pre, post)))
    return max((pair for pair in found if not pair.apart), key=_pair_rank, default=None)


# ---------------------------------------------------------------- what is measured beside a pair


def _beside(fixed: StackFacts, study: Sequence[StackFacts], roles: Roles) -> Chosen:
    """Return the MRV, its velocities, and the sagittal series for levels, where they lie in the space of `fixed`."""
    near = [facts for facts in study if _frame(facts) == _frame(fixed)]
    chosen: Chosen = {}
    mrv = [facts for facts in near if roles[facts.key].purpose is Role.MRV]
    if mrv:
        venography = _best_venography(mrv, roles)
        chosen |= {Role.MRV: venography.key} | _velocity(venography, near, roles)
    sagittal = [facts for facts in near if roles[facts.key].role in _LEVELS_ORDER and not facts.faults]
    if sagittal and _frame(fixed):
        best = max(sagittal, key=lambda facts: (-_LEVELS_ORDER.index(roles[facts.key].role), facts.slices))
        chosen[Role.SAGITTAL] = best.key
    return chosen


def _frame(facts: StackFacts) -> str:
    return facts.acquisition.frame_of_reference


def _best_venography(mrv: Sequence[StackFacts], roles: Roles) -> StackFacts:
    """Return a regular stack, of the kind that shows most, the longest; of time points the last: veins fill late."""
    return max(
        mrv,
        key=lambda facts: (
            not facts.faults,
            -_VENOGRAPHY_ORDER.index(roles[facts.key].role),
            facts.slices,
            facts.acquisition.acquired_at_s or 0.0,
        ),
    )


def _velocity(venography: StackFacts, study: Iterable[StackFacts], roles: Roles) -> Chosen:
    """Return the velocities of a phase contrast; of several directions the first."""
    if roles[venography.key].role is not SeriesRole.MRV_PC_MAGNITUDE:
        return {}
    return _part_of(venography, Role.VELOCITY, study, roles)


def _part_of(whole: StackFacts, role: Role, study: Iterable[StackFacts], roles: Roles) -> Chosen:
    """Return the stack of that role which the acquisition of another one has made, on the same voxels."""
    keys = [
        facts.key
        for facts in study
        if roles[facts.key].purpose is role and not facts.faults and _is_one_acquisition(facts, whole)
    ]
    return {role: min(keys)} if keys else {}


def _is_one_acquisition(one: StackFacts, other: StackFacts) -> bool:
    a, b = one.acquisition, other.acquisition
    if one.series == other.series:
        at_once = one.splits.get("time point") == other.splits.get("time point")
    else:
        moments = (a.acquired_at_s, b.acquired_at_s)
        at_once = None not in moments and abs(moments[0] - moments[1]) <= _SAME_MOMENT_S  # type: ignore[operator]
    return (
        at_once
        and _frame(one) == _frame(other)
        and one.slices == other.slices
        and np.allclose(a.orientation, b.orientation, atol=_SAME_DIRECTION)
        and np.allclose(one.centre_mm, other.centre_mm, atol=_SAME_PLACE_MM)
        and np.allclose(one.size_mm, other.size_mm, atol=_SAME_PLACE_MM)
    )


def _best_dynamic(study: Sequence[StackFacts], roles: Roles) -> StackFacts | None:
    """Return the first time point of the dynamic series that shows most; None if there is none."""
    regular = [
        facts
        for facts in study
        if roles[facts.key].purpose is Role.DYNAMIC
        and not facts.faults
        and (not facts.phases or facts.key == facts.phases[0])
    ]
    return max(
        regular,
        key=lambda facts: (
            facts.plane == "axial",
            facts.time_points,
            facts.slices,
            facts.acquisition.dixon_part != "water",  # of one Dixon what has bright fat, as of pairs
            -facts.key.number,
        ),
        default=None,
    )
