"""The learned segmenter: what the network sees in a volume, as far as the gates believe it, slice by slice.

A slice where the network names the side of a muscle differently from the geometry of the volume is not accepted.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from node.analysis.body import body_mask
from node.analysis.network import PIXEL_MM, Class, Model, shipped_model
from node.analysis.seen import CUT_OFF_MM, LEAST_AREA_MM2, LEAST_CANAL_MM2, Codes, Floats, Seen, dice, look
from node.analysis.structures import BONE, CANAL, on_voxels, sides_of, structures
from node.findings import Gate
from node.ports import PARTS, Array, Segmentation


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
        found = on_voxels(structures(seen), volume.shape)
        return Segmentation(
            muscles=sides_of(found),
            body=body,
            canal=found == CANAL,
            accepted=accepted,
            gates=gates,
            confidence="low",
            parts=np.where(found <= max(PARTS), found, 0).astype(np.uint8),
            bone=found == BONE,
        )


@dataclass(frozen=True, slots=True)
class _Limit:
    """What a figure of a slice must be for the slice to be accepted; NaN is, if `may_be_none`."""

    code: str
    figure: str
    wanted: str
    least: float = -np.inf
    most: float = np.inf
    may_be_none: bool = False


# Chosen by what they let through and what they lose on drawn slices and on the real volumes of docs/model-card.md.
_LIMITS = (
    _Limit("SEG-1", "agreement", "Dice of the passes over the slice with what came out", least=0.90),
    _Limit("SEG-2", "smaller", "mm2 of the smaller side", least=LEAST_AREA_MM2),
    _Limit("SEG-2", "larger", "mm2 of the larger side", most=6500.0),
    _Limit("SEG-2", "cut off", "mm of muscle at the end of what was looked at", most=CUT_OFF_MM),
    _Limit("SEG-3", "midline", "mm from the canal to the middle between the sides", most=8.0),
    _Limit("SEG-4", "ratio", "smaller over larger side", least=0.55),
    _Limit("SEG-5", "neighbour", "Dice with the neighbouring slices", least=0.75),
    _Limit("SEG-6", "mirror", "Dice of left and mirrored right", least=0.65),
    _Limit("SEG-7", "sacrum", "of the bone is sacrum", most=0.5),
    _Limit("SEG-8", "canal", "mm2 of canal", least=LEAST_CANAL_MM2, most=900.0),
    _Limit("SEG-8", "bone", "mm2 of vertebra", least=120.0),
    _Limit("SEG-9", "certainty", "mean probability of muscle", least=0.90),
    _Limit("SEG-10", "astray", "of the muscle named after the other side", most=0.03),
    _Limit(
        "SEG-11",
        "over psoas",
        "of the signal of psoas: muscle, not only its place",
        least=0.3,
        most=3.5,
        may_be_none=True,
    ),
    _Limit(
        "SEG-11", "like fat", "of the signal of psoas where as bright as the fat behind", most=1.8, may_be_none=True
    ),
)


def judge(seen: Seen) -> tuple[npt.NDArray[np.bool_], tuple[Gate, ...]]:
    """Return which slices keep all limits, and the gates: medians, passed if half of the slices keep the limit.

    What has nothing to compare with (NaN), as in a volume without psoas, is no fault of it.
    """
    figures = figures_of(seen)
    accepted = np.ones(len(seen.sides), bool)
    gates = []
    for limit in _LIMITS:
        found = figures[limit.figure]
        compared = np.isfinite(found)
        kept = (found >= limit.least) & (found <= limit.most)
        if limit.may_be_none:
            kept |= np.isnan(found)
        accepted &= kept
        bounds = [f">= {limit.least:g}"] if limit.least > -np.inf else []
        bounds += [f"<= {limit.most:g}"] if limit.most < np.inf else []
        wanted = f"{' and '.join(bounds)} {limit.wanted}"
        middle = round(float(np.median(found[compared])), 3) if compared.any() else "not compared"
        gates.append(Gate(limit.code, middle, wanted, bool(kept.mean() >= 0.5)))
    return accepted, tuple(gates)


def figures_of(seen: Seen) -> dict[str, Floats]:
    """Return what the gates look at, one figure a slice."""
    area = np.stack([(seen.sides == side).sum(axis=(1, 2)) for side in (1, 2)]) * PIXEL_MM**2
    smaller, larger = area.min(axis=0), area.max(axis=0)
    muscle = seen.sides > 0
    next_to = np.array([dice(one, other) for one, other in zip(muscle[1:], muscle[:-1], strict=True)])
    neighbour = np.array([np.mean(next_to[max(0, k - 1) : k + 1]) if len(next_to) else 1.0 for k in range(len(muscle))])
    slices = list(zip(seen.sides, seen.middle, seen.leftward, strict=True))
    bone = np.isin(seen.classes, (Class.VERTEBRA, Class.SACRUM)).sum(axis=(1, 2))
    sacrum = (seen.classes == Class.SACRUM).sum(axis=(1, 2))
    return {
        "agreement": seen.agreement,
        "certainty": seen.certainty,
        "astray": seen.astray,
        "over psoas": _everywhere(seen.over_psoas),
        "like fat": seen.like_fat,
        "cut off": seen.cut_mm,
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


def _everywhere(found: Floats) -> Floats:
    """Return figures with the median of the volume where a slice has none: a series has one contrast throughout."""
    known = np.isfinite(found)
    return np.where(known, found, np.median(found[known])) if known.any() else found


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
