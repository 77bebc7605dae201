"""Comparison: what tells two acquisitions apart so that their signals must not be subtracted. By headers alone.

Completion asks before a job is made, the analysis again before a voxel is looked at: the codes and limits stand here
once. Image type, TR, TE and the flip angle of a gradient echo must be stated, for without them phase, Dixon parts,
echoes and weighting go unseen; what else neither or only one header states is let pass. Two differences *weaken* a
comparison, and do not forbid it: where headers leave open what the pixels can tell. All limits: docs/analysis.md,
section 6; chosen.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from node.dicom.headers import Acquisition

_SAME_TIMING = 0.02  # of TR, TE, TI
_SAME_BANDWIDTH = 0.05
_SAME_FIELD = 0.02
_SAME_FLIP_DEG = 1.0
_SAME_SLICES = 0.10  # of thickness and of spacing
_WIDEST_PIXEL_RATIO = 1.25
_LARGEST_TILT_DEG = 5.0
_LONGEST_APART_MIN = 120.0  # between pre and post: what is longer was not one examination
_TRANSFER = re.compile(r"(?<![a-z])mtc?(?![a-z])", re.IGNORECASE)
# What Image Type and Scan Options say of filters. Siemens: intensity, distortion; GE: any; Canon: distortion (seen in
# V6.1); UIH: intensity, any (seen in R002).
_FILTERS = frozenset({"NORM", "DIS2D", "DIS3D", "FILTERED_GEMS", "GDC", "UCA", "IF"})
# Values of GE's Filter Mode as a hospital's quality assurance reads them, in public code; no statement of the maker was
# found. There are others ("06", "W"): so any difference counts, and these two are named.
_GE_FILTERS = {"P+": "PURE", "S": "SCIC"}

CODES = {
    "CMP-FOR": "The series are not of one study and one frame of reference: their positions cannot be compared.",
    "CMP-SEQ": "The series were not acquired with one and the same sequence.",
    "CMP-FS": "The series differ in fat suppression or Dixon part and must not be subtracted.",
    "CMP-COIL": "The series differ in receive coil or image filters.",
    "CMP-SCALE": "The series have stored values of different scales.",
    "CMP-GEO": "The series differ in voxel size or orientation.",
    "CMP-TIME": "The series called post-contrast was not acquired after the other one, in the same examination.",
}


# What the reader is told of a difference that weakens only.
CAVEATS = {
    "CMP-FOR": "The series have no common frame of reference: registration alone says how they lie to each other.",
    "CMP-SCALE": "The private scale of the maker is missing in both series: only fat tells their gain.",
}


@dataclass(frozen=True, slots=True)
class Difference:
    """One reason not to compare, or with `weakens` to compare with caution: its code, and what was found.

    The text is in our own words and numbers.
    """

    code: str
    text: str
    weakens: bool = False

    def __str__(self) -> str:
        return f"{self.code}: {self.text}"


def differences(
    pre: Acquisition,
    post: Acquisition,
    *,
    slice_spacing_mm: tuple[float | None, float | None] = (None, None),
    scales: tuple[str, str] | None = None,
) -> tuple[Difference, ...]:
    """Return what forbids to compare two acquisitions of one study, in the order of `CODES`.

    Parameters
    ----------
    slice_spacing_mm : tuple
        Of pre and post, by the positions of their slices; None where there is a single one.
    scales : tuple of str or None
        `dicom.stacks.Stack.scale` of pre and post.
    """
    found = []
    if not share_frame_of_reference(pre, post):
        found.append(Difference("CMP-FOR", "not one frame of reference; only registration can join them", weakens=True))
    for code, texts in (
        ("CMP-SEQ", _sequence(pre, post)),
        ("CMP-FS", _fat(pre, post)),
        ("CMP-COIL", _coil(pre, post)),
        ("CMP-SCALE", _scale(scales)),
        ("CMP-GEO", _geometry(pre, post, slice_spacing_mm)),
        ("CMP-TIME", _time(pre, post)),
    ):
        found += [Difference(code, text) for text in texts]
    makers = {one.manufacturer.upper().split(" ")[0] for one in (pre, post)}
    if makers == {"PHILIPS"} and scales is not None and not {"philips", "mixed"} & set(scales):
        found.append(Difference("CMP-SCALE", "the private scale of the maker in none of them", weakens=True))
    return tuple(found)


def share_frame_of_reference(one: Acquisition, other: Acquisition) -> bool:
    """Return whether positions of the two can be compared (PS3.3 C.7.4.1); what is not stated is none."""
    return bool(one.frame_of_reference) and one.frame_of_reference == other.frame_of_reference


def _sequence(pre: Acquisition, post: Acquisition) -> Iterator[str]:
    for name, one, other in (
        ("scanning sequence", pre.scanning_sequence, post.scanning_sequence),
        ("sequence variant", pre.sequence_variant, post.sequence_variant),
    ):
        if one and other and one != other:
            yield f"another {name}"
    if not (pre.image_type and post.image_type):
        yield "image type not stated"
    if len({one.magnetization_transfer or bool(_TRANSFER.search(one.description)) for one in (pre, post)}) > 1:
        yield "magnetisation transfer in one of them"
    if pre.complex_component and post.complex_component and pre.complex_component != post.complex_component:
        yield "magnitude and another component"
    if pre.acquisition_type and post.acquisition_type and pre.acquisition_type != post.acquisition_type:
        yield "one 2D, one 3D"
    for name, first, second in (
        ("TR", pre.repetition_time_ms, post.repetition_time_ms),
        ("TE", pre.echo_time_ms, post.echo_time_ms),
    ):
        if first is None or second is None:
            yield f"{name} not stated"
    if "GR" in pre.scanning_sequence | post.scanning_sequence and None in (pre.flip_angle_deg, post.flip_angle_deg):
        yield "flip angle of a gradient echo not stated"
    for name, first, second, share in (
        ("TR", pre.repetition_time_ms, post.repetition_time_ms, _SAME_TIMING),
        ("TE", pre.echo_time_ms, post.echo_time_ms, _SAME_TIMING),
        ("TI", pre.inversion_time_ms, post.inversion_time_ms, _SAME_TIMING),
        ("bandwidth", pre.pixel_bandwidth_hz, post.pixel_bandwidth_hz, _SAME_BANDWIDTH),
        ("field strength", pre.field_strength_t, post.field_strength_t, _SAME_FIELD),
        ("echo train", pre.echo_train_length, post.echo_train_length, 0.0),
    ):
        if first is not None and second is not None and abs(first - second) > share * max(abs(first), abs(second)):
            yield f"{name} {first:g} and {second:g}"
    one_flip, other_flip = pre.flip_angle_deg, post.flip_angle_deg
    if one_flip is not None and other_flip is not None and abs(one_flip - other_flip) > _SAME_FLIP_DEG:
        yield f"flip angle {one_flip:g} and {other_flip:g} degrees"


def _fat(pre: Acquisition, post: Acquisition) -> Iterator[str]:
    if pre.fat_suppressed != post.fat_suppressed:
        yield "one with, one without fat suppression"
    if pre.dixon_part != post.dixon_part:
        yield f"Dixon {pre.dixon_part or 'none'} and {post.dixon_part or 'none'}"


def _coil(pre: Acquisition, post: Acquisition) -> Iterator[str]:
    if pre.receive_coil and post.receive_coil and pre.receive_coil != post.receive_coil:
        yield "another receive coil"
    used = [(set(one.image_type) | one.scan_options) & _FILTERS for one in (pre, post)]
    if odd := used[0] ^ used[1]:
        yield f"filter {'/'.join(sorted(odd))} in one of them"
    if pre.intensity_filter != post.intensity_filter:
        yield f"intensity filter {_named(pre.intensity_filter)} and {_named(post.intensity_filter)}"
    if pre.coil_combination and post.coil_combination and pre.coil_combination != post.coil_combination:
        yield "coil elements combined in another way"


def _named(intensity_filter: str) -> str:
    """Return how a filter mode is called; a header's own text is not shown."""
    if not intensity_filter:
        return "none"
    return _GE_FILTERS.get(intensity_filter, "another")


def _scale(scales: tuple[str, str] | None) -> Iterator[str]:
    # Of a Philips series without its private scale nobody knows the floating point values; docs/analysis.md, section 4.
    if scales is None:
        return
    if "mixed" in scales:
        yield "slices of different scales"
    elif scales[0] != scales[1] and "philips" in scales:
        yield "the private scale of the maker in one of them"  # in none: weakens


def _geometry(
    pre: Acquisition, post: Acquisition, slice_spacing_mm: tuple[float | None, float | None]
) -> Iterator[str]:
    one, other = _directions(pre), _directions(post)
    if one is None or other is None:
        yield "no orientation"
        return
    cosines = np.abs(np.sum(one * other, axis=1))
    tilt = float(np.degrees(np.arccos(np.clip(cosines.min(), -1, 1))))
    if tilt >= _LARGEST_TILT_DEG:
        yield f"orientations {tilt:.1f} degrees apart"
    if len(pre.pixel_spacing_mm) == len(post.pixel_spacing_mm) == 2:
        pairs = list(zip(pre.pixel_spacing_mm, post.pixel_spacing_mm, strict=True))
        if min(min(pair) for pair in pairs) <= 0:
            yield "no pixel spacing"
            return
        ratio = max(max(a / b, b / a) for a, b in pairs)
        if ratio > _WIDEST_PIXEL_RATIO:
            yield f"pixel spacing ratio {ratio:.2f}"
    for name, a, b in (
        ("spacing", *slice_spacing_mm),
        ("thickness", pre.slice_thickness_mm, post.slice_thickness_mm),
    ):
        if a is not None and b is not None and abs(a - b) > _SAME_SLICES * max(a, b):
            yield f"slice {name} {a:.2f} and {b:.2f} mm"


def _directions(acquisition: Acquisition) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]] | None:
    """Return the unit vectors along normal, columns and rows; None where they are not stated."""
    orientation = np.array(acquisition.orientation, np.float64)
    if orientation.shape != (6,):
        return None
    rows, columns = orientation[:3], orientation[3:]
    return np.array([np.cross(rows, columns), rows, columns])


def _time(pre: Acquisition, post: Acquisition) -> Iterator[str]:
    if pre.acquired_at_s is None or post.acquired_at_s is None:
        return
    elapsed = (post.acquired_at_s - pre.acquired_at_s) / 60
    if elapsed <= 0:
        yield f"post {elapsed:.1f} min after pre"
    elif elapsed > _LONGEST_APART_MIN:
        yield f"post {elapsed / 60:.1f} h after pre"
