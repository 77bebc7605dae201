"""Foci and vessels: the detector and the MRV asked, their output checked, and what is kept of it."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from node.analysis.grid import Grid, Spacing
from node.analysis.lesions import Lesion, Scene, keep_and_describe, where_to_look
from node.analysis.muscles import Muscles
from node.analysis.plexus import find_plexus
from node.analysis.results import Tools
from node.analysis.venography import Venography, Vessels, find_vessels
from node.analysis.verdict import Verdict
from node.findings import Note
from node.ports import Array, Candidate, Detector, Mask
from node.settings import AnalysisSettings

_LEAST_OWN = 0.5  # of a candidate's voxels, in the muscles and no better one's; chosen


def look_for_foci(
    before: Array,
    after: Array,
    muscles: npt.NDArray[np.uint8],
    spacing_mm: Spacing,
    residual_mm: float,
    detector: Detector,
) -> tuple[Sequence[Candidate], Verdict]:
    """Return the detector's candidates, and what is to be said of its work; `muscles`: 1 left, 2 right."""
    where = where_to_look(muscles, spacing_mm)
    try:
        candidates = detector.detect(before, after, where, spacing_mm=spacing_mm, residual_mm=residual_mm)
    except Exception as error:  # somebody else's code: what was measured stands without foci
        name = type(error).__name__
        return (), Verdict(refusals=(Note("DET-0", f"The detector {detector.name} failed ({name})."),))
    if any(one.region.shape != after.shape or one.region.dtype != bool or not one.region.any() for one in candidates):
        return (), Verdict(refusals=(Note("DET-0", "The detector's output does not fit the volume."),))
    return apart(candidates, where)


def describe_foci(
    candidates: Sequence[Candidate], scene: Scene, settings: AnalysisSettings
) -> tuple[tuple[Lesion, ...], Verdict]:
    """Return the lesions among the candidates, and what is to be said of them."""
    lesions = keep_and_describe(candidates, scene, settings)
    verdict = Verdict()
    flat = [one.findings.number for one in lesions if one.region.any(axis=(1, 2)).sum() < 2]
    if flat:
        numbers = ", ".join(map(str, flat))
        verdict += Verdict(caveats=(Note("DET-1", f"Seen in a single slice only: candidate {numbers}."),))
    elsewhere = [f"candidate {one.findings.number} ({one.findings.reference})" for one in lesions if one.second_best]
    if elsewhere:
        text = f"Compared with other muscle, for too little of its own lies nearby: {', '.join(elsewhere)}."
        verdict += Verdict(caveats=(Note("REF-1", text),))
    return lesions, verdict


def apart(candidates: Sequence[Candidate], where: Mask) -> tuple[list[Candidate], Verdict]:
    """Return the candidates without what lies outside of `where` or belongs to a better one, and what that cost.

    One without a finite score has no rank and is no candidate. Nor is one of which less than half is left: it lies
    elsewhere, or is another's focus once more. Ours never overlap and never leave the muscles; this is for others'
    (DET-2).
    """
    ranked = [one for one in candidates if np.isfinite(one.score)]
    verdict = Verdict()
    if len(ranked) < len(candidates):
        text = f"The detector's scores are not all finite: {len(candidates) - len(ranked)} candidates were left out."
        verdict = Verdict(caveats=(Note("DET-2", text),))
    free, kept, cut = where.copy(), [], 0
    for one in sorted(ranked, key=lambda one: -one.score):
        own = one.region & free
        whole, left = int(one.region.sum()), int(own.sum())
        cut += left < whole
        if left >= _LEAST_OWN * whole:
            free &= ~own
            kept.append(replace(one, region=own))
    if not cut:
        return kept, verdict
    text = (
        f"The detector marked places outside of the muscles, or twice: {len(ranked) - len(kept)} candidates were "
        f"left out, {cut - len(ranked) + len(kept)} cut."
    )
    return kept, verdict + Verdict(caveats=(Note("DET-2", text),))


def look_for_vessels(
    mrv: Venography | None, post: Grid, muscles: Muscles, tools: Tools
) -> tuple[Vessels | None, Verdict]:
    """Return the vessels near `muscles` and the spine, which lie on the grid of `post`; none without an MRV."""
    if mrv is None:
        return None, Verdict()
    plexus = find_plexus(muscles, post.spacing_mm).region
    return find_vessels(mrv, post, muscles.sides > 0, plexus, tools.settings)
