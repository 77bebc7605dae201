"""Pairing: another series brought onto the grid of the post-contrast series, and whether it fits there (REG-*)."""

from dataclasses import dataclass

import numpy as np

from node.analysis.body import body_mask, depth_mm
from node.analysis.grid import Grid, Spacing
from node.analysis.registration import Alignment, align
from node.analysis.resampling import Movement, bring, bring_mask
from node.analysis.threads import both
from node.analysis.verdict import Verdict, gate
from node.dicom.geometry import FloatArray
from node.findings import Note
from node.ports import Array, Mask
from node.settings import AnalysisSettings

_BACK_MM = 130.0  # in front of the skin of the back: what must fit
_SKIN_MM = 6.0  # of it: skin enhances at the edge of bright fat, and drew the fit 0.1 mm to the back [M]
_LEAST_OVERLAP = 0.9  # of the bodies, Dice. Chosen
_LEAST_OVERLAP_ACROSS_FRAMES = 0.8  # where the two series have no common frame of reference. Chosen
_LARGEST_INCONSISTENCY_MM = 0.3  # Chosen
_UNKNOWN_RESIDUAL_MM = 0.3  # Chosen


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """The pre-contrast series on the grid of the post-contrast one.

    Parameters
    ----------
    pre : ndarray of float32
        Resampled; 0 where it has no values.
    covered : ndarray of bool
        Where it has.
    residual_mm : float
        What the registration left, standard deviation per axis.
    verdict : Verdict
        Gates; refusals forbid to compare.
    focal : Verdict
        Gates whose refusals forbid to look for foci only.
    movement : Movement or None
        From points of the post-contrast series to those of the other one; None if none was found.
    """

    pre: Array
    covered: Mask
    residual_mm: float
    verdict: Verdict
    focal: Verdict
    movement: Movement | None = None


def pair(post: Grid, pre: Grid, settings: AnalysisSettings) -> Pair:
    """Return the two series as a pair on the grid of `post`."""
    body, other_body = both(
        lambda: body_mask(post.signal, post.spacing_mm), lambda: body_mask(pre.signal, pre.spacing_mm)
    )
    region = back_region(body, post.spacing_mm)
    same_frame = post.geometry.frame_of_reference == pre.geometry.frame_of_reference
    least = _LEAST_OVERLAP if same_frame else _LEAST_OVERLAP_ACROSS_FRAMES
    alignment = None
    start_mm = np.zeros(3)
    if region.any() and other_body.any():
        if not same_frame:
            start_mm = middle_mm(other_body, pre) - middle_mm(body, post)
        alignment = align(post, pre, region, same_contrast=True, start_mm=start_mm)
    if alignment is None:
        unfit = _overlap(0.0, least)
        return Pair(np.zeros_like(post.signal), np.zeros(body.shape, bool), float("nan"), unfit, Verdict())
    signal, covered = bring(pre.signal, pre.geometry, post.geometry, alignment.movement)
    moved_body = bring_mask(other_body, pre.geometry, post.geometry, alignment.movement)
    shared = body & covered
    overlap = 2 * float((moved_body & shared).sum()) / max(1.0, float(moved_body.sum() + shared.sum()))
    residual = alignment.residual_mm
    return Pair(
        pre=np.where(covered, signal, np.float32(0)),
        covered=covered,
        residual_mm=residual if np.isfinite(residual) else _UNKNOWN_RESIDUAL_MM,
        verdict=check_movement(alignment, settings, start_mm) + _overlap(overlap, least),
        focal=check_fit(alignment, settings),
        movement=alignment.movement,
    )


def back_region(body: Mask, spacing_mm: Spacing) -> Mask:
    """Return the body within 130 mm of the skin of the back, without the skin itself."""
    depth = depth_mm(body, spacing_mm)
    return body & (depth < _BACK_MM) & (depth > _SKIN_MM)


def middle_mm(body: Mask, grid: Grid) -> FloatArray:
    """Return the middle of a body, LPS mm: of its stack along the slices, of its mass within them."""
    _, back, left = np.argwhere(body).mean(axis=0)
    return grid.geometry.to_lps([(body.shape[0] - 1) / 2, back, left])


def _overlap(found: float, least: float) -> Verdict:
    return gate(
        "REG-2", found, f">= {least:g} overlap of the bodies", found >= least,
        refusal="The two series do not show the same part of the body.",
    )  # fmt: skip


def check_movement(alignment: Alignment, settings: AnalysisSettings, start_mm: FloatArray | None = None) -> Verdict:
    """Return whether the patient moved no farther than can be believed (REG-1).

    Between two frames of reference the shift has no meaning: only what lies beyond the start is judged.
    """
    shift = float(np.linalg.norm(alignment.movement.shift - (0.0 if start_mm is None else start_mm)))
    turn = alignment.movement.angle_deg
    return gate(
        "REG-1", f"{shift:.2f} mm, {turn:.2f} degrees",
        f"<= {settings.longest_translation_mm:g} mm, <= {settings.largest_rotation_deg:g} degrees",
        shift <= settings.longest_translation_mm and turn <= settings.largest_rotation_deg,
        refusal="The movement between the two series is too large to be believed.",
    )  # fmt: skip


def check_fit(alignment: Alignment, settings: AnalysisSettings) -> Verdict:
    residual, limit, good = alignment.residual_mm, settings.largest_residual_mm, settings.good_residual_mm
    known = bool(np.isfinite(residual))
    verdict = gate(
        "REG-3", residual if known else "not measured", f"<= {limit:g} mm residual", known and residual <= limit,
        refusal="The series do not fit well enough after registration to look for foci.",
    ) + gate(
        "REG-4", alignment.inconsistency_mm, f"<= {_LARGEST_INCONSISTENCY_MM:g} mm between forward and backward",
        alignment.inconsistency_mm <= _LARGEST_INCONSISTENCY_MM,
        refusal="Forward and backward registration disagree: foci are not looked for.",
    )  # fmt: skip
    slip = alignment.movement.slip
    if np.isfinite(alignment.drift_mm):
        verdict += gate(
            "REG-5", alignment.drift_mm, f"<= {good:g} mm along the slices between a tilt and an even drift",
            alignment.drift_mm <= good,
            caveat="The patient may have drifted during a series, or the series do not fit along the slices: reduced "
            "sensitivity for foci.",
        )  # fmt: skip
    elif slip is None:
        verdict += gate(
            "REG-5", "not measured", f"<= {good:g} mm along the slices between a tilt and an even drift", False,
            caveat="Whether the patient drifted during a series could not be judged: sensitivity for foci may be "
            "reduced.",
        )  # fmt: skip
    if known and good < residual <= limit:
        verdict += Verdict(
            caveats=(Note("REG-3", "The patient moved between the series: reduced sensitivity for foci."),)
        )
    if slip is not None:
        text = (
            f"The patient moved during a series: its slices were moved back within their planes, by {slip.size_mm:.1f} "
            "mm in the mean. Movement across them is not seen: reduced sensitivity for foci."
        )
        verdict += Verdict(caveats=(Note("REG-3", text),))
    return verdict
