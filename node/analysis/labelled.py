"""From the labels of a plug-in to a segmentation: what each label is called, and whether it may be believed."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from node.analysis.acceptance import judge
from node.analysis.body import body_mask, depth_mm
from node.analysis.grid import Spacing
from node.analysis.segmentation import midline
from node.analysis.structures import BONE, CANAL, sides_of
from node.errors import PluginError
from node.findings import Side
from node.ports import PARTS, Array, Mask, Segmentation

_LEFT, _RIGHT, _BODY = 11, 12, 13  # the compartment as a whole, and the body, beside the labels of `structures`
_CODES = {f"{muscle} {side}": label for label, (muscle, side) in PARTS.items()} | {
    f"muscle {Side.LEFT}": _LEFT,
    f"muscle {Side.RIGHT}": _RIGHT,
    "canal": CANAL,
    "bone": BONE,
    "body": _BODY,
}
_LEAST_SLICES = 3  # in which canal or bone must show for the midline to be taken from them; chosen
_MIRRORED_SLICES, _MIRRORED_MM, _BACK_MM = 12, 1.5, 110.0  # what is mirrored: how many slices, pixels, depth; chosen


def codes_of(names: Mapping[int, str]) -> dict[int, int]:
    """Return what each label of a plug-in is to us: "erector spinae left", "muscle left", "canal", "bone", "body".

    Raises
    ------
    PluginError
        If a name is none of ours, or no muscle of one side is named.
    """
    unknown = sorted(set(names.values()) - set(_CODES))
    if unknown:
        raise PluginError(f"labels can be {', '.join(_CODES)}; not {', '.join(map(repr, unknown))}")
    codes = {label: _CODES[name] for label, name in names.items()}
    muscles = {_side(code) for code in codes.values()}
    if not {1, 2} <= muscles:
        raise PluginError("labels must name the posterior muscles of both sides")
    return codes


def segmentation_of(
    labels: npt.NDArray[np.integer], codes: Mapping[int, int], volume: Array, spacing_mm: Spacing
) -> Segmentation:
    """Return the segmentation that a label map in canonical order is, with what its gates accept.

    Holes within a side are filled, for a lesion stays muscle. The midline runs through the canal, or else the bone;
    where neither is marked, where the back is most like its mirror image.
    """
    found = _coded(labels, codes)
    muscles = np.where(found == _LEFT, 1, np.where(found == _RIGHT, 2, sides_of(found))).astype(np.uint8)
    canal = found == CANAL
    for side in (1, 2):
        filled = np.stack([ndimage.binary_fill_holes(one) for one in muscles == side])
        muscles[filled & (muscles == 0) & ~canal & (found != BONE)] = side
    wanted = set(codes.values())
    body = found > 0 if _BODY in wanted and bool((found > 0).any()) else body_mask(volume, spacing_mm)
    middle = _middle(canal, found == BONE)
    if middle is None:
        middle = np.full(len(volume), _mirrored_at(volume, body, spacing_mm))
    lateral = (np.arange(volume.shape[2]) - middle[:, None]) * spacing_mm[2]
    accepted, gates = judge(muscles, (), lateral_mm=lateral, pixel_mm=spacing_mm[1:])
    return Segmentation(
        muscles=muscles,
        body=body,
        canal=canal,
        accepted=accepted,
        gates=gates,
        confidence="low",  # nobody has calibrated these gates for it
        parts=np.where(found <= max(PARTS), found, 0).astype(np.uint8) if wanted & set(PARTS) else None,
        bone=found == BONE if BONE in wanted else None,
    )


def _side(code: int) -> int:
    return {_LEFT: 1, _RIGHT: 2}.get(code, int(sides_of(np.array([code], np.uint8))[0]))


def _coded(labels: npt.NDArray[np.integer], codes: Mapping[int, int]) -> npt.NDArray[np.uint8]:
    found = np.zeros(labels.shape, np.uint8)
    for label, code in codes.items():
        found[labels == label] = code
    return found


def _middle(canal: Mask, bone: Mask) -> npt.NDArray[np.float64] | None:
    """Return the column of the midline in each slice; None if nothing marks it."""
    for mask in (canal, bone):
        there = np.nonzero(mask.any(axis=(1, 2)))[0]
        if len(there) >= min(_LEAST_SLICES, len(mask)):
            found = [float(np.median(np.nonzero(mask[k])[1])) for k in there]
            middle: npt.NDArray[np.float64] = np.interp(np.arange(len(mask)), there, found)
            return middle
    return None


def _mirrored_at(volume: Array, body: Mask, spacing_mm: Spacing) -> float:
    """Return the column of the plane of symmetry of the back; in a few slices, for it takes long."""
    each = max(1, len(volume) // _MIRRORED_SLICES)
    steps = [max(1, round(_MIRRORED_MM / step)) for step in spacing_mm[1:]]
    few = (slice(None, None, each), slice(None, None, steps[0]), slice(None, None, steps[1]))
    depth = depth_mm(body, spacing_mm)[few]
    return midline(volume[few], body[few] & (depth < _BACK_MM)) * steps[1]
