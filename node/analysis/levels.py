"""Levels: which vertebra a place belongs to, if a labeller is confident.

A labeller marks the middles of vertebral bodies, and perhaps of discs, in a sagittal series. A place is then named by
the point at which its axial slice meets the curve through these middles: level is a matter of the slice, not of what
is nearest to a muscle that lies centimetres behind the spine. Without a labeller no vertebra is named.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from node.analysis.grid import Grid
from node.dicom.geometry import FloatArray, Geometry
from node.dicom.volumes import Volume
from node.errors import shown
from node.findings import VERTEBRAE
from node.ports import Labeller, Labelling, LevelPoint

_NEAREST_MM, _FARTHEST_MM = 8.0, 50.0  # between the middles of neighbouring bodies; a body is 14-32 mm high; chosen
_BODY = (
    0.75  # of the way from the middle of a body to that of the disc is body: 26 of 35 mm in the lumbar spine; chosen
)
_NONE = "level not determined"


class NoLabeller:
    """Names no vertebra: the built-in one, until there is one that can be trusted."""

    name, version = "none", "1"

    def label(self, volume: npt.NDArray[np.float32], *, spacing_mm: tuple[float, float, float]) -> Labelling:
        """Return no points."""
        return Labelling((), "no labeller of vertebrae is set")


@dataclass(frozen=True, slots=True, eq=False)
class Spine:
    """Labelled middles of bodies and discs in LPS mm, from head to feet, and the curve through them.

    Parameters
    ----------
    names : tuple of str
        "L4" of a body, "L4/L5" of a disc.
    middles : ndarray of float64, shape (n, 3)
        At least two.
    """

    names: tuple[str, ...]
    middles: FloatArray

    def level_at(self, place_mm: FloatArray, normal: FloatArray) -> str | None:
        """Return the body or disc that the plane through a place meets; None between labels that are no neighbours.

        Beyond the outermost middles a plane is still of that body, for half the distance to the next.
        """
        along = (self.middles - place_mm) @ normal
        along = along if along[0] > along[-1] else -along  # falling from head to feet
        if (np.diff(along) >= 0).any():
            return None  # the plane runs along the spine rather than across
        below = int(np.searchsorted(-along, 0.0))  # the first middle that lies below the plane, or in it
        if below == 0 or below == len(along):
            end, beside = (0, 1) if below == 0 else (-1, -2)
            near = abs(along[end]) <= abs(along[end] - along[beside]) / 2
            return self.names[end] if near else None
        above = below - 1
        if not _neighbours(self.names[above], self.names[below]):
            return None
        share = along[above] / (along[above] - along[below])
        return self.names[above if share < _border(self.names[above], self.names[below]) else below]

    def bodies(self) -> "Spine":
        """Return the spine of the bodies alone, whose levels meet in the middle of the disc; itself if it has none."""
        kept = [number for number, name in enumerate(self.names) if "/" not in name]
        return Spine(tuple(self.names[one] for one in kept), self.middles[kept]) if len(kept) > 1 else self


def find_spine(sagittal: Volume | None, reference: Geometry, labeller: Labeller) -> tuple[Spine | None, str]:
    """Return the spine as labelled, and how vertebrae were counted or why there is none."""
    if sagittal is None:
        return None, f"{_NONE}: there is no sagittal series of the same frame of reference"
    frame = sagittal.geometry.frame_of_reference
    if not frame or frame != reference.frame_of_reference:
        return None, f"{_NONE}: the sagittal series has another frame of reference"
    grid = Grid.of(sagittal)
    try:
        labelling = labeller.label(grid.signal, spacing_mm=grid.spacing_mm)
    except Exception as error:  # somebody else's code: a level is not worth the report
        return None, f"{_NONE}: labeller {labeller.name} failed ({shown(error)})"
    if not labelling.points:
        return None, f"{_NONE}: {labelling.basis}"
    spine = spine_of(labelling.points, grid.geometry)
    if spine is None:
        return None, f"{_NONE}: the labeller's vertebrae are out of order, or too far apart or too near"
    return spine, f"vertebral level {labelling.basis}; labeller {labeller.name} {labeller.version}"


def spine_of(points: Sequence[LevelPoint], geometry: Geometry) -> Spine | None:
    """Return the spine that labelled points make; None if they cannot be one.

    They must be known and different, lie in the order of their names from head to feet, and be as far apart as
    vertebrae are.
    """
    if any(_rank(one.name) is None for one in points):
        return None
    ordered = sorted(points, key=lambda one: _rank(one.name) or 0.0)
    ranks = [_rank(one.name) or 0.0 for one in ordered]
    if len(ordered) < 2 or len(set(ranks)) < len(ranks):
        return None
    middles = geometry.to_lps([one.index for one in ordered])
    apart_mm = np.linalg.norm(np.diff(middles, axis=0), axis=1) / np.diff(ranks)  # for a whole vertebra
    falls = np.diff(middles[:, 2]) < 0
    if not falls.all() or apart_mm.min() < _NEAREST_MM or apart_mm.max() > _FARTHEST_MM:
        return None
    return Spine(tuple(one.name for one in ordered), middles)


def points_of_labels(labels: npt.NDArray[np.integer], names: Mapping[int, str]) -> tuple[LevelPoint, ...]:
    """Return the middles of what a label map marks, for labellers that make one.

    Parameters
    ----------
    labels : ndarray of int
        In canonical order; 0 elsewhere.
    names : mapping of int to str
        "L4" of a body, "L4/L5" of a disc; labels without a name are left out.
    """
    made = []
    for label in (one for one in np.unique(labels).tolist() if one in names):
        head, back, left = np.argwhere(labels == label).mean(axis=0).tolist()
        made.append(LevelPoint(names[label], (head, back, left)))
    return tuple(made)


def _rank(name: str) -> float | None:
    """Return the place of a body in `VERTEBRAE`, of a disc half way to the next; None of what is neither."""
    upper, slash, lower = name.partition("/")
    if upper not in VERTEBRAE:
        return None
    rank = VERTEBRAE.index(upper)
    if not slash:
        return float(rank)
    return rank + 0.5 if VERTEBRAE[rank + 1 : rank + 2] == (lower,) else None


def _border(upper: str, lower: str) -> float:
    """Return which share of the way from one middle to the next belongs to the upper."""
    if ("/" in upper) == ("/" in lower):
        return 0.5
    return 1 - _BODY if "/" in upper else _BODY


def _neighbours(upper: str, lower: str) -> bool:
    return (_rank(lower) or 0.0) - (_rank(upper) or 0.0) <= 1.0
