"""What lies on disk, byte for byte."""

from dataclasses import astuple, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.records import Origin, Place
from node.spool.record import (
    ALIGNMENT,
    RECORD_HEADER_BYTES,
    SEGMENT_HEADER_BYTES,
    RecordHeader,
    SegmentHeader,
    aligned,
    fitting,
)
from tests.builders import ORIGIN

LATIN_1 = st.characters(max_codepoint=255)  # as the bytes of a data set come, control characters and quotes included
TEXTS = st.text(LATIN_1, max_size=300)
BITS_64 = st.integers(0, 2**64 - 1)
HEADERS = st.builds(
    RecordHeader,
    place=st.builds(Place, segment=st.integers(1, 2**32 - 1), generation=BITS_64, offset=st.integers(0, 2**48)),
    sequence=BITS_64,
    length=BITS_64,
    head_length=st.integers(0, 2**32 - 1),
    checksum=st.integers(0, 2**64 - 1),
    received_s=st.floats(allow_nan=False),
    origin=st.builds(Origin, *[TEXTS] * len(astuple(ORIGIN))),
)
HEADER = RecordHeader(Place(7, 2**62, ALIGNMENT), 3, 1000, 400, 5, 1.5, ORIGIN)


@settings(max_examples=60, deadline=None)
@given(header=HEADERS)
def test_the_header_of_a_record_comes_back_whatever_it_says(header: RecordHeader) -> None:
    header = replace(header, origin=fitting(header.origin))

    packed = header.pack()

    assert len(packed) == RECORD_HEADER_BYTES
    assert RecordHeader.unpack(packed, header.place.offset) == header


@pytest.mark.parametrize("patient_id", ["", "'\"\\,[]{}", "\0\x1f\x7f", "M\xfcller", "9" * 64, "\x1b$B" * 60, "\0"])
def test_a_patient_id_comes_back_as_it_was(patient_id: str) -> None:
    header = replace(HEADER, origin=replace(ORIGIN, patient_id=patient_id))

    unpacked = RecordHeader.unpack(header.pack(), ALIGNMENT)

    assert unpacked is not None
    assert unpacked.origin.patient_id == patient_id


@settings(max_examples=40, deadline=None)
@given(origin=st.builds(Origin, *[st.text(max_size=400)] * len(astuple(ORIGIN))))
def test_no_text_makes_a_header_outgrow_its_place(origin: Origin) -> None:
    packed = replace(HEADER, origin=origin).pack()

    assert len(packed) == RECORD_HEADER_BYTES
    assert RecordHeader.unpack(packed, ALIGNMENT) is not None


@pytest.mark.parametrize("block", [b"", bytes(RECORD_HEADER_BYTES), HEADER.pack()[:-1]])
def test_what_is_no_header_is_none(block: bytes) -> None:
    assert RecordHeader.unpack(block, ALIGNMENT) is None


@given(bit=st.integers(0, 8 * RECORD_HEADER_BYTES - 1))
@settings(max_examples=300, deadline=None)
def test_one_bit_that_flips_in_the_header_of_a_record_is_noticed(bit: int) -> None:
    packed = bytearray(HEADER.pack())
    packed[bit // 8] ^= 1 << bit % 8

    assert RecordHeader.unpack(bytes(packed), ALIGNMENT) is None


@settings(max_examples=40, deadline=None)
@given(number=st.integers(1, 2**32 - 1), generation=BITS_64, size=BITS_64)
def test_the_header_of_a_segment_comes_back(number: int, generation: int, size: int) -> None:
    header = SegmentHeader(number, generation, size)

    packed = header.pack()

    assert len(packed) == SEGMENT_HEADER_BYTES
    assert SegmentHeader.unpack(packed) == header


def test_the_header_of_a_segment_is_in_one_sector_so_that_it_is_never_torn() -> None:
    old, new = SegmentHeader(1, 2, 3).pack(), SegmentHeader(1, 2**62, 3).pack()

    differing = {place // 512 for place, (one, other) in enumerate(zip(old, new, strict=True)) if one != other}

    assert differing == {0}


@given(bit=st.integers(0, 8 * 512 - 1))
@settings(max_examples=200, deadline=None)
def test_one_bit_that_flips_in_the_header_of_a_segment_is_noticed(bit: int) -> None:
    packed = bytearray(SegmentHeader(1, 2, 3).pack())
    packed[bit // 8] ^= 1 << bit % 8

    assert SegmentHeader.unpack(bytes(packed)) is None


@pytest.mark.parametrize(
    ("length", "end"),
    [(0, 2), (ALIGNMENT - RECORD_HEADER_BYTES, 2), (ALIGNMENT - RECORD_HEADER_BYTES + 1, 3)],
)
def test_the_next_record_begins_on_the_next_page(length: int, end: int) -> None:
    following = replace(HEADER, length=length).following

    assert (following.end, following.sequence) == (end * ALIGNMENT, HEADER.sequence + 1)
    assert aligned(following.end) == following.end
