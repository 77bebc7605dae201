"""Foci and vessels: the detector and the MRV asked, their output checked, and what is kept of it."""

from node.analysis.grid import Grid
from node.analysis.lesions import Lesion, Scene, keep_and_describe, where_to_look
from node.analysis.muscles import Muscles
from node.analysis.plexus import find_plexus
from node.analysis.results import Tools
from node.analysis.venography import Venography, Vessels, find_vessels
from node.analysis.verdict import Verdict
from node.findings import Note
from node.ports import Array


def look_for_foci(
    before: Array, after: Array, scene: Scene, residual_mm: float, tools: Tools
) -> tuple[tuple[Lesion, ...], Verdict]:
    """Return the lesions among the detector's candidates, and what is to be said of its work."""
    where = where_to_look(scene.muscles, scene.geometry.spacing_mm)
    try:
        candidates = tools.detector.detect(
            before, after, where, spacing_mm=scene.geometry.spacing_mm, residual_mm=residual_mm
        )
    except Exception as error:  # somebody else's code: what was measured stands without foci
        name = type(error).__name__
        return (), Verdict(refusals=(Note("DET-0", f"The detector {tools.detector.name} failed ({name})."),))
    if any(one.region.shape != after.shape or one.region.dtype != bool or not one.region.any() for one in candidates):
        return (), Verdict(refusals=(Note("DET-0", "The detector's output does not fit the volume."),))
    lesions = keep_and_describe(candidates, scene, tools.settings)
    flat = [one.findings.number for one in lesions if one.region.any(axis=(1, 2)).sum() < 2]
    if not flat:
        return lesions, Verdict()
    numbers = ", ".join(map(str, flat))
    return lesions, Verdict(caveats=(Note("DET-1", f"Seen in a single slice only: candidate {numbers}."),))


def look_for_vessels(
    mrv: Venography | None, post: Grid, muscles: Muscles, tools: Tools
) -> tuple[Vessels | None, Verdict]:
    """Return the vessels near `muscles` and the spine, which lie on the grid of `post`; none without an MRV."""
    if mrv is None:
        return None, Verdict()
    plexus = find_plexus(muscles, post.spacing_mm).region
    return find_vessels(mrv, post, muscles.sides > 0, plexus, tools.settings)
