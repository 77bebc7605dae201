"""Pairs: which stacks look like pre and post, and what forbids to compare them. Pure.

The checks are those of `dicom.comparison`, which the analysis repeats on the volumes; more are of the study: one
patient, one day, one part of the body, and no other stack that may as well be the one.

Two stacks without a common frame of reference may be those of a patient who left the table in between. Their positions
mean nothing to each other: here their shape is looked at, and whether they join is for the analysis to find out.
"""

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from node.completion.facts import StackFacts
from node.dicom.comparison import Difference, differences, share_frame_of_reference
from node.records import Contrast, RoleDecision, StackKey

# Two series apart in space or time are no pair of one examination. Two that differ in how they were acquired look like
# a pair to whoever sees their names, and to him the refusal is said in a report.
_SPACE_AND_TIME = frozenset({"CMP-FOR", "CMP-GEO", "CMP-TIME"})

_LEAST_SHARED = 0.5  # of the shorter one, along each axis of the pre series. Chosen
_LEAST_EXTENT = 0.8  # of the longer one, where places cannot be compared: the overlap that docs/analysis.md wants
_BODY_PART = 0x00180015  # Body Part Examined
_DOUBT = Difference("CMP-SEQ", "another series of the same moment, and no header tells which is which")
_STAYED = Difference("CMP-FOR", "not one frame of reference, and one of the two has series before and after contrast")
_MOST = 100  # stacks of a study before, or after, contrast, of which each is weighed with each; chosen
_TELLING = (
    "scanning_sequence", "repetition_time_ms", "echo_time_ms", "flip_angle_deg", "image_type", "part",
    "complex_component", "orientation", "frame_of_reference",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Pair:
    """Two stacks that look like before and after contrast, and what forbids or weakens their comparison."""

    pre: StackFacts
    post: StackFacts
    differences: tuple[Difference, ...]

    @property
    def forbidding(self) -> tuple[Difference, ...]:
        return tuple(one for one in self.differences if not one.weakens)

    @property
    def comparable(self) -> bool:
        return not self.forbidding

    @property
    def apart(self) -> bool:
        """Whether they are not of one place and one examination, so that nobody would compare them."""
        return any(one.code in _SPACE_AND_TIME for one in self.forbidding)


def find_pairs(study: Sequence[StackFacts], roles: Mapping[StackKey, RoleDecision]) -> tuple[Pair, ...]:
    """Return every two stacks of which one is before and one after contrast; of very many, those with most slices."""

    def having(contrast: Contrast) -> list[StackFacts]:
        found = [facts for facts in study if roles[facts.key].contrast is contrast]
        return sorted(found, key=lambda facts: -facts.slices)[:_MOST] if len(found) > _MOST else found

    moments = Counter(map(_moment, study))
    before, after = having(Contrast.PRE), having(Contrast.POST)
    doubtful = {one.key for one in (*before, *after) if (moment := _moment(one)) and moments[moment] > 1}
    # Who left the table between pre and post has no frame of reference with both. Where one has both, the other is
    # another part of the body, or another visit.
    stayed_in = _frames(before) & _frames(after)

    def of_the_study(pre: StackFacts, post: StackFacts) -> Iterator[Difference]:
        if {pre.key, post.key} & doubtful:
            yield _DOUBT
        if not _share_frame(pre, post) and _frames([pre, post]) & stayed_in:
            yield _STAYED

    return tuple(
        Pair(pre, post, (*compare(pre, post), *of_the_study(pre, post))) for pre, post in product(before, after)
    )


def _frames(stacks: Sequence[StackFacts]) -> set[str]:
    """Return the frames of reference that are stated."""
    return {one.acquisition.frame_of_reference for one in stacks} - {""}


def _share_frame(one: StackFacts, other: StackFacts) -> bool:
    return share_frame_of_reference(one.acquisition, other.acquisition)


def _moment(facts: StackFacts) -> Hashable:
    """Return all by which headers tell stacks of one moment apart: of which part of a Dixon, or echo, each is.

    None if it is not known when a stack was acquired.
    """
    if facts.acquisition.acquired_at_s is None:
        return None
    return facts.acquisition.acquired_at_s, facts.slices, *(getattr(facts.acquisition, name) for name in _TELLING)


def compare(pre: StackFacts, post: StackFacts) -> tuple[Difference, ...]:
    """Return what forbids or weakens the comparison of two stacks."""
    own = []
    if pre.patient != post.patient:
        own.append(Difference("CMP-FOR", "not one patient"))
    if pre.day != post.day:
        own.append(Difference("CMP-TIME", "not one day"))
    found = differences(
        pre.acquisition,
        post.acquisition,
        slice_spacing_mm=(pre.spacing_mm, post.spacing_mm),
        scales=(pre.scale, post.scale),
    )
    return (*own, *found, *(_apart(pre, post) if _share_frame(pre, post) else _unlike(pre, post)))


def _apart(pre: StackFacts, post: StackFacts) -> Iterator[Difference]:
    """Yield the difference if the two show different places: a neck and a loin lie in one frame of reference."""
    if not pre.acquisition.orientation:
        return
    rows, columns = np.array(pre.acquisition.orientation[:3]), np.array(pre.acquisition.orientation[3:])
    way = np.array(post.centre_mm) - np.array(pre.centre_mm)
    for axis, one, other in zip((np.cross(rows, columns), columns, rows), pre.size_mm, post.size_mm, strict=True):
        shared = (one + other) / 2 - abs(float(way @ axis))
        if shared < _LEAST_SHARED * min(one, other):
            yield Difference("CMP-GEO", f"they share {max(0.0, shared):.0f} of {min(one, other):.0f} mm")
            return


def _unlike(pre: StackFacts, post: StackFacts) -> Iterator[Difference]:
    """Yield what speaks against one part of the body in two frames of reference: how it is called, and the extent."""
    called = {str(one.view.value(_BODY_PART) or "").strip().upper() for one in (pre, post)} - {""}
    if len(called) > 1:  # it lies too often to be believed alone; here it only adds a doubt
        yield Difference("CMP-FOR", "not one frame of reference, and two parts of the body are named")
    for one, other in zip(pre.size_mm, post.size_mm, strict=True):
        if min(one, other) < _LEAST_EXTENT * max(one, other):
            yield Difference("CMP-FOR", f"not one frame of reference, and extents of {one:.0f} and {other:.0f} mm")
            return
