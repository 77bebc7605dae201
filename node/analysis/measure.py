"""Measuring: the way from the series of one study to its findings, step by step.

Everything is done on one grid, that of the post-contrast series, in canonical order. The pre-contrast series is
brought onto it: so the regions lie on the very voxels that the report draws them on, and no mask is ever resampled.
"""

import numpy as np

from node.analysis import decision
from node.analysis.body import of_body
from node.analysis.comparability import check_comparable
from node.analysis.enhancement import check_contrast, check_noise, lean_muscle, measure_sides, subtract
from node.analysis.gain import check_gain, receiver_gain, reference_fat
from node.analysis.grid import Grid, masked_mean, part, smooth
from node.analysis.lesions import Lesion, Scene, keep_and_describe
from node.analysis.muscles import box_of, find_muscles
from node.analysis.pairing import pair
from node.analysis.quality import check_focal_resolution, check_series
from node.analysis.results import Tools, refusal, regions_on_post, result
from node.analysis.venography import Vessels, find_vessels
from node.analysis.verdict import Verdict
from node.analysis.vessels import vessel_mask
from node.findings import Measurement, Note, Regions, StudyVolumes
from node.ports import Array, Detector, Mask, Segmenter
from node.settings import AnalysisSettings


def measure(
    volumes: StudyVolumes, *, settings: AnalysisSettings, segmenter: Segmenter, detector: Detector
) -> Measurement:
    """Return what the series of one study show.

    A refusal is a result: images that cannot be measured give findings with the outcome "refused" and the codes of
    docs/analysis.md that say why. The result is the same, bit for bit, each time on one machine.
    """
    pre, post, mrv = volumes.pre, volumes.post, volumes.mrv
    tools = Tools(settings, segmenter, detector)
    quality = {
        role: check_series(role, volume, settings)
        for role, volume in (("pre", pre), ("post", post), ("mrv", mrv))
        if volume is not None
    }
    if post is None:
        if mrv is not None and not quality["mrv"].refused:
            return _measure_venography(Grid.of(mrv), quality["mrv"], tools)
        no_post = Note("ROLE-CONTRAST", "There is no usable post-contrast series: enhancement cannot be measured.")
        return refusal(sum(quality.values(), Verdict(refusals=(no_post,))), tools)

    verdict = quality["post"]
    if pre is not None:
        verdict += quality["pre"] + check_comparable(pre, post)
    if mrv is not None and quality["mrv"].refused:
        note = Note("MRV-1", "The MRV cannot be used: vascularity is not assessed.")
        verdict += Verdict(gates=quality["mrv"].gates, caveats=(note,))
        mrv = None
    if verdict.refused:
        return refusal(verdict, tools)
    there = None if mrv is None else Grid.of(mrv)
    if pre is None:
        return _measure_post_alone(of_body(post), there, verdict, tools)
    return _measure_pair(of_body(pre), of_body(post), there, verdict, check_focal_resolution(post, settings), tools)


def _measure_pair(
    pre: Grid, post: Grid, mrv: Grid | None, verdict: Verdict, focal: Verdict, tools: Tools
) -> Measurement:
    """Return enhancement, foci and vascularity; a refusal in `focal` means that foci are not looked for."""
    settings = tools.settings
    fitted = pair(post, pre, settings)
    verdict, focal = verdict + fitted.verdict, focal + fitted.focal
    if verdict.refused:
        return refusal(verdict, tools)
    muscles = find_muscles(fitted.pre, fitted.covered, post.spacing_mm, tools.segmenter, settings)
    verdict += muscles.verdict
    if verdict.refused:
        return refusal(verdict, tools)

    box = box_of(muscles, post.spacing_mm)
    sides, body, before = muscles.sides[box], muscles.body[box], fitted.pre[box]
    fat = reference_fat(before, body, sides > 0, post.spacing_mm)
    gain = receiver_gain(before, post.signal[box], fat, fat_enhancement=settings.fat_enhancement)
    volumes = measure_sides(sides, voxel_mm3=post.geometry.voxel_mm3)
    verdict += check_gain(gain, settings)
    if gain is None or verdict.refused:
        return refusal(verdict, tools, muscles=volumes, regions=regions_on_post(post, box, sides))
    after = post.signal[box] / np.float32(gain.factor)
    difference = subtract(before, after, sides > 0, post.spacing_mm)
    verdict += check_contrast(before, after, difference.lean, settings)
    if verdict.refused:
        return refusal(verdict, tools, muscles=volumes, regions=regions_on_post(post, box, sides))
    focal += check_noise(before, after, difference.lean, settings)

    vessels = _vessels(mrv, post, muscles.sides > 0, settings)
    near = None if vessels.on_post is None else vessels.on_post[box]
    measured = measure_sides(sides, before, after, difference, voxel_mm3=post.geometry.voxel_mm3, vessels=near)
    scene = Scene(before, after, sides, difference.lean, body, near, part(post.geometry, box), post.slices_along)
    lesions: tuple[Lesion, ...] = ()
    if not focal.refused:
        lesions, fault = _look_for_foci(before, after, scene, fitted.residual_mm, tools)
        focal += fault
    verdict += focal + vessels.verdict
    given = None if focal.refused else decision.grade(measured, [one.findings for one in lesions], settings)
    return result(
        ("pre", "post") + (("mrv",) if near is not None else ()), given, measured, lesions, verdict, tools,
        regions_on_post(post, box, sides, lesions, vessels.as_acquired),
    )  # fmt: skip


def _measure_post_alone(post: Grid, mrv: Grid | None, verdict: Verdict, tools: Tools) -> Measurement:
    """Return signal and, with little confidence, foci brighter than the muscle around them; nothing is graded."""
    settings = tools.settings
    muscles = find_muscles(post.signal, np.ones(post.signal.shape, bool), post.spacing_mm, tools.segmenter, settings)
    verdict += muscles.verdict
    if verdict.refused:
        return refusal(verdict, tools)
    box = box_of(muscles, post.spacing_mm)
    sides, after = muscles.sides[box], post.signal[box]
    lean = lean_muscle(after, sides > 0, post.spacing_mm)
    level = masked_mean(after, lean, lambda one: smooth(one, 25.0, post.spacing_mm))
    flat: Array = after / level.clip(min=1e-6)  # without the coil's shading

    vessels = _vessels(mrv, post, muscles.sides > 0, settings)
    near = None if vessels.on_post is None else vessels.on_post[box]
    measured = measure_sides(sides, post=after, voxel_mm3=post.geometry.voxel_mm3, vessels=near)
    scene = Scene(None, flat, sides, lean, muscles.body[box], near, part(post.geometry, box), post.slices_along)
    lesions, fault = _look_for_foci(np.ones_like(flat), flat, scene, 0.0, tools)
    verdict += fault + vessels.verdict + Verdict(
        caveats=(Note("POST-ONLY", "Candidates are of low confidence: fat in the muscle can look the same."),),
        refusals=(Note("POST-ONLY", "There is no pre-contrast series: enhancement is not measured."),),
    )  # fmt: skip
    return result(
        ("post",) + (("mrv",) if near is not None else ()), None, measured, lesions, verdict, tools,
        regions_on_post(post, box, sides, lesions, vessels.as_acquired),
    )  # fmt: skip


def _measure_venography(mrv: Grid, verdict: Verdict, tools: Tools) -> Measurement:
    """Return the vessel fraction of the muscles, if they can be segmented on the MRV; no statement on lesions."""
    everywhere = np.ones(mrv.signal.shape, bool)
    muscles = find_muscles(mrv.signal, everywhere, mrv.spacing_mm, tools.segmenter, tools.settings)
    note = Note("MRV-2", "MRV alone: no statement on enhancement or lesions; slow and in-plane flow may be missing.")
    verdict += muscles.verdict + Verdict(caveats=(note,))
    if verdict.refused:
        return refusal(verdict, tools)
    vessels = vessel_mask(mrv.signal, muscles.sides > 0, mrv.spacing_mm)
    measured = measure_sides(muscles.sides, voxel_mm3=mrv.geometry.voxel_mm3, vessels=vessels)
    regions = Regions(mrv.as_acquired(muscles.sides), None, mrv.as_acquired(vessels), "mrv")
    return result(("mrv",), None, measured, (), verdict, tools, regions)


def _look_for_foci(
    before: Array, after: Array, scene: Scene, residual_mm: float, tools: Tools
) -> tuple[tuple[Lesion, ...], Verdict]:
    """Return the lesions among the detector's candidates, and what is to be said of its work."""
    candidates = tools.detector.detect(
        before, after, scene.muscles > 0, spacing_mm=scene.geometry.spacing_mm, residual_mm=residual_mm
    )
    if any(one.region.shape != after.shape or one.region.dtype != bool or not one.region.any() for one in candidates):
        return (), Verdict(refusals=(Note("DET-0", "The detector's output does not fit the volume."),))
    lesions = keep_and_describe(candidates, scene, tools.settings)
    flat = [one.findings.number for one in lesions if one.region.any(axis=(1, 2)).sum() < 2]
    if not flat:
        return lesions, Verdict()
    numbers = ", ".join(map(str, flat))
    return lesions, Verdict(caveats=(Note("DET-1", f"Seen in a single slice only: candidate {numbers}."),))


def _vessels(mrv: Grid | None, post: Grid, muscle: Mask, settings: AnalysisSettings) -> Vessels:
    return Vessels(None, None, Verdict()) if mrv is None else find_vessels(mrv, post, muscle, settings)
