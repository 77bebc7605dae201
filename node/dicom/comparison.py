"""Comparison: what tells two acquisitions apart so that their signals must not be subtracted. By headers alone.

Completion asks before a job is made, the analysis again before a voxel is looked at: the codes and limits stand here
once. Image type, TR, TE and the flip angle of a gradient echo must be stated, for without them phase, Dixon parts,
echoes and weighting go unseen; what else neither or only one header states is let pass. All limits: docs/analysis.md,
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
_FILTERS = frozenset({"NORM", "DIS2D", "DIS3D", "FILTERED_GEMS"})  # Siemens: intensity, distortion; GE: any

CODES = {
    "CMP-FOR": "The series are not of one study and one frame of reference: their positions cannot be compared.",
    "CMP-SEQ": "The series were not acquired with one and the same sequence.",
    "CMP-FS": "The series differ in fat suppression or Dixon part and must not be subtracted.",
    "CMP-COIL": "The series differ in receive coil or image filters.",
    "CMP-SCALE": "The series have stored values of different scales.",
    "CMP-GEO": "The series differ in voxel size or orientation.",
    "CMP-TIME": "The series called post-contrast was not acquired after the other one, in the same examination.",
}


@dataclass(frozen=True, slots=True)
class Difference:
    """One reason not to compare: its code, and what was found, in our own words and numbers."""

    code: str
    text: str

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
        `dicom.frames.Scale.source` of pre and post.
    """
    if not pre.frame_of_reference or pre.frame_of_reference != post.frame_of_reference:
        found = [Difference("CMP-FOR", "not one frame of reference")]
    else:
        found = []
    for code, texts in (
        ("CMP-SEQ", _sequence(pre, post)),
        ("CMP-FS", _fat(pre, post)),
        ("CMP-COIL", _coil(pre, post)),
        ("CMP-SCALE", _scale(scales)),
        ("CMP-GEO", _geometry(pre, post, slice_spacing_mm)),
        ("CMP-TIME", _time(pre, post)),
    ):
        found += [Difference(code, text) for text in texts]
    return tuple(found)


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


def _scale(scales: tuple[str, str] | None) -> Iterator[str]:
    # Of a Philips series without its private scale nobody knows the floating point values; docs/analysis.md, section 4.
    if scales is not None and scales[0] != scales[1] and "philips" in scales:
        yield "the private scale of the maker in one of them"


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
