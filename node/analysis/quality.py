"""Input quality: may this series be measured at all? (codes IN-1 to IN-6; IN-2 is raised by `dicom.volumes`)."""

import numpy as np

from node.analysis.verdict import Verdict, gate
from node.dicom.geometry import CanonicalAxes
from node.dicom.volumes import Volume
from node.settings import AnalysisSettings

_THICKEST_FOR_FOCI_MM = 5.0  # chosen; nobody has measured it
_MOST_NEGATIVE = 0.01  # share of voxels; a magnitude has none, interpolation leaves a few. Chosen


def check_series(role: str, volume: Volume, settings: AnalysisSettings) -> Verdict:
    """Return what keeps `volume` from being measured; `role` is named to the reader ("pre", "post", "mrv")."""
    acquisition = volume.acquisition
    slices, _, _ = volume.array.shape
    step, row, column = volume.geometry.spacing_mm
    thickness = max(step, acquisition.slice_thickness_mm or 0.0)
    finite = bool(np.isfinite(volume.array).all())
    kind = "derived" if acquisition.derived else "lossy" if acquisition.lossy else "original"
    if kind == "original" and finite and np.mean(volume.array < 0) > _MOST_NEGATIVE:
        kind = "signed values, not a magnitude"
    tilt = obliqueness_deg(volume)
    saturated = float(np.mean(volume.array == volume.array.max())) if finite else 1.0
    large_enough = (
        slices >= settings.shortest_stack
        and max(row, column) <= settings.widest_pixel_mm
        and thickness <= settings.thickest_slice_mm
    )
    return (
        gate(
            "IN-1", f"{role}: {acquisition.modality or 'no modality'}", "MR with finite values",
            finite and acquisition.modality in ("MR", ""),
            refusal=f"The {role} series holds no usable MR images.",
        )
        + gate(
            "IN-3", f"{role}: {slices} slices, {row:.2f} x {column:.2f} mm, {thickness:.1f} mm thick",
            f">= {settings.shortest_stack} slices, <= {settings.widest_pixel_mm:g} mm, "
            f"<= {settings.thickest_slice_mm:g} mm thick",
            large_enough,
            refusal=f"The {role} series has too few slices, or too coarse ones.",
        )
        + gate(
            "IN-4", f"{role}: {kind}", "an original magnitude, not lossy", kind == "original",
            refusal=f"The {role} series is not an original magnitude acquisition ({kind}).",
        )
        + gate(
            "IN-5", f"{role}: {tilt:.1f} degrees", f"<= {settings.steepest_obliqueness_deg:g} degrees",
            tilt <= settings.steepest_obliqueness_deg,
            refusal=f"The {role} series is too oblique.",
        )
        + gate(
            "IN-6", f"{role}: {saturated:.4f}", f"<= {settings.most_saturated_fraction:g} of the voxels at the maximum",
            saturated <= settings.most_saturated_fraction,
            refusal=f"The {role} series is saturated.",
        )
    )  # fmt: skip


def check_focal_resolution(post: Volume, settings: AnalysisSettings) -> Verdict:
    """Return whether the series shows foci: thin slices, and fine pixels in axial planes (IN-3).

    The detector is made for axial planes. On simulated sagittal slices of 4 mm it marked veins and joints, up to four
    in a healthy back (2026-11-26); enhancement by side is right there all the same.
    """
    head, back, left = CanonicalAxes.of(post.geometry).apply_to(post.geometry).spacing_mm
    thickness = max(head, post.acquisition.slice_thickness_mm or 0.0)
    return gate(
        "IN-3", f"{thickness:.1f} mm, axial planes of {back:.1f} x {left:.1f} mm",
        f"<= {_THICKEST_FOR_FOCI_MM:g} mm, axial planes of <= {settings.widest_pixel_mm:g} mm, to look for foci",
        thickness <= _THICKEST_FOR_FOCI_MM + 1e-3 and max(back, left) <= settings.widest_pixel_mm,
        refusal="The slices are too thick, or not axial: foci were not looked for.",
    )  # fmt: skip


def obliqueness_deg(volume: Volume) -> float:
    """Return the largest angle between an axis of the volume and the patient axis it stands for."""
    canonical = CanonicalAxes.of(volume.geometry).apply_to(volume.geometry)
    cosines = np.diag(canonical.directions[[2, 1, 0]])
    return float(np.degrees(np.arccos(np.clip(cosines.min(), -1, 1))))
