"""Segmentation without learning: body, canal, and the left and right posterior paraspinal compartment.

It stands on fat: subcutaneous fat must be the brightest tissue of the back, and then muscle is what is dark beside the
midline, behind the vertebral arch. Where fat is not bright (fat suppression, water images, T2*), it says so and finds
nothing. How far it may be trusted is measured in docs/analysis.md; its confidence is "low" always.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from node.analysis.acceptance import judge
from node.analysis.body import body_mask, depth_mm, largest, otsu
from node.analysis.canal import find_canal
from node.analysis.grid import Box, Spacing, disk, masked_mean, whole
from node.analysis.itk import sitk
from node.findings import Gate
from node.ports import Array, Mask, Segmentation

_PIXEL_MM = 1.5
_HALF_WIDTH_MM, _DEPTH_MM = 120.0, 150.0  # of the window behind which nothing paraspinal lies
_FAT_REACH_MM = 25.0  # over which the signal of fat, and so the coil's sensitivity, is followed
# Of the voxels 3.5 to 9 mm below the skin of the back. T1: 0.94 to 1.0; T2* of a neck: 0.7; water: 0.5 (2026-11-26).
_LEAST_BRIGHT_LAYER = 0.8
# The compartment of one side as an ellipse in (distance from midline, depth below its dorsal surface): centre and
# generous half axes in mm. TUM01 has its centre at (35, 21) with 37 x 22 at all of L2-L5; measured 2026-11-26.
_CENTRE_MM = (35.0, 22.0)
_HALF_AXES_MM = (46.0, 29.0)
_CORE = 0.25  # of the squared ellipse: certainly muscle, where dark
_RIM, _RIM_WIDTH, _RIM_HEIGHT = 0.62, 0.12, 0.06  # the usual border: where, and how much of a slope it is worth


@dataclass(frozen=True, slots=True, eq=False)
class _Back:
    """The window of the back on 1.5 mm pixels: signal as a share of local fat, and where each voxel lies."""

    share: Array
    border: float  # of the share, between muscle and fat
    body: Mask
    lateral_mm: npt.NDArray[np.float64]  # from the midline, positive to the left; shape (columns,)
    depth_mm: Array  # below the skin
    spacing_mm: Spacing


@dataclass(frozen=True, slots=True)
class CompartmentSegmenter:
    """Parts muscle from fat by brightness and shape; see the module."""

    name: str = "compartments"
    version: str = "1.0"

    def segment(self, volume: Array, *, spacing_mm: tuple[float, float, float]) -> Segmentation:
        """Return the segmentation of a volume in canonical order (head, back, left); spacing in the same order."""
        body = body_mask(volume, spacing_mm)
        if not body.any():
            return _nothing(body, Gate("SEG-FAT", 0.0, "a body in the volume", False))
        box = _window(body, spacing_mm)
        back = _look(volume[box], body[box], spacing_mm)
        layer = _bright_layer(back)
        fat_gate = Gate(
            "SEG-FAT", round(layer, 2), f">= {_LEAST_BRIGHT_LAYER:g} of the layer below the skin bright",
            layer >= _LEAST_BRIGHT_LAYER,
        )  # fmt: skip
        if not fat_gate.passed:
            return _nothing(body, fat_gate)
        sides = _compartments(back, back.border)
        canal = find_canal(back.share, back.body, back.lateral_mm, back.depth_mm, sides > 0, back.spacing_mm)
        sides[canal] = 0
        others = [_compartments(back, back.border + step * (1 - back.border)) for step in (-0.2, 0.2)]
        accepted, gates = judge(sides, others, lateral_mm=back.lateral_mm, pixel_mm=(_PIXEL_MM, _PIXEL_MM))
        return Segmentation(
            muscles=whole(box, _zoom_back(sides, volume[box].shape), volume.shape),
            body=body,
            canal=whole(box, _zoom_back(canal.astype(np.uint8), volume[box].shape), volume.shape) > 0,
            accepted=accepted,
            gates=(fat_gate, *gates),
            confidence="low",
        )


def _nothing(body: Mask, gate: Gate) -> Segmentation:
    return Segmentation(
        muscles=np.zeros(body.shape, np.uint8),
        body=body,
        canal=np.zeros(body.shape, bool),
        accepted=np.zeros(body.shape[0], bool),
        gates=(gate,),
        confidence="low",
    )


def _window(body: Mask, spacing_mm: Spacing) -> Box:
    columns, rows = np.nonzero(body.any(axis=(0, 1)))[0], np.nonzero(body.any(axis=(0, 2)))[0]
    middle, half = (columns[0] + columns[-1]) / 2, _HALF_WIDTH_MM / spacing_mm[2]
    return (
        slice(0, body.shape[0]),
        slice(max(0, int(rows[-1] - _DEPTH_MM / spacing_mm[1])), int(rows[-1]) + 1),
        slice(max(0, int(middle - half)), min(body.shape[2], int(middle + half) + 1)),
    )


def _look(volume: Array, body: Mask, spacing_mm: Spacing) -> _Back:
    """Return the window as the rest of this module wants to see it."""
    zoom = (1.0, spacing_mm[1] / _PIXEL_MM, spacing_mm[2] / _PIXEL_MM)
    blur = (0.0, 0.5 / zoom[1], 0.5 / zoom[2])  # no aliasing when going to larger pixels
    signal: Array = ndimage.zoom(ndimage.gaussian_filter(volume, blur), zoom, order=1)
    inside = ndimage.zoom(body.astype(np.uint8), zoom, order=0) > 0
    spacing = (spacing_mm[0], _PIXEL_MM, _PIXEL_MM)
    depth = depth_mm(inside, spacing)
    middle = midline(signal, inside & (depth < 110))
    lateral = (np.arange(signal.shape[2], dtype=np.float64) - middle) * _PIXEL_MM
    zone = inside & (depth > 4) & (depth < 100) & (np.abs(lateral) < 85)
    share, border = _share_of_fat(signal, zone, spacing)
    return _Back(share, border, inside, lateral, depth, spacing)


def midline(signal: Array, zone: Mask) -> float:
    """Return the column about which the back is most like its mirror image, on pixels of about 1.5 mm."""
    columns = int(signal.shape[2])
    if not zone.any():
        return columns / 2
    image = np.log(np.clip(signal, 0, None) / max(float(np.median(signal[zone])), 1e-6) + 0.2)
    image = np.where(zone, image - ndimage.gaussian_filter(image, (0, 8, 8)), 0)
    reach = min(round(35 / _PIXEL_MM), columns // 4)
    best, likeness = columns / 2, float("-inf")
    for twice in range(columns - 2 * reach, columns + 2 * reach):
        half = min(twice / 2, columns - 1 - twice / 2, 60 / _PIXEL_MM)
        there = np.arange(int(np.ceil(twice / 2 - half)), int(np.floor(twice / 2 + half)) + 1)
        both = zone[..., there] & zone[..., twice - there]
        if not both.any():
            continue
        one, other = image[..., there][both], image[..., twice - there][both]
        energy = float(np.mean(one**2) * np.mean(other**2))
        found = float(np.mean(one * other)) / max(energy**0.5, 1e-9)
        if found > likeness:
            best, likeness = twice / 2, found
    return best


def _share_of_fat(signal: Array, zone: Mask, spacing_mm: Spacing) -> tuple[Array, float]:
    """Return the signal over that of the fat nearby, 1 being fat wherever the coil is; and where muscle ends on it."""
    sigma = (3 / spacing_mm[0], _FAT_REACH_MM / _PIXEL_MM, _FAT_REACH_MM / _PIXEL_MM)
    thresholds = [
        _between(plane[here]) if here.sum() > 200 else np.inf for plane, here in zip(signal, zone, strict=True)
    ]
    fat = zone & (signal > np.array(thresholds)[:, None, None])
    share, border = signal, 1.0
    for _ in range(3):
        level = masked_mean(signal, fat, lambda one: ndimage.gaussian_filter(one, sigma))
        share = signal / level.clip(min=1e-3 * float(signal.max()) + 1e-9)
        border = min(_between(share[zone]), 0.9) if zone.any() else 0.9
        fat = zone & (share > border)
    return share, border


def _between(values: Array) -> float:
    """Return what parts the darker from the brighter half of the values, by Otsu."""
    return float(otsu(np.clip(values, 0, np.percentile(values, 99)), 2)[0])


def _bright_layer(back: _Back) -> float:
    """Return how much of the layer below the skin is as bright as fat; all of it where fat is the brightest tissue."""
    layer = back.body & (np.abs(back.lateral_mm) < 70) & (back.depth_mm > 3.5) & (back.depth_mm < 9)
    return float((back.share[layer] > back.border).mean()) if layer.any() else 0.0


def _compartments(back: _Back, border: float) -> npt.NDArray[np.uint8]:
    """Return 1 left and 2 right: a watershed between dark cores on either side and all that is surely not muscle."""
    dark = back.body & (back.share < border)
    lateral = back.lateral_mm[None, None, :]
    below = _dorsal_depth(back, dark)
    ellipse = ((np.abs(lateral) - _CENTRE_MM[0]) / _HALF_AXES_MM[0]) ** 2 + (
        (below - _CENTRE_MM[1]) / _HALF_AXES_MM[1]
    ) ** 2
    core = ndimage.binary_erosion(dark, disk(3.0, back.spacing_mm)) & (ellipse < _CORE)
    if not core.any():
        return np.zeros(dark.shape, np.uint8)
    outside = (
        ~back.body | (back.share > (1 + border) / 2) | (back.depth_mm < 2.5) | (np.abs(lateral) < 1.6) | (ellipse > 1)
    )
    markers = np.where(outside, 3, np.where(core, np.where(lateral > 0, 1, 2), 0)).astype(np.uint8)
    slope = ndimage.gaussian_gradient_magnitude(back.share, (0, 0.7, 0.7))
    slope += _RIM_HEIGHT * np.exp(-(((ellipse - _RIM) / _RIM_WIDTH) ** 2))  # where the image shows no border
    flooded = sitk.GetArrayFromImage(
        sitk.MorphologicalWatershedFromMarkers(
            sitk.GetImageFromArray(slope), sitk.GetImageFromArray(markers), markWatershedLine=False
        )
    )
    sides = np.zeros(dark.shape, np.uint8)
    for side in (1, 2):
        sides[_tidy((flooded == side) & (back.share < (1 + border) / 2), back.spacing_mm)] = side
    return sides


def _dorsal_depth(back: _Back, dark: Mask) -> Array:
    """Return how far each voxel lies in front of the dorsal surface of the muscles, one level a slice."""
    rows = dark.shape[1]
    row = np.arange(rows)[None, :, None]
    fat = back.body & ~dark & (back.depth_mm < 15)  # the fat below the skin; the skin itself is dark
    surface = np.where(fat.any(axis=1), rows - 1 - fat[:, ::-1].argmax(axis=1), rows)
    thick = ndimage.binary_opening(dark & (row < surface[:, None, :]), disk(4.5, back.spacing_mm))
    beside = (np.abs(back.lateral_mm) > 8) & (np.abs(back.lateral_mm) < 50)
    first = np.where(thick.any(axis=1), rows - 1 - thick[:, ::-1].argmax(axis=1), -1)[:, beside]
    level = np.array([np.percentile(one[one >= 0], 75) if (one >= 0).any() else 0.0 for one in first])
    level = ndimage.median_filter(level, 5, mode="nearest")
    below: Array = ((level[:, None, None] - row) * _PIXEL_MM).astype(np.float32)
    return below


def _tidy(muscle: Mask, spacing_mm: Spacing) -> Mask:
    """Return the largest piece, without thin tongues, closed and filled: the dark core of a rim must stay inside."""
    opened: Mask = ndimage.binary_opening(muscle, disk(3.0, spacing_mm))
    pieces, count = ndimage.label(opened)
    if count == 0:
        return opened
    closed = ndimage.binary_closing(largest(pieces, count), disk(4.5, spacing_mm))
    filled: Mask = np.stack([ndimage.binary_fill_holes(one) for one in closed])
    return filled


def _zoom_back(sides: npt.NDArray[np.uint8], shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    factors = [wanted / given for wanted, given in zip(shape, sides.shape, strict=True)]
    zoomed: npt.NDArray[np.uint8] = ndimage.zoom(sides, factors, order=0)
    return zoomed
