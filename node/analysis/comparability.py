"""Comparability: may two series be subtracted? Decided by headers alone, before any voxel is looked at (CMP-*)."""

from collections.abc import Iterator

import numpy as np

from node.analysis.verdict import Verdict, gate
from node.dicom.headers import Acquisition
from node.dicom.volumes import Volume

_SAME_TIMING = 0.02  # of TR, TE, TI
_SAME_BANDWIDTH = 0.05
_SAME_FIELD = 0.02
_SAME_FLIP_DEG = 1.0
_SAME_SLICES = 0.10  # of thickness and of spacing
_WIDEST_PIXEL_RATIO = 1.25
_LARGEST_TILT_DEG = 5.0
_FILTERS = frozenset({"NORM", "DIS2D", "DIS3D"})  # Siemens: intensity and distortion filters
_USUAL_DELAY_MIN = (1.0, 15.0)  # from bolus to acquisition
# All limits: docs/analysis.md; chosen, nobody has measured them.


def check_comparable(pre: Volume, post: Volume) -> Verdict:
    """Return what forbids, or weakens, the comparison of `pre` with `post`. What neither header states is let pass."""
    before, after = pre.acquisition, post.acquisition
    same_frame = pre.geometry.frame_of_reference == post.geometry.frame_of_reference != ""
    found = {
        "CMP-SEQ": list(_sequence_differences(before, after)),
        "CMP-FS": list(_fat_differences(before, after)),
        "CMP-COIL": list(_coil_differences(before, after)),
        "CMP-GEO": list(_geometry_differences(pre, post)),
    }
    refusal = {
        "CMP-SEQ": "The series were not acquired with one and the same sequence.",
        "CMP-FS": "The series differ in fat suppression or Dixon part and must not be subtracted.",
        "CMP-COIL": "The series differ in receive coil or image filters.",
        "CMP-GEO": "The series differ in voxel size or orientation.",
    }
    verdict = gate(
        "CMP-FOR", "one frame of reference" if same_frame else "different", "one frame of reference", same_frame,
        refusal="The series have different frames of reference: their positions cannot be compared.",
    )  # fmt: skip
    for code, differences in found.items():
        verdict += gate(code, "; ".join(differences) or "equal", "equal", not differences, refusal=refusal[code])
    return verdict + _check_time(before, after)


def _sequence_differences(before: Acquisition, after: Acquisition) -> Iterator[str]:
    for name, one, other in (
        ("scanning sequence", before.scanning_sequence, after.scanning_sequence),
        ("sequence variant", before.sequence_variant, after.sequence_variant),
    ):
        if one and other and one != other:
            yield f"{name} {'/'.join(sorted(one))} and {'/'.join(sorted(other))}"
    if before.acquisition_type and after.acquisition_type and before.acquisition_type != after.acquisition_type:
        yield f"{before.acquisition_type} and {after.acquisition_type}"
    for name, first, second, share in (
        ("TR", before.repetition_time_ms, after.repetition_time_ms, _SAME_TIMING),
        ("TE", before.echo_time_ms, after.echo_time_ms, _SAME_TIMING),
        ("TI", before.inversion_time_ms, after.inversion_time_ms, _SAME_TIMING),
        ("bandwidth", before.pixel_bandwidth_hz, after.pixel_bandwidth_hz, _SAME_BANDWIDTH),
        ("field strength", before.field_strength_t, after.field_strength_t, _SAME_FIELD),
        ("echo train", before.echo_train_length, after.echo_train_length, 0.0),
    ):
        if first is not None and second is not None and abs(first - second) > share * max(abs(first), abs(second)):
            yield f"{name} {first:g} and {second:g}"
    one_flip, other_flip = before.flip_angle_deg, after.flip_angle_deg
    if one_flip is not None and other_flip is not None and abs(one_flip - other_flip) > _SAME_FLIP_DEG:
        yield f"flip angle {one_flip:g} and {other_flip:g} degrees"


def _fat_differences(before: Acquisition, after: Acquisition) -> Iterator[str]:
    if before.fat_suppressed != after.fat_suppressed:
        yield "one with, one without fat suppression"
    if before.dixon_part != after.dixon_part:
        yield f"Dixon {before.dixon_part or 'none'} and {after.dixon_part or 'none'}"


def _coil_differences(before: Acquisition, after: Acquisition) -> Iterator[str]:
    if before.receive_coil and after.receive_coil and before.receive_coil != after.receive_coil:
        yield "another receive coil"
    odd = (set(before.image_type) ^ set(after.image_type)) & _FILTERS
    if odd:
        yield f"filter {'/'.join(sorted(odd))} in one of them"


def _geometry_differences(pre: Volume, post: Volume) -> Iterator[str]:
    one, other = np.array(pre.geometry.spacing_mm), np.array(post.geometry.spacing_mm)
    cosines = np.abs(np.sum(pre.geometry.directions * post.geometry.directions, axis=0))
    tilt = float(np.degrees(np.arccos(np.clip(cosines.min(), -1, 1))))
    if tilt >= _LARGEST_TILT_DEG:
        yield f"orientations {tilt:.1f} degrees apart"
    ratio = float(max((one[1:] / other[1:]).max(), (other[1:] / one[1:]).max()))
    if ratio > _WIDEST_PIXEL_RATIO:
        yield f"pixel spacing ratio {ratio:.2f}"
    if abs(one[0] - other[0]) > _SAME_SLICES * max(one[0], other[0]):
        yield f"slice spacing {one[0]:.2f} and {other[0]:.2f} mm"
    thick, thicker = pre.acquisition.slice_thickness_mm, post.acquisition.slice_thickness_mm
    if thick is not None and thicker is not None and abs(thick - thicker) > _SAME_SLICES * max(thick, thicker):
        yield f"slice thickness {thick:.2f} and {thicker:.2f} mm"


def _check_time(before: Acquisition, after: Acquisition) -> Verdict:
    verdict = Verdict()
    if before.acquired_at_s is not None and after.acquired_at_s is not None:
        elapsed = (after.acquired_at_s - before.acquired_at_s) / 60
        verdict += gate(
            "CMP-TIME", f"post {elapsed:.1f} min after pre", "post after pre", elapsed > 0,
            refusal="The series called post-contrast was not acquired after the other one.",
        )  # fmt: skip
    if after.acquired_at_s is not None and after.bolus_at_s is not None:
        delay = (after.acquired_at_s - after.bolus_at_s) / 60
        early, late = _USUAL_DELAY_MIN
        verdict += gate(
            "CMP-TIME", f"{delay:.1f} min after the bolus", f"{early:g} to {late:g} min", early <= delay <= late,
            caveat="The time between bolus and acquisition is unusual, or its header value is wrong.",
        )  # fmt: skip
    return verdict
