"""Ranking: how much a proposal looks like a focus, and how many false marks as good a healthy back would have.

Weights and thresholds stand in `models/detector.json`, with the command and the seeds that made them
(`benchmarks/analysis_detection.py`). They come from simulated contrast, not from patients.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
import numpy.typing as npt

from node.analysis.traits import NAMES
from node.errors import PluginError

MODEL = "detector.json"
_FARTHEST = 4.0  # spreads from the mean at which a trait is taken to end: nobody has seen what lies beyond. Chosen
_HIGHEST_SCORE = 1000.0  # no calibration speaks of rarer marks than that


@dataclass(frozen=True, slots=True)
class ProtocolClass:
    """Protocols that share thresholds.

    Parameters
    ----------
    name : str
    thickest_mm : float
        Distance of slices up to which a series belongs to the class.
    false_marks : tuple of float
        A lesion-free volume, falling.
    evidence : tuple of float
        From which on there are that many, rising.
    """

    name: str
    thickest_mm: float
    false_marks: tuple[float, ...]
    evidence: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Ranking:
    """A logistic regression on `traits`, and what its evidence is worth in each class of protocols."""

    version: str
    mean: tuple[float, ...]
    spread: tuple[float, ...]
    weight: tuple[float, ...]
    classes: tuple[ProtocolClass, ...]

    @classmethod
    def of(cls, values: dict[str, Any]) -> "Ranking":
        """Return the ranking that the values of a model file describe.

        Raises
        ------
        PluginError
            If it was made for other traits.
        """
        if tuple(values["traits"]) != NAMES:
            raise PluginError("the detector's weights were made for other traits: run its training again")
        classes = tuple(
            ProtocolClass(one["name"], one["thickest_mm"], tuple(one["false_marks"]), tuple(one["evidence"]))
            for one in values["classes"]
        )
        return cls(values["version"], tuple(values["mean"]), tuple(values["spread"]), tuple(values["weight"]), classes)

    def evidence(self, traits: npt.NDArray[np.float64]) -> float:
        """Return the logarithm of the odds, up to a constant, that a proposal is a focus."""
        away = np.clip((traits - self.mean) / self.spread, -_FARTHEST, _FARTHEST)
        return float(np.sum(away * self.weight))

    def score(self, evidence: float, slice_mm: float) -> float:
        """Return one over the number of false marks, at least as good, in a lesion-free volume of the class."""
        kind = next((one for one in self.classes if slice_mm <= one.thickest_mm), self.classes[-1])
        rarity = _interpolated(evidence, kind.evidence, -np.log(kind.false_marks))
        return min(float(np.exp(rarity)), _HIGHEST_SCORE)


def _interpolated(value: float, known: Sequence[float], results: npt.NDArray[np.float64]) -> float:
    """Return the result for a value, by straight lines between the known ones and on beyond them."""
    index = int(np.clip(np.searchsorted(known, value) - 1, 0, len(known) - 2))
    share = (value - known[index]) / (known[index + 1] - known[index])
    return float(results[index] + share * (results[index + 1] - results[index]))


@cache
def shipped_ranking() -> Ranking:
    """Return the ranking in the package."""
    text = resources.files("node.analysis").joinpath("models", MODEL).read_text("utf-8")
    return Ranking.of(json.loads(text))
