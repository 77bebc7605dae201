"""More than one segmenter: the first whose outlines its gates accept.

A plug-in of a site comes before the built-in ones, and costs no measurement where it fails. What the learned segmenter
refuses stays refused: the classical one, which knows no more of a back than that muscle is darker than fat, accepts
backs whose muscles were taken away (docs/analysis.md, 5.5). It stands in only where the learned one cannot run.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from node.analysis.acceptance import fault_of, measurable
from node.analysis.segmentation import CompartmentSegmenter
from node.analysis.unet import NetworkSegmenter
from node.errors import shown
from node.findings import Gate
from node.ports import Array, Segmentation, Segmenter

_BUILT_IN = (NetworkSegmenter, CompartmentSegmenter)


def _built_in() -> tuple[Segmenter, ...]:
    return tuple(one() for one in _BUILT_IN)


@dataclass(frozen=True, slots=True)
class FirstAccepted:
    """Asks one segmenter after the other, and says whom it asked in vain.

    Parameters
    ----------
    segmenters : tuple of Segmenter
        In the order in which they are asked.
    least_fraction : float
        Of the slices that one must accept to be believed (SEG-0).
    """

    segmenters: tuple[Segmenter, ...] = field(default_factory=_built_in)
    least_fraction: float = 0.6
    name: str = "auto"

    @property
    def version(self) -> str:
        return ", else ".join(f"{one.name} {one.version}" for one in self.segmenters).removeprefix(f"{self.name} ")

    def segment(self, volume: Array, *, spacing_mm: tuple[float, float, float]) -> Segmentation:
        """Return the first segmentation that is accepted; if none is, that of the last one asked."""
        notes: list[str] = []
        refused: list[Segmentation] = []
        for one in self.segmenters:
            who = f"{one.name} {one.version}"
            try:
                found = one.segment(volume, spacing_mm=spacing_mm)
            except Exception as error:  # somebody else's code: the next one is asked
                notes.append(f"Segmenter {who} failed: {shown(error)}.")
                continue
            fault = fault_of(found, volume.shape)
            if fault:
                notes.append(f"The output of segmenter {who} does not fit the volume: {fault}.")
                continue
            found = replace(found, made_by=found.made_by or who, notes=(*notes, *found.notes))
            if (measured := measurable(found).mean()) >= self.least_fraction:
                return found
            refused.append(found)
            if isinstance(one, NetworkSegmenter):
                break
            failed = ", ".join(dict.fromkeys(gate.code for gate in found.gates if not gate.passed))
            notes.append(f"Segmenter {who} accepted {measured:.0%} of the slices{failed and f' ({failed})'}.")
        if refused:
            return replace(refused[-1], notes=tuple(notes))
        return _nothing(volume, notes)


def with_fallback(segmenter: Segmenter, least_fraction: float) -> Segmenter:
    """Return the segmenter with the built-in ones behind it; a built-in one, asked for by name, stays alone."""
    if isinstance(segmenter, FirstAccepted):
        return replace(segmenter, least_fraction=least_fraction)
    if isinstance(segmenter, _BUILT_IN):
        return segmenter
    return FirstAccepted((segmenter, *_built_in()), least_fraction, segmenter.name)


def _nothing(volume: Array, notes: Sequence[str]) -> Segmentation:
    nowhere = np.zeros(volume.shape, bool)
    gate = Gate("SEG-0", 0.0, "a segmenter that makes something of the volume", False)
    return Segmentation(
        nowhere.astype(np.uint8), nowhere, nowhere, np.zeros(len(volume), bool), (gate,), "low", notes=tuple(notes)
    )
