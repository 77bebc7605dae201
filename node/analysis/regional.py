"""Regional enhancement: what the muscle of each side does, as a whole and level by level. No lesion is needed.

Half of the metastases in muscle are diffuse, and so is denervation: a detector of foci sees neither. What counts is a
level against the patient's own other levels, and against the other side (docs/analysis.md, 9 and 10).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from node.analysis import asymmetry
from node.analysis.enhancement import Subtraction, relative_enhancement, share_pct, subtract
from node.analysis.grid import Spacing
from node.analysis.muscles import Muscles
from node.analysis.places import Places
from node.findings import POSTERIOR, MuscleFindings, Side
from node.ports import PARTS, Array, Mask
from node.settings import AnalysisSettings

_PLAUSIBLE = 3.0  # median absolute deviations by which normal muscle differs from its median; docs/analysis.md, 10
# Of these a level may be called diffuse. Psoas and quadratus lumborum belong to other nerves, no labels tell how good
# their outlines are, and kidney taken for quadratus lumborum was called diffuse (TUM01, 2026-11-26).
_JUDGED = (POSTERIOR, "multifidus", "erector spinae")
_SIDES = ((1, Side.LEFT), (2, Side.RIGHT))  # labels of `Segmentation.muscles`

Labels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Signals:
    """What is measured in muscle, on one grid in canonical order; None where there is no such series.

    Parameters
    ----------
    voxel_mm3 : float
        Volume of a voxel.
    pre, post : ndarray of float32
        On one scale.
    difference : Subtraction
        Of the two, in the muscles that are measured.
    vessels : ndarray of float32
        How much of each voxel is vessel, from the MRV; NaN where they were not looked for.
    fat_fraction : ndarray of float32
        From Dixon, 0 to 1.
    fat_to_muscle : float
        Signal of fat over that of muscle in `pre`.
    """

    voxel_mm3: float
    pre: Array | None = None
    post: Array | None = None
    difference: Subtraction | None = None
    vessels: Array | None = None
    fat_fraction: Array | None = None
    fat_to_muscle: float | None = None

    def within(self, slices: slice) -> "Signals":
        """Return what lies in some slices."""
        pre, post, vessels, fat, rise = self.pre, self.post, self.vessels, self.fat_fraction, self.difference
        return replace(
            self,
            pre=None if pre is None else pre[slices],
            post=None if post is None else post[slices],
            difference=None if rise is None else Subtraction(rise.lean[slices], rise.level[slices], rise.ratio[slices]),
            vessels=None if vessels is None else vessels[slices],
            fat_fraction=None if fat is None else fat[slices],
        )

    def of_parts(self, parts: Labels | None, spacing_mm: Spacing) -> "Signals":
        """Return the same with the lean muscle of `parts`, which lie partly outside of the compartments."""
        if parts is None or self.pre is None or self.post is None:
            return self
        return replace(self, difference=subtract(self.pre, self.post, parts > 0, spacing_mm))

    def lean(self, region: Mask) -> Mask:
        """Return the muscle of a region, without the fat and the vessels in it, as far as these are known."""
        muscle = region if self.difference is None else region & self.difference.lean
        return muscle if self.vessels is None else muscle & ~(self.vessels >= 0.5)


@dataclass(frozen=True, slots=True, eq=False)
class _Region:
    """One region, described by itself; `rise` is the enhancement of its voxels, None if too few were measured.

    `middle` and `deviation` are the median of it and the median absolute deviation from that.
    """

    findings: MuscleFindings
    level: int
    rise: Array | None
    middle: float
    deviation: float


@dataclass(frozen=True, slots=True)
class Regional:
    """What was measured in the muscles: either side, each level, and how levels were named."""

    sides: tuple[MuscleFindings, ...] = ()
    levels: tuple[MuscleFindings, ...] = ()
    basis: str = "level not determined: nothing was measured"


def measure_regional(
    muscles: Muscles, signals: Signals, of_parts: Signals, places: Places, settings: AnalysisSettings
) -> Regional:
    """Return what the muscles do, by side and by level; what was not given is not measured.

    `of_parts` are the `signals` of the single muscles.
    """
    return Regional(
        measure_sides(muscles.sides, signals, places, settings),
        measure_levels(muscles.sides, muscles.parts, signals, of_parts, places, settings),
        places.basis,
    )


def measure_sides(
    muscles: Labels, signals: Signals, places: Places, settings: AnalysisSettings
) -> tuple[MuscleFindings, ...]:
    """Return what the posterior compartment of either side does, left first; what was not given is not measured."""
    left, right = (
        _describe(side, POSTERIOR, muscles == label, signals, places, settings, start=0, level=0, least_voxels=1)
        for label, side in _SIDES
    )
    return _compared(left, right, [right], settings), _compared(right, left, [left], settings)


def measure_levels(
    muscles: Labels, parts: Labels | None, signals: Signals, of_parts: Signals, places: Places,
    settings: AnalysisSettings,
) -> tuple[MuscleFindings, ...]:  # fmt: skip
    """Return each level from the head down: left and right compartment, then the single muscles, left before right."""
    pairs: list[tuple[_Region, _Region]] = []
    for level, slab in enumerate(places.divide(muscles > 0, settings.slab_mm)):
        here = slab.slices
        masks = [(POSTERIOR, muscles[here] == 1, muscles[here] == 2, signals.within(here))]
        if parts is not None:
            inside = of_parts.within(here)
            masks += [(name, parts[here] == one, parts[here] == other, inside) for name, one, other in _single()]
        for name, left, right, there in masks:
            if not left.any() and not right.any():
                continue
            both = [
                _describe(
                    side, name, mask, there, places, settings,
                    start=here.start, level=level, least_voxels=settings.least_region_voxels,
                )
                for side, mask in ((Side.LEFT, left), (Side.RIGHT, right))
            ]  # fmt: skip
            both = [_named(one, slab.level) for one in both]
            pairs.append((both[0], both[1]))
    everything = [one for pair in pairs for one in pair]
    found = []
    for left_region, right_region in pairs:
        for this, other in ((left_region, right_region), (right_region, left_region)):
            elsewhere = [
                one
                for one in everything
                if one.level != this.level and one.findings.muscle == this.findings.muscle and one.rise is not None
            ]
            found.append(_against_other_levels(_compared(this, other, elsewhere, settings), elsewhere, settings))
    return tuple(found)


def _single() -> Iterator[tuple[str, int, int]]:
    """Return each single muscle with its left and its right label."""
    names = dict.fromkeys(name for name, _ in PARTS.values())
    labels = {one: label for label, one in PARTS.items()}
    for name in names:
        yield name, labels[name, Side.LEFT], labels[name, Side.RIGHT]


def _describe(
    side: Side, muscle: str, region: Mask, signals: Signals, places: Places, settings: AnalysisSettings, *,
    start: int, level: int, least_voxels: int,
) -> _Region:  # fmt: skip
    lean = signals.lean(region)
    enough = int(lean.sum()) >= least_voxels
    rise = None
    if enough and signals.pre is not None and signals.post is not None:
        rise = relative_enhancement(signals.pre, signals.post, lean)
    ratio = signals.difference.ratio[lean] if enough and signals.difference is not None else None
    findings = MuscleFindings(
        side=side,
        volume_mm3=float(region.sum()) * signals.voxel_mm3,
        pre_signal=_median(signals.pre, lean),
        post_signal=_median(signals.post, lean),
        enhancement_pct=rise,
        enhancement_sd_pct=None if ratio is None else 100 * float(np.std(ratio)),
        asymmetry_pct=None,
        enhancing_fraction_pct=None,
        vessel_fraction_pct=share_pct(signals.vessels, region, settings.least_mrv_coverage),
        location=places.location(region, start),
        muscle=muscle,
        fat_fraction_pct=_mean_pct(signals.fat_fraction, region),
        fat_corrected_enhancement_pct=_fat_corrected_pct(rise, _mean_pct(signals.fat_fraction, lean), signals),
    )
    if ratio is None:
        return _Region(findings, level, None, 0.0, 0.0)
    middle = float(np.median(ratio))
    return _Region(findings, level, ratio, middle, float(np.median(np.abs(ratio - middle))))


def _named(one: _Region, level: str | None) -> _Region:
    """Return the region with the level that it was cut out as."""
    if one.findings.location is None:
        return one
    return replace(one, findings=replace(one.findings, location=replace(one.findings.location, level=level)))


def _compared(
    this: _Region, other: _Region, reference: Sequence[_Region], settings: AnalysisSettings
) -> MuscleFindings:  # fmt: skip
    """Return the findings with what the other side, and the reference muscle, say of them."""
    here, there = this.findings, other.findings
    return replace(
        here,
        asymmetry_pct=asymmetry.of_enhancement_pct(here.enhancement_pct, there.enhancement_pct, settings),
        vessel_asymmetry_pct=asymmetry.of_vessels_pct(here.vessel_fraction_pct, there.vessel_fraction_pct),
        enhancing_fraction_pct=_enhancing_pct(this.rise, [one for one in reference if one.rise is not None]),
    )


def _against_other_levels(
    found: MuscleFindings, elsewhere: Sequence[_Region], settings: AnalysisSettings
) -> MuscleFindings:
    """Return the findings with R, and whether the enhancement is diffuse: R and q above their limits.

    Where the other levels hardly enhance R would be a quotient of noise and is not given (LEVEL-1), but a level that
    enhances is diffuse all the same: against the least enhancement that is a measure.
    """
    usual = [one.findings.enhancement_pct for one in elsewhere if one.findings.enhancement_pct is not None]
    rise, fraction = found.enhancement_pct, found.enhancing_fraction_pct
    if not usual or rise is None or fraction is None:
        return found
    middle, least = float(np.median(usual)), asymmetry.least_enhancement_pct(settings)
    compared = replace(found, relative_enhancement=rise / middle if middle >= least else None)
    if found.muscle not in _JUDGED:
        return compared
    rises = rise / max(middle, least) > settings.diffuse_ratio
    return replace(compared, diffuse=rises and fraction > 100 * settings.diffuse_fraction)


def _median(image: Array | None, region: Mask) -> float | None:
    return None if image is None or not region.any() else float(np.median(image[region]))


def _mean_pct(image: Array | None, region: Mask) -> float | None:
    return None if image is None or not region.any() else 100 * float(np.mean(image[region]))


def _enhancing_pct(rise: Array | None, reference: Sequence[_Region]) -> float | None:
    """Return how many voxels enhance more than the reference muscle plausibly does, in percent (q).

    Each region of the reference counts once, whatever its size: one that is diseased itself does not move the median.
    """
    if rise is None or not reference:
        return None
    usual = float(np.median([one.middle for one in reference]))
    deviation = float(np.median([one.deviation for one in reference]))
    return 100 * float(np.mean(rise > usual + _PLAUSIBLE * deviation))


def _fat_corrected_pct(rise: float | None, fat_pct: float | None, signals: Signals) -> float | None:
    """Return the enhancement of the water of a region, as if it held no fat.

    The signal of fat does not rise: E_apparent = (1 - FF) E / (1 - FF + k FF), with k the signal of fat over that of
    muscle in the sequence (docs/analysis.md, 9).
    """
    if rise is None or fat_pct is None or signals.fat_to_muscle is None or fat_pct >= 100:
        return None
    fat = fat_pct / 100
    return rise * (1 - fat + signals.fat_to_muscle * fat) / (1 - fat)
