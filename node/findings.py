"""Findings: what one analysis found, in plain values; and the regions it was found in.

Finding, candidate and refusal are kept apart on purpose: a *caveat* weakens a finding, a *refusal* says why
something was not measured. A refusal is a result, not an accident.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from node.dicom.volumes import Volume

SCHEMA_VERSION = "1.1"  # of findings.json, docs/findings.md; the first number changes when a reader must change


VERTEBRAE = tuple(
    f"{letter}{number}" for letter, last in (("C", 7), ("T", 12), ("L", 5), ("S", 1)) for number in range(1, last + 1)
)  # from head to feet


class Side(StrEnum):
    """A side of the patient, never of the picture."""

    LEFT = "left"
    RIGHT = "right"

    @property
    def other(self) -> "Side":
        return Side.RIGHT if self is Side.LEFT else Side.LEFT


class Outcome(StrEnum):
    """The answer to the study as a whole."""

    FINDINGS = "findings"
    NO_FINDINGS = "no findings"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Gate:
    """One check with what it found and what it wanted (codes: docs/analysis.md)."""

    code: str
    found: float | str
    wanted: str
    passed: bool


@dataclass(frozen=True, slots=True)
class Note:
    """A caveat or a refusal: its code, and a sentence for the reader without patient data."""

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Suspicion:
    """The level and side at which EMG found, or suspects, denervation of a posterior ramus: a question from outside.

    Parameters
    ----------
    level : str
        A nerve root, "L4" (C1 to C8, T1 to T12, L1 to L5, S1), or several neighbours, "L4-L5".
    side : str
        "left", "right" or "both", of the patient.
    source : str
        "emg add", "drop folder", "site rule" or "order".
    basis : str
        What of the source said so, e.g. a DICOM keyword; never the text itself.
    """

    level: str
    side: Literal["left", "right", "both"]
    source: str
    basis: str


@dataclass(frozen=True, slots=True)
class Location:
    """Where along the spine something lies: its place always, a vertebral level only where that could be determined."""

    level: str | None  # "L4", "L4/L5" (a disc), "L2 to L4"; None: not determined
    position_mm: tuple[float, float, float]  # of its centre, LPS
    slices: tuple[int, int] | None  # first and last axial slice, counted from the head from 1; None: not axial


@dataclass(frozen=True, slots=True)
class MuscleFindings:
    """One side's posterior paraspinal compartment (multifidus and erector spinae together).

    Enhancement is (median post - median pre) / median pre in percent, after gain correction. What was not measured
    is None, and a refusal or caveat says why.
    """

    side: Side
    volume_mm3: float
    pre_signal: float | None
    post_signal: float | None
    enhancement_pct: float | None
    enhancement_sd_pct: float | None
    asymmetry_pct: float | None  # (this side - other side) / (this + other) of the enhancement, signed
    enhancing_fraction_pct: float | None  # voxels that enhance more than the reference muscle plausibly does
    vessel_fraction_pct: float | None  # of the muscle, on MRV
    location: Location | None = None


@dataclass(frozen=True, slots=True)
class LesionFindings:
    """One focal enhancing candidate. Positions are LPS millimetres in the frame of reference of the regions."""

    number: int  # 1, 2, ...; its label in `Regions.lesions`
    side: Side
    centroid_mm: tuple[float, float, float]
    volume_mm3: float
    long_axis_mm: float  # largest in-plane diameter
    short_axis_mm: float  # perpendicular to it
    pre_signal: float | None
    post_signal: float
    enhancement_pct: float | None
    enhancement_max_pct: float | None
    muscle_ratio: float | None  # enhancement over that of the reference muscle, LMER
    score: float  # of the detector; only its rank means anything
    midline_distance_mm: float | None
    skin_distance_mm: float | None
    vessel_fraction_pct: float | None  # of the lesion, on MRV
    surrounding_vessel_fraction_pct: float | None  # of the muscle around it, on MRV
    vascularity_increased: bool | None  # None: not assessed
    location: Location | None = None


@dataclass(frozen=True, slots=True)
class Algorithm:
    """What made the findings: name, version, and every parameter as text; the hash covers the parameters."""

    name: str
    version: str
    parameters: Mapping[str, str]
    configuration_hash: str


@dataclass(frozen=True, slots=True)
class Findings:
    """The whole answer to one study."""

    outcome: Outcome
    summary: str
    inputs: tuple[str, ...]  # which of "pre", "post", "mrv" were measured
    grade: int | None  # docs/analysis.md 13.1; None: not graded
    muscles: tuple[MuscleFindings, ...]
    lesions: tuple[LesionFindings, ...]
    gates: tuple[Gate, ...]
    caveats: tuple[Note, ...]
    refusals: tuple[Note, ...]
    algorithm: Algorithm
    level_basis: str = "level not determined"  # how vertebrae were counted, or why no level is named
    suspicion: Suspicion | None = None

    @property
    def names_levels(self) -> bool:
        """Whether any region has a vertebral level."""
        locations = [one.location for one in self.muscles] + [one.location for one in self.lesions]
        return any(location is not None and location.level is not None for location in locations)

    def to_json(self) -> dict[str, Any]:
        """Return the findings as JSON values, by the schema of docs/findings.md."""
        return {"schema_version": SCHEMA_VERSION, **asdict(self)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Findings":
        """Return the findings that `to_json` wrote."""
        return cls(
            outcome=Outcome(values["outcome"]),
            summary=values["summary"],
            inputs=tuple(values["inputs"]),
            grade=values["grade"],
            muscles=tuple(
                MuscleFindings(**{**one, "side": Side(one["side"]), "location": _location(one["location"])})
                for one in values["muscles"]
            ),
            lesions=tuple(
                LesionFindings(
                    **{
                        **one,
                        "side": Side(one["side"]),
                        "centroid_mm": tuple(one["centroid_mm"]),
                        "location": _location(one["location"]),
                    }
                )
                for one in values["lesions"]
            ),
            gates=tuple(Gate(**one) for one in values["gates"]),
            caveats=tuple(Note(**one) for one in values["caveats"]),
            refusals=tuple(Note(**one) for one in values["refusals"]),
            algorithm=Algorithm(**values["algorithm"]),
            level_basis=values["level_basis"],
            suspicion=None if values["suspicion"] is None else Suspicion(**values["suspicion"]),
        )


def _location(values: Mapping[str, Any] | None) -> Location | None:
    if values is None:
        return None
    slices = None if values["slices"] is None else (values["slices"][0], values["slices"][1])
    x, y, z = values["position_mm"]
    return Location(values["level"], (x, y, z), slices)


@dataclass(frozen=True, slots=True, eq=False)
class Regions:
    """The voxels that the findings speak of, on the grids of the series they were drawn on.

    Parameters
    ----------
    muscles : ndarray of uint8 or None
        1 left, 2 right, on the grid of the reference series.
    lesions : ndarray of uint8 or None
        The number of the lesion, on the same grid.
    vessels : ndarray of bool or None
        On the grid of the MRV.
    reference : str
        "post", "pre" or "mrv": the series whose grid `muscles` and `lesions` have.
    """

    muscles: npt.NDArray[np.uint8] | None
    lesions: npt.NDArray[np.uint8] | None
    vessels: npt.NDArray[np.bool_] | None
    reference: str


@dataclass(frozen=True, slots=True, eq=False)
class Measurement:
    """Findings and their regions: all that a report is made of, besides the headers of its evidence."""

    findings: Findings
    regions: Regions


@dataclass(frozen=True, slots=True, eq=False)
class StudyVolumes:
    """The series of one study that a measurement is made from; None where there is none.

    `sagittal` is not measured: vertebral levels are read from it.
    """

    pre: Volume | None = None
    post: Volume | None = None
    mrv: Volume | None = None
    sagittal: Volume | None = None
