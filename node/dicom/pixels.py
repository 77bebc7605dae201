"""Pixels: the stored values of single frames, with every size checked before memory is asked for.

Decoders are code of others that believes the bytes it is given, so only a sandboxed step calls this module; and what
they would be given is looked at first: a codestream says itself how large it becomes.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.pixels.decoders.base import get_decoder
from pydicom.tag import Tag
from pydicom.uid import UID, ExplicitVRBigEndian, RLELossless

from node.dicom.views import values_of
from node.errors import VolumeError

LARGEST_BYTES = 1 << 30  # of a volume, or of one decoded frame, where the caller sets no limit; chosen

Plane = npt.NDArray[np.generic]

_ALLOCATED = (8, 16, 32)
_PIXEL_DATA = Tag(0x7FE00010)
_INSTANCE_NUMBER = 0x00200013
_LAYOUT = (  # Samples per Pixel, Number of Frames, Rows, Columns, Bits Allocated, Stored, High Bit, Representation
    0x00280002, 0x00280008, 0x00280010, 0x00280011, 0x00280100, 0x00280101, 0x00280102, 0x00280103,
)  # fmt: skip
_MOST_OF_RLE = 64  # bytes that one byte of a run of PackBits can become: two bytes, 128 times (PS3.5 annex G)
_JPEG_2000 = b"\xff\x4f\xff\x51"  # SOC and SIZ: ISO/IEC 15444-1 table A.2; without the JP2 header (PS3.5 A.4.4)
_JPEG = b"\xff\xd8"  # SOI: ISO/IEC 10918-1 table B.1
_START_OF_FRAME = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}  # SOF0-15, and that of JPEG-LS
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD8)})


@dataclass(frozen=True, slots=True)
class _Layout:
    """The Image Pixel module (PS3.3 C.7.6.3), as far as it says how pixels lie in memory."""

    samples: int
    frames: int
    rows: int
    columns: int
    allocated: int
    stored: int
    high: int
    signed: bool

    @classmethod
    def of(cls, instance: Dataset) -> "_Layout":
        samples, frames, rows, columns, allocated, stored, high, representation = map(
            _whole, values_of(instance, _LAYOUT)
        )
        allocated = allocated or 0
        stored = min(stored or allocated, allocated)
        return cls(
            samples=1 if samples is None else samples,
            frames=max(frames or 1, 1),
            rows=rows or 0,
            columns=columns or 0,
            allocated=allocated,
            stored=stored,
            high=stored - 1 if high is None else min(high, allocated - 1),
            signed=representation == 1,
        )

    @property
    def frame_bytes(self) -> int:
        return self.rows * self.columns * self.allocated // 8


def stored_frames(
    instance: Dataset, numbers: Sequence[int], *, largest_bytes: int = LARGEST_BYTES
) -> Iterator[tuple[int, Plane]]:
    """Yield frame index and stored values, shape (rows, columns), of the frames `numbers` of an instance.

    Raises
    ------
    VolumeError
        IN-1 if the instance is in colour or has no pixels; if these are fewer or larger than its header says, or would
        take more than `largest_bytes`; if they cannot be decoded.
    """
    layout = _Layout.of(instance)
    if layout.samples != 1:
        raise VolumeError("IN-1", "the series is in colour")
    if layout.rows <= 0 or layout.columns <= 0 or layout.allocated not in _ALLOCATED:
        raise VolumeError(
            "IN-1",
            f"{layout.rows} x {layout.columns} pixels of {layout.allocated} bits are no image that can be measured",
        )
    if layout.frame_bytes > largest_bytes:
        raise VolumeError(
            "IN-1", f"frames of {layout.rows} x {layout.columns} pixels take more memory than a volume has"
        )
    syntax = UID(str(getattr(getattr(instance, "file_meta", None), "TransferSyntaxUID", "")))
    if syntax.is_transfer_syntax and syntax.is_encapsulated:
        yield from _encapsulated(instance, numbers, syntax, layout, largest_bytes)
    else:
        yield from _native(instance, numbers, ">" if syntax == ExplicitVRBigEndian else "<", layout)


def _native(instance: Dataset, numbers: Sequence[int], order: str, layout: _Layout) -> Iterator[tuple[int, Plane]]:
    element = instance.get_item(_PIXEL_DATA) if _PIXEL_DATA in instance else None
    data = None if element is None else element.value
    found = len(data) if isinstance(data, bytes) else 0
    wanted = layout.frames * layout.frame_bytes
    if not isinstance(data, bytes) or found < wanted:
        (number,) = map(_whole, values_of(instance, (_INSTANCE_NUMBER,)))
        one = "an instance" if number is None else f"instance number {number}"
        raise VolumeError("IN-1", f"{one} has {found} bytes of pixels, its header says {wanted}")
    kind = np.dtype(f"{order}{'i' if layout.signed else 'u'}{layout.allocated // 8}")
    for number in numbers:
        if not 0 <= number < layout.frames:
            raise VolumeError("IN-1", "an instance has fewer frames of pixels than its header says")
        plane = np.frombuffer(data, kind, layout.rows * layout.columns, number * layout.frame_bytes)
        yield number, _meant(plane.reshape(layout.rows, layout.columns), layout)


def _meant(plane: Plane, layout: _Layout) -> Plane:
    """Return values without the bits above and below the stored ones: these may hold overlays (PS3.5 section 8.1.1)."""
    if layout.stored == layout.allocated or not 0 < layout.stored <= layout.high + 1:
        return plane
    above, below = layout.allocated - 1 - layout.high, layout.high + 1 - layout.stored
    if not layout.signed and not below:
        masked: Plane = np.bitwise_and(plane, plane.dtype.type((1 << layout.stored) - 1))
        return masked
    shifted: Plane = np.right_shift(np.left_shift(plane, above), above + below)
    return shifted


def _encapsulated(
    instance: Dataset, numbers: Sequence[int], syntax: UID, layout: _Layout, largest_bytes: int
) -> Iterator[tuple[int, Plane]]:
    wanted = set(numbers)
    try:
        for number, encoded in enumerate(generate_frames(instance.PixelData, number_of_frames=layout.frames)):
            if number in wanted:
                _check_codestream(encoded, syntax, layout, largest_bytes)
                wanted.discard(number)
        if wanted:
            raise VolumeError("IN-1", "an instance has fewer frames of pixels than its header says")
        decoded = get_decoder(syntax).iter_array(instance, indices=list(numbers), raw=True)
        for number, (plane, _properties) in zip(numbers, decoded, strict=True):
            if plane.shape != (layout.rows, layout.columns):
                raise VolumeError("IN-1", "decoded pixels have another matrix than the header says")
            yield number, plane
    except VolumeError:
        raise
    except Exception as error:  # decoders raise what they like on broken pixels, and their texts quote the data set
        raise VolumeError("IN-1", "an instance has no pixels, or none that can be decoded") from error


def _check_codestream(encoded: bytes, syntax: UID, layout: _Layout, largest_bytes: int) -> None:
    """Refuse what says of itself that it would become something else than the header says."""
    if syntax == RLELossless:
        segments = struct.unpack_from("<L", encoded)[0] if len(encoded) >= 64 else 0
        if segments != layout.allocated // 8 or _MOST_OF_RLE * len(encoded) > largest_bytes:
            raise VolumeError("IN-1", "run-length encoded pixels could take more memory than the header says")
        return
    rows, columns, samples, bits = _said_by(encoded)
    if (rows, columns, samples) != (layout.rows, layout.columns, 1) or bits > layout.allocated:
        raise VolumeError("IN-1", "compressed pixels say another size of themselves than the header does")


def _said_by(encoded: bytes) -> tuple[int, int, int, int]:
    """Return rows, columns, samples and bits of a JPEG, JPEG-LS or JPEG 2000 codestream."""
    if encoded.startswith(_JPEG_2000):  # ISO/IEC 15444-1 A.5.1; what is before the offset is not part of the image
        columns, rows, left, top = struct.unpack_from(">4L", encoded, 8)
        (samples,) = struct.unpack_from(">H", encoded, 40)
        return rows - top, columns - left, samples, (encoded[42] & 0x7F) + 1
    at = 2 if encoded.startswith(_JPEG) else len(encoded)
    while at + 4 <= len(encoded) and encoded[at] == 0xFF:
        marker = encoded[at + 1]
        if marker == 0xFF or marker in _WITHOUT_LENGTH:  # fill bytes: ISO/IEC 10918-1 B.1.1.2
            at += 1 if marker == 0xFF else 2
            continue
        if marker in _START_OF_FRAME:
            bits, rows, columns, samples = struct.unpack_from(">BHHB", encoded, at + 4)
            return rows, columns, samples, bits
        at += 2 + int(struct.unpack_from(">H", encoded, at + 2)[0])
    raise VolumeError("IN-1", "compressed pixels do not say how large they are")


def _whole(value: object) -> int | None:
    try:
        return None if value is None else int(str(value))
    except ValueError:
        return None
