"""Kinetics: how the signal of one region rises and falls over a dynamic series. Curves in, numbers out; no images.

The numbers describe the curve and assume no model (semi-quantitative). Enhancement is in percent of the baseline, the
mean of the time points before contrast arrives. Times within a step between two time points come by straight lines.
"""

from typing import Literal

import numpy as np

from node.dicom.geometry import FloatArray
from node.findings import Kinetics

_SIGMAS = 4.0  # above the baseline: contrast has arrived (the design's section 9)
_LEAST_SD = 0.005  # of the baseline: the spread of a few time points may come out as next to nothing. Chosen
_EARLY_S = 120.0  # after the onset; the initial phase of Kuhl et al. 1999
_LATE_S = 30.0  # before the end: what the curve has come to. Chosen
_SHORTEST_S = 180.0  # after the onset: a minute beyond the initial phase, or the series ends too early to tell. Chosen
_STEADY = 0.10  # of the signal at the early maximum: a plateau within it; convention of breast MR, likewise


def onset_frame(signal: FloatArray, *, before: int = 1) -> int | None:
    """Return the index of the first time point with contrast, or None if there is none.

    It, and the next one, lie 4 standard deviations above the mean of all time points before; at least `before` of them
    are taken to be without contrast.
    """
    for first in range(max(1, before), len(signal)):
        level = _baseline_end(signal, first)
        if (signal[first : first + 2] > level).all():
            return first
    return None


def _baseline_end(signal: FloatArray, frames: int) -> float:
    """Return the signal above which it is no baseline any more, from the first time points."""
    mean = float(signal[:frames].mean())
    spread = float(signal[:frames].std(ddof=1)) if frames > 1 else 0.0
    return mean + _SIGMAS * max(spread, _LEAST_SD * abs(mean))


def describe(times_s: FloatArray, signal: FloatArray, *, before: int) -> Kinetics | None:
    """Return what a curve shows, or None if it has no positive baseline or never rises from it.

    Parameters
    ----------
    times_s : ndarray, shape (time points,)
        When each was acquired, ascending.
    signal : ndarray of the same shape
        Of the region, in arbitrary units: its median or mean at each time point.
    before : int
        How many time points at the beginning are surely before contrast; at least one.
    """
    first = onset_frame(signal, before=before)
    baseline = 0.0 if first is None else float(signal[:first].mean())
    if first is None or baseline <= 0:
        return None
    rise = 100 * (signal / baseline - 1)
    level = 100 * (_baseline_end(signal, first) / baseline - 1)
    onset_s = float(np.interp(level, rise[first - 1 : first + 1], times_s[first - 1 : first + 1]))
    peak = first + int(np.argmax(rise[first:]))
    slopes = np.diff(rise[first - 1 : peak + 1]) / np.diff(times_s[first - 1 : peak + 1])
    in_first_minute = rise[first:][times_s[first:] <= onset_s + 60]
    lasts_s = float(times_s[-1]) - onset_s
    return Kinetics(
        onset_s=onset_s - float(times_s[0]),
        time_to_peak_s=float(times_s[peak]) - onset_s,
        peak_enhancement_pct=float(rise[peak]),
        first_minute_enhancement_pct=float(in_first_minute.max()) if lasts_s >= 60 and len(in_first_minute) else None,
        wash_in_pct_per_s=float(slopes.max()),
        iauc60=_area(times_s, rise, onset_s, 60.0),
        iauc90=_area(times_s, rise, onset_s, 90.0),
        curve=_curve(times_s, signal, first, onset_s),
    )


def _area(times_s: FloatArray, rise: FloatArray, onset_s: float, length_s: float) -> float | None:
    """Return the area under the curve from the onset on; None if the series ends before."""
    end_s = onset_s + length_s
    if times_s[-1] < end_s:
        return None
    moments = np.concatenate([[onset_s], times_s[(times_s > onset_s) & (times_s < end_s)], [end_s]])
    return float(np.trapezoid(np.interp(moments, times_s, rise), moments))


def _curve(
    times_s: FloatArray, signal: FloatArray, first: int, onset_s: float
) -> Literal["persistent", "plateau", "wash-out"] | None:
    """Return the type of the curve: what the signal does after its maximum of the first two minutes.

    References
    ----------
    Kuhl et al. 1999, doi:10.1148/radiology.211.1.r99ap38101: types I to III of breast MR.
    """
    if times_s[-1] < onset_s + _SHORTEST_S:
        return None
    early = float(signal[first:][times_s[first:] <= onset_s + _EARLY_S].max(initial=signal[first]))
    late = float(signal[times_s >= times_s[-1] - _LATE_S].mean())
    change = late / early - 1
    if change > _STEADY:
        return "persistent"
    return "wash-out" if change < -_STEADY else "plateau"
