"""Detection: foci that enhance more than the muscle around them, over several scales."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from node.analysis.enhancement import Subtraction, subtract
from node.analysis.grid import Spacing, disk, smooth, smooth_in_plane
from node.ports import Array, Candidate, Mask

_SCALES_MM = (1.5, 2.2, 3.2, 4.6)  # measured, docs/analysis.md
_SURROUNDINGS = 3.2  # times the scale
_LOWEST_SCORE = 2.5  # below it nothing is worth a look
_STRETCHED = 1.7  # longer than that many times its width is rather a vessel
_BETWEEN_SLICES = 0.15  # of the bend of the signal across three slices: what interpolation between them gets wrong
_UNKNOWN_RESIDUAL_MM = 0.3  # assumed; nobody has measured it
_REACH_MM = 25.0  # how far a region may extend from its peak; chosen
_TAIL_MM = 1.5  # half the width below which a part of a region is a tail; chosen
_SINGLE_SLICE = 1.5  # by which a region in one slice only must be better: no second slice speaks for it. Chosen
_MOST_CANDIDATES = 50


@dataclass(frozen=True, slots=True)
class MultiscaleDetector:
    """Scores each place by its noise-weighted enhancement above its surroundings, and takes the peaks.

    The noise of a voxel is that of the subtraction plus what the residual misregistration makes of the edge it lies
    on. Elongated peaks are divided by their elongation, because veins beat all tumours.
    """

    name: str = "multiscale"
    version: str = "1.0"

    def detect(
        self, pre: Array, post: Array, muscle: Mask, *, spacing_mm: tuple[float, float, float], residual_mm: float
    ) -> Sequence[Candidate]:
        """Return candidates, best first; no two share a voxel."""
        if not muscle.any():
            return ()
        before, after = (smooth_in_plane(image, 0.6, spacing_mm) for image in (pre, post))
        difference = subtract(before, after, muscle, spacing_mm)
        if not difference.lean.any():
            return ()
        excess = difference.ratio - float(np.median(difference.ratio[difference.lean]))
        sigma = _noise(before, difference, residual_mm, spacing_mm)
        score = _scores(excess, difference.lean, sigma, spacing_mm)
        found = sorted(_peaks(excess, score, muscle, spacing_mm), key=lambda one: -one.score)
        return _apart(found[:_MOST_CANDIDATES])


def _noise(before: Array, difference: Subtraction, residual_mm: float, spacing_mm: Spacing) -> Array:
    """Return the standard deviation of the subtraction, voxel by voxel."""
    residual = residual_mm if np.isfinite(residual_mm) else _UNKNOWN_RESIDUAL_MM
    slope = np.hypot(*np.gradient(before, *spacing_mm[1:], axis=(1, 2))) / difference.level
    rough = np.abs(difference.ratio - ndimage.median_filter(difference.ratio, size=(1, 3, 3)))
    noise = max(2.0 * float(np.median(rough[difference.lean])), 1e-3)
    through = np.abs(ndimage.convolve1d(before, (1, -2, 1), axis=0, mode="nearest")) / difference.level
    sigma: Array = np.sqrt(noise**2 + (residual * slope) ** 2 + (_BETWEEN_SLICES * through) ** 2)
    return sigma


def _scores(excess: Array, lean: Mask, sigma: Array, spacing_mm: Spacing) -> Array:
    """Return the highest score over the scales."""
    weight = (lean / sigma**2).astype(np.float32)
    usual = np.clip(excess, -1, 0.6)  # so that a lesion does not raise its own background
    score = np.full(excess.shape, -np.inf, np.float32)
    for width_mm in _SCALES_MM:
        density = smooth(weight, width_mm, spacing_mm)
        wide = smooth(weight, _SURROUNDINGS * width_mm, spacing_mm)
        above = smooth(weight * excess, width_mm, spacing_mm) / np.maximum(density, 1e-6)
        above -= smooth(weight * usual, _SURROUNDINGS * width_mm, spacing_mm) / np.maximum(wide, 1e-6)
        valid = lean & (density > 0.2 * float(np.median(density[lean])))
        middle = float(np.median(above[valid]))
        spread = 1.4826 * float(np.median(np.abs(above[valid] - middle))) + 1e-6
        here = np.where(valid, (above - middle) / spread, -np.inf)
        score = np.maximum(score, here)
    return score


def _peaks(excess: Array, score: Array, muscle: Mask, spacing_mm: Spacing) -> Iterator[Candidate]:
    near = [2 * max(1, round(3.0 / step)) + 1 for step in spacing_mm]
    peaks = (score == ndimage.maximum_filter(score, size=near)) & (score > _LOWEST_SCORE)
    for peak in np.argwhere(peaks):
        region = _region(excess, muscle, peak, spacing_mm)
        if not region.any():
            continue
        penalty = max(1.0, _elongation(excess, region, spacing_mm) / _STRETCHED)
        if np.count_nonzero(region.any(axis=(1, 2))) == 1:
            penalty *= _SINGLE_SLICE
        yield Candidate(region, float(score[tuple(peak)]) / penalty)


def _region(excess: Array, muscle: Mask, peak: npt.NDArray[np.intp], spacing_mm: Spacing) -> Mask:
    """Return the voxels around `peak` at half its height or more that hang together with it.

    A dark core counts as inside; a thin tail, such as a draining vein, does not.
    """
    reach = np.ceil(_REACH_MM / np.array(spacing_mm)).astype(int)
    low = np.maximum(peak - reach, 0)
    high = np.minimum(peak + reach + 1, excess.shape)
    box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    around = np.where(muscle[box], excess[box], 0)
    here = tuple(slice(max(0, p - 1), p + 2) for p in (peak - low))
    top = float(around[here].max())
    piece = _connected(around > max(0.5 * top, 0.1), here)
    piece = np.stack([ndimage.binary_fill_holes(one) for one in piece]) & muscle[box]
    compact = _connected(ndimage.binary_opening(piece, disk(_TAIL_MM, spacing_mm)), here)
    region = np.zeros(excess.shape, bool)
    region[box] = compact if compact.any() else piece
    return region


def _connected(mask: Mask, place: tuple[slice, ...]) -> Mask:
    """Return the pieces of `mask` that reach into `place`."""
    pieces, _ = ndimage.label(mask)
    ours = np.unique(pieces[place])
    connected: Mask = np.isin(pieces, ours[ours > 0])
    return connected


def _elongation(excess: Array, region: Mask, spacing_mm: Spacing) -> float:
    """Return the longest over the second longest axis of the region, weighted by its enhancement."""
    weight = np.maximum(excess[region], 1e-6)
    places = np.argwhere(region) * np.array(spacing_mm)
    offset = places - np.average(places, axis=0, weights=weight)
    covariance = (offset * weight[:, None]).T @ offset / weight.sum() + np.diag(np.square(spacing_mm) / 12)
    longest, second, _ = np.sqrt(np.sort(np.linalg.eigvalsh(covariance))[::-1])
    return float(longest / second)


def _apart(candidates: Sequence[Candidate]) -> Sequence[Candidate]:
    """Return the candidates without those that share a voxel with a better one."""
    if not candidates:
        return ()
    taken = np.zeros(candidates[0].region.shape, bool)
    kept = []
    for candidate in candidates:
        if not (taken & candidate.region).any():
            kept.append(candidate)
            taken |= candidate.region
    return kept
