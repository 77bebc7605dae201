"""Muscles: what the segmenter says, whether it may be believed (SEG-0), and the part of the volume that matters."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from node.analysis.acceptance import fault_of, measurable
from node.analysis.grid import Box, Spacing
from node.analysis.places import Places
from node.analysis.verdict import Verdict, gate
from node.findings import Gate, Note
from node.ports import Array, Mask, Segmenter
from node.settings import AnalysisSettings

_AROUND_MM = 40.0  # to either side and in front of the muscles; behind them all is kept, up to the skin


@dataclass(frozen=True, slots=True, eq=False)
class Muscles:
    """The segmentation of a volume as far as it is accepted, in canonical order.

    Parameters
    ----------
    sides : ndarray of uint8
        Posterior compartment: 1 left, 2 right.
    parts : ndarray of uint8 or None
        Single muscles, by the labels of `ports.PARTS`.
    body, canal : ndarray of bool
        As the segmenter saw them.
    bone : ndarray of bool or None
        Likewise; None: not looked for.
    verdict : Verdict
        Gates; refusals forbid to measure.
    """

    sides: npt.NDArray[np.uint8]
    parts: npt.NDArray[np.uint8] | None
    body: Mask
    canal: Mask
    bone: Mask | None
    verdict: Verdict

    def within(self, box: Box) -> "Muscles":
        """Return what lies in `box`."""
        return replace(
            self, sides=self.sides[box], parts=None if self.parts is None else self.parts[box], body=self.body[box],
            canal=self.canal[box], bone=None if self.bone is None else self.bone[box],
        )  # fmt: skip


def find_muscles(
    volume: Array, covered: Mask, spacing_mm: Spacing, segmenter: Segmenter, settings: AnalysisSettings
) -> Muscles:
    """Return the muscles in the slices that the segmenter's gates accept, where `covered`."""
    found = segmenter.segment(volume, spacing_mm=spacing_mm)
    fault = fault_of(found, volume.shape)
    if fault:
        refusal = Note("SEG-0", f"The segmenter's output does not fit the volume: {fault}.")
        nowhere = np.zeros(volume.shape, bool)
        return Muscles(nowhere.astype(np.uint8), None, nowhere, nowhere, None, Verdict(refusals=(refusal,)))
    accepted = measurable(found)
    maker = found.made_by or f"{segmenter.name} {segmenter.version}"
    fraction = float(accepted.mean())
    failed = ", ".join(one.code for one in found.gates if not one.passed)
    by = Gate("SEG-BY", maker, "the segmenter whose outlines are taken", True)
    verdict = Verdict((by, *found.gates), tuple(Note("SEG-BY", one) for one in found.notes)) + gate(
        "SEG-0", fraction, f">= {settings.least_accepted_fraction:g} of the slices accepted",
        fraction >= settings.least_accepted_fraction,
        refusal="The muscles were not segmented reliably" + (f" ({failed})." if failed else "."),
    )  # fmt: skip
    if found.confidence == "low":
        note = Note("SEG-LOW", f"The segmentation ({maker}) is of low confidence: check the outlines.")
        verdict += Verdict(caveats=(note,))
    usable = accepted[:, None, None] & covered
    sides = np.where(usable, found.muscles, 0).astype(np.uint8)
    parts = None if found.parts is None else np.where(usable, found.parts, 0).astype(np.uint8)
    return Muscles(sides, parts, found.body, found.canal, found.bone, verdict)


def check_slices(muscles: Muscles, places: Places) -> Verdict:
    """Return where no muscle was accepted and covered, so that nothing is said of it (SEG-PART); `places`: theirs."""
    left_out = places.without(muscles.sides > 0)
    if not left_out:
        return Verdict()
    text = (
        f"No muscle was accepted in {left_out}, or a series does not reach there: nothing was measured there, and foci "
        "were not looked for."
    )
    return Verdict(caveats=(Note("SEG-PART", text),))


def box_of(muscles: Muscles, spacing_mm: Spacing) -> Box:
    """Return the box that holds the muscles, what is beside them, and all between them and the skin of the back."""
    everything = muscles.sides > 0 if muscles.parts is None else (muscles.sides > 0) | (muscles.parts > 0)
    rows, columns = (np.nonzero(everything.any(axis=axes))[0] for axes in ((0, 2), (0, 1)))
    margin = [int(np.ceil(_AROUND_MM / step)) for step in spacing_mm]
    slices, height, width = muscles.sides.shape
    return (
        slice(0, slices),
        slice(max(0, int(rows[0]) - margin[1]), height),
        slice(max(0, int(columns[0]) - margin[2]), min(width, int(columns[-1]) + 1 + margin[2])),
    )
