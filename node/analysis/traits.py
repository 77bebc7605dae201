"""Traits: what tells a focus from a vein, a joint or an edge; numbers of one proposal, most of them logarithms."""

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from node.analysis.grid import Spacing, ball, box_around, disk
from node.analysis.proposals import Excess, Proposal
from node.ports import Array, Mask

NAMES = (
    "score",  # above its surroundings, in spreads of ordinary muscle, at the best scale
    "contrast",  # median excess above that of the shell around
    "volume",
    "elongation",  # of the axes of the excess, longest over second: veins
    "flatness",  # second over third: fascia and edges
    "inscribed",  # half the width at the widest place within a slice
    "slices",  # extent along the slices
    "lean",  # share of the region that is neither fat nor bone
    "edge",  # what the residual movement makes at the rim, over the contrast
    "before",  # signal before contrast over that of the muscle nearby
    "dip",  # how far the shell falls, over the contrast: a movement makes bright and dark pairs
    "spread",  # of the excess within, over the contrast
    "core",  # what a whole disk of 3 mm reaches, over the contrast
    "unrest",  # spread of the shell, over the contrast
)

_SHELL_MM = (1.0, 3.2)  # from and to where around a region its surroundings are; chosen
_LEAST_SHELL = 10  # voxels
_CORE_MM = 3.0
_CORE_QUANTILE = 20.0  # of a disk's voxels may be lower: noise, and the border of a small focus. Chosen
_LEAST_CONTRAST = 0.02
_NEIGHBOURS = ndimage.generate_binary_structure(2, 1)[None]  # within the slice


def traits(excess: Excess, proposal: Proposal) -> npt.NDArray[np.float64]:
    """Return the traits of a proposal, in the order of `NAMES`."""
    spacing_mm = excess.spacing_mm
    tight = box_around(proposal.region, spacing_mm, 5.0)
    head, back, left = (slice(o.start + i.start, o.start + i.stop) for o, i in zip(proposal.box, tight, strict=True))
    here = (head, back, left)
    region, above, lean = proposal.region[tight], excess.above[here], excess.lean[here]
    inside, shell = above[region], above[_shell(region, spacing_mm) & lean]
    low, middle, high = np.percentile(inside, (10, 50, 90))
    lowest, usual = np.percentile(shell, (5, 50)) if len(shell) >= _LEAST_SHELL else (0.0, 0.0)
    contrast = max(float(middle - usual), _LEAST_CONTRAST)
    longest, second, third = _axes_mm(np.where(region, np.maximum(above, 1e-6), 0), spacing_mm)
    within_plane = ndimage.distance_transform_edt(np.pad(region, 1), sampling=(1e3, *spacing_mm[1:]))
    rim = region & ~ndimage.binary_erosion(region, _NEIGHBOURS)
    return np.array(
        [
            np.log(max(*proposal.scores, 0.5)),
            np.log(contrast),
            np.log(np.count_nonzero(region) * np.prod(spacing_mm)),
            np.log(longest / second),
            np.log(second / third),
            np.log(within_plane.max()),
            np.log(np.count_nonzero(region.any(axis=(1, 2))) * spacing_mm[0]),
            lean[region].mean(),
            np.log(np.median(excess.edge[here][rim]) / contrast + _LEAST_CONTRAST),
            np.median(excess.before[here][region]),
            (lowest - usual) / contrast,
            (high - low) / contrast,
            (_core(above, region, spacing_mm) - usual) / contrast,
            (np.median(np.abs(shell - usual)) if len(shell) >= _LEAST_SHELL else 0.0) / contrast,
        ]
    )


def _shell(region: Mask, spacing_mm: Spacing) -> Mask:
    """Return the voxels around a region, one slice above and below among them."""
    near, far = _SHELL_MM
    shell: Mask = ndimage.binary_dilation(region, ball(far, (min(spacing_mm[0], far), *spacing_mm[1:])))
    shell &= ~ndimage.binary_dilation(region, disk(near, spacing_mm))
    return shell


def _core(above: Array, region: Mask, spacing_mm: Spacing) -> float:
    """Return the most that nearly all voxels of a disk around a voxel of the region reach: little in a thin vein."""
    reached = ndimage.percentile_filter(above, _CORE_QUANTILE, footprint=disk(_CORE_MM, spacing_mm))
    return float(reached[region].max())


def _axes_mm(weight: Array, spacing_mm: Spacing) -> npt.NDArray[np.float64]:
    """Return the standard deviations of a weight along its three main axes, longest first."""
    voxels = np.argwhere(weight > 0)
    share = weight[tuple(voxels.T)]
    offset = voxels * np.array(spacing_mm) - np.average(voxels, axis=0, weights=share) * np.array(spacing_mm)
    covariance = (offset * share[:, None]).T @ offset / share.sum() + np.diag(np.square(spacing_mm) / 12)
    axes: npt.NDArray[np.float64] = np.sqrt(np.sort(np.linalg.eigvalsh(covariance))[::-1])
    return axes
