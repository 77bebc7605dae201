"""Brought: the lesions of an earlier examination, to where they would lie in this one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from node.analysis.followup import follow_up
from node.analysis.grid import Grid
from node.dicom.geometry import FloatArray
from node.dicom.volumes import Volume
from node.findings import EarlierLesion, Gate

_LOOKED_AT_MM = 5.0  # from muscle that was searched; chosen

Point = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Brought:
    """Where lesions of an earlier examination would lie in this one.

    Parameters
    ----------
    gates : tuple of Gate
        Of the registration.
    places : mapping of str to tuple of float
        Centre by Tracking UID, LPS mm; none where a gate did not pass.
    looked_at : frozenset of str
        Those of them that lie in muscle that this examination shows.
    """

    gates: tuple[Gate, ...]
    places: Mapping[str, Point]
    looked_at: frozenset[str] = frozenset()


def bring_lesions(
    lesions: Sequence[EarlierLesion], then: Volume, now: Volume, muscles: npt.NDArray[np.uint8]
) -> Brought:
    """Return where lesions that were outlined on the series `then` would lie in `now`.

    Parameters
    ----------
    lesions : sequence of EarlierLesion
        One whose position is in another frame of reference than `then` has no place.
    then, now : Volume
        Series of one kind of contrast.
    muscles : ndarray of uint8, shape of `now`
        Those that were searched for foci; 0 elsewhere.
    """
    found = follow_up(Grid.of(now), Grid.of(then))
    places: dict[str, Point] = {}
    looked_at = set()
    for one in lesions:
        if found.movement is None or one.centroid_mm is None:
            continue
        if one.frame_of_reference != then.geometry.frame_of_reference:
            continue
        place = found.movement.inverse().apply(np.array(one.centroid_mm))
        x, y, z = place.tolist()
        places[one.tracking_uid] = (x, y, z)
        if _is_near(muscles, now, place):
            looked_at.add(one.tracking_uid)
    return Brought(found.gates, places, frozenset(looked_at))


def _is_near(mask: npt.NDArray[np.uint8], on: Volume, place: FloatArray) -> bool:
    """Return whether a mask has a voxel near a place."""
    reach = np.ceil(_LOOKED_AT_MM / np.array(on.geometry.spacing_mm)) + 1
    index = on.geometry.to_index(place)
    low, high = np.clip([index - reach, index + reach + 1], 0, mask.shape).astype(int)
    voxels = np.argwhere(mask[tuple(slice(*ends) for ends in zip(low, high, strict=True))]) + low
    return bool((np.linalg.norm(on.geometry.to_lps(voxels) - place, axis=-1) <= _LOOKED_AT_MM).any())
