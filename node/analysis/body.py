"""The body: skin and all within; and which way the back's skin lies."""

import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from node.analysis.grid import Grid, Spacing
from node.dicom.volumes import Volume
from node.ports import Array, Mask

_WORKING_PIXEL_MM = 2.0
_BELOW_THRESHOLD = 0.7  # of Otsu's threshold on the logarithm: dark tissue far from the coil is still body. Chosen


def body_mask(volume: Array, spacing_mm: Spacing) -> Mask:
    """Return where the body is: the largest bright piece, its holes filled in each axial plane.

    `volume` is in canonical order. Works on any contrast; nothing is found in an empty volume.
    """
    steps = tuple(max(1, round(_WORKING_PIXEL_MM / step)) for step in spacing_mm[1:])
    coarse = volume[:, :: steps[0], :: steps[1]]
    top = float(np.percentile(coarse, 99))
    if top <= 0:
        return np.zeros(volume.shape, bool)
    logarithm = np.log1p(np.clip(coarse, 0, None) / (0.02 * top))
    (threshold,) = otsu(logarithm[coarse > 0], 2)
    plane = np.ones((1, 3, 3), bool)
    pieces, count = ndimage.label(ndimage.binary_opening(logarithm > _BELOW_THRESHOLD * threshold, plane))
    if count == 0:
        return np.zeros(volume.shape, bool)
    body = ndimage.binary_closing(largest(pieces, count), plane, iterations=2)
    body = np.stack([ndimage.binary_fill_holes(one) for one in body])
    fine = body.repeat(steps[0], axis=1).repeat(steps[1], axis=2)
    whole: Mask = fine[:, : volume.shape[1], : volume.shape[2]]
    return whole


def of_body(volume: Volume) -> Grid:
    """Return the volume in canonical order, without most of the air around the body."""
    grid = Grid.of(volume)
    body = body_mask(grid.signal, grid.spacing_mm)
    every_slice = np.broadcast_to(body.any(axis=0), body.shape)
    return grid.around(every_slice, 5.0)


def skin_row(body: Mask) -> npt.NDArray[np.intp]:
    """Return the row of the skin of the back, shape (slices, columns); 0 where there is no body."""
    rows = body.shape[1]
    last: npt.NDArray[np.intp] = np.where(body.any(axis=1), rows - 1 - body[:, ::-1].argmax(axis=1), 0)
    return last


def depth_mm(body: Mask, spacing_mm: Spacing) -> Array:
    """Return how far each voxel lies in front of the skin of the back, along the back axis."""
    row = np.arange(body.shape[1], dtype=np.float32)[None, :, None]
    depth: Array = (skin_row(body)[:, None, :].astype(np.float32) - row) * np.float32(spacing_mm[1])
    return depth


def largest(pieces: npt.NDArray[np.integer], count: int) -> Mask:
    """Return the piece with the most voxels among `pieces`, labelled 1 to `count`."""
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)
    piece: Mask = pieces == 1 + int(np.argmax(sizes[1:]))
    return piece


def otsu(values: Array, classes: int, *, bins: int = 128) -> Sequence[float]:
    """Return the thresholds that part `values` into 2 or 3 classes with the least spread within them.

    References
    ----------
    Otsu, IEEE Trans Syst Man Cybern 1979, 9:62, doi:10.1109/TSMC.1979.4310076.
    """
    counts, edges = np.histogram(values, bins)
    share = counts / max(1, counts.sum())
    weight = np.concatenate([[0.0], np.cumsum(share)])
    moment = np.concatenate([[0.0], np.cumsum(share * (edges[1:] + edges[:-1]) / 2)])

    def between(cuts: tuple[int, ...]) -> float:
        bounds = (0, *cuts, bins)
        parts = [(weight[high] - weight[low], moment[high] - moment[low]) for low, high in itertools.pairwise(bounds)]
        return float(sum(m * m / w for w, m in parts if w > 0))

    best = max(itertools.combinations(range(1, bins), classes - 1), key=between)
    return [float(edges[cut]) for cut in best]
