"""Enhancement of muscle: the pair on one scale, lean muscle, the rise of a region, and noise."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from node.analysis.grid import Spacing, box_around, masked_mean, muscle_level, smooth_coarsely, smooth_in_plane
from node.analysis.verdict import Verdict, gate
from node.ports import Array, Mask
from node.settings import AnalysisSettings

_LEAN = (0.6, 1.6)  # times the local mean of muscle: above it is fat, below it bone or ligament. Chosen
_HALF_WAY = 0.5  # chosen
_FINE_MM = 0.5  # at most, between places where the border of a lesion is looked for; chosen
_LEAST_CORE = 16  # voxels: the noise of their median is then 2.5 points at SNR 30. Chosen
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
    level = muscle_level(steady, muscle, lambda one: smooth_coarsely(one, 8.0, spacing_mm, smooth_in_plane))
    return muscle & (steady > _LEAN[0] * level) & (steady < _LEAN[1] * level)


def subtract(pre: Array, post: Array, muscle: Mask, spacing_mm: Spacing) -> Subtraction:
    """Return the enhancement of every voxel; `post` is on the grid and the scale of `pre`."""
    lean = lean_muscle(pre, muscle, spacing_mm)
    level = masked_mean(pre, lean, lambda one: smooth_coarsely(one, 9.0, spacing_mm))
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
    bright = region & (smooth_in_plane(rise, 0.6, spacing_mm) > _half_way(rise, region, usual, spacing_mm))
    depth: Array = ndimage.distance_transform_edt(np.pad(bright, 1), sampling=spacing_mm)[1:-1, 1:-1, 1:-1]
    return depth


def enhancing_core(pre: Array, post: Array, region: Mask, usual_pct: float, spacing_mm: Spacing) -> Mask:
    """Return the voxels that lie wholly in the part of a small region that enhances; the fullest, if few do.

    The border of that part runs between the voxels' middles: across slices of 4 mm, most of a lesion of 8 mm is border.
    The median over all of its voxels is 7 to 11 points too low (simulated contrast, docs/analysis.md, 9; 2026-11-26).
    """
    box = box_around(region, spacing_mm, 2 * max(spacing_mm))
    inside, before = region[box], pre[box]
    level = max(float(np.median(before[inside])), 1e-6)
    share = np.where(inside, _enhancing_share((post[box] - before) / level, inside, usual_pct / 100, spacing_mm), 0)
    fullest = np.sort(share[inside])[-min(_LEAST_CORE, int(inside.sum()))]
    core = np.zeros_like(region)
    core[box] = inside & (share >= min(fullest, np.float32(0.999)))
    return core


def _enhancing_share(rise: Array, region: Mask, usual: float, spacing_mm: Spacing) -> Array:
    """Return how much of each voxel rises to half way, by cubic splines between the voxels' middles."""
    steps = [max(1, int(np.ceil(step / _FINE_MM - 1e-6))) for step in spacing_mm]
    fine = ndimage.zoom(smooth_in_plane(rise, 0.6, spacing_mm), steps, order=3, mode="nearest", grid_mode=True)
    bright = fine > _half_way(rise, region, usual, spacing_mm)
    parts = bright.reshape([n for size, step in zip(rise.shape, steps, strict=True) for n in (size, step)])
    share: Array = parts.mean(axis=(1, 3, 5), dtype=np.float32)
    return share


def _half_way(rise: Array, region: Mask, usual: float, spacing_mm: Spacing) -> float:
    """Return the rise half way from `usual` to the upper quartile of a region."""
    return usual + _HALF_WAY * (float(np.percentile(smooth_in_plane(rise, 0.6, spacing_mm)[region], 75)) - usual)


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


def share_pct(part: Mask | Array | None, region: Mask, least_shown: float = 0.0) -> float | None:
    """Return how much of `region` is `part`, in percent; None if there is nothing to say.

    Where `part` is NaN nothing is known: what is known counts, if it is at least the share `least_shown` of `region`.
    """
    if part is None or not region.any():
        return None
    inside = part[region]
    known = np.isfinite(inside)
    if not known.any() or known.mean() < least_shown:
        return None
    return 100 * float(inside[known].mean())
