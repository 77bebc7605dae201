"""Vessels drawn from their courses on voxels of 0.2 mm: how much of each voxel of an image is vessel is then counted.

Signals are in units of muscle, velocities shares of what is encoded (VENC). Places are (head, back, left) in mm, from a
corner of a cube.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Places = npt.NDArray[np.float64]
Spacing = tuple[float, float, float]

SIZE_MM = 48.0
_FINE_MM = 0.2
_ALONG = np.linspace(0, 1, 481)  # where a course is followed: every 0.1 to 0.2 mm


@dataclass(frozen=True)
class Vessel:
    """A vessel: middle and radius from its one end, 0, to the other, 1; its signal; the speed in its middle."""

    middle: Callable[[Places], Sequence[npt.ArrayLike]]
    radius_mm: Callable[[Places], npt.ArrayLike]
    signal: float = 2.0
    speed: float = 0.6


@dataclass(frozen=True, eq=False)
class Drawing:
    """What a scanner would see without noise.

    Parameters
    ----------
    still : ndarray of float32
        Signal of all that does not flow.
    blood, flow : ndarray
        Signal of blood; the same as a complex number, turned by its velocity. Laminar: parabolic across the vessel.
    share : ndarray of float32
        How much of each voxel is vessel.
    """

    still: Array
    blood: Array
    flow: npt.NDArray[np.complex64]
    share: Array
    spacing_mm: Spacing

    @property
    def truth(self) -> Mask:
        """The voxels that are at least half vessel: no mask of whole voxels is nearer to it."""
        return self.share >= 0.5

    def magnitude(self, *, snr: float, seed: int = 0) -> Array:
        """Return the image of a time of flight; `snr` is that of muscle."""
        return np.abs(self.still + self.blood + self._noise(snr, seed)).astype(np.float32)

    def phase_contrast(self, *, snr: float, seed: int = 0) -> tuple[Array, Array]:
        """Return magnitude and velocity; in air the velocity is that of noise, which is anything."""
        seen = self.still + self.flow + self._noise(snr, seed)
        return np.abs(seen).astype(np.float32), (np.angle(seen) / np.pi).astype(np.float32)

    def _noise(self, snr: float, seed: int) -> npt.NDArray[np.complex64]:
        real, imaginary = np.random.default_rng(seed).standard_normal((2, *self.share.shape), np.float32) / snr
        noise: npt.NDArray[np.complex64] = real + 1j * imaginary
        return noise


def plain(radius_mm: float, *, spacing_mm: Spacing = (0.8, 0.8, 0.8)) -> Drawing:
    """Return three bent tubes in even muscle, with air behind them."""
    vessels = [
        Vessel(
            lambda t, x=x: (SIZE_MM * t, 20 + 5 * np.sin(4 * t + x), x + 0 * t),
            lambda t: np.full(t.shape, radius_mm),
        )
        for x in (10.1, 24.3, 38.2)
    ]
    return draw(vessels, lambda head, back, left: np.where(back < 42, 1.0, 0.0) + 0 * head * left, spacing_mm)


def hard(radius_mm: float, *, spacing_mm: Spacing = (0.8, 0.8, 0.8)) -> Drawing:
    """Return tubes that are bent, tapering, crossing, faint or beside an edge, between fat and a step, under shading.

    Nothing else in it is a tube: sheets of fat as thin as a vessel, a layer of fat along the muscle, and a ball of old
    blood, all as bright as vessels; and a step between two kinds of muscle.
    """
    r = radius_mm

    def even(t: Places) -> Places:
        return np.full(t.shape, r)

    vessels = [
        Vessel(lambda t: (48 * t, 10 + 6 * np.sin(7 * t), 9 + 4 * np.cos(7 * t)), even),  # winding
        Vessel(lambda t: (48 * t, 10 + 12 * t, 24 + 3 * t), lambda t: r * (1.3 - 0.8 * t), signal=2.2),  # tapering
        Vessel(lambda t: (12 + 10 * t, 14 + 6 * t, 16 + 30 * t), even, signal=1.8),  # crosses the last, within slices
        Vessel(lambda t: (48 * t, 40 - r - 1.5 + 0 * t, 14 + 10 * t), even),  # along fat, 1.5 mm from it
        Vessel(lambda t: (48 * t, 30 + 2 * np.sin(9 * t), 40 - 6 * t), even, signal=1.7, speed=0.35),  # faint and slow
        Vessel(lambda t: (26 + 20 * t, 34 - 22 * t, 5 + 0 * t), even),
    ]

    def ground(head: Places, back: Places, left: Places) -> Places:
        image = 1 + 0.35 * (left > 30) * (back > 22)  # a step
        sheet = (np.abs(left - 20 - 2 * np.sin(head / 6) - 0.3 * back) < 0.5) & (back > 6) & (back < 38)
        image = np.where(sheet, 1.9, image)
        ball = (head - 36) ** 2 + (back - 28) ** 2 + (left - 13) ** 2 < 4.5**2
        image = np.where(ball, 1.8, image)
        image = np.where(back > 40, np.where(back > 45, 0.0, 1.9), image)  # fat below the skin, and air
        return image * np.exp(-(SIZE_MM - back) / 80)

    return draw(vessels, ground, spacing_mm, shading_mm=80.0)


def draw(
    vessels: Sequence[Vessel], ground: Callable[[Places, Places, Places], Places], spacing_mm: Spacing,
    *, shading_mm: float = np.inf,
) -> Drawing:  # fmt: skip
    """Return vessels on the signal of `ground`; that of blood falls from the back forward as a coil's shading does."""
    parts = [max(1, round(step / _FINE_MM)) for step in spacing_mm]
    shape = tuple(int(SIZE_MM / step) for step in spacing_mm)
    fine_mm = [step / part for step, part in zip(spacing_mm, parts, strict=True)]
    fine_shape = tuple(n * part for n, part in zip(shape, parts, strict=True))
    off_middle = np.full(fine_shape, np.inf, np.float32)  # of the nearest vessel's middle, 1 on its wall
    signal, speed = np.zeros(fine_shape, np.float32), np.zeros(fine_shape, np.float32)
    for vessel in vessels:
        course = np.stack(np.broadcast_arrays(*vessel.middle(_ALONG)), axis=-1)
        for place, radius in zip(course, np.asarray(vessel.radius_mm(_ALONG)), strict=True):
            _brush(vessel, place, float(radius), fine_mm, off_middle, signal, speed)

    def mean(fine: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        return fine.reshape(shape[0], parts[0], shape[1], parts[1], shape[2], parts[2]).mean(axis=(1, 3, 5))

    inside = off_middle < 1
    share = mean(inside.astype(np.float32))
    middles = np.meshgrid(*((np.arange(n) + 0.5) * mm for n, mm in zip(fine_shape, fine_mm, strict=True)),
                          indexing="ij", sparse=True)  # fmt: skip
    coil = np.exp(-(SIZE_MM - middles[1]) / shading_mm).astype(np.float32)
    blood = np.where(inside, signal * coil, np.float32(0))
    turned = blood * np.exp(1j * np.pi * speed * (1 - np.minimum(off_middle, 1) ** 2)).astype(np.complex64)
    still = mean(np.where(inside, 0, ground(*middles)).astype(np.float32))
    return Drawing(still, mean(blood), mean(turned), share, spacing_mm)


def _brush(
    vessel: Vessel, place: Places, radius_mm: float, fine_mm: Sequence[float], off_middle: Array, signal: Array,
    speed: Array,
) -> None:  # fmt: skip
    box = tuple(
        slice(max(0, int((at - radius_mm) / mm)), max(0, int((at + radius_mm) / mm) + 2))
        for at, mm in zip(place, fine_mm, strict=True)
    )
    steps = [
        ((np.arange(cut.start, min(cut.stop, n)) + 0.5) * mm - at) / radius_mm
        for cut, n, mm, at in zip(box, off_middle.shape, fine_mm, place, strict=True)
    ]
    head, back, left = np.ix_(*steps)
    away = np.sqrt(head**2 + back**2 + left**2).astype(np.float32)
    nearer = (away < off_middle[box]) & (away < 1)
    off_middle[box][nearer] = away[nearer]
    signal[box][nearer] = vessel.signal
    speed[box][nearer] = vessel.speed
