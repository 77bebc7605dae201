"""Rules: what makes a study measurable, and which of its series are measured. Pure.

A study is measurable with a contrast pair of one Frame of Reference and compatible geometry, or with an MRV, or with
a post-contrast series alone where the settings say so. Whether the two series of a pair may be *compared* is for the
analysis to say: its refusal is a result that the radiologist gets, while a study without a pair gets no report.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from node.completion.roles import SeriesFacts
from node.dicom.headers import Acquisition
from node.dicom.identifiers import SeriesUID
from node.records import Role, RoleDecision

# docs/analysis.md, CMP-GEO
_LARGEST_ANGLE_DEG = 5.0
_PIXEL_RATIO = (0.8, 1.25)
_SAME_THICKNESS = 0.05  # of the thickness


@dataclass(frozen=True, slots=True)
class Selection:
    """The series to measure by role, or, where there is none, the reason."""

    series: Mapping[Role, SeriesUID] | None
    reason: str


def select(study: Sequence[SeriesFacts], roles: Mapping[SeriesUID, RoleDecision], *, post_alone: bool) -> Selection:
    """Return which series of a study are measured, or why it is not eligible."""

    def having(role: Role) -> list[SeriesFacts]:
        return [facts for facts in study if roles[facts.series].role is role]

    pre, post, mrv = having(Role.PRE), having(Role.POST), having(Role.MRV)
    faults = {(a.series, b.series): pair_fault(a.acquisition, b.acquisition) for a, b in product(pre, post)}
    pairs = [(a, b) for a, b in product(pre, post) if not faults[a.series, b.series]]
    if pairs:
        best_pre, best_post = max(pairs, key=lambda pair: _pair_rank(*pair))
        chosen = {Role.PRE: best_pre.series, Role.POST: best_post.series}
        return Selection(chosen | _venography(mrv, best_post), "contrast pair")
    if post and post_alone:
        best_post = max(post, key=lambda facts: (_axial(facts.acquisition), facts.instances))
        return Selection({Role.POST: best_post.series} | _venography(mrv, best_post), "post-contrast series alone")
    if mrv:
        return Selection({Role.MRV: max(mrv, key=lambda facts: facts.instances).series}, "MRV alone")
    if faults:
        return Selection(None, f"no contrast pair: {'; '.join(sorted(set(faults.values())))}")
    missing = [name for name, found in (("pre-contrast T1", pre), ("post-contrast T1", post)) if not found]
    return Selection(None, f"no contrast pair and no MRV: {' and '.join(missing)} missing")


def pair_fault(pre: Acquisition, post: Acquisition) -> str:
    """Return why two series cannot be a contrast pair by space and time, or "" if they can."""
    if not pre.frame_of_reference or pre.frame_of_reference != post.frame_of_reference:
        return "pre and post have different frames of reference"
    normals = [np.cross(one.orientation[:3], one.orientation[3:]) for one in (pre, post)]
    if abs(float(normals[0] @ normals[1])) < np.cos(np.deg2rad(_LARGEST_ANGLE_DEG)):
        return f"slices of pre and post differ by more than {_LARGEST_ANGLE_DEG:g} degrees"
    ratio = pre.pixel_spacing_mm[0] / post.pixel_spacing_mm[0]
    if not _PIXEL_RATIO[0] <= ratio <= _PIXEL_RATIO[1]:
        return f"pixel spacings of pre and post have the ratio {ratio:.2f}"
    thickness = (pre.slice_thickness_mm, post.slice_thickness_mm)
    if thickness[0] and thickness[1] and abs(thickness[0] - thickness[1]) > _SAME_THICKNESS * thickness[0]:
        return "pre and post have different slice thicknesses"
    if pre.acquired_at_s is not None and post.acquired_at_s is not None and pre.acquired_at_s >= post.acquired_at_s:
        return "post was not acquired after pre"
    return ""


def _pair_rank(pre: SeriesFacts, post: SeriesFacts) -> tuple[bool, bool, int, float]:
    """Order pairs: one protocol first, then axial, then long stacks, then close in time."""
    a, b = pre.acquisition, post.acquisition
    one_protocol = (a.repetition_time_ms, a.echo_time_ms, a.fat_suppressed, a.dixon_part, a.flip_angle_deg) == (
        b.repetition_time_ms, b.echo_time_ms, b.fat_suppressed, b.dixon_part, b.flip_angle_deg,
    )  # fmt: skip
    apart_s = (b.acquired_at_s or 0.0) - (a.acquired_at_s or 0.0)
    return one_protocol, _axial(a) and _axial(b), min(pre.instances, post.instances), -apart_s


def _axial(acquisition: Acquisition) -> bool:
    normal = np.cross(acquisition.orientation[:3], acquisition.orientation[3:])
    return bool(abs(normal[2]) > 0.8)  # docs/analysis.md, roles


def _venography(mrv: Sequence[SeriesFacts], post: SeriesFacts) -> dict[Role, SeriesUID]:
    """Return the MRV that lies in the same space as `post`, if there is one."""
    frame = post.acquisition.frame_of_reference
    near = [facts for facts in mrv if facts.acquisition.frame_of_reference == frame]
    return {Role.MRV: max(near, key=lambda facts: facts.instances).series} if near else {}
