"""From what the network saw to the labels of the port, on the voxels of the volume; sides by geometry."""

import numpy as np
from scipy import ndimage

from node.analysis.network import PIXEL_MM, Class
from node.analysis.seen import POSTERIOR, Codes, Seen
from node.ports import PARTS, Array

CANAL, BONE = 9, 10  # beside the labels of `PARTS`
_MUSCLES = {  # classes that one muscle has by its two sides
    "multifidus": (Class.MULTIFIDUS_LEFT, Class.MULTIFIDUS_RIGHT),
    "erector spinae": (Class.ERECTOR_LEFT, Class.ERECTOR_RIGHT),
    "psoas": (Class.PSOAS_LEFT, Class.PSOAS_RIGHT),
    "quadratus lumborum": (Class.QUADRATUS_LEFT, Class.QUADRATUS_RIGHT),
}
_COMPARTMENT = ("multifidus", "erector spinae")
_SPINE_MM = 80.0  # from the canal to the end of a spine, chosen: a second one was seen in the dark before a belly
_SIDES = np.zeros(256, np.uint8)  # of the posterior compartment, by label
for _label, (_muscle, _side) in PARTS.items():
    _SIDES[_label] = {"left": 1, "right": 2}[_side] if _muscle in _COMPARTMENT else 0


def structures(seen: Seen) -> Codes:
    """Return the labels of `PARTS`, `CANAL` and `BONE` on the network's pixels.

    What was filled or closed within the compartment is of the muscle that is nearest: a lesion stays muscle.
    """
    labels = np.zeros(seen.classes.shape, np.uint8)
    _, rows, columns = seen.classes.shape
    row, column = np.ogrid[:rows, :columns]
    middle = seen.middle[:, :, None, None]
    near = np.hypot(row - middle[:, 0], column - middle[:, 1]) * PIXEL_MM <= _SPINE_MM
    if not (seen.classes == Class.CANAL).any():
        near[:] = True  # nothing tells where the spine is
    labels[np.isin(seen.classes, (Class.VERTEBRA, Class.SACRUM)) & near] = BONE
    labels[(seen.classes == Class.CANAL) & near] = CANAL
    left = seen.lateral_mm > 0
    for label, (muscle, side) in PARTS.items():
        if muscle in _COMPARTMENT:
            continue
        here = np.isin(seen.classes, _MUSCLES[muscle]) & (left == (side == "left")) & (seen.sides == 0)
        labels[here] = label
    compartment = seen.sides > 0
    for k in map(int, np.nonzero(compartment.any(axis=(1, 2)))[0]):
        labels[k][compartment[k]] = _within(seen.classes[k], seen.sides[k])[compartment[k]]
    return labels


def _within(classes: Codes, sides: Codes) -> Codes:
    """Return the labels of multifidus and erector spinae in one slice, by the nearest pixel so called."""
    unnamed = (sides > 0) & ~np.isin(classes, POSTERIOR)
    if unnamed.any():
        rows, columns = (slice(int(one.min()), int(one.max()) + 1) for one in np.nonzero(sides))
        part = classes[rows, columns]
        nearest = ndimage.distance_transform_edt(~np.isin(part, POSTERIOR), return_distances=False, return_indices=True)
        classes = classes.copy()
        classes[rows, columns] = part[tuple(nearest)]
    labels = np.zeros(sides.shape, np.uint8)
    for label, (muscle, side) in PARTS.items():
        if muscle in _COMPARTMENT:
            labels[np.isin(classes, _MUSCLES[muscle]) & (sides == (1 if side == "left" else 2))] = label
    return labels


def sides_of(labels: Codes) -> Codes:
    """Return the posterior compartment of labels of `PARTS`: 1 left, 2 right."""
    return _SIDES[labels]


def on_voxels(codes: Codes, shape: tuple[int, ...]) -> Codes:
    """Return codes on the volume's own pixels, with smooth borders.

    Each code is interpolated as a mask of its own, and the one that has most of a voxel takes it.
    """
    out = np.zeros(shape, np.uint8)
    down, across = _linear(codes.shape[1], shape[1]), _linear(codes.shape[2], shape[2])
    for k in map(int, np.nonzero(codes.any(axis=(1, 2)))[0]):
        rest, best = np.ones(shape[1:], np.float32), np.zeros(shape[1:], np.float32)
        for code in np.unique(codes[k])[1:]:
            here = codes[k] == code
            rows, columns = (np.nonzero(here.any(axis=axis))[0] for axis in (1, 0))
            given = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
            wanted = _reached(down[:, given[0]]), _reached(across[:, given[1]])
            share = down[wanted[0], given[0]] @ here[given].astype(np.float32) @ across[wanted[1], given[1]].T
            out[k][wanted][share > best[wanted]] = code
            best[wanted] = np.maximum(best[wanted], share)
            rest[wanted] -= share
        out[k][rest >= best] = 0
    return out


def _linear(count: int, wanted: int) -> Array:
    """Return the matrix, shape (wanted, count), that interpolates linearly between the centres of pixels."""
    centre = np.clip((np.arange(wanted) + 0.5) * count / wanted - 0.5, 0, count - 1)
    matrix: Array = np.maximum(0, 1 - np.abs(centre[:, None] - np.arange(count))).astype(np.float32)
    return matrix


def _reached(matrix: Array) -> slice:
    used = np.nonzero(matrix.any(axis=1))[0]
    return slice(int(used[0]), int(used[-1]) + 1) if used.size else slice(0, 0)
