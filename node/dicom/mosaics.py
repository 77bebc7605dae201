"""Mosaics: the slices of one volume as tiles of a single image, as Siemens (until E11) and UIH send them.

Where a tile lies is in private attributes alone. Those of Siemens are in a private format of their own, "CSA", which is
read here as far as one vector of it is needed; its layout is known from nibabel and dcm2niix, not from the vendor.
"""

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from node.dicom.views import FrameView
from node.errors import VolumeError

_IMAGE_TYPE = 0x00080008
_POSITION, _ORIENTATION = 0x00200032, 0x00200037
_PIXEL_SPACING, _BETWEEN_SLICES = 0x00280030, 0x00180088
_SIEMENS_COUNT = 0x0019100A  # Number of Images in Mosaic
_SIEMENS_CSA_IMAGE_HEADER = 0x00291010
_UIH_COUNT, _UIH_TILES = 0x00651050, 0x00651051
_MOST_TILES = 1024
_SMALLEST_TILE = 16  # pixels, along rows and columns: what a short header can ask for stays small; chosen
_MOST_ELEMENTS = 1024  # of a CSA header; in the field about 100

_FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Tile:
    """Where one slice is in the pixels of its frame: first row and column, and matrix.

    `position` is its Image Position (Patient), in LPS, in mm.
    """

    row: int
    column: int
    rows: int
    columns: int
    position: tuple[float, float, float]


def tiles_of(view: FrameView, rows: int, columns: int) -> Sequence[Tile | None]:
    """Return the tiles of a frame of `rows` x `columns` pixels, in reading order; (None,) if it is no mosaic.

    Raises
    ------
    VolumeError
        IN-1 if it is a mosaic, and its private attributes do not say where the tiles lie.
    """
    words = {str(word).strip().upper() for word in view.value(_IMAGE_TYPE) or ()}
    if "MOSAIC" in words:
        count = _count(view.private(_SIEMENS_COUNT, "SIEMENS MR HEADER"))
    elif "VFRAME" in words:
        count = _count(view.private(_UIH_COUNT, "Image Private Header"))
    else:
        return (None,)
    across = math.ceil(math.sqrt(count))  # both vendors: as nearly square as can be, rows that would be empty left out
    down = across if "MOSAIC" in words else math.ceil(count / across)
    if rows % down or columns % across:
        raise VolumeError("IN-1", f"a mosaic of {count} tiles does not fit {rows} x {columns} pixels")
    height, width = rows // down, columns // across
    if min(height, width) < _SMALLEST_TILE:
        raise VolumeError("IN-1", f"a mosaic of {count} tiles in {rows} x {columns} pixels: {height} x {width} each")
    with np.errstate(over="ignore", invalid="ignore"):  # what comes of it is no finite number, and is refused
        siemens = "MOSAIC" in words
        positions = _siemens_positions(view, count, rows, columns) if siemens else _uih_positions(view, count)
    if not np.isfinite(positions).all():
        raise VolumeError("IN-1", f"a mosaic of {count} tiles: not all of their positions are finite numbers")
    return [
        Tile(n // across * height, n % across * width, height, width, (float(x), float(y), float(z)))
        for n, (x, y, z) in enumerate(positions)
    ]


def _count(value: object) -> int:
    try:
        count = int(float(str(value)))
    except (ValueError, OverflowError):
        count = 0
    if not 0 < count <= _MOST_TILES:
        raise VolumeError("IN-1", "a mosaic does not say how many tiles it has: its private attributes are missing")
    return count


def _siemens_positions(view: FrameView, count: int, rows: int, columns: int) -> _FloatArray:
    """Return the position of each tile, shape (count, 3).

    Image Position is that of a slice as large as the mosaic, around the centre of the first tile; the others follow
    along the normal that the CSA header gives, which may run against that of the orientation.
    """
    try:
        position = np.array([float(one) for one in view.value(_POSITION)]).reshape(3)
        orientation = np.array([float(one) for one in view.value(_ORIENTATION)]).reshape(2, 3)
        down_mm, across_mm = (float(one) for one in view.value(_PIXEL_SPACING))
        between_mm = float(view.value(_BETWEEN_SLICES))
    except (TypeError, ValueError) as error:
        raise VolumeError("IN-1", "a mosaic has no position, orientation, pixel spacing or slice distance") from error
    across = math.ceil(math.sqrt(count))
    corner = orientation[0] * across_mm * (columns - columns // across) / 2
    corner = corner + orientation[1] * down_mm * (rows - rows // across) / 2
    normal = _slice_normal(view.private(_SIEMENS_CSA_IMAGE_HEADER, "SIEMENS CSA HEADER"))
    if not abs(abs(float(normal @ np.cross(orientation[0], orientation[1]))) - 1) <= 1e-3:  # nor if it is no number
        raise VolumeError("IN-1", "a mosaic whose slice normal is not that of its orientation")
    positions: _FloatArray = position + corner + np.outer(np.arange(count) * between_mm, normal)
    return positions


def _uih_positions(view: FrameView, count: int) -> _FloatArray:
    items = view.private(_UIH_TILES, "Image Private Header")
    try:
        positions = np.array([[float(one) for one in item.ImagePositionPatient] for item in items])
    except (AttributeError, TypeError, ValueError) as error:
        raise VolumeError("IN-1", "a mosaic has no positions of its tiles") from error
    if positions.shape != (count, 3):
        raise VolumeError("IN-1", f"a mosaic of {count} tiles has positions for {len(positions)}")
    return positions


def _slice_normal(csa: object) -> _FloatArray:
    """Return the slice normal of a CSA image header, a unit vector in LPS."""
    if isinstance(csa, bytes) and csa.startswith(b"SV10"):
        try:
            return _csa_numbers(csa, b"SliceNormalVector", 3)
        except (struct.error, ValueError):
            pass
    raise VolumeError("IN-1", "a mosaic without a readable CSA header: the direction of its slices is unknown")


def _csa_numbers(csa: bytes, wanted: bytes, count: int) -> _FloatArray:
    (elements,) = struct.unpack_from("<L", csa, 8)
    at = 16
    for _ in range(min(elements, _MOST_ELEMENTS)):
        name, items = csa[at : at + 64].split(b"\0")[0], struct.unpack_from("<L", csa, at + 76)[0]
        at += 84
        values = []
        for _ in range(items):
            (length,) = struct.unpack_from("<L", csa, at + 4)
            at += 16
            if at + length > len(csa):
                raise ValueError("a value ends behind the header")
            if name == wanted and length:
                values.append(float(csa[at : at + length].split(b"\0")[0]))
            at += (length + 3) // 4 * 4
        if name == wanted:
            if len(values) < count:
                break
            return np.array(values[:count])
    raise ValueError("not there")
