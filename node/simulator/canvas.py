"""A canvas: tissue numbers on one grid, painted shape by shape; a later shape covers an earlier one."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from node.simulator.physics import Array, Image

Labels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Point = tuple[float, float, float]
Box = tuple[slice, slice, slice]

_PIECE_VOXELS = 20_000  # 0.5 MB of float32 at six places each; measured, not critical
ENDLESS = 1e4  # mm: farther than any grid


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """Something to paint: whether a place lies inside, and a box in mm that holds it all (looked at to save time)."""

    low: Point
    high: Point
    inside: Callable[[Image, Image, Image], Mask]


@dataclass(frozen=True, slots=True, eq=False)
class Canvas:
    """Tissue numbers at some places in every voxel of a grid.

    Parameters
    ----------
    labels : ndarray of uint8, shape (places, slices, rows, columns)
        What has been painted; painting changes it.
    affines : tuple of ndarray, shape (4, 4)
        For each place: from (slice, row, column, 1) to mm. They differ in their last column only.
    bend : callable, optional
        From z to what is taken from x and y there: shapes are painted along a bent axis.
    bent_mm : float
        The most that it takes.
    """

    labels: Labels
    affines: tuple[Array, ...]
    bend: Callable[[Image], tuple[Image, Image]] | None = None
    bent_mm: float = 0.0

    def bent(self, bend: Callable[[Image], tuple[Image, Image]], *, at_most_mm: float) -> "Canvas":
        """Return a canvas on the same labels, with an axis bent by `bend`."""
        return replace(self, bend=bend, bent_mm=at_most_mm)

    def box(self, low: Point, high: Point) -> Box | None:
        """Return the part of the grid that the box from `low` to `high` touches, or None."""
        linear, start = self.affines[0][:3, :3], np.mean([one[:3, 3] for one in self.affines], axis=0)
        to_index = np.linalg.inv(linear)
        ends = np.clip([low, high], -ENDLESS, ENDLESS)
        middle = to_index @ ((ends[0] + ends[1]) / 2 - start)
        reach = np.abs(to_index) @ ((ends[1] - ends[0]) / 2 + self.bent_mm) + 0.5  # places lie within half a voxel
        first = np.maximum(np.floor(middle - reach), 0).astype(int)
        last = np.minimum(np.ceil(middle + reach) + 1, self.labels.shape[1:]).astype(int)
        if (first >= last).any():
            return None
        return slice(first[0], last[0]), slice(first[1], last[1]), slice(first[2], last[2])

    def coordinates(self, box: Box) -> tuple[Image, Image, Image]:
        """Return x, y and z in mm, along the bent axis, at the places in a part of the grid."""
        x, y, z = coordinates(self.affines, box)
        if self.bend is None:
            return x, y, z
        dx, dy = self.bend(z)
        return x - dx, y - dy, z

    def paint(self, label: int, shape: Shape, *, only: Sequence[int] = ()) -> None:
        """Give `label` to all places in `shape`; with `only`, to those of them that bear one of these labels."""
        box = self.box(shape.low, shape.high)
        for piece in _pieces(box) if box else ():
            labels = self.labels[(slice(None), *piece)]
            mask = shape.inside(*self.coordinates(piece))
            if only:
                mask = mask & np.isin(labels, only)
            np.copyto(labels, np.uint8(label), where=mask)

    def paint_tube(self, label: int, points: Sequence[Point], radius_mm: float) -> None:
        """Paint a tube of straight pieces from point to point."""
        for start, end in pairwise(points):
            self.paint(label, tube(start, end, radius_mm))


def coordinates(affines: Sequence[Array], box: Box) -> tuple[Image, Image, Image]:
    """Return x, y and z in mm of the voxels in a box of a grid, for affines that differ in their last column only.

    The results broadcast to (affines, slices, rows, columns): an axis that a coordinate does not change along has
    length 1, which makes work on grids along the patient's axes several times as fast.
    """
    x, y, z = (_coordinate(affines, row, box) for row in range(3))
    return x, y, z


def _coordinate(affines: Sequence[Array], row: int, box: Box) -> Image:
    total = np.array([one[row, 3] for one in affines], np.float32).reshape(-1, 1, 1, 1)
    for axis, cut in enumerate(box):
        step = affines[0][row, axis]
        if abs(step) > 1e-9:
            along = np.arange(cut.start, cut.stop, dtype=np.float32) * np.float32(step)
            total = total + along.reshape([-1 if own == axis else 1 for own in (-1, 0, 1, 2)])
    return total


def whole(shape: tuple[int, int, int]) -> Box:
    """Return the box that holds all of a grid."""
    slices, rows, columns = shape
    return slice(0, slices), slice(0, rows), slice(0, columns)


def _pieces(box: Box) -> Iterator[Box]:
    """Cut a box into groups of slices that fit a processor's cache: a third less time, and a fraction of the memory."""
    slices, rows, columns = box
    plane = (rows.stop - rows.start) * (columns.stop - columns.start)
    step = max(1, _PIECE_VOXELS // plane)
    for first in range(slices.start, slices.stop, step):
        yield slice(first, min(first + step, slices.stop)), rows, columns


def superellipse(u: npt.NDArray[Any], v: npt.NDArray[Any]) -> Image:
    """Return a value below 1 inside: an ellipse with fuller corners (exponent 2.5), as muscles and trunks have."""
    u, v = np.abs(u), np.abs(v)
    value: Image = u * u * np.sqrt(u) + v * v * np.sqrt(v)
    return value


def block(low: Point, high: Point) -> Shape:
    """Return a block along the axes."""

    def inside(x: Image, y: Image, z: Image) -> Mask:
        within: Mask = (x >= low[0]) & (x < high[0]) & (y >= low[1]) & (y < high[1]) & (z >= low[2]) & (z < high[2])
        return within

    return Shape(low, high, inside)


def ellipsoid(centre: Point, radii: Point) -> Shape:
    """Return an ellipsoid along the axes."""
    (cx, cy, cz), (rx, ry, rz) = centre, radii

    def inside(x: Image, y: Image, z: Image) -> Mask:
        within: Mask = ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 + ((z - cz) / rz) ** 2 < 1
        return within

    return Shape((cx - rx, cy - ry, cz - rz), (cx + rx, cy + ry, cz + rz), inside)


def column(
    centre: tuple[float, float],
    radii: tuple[float, float],
    *,
    taper: float = 0.0,
    tilt_deg: float = 0.0,
    z_mm: tuple[float, float] = (-ENDLESS, ENDLESS),
) -> Shape:
    """Return a superelliptic column along z.

    `taper` is the growth of its radii per 100 mm towards the head; `tilt_deg` turns the section from x towards y.
    """
    (cx, cy), (rx, ry) = centre, radii
    cosine, sine = float(np.cos(np.deg2rad(tilt_deg))), float(np.sin(np.deg2rad(tilt_deg)))
    reach = max(rx, ry) * (1.6 if taper else 1.1)

    def inside(x: Image, y: Image, z: Image) -> Mask:
        dx: Image = x - cx
        dy: Image = y - cy
        if taper:
            size: Image = np.clip(1 + taper / 100 * z, 0.4, 1.6)
            dx, dy = dx / size, dy / size
        within = superellipse((dx * cosine + dy * sine) / rx, (dy * cosine - dx * sine) / ry) < 1
        limited: Mask = within & (z >= z_mm[0]) & (z < z_mm[1])
        return limited

    return Shape((cx - reach, cy - reach, z_mm[0]), (cx + reach, cy + reach, z_mm[1]), inside)


def tube(start: Point, end: Point, radius_mm: float) -> Shape:
    """Return a straight tube with round ends."""
    along = np.subtract(end, start)
    length2 = max(float(along @ along), 1e-6)

    def inside(x: Image, y: Image, z: Image) -> Mask:
        dx, dy, dz = x - start[0], y - start[1], z - start[2]
        share = np.clip((dx * along[0] + dy * along[1] + dz * along[2]) / length2, 0, 1)
        distance2 = (dx - share * along[0]) ** 2 + (dy - share * along[1]) ** 2 + (dz - share * along[2]) ** 2
        within: Mask = distance2 < radius_mm**2
        return within

    low, high = np.minimum(start, end) - radius_mm, np.maximum(start, end) + radius_mm
    return Shape((low[0], low[1], low[2]), (high[0], high[1], high[2]), inside)


def winding(
    centre: tuple[float, float],
    radius_mm: float,
    *,
    swing_mm: tuple[float, float],
    wave_mm: float,
    phase: float = 0.0,
    z_mm: tuple[float, float] = (-ENDLESS, ENDLESS),
) -> Shape:
    """Return a vessel or gut along z whose middle swings about `centre`, by `swing_mm` along x and y."""
    (cx, cy), (ax, ay) = centre, swing_mm
    turn = 2 * np.pi / wave_mm

    def inside(x: Image, y: Image, z: Image) -> Mask:
        dx = x - cx - ax * np.sin(turn * z + phase)
        dy = y - cy - ay * np.cos(1.3 * turn * z + phase)  # another rhythm, so that it winds
        within: Mask = (dx**2 + dy**2 < radius_mm**2) & (z >= z_mm[0]) & (z < z_mm[1])
        return within

    reach_x, reach_y = radius_mm + abs(ax), radius_mm + abs(ay)
    return Shape((cx - reach_x, cy - reach_y, z_mm[0]), (cx + reach_x, cy + reach_y, z_mm[1]), inside)
