"""The blood supply of a lesion: vessels in it and around it, and whether one leads to the paravertebral plexus.

All on the grid of the MRV: on the thicker slices of the other series thin veins fall to pieces.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from node.analysis.enhancement import share_pct
from node.analysis.grid import Spacing, box_around, grown
from node.analysis.lesions import Lesion
from node.analysis.muscles import Muscles
from node.analysis.venography import Vessels
from node.analysis.verdict import Verdict
from node.dicom.geometry import Geometry
from node.findings import LesionFindings, Note
from node.ports import Array, Mask
from node.settings import AnalysisSettings

_PLEXUS_MM = 12.0  # around canal and vertebrae; docs/analysis.md, 12.3
_SHELL_MM = 2.0  # around a lesion, where a vessel that drains it begins; chosen
_LEADS_AWAY_MM = 5.0  # from the lesion's border at least, or it is a vessel of the lesion itself; chosen
_GAP_MM = 1.0  # to either side: a vein that the image breaks off for 2 mm goes on; chosen
_CANAL_RADIUS_MM = 8.0  # where none was found: at the midline, in front of the muscles; chosen
_MARKED = "the canal and the vertebrae"


@dataclass(frozen=True, slots=True, eq=False)
class Plexus:
    """Where the paravertebral plexus lies, on the grid of the muscles; and what that was taken from, slice by slice."""

    region: Mask
    taken_from: tuple[str, ...]


def find_plexus(muscles: Muscles, spacing_mm: Spacing) -> Plexus:
    """Return all within 12 mm of canal and vertebrae, in the slices that have muscle.

    Slice by slice: a sacrum that is outlined says nothing of the loin above it.
    """
    bone = np.zeros_like(muscles.canal) if muscles.bone is None else muscles.bone
    by_canal, by_bone = _marked_slices(muscles.canal, spacing_mm), _marked_slices(bone, spacing_mm)
    inner = muscles.canal | bone
    neither = ~by_canal & ~by_bone
    inner[neither] = _in_front(muscles, spacing_mm)[neither]
    there: Mask = np.asarray((muscles.sides > 0).any(axis=(1, 2)))
    sources = {
        _MARKED: by_canal & by_bone,
        "the canal": by_canal & ~by_bone,
        "the vertebrae": by_bone & ~by_canal,
        "the midline in front of the muscles": neither,
    }
    return Plexus(
        grown(inner, _PLEXUS_MM, spacing_mm) & there[:, None, None],
        tuple(name for name, slices in sources.items() if (slices & there).any()),
    )


def _marked_slices(mask: Mask, spacing_mm: Spacing) -> Mask:
    """Return the slices in which something is marked, and those so near that the plexus reaches into them."""
    marked: Mask = np.asarray(mask.any(axis=(1, 2)))
    return grown(marked[:, None, None], _PLEXUS_MM, spacing_mm).ravel()


def _in_front(muscles: Muscles, spacing_mm: Spacing) -> Mask:
    """Return a disk in each slice, at the midline, that ends where the muscles begin."""
    inside = np.zeros(muscles.sides.shape, bool)
    _, rows, columns = muscles.sides.shape
    row, column = np.ogrid[:rows, :columns]
    for number, plane in enumerate(muscles.sides):
        left, right = np.nonzero((plane == 1).any(axis=0))[0], np.nonzero((plane == 2).any(axis=0))[0]
        if not left.size or not right.size:
            continue
        middle = (left[0] + right[-1]) / 2
        front = np.nonzero((plane > 0).any(axis=1))[0][0] - _CANAL_RADIUS_MM / spacing_mm[1]
        away = np.hypot((row - front) * spacing_mm[1], (column - middle) * spacing_mm[2])
        inside[number] = away <= _CANAL_RADIUS_MM
    return inside


def with_supply(
    lesions: Sequence[Lesion], muscles: Muscles, vessels: Vessels | None, on: Geometry, settings: AnalysisSettings
) -> tuple[tuple[Lesion, ...], Verdict]:
    """Return the lesions with what the MRV says of them; as they are where there is none.

    Lesions, muscles and the share of vessels lie on the grid `on`.
    """
    if vessels is None or not lesions:
        return tuple(lesions), Verdict()
    plexus = find_plexus(muscles, on.spacing_mm)
    near, muscle = vessels.bring(plexus.region, on), vessels.bring(muscles.sides > 0, on)
    supplied, unseen, unled = [], [], []
    for one in lesions:
        shown = _Shown.of(one.region, muscles, plexus.region, vessels.share, on.spacing_mm, settings)
        region = vessels.bring(one.region, on)
        found = _supply(one.findings, region, muscle, near, vessels, shown, settings)
        supplied.append(replace(one, findings=found))
        # One that lies between the voxels of the MRV has none there: nothing is said of it.
        missing = shown.missing if region.any() else ["the candidate itself"]
        unseen += [f"candidate {found.number} ({what})" for what in missing]
        if region.any() and shown.lesion and shown.plexus and found.plexus_distance_mm is None:
            unled.append(str(found.number))
    notes = []
    if plexus.taken_from != (_MARKED,):
        of = " or, in other slices, of ".join(plexus.taken_from)
        notes.append(Note("MRV-4", f"The paravertebral plexus is taken to lie within {_PLEXUS_MM:g} mm of {of}."))
    if unled:
        text = "No vessel of the paravertebral plexus is seen: no distance to it is given of candidate"
        notes.append(Note("MRV-4", f"{text} {', '.join(unled)}."))
    if unseen:
        text = f"The MRV does not show enough of {', '.join(unseen)}: what hangs on that is not assessed."
        notes.append(Note("MRV-5", text))
    return tuple(supplied), Verdict(caveats=tuple(notes))


@dataclass(frozen=True, slots=True)
class _Shown:
    """Whether the MRV reaches enough of a lesion, of the muscle around it, and of the plexus in its slices."""

    lesion: bool
    ring: bool
    plexus: bool

    @classmethod
    def of(
        cls, region: Mask, muscles: Muscles, plexus: Mask, share: Array, spacing_mm: Spacing, settings: AnalysisSettings
    ) -> "_Shown":
        box = box_around(region, spacing_mm, 2 * settings.ring_mm)
        ring = grown(region[box], settings.ring_mm, spacing_mm) & ~region[box] & (muscles.sides[box] > 0)
        slices = region.any(axis=(1, 2))
        reached = np.isfinite(share)

        def enough(shown: Mask) -> bool:
            return not shown.size or float(shown.mean()) >= settings.least_mrv_coverage

        return cls(enough(reached[region]), enough(reached[box][ring]), enough(reached[slices][plexus[slices]]))

    @property
    def missing(self) -> list[str]:
        """What it does not reach, in words; nothing more where it misses the lesion itself."""
        if not self.lesion:
            return ["the candidate itself"]
        parts = {"the muscle around it": self.ring, "the plexus in its slices": self.plexus}
        return [name for name, shown in parts.items() if not shown]


def _supply(
    lesion: LesionFindings, region: Mask, muscle: Mask, plexus: Mask, vessels: Vessels, shown: _Shown,
    settings: AnalysisSettings,
) -> LesionFindings:  # fmt: skip
    mask, spacing_mm = vessels.mask, vessels.grid.spacing_mm
    if not region.any() or not shown.lesion:
        return lesion
    box = box_around(region, spacing_mm, 2 * settings.ring_mm)
    ring = grown(region[box], settings.ring_mm, spacing_mm) & ~region[box] & muscle[box]
    inside, around = share_pct(mask[box], region[box]), share_pct(mask[box], ring) if shown.ring else None
    # A vessel that is seen to drain it does so, however little is seen of the rest.
    drains = _drains(region, mask, plexus, spacing_mm) or (False if shown.plexus else None)
    richer = None if inside is None or around is None else inside > 0 and inside >= settings.vessel_ratio * around
    return replace(
        lesion,
        vessel_fraction_pct=inside,
        surrounding_vessel_fraction_pct=around,
        plexus_distance_mm=_distance_mm(region, mask, plexus, spacing_mm) if shown.plexus else None,
        draining_vessel=drains,
        vascularity_increased=_either(drains, richer),
    )


def _either(one: bool | None, other: bool | None) -> bool | None:
    """Return whether one of two holds; None if that hangs on what is not known."""
    if one or other:
        return True
    return None if one is None or other is None else False


def _distance_mm(region: Mask, vessels: Mask, plexus: Mask, spacing_mm: Spacing) -> float | None:
    """Return the way from the border of the lesion to the nearest vessel that touches the plexus; None if none does."""
    pieces, count = ndimage.label(vessels, np.ones((3, 3, 3)))
    touching = np.zeros(count + 1, bool)
    touching[pieces[plexus]] = True
    touching[0] = False
    of_plexus = touching[pieces]
    if not of_plexus.any():
        return None
    box = box_around(of_plexus | region, spacing_mm, 1.0)
    return float(ndimage.distance_transform_edt(~of_plexus[box], sampling=spacing_mm)[region[box]].min())


def _drains(region: Mask, vessels: Mask, plexus: Mask, spacing_mm: Spacing) -> bool:
    """Return whether one vessel begins at the lesion, leads away from it, and reaches the plexus."""
    outside = vessels & ~region
    if not outside.any():
        return False
    box = box_around(outside | region, spacing_mm, 2 * _GAP_MM)
    pieces, count = ndimage.label(grown(outside[box], _GAP_MM, spacing_mm), np.ones((3, 3, 3)))
    away_mm = ndimage.distance_transform_edt(~region[box], sampling=spacing_mm)
    pieces = np.where(outside[box], pieces, 0)

    def touched(where: Mask) -> Mask:
        found: Mask = np.bincount(pieces[where], minlength=count + 1) > 0
        return found

    drains = touched(away_mm <= _SHELL_MM) & touched(away_mm >= _LEADS_AWAY_MM) & touched(plexus[box])
    return bool(drains[1:].any())
