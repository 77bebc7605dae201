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

SCHEMA_VERSION = "1.4"  # of findings.json, docs/findings.md; the first number changes when a reader must change


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


POSTERIOR = "posterior compartment"  # multifidus and erector spinae together


@dataclass(frozen=True, slots=True)
class Kinetics:
    """How the signal of a region rises and falls in a dynamic series. Enhancement is in percent of the baseline.

    The last three are research values (Tofts), given only where the protocol allows them.
    """

    onset_s: float  # after the first time point
    time_to_peak_s: float  # after the onset
    peak_enhancement_pct: float
    first_minute_enhancement_pct: float | None  # largest within 60 s of the onset; None: the series is shorter
    wash_in_pct_per_s: float  # steepest rise
    iauc60: float | None  # area under the enhancement in the first 60 s after the onset, percent x s
    iauc90: float | None
    curve: Literal["persistent", "plateau", "wash-out"] | None  # None: the series ends too early to tell
    ktrans_per_min: float | None = None
    ve: float | None = None
    kep_per_min: float | None = None


@dataclass(frozen=True, slots=True)
class MuscleFindings:
    """One side's muscle: the whole of it that was measured, or one level of it (`Findings.levels`).

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
    enhancing_fraction_pct: float | None  # voxels that enhance more than the reference muscle plausibly does (q)
    vessel_fraction_pct: float | None  # of the muscle, on MRV
    location: Location | None = None
    muscle: str = POSTERIOR  # or one muscle of `ports.PARTS`
    fat_fraction_pct: float | None = None  # from Dixon water and fat
    fat_corrected_enhancement_pct: float | None = None  # of the water in the region, as if it held no fat
    relative_enhancement: float | None = None  # over the median of the patient's other levels (R)
    diffuse: bool | None = None  # diffuse enhancement of this level and side; None: not assessed
    vessel_asymmetry_pct: float | None = None  # as `asymmetry_pct`, of the vessel fraction
    kinetics: Kinetics | None = None


@dataclass(frozen=True, slots=True)
class BiopsyPath:
    """A straight way from the skin to a candidate: a geometric proposal. Positions are LPS millimetres."""

    target_mm: tuple[float, float, float]  # in the enhancing part, farthest from its border
    entry_mm: tuple[float, float, float]  # on the skin
    depth_mm: float  # from entry to target
    angle_deg: float  # from the sagittal plane, positive with the entry to the patient's left of the target
    tilt_deg: float  # out of the axial plane, positive with the entry nearer to the head
    clearance_mm: float  # least distance to what must not be met
    clearance_of: str  # "vessel", "bone", "canal"; "none": nothing is nearer than the 20 mm that are told


@dataclass(frozen=True, slots=True)
class EarlierLesion:
    """A lesion as an earlier report of this node tells it; None is what it does not tell.

    `level` is one vertebra; the centroid is LPS, in `frame_of_reference`.
    """

    tracking_identifier: str
    tracking_uid: str
    side: Side
    level: str | None
    centroid_mm: tuple[float, float, float] | None
    frame_of_reference: str | None
    volume_mm3: float | None
    long_axis_mm: float | None
    short_axis_mm: float | None
    enhancement_pct: float | None
    midline_distance_mm: float | None
    skin_distance_mm: float | None


@dataclass(frozen=True, slots=True)
class EarlierResult:
    """An earlier report of this node about the same patient: its UIDs, the day of its study, and its lesions."""

    study: str
    series: str
    sop_class: str
    sop_instance: str
    study_date: str  # YYYYMMDD
    release: str  # of the node that made it
    lesions: tuple[EarlierLesion, ...]


@dataclass(frozen=True, slots=True)
class Recognition:
    """That a lesion is one of an earlier result: which, what says so, and how sure that is."""

    lesion: EarlierLesion
    study_date: str  # of that result, YYYYMMDD
    basis: str
    confidence: Literal["high", "medium"]
    by: Literal["place", "registration", "level"] = "level"  # one frame; earlier images registered; level, side, depth


@dataclass(frozen=True, slots=True)
class Registration:
    """Whether the images of an earlier study could be registered with those of this one.

    Parameters
    ----------
    study : str
        Of an `EarlierResult`.
    gates : tuple of Gate
        What was asked; only if all of them passed were places compared.
    empty : tuple of str
        Tracking UIDs of its lesions whose places were looked at in this study, and hold no candidate.
    """

    study: str
    gates: tuple[Gate, ...]
    empty: tuple[str, ...] = ()

    @property
    def succeeded(self) -> bool:
        return all(one.passed for one in self.gates)


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
    kinetics: Kinetics | None = None
    plexus_distance_mm: float | None = None  # from its border to the nearest vessel of the paravertebral plexus
    draining_vessel: bool | None = None  # a vessel joins it with the plexus; None: not assessed
    biopsy: BiopsyPath | None = None  # None: none was looked for, or none is safe; a caveat says which
    signal_ratio: float | None = None  # signal over that of the reference muscle; where nothing was acquired before
    reference: str | None = None  # the muscle that it was compared with
    tracking_identifier: str | None = None  # None: after its number
    tracking_uid: str | None = None  # of an earlier report that has the same lesion; None: of this analysis
    prior: Recognition | None = None  # in a result of an older study; None: it was not recognized in any


@dataclass(frozen=True, slots=True)
class TargetedAnswer:
    """The answer at the level and side that EMG suspects, and at its neighbours.

    Parameters
    ----------
    statement : str
        One or two plain sentences.
    levels : tuple of MuscleFindings
        Those of `Findings.levels` that the question is about, suspected side first, from the head down.
    lesions : tuple of int
        Numbers of the candidates that lie there.
    matched : bool
        Whether the levels are those that EMG named; False: no vertebra could be named, all are listed, and the match
        is left to the reader.
    """

    statement: str
    levels: tuple[MuscleFindings, ...]
    lesions: tuple[int, ...]
    matched: bool


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
    levels: tuple[MuscleFindings, ...] = ()  # each level or slab from the head down, left before right
    answer: TargetedAnswer | None = None  # to what EMG suspects; None: nothing is suspected
    earlier: tuple[EarlierResult, ...] = ()  # of older studies, newest first, with which this one was compared
    registrations: tuple[Registration, ...] = ()  # of those of them whose images were there

    @property
    def ending(self) -> str:
        """The outcome, of a refusal with its codes: how a job ends, as an operator reads it."""
        codes = dict.fromkeys(one.code for one in self.refusals)
        return f"{self.outcome}: {', '.join(codes)}" if self.outcome is Outcome.REFUSED else str(self.outcome)

    @property
    def names_levels(self) -> bool:
        """Whether any region has a vertebral level."""
        locations = [one.location for one in self.muscles] + [one.location for one in self.lesions]
        return any(location is not None and location.level is not None for location in locations)

    @property
    def unrecognized(self) -> tuple[EarlierLesion, ...]:
        """The lesions of the newest earlier result that none of this study's was recognized as."""
        recognized = {one.prior.lesion.tracking_uid for one in self.lesions if one.prior}
        return tuple(one for result in self.earlier[:1] for one in result.lesions if one.tracking_uid not in recognized)

    def to_json(self) -> dict[str, Any]:
        """Return the findings as JSON values, by the schema of docs/findings.md."""
        return {"schema_version": SCHEMA_VERSION, **asdict(self)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Findings":
        """Return the findings that `to_json` wrote, of this version of the schema."""
        from pydantic import TypeAdapter  # not before it is needed: the receiving process reads no findings

        plain = {key: value for key, value in values.items() if key != "schema_version"}
        plain["lesions"] = [_with_basis(one) for one in values["lesions"]]
        found: Findings = TypeAdapter(cls).validate_python(plain)
        return found


def _with_basis(lesion: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a lesion whose recognition says by what; written before it did, what was sure was so by its place."""
    prior = lesion.get("prior")
    if prior is None or "by" in prior:
        return lesion
    return {**lesion, "prior": {**prior, "by": "place" if prior["confidence"] == "high" else "level"}}


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
    enhancement : ndarray of float32 or None
        Percent, on the same grid; NaN outside the muscles.
    parts : ndarray of uint8 or None
        Single muscles, by the labels of `ports.PARTS`, on the same grid; not kept with the job.
    """

    muscles: npt.NDArray[np.uint8] | None
    lesions: npt.NDArray[np.uint8] | None
    vessels: npt.NDArray[np.bool_] | None
    reference: str
    enhancement: npt.NDArray[np.float32] | None = None
    parts: npt.NDArray[np.uint8] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """One plane of the patient for the eye of a reader, as arrays: rows run downwards, columns to the right.

    Parameters
    ----------
    plane : str
        "axial": one slice; "coronal": a projection through the muscles.
    layers : mapping of str to ndarray, shape (rows, columns)
        "pre", "post" (on one scale), "mrv": float32, arbitrary units. "enhancement": float32, percent, NaN where it
        was not measured. "muscles", "lesions": uint8, labels as of `Regions`.
    origin_mm : tuple of float
        LPS position of the centre of the first pixel.
    down_mm, right_mm : tuple of float
        From a pixel to the one below it, and to its right, in LPS.
    lesion : int or None
        Number of the lesion that it shows; None: it is for the overview.
    """

    plane: str
    layers: Mapping[str, npt.NDArray[Any]]
    origin_mm: tuple[float, float, float]
    down_mm: tuple[float, float, float]
    right_mm: tuple[float, float, float]
    lesion: int | None


@dataclass(frozen=True, slots=True, eq=False)
class Measurement:
    """Findings, their regions and pictures: all that a report is made of, besides the headers of its evidence."""

    findings: Findings
    regions: Regions
    pictures: tuple[Picture, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class StudyVolumes:
    """The series of one study that a measurement is made from; None where there is none.

    Parameters
    ----------
    pre, post : Volume or None
        The contrast pair.
    mrv, velocity : Volume or None
        Venography (a magnitude), and the velocities of a phase contrast, in cm/s, on the same grid.
    sagittal : Volume or None
        Not measured: vertebral levels are read from it.
    fat : Volume or None
        Dixon fat of the acquisition whose water is `pre`.
    dynamic : tuple of Volume
        The time points of a dynamic series in order, on one grid.
    """

    pre: Volume | None = None
    post: Volume | None = None
    mrv: Volume | None = None
    sagittal: Volume | None = None
    fat: Volume | None = None
    velocity: Volume | None = None
    dynamic: tuple[Volume, ...] = ()
