"""Pictures: the planes that a reader is shown, as arrays. They are drawn in the report.

An axial plane through each lesion and through what is most worth a look; coronal projections of the enhancement and of
the MRV through the muscles. Canonical order (head, back, left) is what radiologists expect: the patient's left is on
the right, the back is below.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from node.analysis.grid import box_around, part
from node.analysis.lesions import Lesion, Scene
from node.analysis.regional import Regional
from node.analysis.venography import Vessels
from node.dicom.geometry import Geometry
from node.findings import Picture
from node.ports import Array, Mask

_MOST_LESIONS = 6  # that have a picture, best first; chosen
_AROUND_MM = 25.0  # around the muscles; chosen

Layers = Mapping[str, npt.NDArray[Any]]


def pictures_of(
    scene: Scene,
    post: Array,
    rise: Array | None,
    lesions: Sequence[Lesion],
    vessels: Vessels | None,
    regional: Regional,
) -> tuple[Picture, ...]:
    """Return the overview first, then the lesions, best first.

    Parameters
    ----------
    post : ndarray of float32
        On the grid of `scene`, with the coil's shading, as it was acquired.
    rise : ndarray of float32 or None
        Enhancement as a ratio, on that grid.
    """
    everything = scene.muscles > 0
    if not everything.any():
        return ()
    for one in lesions:
        everything = everything | one.region
    box = box_around(everything, scene.geometry.spacing_mm, _AROUND_MM)
    geometry = part(scene.geometry, box)
    numbers = np.zeros(scene.muscles.shape, np.uint8)
    for one in lesions:
        numbers[one.region] = one.findings.number
    volumes: dict[str, npt.NDArray[Any]] = {"post": post, "muscles": scene.muscles, "lesions": numbers}
    if scene.pre is not None:
        volumes["pre"] = scene.pre
    if rise is not None:
        volumes["enhancement"] = np.where(scene.muscles > 0, 100 * rise, np.float32(np.nan)).astype(np.float32)
    shown = {name: volume[box] for name, volume in volumes.items()}

    key = _widest(lesions[0].region[box]) if lesions else _of_interest(regional, shown["muscles"], geometry)
    made = [_axial(shown, geometry, key, None), _coronal(shown, geometry)]
    if vessels is not None:
        made.append(_projected(vessels, scene.muscles > 0, scene.geometry))
    for one in lesions[:_MOST_LESIONS]:
        made.append(_axial(shown, geometry, _widest(one.region[box]), one.findings.number))
    return tuple(made)


def _widest(region: Mask) -> int:
    return int(region.sum(axis=(1, 2)).argmax())


def _of_interest(regional: Regional, muscles: npt.NDArray[Any], geometry: Geometry) -> int:
    """Return the slice of the level that enhances most against the others; the middle one if none was compared."""
    compared = [row for row in regional.levels if row.relative_enhancement is not None and row.location is not None]
    used = np.nonzero((muscles > 0).any(axis=(1, 2)))[0]
    if not compared:
        return int(used[len(used) // 2])
    most = max(compared, key=lambda row: row.relative_enhancement or 0.0)
    assert most.location is not None
    place = round(float(geometry.to_index(most.location.position_mm)[0]))
    return int(np.clip(place, used[0], used[-1]))


def _axial(volumes: Layers, geometry: Geometry, index: int, lesion: int | None) -> Picture:
    layers = {name: np.ascontiguousarray(volume[index]) for name, volume in volumes.items()}
    return _picture(
        "axial", layers, geometry.to_lps((index, 0, 0)), geometry.affine[:3, 1], geometry.affine[:3, 2], lesion
    )


def _coronal(volumes: Layers, geometry: Geometry) -> Picture:
    """Return means along the muscles' depth; of the signal through all of it, of the enhancement in muscle alone."""
    muscles = np.asarray(volumes["muscles"])
    depth = _depth(muscles > 0)
    layers: dict[str, npt.NDArray[Any]] = {
        "post": np.asarray(volumes["post"])[:, depth].mean(axis=1, dtype=np.float32),
        "muscles": muscles.max(axis=1),
        "lesions": np.asarray(volumes["lesions"]).max(axis=1),
    }
    if "enhancement" in volumes:
        rise = np.asarray(volumes["enhancement"], np.float32)
        inside = np.isfinite(rise)
        count = inside.sum(axis=1)
        total = np.where(inside, rise, np.float32(0)).sum(axis=1)
        layers["enhancement"] = np.where(count > 0, total / count.clip(min=1), np.nan).astype(np.float32)
    return _upright(layers, geometry, depth)


def _projected(vessels: Vessels, muscles: Mask, on: Geometry) -> Picture:
    """Return the maximum of the MRV along the muscles' depth, with the place that it has in the other series."""
    depth = _depth(vessels.bring(muscles, on))
    picture = _upright({"mrv": vessels.grid.signal[:, depth].max(axis=1)}, vessels.grid.geometry, depth)
    back = vessels.movement.inverse()
    return _picture(
        picture.plane,
        picture.layers,
        back.apply(np.array(picture.origin_mm)),
        back.rotation @ picture.down_mm,
        back.rotation @ picture.right_mm,
        None,
    )


def _depth(mask: Mask) -> slice:
    used = np.nonzero(mask.any(axis=(0, 2)))[0]
    return slice(int(used[0]), int(used[-1]) + 1) if used.size else slice(None)


def _upright(layers: Layers, geometry: Geometry, depth: slice) -> Picture:
    turned = {name: np.ascontiguousarray(layer[::-1]) for name, layer in layers.items()}
    first, last, _step = depth.indices(geometry.shape[1])
    origin = geometry.to_lps((geometry.shape[0] - 1, (first + last - 1) / 2, 0))
    return _picture("coronal", turned, origin, -geometry.affine[:3, 0], geometry.affine[:3, 2], None)


def _picture(
    plane: str, layers: Layers, origin: npt.ArrayLike, down: npt.ArrayLike, right: npt.ArrayLike, lesion: int | None
) -> Picture:
    return Picture(plane, dict(layers), _vector(origin), _vector(down), _vector(right), lesion)


def _vector(values: npt.ArrayLike) -> tuple[float, float, float]:
    x, y, z = (float(one) for one in np.asarray(values))
    return x, y, z
