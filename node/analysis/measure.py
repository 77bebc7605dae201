"""Measuring: the way from the series of one study to its findings, step by step.

Everything is done on one grid, that of the post-contrast series, in canonical order. The pre-contrast series is
brought onto it: so the regions lie on the very voxels that the report draws them on, and no mask is ever resampled.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from node.analysis import decision
from node.analysis.alone import measure_post, measure_pre, measure_venography
from node.analysis.asymmetry import check_levels, check_sides
from node.analysis.biopsy import with_paths
from node.analysis.body import of_body
from node.analysis.comparability import check_comparable, check_joined
from node.analysis.dixon import fat_fraction_on, fat_to_muscle
from node.analysis.dynamic import follow, with_kinetics
from node.analysis.enhancement import Subtraction, check_contrast, check_noise, subtract
from node.analysis.foci import describe_foci, look_for_foci, look_for_vessels
from node.analysis.gain import check_gain, find_gain
from node.analysis.grid import Box, Grid, part
from node.analysis.lesions import Lesion, Scene
from node.analysis.levels import NoLabeller
from node.analysis.muscles import Muscles, box_of, check_slices, find_muscles
from node.analysis.pairing import Pair, pair
from node.analysis.pictures import pictures_of
from node.analysis.plexus import with_supply
from node.analysis.quality import check_focal_resolution, check_series
from node.analysis.reference import check_references
from node.analysis.regional import Signals, measure_regional
from node.analysis.results import Tools, placed, refusal, regions_on, result
from node.analysis.threads import both
from node.analysis.venography import Venography, check_coverage, not_looked_at
from node.analysis.verdict import Verdict
from node.dicom.volumes import Volume
from node.findings import Measurement, Note, StudyVolumes, Suspicion
from node.ports import Array, Candidate, Detector, Labeller, Mask, Segmenter
from node.settings import AnalysisSettings

_NO_LABELLER = NoLabeller()


def measure(
    volumes: StudyVolumes,
    *,
    settings: AnalysisSettings,
    segmenter: Segmenter,
    detector: Detector,
    labeller: Labeller = _NO_LABELLER,
    suspicion: Suspicion | None = None,
    refusals: Sequence[Note] = (),
    beside: Sequence[Note] = (),
) -> Measurement:
    """Return what the series of one study show, level by level, and the answer to what EMG suspects.

    `refusals` say why a series is not among `volumes` on which enhancement hangs, `beside` why another one is not: an
    MRV is no reason for an enhancement that is missing. Both stand first in the findings.
    A refusal is a result: images that cannot be measured give findings with the outcome "refused" and the codes of
    docs/analysis.md that say why. The result is the same, bit for bit, each time on one machine.
    """
    tools = Tools(settings, segmenter, detector, labeller, volumes.sagittal, suspicion, tuple(refusals), tuple(beside))
    followed = follow(volumes, settings)
    return with_kinetics(_measure(followed.volumes, followed.unreached, tools), followed)


def _measure(volumes: StudyVolumes, unreached: npt.NDArray[np.bool_] | None, tools: Tools) -> Measurement:
    """Return what is measured of all but `unreached`, a part of the post-contrast series as it was acquired."""
    pre, post, mrv, settings = volumes.pre, volumes.post, volumes.mrv, tools.settings
    quality = {
        role: check_series(role, volume, settings)
        for role, volume in (("pre", pre), ("post", post), ("mrv", mrv))
        if volume is not None
    }
    if post is None:
        if mrv is not None and not quality["mrv"].refused:
            return measure_venography(Venography.of(mrv, volumes.velocity), quality["mrv"], tools)
        no_post = Note("ROLE-CONTRAST", "There is no usable post-contrast series: enhancement cannot be measured.")
        verdict = sum(quality.values(), Verdict(refusals=(no_post,)))
        if pre is None or quality["pre"].refused:
            return refusal(verdict, tools)
        return measure_pre(of_body(pre), volumes.fat, verdict, tools)

    verdict = quality["post"]
    if pre is not None:
        verdict += quality["pre"] + check_comparable(pre, post)
    if mrv is not None and quality["mrv"].refused:
        note = Note("MRV-1", "The MRV cannot be used: vascularity is not assessed.")
        verdict += Verdict(gates=quality["mrv"].gates, caveats=(note,))
        mrv = None
    if verdict.refused:
        return refusal(verdict + not_looked_at(mrv), tools)
    there = None if mrv is None else Venography.of(mrv, volumes.velocity)
    if pre is None:
        return measure_post(of_body(post), there, verdict, tools)
    focal = check_focal_resolution(post, settings)
    before, after = both(lambda: of_body(pre), lambda: of_body(post))
    reached = None if unreached is None else ~after.axes.apply(unreached)[after.box]
    return _measure_pair(before, after, _Beside(volumes.fat, there, reached), verdict, focal, tools)


@dataclass(frozen=True, slots=True, eq=False)
class _Beside:
    """What goes with a pair: Dixon fat, an MRV, and where on the grid of `post` the pair means anything (all: None)."""

    fat: Volume | None
    mrv: Venography | None
    reached: Mask | None


def _measure_pair(
    pre: Grid, post: Grid, beside: _Beside, verdict: Verdict, focal: Verdict, tools: Tools
) -> Measurement:  # fmt: skip
    """Return enhancement, foci and vascularity; a refusal in `focal` means that foci are not looked for."""
    settings = tools.settings
    fitted = pair(post, pre, settings)
    verdict, focal = verdict + fitted.verdict + check_joined(pre, post, fitted), focal + fitted.focal
    if verdict.refused:
        return refusal(verdict + not_looked_at(beside.mrv), tools)
    covered = fitted.covered if beside.reached is None else fitted.covered & beside.reached
    found = find_muscles(fitted.pre, covered, post.spacing_mm, tools.segmenter, settings)
    verdict += found.verdict
    if verdict.refused:
        return refusal(verdict + not_looked_at(beside.mrv), tools)

    box = box_of(found, post.spacing_mm)
    muscles, before, places = found.within(box), fitted.pre[box], tools.places(post, box)
    verdict += check_slices(muscles, places)
    compared, (vessels, unseen) = both(
        lambda: _compare(fitted, post, box, muscles, focal, tools),
        lambda: look_for_vessels(beside.mrv, post, found, tools),
    )
    verdict, focal = verdict + compared.verdict, compared.focal
    after, difference = compared.post, compared.difference
    vessels = None if vessels is None else vessels.within(box)
    near = None if vessels is None else vessels.share
    there = None if vessels is None else vessels.as_acquired()
    unseen += Verdict() if vessels is None else check_coverage(vessels, muscles.sides, settings)
    if after is None or difference is None or verdict.refused:
        signals = Signals(voxel_mm3=post.geometry.voxel_mm3, vessels=near)
        regional = measure_regional(muscles, signals, signals, places, settings)
        regions = regions_on(post, box, muscles.sides, vessels=there)
        inputs = () if near is None else ("mrv",)
        return refusal(verdict + unseen, tools, inputs=inputs, regional=regional, regions=regions)
    fraction, misfit = fat_fraction_on(post, pre, beside.fat, fitted.movement)
    fraction = None if fraction is None else fraction[box]
    k = fat_to_muscle(before, fraction, difference.lean, muscles.body)
    signals = Signals(post.geometry.voxel_mm3, before, after, difference, near, fraction, k)
    regional = measure_regional(muscles, signals, signals.of_parts(muscles.parts, post.spacing_mm), places, settings)

    scene = Scene(
        before, after, muscles.sides, difference.lean, muscles.body, None if near is None else near >= 0.5,
        part(post.geometry, box), post.slices_along, None if near is None else np.isnan(near), muscles.parts,
    )  # fmt: skip
    lesions: tuple[Lesion, ...] = ()
    if not focal.refused:
        lesions, of_foci = describe_foci(compared.candidates, scene, settings)
        focal += of_foci
    lesions, supply = with_supply(lesions, muscles, vessels, scene.geometry, settings)
    lesions, unsafe = with_paths(placed(lesions, places), scene, difference.ratio, muscles, settings)
    described = [one.findings for one in lesions]
    verdict += focal + unseen + supply + misfit + unsafe + check_sides(regional.sides, regional.levels, settings)
    verdict += check_levels(regional.levels, settings) + check_references(described, regional.levels)
    given = None if focal.refused else decision.grade(regional.sides, regional.levels, described, settings)
    measurement = result(
        ("pre", "post") + (("mrv",) if near is not None else ()), given, regional, lesions, verdict, tools,
        regions_on(post, box, muscles.sides, lesions, there, difference.ratio, parts=muscles.parts),
    )  # fmt: skip
    return replace(measurement, pictures=pictures_of(scene, after, difference.ratio, lesions, vessels, regional))


@dataclass(frozen=True, slots=True, eq=False)
class _Compared:
    """What one series has more than the other.

    Parameters
    ----------
    verdict, focal : Verdict
        Of the comparison; of the search for foci.
    post : ndarray of float32 or None
        The post-contrast series on the scale of the other one; None where no scale can be told.
    difference : Subtraction or None
        What it has more.
    candidates : sequence of Candidate
        Foci, as the detector marked them; none where they are not to be looked for.
    """

    verdict: Verdict
    focal: Verdict
    post: Array | None = None
    difference: Subtraction | None = None
    candidates: Sequence[Candidate] = ()


def _compare(fitted: Pair, post: Grid, box: Box, muscles: Muscles, focal: Verdict, tools: Tools) -> _Compared:
    """Return what the post-contrast series has more than the one that was fitted to it, within `box`."""
    settings, spacing_mm = tools.settings, post.spacing_mm
    before, signal = fitted.pre[box], post.signal[box]
    gain = find_gain(before, signal, muscles, spacing_mm, settings)
    verdict = check_gain(gain, settings)
    if gain is None or verdict.refused:
        return _Compared(verdict, focal)
    after: Array = signal / np.float32(gain.factor)
    difference = subtract(before, after, muscles.sides > 0, spacing_mm)
    verdict += check_contrast(before, after, difference.lean, settings)
    focal += check_noise(before, after, difference.lean, settings)
    candidates: Sequence[Candidate] = ()
    if not verdict.refused and not focal.refused:
        candidates, wrong = look_for_foci(before, after, muscles.sides, spacing_mm, fitted.residual_mm, tools.detector)
        focal += wrong
    return _Compared(verdict, focal, after, difference, candidates)
