"""Files that were deflated: inflated as far as a cap, and no further."""

import io
import zlib

import pytest
from pydicom import dcmread
from pydicom.uid import DeflatedExplicitVRLittleEndian

from node.dicom.files import inflated, read_file_header
from node.errors import HeaderError
from tests.builders import data_set_bytes, mr, part10


def deflated(content: bytes) -> bytes:
    """Return a Part 10 file of `content`, a data set, as PS3.5 A.5 has it."""
    made = mr()
    made.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    whole = part10(made)
    head = whole[: len(whole) - len(data_set_bytes(whole))]
    stream = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return head + stream.compress(content) + stream.flush()


def test_a_deflated_file_says_what_it_said_before() -> None:
    plain = data_set_bytes(part10(mr()))

    read = dcmread(inflated(io.BytesIO(deflated(plain))))

    assert data_set_bytes(part10(read)) == plain
    assert "PixelData" not in read_file_header(io.BytesIO(deflated(plain)))


def test_a_file_that_is_not_deflated_is_read_as_it_is() -> None:
    file = io.BytesIO(part10(mr()))

    assert inflated(file) is file
    assert file.read() == part10(mr())


def test_a_deflated_file_that_becomes_too_large_is_refused_before_it_does() -> None:
    bomb = deflated(data_set_bytes(part10(mr())) + bytes(16 << 20))

    with pytest.raises(HeaderError, match="becomes larger than 1 MB"):
        inflated(io.BytesIO(bomb), largest=1 << 20)
    assert len(bomb) < 32 << 10


@pytest.mark.parametrize("spoil", [lambda whole: whole[:-9], lambda whole: whole[:-40] + b"\xff" * 40])
def test_a_deflated_file_that_is_damaged_is_refused(spoil) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(HeaderError, match="deflated"):
        inflated(io.BytesIO(spoil(deflated(data_set_bytes(part10(mr()))))))
