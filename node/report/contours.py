"""Contours: the outline of a mask in one slice, along the edges of its pixels, so that it holds what the mask holds."""

from collections import defaultdict

import numpy as np
import numpy.typing as npt

_Corner = tuple[int, int]


def contours(mask: npt.NDArray[np.bool_]) -> list[npt.NDArray[np.float64]]:
    """Return the outlines of the parts of a mask, without those of the holes in them.

    Pixels that touch at a corner only are of two parts, and what is open at a corner is no hole.

    Parameters
    ----------
    mask : ndarray of bool, shape (rows, columns)

    Returns
    -------
    list of ndarray of float64, shape (n, 2)
        Row and column of each corner, in pixels from the centre of the first one; the last is the first again.
    """
    ends = _edges(mask)
    found = []
    while ends:
        loop = _walked(ends)
        rows, columns = np.array(loop, np.float64).T
        if (columns[:-1] * rows[1:] - columns[1:] * rows[:-1]).sum() > 0:  # around a hole the edges run the other way
            found.append(np.column_stack([rows, columns]) - 0.5)
    return found


def _edges(mask: npt.NDArray[np.bool_]) -> dict[_Corner, list[_Corner]]:
    """Return where the edges of a mask lead to from each corner, with the mask at their right hand."""
    filled = np.pad(mask, 1)
    ends: dict[_Corner, list[_Corner]] = defaultdict(list)
    for step, start, end in (
        ((-1, 0), (0, 0), (0, 1)),
        ((0, 1), (0, 1), (1, 1)),
        ((1, 0), (1, 1), (1, 0)),
        ((0, -1), (1, 0), (0, 0)),
    ):
        border = mask & ~np.roll(filled, (-step[0], -step[1]), (0, 1))[1:-1, 1:-1]
        for row, column in np.argwhere(border).tolist():
            ends[row + start[0], column + start[1]].append((row + end[0], column + end[1]))
    return ends


def _walked(ends: dict[_Corner, list[_Corner]]) -> list[_Corner]:
    """Take one closed walk out of `ends`, and return its corners, without those on a straight line."""
    start = min(ends)  # of an outline it is a true corner
    loop, here, heading = [start], start, (0, 1)
    while True:
        # Where two parts touch, to the right is back along the same part.
        right = (here[0] + heading[1], here[1] - heading[0])
        onward = right if right in ends[here] else ends[here][0]
        ends[here].remove(onward)
        if not ends[here]:
            del ends[here]
        turned = (onward[0] - here[0], onward[1] - here[1])
        if turned != heading and here != start:
            loop.append(here)
        here, heading = onward, turned
        if here == start:
            return [*loop, start]
