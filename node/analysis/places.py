"""Places: where along the spine the regions of one grid lie, and how the muscles are divided into levels.

What is always known is told: the place of a region, and the axial slices that it is in. The level only where the spine
was labelled; without labels the muscles are divided into slabs of about the height of a vertebra.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from node.analysis.grid import Box, Grid, part
from node.analysis.levels import Spine, find_spine
from node.dicom.geometry import FloatArray, Geometry
from node.dicom.volumes import Volume
from node.findings import Location
from node.ports import Labeller, Mask

_LONGEST_OF_ONE_LEVEL_MM = 50.0  # a vertebra with its disc is 20 to 45 mm high: what is longer has two ends. Chosen


@dataclass(frozen=True, slots=True)
class Slab:
    """The slices of one level, along the first axis of the grid; `level` is None where no vertebra was named."""

    level: str | None
    slices: slice


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """The places of one grid in canonical order.

    Parameters
    ----------
    geometry : Geometry
        Of the grid.
    topmost : int or None
        Number, counted from the head from 1, of the acquired slice that is the last along the first axis; None if the
        series was not acquired in axial slices.
    spine : Spine or None
        As labelled.
    basis : str
        How vertebrae were counted, or why no level is named.
    """

    geometry: Geometry
    topmost: int | None
    spine: Spine | None
    basis: str

    @classmethod
    def of(cls, grid: Grid, box: Box, sagittal: Volume | None, labeller: Labeller) -> "Places":
        """Return the places of the part `box` of `grid`."""
        spine, basis = find_spine(sagittal, grid.geometry, labeller)
        above = grid.whole_shape[0] - (grid.box[0].start + box[0].stop)
        return cls(part(grid.geometry, box), 1 + above if grid.slices_along == 0 else None, spine, basis)

    def location(self, region: Mask, start: int = 0) -> Location | None:
        """Return where a region lies, whose first slice is number `start` of the grid; None of an empty one.

        A lesion is named by its middle; a muscle that runs along many vertebrae by the uppermost and the lowest. No
        level if an end cannot be named.
        """
        used = np.nonzero(region.any(axis=(1, 2)))[0] + start
        if not used.size:
            return None
        middle = _middle(region)
        middle[0] += start
        x, y, z = self.geometry.to_lps(middle).tolist()
        upper, lower = int(used[-1]), int(used[0])  # the first axis runs to the head
        numbers = None
        if self.topmost is not None:
            below = self.topmost + self.geometry.shape[0] - 1
            numbers = (below - upper, below - lower)
        return Location(self._level(middle, upper, lower), (x, y, z), numbers)

    def without(self, muscle: Mask) -> str:
        """Return in words the slices that hold none of `muscle`, from the head down; nothing if all hold some."""
        empty = np.nonzero(~muscle.any(axis=(1, 2)))[0][::-1]
        runs = [run.tolist() for run in np.split(empty, np.nonzero(np.diff(empty) != -1)[0] + 1) if run.size]
        if self.topmost is not None:
            below = self.topmost + self.geometry.shape[0] - 1
            named = [f"{below - run[0]} to {below - run[-1]}" if len(run) > 1 else f"{below - run[0]}" for run in runs]
            many = len(empty) > 1
            return f"slice{'s' if many else ''} {', '.join(named)} from the head" if runs else ""
        height = [(self.geometry.to_lps((run[0], 0, 0))[2], self.geometry.to_lps((run[-1], 0, 0))[2]) for run in runs]
        return f"planes from z {', '.join(f'{top:.0f} to {bottom:.0f}' for top, bottom in height)} mm" if runs else ""

    def divide(self, muscle: Mask, height_mm: float) -> tuple[Slab, ...]:
        """Return the levels of the muscles from the head down; what has no level in slabs of about `height_mm`."""
        used = np.nonzero(muscle.any(axis=(1, 2)))[0]
        if not used.size:
            return ()
        spine = None if self.spine is None else self.spine.bodies()
        _, rows, columns = self.geometry.shape
        middle = (rows - 1) / 2, (columns - 1) / 2

        def level(number: int) -> str | None:
            return None if spine is None else self._named((number, *middle), spine)

        runs = [(name, list(run)) for name, run in groupby(range(int(used[-1]), int(used[0]) - 1, -1), key=level)]
        slabs: list[Slab] = []
        for name, run in runs:
            slabs += [Slab(name, slice(run[-1], run[0] + 1))] if name else self._cut(run, height_mm)
        return tuple(one for one in slabs if muscle[one.slices].any())

    def _cut(self, run: list[int], height_mm: float) -> Iterator[Slab]:
        """Return slabs of equal height that make up the slices of `run`, which are numbered downward."""
        count = min(len(run), max(1, round(len(run) * self.geometry.spacing_mm[0] / height_mm)))
        for piece in np.array_split(run, count):
            yield Slab(None, slice(int(piece[-1]), int(piece[0]) + 1))

    def _level(self, middle: FloatArray, upper: int, lower: int) -> str | None:
        if self.spine is None:
            return None
        if (upper - lower) * self.geometry.spacing_mm[0] <= _LONGEST_OF_ONE_LEVEL_MM:
            return self._named(middle, self.spine)
        first, last = (self._named((number, middle[1], middle[2]), self.spine) for number in (upper, lower))
        if first is None or last is None:
            return None
        return first if first == last else f"{first} to {last}"

    def _named(self, index: FloatArray | tuple[float, float, float], spine: Spine) -> str | None:
        directions = self.geometry.directions
        return spine.level_at(self.geometry.to_lps(index), np.cross(directions[:, 2], directions[:, 1]))


def _middle(region: Mask) -> FloatArray:
    """Return the mean index of the voxels of a region."""
    sums = [region.sum(axis=tuple(other for other in range(3) if other != axis)) for axis in range(3)]
    return np.array([np.average(np.arange(len(one)), weights=one) for one in sums])
