"""Pairs: which stacks look like pre and post, and what forbids to compare them. Pure.

The checks are those of `dicom.comparison`, which the analysis repeats on the volumes; more are of the study: one
patient, one day, one part of the body, and no other stack that may as well be the one.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from node.completion.facts import StackFacts
from node.dicom.comparison import Difference, differences
from node.records import Contrast, RoleDecision, StackKey

# Two series apart in space or time are no pair of one examination. Two that differ in how they were acquired look like
# a pair to whoever sees their names, and to him the refusal is said in a report.
_SPACE_AND_TIME = frozenset({"CMP-FOR", "CMP-GEO", "CMP-TIME"})


_LEAST_SHARED = 0.5  # of the shorter one, along each axis of the pre series. Chosen
_DOUBT = Difference("CMP-SEQ", "another series of the same moment, and no header tells which is which")
_TELLING = (
    "scanning_sequence", "repetition_time_ms", "echo_time_ms", "flip_angle_deg", "image_type", "part",
    "complex_component", "orientation", "frame_of_reference",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Pair:
    """Two stacks that look like before and after contrast, and why they must not be compared, if so."""

    pre: StackFacts
    post: StackFacts
    differences: tuple[Difference, ...]

    @property
    def comparable(self) -> bool:
        return not self.differences

    @property
    def apart(self) -> bool:
        """Whether they are not of one place and one examination, so that nobody would compare them."""
        return any(one.code in _SPACE_AND_TIME for one in self.differences)


def find_pairs(study: Sequence[StackFacts], roles: Mapping[StackKey, RoleDecision]) -> tuple[Pair, ...]:
    """Return every two stacks of which one is before and one after contrast."""

    def having(contrast: Contrast) -> list[StackFacts]:
        return [facts for facts in study if roles[facts.key].contrast is contrast]

    before, after = having(Contrast.PRE), having(Contrast.POST)
    doubtful = {one.key for one in (*before, *after) if any(_is_twin(one, other) for other in study)}
    return tuple(
        Pair(pre, post, (*compare(pre, post), *([_DOUBT] if {pre.key, post.key} & doubtful else [])))
        for pre, post in product(before, after)
    )


def _is_twin(one: StackFacts, other: StackFacts) -> bool:
    """Return whether two stacks came from one moment, and no header tells which part of a Dixon, or echo, each is."""
    a, b = one.acquisition, other.acquisition
    return (
        one.key != other.key
        and a.acquired_at_s is not None
        and a.acquired_at_s == b.acquired_at_s
        and one.slices == other.slices
        and all(getattr(a, name) == getattr(b, name) for name in _TELLING)
    )


def compare(pre: StackFacts, post: StackFacts) -> tuple[Difference, ...]:
    """Return what forbids to compare two stacks."""
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
    return (*own, *found, *_apart(pre, post))


def _apart(pre: StackFacts, post: StackFacts) -> Iterator[Difference]:
    """Yield the difference if the two show different places: a neck and a loin lie in one frame of reference."""
    if pre.acquisition.frame_of_reference != post.acquisition.frame_of_reference or not pre.acquisition.orientation:
        return
    rows, columns = np.array(pre.acquisition.orientation[:3]), np.array(pre.acquisition.orientation[3:])
    way = np.array(post.centre_mm) - np.array(pre.centre_mm)
    for axis, one, other in zip((np.cross(rows, columns), columns, rows), pre.size_mm, post.size_mm, strict=True):
        shared = (one + other) / 2 - abs(float(way @ axis))
        if shared < _LEAST_SHARED * min(one, other):
            yield Difference("CMP-GEO", f"they share {max(0.0, shared):.0f} of {min(one, other):.0f} mm")
            return
