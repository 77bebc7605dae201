"""Series that stand alone: what can be said of a study that has no contrast pair."""

from dataclasses import replace

import numpy as np

from node.analysis.dixon import fat_fraction
from node.analysis.enhancement import lean_muscle
from node.analysis.foci import look_for_foci, look_for_vessels
from node.analysis.grid import Grid, masked_mean, part, smooth
from node.analysis.lesions import Scene
from node.analysis.muscles import box_of, find_muscles
from node.analysis.pictures import pictures_of
from node.analysis.plexus import with_supply
from node.analysis.regional import Signals, measure_regional
from node.analysis.results import Tools, placed, refusal, regions_on, result
from node.analysis.venography import Venography
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
        return refusal(verdict, tools)
    box = box_of(found, post.spacing_mm)
    muscles, after, places = found.within(box), post.signal[box], tools.places(post, box)
    lean = lean_muscle(after, muscles.sides > 0, post.spacing_mm)
    level = masked_mean(after, lean, lambda one: smooth(one, 25.0, post.spacing_mm))
    flat: Array = after / level.clip(min=1e-6)  # without the coil's shading

    vessels, unseen = look_for_vessels(mrv, post, found, tools)
    near = None if vessels is None else vessels.share[box]
    signals = Signals(post.geometry.voxel_mm3, post=after, vessels=near)
    regional = measure_regional(muscles, signals, signals, places, settings)
    scene = Scene(
        None, flat, muscles.sides, lean, muscles.body, None if near is None else near >= 0.5,
        part(post.geometry, box), post.slices_along,
    )  # fmt: skip
    lesions, fault = look_for_foci(np.ones_like(flat), flat, scene, 0.0, tools)
    lesions, supply = with_supply(lesions, muscles, vessels, scene.geometry, settings)
    verdict += fault + unseen + supply + Verdict(
        caveats=(Note("POST-ONLY", "Candidates are of low confidence: fat in the muscle can look the same."),),
        refusals=(Note("POST-ONLY", "There is no pre-contrast series: enhancement is not measured."),),
    )  # fmt: skip
    lesions = placed(lesions, places)
    measurement = result(
        ("post",) + (("mrv",) if near is not None else ()), None, regional, lesions, verdict, tools,
        regions_on(post, box, muscles.sides, lesions, None if vessels is None else vessels.as_acquired()),
    )  # fmt: skip
    return replace(measurement, pictures=pictures_of(scene, after, None, lesions, vessels, regional))


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
    signals = Signals(mrv.geometry.voxel_mm3, vessels=vessels[box].astype(np.float32))
    regional = measure_regional(found.within(box), signals, signals, tools.places(mrv, box), tools.settings)
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
    regional = measure_regional(found.within(box), signals, signals, tools.places(pre, box), tools.settings)
    regions = regions_on(pre, box, found.sides[box], reference="pre")
    return refusal(verdict + found.verdict + fault, tools, regional=regional, regions=regions)
