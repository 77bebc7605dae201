"""Courses: what the signal of regions does over the time points of a dynamic series."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from node.analysis.kinetics import describe
from node.analysis.resampling import Movement, bring_mask
from node.analysis.tofts import ArterialCurve, concentration_mm, fit
from node.dicom.geometry import CanonicalAxes, FloatArray, Geometry
from node.findings import POSTERIOR, Findings, Kinetics, LesionFindings, Measurement, MuscleFindings, Side
from node.ports import PARTS, Mask

_EARLIEST_ARRIVAL_S, _LATEST_ARRIVAL_S, _ARRIVAL_STEP_S = 10.0, 10.0, 0.5  # around the first time point with contrast
_LEAST_REACHED = 0.5  # of a region, by all time points, for a curve of it. Chosen
_LABELS = {Side.LEFT: 1, Side.RIGHT: 2}  # in `Regions.muscles`
_PARTS = {muscle: label for label, muscle in PARTS.items()}


@dataclass(frozen=True, slots=True)
class TissueModel:
    """What turns signal into concentration: T1 before contrast, TR, flip angle, relaxivity."""

    t1_s: float
    tr_s: float
    flip_deg: float
    relaxivity_per_mm_s: float


@dataclass(frozen=True, slots=True, eq=False)
class Course:
    """The time points of a dynamic series, with the patient lying still.

    Parameters
    ----------
    arrays : tuple of ndarray
        Their signals, all on `geometry`, as acquired; NaN where a time point that was brought back does not reach.
    times_s : ndarray
        After the first time point.
    before : int
        How many of them are before contrast arrives anywhere; at least one.
    tissue : TissueModel or None
        None where the protocol allows no Tofts model.
    """

    arrays: tuple[npt.NDArray[np.float32], ...]
    geometry: Geometry
    times_s: FloatArray
    before: int
    tissue: TissueModel | None


def kinetics_of(region: Mask, course: Course) -> Kinetics | None:
    """Return the kinetics of a region on the grid of the course, as acquired; None if it is empty or does not enhance.

    The curve is the median over the region, as all other values of it are: over the part of it that every time point
    reaches, or there is none if that is less than half.
    """
    places = np.nonzero(region)
    reached = np.ones(len(places[0]), bool)
    for array in course.arrays:
        reached &= np.isfinite(array[places])
    if not reached.any() or reached.mean() < _LEAST_REACHED:
        return None
    places = tuple(axis[reached] for axis in places)
    curve = np.array([float(np.median(array[places])) for array in course.arrays])
    found = describe(course.times_s, curve, before=course.before)
    if found is None or course.tissue is None:
        return found
    tissue = course.tissue
    baseline = float(curve[course.times_s <= found.onset_s].mean())
    taken_up = concentration_mm(
        curve, baseline, t1_s=tissue.t1_s, tr_s=tissue.tr_s, flip_deg=tissue.flip_deg,
        relaxivity_per_mm_s=tissue.relaxivity_per_mm_s,
    )  # fmt: skip
    seen_s = float(course.times_s[course.before])
    arrivals = np.arange(seen_s - _EARLIEST_ARRIVAL_S, seen_s + _LATEST_ARRIVAL_S, _ARRIVAL_STEP_S)
    population = ArterialCurve.population(float(course.times_s[-1]) + _EARLIEST_ARRIVAL_S)
    transfer = fit(course.times_s, taken_up, population, arrivals)
    if transfer is None:
        return found
    return replace(found, ktrans_per_min=transfer.ktrans_per_min, ve=transfer.ve, kep_per_min=transfer.kep_per_min)


def with_courses(measurement: Measurement, course: Course, drawn_on: Geometry) -> Findings:
    """Return the findings with the kinetics of their muscles, levels and lesions, whose regions lie on `drawn_on`."""
    findings, regions, on = measurement.findings, measurement.regions, _Drawn(course, drawn_on)

    def of_muscle(one: MuscleFindings) -> Mask | None:
        if one.muscle == POSTERIOR:
            return None if regions.muscles is None else regions.muscles == _LABELS[one.side]
        return None if regions.parts is None else regions.parts == _PARTS[one.muscle, one.side]

    def muscle(one: MuscleFindings) -> MuscleFindings:
        region = of_muscle(one)
        return one if region is None else replace(one, kinetics=on.kinetics(region))

    def level(one: MuscleFindings) -> MuscleFindings:
        region = of_muscle(one)
        if region is None or one.location is None or one.location.slices is None:
            return one
        return replace(one, kinetics=on.kinetics(on.within(region, one.location.slices)))

    def lesion(one: LesionFindings) -> LesionFindings:
        return one if regions.lesions is None else replace(one, kinetics=on.kinetics(regions.lesions == one.number))

    levels = tuple(map(level, findings.levels))
    answer = findings.answer
    if answer is not None:
        asked = tuple(levels[findings.levels.index(one)] for one in answer.levels)
        answer = replace(answer, levels=asked)
    return replace(
        findings,
        muscles=tuple(map(muscle, findings.muscles)),
        levels=levels,
        lesions=tuple(map(lesion, findings.lesions)),
        answer=answer,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Drawn:
    """A course, and the grid that regions were drawn on, as acquired."""

    course: Course
    drawn_on: Geometry

    def kinetics(self, region: Mask) -> Kinetics | None:
        here = self.course.geometry
        same_grid = region.shape == here.shape and np.array_equal(self.drawn_on.affine, here.affine)
        if self.drawn_on is not here and not same_grid:
            if not here.frame_of_reference or here.frame_of_reference != self.drawn_on.frame_of_reference:
                return None
            region = bring_mask(region, self.drawn_on, here, Movement.none(np.zeros(3)))
        return kinetics_of(region, self.course)

    def within(self, region: Mask, slices: tuple[int, int]) -> Mask:
        """Return the part of a region in axial slices counted from the head from 1."""
        cut = np.zeros_like(region)
        first, last = slices
        here, there = (CanonicalAxes.of(self.drawn_on).apply(one) for one in (region, cut))
        count = here.shape[0]
        there[count - last : count - first + 1] = here[count - last : count - first + 1]
        return cut
