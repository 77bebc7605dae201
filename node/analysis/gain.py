"""Receiver gain between two series, taken from what hardly enhances: subcutaneous fat, or the spinal canal.

Never from muscle: that would declare the muscle's own enhancement to be gain and set it to zero; a test holds this.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import ndimage

from node.analysis.body import depth_mm
from node.analysis.grid import Spacing, disk, masked_mean, smooth_coarsely
from node.analysis.muscles import Muscles
from node.analysis.verdict import Verdict, gate
from node.findings import Note
from node.ports import Array, Mask
from node.settings import AnalysisSettings

_AWAY_FROM_MUSCLE_MM = 4.0
_DEEPEST_MM = 60.0  # below the skin: subcutaneous, not visceral
_LEAST_VOXELS = 500  # chosen; the median's error is then below 1 % at SNR 10
_USUAL = (0.9, 1.1)  # docs/analysis.md, CMP-GAIN; chosen
_IN_CANAL_MM = 2.0  # away from its wall: dura and epidural veins enhance. Chosen
_LEAST_FAT_TO_MUSCLE = 1.4  # below it, fat is not told apart from muscle; T1 without suppression gives 2 to 3. Chosen


@dataclass(frozen=True, slots=True)
class Gain:
    """How many times the post-contrast series' scale is that of the other, and on how many voxels of what it stands."""

    factor: float
    voxels: int
    reference: Literal["fat", "canal"] = "fat"


def find_gain(
    pre: Array, post: Array, muscles: Muscles, spacing_mm: Spacing, settings: AnalysisSettings
) -> Gain | None:
    """Return the gain from fat; where there is too little, or it is suppressed, from the canal; None from neither."""
    fat = reference_fat(pre, muscles.body, muscles.sides > 0, spacing_mm)
    gain = receiver_gain(pre, post, fat, fat_enhancement=settings.fat_enhancement)
    return gain or canal_gain(pre, post, muscles.canal, spacing_mm)


def reference_fat(pre: Array, body: Mask, muscle: Mask, spacing_mm: Spacing) -> Mask:
    """Return subcutaneous fat, away from muscle and from every border."""
    near = ndimage.binary_dilation(muscle, disk(_AWAY_FROM_MUSCLE_MM, spacing_mm))
    depth = depth_mm(body, spacing_mm)
    layer = body & ~near & (depth > 2) & (depth < _DEEPEST_MM)
    # The coil's sensitivity makes fat far away as dark as muscle nearby: compare with the fat around.
    threshold = _LEAST_FAT_TO_MUSCLE * float(np.median(pre[muscle]))
    level = masked_mean(pre, layer & (pre > threshold), lambda one: smooth_coarsely(one, 15.0, spacing_mm))
    bright = layer & (pre > threshold) & (pre > 0.75 * level)
    fat: Mask = ndimage.binary_erosion(bright, disk(2.0, spacing_mm))
    return fat


def receiver_gain(pre: Array, post: Array, fat: Mask, *, fat_enhancement: float) -> Gain | None:
    """Return the gain, or None if there is too little fat to tell.

    `fat_enhancement` is the little by which fat itself enhances (assumed, nobody has measured it).
    """
    used = fat & (pre > 0)
    count = int(used.sum())
    if count < _LEAST_VOXELS:
        return None
    return Gain(float(np.median(post[used] / pre[used])) / fat_enhancement, count)


def canal_gain(pre: Array, post: Array, canal: Mask, spacing_mm: Spacing) -> Gain | None:
    """Return the gain from cord, roots and fluid, which do not enhance; None if there is too little to tell.

    They may be dark: so of the medians, not voxel by voxel.
    """
    inside = ndimage.binary_erosion(canal, disk(_IN_CANAL_MM, spacing_mm)) & (pre > 0)
    count = int(inside.sum())
    if count < _LEAST_VOXELS:
        return None
    return Gain(float(np.median(post[inside]) / np.median(pre[inside])), count, "canal")


def check_gain(gain: Gain | None, settings: AnalysisSettings) -> Verdict:
    """Return whether the gain is one that a scanner sets between two series of one sequence (CMP-GAIN)."""
    low, high = settings.narrowest_gain, settings.widest_gain
    if gain is None:
        return gate(
            "CMP-GAIN", "too little fat", f">= {_LEAST_VOXELS} voxels of bright fat, or of the spinal canal", False,
            refusal="There is too little subcutaneous fat, or of the canal, to tell receiver gain from enhancement.",
        )  # fmt: skip
    verdict = gate(
        "CMP-GAIN", gain.factor, f"{low:g} to {high:g}", low <= gain.factor <= high,
        refusal="The receiver gain differs too much between the series.",
    )  # fmt: skip
    if gain.reference == "canal":
        text = "Fat is not bright: the receiver gain was taken from the spinal canal, which is less sure."
        verdict += Verdict(caveats=(Note("CMP-GAIN", text),))
    if not verdict.refused and not _USUAL[0] <= gain.factor <= _USUAL[1]:
        verdict += Verdict(
            caveats=(Note("CMP-GAIN", "The receiver gain differs between the series; it was corrected."),)
        )
    return verdict
