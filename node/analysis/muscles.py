"""Muscles: what the segmenter says, whether it may be believed (SEG-0), and the part of the volume that matters."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from node.analysis.grid import Box, Spacing
from node.analysis.verdict import Verdict, gate
from node.findings import Note
from node.ports import Array, Mask, Segmentation, Segmenter
from node.settings import AnalysisSettings

_AROUND_MM = 40.0  # to either side and in front of the muscles; behind them all is kept, up to the skin


@dataclass(frozen=True, slots=True, eq=False)
class Muscles:
    """The segmentation of a volume as far as it is accepted: 1 left, 2 right; with the body, in canonical order."""

    sides: npt.NDArray[np.uint8]
    body: Mask
    verdict: Verdict


def find_muscles(
    volume: Array, covered: Mask, spacing_mm: Spacing, segmenter: Segmenter, settings: AnalysisSettings
) -> Muscles:
    """Return the muscles in the slices that the segmenter's gates accept, where `covered`."""
    found = segmenter.segment(volume, spacing_mm=spacing_mm)
    fault = _fault(found, volume.shape)
    if fault:
        refusal = Note("SEG-0", f"The segmenter's output does not fit the volume: {fault}.")
        return Muscles(np.zeros(volume.shape, np.uint8), np.zeros(volume.shape, bool), Verdict(refusals=(refusal,)))
    accepted = found.accepted & (found.muscles == 1).any(axis=(1, 2)) & (found.muscles == 2).any(axis=(1, 2))
    fraction = float(accepted.mean())
    failed = ", ".join(one.code for one in found.gates if not one.passed)
    verdict = Verdict(gates=found.gates) + gate(
        "SEG-0", fraction, f">= {settings.least_accepted_fraction:g} of the slices accepted",
        fraction >= settings.least_accepted_fraction,
        refusal="The muscles were not segmented reliably" + (f" ({failed})." if failed else "."),
    )  # fmt: skip
    if found.confidence == "low":
        note = Note(
            "SEG-LOW",
            f"The segmentation ({segmenter.name} {segmenter.version}) is of low confidence: check the outlines.",
        )
        verdict += Verdict(caveats=(note,))
    sides = np.where(accepted[:, None, None] & covered, found.muscles, 0).astype(np.uint8)
    return Muscles(sides, found.body, verdict)


def box_of(muscles: Muscles, spacing_mm: Spacing) -> Box:
    """Return the box that holds the muscles, what is beside them, and all between them and the skin of the back."""
    _, rows, columns = (np.nonzero((muscles.sides > 0).any(axis=axes))[0] for axes in ((1, 2), (0, 2), (0, 1)))
    margin = [int(np.ceil(_AROUND_MM / step)) for step in spacing_mm]
    slices, height, width = muscles.sides.shape
    return (
        slice(0, slices),
        slice(max(0, int(rows[0]) - margin[1]), height),
        slice(max(0, int(columns[0]) - margin[2]), min(width, int(columns[-1]) + 1 + margin[2])),
    )


def _fault(found: Segmentation, shape: tuple[int, ...]) -> str:
    """Return what is wrong with the output of a plug-in, or nothing."""
    for name, array in (("muscles", found.muscles), ("body", found.body), ("canal", found.canal)):
        if array.shape != shape:
            return f"{name} have the shape {array.shape}, not {shape}"
    if found.accepted.shape != shape[:1]:
        return f"{len(found.accepted)} slices judged, not {shape[0]}"
    if found.body.dtype != bool or found.accepted.dtype != bool:
        return "body and accepted must be boolean"
    if int(found.muscles.max(initial=0)) > 2:
        return "muscles hold labels other than 0, 1 and 2"
    return ""
