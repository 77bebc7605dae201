"""The MRV beside the pair: vessels near the muscles, on its own grid and on that of the post-contrast series."""

from dataclasses import dataclass

import numpy as np

from node.analysis.grid import Grid, grown
from node.analysis.pairing import check_movement
from node.analysis.registration import align
from node.analysis.resampling import Movement, bring_mask
from node.analysis.verdict import Verdict
from node.analysis.vessels import vessel_mask
from node.findings import Note
from node.ports import Mask
from node.settings import AnalysisSettings

_NEAR_MM = 15.0  # around the muscles; beyond it vessels are not looked for
_LARGEST_INCONSISTENCY = 0.5  # of the thickest slice: mutual information alone is no better along it. Chosen


@dataclass(frozen=True, slots=True, eq=False)
class Vessels:
    """Vessels near the muscles; None where the MRV cannot be used, and `verdict` says why.

    `as_acquired` lies on the grid of the MRV in the order of its acquisition, `on_post` on that of the other series.
    """

    as_acquired: Mask | None
    on_post: Mask | None
    verdict: Verdict


def find_vessels(mrv: Grid, post: Grid, muscle: Mask, settings: AnalysisSettings) -> Vessels:
    """Return the vessels within 15 mm of `muscle`, which lies on the grid of `post`."""
    if mrv.geometry.frame_of_reference != post.geometry.frame_of_reference:
        return Vessels(None, None, _unused("The MRV has another frame of reference."))
    near = grown(muscle, _NEAR_MM, post.spacing_mm)
    here = bring_mask(near, post.geometry, mrv.geometry, Movement.none(np.zeros(3)))
    mrv = mrv.around(here, settings.longest_translation_mm)
    alignment = align(post, mrv, near, same_contrast=False) if here.any() else None
    if alignment is None:
        return Vessels(None, None, _unused("The MRV does not show the muscles."))
    limit_mm = _LARGEST_INCONSISTENCY * max(mrv.spacing_mm + post.spacing_mm)
    movement = check_movement(alignment, settings)
    if movement.refused or alignment.inconsistency_mm > limit_mm:
        return Vessels(None, None, Verdict(gates=movement.gates) + _unused("The MRV does not fit the other series."))
    there = bring_mask(near, post.geometry, mrv.geometry, alignment.movement.inverse())
    vessels = vessel_mask(mrv.signal, there, mrv.spacing_mm)
    return Vessels(
        mrv.as_acquired(vessels),
        bring_mask(vessels, mrv.geometry, post.geometry, alignment.movement),
        Verdict(gates=movement.gates),
    )


def _unused(reason: str) -> Verdict:
    return Verdict(caveats=(Note("MRV-3", f"{reason} Vascularity is not assessed."),))
