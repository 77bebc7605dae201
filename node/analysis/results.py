"""Results: findings and regions put together from what the steps found."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from node import __version__
from node.analysis import decision
from node.analysis.grid import Box, Grid, whole
from node.analysis.lesions import Lesion
from node.analysis.verdict import Verdict
from node.findings import Algorithm, Findings, Measurement, MuscleFindings, Outcome, Regions
from node.ports import Detector, Segmenter
from node.settings import AnalysisSettings

_NO_REGIONS = Regions(None, None, None, "post")


@dataclass(frozen=True, slots=True, eq=False)
class Tools:
    """What a measurement is made with."""

    settings: AnalysisSettings
    segmenter: Segmenter
    detector: Detector


def refusal(
    verdict: Verdict, tools: Tools, *, muscles: tuple[MuscleFindings, ...] = (), regions: Regions = _NO_REGIONS
) -> Measurement:
    """Return the measurement that was not made, and why; with what is still valid."""
    reasons = ", ".join(dict.fromkeys(one.code for one in verdict.refusals))
    findings = Findings(
        outcome=Outcome.REFUSED,
        summary=f"Enhancement was not measured ({reasons}).",
        inputs=(),
        grade=None,
        muscles=muscles,
        lesions=(),
        gates=verdict.gates,
        caveats=verdict.caveats,
        refusals=verdict.refusals,
        algorithm=_algorithm(tools),
    )
    return Measurement(findings, regions)


def result(
    inputs: tuple[str, ...],
    given: int | None,
    muscles: tuple[MuscleFindings, ...],
    lesions: Sequence[Lesion],
    verdict: Verdict,
    tools: Tools,
    regions: Regions,
) -> Measurement:
    """Return the measurement that was made; `given` is its grade, None if nothing was graded."""
    described = tuple(one.findings for one in lesions)
    findings = Findings(
        outcome=decision.outcome(given, muscles, described),
        summary=decision.summary(given, muscles, described),
        inputs=inputs,
        grade=given,
        muscles=muscles,
        lesions=described,
        gates=verdict.gates,
        caveats=verdict.caveats,
        refusals=verdict.refusals,
        algorithm=_algorithm(tools),
    )
    return Measurement(findings, regions)


def _algorithm(tools: Tools) -> Algorithm:
    values = {name: str(value) for name, value in tools.settings.model_dump(mode="json").items()}
    values["segmenter"] = f"{tools.segmenter.name} {tools.segmenter.version}"
    values["detector"] = f"{tools.detector.name} {tools.detector.version}"
    return Algorithm("PVM contrast-enhancement analysis", __version__, values, tools.settings.configuration_hash())


def regions_on_post(
    post: Grid,
    box: Box,
    sides: npt.NDArray[np.uint8],
    lesions: Sequence[Lesion] = (),
    vessels: npt.NDArray[np.bool_] | None = None,
) -> Regions:
    """Return the regions on the grid of the post-contrast series as it was acquired; vessels lie on theirs already."""
    numbers = np.zeros(sides.shape, np.uint8)
    for lesion in lesions:
        numbers[lesion.region] = lesion.findings.number
    muscles, labels = (post.as_acquired(whole(box, one, post.signal.shape)) for one in (sides, numbers))
    return Regions(muscles, labels if lesions else None, vessels, "post")
