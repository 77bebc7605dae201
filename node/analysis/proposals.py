"""Proposals: places in muscle that enhance more than their surroundings, over several scales, and their outlines."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from node.analysis.grid import Box, Spacing, disk, masked_mean, muscle_level, smooth, smooth_coarsely, smooth_in_plane
from node.ports import Array, Mask

SCALES_MM = (1.5, 2.4, 4.0)  # standard deviations of the Gaussians that foci are matched with; measured
_LEAN = (0.6, 1.6)  # times the signal of the muscle nearby, as in `enhancement`
_FIRST_MM = 0.6  # standard deviation, within the plane, of what takes the first noise off
_LEVEL_MM = 9.0  # of what is nearby
_COARSE_MM = 3.5  # from here on a Gaussian is smooth enough for half the rows and columns
_SURROUNDINGS = 3.2  # times the scale
_LOWEST_SCORE = 2.5  # below it nothing is worth a look
_LEAST_HEIGHT = 0.2  # of muscle's signal, above its median: less is no lesion, whatever its outline. Chosen
_MOST_PROPOSALS = 50
_BETWEEN_SLICES = 0.15  # of the bend of the signal across three slices: what interpolation between them gets wrong
_UNKNOWN_RESIDUAL_MM = 0.3  # assumed; nobody has measured it
_REACH_MM = 25.0  # how far a region may extend from its peak; chosen
_TAIL_MM = 1.5  # half the width below which a part of a region is a tail; chosen
_USUAL_EXCESS = 0.6  # above it an enhancement does not raise the background of its surroundings; chosen


@dataclass(frozen=True, slots=True, eq=False)
class Excess:
    """Enhancement above that of ordinary muscle, in units of the muscle's signal before contrast.

    Parameters
    ----------
    above : ndarray of float32
        0.65: by 65 points more than the median of lean muscle.
    noise : float
        Standard deviation of one voxel of it that noise makes.
    edge : ndarray of float32
        Standard deviation that the residual misregistration makes of the edges.
    lean : ndarray of bool
        Where there is muscle without fat.
    before : ndarray of float32
        Signal before contrast, in units of the muscle nearby.
    muscle : ndarray of bool
        Where foci are looked for.
    spacing_mm : tuple of float
    """

    above: Array
    noise: float
    edge: Array
    lean: Mask
    before: Array
    muscle: Mask
    spacing_mm: Spacing


@dataclass(frozen=True, slots=True, eq=False)
class Proposal:
    """One peak: its region within a box of the volume, and its score at each scale."""

    peak: tuple[int, int, int]
    box: Box
    region: Mask
    scores: tuple[float, ...]


def measure_excess(pre: Array, post: Array, muscle: Mask, spacing_mm: Spacing, residual_mm: float) -> Excess | None:
    """Return the excess enhancement voxel by voxel; None without lean muscle."""
    before, after = (smooth_in_plane(image, _FIRST_MM, spacing_mm) for image in (pre, post))
    usual = muscle_level(before, muscle, lambda one: smooth_coarsely(one, _LEVEL_MM, spacing_mm))
    lean = muscle & (before > _LEAN[0] * usual) & (before < _LEAN[1] * usual)
    if not lean.any():
        return None
    level = masked_mean(before, lean, lambda one: smooth_coarsely(one, _LEVEL_MM, spacing_mm))
    level = np.maximum(level, np.float32(0.2 * np.median(before[muscle])))
    above = np.clip((after - before) / level, -4, 4)
    above -= np.float32(np.median(above[lean]))
    residual = residual_mm if np.isfinite(residual_mm) else _UNKNOWN_RESIDUAL_MM
    return Excess(
        above=above,
        noise=_noise(above, lean),
        edge=_edge(before, level, residual, spacing_mm),
        lean=lean,
        before=before / level,
        muscle=muscle,
        spacing_mm=spacing_mm,
    )


def _noise(above: Array, lean: Mask) -> float:
    """Return the standard deviation that noise makes, from differences of neighbours within a row."""
    beside = lean[:, :, 1:] & lean[:, :, :-1]
    return max(1.4826 * float(np.median(np.abs(np.diff(above, axis=2)[beside]))), 1e-3) if beside.any() else 1e-3


def _edge(before: Array, level: Array, residual_mm: float, spacing_mm: Spacing) -> Array:
    slope = np.hypot(*np.gradient(before, *spacing_mm[1:], axis=(1, 2))) / level
    through = np.abs(ndimage.convolve1d(before, (1, -2, 1), axis=0, mode="nearest")) / level
    edge: Array = np.hypot(residual_mm * slope, _BETWEEN_SLICES * through).astype(np.float32)
    return edge


def propose(excess: Excess) -> Iterator[Proposal]:
    """Return the peaks that stand out most from their surroundings, best first."""
    scores = _scores(excess)
    near = [2 * max(1, round(3.0 / step)) + 1 for step in excess.spacing_mm]
    height = smooth(excess.above, 1.0, excess.spacing_mm)
    best = np.where(height > _LEAST_HEIGHT, np.max(scores, axis=0), -np.inf)
    peaks = np.argwhere((best == ndimage.maximum_filter(best, size=near)) & (best > _LOWEST_SCORE))
    order = np.argsort(-best[tuple(peaks.T)], kind="stable")[:_MOST_PROPOSALS]
    for peak in peaks[order]:
        place = (int(peak[0]), int(peak[1]), int(peak[2]))
        box, region = _region(excess, height, peak)
        if region.any():
            yield Proposal(place, box, region, tuple(float(one[place]) for one in scores))


def _scores(excess: Excess) -> list[Array]:
    """Return, for each scale, how many spreads of ordinary muscle a place lies above its surroundings."""
    spacing_mm = excess.spacing_mm
    weight = (excess.lean / (excess.noise**2 + excess.edge**2)).astype(np.float32)
    usual = weight * np.clip(excess.above, -1, _USUAL_EXCESS)  # a lesion does not raise its own background
    scores = []
    for width_mm in SCALES_MM:
        density = _smooth(weight, width_mm, spacing_mm)
        mean = _smooth(weight * excess.above, width_mm, spacing_mm) / np.maximum(density, 1e-6)
        wide = _smooth(weight, _SURROUNDINGS * width_mm, spacing_mm)
        mean -= _smooth(usual, _SURROUNDINGS * width_mm, spacing_mm) / np.maximum(wide, 1e-6)
        valid = excess.lean & (density > 0.2 * float(np.median(density[excess.lean])))
        middle = float(np.median(mean[valid]))
        spread = 1.4826 * float(np.median(np.abs(mean[valid] - middle))) + 1e-6
        scores.append(np.where(valid, (mean - middle) / spread, -np.inf).astype(np.float32))
    return scores


def _smooth(volume: Array, sigma_mm: float, spacing_mm: Spacing) -> Array:
    wide = sigma_mm >= _COARSE_MM
    return smooth_coarsely(volume, sigma_mm, spacing_mm) if wide else smooth(volume, sigma_mm, spacing_mm)


def _region(excess: Excess, height: Array, peak: npt.NDArray[np.intp]) -> tuple[Box, Mask]:
    """Return the voxels around `peak`, at half its height above the muscle nearby or more, that hang together with it.

    A dark core counts as inside; a thin tail, such as a draining vein, does not, unless it is most of what there is.
    """
    spacing_mm = excess.spacing_mm
    reach = np.ceil(_REACH_MM / np.array(spacing_mm)).astype(int)
    low = np.maximum(peak - reach, 0)
    high = np.minimum(peak + reach + 1, height.shape)
    box = (slice(int(low[0]), int(high[0])), slice(int(low[1]), int(high[1])), slice(int(low[2]), int(high[2])))
    around = np.where(excess.muscle[box], excess.above[box], 0)
    here = tuple(slice(max(0, int(p) - 1), int(p) + 2) for p in (peak - low))
    top = float(height[box][here].max())
    near = excess.above[box][excess.lean[box]]
    usual = max(float(np.median(near)), 0.0) if len(near) else 0.0
    piece = _connected(around > max(0.5 * (top + usual), 0.1), here)
    for one in np.nonzero(piece.any(axis=(1, 2)))[0]:
        piece[one] = ndimage.binary_fill_holes(piece[one]) & excess.muscle[box][one]
    compact = _connected(ndimage.binary_opening(piece, disk(_TAIL_MM, spacing_mm)), here)
    return box, compact if 2 * compact.sum() > piece.sum() else piece


def _connected(mask: Mask, place: tuple[slice, ...]) -> Mask:
    """Return the pieces of `mask` that reach into `place`."""
    pieces, _ = ndimage.label(mask)
    ours = np.unique(pieces[place])
    connected: Mask = np.isin(pieces, ours[ours > 0])
    return connected
