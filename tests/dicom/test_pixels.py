"""Stored values come out as they were put in; what claims more memory than it may have gets none."""

import struct
import tracemalloc
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    JPEG2000,
    ExplicitVRBigEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from node.dicom.pixels import stored_frames
from node.dicom.stacks import split
from node.dicom.volumes import read_volume, stack
from node.errors import VolumeError
from tests.builders import mr, series_of
from tests.conftest import shared

MEBIBYTE = 1 << 20


def frames_of(instance: Dataset, numbers: list[int] | None = None, **limits: Any) -> npt.NDArray[np.generic]:
    return np.stack([plane for _number, plane in stored_frames(instance, numbers or [0], **limits)])


def refusal(instance: Dataset, **limits: Any) -> str:
    with pytest.raises(VolumeError) as caught:
        frames_of(instance, **limits)
    assert caught.value.code == "IN-1"
    return caught.value.text


def compressed(instance: Dataset, syntax: str, *frames: bytes) -> Dataset:
    instance.PixelData = encapsulate(list(frames))
    instance["PixelData"].is_undefined_length = True
    instance.file_meta.TransferSyntaxUID = syntax
    return instance


@pytest.mark.parametrize(
    ("kind", "allocated", "stored", "high", "values", "expected"),
    [
        ("<u2", 16, 16, 15, [0, 1, 65535], [0, 1, 65535]),
        ("<i2", 16, 16, 15, [-32768, 0, 32767], [-32768, 0, 32767]),
        ("<u2", 16, 12, 11, [0x0FFF, 0xF001, 0x8000], [0x0FFF, 1, 0]),  # overlays in the upper bits
        ("<u2", 16, 12, 15, [0xFFF0, 0x0010, 0x000F], [0x0FFF, 1, 0]),
        ("<i2", 16, 12, 11, [0x0800, 0x07FF, 0x0FFF], [-2048, 2047, -1]),  # no sign in the upper bits
        ("<u1", 8, 8, 7, [0, 7, 255], [0, 7, 255]),
        ("<u4", 32, 32, 31, [0, 70000, 4294967295], [0, 70000, 4294967295]),
        (">u2", 16, 16, 15, [0, 1, 65535], [0, 1, 65535]),
    ],
)
def test_stored_values_are_read_by_their_bits(
    kind: str, allocated: int, stored: int, high: int, values: list[int], expected: list[int]
) -> None:
    made = mr(Rows=1, Columns=3, BitsAllocated=allocated, BitsStored=stored, HighBit=high)
    made.PixelRepresentation = int(kind[1] == "i")
    made.PixelData = np.array(values).astype(kind).tobytes()
    if kind.startswith(">"):
        made.file_meta.TransferSyntaxUID = ExplicitVRBigEndian

    assert frames_of(made).ravel().tolist() == expected


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        ({"PixelData": b"too short", "InstanceNumber": 17}, "number 17 has 9 bytes of pixels, its header says 128"),
        ({"PixelData": None}, "0 bytes of pixels"),
        ({"NumberOfFrames": 3}, "its header says 384"),
        ({"SamplesPerPixel": 3}, "in colour"),
        ({"BitsAllocated": 1}, "no image that can be measured"),
        ({"BitsAllocated": None}, "no image that can be measured"),
        ({"Rows": 65535, "Columns": 65535}, "take more memory"),
    ],
)
def test_pixels_that_are_not_what_the_header_says_are_refused(spoil: dict[str, Any], text: str) -> None:
    assert text in refusal(mr(**spoil))


def test_a_volume_that_would_not_fit_is_refused_before_memory_is_asked_for() -> None:
    instances = list(series_of(1, slices=8))
    (only,) = split(instances)
    by_uid = {one.SOPInstanceUID: one for one in instances}

    with pytest.raises(VolumeError, match="8 slices of 8 x 8 take more memory"):
        read_volume(only, by_uid.__getitem__, largest_bytes=8 * 8 * 8 * 4 - 1)
    assert read_volume(only, by_uid.__getitem__, largest_bytes=8 * 8 * 8 * 4).array.shape == (8, 8, 8)


def test_colours_from_a_palette_are_no_signal() -> None:
    with pytest.raises(VolumeError, match="in colour"):
        stack(list(series_of(1, PhotometricInterpretation="PALETTE COLOR")))


def _size_marker(rows: int, columns: int, samples: int = 1, bits: int = 12) -> bytes:
    """Return the head of a JPEG 2000 codestream: SOC and SIZ, ISO/IEC 15444-1 A.5.1."""
    tile = struct.pack(">4L", columns, rows, 0, 0)
    siz = struct.pack(">H4L", 0, columns, rows, 0, 0) + tile + struct.pack(">H", samples)
    siz += bytes([bits - 1, 1, 1]) * samples
    return b"\xff\x4f\xff\x51" + struct.pack(">H", len(siz) + 2) + siz


def _start_of_frame(marker: int, rows: int, columns: int, samples: int = 1, bits: int = 12) -> bytes:
    """Return the head of a JPEG: SOI, a comment, and the frame header, ISO/IEC 10918-1 B.2.2."""
    component = b"\x01\x11\x00" * samples
    head = struct.pack(">BHHB", bits, rows, columns, samples) + component
    comment = b"\xff\xfe" + struct.pack(">H", 6) + b"text"
    return b"\xff\xd8" + comment + b"\xff" + bytes([marker]) + struct.pack(">H", len(head) + 2) + head


@pytest.mark.parametrize(
    ("syntax", "frame"),
    [
        (JPEG2000Lossless, _size_marker(60000, 60000)),
        (JPEG2000Lossless, _size_marker(8, 9)),
        (JPEG2000Lossless, _size_marker(8, 8, samples=16384)),
        (JPEG2000Lossless, _size_marker(8, 8, bits=38)),
        (JPEG2000, b"\x00\x00\x00\x0cjP  \r\n\x87\n" + bytes(20) + _size_marker(8, 8)),  # a JP2 file: PS3.5 A.4.4
        (JPEGLSLossless, _start_of_frame(0xF7, 65535, 65535)),
        (JPEGLosslessSV1, _start_of_frame(0xC3, 65535, 65535)),
        (JPEGLosslessSV1, _start_of_frame(0xC3, 0, 8)),  # the number of lines follows behind: DNL
        (JPEGLosslessSV1, _start_of_frame(0xC3, 8, 8, samples=3)),
        (JPEGLosslessSV1, b"\xff\xd8\xff\xc4\xff\xff"),
        (RLELossless, struct.pack("<16L", 15, *([64] * 15)) + b"\x81\x00" * 32),
        (RLELossless, struct.pack("<16L", 2, 64, 80, *([0] * 13)) + b"\x81\x00" * (4 * MEBIBYTE)),
        ("1.2.840.10008.1.2.4.100", _size_marker(8, 8)),  # MPEG-2
    ],
)
def test_a_bomb_of_compressed_pixels_is_refused_without_decoding_it(syntax: str, frame: bytes) -> None:
    bomb = compressed(mr(), syntax, frame)
    tracemalloc.start()

    refusal(bomb, largest_bytes=64 * MEBIBYTE)

    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 * MEBIBYTE  # the largest of these frames is 8 MiB, and is held a few times


def test_the_checks_do_not_refuse_what_is_honest() -> None:
    plane = np.arange(64 * 64, dtype="<u2").reshape(64, 64)
    for syntax in (JPEG2000Lossless, JPEGLSLossless, RLELossless):
        made = mr(Rows=64, Columns=64, PixelData=plane.tobytes())
        made.compress(syntax)

        assert (frames_of(made)[0] == plane).all(), syntax


def test_only_the_frames_that_are_wanted_are_given_in_the_order_they_are_wanted_in() -> None:
    planes = np.arange(5 * 64, dtype="<u2").reshape(5, 8, 8)
    made = mr(NumberOfFrames=5, PixelData=planes.tobytes())
    for syntax in (None, RLELossless):
        if syntax:
            made.compress(syntax)

        assert (frames_of(made, [4, 1]) == planes[[4, 1]]).all()


def test_a_frame_that_is_not_there_is_refused() -> None:
    made = mr()
    made.compress(RLELossless)
    frame = next(generate_frames(made.PixelData))
    made = compressed(made, RLELossless, frame)
    made.NumberOfFrames = 2

    with pytest.raises(VolumeError):
        frames_of(made, [1])


def test_what_was_compressed_in_four_ways_is_the_same_volume() -> None:
    """One series of four instances, in the transfer syntaxes of the field, by the hands of others."""
    root = shared("data", "dicom2nifti_vendor_headers", "generic")
    volumes = [
        stack([dcmread(path) for path in sorted((root / f"compressed_{one}").rglob("*.dcm"))])
        for one in ("rle", "jpegls", "j2k", "jpeg")
    ]

    for other in volumes[1:]:
        assert (other.array == volumes[0].array).all()
    assert volumes[0].array.std() > 50  # they are noise, not nothing
