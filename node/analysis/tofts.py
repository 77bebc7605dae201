"""Tofts: from the signal of a dynamic gradient echo to transfer constants. Research values.

Concentrations are mM, rates per minute, times in seconds where their name says so. What the answer stands on is weak
for one patient: a fixed T1, no map of the flip angle, a population's arterial curve. It is right where these are
(docs/analysis.md: OSIPI's and PkModeling's reference objects); nothing is known of it on paraspinal muscle.
"""

from dataclasses import dataclass

import numpy as np

from node.dicom.geometry import FloatArray

HAEMATOCRIT = 0.42  # of Parker et al. 2006
# Parker et al. 2006, doi:10.1002/mrm.21066, table 1: area (mM min), centre (min) and width (min) of two passes.
_PASSES = ((0.809, 0.17046, 0.0563), (0.330, 0.365, 0.132))
_ALPHA_MM, _BETA_PER_MIN, _S_PER_MIN, _TAU_MIN = 1.050, 0.1685, 38.078, 0.483
_FINE_S = 0.1  # steps in which Parker's curve is integrated; chosen
_NO_DELAY = np.zeros(1)


@dataclass(frozen=True, slots=True)
class Transfer:
    """Parameters of the extended Tofts model.

    References
    ----------
    Tofts et al. 1999, doi:10.1002/(SICI)1522-2586(199909)10:3<223::AID-JMRI2>3.0.CO;2-S.
    """

    ktrans_per_min: float
    kep_per_min: float
    vp: float

    @property
    def ve(self) -> float:
        return self.ktrans_per_min / self.kep_per_min


def parker_blood_mm(minutes: FloatArray) -> FloatArray:
    """Return the population arterial curve in whole blood, `minutes` after it arrives, for 0.1 mmol/kg; 0 before.

    References
    ----------
    Parker et al. 2006, doi:10.1002/mrm.21066, equation 1.
    """
    after = np.maximum(minutes, 0.0)
    curve = _ALPHA_MM * np.exp(-_BETA_PER_MIN * after) / (1 + np.exp(-_S_PER_MIN * (after - _TAU_MIN)))
    for area, centre, width in _PASSES:
        curve += area / (width * np.sqrt(2 * np.pi)) * np.exp(-((after - centre) ** 2) / (2 * width**2))
    blood: FloatArray = np.where(minutes < 0, 0.0, curve)
    return blood


def concentration_mm(
    signal: FloatArray, baseline: float, *, t1_s: float, tr_s: float, flip_deg: float, relaxivity_per_mm_s: float
) -> FloatArray:
    """Return the concentration of contrast medium from the signal of a spoiled gradient echo; NaN where impossible.

    Parameters
    ----------
    signal : ndarray
        In arbitrary units.
    baseline : float
        The signal before contrast, in the same units.
    t1_s : float
        T1 before contrast.
    tr_s, flip_deg : float
        Repetition time and flip angle.
    relaxivity_per_mm_s : float
        r1 of the contrast medium. T2* decay is left out: echo times are short.

    References
    ----------
    The steady state of Haase et al. 1986, doi:10.1016/0022-2364(86)90433-6, solved for R1.
    """
    cosine = np.cos(np.deg2rad(flip_deg))
    before = np.exp(-tr_s / t1_s)
    share = signal / baseline * (1 - before) / (1 - cosine * before)
    possible = np.where(share < 1, share, np.nan)  # 1 is the signal of full relaxation
    r1 = -np.log((1 - possible) / (1 - cosine * possible)) / tr_s
    concentration: FloatArray = (r1 - 1 / t1_s) / relaxivity_per_mm_s
    return concentration


@dataclass(frozen=True, slots=True, eq=False)
class ArterialCurve:
    """The concentration in arterial plasma in mM at times in s, and its integral so far in mM min; 0 before."""

    times_s: FloatArray
    plasma_mm: FloatArray
    area: FloatArray

    @classmethod
    def of(cls, times_s: FloatArray, plasma_mm: FloatArray) -> "ArterialCurve":
        """Return a measured curve."""
        return cls(times_s, plasma_mm, _cumulated(times_s / 60, plasma_mm))

    @classmethod
    def population(cls, lasts_s: float) -> "ArterialCurve":
        """Return Parker's curve, from its arrival on."""
        times_s = np.arange(0.0, lasts_s + _FINE_S, _FINE_S)
        return cls.of(times_s, parker_blood_mm(times_s / 60) / (1 - HAEMATOCRIT))


def fit(
    times_s: FloatArray, tissue_mm: FloatArray, arterial: ArterialCurve, delays_s: FloatArray = _NO_DELAY
) -> Transfer | None:
    """Return the parameters that fit best, by linear least squares; None if none are possible.

    C = (Ktrans + kep vp) int Cp - kep int C + vp Cp. If the plasma volume comes out negative, the model without one
    is fitted instead.

    Parameters
    ----------
    times_s, tissue_mm : ndarray, shape (time points,)
        The concentration in tissue, and when.
    arterial : ArterialCurve
        On the same clock, less the delay.
    delays_s : ndarray
        Of the tissue behind the arterial curve: each is tried.

    References
    ----------
    Murase 2004, doi:10.1002/mrm.20022.
    """
    if not np.isfinite(tissue_mm).all():
        return None
    own = _cumulated(times_s / 60, tissue_mm)
    found = [one for delay in delays_s.tolist() if (one := _fit_delayed(times_s - delay, tissue_mm, own, arterial))]
    return min(found, key=lambda one: one[0])[1] if found else None


def _fit_delayed(
    times_s: FloatArray, tissue_mm: FloatArray, own: FloatArray, arterial: ArterialCurve
) -> tuple[float, Transfer] | None:
    """Return the sum of squares that is left, and the parameters."""
    plasma = np.interp(times_s, arterial.times_s, arterial.plasma_mm, left=0.0)
    columns = np.column_stack([np.interp(times_s, arterial.times_s, arterial.area, left=0.0), -own, plasma])
    first, kep, vp = np.linalg.lstsq(columns, tissue_mm, rcond=None)[0].tolist()
    if vp < 0:
        (first, kep), vp = np.linalg.lstsq(columns[:, :2], tissue_mm, rcond=None)[0].tolist(), 0.0
    ktrans = first - kep * vp
    if ktrans <= 0 or kep < ktrans or vp > 1:  # kep < Ktrans: more than all of the tissue would be interstitium
        return None
    left = columns @ (first, kep, vp) - tissue_mm
    return float(np.square(left).sum()), Transfer(ktrans, kep, vp)


def _cumulated(times_min: FloatArray, curve: FloatArray) -> FloatArray:
    """Return the integral of a curve up to each time, by trapezoids."""
    steps = np.diff(times_min) * (curve[1:] + curve[:-1]) / 2
    return np.concatenate([[0.0], np.cumsum(steps)])


def t1_of_flip_angles(flips_deg: FloatArray, signals: FloatArray, *, tr_s: float) -> float:
    """Return T1 in s from spoiled gradient echoes of several flip angles.

    The straight line of S / sin over S / tan; each point is weighted by its noise, which depends on T1: so again and
    again. The flip angle is taken as it is.

    References
    ----------
    Fram et al. 1987, doi:10.1016/0730-725X(87)90021-X; weights of Chang et al. 2008, doi:10.1002/mrm.21669.
    """
    flips = np.deg2rad(flips_deg)
    x, y = signals / np.tan(flips), signals / np.sin(flips)
    weights = np.ones_like(x)
    for _ in range(4):
        slope = float(np.clip(np.polyfit(x, y, 1, w=np.sqrt(weights))[0], 1e-6, 1 - 1e-9))
        weights = np.square(np.sin(flips) / (1 - slope * np.cos(flips)))
    return float(-tr_s / np.log(slope))
