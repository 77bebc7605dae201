"""Enhancement of muscle: the pair on one scale, lean muscle, the rise of a region, and noise."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from node.analysis.grid import Spacing, box_around, masked_mean, smooth, smooth_in_plane
from node.analysis.verdict import Verdict, gate
from node.ports import Array, Mask
from node.settings import AnalysisSettings

_LEAN = (0.6, 1.6)  # times the local mean of muscle: above it is fat, below it bone or ligament. Chosen
_HALF_WAY = 0.5  # chosen
_INNER = 0.5  # of the largest depth; with 0.7 noise grows, with none the border counts. Measured, 2026-11-26
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


def enhancing_depth_mm(rise: Array, region: Mask, usual: float, spacing_mm: Spacing) -> Array:
    """Return how deep each voxel lies in the part of a region that enhances; 0 elsewhere.

    That part is what rises to half way from `usual`, the reference muscle's enhancement, to the region's upper
    quartile: a dead core is no part of it. `rise` is the enhancement of each voxel, a share.
    """
    steady = smooth_in_plane(rise, 0.6, spacing_mm)
    bright = region & (steady > usual + _HALF_WAY * (float(np.percentile(steady[region], 75)) - usual))
    depth: Array = ndimage.distance_transform_edt(np.pad(bright, 1), sampling=spacing_mm)[1:-1, 1:-1, 1:-1]
    return depth


def enhancing_core(pre: Array, post: Array, region: Mask, usual_pct: float, spacing_mm: Spacing) -> Mask:
    """Return the inner half of what enhances in a small region, where voxels are not partly muscle.

    The median over a whole lesion of 8 mm in slices of 4 mm is 7 to 11 points too low; over this part the error is at
    most 3 (simulated contrast, docs/analysis.md, 9; 2026-11-26).
    """
    box = box_around(region, spacing_mm, 3.0)
    inside, before = region[box], pre[box]
    level = max(float(np.median(before[inside])), 1e-6)
    depth = enhancing_depth_mm((post[box] - before) / level, inside, usual_pct / 100, spacing_mm)
    core = np.zeros_like(region)
    core[box] = depth >= _INNER * depth.max() if depth.any() else inside
    return core


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


def share_pct(part: Mask | Array | None, region: Mask) -> float | None:
    """Return how much of `region` is `part`, in percent; None if there is nothing to say."""
    return None if part is None or not region.any() else 100 * float(part[region].mean())
