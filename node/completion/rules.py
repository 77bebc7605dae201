"""Rules: what makes a study measurable, and which of its stacks are measured. Pure.

A study is measurable with a contrast pair, or with an MRV, or with a post-contrast series alone where the settings say
so. Two series that look like a pair and must not be *compared* (another sequence, fat suppression, coil) are handed to
the analysis all the same: its refusal, with the code, is a result that the radiologist gets. Two that are apart in
space or time are no pair, and a study without a pair gets no report: it is "not eligible", with the reason.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from node.completion.facts import StackFacts
from node.completion.pairs import Pair, find_pairs
from node.records import Contrast, Role, RoleDecision, SeriesRole, StackKey

# Slow flow shows best where it is not the only contrast: order of preference, chosen.
_VENOGRAPHY_ORDER = (SeriesRole.MRV_TOF, SeriesRole.MRV_CE, SeriesRole.MRV_BSSFP, SeriesRole.MRV_PC_MAGNITUDE)
# What vertebrae, discs and sacrum show best in: order of preference, chosen.
_LEVELS_ORDER = (SeriesRole.SAGITTAL_T2, SeriesRole.SAGITTAL_T1, SeriesRole.SAGITTAL_STIR)


@dataclass(frozen=True, slots=True)
class Selection:
    """The stacks to measure by role, or, where there is none, the reason; and the pairs that were weighed."""

    stacks: Mapping[Role, StackKey] | None
    reason: str
    pairs: tuple[Pair, ...] = ()


def select(study: Sequence[StackFacts], roles: Mapping[StackKey, RoleDecision], *, post_alone: bool) -> Selection:
    """Return which stacks of a study are measured, or why it is not eligible."""
    pairs = find_pairs(study, roles)
    post = [facts for facts in study if roles[facts.key].contrast is Contrast.POST]
    mrv = [facts for facts in study if roles[facts.key].purpose is Role.MRV]
    candidates = [pair for pair in pairs if not pair.apart]
    if candidates:
        best = max(candidates, key=_pair_rank)
        chosen = {Role.PRE: best.pre.key, Role.POST: best.post.key} | _venography(mrv, roles, best.post)
        chosen |= _sagittal(study, roles, best.post)
        codes = ", ".join(sorted({one.code for one in best.differences}))
        reason = f"series that look like a contrast pair, not to be compared: {codes}" if codes else "contrast pair"
        return Selection(chosen, reason, pairs)
    if post and post_alone:
        alone = max(post, key=lambda facts: (not facts.faults, facts.plane == "axial", facts.slices))
        chosen = {Role.POST: alone.key} | _venography(mrv, roles, alone) | _sagittal(study, roles, alone)
        return Selection(chosen, "post-contrast series alone", pairs)
    if mrv:
        return Selection({Role.MRV: _best_venography(mrv, roles).key}, "MRV alone", pairs)
    return Selection(None, _why_none(study, roles, pairs), pairs)


def _why_none(study: Sequence[StackFacts], roles: Mapping[StackKey, RoleDecision], pairs: Sequence[Pair]) -> str:
    unclear = sum(roles[facts.key].contrast is Contrast.CONTRADICTORY for facts in study)
    doubt = f"; ROLE-CONTRAST: headers disagree about contrast in {unclear} T1 series" if unclear else ""
    if pairs:
        found = sorted({str(one) for pair in pairs for one in pair.differences if pair.apart})
        return f"no contrast pair: {'; '.join(found)}{doubt}"
    there = {roles[facts.key].contrast for facts in study}
    names = {Contrast.PRE: "pre-contrast T1", Contrast.POST: "post-contrast T1"}
    missing = " and ".join(name for contrast, name in names.items() if contrast not in there)
    return f"no contrast pair and no MRV: {missing} missing{doubt}"


def _pair_rank(pair: Pair) -> tuple[bool, bool, bool, bool, int, float, float]:
    """Order pairs: comparable, regular, with bright fat, axial, long; the first pre, then the first post.

    An unnamed series may be a second one after contrast, the first one hardly is. Fat is what the gain is taken from,
    and what the built-in segmenter stands on.
    """
    pre, post = pair.pre, pair.post
    return (
        pair.comparable,
        not pre.faults and not post.faults,
        not pre.acquisition.fat_suppressed and pre.acquisition.dixon_part != "water",
        pre.plane == post.plane == "axial",
        min(pre.slices, post.slices),
        -(pre.acquisition.acquired_at_s or 0.0),
        -(post.acquisition.acquired_at_s or 0.0),
    )


def _venography(
    mrv: Sequence[StackFacts], roles: Mapping[StackKey, RoleDecision], post: StackFacts
) -> dict[Role, StackKey]:
    """Return the MRV that lies in the same space as `post`, if there is one."""
    frame = post.acquisition.frame_of_reference
    near = [facts for facts in mrv if facts.acquisition.frame_of_reference == frame]
    return {Role.MRV: _best_venography(near, roles).key} if near else {}


def _sagittal(
    study: Sequence[StackFacts], roles: Mapping[StackKey, RoleDecision], post: StackFacts
) -> dict[Role, StackKey]:
    """Return the sagittal series that vertebral levels may be read from, if one lies in the same space as `post`."""
    frame = post.acquisition.frame_of_reference
    near = [
        facts
        for facts in study
        if roles[facts.key].role in _LEVELS_ORDER and not facts.faults and facts.acquisition.frame_of_reference == frame
    ]
    if not near or not frame:
        return {}
    best = max(near, key=lambda facts: (-_LEVELS_ORDER.index(roles[facts.key].role), facts.slices))
    return {Role.SAGITTAL: best.key}


def _best_venography(mrv: Sequence[StackFacts], roles: Mapping[StackKey, RoleDecision]) -> StackFacts:
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
