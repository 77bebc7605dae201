"""Measuring: the way from the series of one study to its findings, step by step.

Everything is done on one grid, that of the post-contrast series, in canonical order. The pre-contrast series is
brought onto it: so the regions lie on the very voxels that the report draws them on, and no mask is ever resampled.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from node import __version__
from node.analysis import decision
from node.analysis.comparability import check_comparable
from node.analysis.enhancement import lean_muscle, measure_sides, relative_enhancement, signal_to_noise, subtract
from node.analysis.gain import check_gain, receiver_gain, reference_fat
from node.analysis.grid import Box, Grid, masked_mean, part, smooth, whole
from node.analysis.lesions import Scene, keep_and_describe
from node.analysis.muscles import box_of, find_muscles
from node.analysis.pairing import pair
from node.analysis.quality import THICKEST_FOR_LESIONS_MM, check_series
from node.analysis.venography import Vessels, find_vessels
from node.analysis.verdict import Verdict, gate
from node.analysis.vessels import vessel_mask
from node.dicom.volumes import Volume
from node.errors import AnalysisError
from node.findings import (
    Algorithm,
    Findings,
    LesionFindings,
    Measurement,
    MuscleFindings,
    Note,
    Outcome,
    Regions,
    StudyVolumes,
)
from node.ports import Array, Detector, Mask, Segmenter
from node.settings import AnalysisSettings

_NO_REGIONS = Regions(None, None, None, "post")


@dataclass(frozen=True, slots=True, eq=False)
class _Tools:
    settings: AnalysisSettings
    segmenter: Segmenter
    detector: Detector


def measure(
    volumes: StudyVolumes, *, settings: AnalysisSettings, segmenter: Segmenter, detector: Detector
) -> Measurement:
    """Return what the series of one study show.

    A refusal is a result: images that cannot be measured give findings with the outcome "refused" and the codes of
    docs/analysis.md that say why. The result is the same, bit for bit, each time on one machine.

    Raises
    ------
    AnalysisError
        If no series is given at all.
    """
    pre, post, mrv = volumes.pre, volumes.post, volumes.mrv
    if pre is None and post is None and mrv is None:
        raise AnalysisError("a measurement needs at least one series, found none")
    tools = _Tools(settings, segmenter, detector)
    quality = {
        role: check_series(role, volume, settings)
        for role, volume in (("pre", pre), ("post", post), ("mrv", mrv))
        if volume is not None
    }
    if post is None:
        if mrv is not None and not quality["mrv"].refused:
            return _measure_venography(Grid.of(mrv), quality["mrv"], tools)
        no_post = Note("ROLE-CONTRAST", "There is no post-contrast series: enhancement cannot be measured.")
        return _refused(sum(quality.values(), Verdict(refusals=(no_post,))), tools)

    verdict = quality["post"]
    if pre is not None:
        verdict += quality["pre"] + check_comparable(pre, post)
    if mrv is not None and quality["mrv"].refused:
        note = Note("MRV-1", "The MRV cannot be used: vascularity is not assessed.")
        verdict += Verdict(gates=quality["mrv"].gates, caveats=(note,))
        mrv = None
    if verdict.refused:
        return _refused(verdict, tools)
    there = None if mrv is None else Grid.of(mrv)
    if pre is None:
        return _measure_post_alone(Grid.of(post), there, verdict, tools)
    return _measure_pair(Grid.of(pre), Grid.of(post), there, verdict, _check_thickness(post), tools)


def _measure_pair(
    pre: Grid, post: Grid, mrv: Grid | None, verdict: Verdict, focal: Verdict, tools: _Tools
) -> Measurement:
    """Return enhancement, foci and vascularity; a refusal in `focal` means that foci are not looked for."""
    settings = tools.settings
    fitted = pair(post, pre, settings)
    verdict, focal = verdict + fitted.verdict, focal + fitted.focal
    if verdict.refused:
        return _refused(verdict, tools)
    muscles = find_muscles(fitted.pre, fitted.covered, post.spacing_mm, tools.segmenter, settings)
    verdict += muscles.verdict
    if verdict.refused:
        return _refused(verdict, tools)

    box = box_of(muscles, post.spacing_mm)
    sides, body, before = muscles.sides[box], muscles.body[box], fitted.pre[box]
    muscle = sides > 0
    fat = reference_fat(before, body, muscle, post.spacing_mm)
    gain = receiver_gain(before, post.signal[box], fat, fat_enhancement=settings.fat_enhancement)
    verdict += check_gain(gain, settings)
    if gain is None or verdict.refused:
        return _refused(verdict, tools, muscles=_volumes_alone(sides, post), regions=_regions(post, box, sides))
    after = post.signal[box] / np.float32(gain.factor)
    difference = subtract(before, after, muscle, post.spacing_mm)
    verdict += _check_contrast(before, after, difference.lean, settings)
    if verdict.refused:
        return _refused(verdict, tools, muscles=_volumes_alone(sides, post), regions=_regions(post, box, sides))
    focal += _check_noise(before, after, difference.lean, settings)

    vessels = _vessels(mrv, post, muscles.sides > 0, settings)
    near = None if vessels.on_post is None else vessels.on_post[box]
    measured = measure_sides(sides, before, after, difference, voxel_mm3=post.geometry.voxel_mm3, vessels=near)
    scene = Scene(before, after, sides, difference.lean, body, near, part(post.geometry, box), post.axes.order.index(0))
    lesions: tuple[tuple[LesionFindings, Mask], ...] = ()
    if not focal.refused:
        lesions, fault = _look_for_foci(before, after, scene, fitted.residual_mm, tools)
        focal += fault
    verdict += focal + vessels.verdict
    given = None if focal.refused else decision.grade(measured, [one for one, _ in lesions], settings)
    return _measurement(
        ("pre", "post") + (("mrv",) if near is not None else ()), given, measured, lesions, verdict, tools,
        _regions(post, box, sides, lesions, _turned_back(mrv, vessels.on_mrv)),
    )  # fmt: skip


def _measure_post_alone(post: Grid, mrv: Grid | None, verdict: Verdict, tools: _Tools) -> Measurement:
    """Return signal and, with little confidence, foci brighter than the muscle around them; nothing is graded."""
    settings = tools.settings
    muscles = find_muscles(post.signal, np.ones(post.signal.shape, bool), post.spacing_mm, tools.segmenter, settings)
    verdict += muscles.verdict
    if verdict.refused:
        return _refused(verdict, tools)
    box = box_of(muscles, post.spacing_mm)
    sides, after = muscles.sides[box], post.signal[box]
    lean = lean_muscle(after, sides > 0, post.spacing_mm)
    level = masked_mean(after, lean, lambda one: smooth(one, 25.0, post.spacing_mm))
    flat: Array = after / level.clip(min=1e-6)  # without the coil's shading

    vessels = _vessels(mrv, post, muscles.sides > 0, settings)
    near = None if vessels.on_post is None else vessels.on_post[box]
    measured = measure_sides(sides, None, after, None, voxel_mm3=post.geometry.voxel_mm3, vessels=near)
    scene = Scene(None, flat, sides, lean, muscles.body[box], near, part(post.geometry, box), post.axes.order.index(0))
    lesions, fault = _look_for_foci(np.ones_like(flat), flat, scene, 0.0, tools)
    verdict += fault + vessels.verdict + Verdict(
        caveats=(Note("POST-ONLY", "Candidates are of low confidence: fat in the muscle can look the same."),),
        refusals=(Note("POST-ONLY", "There is no pre-contrast series: enhancement is not measured."),),
    )  # fmt: skip
    return _measurement(
        ("post",) + (("mrv",) if near is not None else ()), None, measured, lesions, verdict, tools,
        _regions(post, box, sides, lesions, _turned_back(mrv, vessels.on_mrv)),
    )  # fmt: skip


def _measure_venography(mrv: Grid, verdict: Verdict, tools: _Tools) -> Measurement:
    """Return the vessel fraction of the muscles, if they can be segmented on the MRV; no statement on lesions."""
    everywhere = np.ones(mrv.signal.shape, bool)
    muscles = find_muscles(mrv.signal, everywhere, mrv.spacing_mm, tools.segmenter, tools.settings)
    note = Note("MRV-2", "MRV alone: no statement on enhancement or lesions; slow and in-plane flow may be missing.")
    verdict += muscles.verdict + Verdict(caveats=(note,))
    if verdict.refused:
        return _refused(verdict, tools)
    vessels = vessel_mask(mrv.signal, muscles.sides > 0, mrv.spacing_mm)
    measured = measure_sides(muscles.sides, None, None, None, voxel_mm3=mrv.geometry.voxel_mm3, vessels=vessels)
    regions = Regions(_turned_back(mrv, muscles.sides), None, _turned_back(mrv, vessels), "mrv")
    return _measurement(("mrv",), None, measured, (), verdict, tools, regions)


def _look_for_foci(
    before: Array, after: Array, scene: Scene, residual_mm: float, tools: _Tools
) -> tuple[tuple[tuple[LesionFindings, Mask], ...], Verdict]:
    candidates = tools.detector.detect(
        before, after, scene.muscles > 0, spacing_mm=scene.geometry.spacing_mm, residual_mm=residual_mm
    )
    if any(one.region.shape != after.shape or one.region.dtype != bool or not one.region.any() for one in candidates):
        return (), Verdict(refusals=(Note("DET-0", "The detector's output does not fit the volume."),))
    lesions = keep_and_describe(candidates, scene, tools.settings)
    flat = [one.number for one, region in lesions if region.any(axis=(1, 2)).sum() < 2]
    if not flat:
        return lesions, Verdict()
    numbers = ", ".join(map(str, flat))
    return lesions, Verdict(caveats=(Note("DET-1", f"Seen in a single slice only: candidate {numbers}."),))


def _vessels(mrv: Grid | None, post: Grid, muscle: Mask, settings: AnalysisSettings) -> Vessels:
    return Vessels(None, None, Verdict()) if mrv is None else find_vessels(mrv, post, muscle, settings)


def _check_thickness(post: Volume) -> Verdict:
    thickness = max(post.geometry.spacing_mm[0], post.acquisition.slice_thickness_mm or 0.0)
    return gate(
        "IN-3", thickness, f"<= {THICKEST_FOR_LESIONS_MM:g} mm thick, to look for foci",
        thickness <= THICKEST_FOR_LESIONS_MM + 1e-3,
        refusal="The slices are too thick to look for foci.",
    )  # fmt: skip


def _check_contrast(before: Array, after: Array, lean: Mask, settings: AnalysisSettings) -> Verdict:
    rise = relative_enhancement(before, after, lean)
    ratio = 0.0 if rise is None else 1 + rise / 100
    return gate(
        "ROLE-CONTRAST", ratio, f">= {settings.least_post_contrast_ratio:g} post over pre in muscle",
        ratio >= settings.least_post_contrast_ratio,
        refusal="The series called post-contrast shows no enhancement of muscle.",
    )  # fmt: skip


def _check_noise(before: Array, after: Array, lean: Mask, settings: AnalysisSettings) -> Verdict:
    found = min(signal_to_noise(image, lean) for image in (before, after))
    return gate(
        "IN-7", found, f"signal to noise >= {settings.least_snr:g} in muscle", found >= settings.least_snr,
        refusal="The series are too noisy to look for foci.",
    )  # fmt: skip


def _volumes_alone(sides: npt.NDArray[np.uint8], post: Grid) -> tuple[MuscleFindings, ...]:
    return measure_sides(sides, None, None, None, voxel_mm3=post.geometry.voxel_mm3, vessels=None)


def _regions(
    post: Grid,
    box: Box,
    sides: npt.NDArray[np.uint8],
    lesions: Sequence[tuple[LesionFindings, Mask]] = (),
    vessels: npt.NDArray[np.bool_] | None = None,
) -> Regions:
    """Return the regions on the grid of the post-contrast series as it was acquired; vessels lie on theirs already."""
    numbers = np.zeros(sides.shape, np.uint8)
    for lesion, region in lesions:
        numbers[region] = lesion.number
    muscles, labels = (_turned_back(post, whole(box, one, post.signal.shape)) for one in (sides, numbers))
    return Regions(muscles, labels if lesions else None, vessels, "post")


def _turned_back(grid: Grid | None, array: npt.NDArray[Any] | None) -> npt.NDArray[Any] | None:
    return None if grid is None or array is None else np.ascontiguousarray(grid.axes.undo(array))


def _refused(
    verdict: Verdict, tools: _Tools, *, muscles: tuple[MuscleFindings, ...] = (), regions: Regions = _NO_REGIONS
) -> Measurement:
    reasons = ", ".join(dict.fromkeys(one.code for one in verdict.refusals))
    findings = Findings(
        outcome=Outcome.REFUSED,
        summary=f"Enhancement was not measured ({reasons}).",
        inputs=(),
        grade=None,
        muscles=muscles,
        lesions=(),
        gates=verdict.gates,
        caveats=verdict.caveats,
        refusals=verdict.refusals,
        algorithm=_algorithm(tools),
    )
    return Measurement(findings, regions)


def _measurement(
    inputs: tuple[str, ...],
    given: int | None,
    muscles: tuple[MuscleFindings, ...],
    lesions: Sequence[tuple[LesionFindings, Mask]],
    verdict: Verdict,
    tools: _Tools,
    regions: Regions,
) -> Measurement:
    described = tuple(one for one, _ in lesions)
    findings = Findings(
        outcome=decision.outcome(given, muscles, described),
        summary=decision.summary(given, muscles, described),
        inputs=inputs,
        grade=given,
        muscles=muscles,
        lesions=described,
        gates=verdict.gates,
        caveats=verdict.caveats,
        refusals=verdict.refusals,
        algorithm=_algorithm(tools),
    )
    return Measurement(findings, regions)


def _algorithm(tools: _Tools) -> Algorithm:
    values = {name: str(value) for name, value in tools.settings.model_dump(mode="json").items()}
    values["segmenter"] = f"{tools.segmenter.name} {tools.segmenter.version}"
    values["detector"] = f"{tools.detector.name} {tools.detector.version}"
    return Algorithm("PVM contrast-enhancement analysis", __version__, values, tools.settings.configuration_hash())
