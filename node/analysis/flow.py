"""Flow: vessels by the velocities of a phase contrast, in whatever unit its maker writes them."""

import numpy as np
from scipy import ndimage

from node.analysis.grid import Spacing
from node.analysis.vessels import vessel_mask
from node.ports import Array, Mask

_MOVES = 0.1  # of VENC, the velocity that is encoded; docs/analysis.md, 12.1
_LEAST_SNR = 5.0  # of the magnitude, likewise
_AIR_VOXELS = 2000  # fewer do not show the scale; chosen
_EVEN = 0.06  # by which the quartiles of evenly spread phases may be off, as a share of VENC; chosen
_BESIDE = np.ones((3, 3, 3), bool)


def share_of_venc(velocity: Array, magnitude: Array) -> Array | None:
    """Return velocities as shares of VENC, -1 to 1; None if their scale does not show.

    Makers write cm/s, mm/s, milliradians or plain levels, and Philips' floating point values lose the unit. But where
    there is no signal the phase is anything: there the values spread evenly over all of the scale, and its ends are
    VENC. Scanners that mask the air leave no way to know.
    """
    air = magnitude < 0.5 * np.percentile(magnitude, 25)
    air |= magnitude < 0.06 * np.percentile(magnitude, 99)
    values = velocity[air]
    if values.size < _AIR_VOXELS:
        return None
    low, first, third, high = np.percentile(values, (0.2, 25, 75, 99.8))
    middle, venc = (low + high) / 2, (high - low) / 2
    if venc <= 0 or max(abs((first - middle) / venc + 0.5), abs((third - middle) / venc - 0.5)) > _EVEN:
        return None
    share: Array = np.clip((velocity - np.float32(middle)) / np.float32(venc), -1, 1)
    return share


def moving_vessels(magnitude: Array, share: Array, region: Mask, noise: float, spacing_mm: Spacing) -> Mask:
    """Return what moves in `region` beside a tube of the complex difference: noise moves too, but not in tubes.

    `share` is that of VENC, `noise` the standard deviation of the noise in the magnitude. As wide as it moves: a
    laminar flow is slow along the wall, and half of its peak would be too narrow.
    """
    difference: Array = 2 * magnitude * np.sin(np.pi / 2 * np.abs(share))
    tubes = vessel_mask(difference, region, spacing_mm)
    beside = ndimage.binary_dilation(tubes, _BESIDE)
    moves: Mask = beside & region & (np.abs(share) > _MOVES) & (magnitude > _LEAST_SNR * noise)
    return moves
