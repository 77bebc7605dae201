"""Mosaics of hostile or broken headers: they are refused before they cost anything."""

import struct
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from node.dicom import frames, stacks
from node.dicom.frames import read_frames
from node.dicom.stacks import split
from node.errors import VolumeError
from tests.builders import mr, series_of


def csa(normal: tuple[str, str, str]) -> bytes:
    """Return a CSA image header with nothing but a slice normal."""
    element = struct.pack("<64sL4sLLL", b"SliceNormalVector", 3, b"FD", 4, len(normal), 77)
    values = (struct.pack("<4L", 8, 8, 77, 8) + one.encode().ljust(8, b"\0") for one in normal)
    return b"SV10\4\3\2\1" + struct.pack("<LL", 1, 77) + element + b"".join(values)


def siemens(tiles: int, *, normal: tuple[str, str, str] = ("0", "0", "1"), **more: Any) -> Dataset:
    size = {"Rows": 64, "Columns": 64, "SpacingBetweenSlices": 4.0, "PixelData": None}
    made = mr(**(size | {"ImageType": ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]} | more))
    made.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0A, "US", tiles)
    made.private_block(0x0029, "SIEMENS CSA HEADER", create=True).add_new(0x10, "OB", csa(normal))
    return made


def uih(positions: list[list[float]]) -> Dataset:
    made = mr(Rows=64, Columns=64, ImageType=["ORIGINAL", "PRIMARY", "M", "VFRAME"], PixelData=None)
    block = made.private_block(0x0065, "Image Private Header", create=True)
    block.add_new(0x50, "DS", len(positions))
    items = []
    for position in positions:
        item = Dataset()
        item.ImagePositionPatient = position
        items.append(item)
    block.add_new(0x51, "SQ", Sequence(items))
    return made


def refused(made: Dataset) -> str:
    with pytest.raises(VolumeError) as caught:
        read_frames(made)
    assert caught.value.code == "IN-1"
    return str(caught.value)


def test_the_smallest_tiles_that_are_read_have_16_pixels_a_side() -> None:
    assert [frame.place_mm for frame in read_frames(siemens(16))] == [4.0 * k for k in range(16)]
    assert "17 tiles in 75 x 75 pixels: 15 x 15 each" in refused(siemens(17, Rows=75, Columns=75))
    assert "1024 tiles in 64 x 64 pixels" in refused(siemens(1024))


@pytest.mark.parametrize(
    "made",
    [
        siemens(4, normal=("nan", "nan", "nan")),
        siemens(4, normal=("inf", "0", "1")),
        siemens(4, SpacingBetweenSlices=float("inf")),
        siemens(4, SpacingBetweenSlices=float("nan")),
        siemens(4, ImagePositionPatient=[0.0, float("nan"), 0.0]),
        uih([[0.0, 0.0, 0.0], [0.0, 0.0, float("inf")]]),
        uih([[0.0, 0.0, 0.0], [0.0, 0.0, float("nan")]]),
    ],
)
def test_a_mosaic_whose_tiles_lie_at_no_finite_place_is_refused(made: Dataset) -> None:
    refused(made)


def test_an_instance_of_more_frames_than_a_series_may_have_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "MOST_FRAMES", 15)

    assert "more than 15 frames or tiles: 16 in the first 1 of 1" in refused(siemens(16))
    monkeypatch.setattr(frames, "MOST_FRAMES", 16)
    assert len(read_frames(siemens(16))) == 16


def test_a_series_of_more_frames_than_it_may_have_is_refused_with_what_was_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stacks, "MOST_FRAMES", 4)

    assert len(split([*series_of(1, slices=4)])[0].frames) == 4
    with pytest.raises(VolumeError, match="more than 4 frames: 5 in the first 5 of 6 instances") as caught:
        split([*series_of(1, slices=6)])
    assert caught.value.code == "IN-1"
