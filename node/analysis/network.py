"""The learned segmenter: a small U-Net on axial slices, run by ONNX Runtime, and gates that say where to believe it.

The network was taught by drawn slices alone (`training/`, docs/model-card.md). It names the side of a muscle, but it is
not asked: left is where the geometry of the volume says left is, and a slice where the two differ is not accepted.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from node.analysis.body import body_mask
from node.analysis.grid import Spacing, disk
from node.errors import PluginError
from node.findings import Gate
from node.ports import Array, Mask, Segmentation

PIXEL_MM = 1.5
WINDOW = (128, 160)  # rows front to back, columns right to left: 192 x 240 mm, from behind the skin of the back
_BEHIND_SKIN = 8  # rows of the window
_LOCAL_PIXELS = 10.0  # Gaussian within which contrast is local: 15 mm
_PASSES = ((False, 1.0), (True, 0.75))  # mirrored or not, gamma
_WINDOWS_AT_ONCE = 8  # 0.2 GB while the network runs

Codes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]


class Class(IntEnum):
    """What the network tells apart. The order is that of its outputs."""

    BACKGROUND = 0
    MULTIFIDUS_LEFT = 1
    MULTIFIDUS_RIGHT = 2
    ERECTOR_LEFT = 3
    ERECTOR_RIGHT = 4
    PSOAS_LEFT = 5
    PSOAS_RIGHT = 6
    VERTEBRA = 7
    CANAL = 8
    QUADRATUS_LEFT = 9
    QUADRATUS_RIGHT = 10
    BODY = 11
    SACRUM = 12


_LEFT = (Class.MULTIFIDUS_LEFT, Class.ERECTOR_LEFT)
_RIGHT = (Class.MULTIFIDUS_RIGHT, Class.ERECTOR_RIGHT)
_POSTERIOR = (*_LEFT, *_RIGHT)
_MIRRORED = [0, 2, 1, 4, 3, 6, 5, 7, 8, 10, 9, 11, 12]


def channels(image: Array) -> Array:
    """Return what the network sees of one slice, shape (2, rows, columns): global scale, and local contrast.

    The second channel is divided by the local spread, so that the coil's shading drops out.
    """
    bright = image[image > np.quantile(image, 0.2)]
    top = (float(np.quantile(bright, 0.98)) if bright.size else 0.0) + 1e-6
    scaled = np.clip(image / np.float32(top), 0, 1.5).astype(np.float32)
    mean = ndimage.gaussian_filter(scaled, _LOCAL_PIXELS)
    spread = np.sqrt(np.clip(ndimage.gaussian_filter(scaled * scaled, _LOCAL_PIXELS) - mean * mean, 1e-6, None))
    local = np.clip((scaled - mean) / (spread + np.float32(0.02)), -3, 3) / 2
    both: Array = np.stack([(scaled - np.float32(0.35)) / np.float32(0.3), local]).astype(np.float32)
    return both


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A network and what it says of itself."""

    session: Any  # onnxruntime.InferenceSession, which is untyped
    version: str

    def probabilities(self, images: Array) -> Array:
        """Return class probabilities, shape (n, passes, classes, rows, columns), of n slices of shape WINDOW."""
        seen = []
        for image in images:
            scaled = np.clip(image, 0, None) / max(float(image.max()), 1e-6)
            for mirrored, gamma in _PASSES:
                seen.append(channels((scaled[:, ::-1] if mirrored else scaled) ** np.float32(gamma)))
        logits: Array = self.session.run(None, {"image": np.stack(seen)})[0]
        logits = np.exp(logits - logits.max(axis=1, keepdims=True))
        logits /= logits.sum(axis=1, keepdims=True)
        found: Array = logits.reshape(len(images), len(_PASSES), len(Class), *WINDOW)
        for i, (mirrored, _) in enumerate(_PASSES):
            if mirrored:
                found[:, i] = found[:, i, _MIRRORED, :, ::-1]
        return found


@cache
def shipped_model() -> Model:
    """Return the model that comes with the node.

    Raises
    ------
    PluginError
        If the file is not the one that its contract names.
    """
    folder = resources.files("node.analysis") / "models"
    return read_model((folder / "segmenter.onnx").read_bytes(), (folder / "segmenter.json").read_text("utf-8"))


def read_model(network: bytes, contract: str) -> Model:
    """Return the model of an ONNX file and its contract (JSON), after both were checked."""
    import onnxruntime  # 0.1 s and 30 MB, which the classical segmenter does not need

    wanted = json.loads(contract)
    if hashlib.sha256(network).hexdigest() != wanted["sha256"]:
        raise PluginError("the network's file does not have the SHA-256 that its contract names")
    if wanted["output"]["classes"] != [one.name.lower() for one in Class]:
        raise PluginError("the network's classes are not those of this version")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
    return Model(session, str(wanted["version"]))


@dataclass(frozen=True, slots=True)
class NetworkSegmenter:
    """Segments by the U-Net, slice by slice; see the module."""

    name: str = "unet"
    model: Model = field(default_factory=shipped_model)

    @property
    def version(self) -> str:
        return self.model.version

    def segment(self, volume: Array, *, spacing_mm: tuple[float, float, float]) -> Segmentation:
        """Return the segmentation of a volume in canonical order (head, back, left); spacing in the same order."""
        body = body_mask(volume, spacing_mm)
        if not body.any():
            gate = Gate("SEG-BODY", 0.0, "a body in the volume", False)
            none = np.zeros(volume.shape, bool)
            return Segmentation(none.astype(np.uint8), body, none, np.zeros(len(volume), bool), (gate,), "low")
        seen = look(self.model, volume, body, spacing_mm)
        accepted, gates = judge(seen)
        return Segmentation(
            muscles=on_voxels(seen.sides, volume.shape),
            body=body,
            canal=on_voxels((seen.classes == Class.CANAL).astype(np.uint8), volume.shape) > 0,
            accepted=accepted,
            gates=gates,
            confidence="low",
        )


# -- what the network sees


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What the network made of a volume, on pixels of 1.5 mm, and how sure it was.

    Parameters
    ----------
    classes, sides : ndarray of uint8, shape (slices, rows, columns)
        `Class` of each pixel; posterior compartment, 1 left and 2 right.
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
        muscle = np.isin(label, _POSTERIOR)
        agreement[k] = np.mean([_dice(np.isin(one.argmax(axis=0), _POSTERIOR), muscle) for one in found])
        certainty[k] = float(mean[list(_POSTERIOR)].sum(axis=0)[muscle].mean()) if muscle.any() else 0.0
        psoas = np.isin(label, (Class.PSOAS_LEFT, Class.PSOAS_RIGHT))
        if muscle.any() and psoas.sum() * PIXEL_MM**2 >= _LEAST_AREA_MM2:
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


def _windows(model: Model, planes: Array, inside: Mask) -> npt.NDArray[np.intp]:
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
        if len(canal) * PIXEL_MM**2 >= _LEAST_CANAL_MM2:
            canals.append(corners[k, 1] + canal[:, 1].mean())
    if canals:
        corners = _corners(inside, float(np.median(canals)))
    return corners


def _corners(inside: Mask, centre: float) -> npt.NDArray[np.intp]:
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


def _run(
    model: Model, planes: Array, corners: npt.NDArray[np.intp], which: Sequence[int] | npt.NDArray[np.intp]
) -> Iterator[tuple[int, Array]]:
    """Yield number and probabilities, shape (passes, classes, rows, columns), of each slice wanted."""
    for begin in range(0, len(which), _WINDOWS_AT_ONCE):
        part = which[begin : begin + _WINDOWS_AT_ONCE]
        found = model.probabilities(np.stack([_cut(planes[k], corners[k]) for k in part]))
        yield from zip(map(int, part), found, strict=True)


def _overlap(shape: tuple[int, ...], corner: npt.NDArray[np.intp]) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return which part of a plane, and which of the window, lie on one another."""
    plane, window = [], []
    for size, length, first in zip(shape, WINDOW, map(int, corner), strict=True):
        begin, end = max(0, first), max(0, min(size, first + length))
        plane.append(slice(begin, end))
        window.append(slice(begin - first, end - first))
    return (plane[0], plane[1]), (window[0], window[1])


def _cut(plane: Array, corner: npt.NDArray[np.intp]) -> Array:
    image = np.zeros(WINDOW, np.float32)
    there, here = _overlap(plane.shape, corner)
    image[here] = plane[there]
    return image


def _paste(plane: Codes, label: Codes, corner: npt.NDArray[np.intp]) -> None:
    there, here = _overlap(plane.shape, corner)
    plane[there] = label[here]


# -- sides


def _with_sides(classes: Codes, agreement: Floats, certainty: Floats, over_psoas: Floats) -> Seen:
    middle, leftward = _frame(classes)
    row, column = np.mgrid[: classes.shape[1], : classes.shape[2]].astype(np.float32)
    sides = np.zeros(classes.shape, np.uint8)
    behind = np.zeros(classes.shape, bool)
    lateral = np.zeros(classes.shape, np.float32)
    for k, ((r, c), (down, left)) in enumerate(zip(middle, leftward, strict=True)):
        lateral[k] = ((row - r) * down + (column - c) * left) * PIXEL_MM
        behind[k] = ((row - r) * left - (column - c) * down) * PIXEL_MM > -_BEFORE_CANAL_MM
    muscle = np.isin(classes, _POSTERIOR)
    named_left = np.isin(classes, _LEFT)
    astray = ((muscle & (named_left != (lateral > 0))).sum(axis=(1, 2))) / np.maximum(1, muscle.sum(axis=(1, 2)))
    possible = muscle & behind & (np.abs(lateral) < _LATERAL_MM)
    closing = disk(_CLOSE_MM, (1.0, PIXEL_MM, PIXEL_MM))[0]
    canal = classes == Class.CANAL
    for side, half in ((1, lateral > 0), (2, lateral <= 0)):
        piece = _largest(possible & half)
        for k in map(int, np.nonzero(piece.any(axis=(1, 2)))[0]):
            filled = ndimage.binary_fill_holes(ndimage.binary_closing(piece[k], closing))
            sides[k][filled & half[k] & ~canal[k]] = side
    return Seen(classes, sides, agreement, certainty, middle, leftward, astray.astype(np.float64), over_psoas)


def _frame(classes: Codes) -> tuple[Floats, Floats]:
    """Return where the canal is in each slice, and which way left is; from the neighbours where it does not show."""
    count = len(classes)
    middle, across = np.full((count, 2), np.nan), np.full((count, 2), np.nan)
    for k, plane in enumerate(classes):
        canal = np.argwhere(plane == Class.CANAL)
        if len(canal) * PIXEL_MM**2 >= _LEAST_CANAL_MM2:
            middle[k] = np.median(canal, axis=0)
        left, right = (np.argwhere(np.isin(plane, side)) for side in (_LEFT, _RIGHT))
        if min(len(left), len(right)) * PIXEL_MM**2 >= _LEAST_AREA_MM2:
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


def on_voxels(codes: Codes, shape: tuple[int, ...]) -> Codes:
    """Return codes 0, 1, 2 on the volume's own pixels, with smooth borders."""
    out = np.zeros(shape, np.uint8)
    used = np.nonzero(codes.any(axis=(1, 2)))[0]
    factors = [wanted / given for wanted, given in zip(shape[1:], codes.shape[1:], strict=True)]
    for k in used:
        best = np.full(shape[1:], 0.5, np.float32)
        for code in np.unique(codes[k])[1:]:
            share = ndimage.zoom(
                (codes[k] == code).astype(np.float32), factors, order=1, grid_mode=True, mode="nearest"
            )
            out[k][share > best] = code
            best = np.maximum(best, share)
    return out


# -- gates

_BEFORE_CANAL_MM = 12.0  # muscle begins no farther in front of the canal's middle
_LATERAL_MM = 100.0
_CLOSE_MM = 4.5
_LEAST_LEFTWARD = 0.8  # cosine: a patient turned by more than 37 degrees is not measured
_LEAST_CANAL_MM2 = 50.0
_LEAST_AREA_MM2 = 200.0


@dataclass(frozen=True, slots=True)
class _Limit:
    """What a figure of a slice must be for the slice to be accepted."""

    code: str
    figure: str
    wanted: str
    least: float = -np.inf
    most: float = np.inf


# Chosen by what they let through and what they lose on drawn slices and on the real volumes of docs/model-card.md.
_LIMITS = (
    _Limit("SEG-1", "agreement", "Dice of the passes with their mean", least=0.90),
    _Limit("SEG-2", "smaller", "mm2 of the smaller side", least=_LEAST_AREA_MM2),
    _Limit("SEG-2", "larger", "mm2 of the larger side", most=6500.0),
    _Limit("SEG-3", "midline", "mm from the canal to the middle between the sides", most=8.0),
    _Limit("SEG-4", "ratio", "smaller over larger side", least=0.55),
    _Limit("SEG-5", "neighbour", "Dice with the neighbouring slices", least=0.75),
    _Limit("SEG-6", "mirror", "Dice of left and mirrored right", least=0.65),
    _Limit("SEG-7", "sacrum", "of the bone is sacrum", most=0.5),
    _Limit("SEG-8", "canal", "mm2 of canal", least=_LEAST_CANAL_MM2, most=900.0),
    _Limit("SEG-8", "bone", "mm2 of vertebra", least=120.0),
    _Limit("SEG-9", "certainty", "mean probability of muscle", least=0.85),
    _Limit("SEG-10", "astray", "of the muscle named after the other side", most=0.03),
    _Limit("SEG-11", "over psoas", "of the signal of psoas: muscle, not only its place", least=0.3, most=3.5),
)


def judge(seen: Seen) -> tuple[npt.NDArray[np.bool_], tuple[Gate, ...]]:
    """Return which slices keep all limits, and the gates: medians, passed if half of the slices keep the limit."""
    figures = figures_of(seen)
    accepted = np.ones(len(seen.sides), bool)
    gates = []
    for limit in _LIMITS:
        found = figures[limit.figure]
        kept = (found >= limit.least) & (found <= limit.most)
        accepted &= kept
        bounds = [f">= {limit.least:g}"] if limit.least > -np.inf else []
        bounds += [f"<= {limit.most:g}"] if limit.most < np.inf else []
        wanted = f"{' and '.join(bounds)} {limit.wanted}"
        gates.append(Gate(limit.code, round(float(np.median(found)), 3), wanted, bool(kept.mean() >= 0.5)))
    return accepted, tuple(gates)


def figures_of(seen: Seen) -> dict[str, Floats]:
    """Return what the gates look at, one figure a slice."""
    area = np.stack([(seen.sides == side).sum(axis=(1, 2)) for side in (1, 2)]) * PIXEL_MM**2
    smaller, larger = area.min(axis=0), area.max(axis=0)
    muscle = seen.sides > 0
    next_to = np.array([_dice(one, other) for one, other in zip(muscle[1:], muscle[:-1], strict=True)])
    neighbour = np.array([np.mean(next_to[max(0, k - 1) : k + 1]) if len(next_to) else 1.0 for k in range(len(muscle))])
    slices = list(zip(seen.sides, seen.middle, seen.leftward, strict=True))
    bone = np.isin(seen.classes, (Class.VERTEBRA, Class.SACRUM)).sum(axis=(1, 2))
    sacrum = (seen.classes == Class.SACRUM).sum(axis=(1, 2))
    return {
        "agreement": seen.agreement,
        "certainty": seen.certainty,
        "astray": seen.astray,
        "over psoas": seen.over_psoas,
        "smaller": smaller,
        "larger": larger,
        "ratio": smaller / np.maximum(larger, 1),
        "neighbour": neighbour,
        "midline": np.array([_off_middle(*one) for one in slices]),
        "mirror": np.array([_mirror_dice(*one) for one in slices]),
        "canal": (seen.classes == Class.CANAL).sum(axis=(1, 2)) * PIXEL_MM**2,
        "bone": bone * PIXEL_MM**2,
        "sacrum": sacrum / np.maximum(1, bone),
    }


def _dice(one: Mask, other: Mask) -> float:
    return 2 * float((one & other).sum()) / max(1, int(one.sum()) + int(other.sum()))


def _off_middle(sides: Codes, middle: Floats, leftward: Floats) -> float:
    """Return how far the middle between the two compartments lies from the canal's, mm."""
    left, right = (((np.argwhere(sides == side) - middle) @ leftward) * PIXEL_MM for side in (1, 2))
    if not left.size or not right.size:
        return 99.0
    return abs(float(np.percentile(left, 2) + np.percentile(right, 98))) / 2


def _mirror_dice(sides: Codes, middle: Floats, leftward: Floats) -> float:
    """Return the Dice of the left compartment, mirrored, with the right one."""
    left = np.argwhere(sides == 1)
    mirrored = left - 2 * np.outer((left - middle) @ leftward, leftward)
    rows, columns = np.clip(mirrored.round().astype(int), 0, np.array(sides.shape) - 1).T
    return 2 * float((sides[rows, columns] == 2).sum()) / max(1, int((sides > 0).sum()))
