"""A scan: the images that a sequence makes of an anatomy."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from node.simulator.anatomy import Anatomy
from node.simulator.canvas import coordinates, whole
from node.simulator.physics import (
    R1_PER_MM_S,
    R2_PER_MM_S,
    Array,
    Image,
    Pulse,
    SmoothField,
    coil_sensitivity,
    signal_of,
    uptake_mm,
)
from node.simulator.tissues import FAT_T1_S, FAT_T2_S, R2_STAR_FAT, R2_STAR_WATER, Label, Tissue

_UNEVENNESS = 0.12  # of muscle uptake, standard deviation as a share: data/README.md, 10-15 %
_FAT_SATURATION = (0.90, 0.05)  # mean and standard deviation of the saturated share of the fat signal
_LEAST_SATURATED, _MOST_SATURATED = 0.70, 0.98


@dataclass(frozen=True, slots=True)
class Weighting:
    """What decides the contrast of a scan; `minutes` since injection, None before it."""

    pulse: Pulse
    field_strength_t: float
    fat_suppression: bool
    minutes: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Surroundings:
    """What is random about patient and scanner, the same for all series of a study.

    Parameters
    ----------
    texture : SmoothField
        Unevenness of muscle uptake, in body coordinates.
    field : SmoothField
        Inhomogeneity that fat saturation suffers from, in scanner coordinates.
    coil_mm : float
        LPS y of the spine coil.
    coil_reach_mm : float
        How deep it sees; 0: evenly.
    """

    texture: SmoothField
    field: SmoothField
    coil_mm: float
    coil_reach_mm: float

    @classmethod
    def of(cls, seed: int, *, coil_mm: float, coil_reach_mm: float) -> "Surroundings":
        """Return the surroundings that belong to a seed."""
        rng = np.random.default_rng([seed, 3])
        texture = SmoothField.random(rng, wavelength_mm=25)
        return cls(texture, SmoothField.random(rng, wavelength_mm=220, waves=6), coil_mm, coil_reach_mm)


def scan(anatomy: Anatomy, tissues: Sequence[Tissue], weighting: Weighting, around: Surroundings) -> Image:
    """Return the noise-free image of an anatomy; `tissues` by label. Shape of the anatomy's grid."""
    per_label, slope, fat = _signals(tissues, weighting, measured=anatomy.measured)
    water_signal = anatomy.mix(per_label.astype(np.float32))
    if slope.any():
        texture = around.texture.on(_body_affine(anatomy), anatomy.geometry.shape)
        water_signal += anatomy.mix(slope.astype(np.float32)) * np.clip(texture, -3, 3)
    fat_signal = anatomy.mix(fat.astype(np.float32))
    if weighting.fat_suppression:
        mean, spread = _FAT_SATURATION
        saturated = mean + spread * around.field.on(anatomy.geometry.affine, anatomy.geometry.shape)
        fat_signal *= 1 - np.clip(saturated, _LEAST_SATURATED, _MOST_SATURATED)
    image = anatomy.water * water_signal + anatomy.fat * fat_signal
    image *= coil_sensitivity(around.coil_mm - _height(anatomy), around.coil_reach_mm)
    return image


def _body_affine(anatomy: Anatomy) -> Array:
    mean: Array = np.mean(anatomy.affines, axis=0)
    return mean


def _height(anatomy: Anatomy) -> Image:
    """Return LPS y of every voxel, broadcastable to the grid."""
    _, y, _ = coordinates((anatomy.geometry.affine,), whole(anatomy.geometry.shape))
    height: Image = y[0]
    return height


def _signals(tissues: Sequence[Tissue], weighting: Weighting, *, measured: bool) -> tuple[Array, Array, Array]:
    """Return, by label: the water signal, what unevenness of uptake adds to it per standard deviation, the fat signal.

    For a measured anatomy they are signals per unit of the images' own proton density.
    """
    strong = int(weighting.field_strength_t >= 2)
    r1 = np.array([1 / tissue.t1_s[strong] for tissue in tissues])
    r2 = np.array([1 / tissue.t2_s for tissue in tissues])
    fresh = np.array([tissue.fresh for tissue in tissues])
    minutes = weighting.minutes
    uptake = np.array([0.0 if minutes is None else uptake_mm(tissue.kinetics, minutes=minutes) for tissue in tissues])

    def water(taken_up: Array) -> Array:
        r2_star = R2_STAR_WATER + R2_PER_MM_S * taken_up
        return signal_of(
            weighting.pulse, r1 + R1_PER_MM_S * taken_up, r2 + R2_PER_MM_S * taken_up, r2_star, fresh=fresh
        )

    density = np.array([1.0 if measured else tissue.water for tissue in tissues])
    fat_density = np.array([1.0 if measured else tissue.fat for tissue in tissues])
    uneven = np.isin(np.arange(len(tissues)), (Label.LEFT_MUSCLE, Label.RIGHT_MUSCLE))
    step = _UNEVENNESS
    slope = np.where(uneven, (water(uptake * (1 + step)) - water(uptake * (1 - step))) / 2, 0.0)
    one = np.ones(1)
    fat = signal_of(weighting.pulse, one / FAT_T1_S[strong], one / FAT_T2_S, one * R2_STAR_FAT, fresh=np.zeros(1))
    return density * water(uptake), density * slope, fat_density * fat
