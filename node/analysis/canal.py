"""The spinal canal: a dark disk in a brighter ring, on the midline in front of the muscles.

So it looks where cerebrospinal fluid is dark and fat bright, as on T1. Where it does not, no canal is found, and
nothing is guessed.
"""

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from node.analysis.grid import Spacing
from node.ports import Array, Mask

_RADII_MM = np.arange(6.0, 11.1, 1.0)  # of the thecal sac, cervical to lumbar: anatomy textbooks, rounded outwards
_RING_MM = 3.0  # width of the ring that is compared with the disk; chosen
_EDGE_MM = 0.75  # between the two, left out: partial volume
_DISK_PERCENT, _RING_PERCENT = 85, 40  # nearly all of the disk is dark, most of the ring is not: no spinous process
_OFF_MIDLINE_MM = 6.0  # chosen
_BEFORE_MUSCLE_MM = (2.0, 50.0)  # in front of the muscles' middle; chosen
# Of the signal of fat. Simulated T1: 0.33 to 0.47; at most 0.10 on TUM01, whose fluid is bright (2026-11-26).
_LEAST_CONTRAST = 0.2
_STRAY_MM = 6.0  # from the course of the canal through its neighbours; chosen


def find_canal(
    share: Array, body: Mask, lateral_mm: npt.NDArray[np.float64], depth_mm: Array, muscle: Mask, spacing_mm: Spacing
) -> Mask:
    """Return the voxels of the canal; none in slices where it does not show.

    Parameters
    ----------
    share : ndarray of float32, shape (slices, rows, columns)
        Signal as a share of that of the fat nearby, in canonical order; rows and columns are of one size.
    body, muscle : ndarray of bool, same shape
        Skin and all within; the muscles of both sides.
    lateral_mm : ndarray, shape (columns,)
        Distance from the midline.
    depth_mm : ndarray, same shape as `share`
        Below the skin of the back.
    spacing_mm : tuple of float
        Of the voxels.
    """
    pixel_mm = spacing_mm[2]
    there: Mask = np.asarray(muscle.any(axis=(1, 2)))
    if not there.any():
        return np.zeros(share.shape, bool)
    middle = np.array([np.median(depth_mm[k][muscle[k]]) if there[k] else np.nan for k in range(len(there))])
    middle = np.interp(np.arange(len(there)), np.nonzero(there)[0], middle[there])
    ahead = depth_mm - middle[:, None, None]
    possible = body & (np.abs(lateral_mm) <= _OFF_MIDLINE_MM)
    possible &= (ahead >= _BEFORE_MUSCLE_MM[0]) & (ahead <= _BEFORE_MUSCLE_MM[1])

    near = np.abs(lateral_mm) <= _OFF_MIDLINE_MM + _RADII_MM[-1] + _EDGE_MM + _RING_MM
    smooth = ndimage.gaussian_filter(np.clip(share[:, :, near], 0, 1.2), (4.0 / spacing_mm[0], 0.7, 0.7))
    contrasts = np.stack([_contrast(smooth, radius, pixel_mm) for radius in _RADII_MM], axis=1)
    contrasts = np.where(possible[:, None, :, near], contrasts, -np.inf)

    shape = contrasts.shape[1:]
    best = np.array([np.unravel_index(int(one.argmax()), shape) for one in contrasts])
    best[:, 2] += np.nonzero(near)[0][0]
    found = contrasts.max(axis=(1, 2, 3)) >= _LEAST_CONTRAST
    course = ndimage.median_filter(best[:, 1:].astype(float), (5, 1), mode="nearest")
    found &= np.linalg.norm(best[:, 1:] - course, axis=1) * pixel_mm <= _STRAY_MM

    row, column = np.ogrid[: share.shape[1], : share.shape[2]]
    canal = np.zeros(share.shape, bool)
    for k in np.nonzero(found)[0]:
        radius, y, x = best[k]
        canal[k] = np.hypot(row - y, column - x) * pixel_mm <= _RADII_MM[radius]
    return canal


def _contrast(image: Array, radius_mm: float, pixel_mm: float) -> Array:
    """Return by how much the ring around each place is brighter than the disk within it, in each slice."""
    reach = int(np.ceil((radius_mm + _EDGE_MM + _RING_MM) / pixel_mm))
    y, x = np.ogrid[-reach : reach + 1, -reach : reach + 1]
    distance_mm = np.hypot(y, x) * pixel_mm
    disk = distance_mm <= radius_mm - _EDGE_MM
    ring = (distance_mm >= radius_mm + _EDGE_MM) & (distance_mm <= radius_mm + _EDGE_MM + _RING_MM)
    within: Array = ndimage.percentile_filter(image, _DISK_PERCENT, footprint=disk[None], mode="nearest")
    around: Array = ndimage.percentile_filter(image, _RING_PERCENT, footprint=ring[None], mode="nearest")
    return around - within
