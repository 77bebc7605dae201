"""Frames: the 2D images of an instance, each with its own place, matrix, facts and scale. No pixels are needed."""

import math
from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset
from pydicom.tag import Tag

from node.dicom.headers import Acquisition, acquisition_of
from node.dicom.identifiers import InstanceUID
from node.dicom.mosaics import Tile, tiles_of
from node.dicom.views import FrameView, Known, views_of
from node.errors import UnplacedError, VolumeError

_POSITION, _ORIENTATION, _SPACING = 0x00200032, 0x00200037, 0x00280030
_SLOPE, _INTERCEPT = 0x00281053, 0x00281052
_SOP_INSTANCE, _NUMBER_OF_FRAMES, _ROWS, _COLUMNS = 0x00080018, 0x00280008, 0x00280010, 0x00280011
_ROWS_TAG, _PIXELS_TAG = Tag(_ROWS), Tag(0x7FE00010)  # as pydicom's own kind of tag: twice as fast to look up
# PS3.4 table B.5-1: raw data, and below it registrations, fiducials, and segmentations of all kinds.
_RAW_AND_SEGMENTATIONS = "1.2.840.10008.5.1.4.1.1.66"
_REAL_WORLD_MAPS = 0x00409096  # Real World Value Mapping Sequence
_PHILIPS_SCALE_SLOPE = 0x2005100E
_PHILIPS_SCALE_CREATOR = "Philips MR Imaging DD 001"
_NO_UNITS = frozenset({"1", "NO UNITS", "{NO UNITS}"})  # UCUM code of what has no unit, and how scanners write it
MOST_FRAMES = 20_000  # of a series, tiles of mosaics included: a header of 1 KB may ask for 1024; chosen
_UNIT_LENGTH = 1e-3  # how far a direction cosine's length may be from 1, and two of them from a right angle

Vector = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Scale:
    """From stored values to the values that are measured: stored x slope + intercept.

    `source` is "rescale", "real world", "philips" (floating point values), or "none".
    """

    slope: float = 1.0
    intercept: float = 0.0
    source: str = "none"


@dataclass(frozen=True, slots=True)
class Frame:
    """One 2D image.

    Parameters
    ----------
    instance : str
        SOP Instance UID.
    number : int
        Index of the frame in its instance, from 0; 0 in a classic instance.
    position, orientation : tuple of float
        Image Position and Orientation (Patient) of the frame, in LPS, in mm.
    spacing : (float, float)
        Pixel Spacing in mm: between rows, between columns.
    rows, columns : int
        Matrix of the frame; of a mosaic, that of one tile.
    acquisition : Acquisition
        The facts of this frame.
    scale : Scale
        How its stored values are to be read.
    tile : Tile or None
        Where in the pixels of the instance the frame is, if these are a mosaic.
    normal : tuple of float
        Unit vector of the slice normal: row direction x column direction.
    place_mm : float
        Where the frame lies along its normal.
    """

    instance: InstanceUID
    number: int
    position: Vector
    orientation: tuple[float, ...]
    spacing: tuple[float, float]
    rows: int
    columns: int
    acquisition: Acquisition
    scale: Scale
    tile: Tile | None
    normal: Vector
    place_mm: float


def is_image(header: Dataset) -> bool:
    """Return whether an instance holds pixels of an image, as its header says.

    A segmentation has rows and columns, but no pixels that anything was measured in: no image either.
    """
    if str(header.get("SOPClassUID", "")).startswith(_RAW_AND_SEGMENTATIONS):
        return False
    return _ROWS_TAG in header or _PIXELS_TAG in header


def read_frames(header: Dataset, known: Known | None = None) -> tuple[Frame, ...]:
    """Return the frames of an instance, in their order in it.

    Parameters
    ----------
    known : Known, optional
        As of `views_of`.

    Raises
    ------
    UnplacedError
        IN-1 if it has several frames, and functional groups for none, or not for all.
    VolumeError
        IN-1 if it is no image, a frame has no position, orientation, pixel spacing or matrix, or there are more frames
        than `MOST_FRAMES`.
    """
    views = views_of(header, known=known)
    declared = _whole(views[0].value(_NUMBER_OF_FRAMES)) or 1
    if declared != len(views):
        raise UnplacedError(
            "IN-1", f"an instance of {declared} frames has functional groups for {len(views)}: frames without a place"
        )
    instance = InstanceUID(str(views[0].value(_SOP_INSTANCE) or ""))
    frames: list[Frame] = []
    for number, view in enumerate(views):
        rows, columns = _whole(view.value(_ROWS)), _whole(view.value(_COLUMNS))
        if not rows or not columns or rows < 0 or columns < 0:
            raise VolumeError("IN-1", "an instance is no image: it has no rows or columns")
        acquisition = acquisition_of(view, header, known)
        scale = _scale(view)
        tiles = tiles_of(view, rows, columns)
        if len(frames) + len(tiles) > MOST_FRAMES:
            found = f"{len(frames) + len(tiles)} in the first {number + 1} of {len(views)}"
            raise VolumeError("IN-1", f"an instance of more than {MOST_FRAMES} frames or tiles: {found}")
        for tile in tiles:
            position = tile.position if tile else _numbers(view, _POSITION, 3)
            orientation = _numbers(view, _ORIENTATION, 6)
            spacing = _numbers(view, _SPACING, 2)
            if not (position and orientation and spacing):
                raise VolumeError("IN-1", "an instance has no position, orientation or pixel spacing")
            if min(spacing) <= 0 or not _is_rectangular(orientation):
                raise VolumeError("IN-1", "an instance has an impossible orientation or pixel spacing")
            normal = _normal(orientation)
            frames.append(
                Frame(
                    instance=instance,
                    number=number,
                    position=(position[0], position[1], position[2]),
                    orientation=orientation,
                    spacing=(spacing[0], spacing[1]),
                    rows=tile.rows if tile else rows,
                    columns=tile.columns if tile else columns,
                    acquisition=acquisition,
                    scale=scale,
                    tile=tile,
                    normal=normal,
                    place_mm=sum(p * n for p, n in zip(position, normal, strict=True)),
                )
            )
    return tuple(frames)


def _numbers(view: FrameView, tag: int, count: int) -> tuple[float, ...]:
    values = tuple(_floats(view.value(tag)))
    return values if len(values) == count else ()


def _whole(value: Any) -> int | None:
    try:
        return None if value is None else int(value)
    except (TypeError, ValueError):
        return None


def _normal(orientation: tuple[float, ...]) -> Vector:
    a, b = orientation[:3], orientation[3:]
    return (a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0])


def _is_rectangular(orientation: tuple[float, ...]) -> bool:
    a, b = orientation[:3], orientation[3:]
    along = sum(x * y for x, y in zip(a, b, strict=True))
    return max(abs(math.hypot(*a) - 1), abs(math.hypot(*b) - 1), abs(along)) < _UNIT_LENGTH


def _scale(view: FrameView) -> Scale:
    """Return the one scale that counts: docs/decisions.md says which wins, and why."""
    slope, intercept = _number(view, _SLOPE), _number(view, _INTERCEPT) or 0.0
    philips = _floats(view.private(_PHILIPS_SCALE_SLOPE, _PHILIPS_SCALE_CREATOR))
    if philips and philips[0] and slope != 0:
        # (SV x RS + RI) / (RS x SS): Chenevert et al. 2014, PMC3998685
        rescale = 1.0 if slope is None else slope
        return Scale(1 / philips[0], intercept / (rescale * philips[0]), "philips")
    if real_world := _real_world(view):
        return real_world
    if slope is None:
        return Scale()
    return Scale(slope, intercept, "rescale")


def _real_world(view: FrameView) -> Scale | None:
    """Return the Real World Value Map, if it is the only one, linear, without unit (PS3.3 C.7.6.16.2.11)."""
    maps = view.value(_REAL_WORLD_MAPS)
    if maps is None or len(maps) != 1:
        return None
    (one,) = maps
    units = list(one.get("MeasurementUnitsCodeSequence") or [])
    slope = _floats(one.get("RealWorldValueSlope"))
    unit = str(units[0].get("CodeValue", "")).strip().upper() if len(units) == 1 else ""
    if unit not in _NO_UNITS or "RealWorldValueLUTData" in one or not slope or slope[0] == 0:
        return None
    return Scale(slope[0], (_floats(one.get("RealWorldValueIntercept")) or [0.0])[0], "real world")


def _number(view: FrameView, tag: int) -> float | None:
    return next(iter(_floats(view.value(tag))), None)


def _floats(value: Any) -> list[float]:
    try:
        many = [] if value is None else [value] if isinstance(value, (int, float, str)) else value
        found = [float(one) for one in many]
    except (TypeError, ValueError):
        return []
    return found if all(map(math.isfinite, found)) else []
