"""Enhancement of muscle: the pair on one scale, lean muscle, noise, and what each side does."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from node.analysis.grid import Spacing, masked_mean, smooth, smooth_in_plane
from node.analysis.verdict import Verdict, gate
from node.findings import MuscleFindings, Side
from node.ports import Array, Mask
from node.settings import AnalysisSettings

_LEAN = (0.6, 1.6)  # times the local mean of muscle: above it is fat, below it bone or ligament. Chosen
_PLAUSIBLE = 3.0  # robust standard deviations by which normal muscle differs from its own median
_LAPLACE = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32) / 6  # of unit noise gain, Immerkaer


@dataclass(frozen=True, slots=True, eq=False)
class Subtraction:
    """Enhancement voxel by voxel.

    Parameters
    ----------
    lean : ndarray of bool
        Muscle without the fat in it.
    level : ndarray of float32
        The signal of the lean muscle nearby, before contrast.
    ratio : ndarray of float32
        (post - pre) / level: 0.4 means 40 %. Stable where `pre` is small, unlike (post - pre) / pre.
    """

    lean: Mask
    level: Array
    ratio: Array


def lean_muscle(pre: Array, muscle: Mask, spacing_mm: Spacing) -> Mask:
    """Return the muscle voxels without the fat in it, and without what of bone and ligament the outline took in.

    The tips of transverse processes, dark and cut differently in each series, were the commonest false marks after a
    movement along the slices (simulated study, 2026-11-26).
    """
    steady = smooth_in_plane(pre, 0.6, spacing_mm)
    level = masked_mean(steady, muscle, lambda one: smooth_in_plane(one, 8.0, spacing_mm))
    return muscle & (steady > _LEAN[0] * level) & (steady < _LEAN[1] * level)


def subtract(pre: Array, post: Array, muscle: Mask, spacing_mm: Spacing) -> Subtraction:
    """Return the enhancement of every voxel; `post` is on the grid and the scale of `pre`."""
    lean = lean_muscle(pre, muscle, spacing_mm)
    level = masked_mean(pre, lean, lambda one: smooth(one, 9.0, spacing_mm))
    level = np.maximum(level, 0.2 * float(np.median(pre[muscle])))
    ratio: Array = np.clip((post - pre) / level, -4, 4)
    return Subtraction(lean, level, ratio)


def signal_to_noise(image: Array, muscle: Mask) -> float:
    """Return the median signal of `muscle` over the noise in it, from differences of neighbours; 0 without muscle.

    The air cannot serve: scanners mask it to zero, and parallel imaging makes the noise differ from place to place.
    Texture counts as noise here, so the figure is a lower bound.

    References
    ----------
    Immerkaer, Comput Vis Image Underst 1996, 64:300, doi:10.1006/cviu.1996.0060.
    """
    if not muscle.any():
        return 0.0
    rough = ndimage.convolve(image, _LAPLACE[None])[muscle]
    noise = 1.4826 * float(np.median(np.abs(rough - np.median(rough))))
    return float(np.median(image[muscle])) / max(noise, 1e-9)


def relative_enhancement(pre: Array, post: Array, region: Mask) -> float | None:
    """Return (median post - median pre) / median pre, in percent; None if the region is empty or dark."""
    if not region.any():
        return None
    before, after = float(np.median(pre[region])), float(np.median(post[region]))
    return 100 * (after - before) / before if before > 0 else None


def check_contrast(before: Array, after: Array, lean: Mask, settings: AnalysisSettings) -> Verdict:
    """Return whether the series called post-contrast shows any enhancement of muscle (ROLE-CONTRAST)."""
    rise = relative_enhancement(before, after, lean)
    ratio = 0.0 if rise is None else 1 + rise / 100
    return gate(
        "ROLE-CONTRAST", ratio, f">= {settings.least_post_contrast_ratio:g} post over pre in muscle",
        ratio >= settings.least_post_contrast_ratio,
        refusal="The series called post-contrast shows no enhancement of muscle.",
    )  # fmt: skip


def check_noise(before: Array, after: Array, lean: Mask, settings: AnalysisSettings) -> Verdict:
    """Return whether both series are quiet enough to look for foci (IN-7)."""
    found = min(signal_to_noise(image, lean) for image in (before, after))
    return gate(
        "IN-7", found, f"signal to noise >= {settings.least_snr:g} in muscle", found >= settings.least_snr,
        refusal="The series are too noisy to look for foci.",
    )  # fmt: skip


def measure_sides(
    muscles: npt.NDArray[np.uint8], pre: Array | None = None, post: Array | None = None,
    difference: Subtraction | None = None, *, voxel_mm3: float, vessels: Mask | None = None,
) -> tuple[MuscleFindings, ...]:  # fmt: skip
    """Return what either side does, left first; what was not given is not measured.

    `vessels` are on the same grid as the muscles.
    """
    masks = {Side.LEFT: muscles == 1, Side.RIGHT: muscles == 2}
    lean = {side: mask & difference.lean if difference is not None else mask for side, mask in masks.items()}
    rise = {
        side: relative_enhancement(pre, post, lean[side]) if pre is not None and post is not None else None
        for side in Side
    }
    return tuple(
        MuscleFindings(
            side=side,
            volume_mm3=float(masks[side].sum()) * voxel_mm3,
            pre_signal=_median(pre, lean[side]),
            post_signal=_median(post, lean[side]),
            enhancement_pct=rise[side],
            enhancement_sd_pct=_spread_pct(difference, lean[side]),
            asymmetry_pct=_asymmetry_pct(rise[side], rise[side.other]),
            enhancing_fraction_pct=_enhancing_pct(difference, lean[side], lean[side.other]),
            vessel_fraction_pct=share_pct(vessels, masks[side]),
        )
        for side in (Side.LEFT, Side.RIGHT)
    )


def share_pct(part: Mask | None, region: Mask) -> float | None:
    """Return how much of `region` is `part`, in percent; None if there is nothing to say."""
    return None if part is None or not region.any() else 100 * float(part[region].mean())


def _median(image: Array | None, region: Mask) -> float | None:
    return None if image is None or not region.any() else float(np.median(image[region]))


def _spread_pct(difference: Subtraction | None, region: Mask) -> float | None:
    return None if difference is None or not region.any() else 100 * float(np.std(difference.ratio[region]))


def _asymmetry_pct(this: float | None, other: float | None) -> float | None:
    """Return (this - other) / (this + other) in percent; None where neither side enhances."""
    if this is None or other is None or this + other <= 0:
        return None
    return 100 * (this - other) / (this + other)


def _enhancing_pct(difference: Subtraction | None, region: Mask, reference: Mask) -> float | None:
    """Return how much of `region` enhances more than the muscle of the other side plausibly does, in percent."""
    if difference is None or not region.any() or not reference.any():
        return None
    usual = difference.ratio[reference]
    middle = float(np.median(usual))
    spread = 1.4826 * float(np.median(np.abs(usual - middle)))
    return 100 * float(np.mean(difference.ratio[region] > middle + _PLAUSIBLE * spread))
