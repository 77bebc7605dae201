"""Series that stand alone: what can be said of a study that has no contrast pair."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from node.analysis.dixon import fat_fraction
from node.analysis.enhancement import lean_muscle
from node.analysis.foci import describe_foci, look_for_foci, look_for_vessels
from node.analysis.grid import Grid, masked_mean, part, smooth
from node.analysis.lesions import Lesion, Scene
from node.analysis.muscles import box_of, check_slices, find_muscles
from node.analysis.pictures import pictures_of
from node.analysis.plexus import with_supply
from node.analysis.regional import Signals, measure_regional
from node.analysis.results import Tools, placed, refusal, regions_on, result
from node.analysis.venography import Venography, check_coverage, not_looked_at
from node.analysis.verdict import Verdict
from node.dicom.volumes import Volume
from node.findings import Measurement, Note, Regions
from node.ports import Array


def measure_post(post: Grid, mrv: Venography | None, verdict: Verdict, tools: Tools) -> Measurement:
    """Return signal and, with little confidence, foci brighter than the muscle around them; nothing is graded."""
    settings = tools.settings
    found = find_muscles(post.signal, np.ones(post.signal.shape, bool), post.spacing_mm, tools.segmenter, settings)
    verdict += found.verdict
    if verdict.refused:
        return refusal(verdict + not_looked_at(mrv), tools)
    box = box_of(found, post.spacing_mm)
    muscles, after, places = found.within(box), post.signal[box], tools.places(post, box)
    verdict += check_slices(muscles, places)
    lean = lean_muscle(after, muscles.sides > 0, post.spacing_mm)
    level = masked_mean(after, lean, lambda one: smooth(one, 25.0, post.spacing_mm))
    flat: Array = after / level.clip(min=1e-6)  # without the coil's shading

    vessels, unseen = look_for_vessels(mrv, post, found, tools)
    vessels = None if vessels is None else vessels.within(box)
    near = None if vessels is None else vessels.share
    unseen += Verdict() if vessels is None else check_coverage(vessels, muscles.sides, settings)
    signals = Signals(post.geometry.voxel_mm3, post=after, vessels=near)
    regional = measure_regional(muscles, signals, signals, places, settings)
    scene = Scene(
        None, flat, muscles.sides, lean, muscles.body, None if near is None else near >= 0.5,
        part(post.geometry, box), post.slices_along, parts=muscles.parts,
    )  # fmt: skip
    candidates, fault = look_for_foci(np.ones_like(flat), flat, muscles.sides, post.spacing_mm, 0.0, tools.detector)
    lesions, of_foci = describe_foci(candidates, scene, settings)
    lesions = tuple(_with_signal(one, after) for one in lesions)
    lesions, supply = with_supply(lesions, muscles, vessels, scene.geometry, settings)
    verdict += fault + of_foci + unseen + supply + Verdict(
        caveats=(Note("POST-ONLY", _low_confidence(lesions)),),
        refusals=(Note("POST-ONLY", "There is no pre-contrast series: enhancement is not measured."),),
    )  # fmt: skip
    lesions = placed(lesions, places)
    measurement = result(
        ("post",) + (("mrv",) if near is not None else ()), None, regional, lesions, verdict, tools,
        regions_on(post, box, muscles.sides, lesions, None if vessels is None else vessels.as_acquired()),
    )  # fmt: skip
    return replace(measurement, pictures=pictures_of(scene, after, None, lesions, vessels, regional))


def _with_signal(lesion: Lesion, post: Array) -> Lesion:
    """Return the lesion with its signal as it was acquired."""
    return replace(lesion, findings=replace(lesion.findings, post_signal=float(np.median(post[lesion.region]))))


def _low_confidence(lesions: Sequence[Lesion]) -> str:
    said = "Candidates are of low confidence: fat in the muscle can look the same."
    ratios = [
        f"candidate {one.findings.number} {one.findings.signal_ratio:.1f} times"
        for one in lesions
        if one.findings.signal_ratio is not None
    ]
    return f"{said} Signal after contrast, against the muscle: {', '.join(ratios)}." if ratios else said


def measure_venography(venography: Venography, verdict: Verdict, tools: Tools) -> Measurement:
    """Return the vessel fraction of the muscles, if they can be segmented on the MRV; no statement on lesions."""
    mrv = venography.magnitude
    everywhere = np.ones(mrv.signal.shape, bool)
    found = find_muscles(mrv.signal, everywhere, mrv.spacing_mm, tools.segmenter, tools.settings)
    note = Note("MRV-2", "MRV alone: no statement on enhancement or lesions.")
    verdict += found.verdict + Verdict(caveats=(note,)) + venography.verdict
    if verdict.refused:
        return refusal(verdict, tools)
    box = box_of(found, mrv.spacing_mm)
    vessels = venography.vessels(found.sides > 0)
    share = np.where(found.sides > 0, vessels, np.float32(np.nan))  # elsewhere vessels were not looked for
    signals = Signals(mrv.geometry.voxel_mm3, vessels=share[box])
    muscles, places = found.within(box), tools.places(mrv, box)
    verdict += check_slices(muscles, places)
    regional = measure_regional(muscles, signals, signals, places, tools.settings)
    regions = Regions(mrv.as_acquired(found.sides), None, mrv.as_acquired(vessels), "mrv")
    return result(("mrv",), None, regional, (), verdict, tools, regions)


def measure_pre(pre: Grid, fat: Volume | None, verdict: Verdict, tools: Tools) -> Measurement:
    """Return volume, signal and fat of the muscles; `verdict` refuses enhancement, which one series cannot show."""
    found = find_muscles(pre.signal, np.ones(pre.signal.shape, bool), pre.spacing_mm, tools.segmenter, tools.settings)
    if found.verdict.refused:
        return refusal(verdict + found.verdict, tools)
    box = box_of(found, pre.spacing_mm)
    fraction, fault = fat_fraction(pre, fat)
    signals = Signals(
        pre.geometry.voxel_mm3, pre=pre.signal[box], fat_fraction=None if fraction is None else fraction[box]
    )
    muscles, places = found.within(box), tools.places(pre, box)
    regional = measure_regional(muscles, signals, signals, places, tools.settings)
    regions = regions_on(pre, box, muscles.sides, reference="pre")
    verdict += found.verdict + fault + check_slices(muscles, places)
    return refusal(verdict, tools, regional=regional, regions=regions)
