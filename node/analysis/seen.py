"""What the network makes of a volume: a window of each slice, its classes, and how sure it was.

The network names the side of a muscle, but it is not asked: left is where the geometry of the volume says left is, seen
from the canal.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from node.analysis.grid import Spacing, disk
from node.analysis.network import PIXEL_MM, WINDOW, Class, Model
from node.analysis.threads import ahead
from node.ports import Array, Mask

LEAST_CANAL_MM2 = 50.0
LEAST_AREA_MM2 = 200.0  # of a side, or of psoas, that is worth a figure
CUT_OFF_MM = 4.5  # of muscle in the last row of a window, which then lies too far in front. Chosen
_BEHIND_SKIN = 8  # rows of the window
_BACK_STEP, _FARTHEST_BACK = 32, 96  # rows by which the window is moved where it shows no back, or not all of it
_WINDOWS_AT_ONCE = 4  # more are no faster on a CPU: their activations leave its cache (measured 2026-11-26)
_ALIKE_MM = 4.0  # standard deviation by which a neighbouring slice counts; chosen on TUM01 and two volumes of 3 mm
_BEFORE_CANAL_MM = 12.0  # muscle begins no farther in front of the canal's middle
_LATERAL_MM = 100.0
_FARTHEST_MM = 60.0  # of a canal from those of the other slices; chosen: a second spine was seen before a belly
_SURE = 0.6  # probability of psoas; what is called so in kidney or fat has less (TotalSegmentator MR, 2026-11-26)
_AS_BRIGHT = 0.25  # chosen
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
        What the passes over the slice say of what came out with the neighbours' vote: mean Dice with it, and the mean
        probability of what is called posterior muscle.
    middle : ndarray, shape (slices, 2)
        Row and column of the canal, or where it should be.
    leftward : ndarray, shape (slices, 2)
        Unit vector from right to left in each slice: the patient may lie askew.
    astray : ndarray, shape (slices,)
        Share of the muscle for which the network named the side that it is not on.
    over_psoas : ndarray, shape (slices,)
        Signal of the compartment over that of psoas, medians; NaN where no psoas is for certain.
    like_fat : ndarray, shape (slices,)
        The same where the compartment is also as bright as what lies behind it, within a quarter; else NaN.
    cut_mm : ndarray, shape (slices,)
        How much muscle lies in the last row of the window: behind it there may be more.
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
    like_fat: Floats
    cut_mm: Floats


def look(model: Model, volume: Array, body: Mask, spacing_mm: Spacing) -> Seen:
    """Return what the network makes of a volume in canonical order."""
    planes = _pixels(volume, spacing_mm)
    inside = _pixels(body.astype(np.float32), spacing_mm) > 0.5
    corners = _windows(model, planes, inside)
    classes = np.zeros(planes.shape, np.uint8)
    agreement, certainty, cut_mm = np.zeros((3, len(planes)))
    over_psoas, like_fat = np.full((2, len(planes)), np.nan)
    for k, found, mean in _with_neighbours(_run(model, planes, corners, range(len(planes))), corners, spacing_mm[0]):
        if not inside[k].any():
            continue  # the network was taught by no empty slice, and sees things in it
        label = mean.argmax(axis=0).astype(np.uint8)
        muscle = np.isin(label, POSTERIOR)
        cut_mm[k] = _cut_off_mm(label)
        agreement[k] = np.mean([dice(np.isin(one.argmax(axis=0), POSTERIOR), muscle) for one in found])
        certainty[k] = float(found[:, list(POSTERIOR)].sum(axis=1)[:, muscle].mean()) if muscle.any() else 0.0
        psoas = mean[[Class.PSOAS_LEFT, Class.PSOAS_RIGHT]].max(axis=0) >= _SURE
        if muscle.any() and psoas.sum() * PIXEL_MM**2 >= LEAST_AREA_MM2:
            image = _cut(planes[k], corners[k])
            signal = float(np.median(image[muscle]))
            over_psoas[k] = signal / max(float(np.median(image[psoas])), 1e-6)
            behind = _behind(muscle) & (label == Class.BODY)
            if behind.any() and abs(signal / max(float(np.median(image[behind])), 1e-6) - 1) <= _AS_BRIGHT:
                like_fat[k] = over_psoas[k]
        _paste(classes[k], label, corners[k])
    return place_sides(classes, agreement, certainty, over_psoas, like_fat, cut_mm)


def _cut_off_mm(label: Codes) -> float:
    return float(np.isin(label[-1], POSTERIOR).sum()) * PIXEL_MM


def _behind(muscle: Mask) -> Mask:
    """Return the strip from 3 to 7.5 mm behind the muscle: the fat below the skin."""
    behind = np.zeros_like(muscle)
    behind[5:] = muscle[:-5]
    strip: Mask = behind & ~ndimage.binary_dilation(muscle, iterations=2)
    return strip


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

    Columns are about the canal, once it was seen in a few slices. Rows end behind the skin; or farther back, if most of
    these slices show no canal there, or their muscle goes on behind: where fat is as dark as air, the skin is not seen.
    """
    used = np.nonzero(inside.any(axis=(1, 2)))[0]
    columns = np.nonzero(inside.any(axis=(0, 1)))[0]
    centre = float(columns[0] + columns[-1]) / 2
    few = used[np.linspace(0, len(used) - 1, min(5, len(used))).round().astype(int)]
    otherwise = centre
    for back in range(0, _FARTHEST_BACK + 1, _BACK_STEP):
        corners = _corners(inside, centre, back)
        labels = {k: found.mean(axis=0).argmax(axis=0) for k, found in _run(model, planes, corners, few)}
        canals = [
            corners[k, 1] + np.nonzero(label == Class.CANAL)[1].mean()
            for k, label in labels.items()
            if (label == Class.CANAL).sum() * PIXEL_MM**2 >= LEAST_CANAL_MM2
        ]
        whole = np.median([_cut_off_mm(one) for one in labels.values()]) < CUT_OFF_MM
        if whole and 2 * len(canals) >= len(few):
            return _corners(inside, float(np.median(canals)), back)
        if canals and back == 0:
            otherwise = float(np.median(canals))
    return _corners(inside, otherwise, 0)


def _corners(inside: Mask, centre: float, back: int) -> Corners:
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
    first = np.round(skin).astype(np.intp) + 1 + _BEHIND_SKIN + back - WINDOW[0]
    return np.stack([first, np.full(len(first), round(centre) - WINDOW[1] // 2, np.intp)], axis=1)


def _run(model: Model, planes: Array, corners: Corners, which: Sequence[int] | Corners) -> Iterator[tuple[int, Array]]:
    """Yield number and probabilities, shape (passes, classes, rows, columns), of each slice wanted."""
    parts = [which[begin : begin + _WINDOWS_AT_ONCE] for begin in range(0, len(which), _WINDOWS_AT_ONCE)]
    found = (model.probabilities(np.stack([_cut(planes[k], corners[k]) for k in part])) for part in parts)
    for part, probabilities in zip(parts, ahead(found), strict=True):
        yield from zip(map(int, part), probabilities, strict=True)


def _with_neighbours(
    runs: Iterator[tuple[int, Array]], corners: Corners, spacing_mm: float
) -> Iterator[tuple[int, Array, Array]]:
    """Yield of each slice its number, the probabilities of its passes, and their mean with those of the two neighbours.

    Anatomy goes on from slice to slice, but what misleads the network mostly does not. Neighbours count the less the
    farther they are.
    """
    weight = np.float32(np.exp(-0.5 * (spacing_mm / _ALIKE_MM) ** 2))
    before: tuple[int, Array, Array] | None = None
    here: tuple[int, Array, Array] | None = None
    for after in itertools.chain(((k, found, found.mean(axis=0)) for k, found in runs), [None]):
        if here is not None:
            k, found, own = here
            total, weights = own.copy(), np.float32(1)
            for neighbour in (before, after):
                if neighbour is not None:
                    j, _, theirs = neighbour
                    there, ours = _shared_rows(int(corners[j, 0] - corners[k, 0]))
                    total[:, ours] += weight * theirs[:, there]
                    weights = weights + weight
            yield k, found, total / weights
        before, here = here, after


def _shared_rows(step: int) -> tuple[slice, slice]:
    """Return which rows of a window that lies `step` rows farther back, and which of ours, lie on one another."""
    rows = WINDOW[0]
    there = slice(max(0, -step), max(0, min(rows, rows - step)))
    return there, slice(min(rows, max(0, step)), max(0, min(rows, rows + step)))


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


def place_sides(
    classes: Codes, agreement: Floats, certainty: Floats, over_psoas: Floats, like_fat: Floats, cut_mm: Floats
) -> Seen:
    """Return classes with the side of each muscle by geometry; the others as of `Seen`, which they go into."""
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
    return Seen(classes, sides, lateral, agreement, certainty, middle, leftward, astray, over_psoas, like_fat, cut_mm)


def _frame(classes: Codes) -> tuple[Floats, Floats]:
    """Return where the canal is in each slice, and which way left is; from the neighbours where it does not show."""
    count = len(classes)
    middle, across = np.full((count, 2), np.nan), np.full((count, 2), np.nan)
    for k, plane in enumerate(classes):
        canal = np.argwhere(_largest(plane == Class.CANAL))
        if len(canal) * PIXEL_MM**2 >= LEAST_CANAL_MM2:
            middle[k] = np.median(canal, axis=0)
        left, right = (np.argwhere(np.isin(plane, side)) for side in (LEFT, RIGHT))
        if min(len(left), len(right)) * PIXEL_MM**2 >= LEAST_AREA_MM2:
            across[k] = left.mean(axis=0) - right.mean(axis=0)
            across[k] /= max(float(np.linalg.norm(across[k])), 1e-6)
    if np.isfinite(middle).any():
        off = np.linalg.norm(middle - np.nanmedian(middle, axis=0), axis=1) * PIXEL_MM
        middle[off > _FARTHEST_MM] = np.nan
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
