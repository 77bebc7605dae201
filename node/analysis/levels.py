"""Levels: where along the spine the findings lie, and which vertebra that is, if a labeller is confident.

A labeller marks the middles of vertebral bodies, and perhaps of discs, in a sagittal series. A place is then named by
the point at which its axial slice meets the curve through these middles: level is a matter of the slice, not of what
is nearest to a muscle that lies centimetres behind the spine. Without a labeller no vertebra is named, and what is
always known is told: position, and number of the slice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from node.analysis.grid import Grid
from node.dicom.geometry import CanonicalAxes, FloatArray, Geometry
from node.dicom.volumes import Volume
from node.findings import VERTEBRAE, Location, Measurement, Side, StudyVolumes
from node.ports import Labeller, Labelling, LevelPoint, Mask

_NEAREST_MM, _FARTHEST_MM = 8.0, 50.0  # between the middles of neighbouring bodies; a body is 14-32 mm high; chosen
_BODY = (
    0.75  # of the way from the middle of a body to that of the disc is body: 26 of 35 mm in the lumbar spine; chosen
)
_NONE = "level not determined"
_LABELS = {Side.LEFT: 1, Side.RIGHT: 2}  # in `Regions.muscles`


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


def name_levels(measurement: Measurement, volumes: StudyVolumes, labeller: Labeller) -> Measurement:
    """Return the measurement with the location of each region, and how vertebrae were counted or why not."""
    findings, regions = measurement.findings, measurement.regions
    reference = getattr(volumes, regions.reference)
    if reference is None or regions.muscles is None:
        spine, basis = None, f"{_NONE}: nothing was measured"
    else:
        spine, basis = _spine(volumes.sagittal, reference.geometry, labeller)
    parameters = {**findings.algorithm.parameters, "labeller": f"{labeller.name} {labeller.version}"}
    muscles, lesions = findings.muscles, findings.lesions
    if reference is not None and regions.muscles is not None:
        drawn = regions.muscles
        muscles = tuple(
            replace(one, location=_location(drawn == _LABELS[one.side], reference.geometry, spine)) for one in muscles
        )
    if reference is not None and regions.lesions is not None:
        numbers = regions.lesions
        lesions = tuple(
            replace(one, location=_location(numbers == one.number, reference.geometry, spine)) for one in lesions
        )
    algorithm = replace(findings.algorithm, parameters=parameters)
    found = replace(findings, muscles=muscles, lesions=lesions, level_basis=basis, algorithm=algorithm)
    return replace(measurement, findings=found)


def _spine(sagittal: Volume | None, reference: Geometry, labeller: Labeller) -> tuple[Spine | None, str]:
    """Return the spine as labelled, or why there is none."""
    if sagittal is None:
        return None, f"{_NONE}: there is no sagittal series of the same frame of reference"
    frame = sagittal.geometry.frame_of_reference
    if not frame or frame != reference.frame_of_reference:
        return None, f"{_NONE}: the sagittal series has another frame of reference"
    grid = Grid.of(sagittal)
    try:
        labelling = labeller.label(grid.signal, spacing_mm=grid.spacing_mm)
    except Exception as error:  # somebody else's code: a level is not worth the report
        return None, f"{_NONE}: labeller {labeller.name} failed ({type(error).__name__})"
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


def _location(region: Mask, geometry: Geometry, spine: Spine | None) -> Location | None:
    """Return where a region lies; None of an empty one."""
    indices = np.argwhere(region)
    if not len(indices):
        return None
    x, y, z = geometry.to_lps(indices.mean(axis=0)).tolist()
    axial = CanonicalAxes.of(geometry).order[0] == 0
    if not axial:
        level = None if spine is None else spine.level_at(np.array([x, y, z]), np.array([0.0, 0.0, 1.0]))
        return Location(level, (x, y, z), None)
    upward = geometry.directions[2, 0] > 0
    count = geometry.shape[0]
    used = np.unique(indices[:, 0])
    first, last = (count - int(used[-1]), count - int(used[0])) if upward else (int(used[0]) + 1, int(used[-1]) + 1)
    level = None if spine is None else _level_of_slices(indices, used, geometry, spine)
    return Location(level, (x, y, z), (first, last))


def _level_of_slices(
    indices: npt.NDArray[np.intp], used: npt.NDArray[np.intp], geometry: Geometry, spine: Spine
) -> str | None:
    """Return the level of a region in axial slices: that of its middle, or from the uppermost to the lowest.

    A muscle runs along many vertebrae, a lesion is named by its middle. None if an end cannot be named.
    """
    normal = np.cross(geometry.directions[:, 2], geometry.directions[:, 1])
    middle = indices.mean(axis=0)
    extent_mm = float(np.ptp(used)) * geometry.spacing_mm[0]
    if extent_mm <= _FARTHEST_MM:
        return spine.level_at(geometry.to_lps(middle), normal)
    ends = [spine.level_at(geometry.to_lps([float(end), middle[1], middle[2]]), normal) for end in (used[0], used[-1])]
    if None in ends:
        return None
    upper, lower = sorted((one for one in ends if one is not None), key=lambda one: _rank(one) or 0.0)
    return upper if upper == lower else f"{upper} to {lower}"
