"""Axial slices of the back, drawn from shapes and numbers: which tissue lies where, and what the network shall say.

Coordinates are those of the node (`dicom.geometry`): rows run from front to back, columns from the patient's right to
the patient's LEFT. In millimetres x grows to the left, y to the back, and the origin is the middle of the canal.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from node.analysis.network import PIXEL_MM, WINDOW, Class

Field = npt.NDArray[np.float32]
Codes = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
ROWS, COLUMNS = WINDOW


class Tissue(IntEnum):
    """What is painted with one signal."""

    AIR = 0
    FAT = 1
    INNER_FAT = 2  # within and between muscles; fat suppression often fails elsewhere than there
    MUSCLE = 3
    DEEP_MUSCLE = 4
    OTHER_MUSCLE = 5
    MARROW = 6
    VERTEBRA = 7
    CORTEX = 8
    DISC = 9
    CSF = 10
    CORD = 11
    KIDNEY = 12
    LIVER = 13
    BOWEL = 14
    LUNG = 15
    VESSEL = 16
    SKIN = 17
    FLUID = 18
    LESION = 19
    CORE = 20
    METAL = 21


POSTERIOR = (Class.MULTIFIDUS_LEFT, Class.MULTIFIDUS_RIGHT, Class.ERECTOR_LEFT, Class.ERECTOR_RIGHT)

# Where the rows of the tables below stand along the spine. Between them is interpolated.
LEVELS = ("S3", "S1", "L5", "L3/L4", "L1", "T10", "T6", "T2", "C6", "C3")
S1, L5, L34, L1, T10, T2, C6 = 1.0, 2.0, 3.0, 4.0, 5.0, 7.0, 8.0
# Half sizes of canal and vertebra, mm, rounded from anatomy textbooks.
_CANAL_WIDTH = (7, 12, 13, 12, 11, 8.5, 8, 9, 11.5, 12)
_CANAL_DEPTH = (4, 7, 8, 8, 8.5, 7.5, 7.5, 7.5, 7, 7.5)
_BODY_WIDTH = (20, 26, 26, 25, 22, 17, 15, 14, 12, 9)
_BODY_DEPTH = (8, 16, 17, 17, 15, 15, 14, 10, 8, 7.5)
# The posterior compartment of one side, mm: mean outlines of the label maps of five people (measured 2026-11-26;
# no image was used, and every draw goes far beyond the spread among the five). C6 and C3 are chosen.
# Lateral extent from the midline:
_WIDTH = (33, 44, 60, 70, 77, 71, 60, 47, 43, 37)
# Depth below the highest point of the dorsal surface, at these shares of the lateral extent: dorsal and ventral border.
SHARE = np.array([0.0, 0.12, 0.25, 0.4, 0.55, 0.7, 0.85, 0.95, 1.0])
_DORSAL = np.array([
    [3, 1, 1, 0, 1, 1, 2, 4, 6],
    [8, 6, 2, 0, 0, 2, 6, 10, 16],
    [8, 6, 1, 0, 3, 7, 14, 20, 27],
    [8, 6, 1, 1, 3, 6, 10, 15, 23],
    [8, 6, 1, 1, 1, 2, 5, 10, 16],
    [8, 6, 2, 1, 0, 1, 3, 6, 8],
    [5, 4, 2, 1, 1, 2, 3, 6, 8],
    [2, 1, 0, 1, 2, 4, 7, 10, 12],
    [1, 1, 0, 1, 3, 6, 10, 14, 18],
    [0, 0, 0, 2, 5, 9, 13, 17, 20],
], float)  # fmt: skip
_VENTRAL = np.array([
    [8, 9, 10, 12, 13, 13, 12, 10, 8],
    [26, 30, 36, 39, 41, 42, 40, 31, 22],
    [35, 37, 41, 46, 50, 49, 46, 43, 34],
    [36, 37, 42, 49, 48, 44, 39, 35, 28],
    [32, 32, 34, 39, 35, 30, 26, 22, 18],
    [21, 21, 22, 25, 22, 18, 14, 10, 8],
    [16, 16, 18, 18, 16, 14, 12, 9, 8],
    [15, 16, 20, 18, 16, 15, 14, 13, 12],
    [24, 25, 27, 27, 26, 25, 23, 21, 18],
    [30, 31, 32, 32, 31, 29, 26, 23, 20],
], float)  # fmt: skip


_ELSEWHERE = 0.05  # of the slices show no back: a head, limbs, something


@dataclass(frozen=True, slots=True, eq=False)
class Anatomy:
    """Tissue and class of every pixel, shape WINDOW, and where along the spine the slice lies."""

    tissue: Codes
    label: Codes
    level: float


def smooth_field(rng: np.random.Generator, width_mm: float, amplitude: float) -> Field:
    """Return a smooth random field of the size of a slice, its standard deviation about `amplitude`."""
    coarse = [max(2, int(np.ceil(n * PIXEL_MM / width_mm)) + 3) for n in WINDOW]
    zoom = [(n + 2) / k for n, k in zip(WINDOW, coarse, strict=True)]
    field = ndimage.zoom(rng.standard_normal(coarse).astype(np.float32), zoom, order=3)
    return np.float32(amplitude) * field[:ROWS, :COLUMNS]


class Canvas:
    """One slice while it is drawn, from the skin inwards: what is drawn later lies on top.

    It holds where things are: `x`, `y` in mm of every pixel, warped; the sizes of this body; and what one part of the
    drawing leaves for a later one.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.level = self._choose_level()
        self.tissue = np.zeros(WINDOW, np.uint8)
        self.label = np.zeros(WINDOW, np.uint8)
        self.body = np.zeros(WINDOW, bool)
        self.planes: list[Mask] = []  # of fat, between and within the posterior muscles
        self.aponeurosis: list[Mask] = []
        self.joint_fluid = np.zeros(WINDOW, bool)
        self._lay_out()

    def _choose_level(self) -> float:
        kind, rng = self.rng.random(), self.rng
        u = rng.uniform
        if kind < 0.12:
            return float(u(-0.3, 1.0))
        if kind < 0.66:
            return float(u(1.0, 4.6))
        return float(u(4.6, 7.4)) if kind < 0.86 else float(u(7.2, 9.0))

    def at(self, values: tuple[float, ...], spread: float = 0.09) -> float:
        """Return a measure at this level with a random deviation."""
        return float(np.interp(self.level, np.arange(len(values)), values)) * float(
            np.clip(self.rng.normal(1, spread), 1 - 2.5 * spread, 1 + 2.5 * spread)
        )

    def _lay_out(self) -> None:
        rng = self.rng
        u = rng.uniform
        row, column = np.mgrid[0:ROWS, 0:COLUMNS].astype(np.float32)
        self.canal_a, self.canal_b = self.at(_CANAL_WIDTH), self.at(_CANAL_DEPTH)
        self.body_a, self.body_b = self.at(_BODY_WIDTH), self.at(_BODY_DEPTH)
        self.lamina = u(3, 7)
        depth = u(0.8, 1.25)
        index = np.clip(self.level, 0, len(LEVELS) - 1)
        low = min(int(index), len(LEVELS) - 2)
        share = index - low
        self.dorsal = ((1 - share) * _DORSAL[low] + share * _DORSAL[low + 1]) * u(0.7, 1.3)
        self.ventral = ((1 - share) * _VENTRAL[low] + share * _VENTRAL[low + 1]) * depth
        self.ventral = np.maximum(self.ventral, self.dorsal + 2)
        self.top = self.canal_b + self.lamina + self.ventral[2]  # y of the dorsal surface
        self.wide = self.at(_WIDTH)
        self.spinous = u(2.0, 5.0)
        fat = rng.choice([u(2, 12), u(8, 30), u(25, 60)], p=[0.4, 0.4, 0.2])
        self.subcutaneous = float(fat) * (0.45 if self.level > C6 - 0.4 else 1.0)
        self.skin = self.top + self.subcutaneous

        size = u(0.8, 1.2)
        tilt, shear = rng.normal(0, 0.08), rng.normal(0, 0.06)
        # The window begins about 10 mm behind the skin; sometimes the field of view ends before it.
        skin_row = ROWS - 1 - u(0, 16) if rng.random() < 0.85 else ROWS - 1 + u(0, 0.8) * self.subcutaneous
        x = (column - COLUMNS / 2) * PIXEL_MM + rng.normal(0, 12)
        y = (row - skin_row) * PIXEL_MM
        x, y = x * np.cos(tilt) + y * np.sin(tilt), -x * np.sin(tilt) + y * np.cos(tilt)
        x, y = x / (size * u(0.94, 1.06)), y / size + shear * x + self.skin
        bent = 1.0 if rng.random() < 0.7 else u(1, 2)
        warp = [smooth_field(rng, 26, u(0.2, 2.0) * bent) + smooth_field(rng, 75, u(0, 3.5) * bent) for _ in range(2)]
        self.x, self.y = x + warp[0], y + warp[1]

    def ellipse(self, cx: float, cy: float, a: float, b: float, power: float = 2.0, turn: float = 0.0) -> Mask:
        """Return the inside of a super-ellipse with half axes `a`, `b` in mm, turned by `turn` in radians.

        Nothing lies inside where nothing is left of a half axis, as of a rim that is thicker than what it surrounds.
        """
        if min(a, b) <= 0:
            return np.zeros(WINDOW, bool)
        u, v = self.x - np.float32(cx), self.y - np.float32(cy)
        if turn:
            c, s = np.float32(np.cos(turn)), np.float32(np.sin(turn))
            u, v = u * c + v * s, v * c - u * s
        u, v = np.abs(u) / np.float32(a), np.abs(v) / np.float32(b)
        if power == 2.0:
            return u * u + v * v < 1
        near = (u < 1) & (v < 1)
        inside = np.zeros(WINDOW, bool)
        inside[near] = u[near] ** np.float32(power) + v[near] ** np.float32(power) < 1
        return inside

    def put(self, mask: Mask, tissue: int, label: int | None = None) -> None:
        self.tissue[mask] = tissue
        if label is not None:
            self.label[mask] = label

    def surface(self) -> Field:
        """Return y of the dorsal border of the posterior muscles, continued sideways."""
        lateral = np.abs(self.x) / np.float32(self.wide)
        fall = np.interp(lateral, SHARE, self.dorsal).astype(np.float32)
        beyond = np.clip(lateral - 1, 0, 2) * np.float32(self.wide)
        slope = (self.dorsal[-1] - self.dorsal[-3]) / (0.15 * self.wide)
        return np.float32(self.top) - fall - beyond * np.float32(slope * 0.7)
