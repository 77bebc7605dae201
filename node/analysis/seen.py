"""What the network makes of a volume: a window of each slice, its classes, and how sure it was.

The network names the side of a muscle, but it is not asked: left is where the geometry of the volume says left is, seen
from the canal.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from node.analysis.grid import Spacing, disk
from node.analysis.network import PIXEL_MM, WINDOW, Class, Model
from node.ports import Array, Mask

LEAST_CANAL_MM2 = 50.0
LEAST_AREA_MM2 = 200.0  # of a side, or of psoas, that is worth a figure
_BEHIND_SKIN = 8  # rows of the window
_WINDOWS_AT_ONCE = 4  # more are no faster on a CPU: their activations leave its cache (measured 2026-11-26)
_BEFORE_CANAL_MM = 12.0  # muscle begins no farther in front of the canal's middle
_LATERAL_MM = 100.0
_CLOSE_MM = 4.5
_LEAST_LEFTWARD = 0.8  # cosine: a patient turned by more than 37 degrees is not measured

LEFT = (Class.MULTIFIDUS_LEFT, Class.ERECTOR_LEFT)
RIGHT = (Class.MULTIFIDUS_RIGHT, Class.ERECTOR_RIGHT)
POSTERIOR = (*LEFT, *RIGHT)

Codes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]
Corners = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What the network made of a volume, on pixels of 1.5 mm, and how sure it was.

    Parameters
    ----------
    classes, sides : ndarray of uint8, shape (slices, rows, columns)
        `Class` of each pixel; posterior compartment, 1 left and 2 right.
    lateral_mm : ndarray of float32, same shape
        From the middle of the canal, positive to the left.
    agreement, certainty : ndarray, shape (slices,)
        Mean Dice of the passes with their mean; mean probability of what is called posterior muscle.
    middle : ndarray, shape (slices, 2)
        Row and column of the canal, or where it should be.
    leftward : ndarray, shape (slices, 2)
        Unit vector from right to left in each slice: the patient may lie askew.
    astray : ndarray, shape (slices,)
        Share of the muscle for which the network named the side that it is not on.
    over_psoas : ndarray, shape (slices,)
        Signal of the compartment over that of psoas, medians; 1 where no psoas is.
    """

    classes: Codes
    sides: Codes
    lateral_mm: Array
    agreement: Floats
    certainty: Floats
    middle: Floats
    leftward: Floats
    astray: Floats
    over_psoas: Floats


def look(model: Model, volume: Array, body: Mask, spacing_mm: Spacing) -> Seen:
    """Return what the network makes of a volume in canonical order."""
    planes = _pixels(volume, spacing_mm)
    inside = _pixels(body.astype(np.float32), spacing_mm) > 0.5
    corners = _windows(model, planes, inside)
    classes = np.zeros(planes.shape, np.uint8)
    agreement, certainty, over_psoas = np.zeros(len(planes)), np.zeros(len(planes)), np.ones(len(planes))
    for k, found in _run(model, planes, corners, range(len(planes))):
        mean = found.mean(axis=0)
        label = mean.argmax(axis=0).astype(np.uint8)
        muscle = np.isin(label, POSTERIOR)
        agreement[k] = np.mean([dice(np.isin(one.argmax(axis=0), POSTERIOR), muscle) for one in found])
        certainty[k] = float(mean[list(POSTERIOR)].sum(axis=0)[muscle].mean()) if muscle.any() else 0.0
        psoas = np.isin(label, (Class.PSOAS_LEFT, Class.PSOAS_RIGHT))
        if muscle.any() and psoas.sum() * PIXEL_MM**2 >= LEAST_AREA_MM2:
            image = _cut(planes[k], corners[k])
            over_psoas[k] = float(np.median(image[muscle])) / max(float(np.median(image[psoas])), 1e-6)
        _paste(classes[k], label, corners[k])
    return _with_sides(classes, agreement, certainty, over_psoas)


def _pixels(volume: Array, spacing_mm: Spacing) -> Array:
    """Return the planes on pixels of 1.5 mm."""
    steps = [PIXEL_MM / spacing_mm[1], PIXEL_MM / spacing_mm[2]]
    blur = [max(0.0, (step - 1) / 2) for step in steps]  # no aliasing when going to larger pixels
    planes: Array = np.stack(
        [_zoomed(ndimage.gaussian_filter(one, blur), [1 / step for step in steps]) for one in volume]
    )
    return planes


def _zoomed(plane: Array, factors: Sequence[float]) -> Array:
    zoomed: Array = ndimage.zoom(plane, factors, order=1, grid_mode=True, mode="nearest")
    return zoomed


def _windows(model: Model, planes: Array, inside: Mask) -> Corners:
    """Return row and column of the upper right corner of each slice's window, shape (slices, 2).

    Columns are about the canal, once it was seen in a few slices; rows end behind the skin.
    """
    used = np.nonzero(inside.any(axis=(1, 2)))[0]
    columns = np.nonzero(inside.any(axis=(0, 1)))[0]
    centre = float(columns[0] + columns[-1]) / 2
    corners = _corners(inside, centre)
    few = used[np.linspace(0, len(used) - 1, min(5, len(used))).round().astype(int)]
    canals = []
    for k, found in _run(model, planes, corners, few):
        canal = np.argwhere(found.mean(axis=0).argmax(axis=0) == Class.CANAL)
        if len(canal) * PIXEL_MM**2 >= LEAST_CANAL_MM2:
            canals.append(corners[k, 1] + canal[:, 1].mean())
    if canals:
        corners = _corners(inside, float(np.median(canals)))
    return corners


def _corners(inside: Mask, centre: float) -> Corners:
    rows, columns = inside.shape[1:]
    near = slice(max(0, int(centre - 40 / PIXEL_MM)), min(columns, int(centre + 40 / PIXEL_MM) + 1))
    part = inside[:, :, near]
    last = rows - 1 - part[:, ::-1].argmax(axis=1)
    there: Mask = np.asarray(part.any(axis=1))
    skin = np.array([np.median(one[used]) if used.any() else np.nan for one, used in zip(last, there, strict=True)])
    known = np.isfinite(skin)
    skin = (
        np.interp(np.arange(len(skin)), np.nonzero(known)[0], skin[known]) if known.any() else np.full(len(skin), rows)
    )
    skin = ndimage.median_filter(skin, 3, mode="nearest")
    first = np.round(skin).astype(np.intp) + 1 + _BEHIND_SKIN - WINDOW[0]
    return np.stack([first, np.full(len(first), round(centre) - WINDOW[1] // 2, np.intp)], axis=1)


def _run(model: Model, planes: Array, corners: Corners, which: Sequence[int] | Corners) -> Iterator[tuple[int, Array]]:
    """Yield number and probabilities, shape (passes, classes, rows, columns), of each slice wanted."""
    for begin in range(0, len(which), _WINDOWS_AT_ONCE):
        part = which[begin : begin + _WINDOWS_AT_ONCE]
        found = model.probabilities(np.stack([_cut(planes[k], corners[k]) for k in part]))
        yield from zip(map(int, part), found, strict=True)


def _overlap(shape: tuple[int, ...], corner: Corners) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return which part of a plane, and which of the window, lie on one another."""
    plane, window = [], []
    for size, length, first in zip(shape, WINDOW, map(int, corner), strict=True):
        begin, end = max(0, first), max(0, min(size, first + length))
        plane.append(slice(begin, end))
        window.append(slice(begin - first, end - first))
    return (plane[0], plane[1]), (window[0], window[1])


def _cut(plane: Array, corner: Corners) -> Array:
    image = np.zeros(WINDOW, np.float32)
    there, here = _overlap(plane.shape, corner)
    image[here] = plane[there]
    return image


def _paste(plane: Codes, label: Codes, corner: Corners) -> None:
    there, here = _overlap(plane.shape, corner)
    plane[there] = label[here]


def _with_sides(classes: Codes, agreement: Floats, certainty: Floats, over_psoas: Floats) -> Seen:
    middle, leftward = _frame(classes)
    row, column = np.mgrid[: classes.shape[1], : classes.shape[2]].astype(np.float32)
    sides = np.zeros(classes.shape, np.uint8)
    behind = np.zeros(classes.shape, bool)
    lateral = np.zeros(classes.shape, np.float32)
    for k, ((r, c), (down, left)) in enumerate(zip(middle, leftward, strict=True)):
        lateral[k] = ((row - r) * down + (column - c) * left) * PIXEL_MM
        behind[k] = ((row - r) * left - (column - c) * down) * PIXEL_MM > -_BEFORE_CANAL_MM
    muscle = np.isin(classes, POSTERIOR)
    named_left = np.isin(classes, LEFT)
    astray = ((muscle & (named_left != (lateral > 0))).sum(axis=(1, 2))) / np.maximum(1, muscle.sum(axis=(1, 2)))
    possible = muscle & behind & (np.abs(lateral) < _LATERAL_MM)
    closing = disk(_CLOSE_MM, (1.0, PIXEL_MM, PIXEL_MM))[0]
    canal = classes == Class.CANAL
    for side, half in ((1, lateral > 0), (2, lateral <= 0)):
        piece = _largest(possible & half)
        for k in map(int, np.nonzero(piece.any(axis=(1, 2)))[0]):
            box = _box(piece[k], 2 * closing.shape[0])
            filled = ndimage.binary_fill_holes(ndimage.binary_closing(piece[k][box], closing))
            sides[k][box][filled & half[k][box] & ~canal[k][box]] = side
    astray = astray.astype(np.float64)
    return Seen(classes, sides, lateral, agreement, certainty, middle, leftward, astray, over_psoas)


def _frame(classes: Codes) -> tuple[Floats, Floats]:
    """Return where the canal is in each slice, and which way left is; from the neighbours where it does not show."""
    count = len(classes)
    middle, across = np.full((count, 2), np.nan), np.full((count, 2), np.nan)
    for k, plane in enumerate(classes):
        canal = np.argwhere(plane == Class.CANAL)
        if len(canal) * PIXEL_MM**2 >= LEAST_CANAL_MM2:
            middle[k] = np.median(canal, axis=0)
        left, right = (np.argwhere(np.isin(plane, side)) for side in (LEFT, RIGHT))
        if min(len(left), len(right)) * PIXEL_MM**2 >= LEAST_AREA_MM2:
            across[k] = left.mean(axis=0) - right.mean(axis=0)
            across[k] /= max(float(np.linalg.norm(across[k])), 1e-6)
    middle = _filled(middle, np.array([classes.shape[1] / 2, classes.shape[2] / 2]))
    straight = np.array([0.0, 1.0])
    across = ndimage.median_filter(_filled(across, straight), (5, 1), mode="nearest")
    across[across[:, 1] < _LEAST_LEFTWARD] = straight  # whatever the network says, left is left
    return middle, across / np.linalg.norm(across, axis=1, keepdims=True)


def _filled(values: Floats, otherwise: Floats) -> Floats:
    known = np.isfinite(values[:, 0])
    if not known.any():
        return np.tile(otherwise, (len(values), 1))
    where = np.nonzero(known)[0]
    every = np.arange(len(values))
    return np.stack([np.interp(every, where, column[known]) for column in values.T], axis=1)


def _largest(mask: Mask) -> Mask:
    """Return the largest piece of a mask."""
    pieces, count = ndimage.label(mask)
    if count == 0:
        return mask
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)
    piece: Mask = pieces == 1 + int(np.argmax(sizes[1:]))
    return piece


def _box(mask: Mask, margin: int) -> tuple[slice, slice]:
    """Return the part of a plane that holds a mask, with a margin of pixels."""
    rows, columns = np.nonzero(mask)
    return (
        slice(max(0, int(rows.min()) - margin), int(rows.max()) + 1 + margin),
        slice(max(0, int(columns.min()) - margin), int(columns.max()) + 1 + margin),
    )


def dice(one: Mask, other: Mask) -> float:
    """Return the overlap of two masks, 0 if both are empty."""
    return 2 * float((one & other).sum()) / max(1, int(one.sum()) + int(other.sum()))
