"""Dynamic series: a contrast pair made of its time points, and the kinetics of the regions that were found.

All time points lie on the grid of the last one, which is the post-contrast series where the study has no other. One
prescan precedes them all, so there is no gain between them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from node.analysis.body import body_mask
from node.analysis.courses import Course, TissueModel, with_courses
from node.analysis.grid import Grid
from node.analysis.kinetics import onset_frame
from node.analysis.stillness import hold_still
from node.analysis.verdict import Verdict, gate
from node.dicom.geometry import FloatArray
from node.dicom.headers import Acquisition
from node.dicom.volumes import Volume
from node.findings import Measurement, Note, StudyVolumes
from node.settings import AnalysisSettings

_FEWEST_POINTS, _LONGEST_STEP_S = 5, 15.0  # for curves; the design's section 9
_FEWEST_FOR_TOFTS, _LONGEST_FOR_TOFTS_S = 30, 8.0  # likewise
_LATE_S = 60.0  # at the end: the post-contrast signal is their mean. Chosen
_EARLIEST_POST_S = 60.0  # after contrast arrives: what ends earlier is an early phase. Chosen
_LEAST_KEPT = 0.8  # of the time points, with the patient where he lay at last. Chosen
_SAMPLES, _RISING_SHARE = 20_000, 0.02  # voxels of the body; the share of them that rises most: vessels. Chosen
_BESIDE = 2  # voxels apart: a vessel holds both, and their noise is not one. Chosen
_LONGEST_TR_MS = 20.0  # of a gradient echo in the steady state of `tofts`; chosen
# T1 of skeletal muscle at 1.5 T and 3 T: Gold et al. 2004, doi:10.2214/ajr.183.2.1830343. Others found 0.86 to 1.41 s.
_MUSCLE_T1_S = (1.13, 1.42)


@dataclass(frozen=True, slots=True, eq=False)
class Followed:
    """A study whose dynamic series has been looked at.

    Parameters
    ----------
    volumes : StudyVolumes
        With `pre` and `post` made of the dynamic series, if the study had no pair.
    paired : bool
        Whether they were.
    course : Course or None
        For the curves; None where there are none to be had.
    verdict : Verdict
        What is to be said of the series; none of it refuses the study.
    unreached : ndarray of bool or None
        Where no time point before contrast reaches the grid of the last one, as acquired; None: there is no such place.
    """

    volumes: StudyVolumes
    paired: bool
    course: Course | None
    verdict: Verdict
    unreached: npt.NDArray[np.bool_] | None = None


def follow(volumes: StudyVolumes, settings: AnalysisSettings) -> Followed:
    """Return the study with what its dynamic series gives; as it is if it has none."""
    points = volumes.dynamic
    if len(points) < 2:
        return Followed(volumes, False, None, Verdict())
    still = hold_still(points, settings)
    points = tuple(points[number] for number in still.kept)
    verdict = _check_stillness(len(volumes.dynamic), len(still.kept), still.moved)
    if len(points) < 2:
        return Followed(volumes, False, None, verdict)
    times_s = _times_s(points)
    arrival = _arrival(still.arrays, points[-1])
    rates = _check_rates(len(volumes.dynamic), times_s)
    arrived = _check_arrival(arrival, times_s)
    before = arrival or 1
    paired, unreached = volumes.post is None, None
    if paired:
        pre, post, unreached = _as_pair(points, still.arrays, before, times_s)
        volumes = replace(volumes, pre=pre, post=post)
    course = None
    if times_s is not None and arrival is not None and all(one.passed for one in (verdict + rates).gates):
        tissue = _tissue_model(points[-1].acquisition, times_s, settings)
        course = Course(still.arrays, points[-1].geometry, times_s, before, tissue)
    return Followed(volumes, paired, course, verdict + rates + arrived + _say_of_model(course), unreached)


def with_kinetics(measurement: Measurement, followed: Followed) -> Measurement:
    """Return the measurement with the kinetics of its regions, and what is to be said of the dynamic series."""
    findings, regions, course = measurement.findings, measurement.regions, followed.course
    if followed.paired and regions.reference == "post":
        regions = replace(regions, reference="dynamic")
    drawn_on = getattr(followed.volumes, measurement.regions.reference)
    if course is not None and drawn_on is not None:
        findings = with_courses(measurement, course, drawn_on.geometry)
    verdict = followed.verdict
    told = replace(findings, gates=findings.gates + verdict.gates, caveats=findings.caveats + verdict.caveats)
    return replace(measurement, findings=told, regions=regions)


# ---------------------------------------------------------------- time points


def _times_s(points: Sequence[Volume]) -> FloatArray | None:
    """Return when each was acquired, after the first; None where it is not known, or the order is another."""
    moments = [one.acquisition.acquired_at_s for one in points]
    known = [one for one in moments if one is not None]
    if len(known) < len(moments) or any(later <= one for one, later in pairwise(known)):
        return None
    return np.array(known) - known[0]


def _arrival(arrays: Sequence[npt.NDArray[np.float32]], last: Volume) -> int | None:
    """Return the first time point with contrast anywhere: in the voxels of the body that rise most, the vessels.

    Which ones do, their neighbours say: voxels chosen by their own curve would be those whose noise was low at first,
    and would rise without contrast, too.
    """
    grid = Grid.of(last)
    voxels = np.argwhere(body_mask(grid.signal, grid.spacing_mm)[:, :, :-_BESIDE])
    if not len(voxels):
        return None
    planes, rows, columns = voxels[:: max(1, len(voxels) // _SAMPLES)].T
    curves, beside = (
        np.stack([grid.axes.apply(array)[planes, rows, columns + away] for array in arrays]).astype(np.float64)
        for away in (0, _BESIDE)
    )
    steady = (beside[:-1] + beside[1:]) / 2  # two time points together: a single one may be noise
    rise = steady.max(axis=0) - steady[0]
    shown = np.isfinite(rise) & np.isfinite(curves).all(axis=0)  # by every time point
    if not shown.any():
        return None
    curves, rise = curves[:, shown], rise[shown]
    rising = rise >= np.quantile(rise, 1 - _RISING_SHARE)
    return onset_frame(curves[:, rising].mean(axis=1))


def _as_pair(
    points: Sequence[Volume], arrays: Sequence[npt.NDArray[np.float32]], before: int, times_s: FloatArray | None
) -> tuple[Volume, Volume, npt.NDArray[np.bool_] | None]:
    """Return what was before contrast, and what came of it in the end, each a mean of the time points that reach there.

    And where none before contrast does: there the first volume is filled with the last one, and means nothing.
    """
    last = points[-1]
    late = 1 if times_s is None else int((times_s[before:] >= times_s[-1] - _LATE_S).sum())
    baseline, after = _mean(arrays[:before]), _mean(arrays[-late:])  # the last one reaches everywhere
    unreached = np.isnan(baseline)
    pre = replace(points[0], array=np.where(unreached, after, baseline), geometry=last.geometry)
    return pre, replace(last, array=after), unreached if unreached.any() else None


def _mean(arrays: Sequence[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    """Return the mean of what is known of each voxel; NaN where nothing is."""
    total, count = np.zeros_like(arrays[0]), np.zeros_like(arrays[0])
    for array in arrays:
        known = np.isfinite(array)
        total[known] += array[known]
        count += known
    mean: npt.NDArray[np.float32] = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
    return mean


def _tissue_model(acquisition: Acquisition, times_s: FloatArray, settings: AnalysisSettings) -> TissueModel | None:
    """Return the model of the signal, if the protocol allows one."""
    tr_ms, flip_deg, field_t = acquisition.repetition_time_ms, acquisition.flip_angle_deg, acquisition.field_strength_t
    if len(times_s) < _FEWEST_FOR_TOFTS or float(np.median(np.diff(times_s))) > _LONGEST_FOR_TOFTS_S:
        return None
    if "GR" not in acquisition.scanning_sequence or not tr_ms or not flip_deg or tr_ms > _LONGEST_TR_MS:
        return None
    if not settings.fixed_t1_s and not field_t:
        return None
    t1_s = settings.fixed_t1_s or _MUSCLE_T1_S[(field_t or 0.0) >= 2]
    return TissueModel(t1_s, tr_ms / 1000, flip_deg, settings.relaxivity_per_mm_s)


# ---------------------------------------------------------------- gates


def _check_stillness(points: int, kept: int, moved: int) -> Verdict:
    enough = kept >= _LEAST_KEPT * points
    verdict = gate(
        "DYN-4", f"{kept} of {points} time points, {moved} of them brought back", f">= {100 * _LEAST_KEPT:g} %", enough,
        caveat="The patient moved too often during the dynamic series: no curves are given.",
    )  # fmt: skip
    if enough and kept < points:
        text = f"{points - kept} of {points} time points are left out of the curves: the patient moved."
        verdict += Verdict(caveats=(Note("DYN-4", text),))
    return verdict


def _check_rates(points: int, times_s: FloatArray | None) -> Verdict:
    if times_s is None:
        return gate(
            "DYN-2", f"{points} time points without times", "times that ascend", False,
            caveat="The headers do not say when the time points were acquired: no curves are given.",
        )  # fmt: skip
    step_s = float(np.median(np.diff(times_s))) if len(times_s) > 1 else float("inf")
    return gate(
        "DYN-2", f"{points} time points, {step_s:.1f} s apart", f">= {_FEWEST_POINTS}, <= {_LONGEST_STEP_S:g} s apart",
        points >= _FEWEST_POINTS and step_s <= _LONGEST_STEP_S,
        caveat="The dynamic series has too few time points, or they are too far apart: no curves are given.",
    )  # fmt: skip


def _check_arrival(arrival: int | None, times_s: FloatArray | None) -> Verdict:
    if arrival is None:
        return gate(
            "DYN-3", "none", "a time point at which contrast arrives", False,
            caveat="No contrast arrives during the dynamic series, or it began after: no curves are given.",
        )  # fmt: skip
    if times_s is None:
        return Verdict()
    lasts_s = float(times_s[-1] - times_s[arrival])
    return gate(
        "DYN-3", f"time point {arrival + 1}, {lasts_s:.0f} s before the end", f">= {_EARLIEST_POST_S:g} s",
        lasts_s >= _EARLIEST_POST_S,
        caveat="The dynamic series ends early after contrast: enhancement is that of an early phase.",
    )  # fmt: skip


def _say_of_model(course: Course | None) -> Verdict:
    if course is None or course.tissue is None:
        return Verdict()
    text = (
        f"Ktrans, ve and kep are research values: T1 is taken as {course.tissue.t1_s:g} s, the arterial curve is that "
        "of a population (Parker 2006)."
    )
    return Verdict(caveats=(Note("DYN-5", text),))
