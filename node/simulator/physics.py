"""What a scanner measures of tissue: contrast uptake, signal, coil, noise. Plain functions of arrays and numbers."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Image = npt.NDArray[np.float32]

# Parker et al. 2006, doi:10.1002/mrm.21066, table 1: areas (mM min), centres (min) and widths (min) of two passes.
_PASSES = ((0.809, 0.17046, 0.0563), (0.330, 0.365, 0.132))
_ALPHA_MM, _BETA_PER_MIN, _S_PER_MIN, _TAU_MIN = 1.050, 0.1685, 38.078, 0.483

HAEMATOCRIT = 0.42  # the one Parker et al. assumed
R1_PER_MM_S = 4.5  # gadolinium chelate, literature scale; nobody has measured it here
R2_PER_MM_S = 6.0  # likewise; used for R2 and R2*
_STEP_MIN = 1 / 600  # of the convolution: below 0.5 % of the peak away from the OSIPI reference curves


@dataclass(frozen=True, slots=True)
class Kinetics:
    """Extended Tofts parameters of one tissue: per minute, fraction, fraction."""

    ktrans: float
    ve: float
    vp: float


@dataclass(frozen=True, slots=True)
class Pulse:
    """One sequence: "se" (spin echo), "spgr" (spoiled gradient echo) or "tof" (the same, with inflow)."""

    kind: str
    tr_s: float
    te_s: float
    flip_deg: float


def parker_blood_mm(t_min: Array) -> Array:
    """Return the population arterial blood concentration in mM, `t_min` minutes after a bolus of 0.1 mmol/kg.

    References
    ----------
    Parker et al. 2006, doi:10.1002/mrm.21066.
    """
    passes = sum(
        area / (width * np.sqrt(2 * np.pi)) * np.exp(-((t_min - centre) ** 2) / (2 * width**2))
        for area, centre, width in _PASSES
    )
    tail = _ALPHA_MM * np.exp(-_BETA_PER_MIN * t_min) / (1 + np.exp(-_S_PER_MIN * (t_min - _TAU_MIN)))
    curve: Array = passes + tail
    return curve


def extended_tofts_mm(plasma_mm: Array, step_min: float, kinetics: Kinetics) -> Array:
    """Return the tissue concentration in mM for a plasma curve on an even grid of `step_min` minutes.

    References
    ----------
    Tofts et al. 1999, J Magn Reson Imaging 10:223.
    """
    intravascular: Array = kinetics.vp * plasma_mm
    if not kinetics.ktrans:
        return intravascular
    t_min = np.arange(plasma_mm.size) * step_min
    residue = np.exp(-kinetics.ktrans / kinetics.ve * t_min)
    leaked: Array = kinetics.ktrans * step_min * np.convolve(plasma_mm, residue)[: t_min.size]
    return leaked + intravascular


def uptake_mm(kinetics: Kinetics, *, minutes: float) -> float:
    """Return what a tissue holds `minutes` after the bolus, in mM."""
    t_min = np.arange(0, minutes + _STEP_MIN / 2, _STEP_MIN)
    plasma = parker_blood_mm(t_min) / (1 - HAEMATOCRIT)
    return float(extended_tofts_mm(plasma, _STEP_MIN, kinetics)[-1])


def spoiled_gradient_echo(r1: Array, r2_star: Array, pulse: Pulse) -> Array:
    """Return the steady-state signal of unit proton density; rates in 1/s."""
    flip, e1 = np.deg2rad(pulse.flip_deg), np.exp(-pulse.tr_s * r1)
    signal: Array = np.sin(flip) * (1 - e1) / (1 - np.cos(flip) * e1) * np.exp(-pulse.te_s * r2_star)
    return signal


def spin_echo(r1: Array, r2: Array, pulse: Pulse) -> Array:
    """Return the signal of unit proton density after full excitation; rates in 1/s."""
    signal: Array = (1 - np.exp(-pulse.tr_s * r1)) * np.exp(-pulse.te_s * r2)
    return signal


def signal_of(pulse: Pulse, r1: Array, r2: Array, r2_star: Array, *, fresh: Array) -> Array:
    """Return the signal of tissues of unit proton density.

    Parameters
    ----------
    pulse : Pulse
        The sequence.
    r1, r2, r2_star : ndarray
        Relaxation rates in 1/s.
    fresh : ndarray
        Share of the spins that flowed in unsaturated since the last pulse; -1 for blood that a saturation slab
        has darkened. Only "tof" looks at it.
    """
    if pulse.kind == "se":
        return spin_echo(r1, r2, pulse)
    steady = spoiled_gradient_echo(r1, r2_star, pulse)
    if pulse.kind != "tof":
        return steady
    inflow = np.sin(np.deg2rad(pulse.flip_deg)) * np.exp(-pulse.te_s * r2_star)
    return np.where(fresh < 0, 0.1 * steady, steady + np.maximum(fresh, 0) * (inflow - steady))


def rician(rng: np.random.Generator, signal: Image, sigma: float) -> Image:
    """Return the magnitude of a signal with complex noise: in air too, where it is Rayleigh distributed."""
    real = rng.standard_normal(signal.shape, dtype=np.float32) * np.float32(sigma) + signal
    imaginary = rng.standard_normal(signal.shape, dtype=np.float32) * np.float32(sigma)
    magnitude: Image = np.hypot(real, imaginary)
    return magnitude


def coil_sensitivity(depth_mm: Image, reach_mm: float) -> Image:
    """Return how well a spine coil sees a place `depth_mm` in front of the skin of the back; 0 mm: evenly.

    Exponential with a floor for the body coil. The form is chosen; nobody has measured it.
    """
    if not reach_mm:
        return np.ones_like(depth_mm)
    sensitivity: Image = np.float32(0.1) + np.float32(0.9) * np.exp(-np.maximum(depth_mm, 0) / np.float32(reach_mm))
    return sensitivity


@dataclass(frozen=True, slots=True, eq=False)
class SmoothField:
    """A smooth random function of position, mean 0, standard deviation 1: a sum of plane waves.

    It is a formula, so it has its value at any place, on any grid, for a patient who moved.
    """

    waves_per_mm: Array  # (waves, 3), in radians per mm
    phases: Array  # (waves,)

    @classmethod
    def random(cls, rng: np.random.Generator, *, wavelength_mm: float, waves: int = 12) -> "SmoothField":
        """Return a field whose structures measure about half of `wavelength_mm`."""
        direction = rng.standard_normal((waves, 3))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        lengths = wavelength_mm * rng.uniform(0.7, 1.6, (waves, 1))
        return cls(2 * np.pi * direction / lengths, rng.uniform(0, 2 * np.pi, waves))

    def on(self, affine: Array, shape: tuple[int, int, int]) -> Image:
        """Return the field on a grid; `affine` maps (slice, row, column, 1) to mm.

        A plane wave on a grid is an outer product of three vectors: no sine per voxel.
        """
        field = np.zeros(shape, np.float32)
        steps = self.waves_per_mm @ affine[:3, :3]
        starts = self.waves_per_mm @ affine[:3, 3] + self.phases
        for step, start in zip(steps, starts, strict=True):
            k, j, i = (np.exp(1j * along * np.arange(n)) for along, n in zip(step, shape, strict=True))
            plane = (np.exp(1j * start) * j[:, None] * i[None, :]).astype(np.complex64)
            for index, turn in enumerate(k.astype(np.complex64)):
                field[index] += plane.real * turn.real - plane.imag * turn.imag
        field *= np.float32(np.sqrt(2 / len(starts)))
        return field
