"""The MRV beside the pair: vessels near the muscles and the spine, on its own grid and on that of the other series."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from node.analysis.flow import moving_vessels, share_of_venc
from node.analysis.grid import Box, Grid, grown
from node.analysis.pairing import check_movement
from node.analysis.registration import align
from node.analysis.resampling import Movement, bring_mask, bring_share
from node.analysis.verdict import Verdict, gate
from node.analysis.vessels import noise_of, vessel_mask
from node.dicom.geometry import Geometry
from node.dicom.headers import Acquisition
from node.dicom.volumes import Volume
from node.findings import Note, Side
from node.ports import Array, Mask
from node.settings import AnalysisSettings

NEAR_MM = 15.0  # around the muscles; beyond it vessels are not looked for
_WHOLE = 0.995  # of a side: what the MRV shows of it is called all. Chosen
_LARGEST_INCONSISTENCY = 0.5  # of the thickest slice: mutual information alone is no better along it. Chosen


@dataclass(frozen=True, slots=True, eq=False)
class Venography:
    """An MRV: its magnitude, and of a phase contrast its velocities on the same grid as shares of VENC."""

    magnitude: Grid
    velocity: Grid | None
    verdict: Verdict

    @classmethod
    def of(cls, mrv: Volume, velocity: Volume | None = None) -> "Venography":
        """Return the MRV, with what its kind cannot show (MRV-2)."""
        magnitude = Grid.of(mrv)
        if velocity is None:
            return cls(magnitude, None, _limits(mrv.acquisition))
        same = velocity.geometry.shape == mrv.geometry.shape and np.allclose(
            velocity.geometry.affine, mrv.geometry.affine, atol=0.01
        )
        share = share_of_venc(velocity.array, mrv.array) if same else None
        if share is None:
            text = "The velocities of the MRV could not be read: vessels are taken from its magnitude alone."
            return cls(magnitude, None, Verdict(caveats=(Note("MRV-2", text),)))
        turned = np.ascontiguousarray(magnitude.axes.apply(share), np.float32)
        grid = Grid(turned, magnitude.geometry, magnitude.axes, magnitude.box, magnitude.whole_shape)
        note = Note("MRV-2", "Phase contrast: flow across the encoded direction, and slow flow, may be missing.")
        return cls(magnitude, grid, Verdict(caveats=(note,)))

    def around(self, mask: Mask, margin_mm: float) -> "Venography":
        """Return the part that holds `mask`, with a margin."""
        velocity = None if self.velocity is None else self.velocity.around(mask, margin_mm)
        return Venography(self.magnitude.around(mask, margin_mm), velocity, self.verdict)

    def vessels(self, region: Mask) -> Mask:
        """Return the vessels in `region`, which lies on the grid of the magnitude."""
        magnitude, spacing_mm = self.magnitude.signal, self.magnitude.spacing_mm
        if self.velocity is None or not region.any():
            return vessel_mask(magnitude, region, spacing_mm)
        noise = noise_of(magnitude, region, spacing_mm)
        return moving_vessels(magnitude, self.velocity.signal, region, noise, spacing_mm)


def _limits(acquired: Acquisition) -> Verdict:
    if acquired.contrast_agent:
        return Verdict()
    text = "MRV without contrast agent: slow and in-plane flow may be missing; fat and old blood may look like vessels."
    return Verdict(caveats=(Note("MRV-2", text),))


@dataclass(frozen=True, slots=True, eq=False)
class Vessels:
    """Vessels near the muscles.

    Parameters
    ----------
    mask : ndarray of bool
        On `grid`, the part of the MRV around the muscles.
    grid : Grid
        That part.
    share : ndarray of float32
        How much of each voxel of the other series is vessel: as a mask, thin veins would be lost or doubled. NaN where
        vessels were not looked for, or the MRV does not reach: that is not the same as none.
    movement : Movement
        From points of the other series to those of the MRV.
    """

    mask: Mask
    grid: Grid
    share: Array
    movement: Movement

    def within(self, box: Box) -> "Vessels":
        """Return the same with what lies in `box` of the other series."""
        return replace(self, share=self.share[box])

    def as_acquired(self) -> Mask:
        """Return the vessels on the grid of the whole MRV in the order of its acquisition."""
        return self.grid.as_acquired(self.mask)

    def bring(self, region: Mask, on: Geometry) -> Mask:
        """Return a region of the other series, which lies on the grid `on`, on that of `mask`."""
        return bring_mask(region, on, self.grid.geometry, self.movement.inverse())


def find_vessels(
    mrv: Venography, post: Grid, muscle: Mask, plexus: Mask, settings: AnalysisSettings
) -> tuple[Vessels | None, Verdict]:
    """Return the vessels within 15 mm of `muscle` and in `plexus`, which lie on the grid of `post`.

    None if the MRV cannot be used; the verdict says why.
    """
    frame = mrv.magnitude.geometry.frame_of_reference
    if not frame or frame != post.geometry.frame_of_reference:
        return None, _unused("The MRV has another frame of reference.")
    near = grown(muscle, NEAR_MM, post.spacing_mm)
    wanted = near | plexus
    here = bring_mask(wanted, post.geometry, mrv.magnitude.geometry, Movement.none(np.zeros(3)))
    mrv = mrv.around(here, settings.longest_translation_mm)
    grid = mrv.magnitude
    alignment = align(post, grid, near, same_contrast=False) if here.any() else None
    if alignment is None:
        return None, _unused("The MRV does not show the muscles.")
    limit_mm = _LARGEST_INCONSISTENCY * max(grid.spacing_mm + post.spacing_mm)
    movement = check_movement(alignment, settings)
    if movement.refused or alignment.inconsistency_mm > limit_mm:
        return None, Verdict(gates=movement.gates) + _unused("The MRV does not fit the other series.")
    there = bring_mask(wanted, post.geometry, grid.geometry, alignment.movement.inverse())
    vessels = mrv.vessels(there)
    share = bring_share(vessels, grid.geometry, post.geometry, alignment.movement, outside=np.nan)
    share = np.where(wanted, share, np.float32(np.nan))
    return Vessels(vessels, grid, share, alignment.movement), Verdict(gates=movement.gates) + mrv.verdict


def check_coverage(vessels: Vessels, sides: npt.NDArray[np.uint8], settings: AnalysisSettings) -> Verdict:
    """Return how much of the muscles the MRV shows (MRV-5); `sides` lie on the grid of `vessels.share`."""
    least = settings.least_mrv_coverage
    reached = np.isfinite(vessels.share)
    shown = {side: float(reached[sides == label].mean()) for label, side in enumerate(Side, start=1)}
    verdict = gate(
        "MRV-5", ", ".join(f"{side} {100 * share:.0f} %" for side, share in shown.items()),
        f">= {100 * least:g} % of the muscles within the MRV", min(shown.values()) >= least,
    )  # fmt: skip
    if min(shown.values()) >= _WHOLE:
        return verdict
    text = (
        "The MRV does not reach all of the muscles. A vessel fraction is of what it shows of a region; where that is "
        f"less than {100 * least:g} %, none is given."
    )
    return verdict + Verdict(caveats=(Note("MRV-5", text),))


def not_looked_at(mrv: Volume | Venography | None) -> Verdict:
    """Return what is to be said of an MRV beside series that were refused before vessels were looked for (MRV-1)."""
    if mrv is None:
        return Verdict()
    text = "The series beside the MRV were refused before vessels were looked for: vascularity is not assessed."
    return Verdict(caveats=(Note("MRV-1", text),))


def _unused(reason: str) -> Verdict:
    return Verdict(caveats=(Note("MRV-3", f"{reason} Vascularity is not assessed."),))
