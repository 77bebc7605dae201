"""Results: findings and regions put together from what the steps found."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from node import __version__
from node.analysis import decision
from node.analysis.answer import answer
from node.analysis.grid import Box, Grid, whole
from node.analysis.lesions import Lesion
from node.analysis.places import Places
from node.analysis.regional import Regional
from node.analysis.verdict import Verdict
from node.dicom.volumes import Volume
from node.findings import Algorithm, Findings, Measurement, Note, Outcome, Regions, Suspicion
from node.ports import Array, Detector, Labeller, Segmenter
from node.settings import AnalysisSettings

_NO_REGIONS = Regions(None, None, None, "post")
_NOTHING = Regional()


@dataclass(frozen=True, slots=True, eq=False)
class Tools:
    """What a measurement is made with, the series that names levels, and the level that is asked about.

    `refusals` say why a series on which enhancement hangs is not measured at all, `beside` why another one is not.
    """

    settings: AnalysisSettings
    segmenter: Segmenter
    detector: Detector
    labeller: Labeller
    sagittal: Volume | None
    suspicion: Suspicion | None
    refusals: tuple[Note, ...] = ()
    beside: tuple[Note, ...] = ()

    def places(self, grid: Grid, box: Box) -> Places:
        """Return where along the spine the voxels of `box` lie."""
        return Places.of(grid, box, self.sagittal, self.labeller)


def refusal(
    verdict: Verdict,
    tools: Tools,
    *,
    inputs: tuple[str, ...] = (),
    regional: Regional = _NOTHING,
    regions: Regions = _NO_REGIONS,
) -> Measurement:
    """Return the measurement that was not made, and why; with what is still valid, of the series `inputs`."""
    reasons = ", ".join(dict.fromkeys(one.code for one in (*tools.refusals, *verdict.refusals)))
    summary = f"Enhancement was not measured ({reasons})."
    return Measurement(_findings(Outcome.REFUSED, summary, inputs, None, regional, (), verdict, tools), regions)


def result(
    inputs: tuple[str, ...],
    given: int | None,
    regional: Regional,
    lesions: Sequence[Lesion],
    verdict: Verdict,
    tools: Tools,
    regions: Regions,
) -> Measurement:
    """Return the measurement that was made; `given` is its grade, None if nothing was graded."""
    described = [one.findings for one in lesions]
    outcome = decision.outcome(given, regional.sides, described)
    summary = decision.summary(given, regional.sides, regional.levels, described, tools.settings)
    return Measurement(_findings(outcome, summary, inputs, given, regional, lesions, verdict, tools), regions)


def placed(lesions: Sequence[Lesion], places: Places) -> tuple[Lesion, ...]:
    """Return the lesions with their location."""
    return tuple(replace(one, findings=replace(one.findings, location=places.location(one.region))) for one in lesions)


def regions_on(
    grid: Grid,
    box: Box,
    sides: npt.NDArray[np.uint8],
    lesions: Sequence[Lesion] = (),
    vessels: npt.NDArray[np.bool_] | None = None,
    enhancement: Array | None = None,
    *,
    parts: npt.NDArray[np.uint8] | None = None,
    reference: str = "post",
) -> Regions:
    """Return the regions on the grid of a series as it was acquired; vessels lie on theirs already.

    `enhancement` is a ratio, voxel by voxel: it is kept in percent, in the muscles alone, with the fat in them.
    """
    numbers = np.zeros(sides.shape, np.uint8)
    for lesion in lesions:
        numbers[lesion.region] = lesion.findings.number
    muscles, labels = (grid.as_acquired(whole(box, one, grid.signal.shape)) for one in (sides, numbers))
    rise = None
    if enhancement is not None:
        inside = np.where(sides > 0, 100 * enhancement, np.float32(np.nan))
        rise = grid.as_acquired(whole(box, inside, grid.signal.shape, np.nan), np.nan)
    single = None if parts is None else grid.as_acquired(whole(box, parts, grid.signal.shape))
    return Regions(muscles, labels if lesions else None, vessels, reference, rise, single)


def _findings(
    outcome: Outcome,
    summary: str,
    inputs: tuple[str, ...],
    given: int | None,
    regional: Regional,
    lesions: Sequence[Lesion],
    verdict: Verdict,
    tools: Tools,
) -> Findings:
    described = tuple(one.findings for one in lesions)
    reasons = (*tools.refusals, *verdict.refusals)
    return Findings(
        outcome=outcome,
        summary=summary,
        inputs=inputs,
        grade=given,
        muscles=regional.sides,
        lesions=described,
        gates=verdict.gates,
        caveats=verdict.caveats,
        refusals=(*tools.beside, *reasons),
        algorithm=_algorithm(tools),
        level_basis=regional.basis,
        suspicion=tools.suspicion,
        levels=regional.levels,
        answer=None
        if tools.suspicion is None
        else answer(
            tools.suspicion, regional.levels, described, reasons, given, tools.settings, caveats=verdict.caveats
        ),
    )


def algorithm_of(settings: AnalysisSettings) -> Algorithm:
    """Return what measures by these settings, as far as they say."""
    values = {name: str(value) for name, value in settings.model_dump(mode="json").items()}
    return Algorithm("PVM contrast-enhancement analysis", __version__, values, settings.configuration_hash())


def _algorithm(tools: Tools) -> Algorithm:
    told = algorithm_of(tools.settings)
    loaded = (("segmenter", tools.segmenter), ("detector", tools.detector), ("labeller", tools.labeller))
    return replace(told, parameters={**told.parameters, **{name: f"{one.name} {one.version}" for name, one in loaded}})
