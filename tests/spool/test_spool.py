import os
import random
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmread

from node.errors import LedgerError, SpoolError, SpoolFullError
from node.records import Place, SegmentEnd
from node.spool import RecordHeader, Recording, Spool, SpoolReader, as_file
from node.spool import segment as segments
from node.spool.record import ALIGNMENT, RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES
from tests.builders import ORIGIN, mr, part10, record

SEGMENT = 1 << 20  # bytes, of the fixture's spool
NO_DEADLINE = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30
)  # fmt: skip


def read(spool: Spool, place: Place) -> bytes:
    return bytes(SpoolReader(spool.root).read(place))


def replayed(
    root: Path, known: Mapping[int, SegmentEnd] | None = None, **more: int
) -> tuple[Spool, list[RecordHeader]]:
    spool = Spool(root, segment_bytes=SEGMENT, spare=0, **more)
    return spool, list(spool.replay(known or {}))


def begun(headers: Iterable[RecordHeader]) -> dict[int, SegmentEnd]:
    """Return what a ledger notes that knows the segments, and none of their records."""
    places = [header.place for header in headers]
    return {one.segment: SegmentEnd(one.segment, one.generation, SEGMENT_HEADER_BYTES, 0) for one in places}


def fill(spool: Spool) -> RecordHeader:
    """Record an instance that seals its segment."""
    return record(spool, bytes(SEGMENT))


# ------------------------------------------------------------------ recording


@NO_DEADLINE
@given(
    size=st.one_of(st.integers(0, 5000), st.integers(0, 300_000), st.sampled_from([SEGMENT, 4 * SEGMENT + 1])),
    cuts=st.lists(st.floats(0, 1), max_size=8),
    flushed=st.booleans(),
)
def test_bytes_are_read_back_exactly_however_they_came(
    spool: Spool, size: int, cuts: list[float], flushed: bool
) -> None:
    content = random.Random(size).randbytes(size)
    edges = [0, *sorted(int(cut * size) for cut in cuts), size]

    recording = spool.begin()
    for start, end in pairwise(edges):
        recording.add(content[start:end])
        if flushed:
            recording.flush()
    header = recording.commit(ORIGIN, head_length=7, now=1.5)

    found, view = SpoolReader(spool.root).read_record(header.place, from_disk=True)
    assert view == content
    assert found == header
    assert (found.length, found.head_length, found.received_s, found.origin) == (size, 7, 1.5, ORIGIN)


@pytest.mark.parametrize("rest", [-1, 0, 1])
def test_a_record_may_end_just_where_its_segment_does(spool: Spool, rest: int) -> None:
    size = SEGMENT - SEGMENT_HEADER_BYTES - RECORD_HEADER_BYTES + rest
    content = random.Random(1).randbytes(size)

    place = record(spool, content).place

    assert read(spool, place) == content
    assert spool.sealed() == {place.segment}


def test_more_pieces_than_one_call_of_the_system_takes_are_written(spool: Spool) -> None:
    pieces = [bytes([number % 251]) for number in range(5000)]

    recording = spool.begin()
    for piece in pieces:
        recording.add(piece)
    header = recording.commit(ORIGIN, head_length=0, now=0.0)

    assert read(spool, header.place) == b"".join(pieces)


def test_a_write_that_is_cut_short_goes_on(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    pwritev, pwrite = os.pwritev, os.pwrite
    monkeypatch.setattr(os, "pwritev", lambda fd, pieces, position: pwritev(fd, [b"".join(pieces)[:1001]], position))
    monkeypatch.setattr(os, "pwrite", lambda fd, rest, position: pwrite(fd, rest[:5003], position))
    content = random.Random(1).randbytes(20_000)

    recording = spool.begin()
    recording.add(content[:9000])
    recording.add(content[9000:])
    header = recording.commit(ORIGIN, head_length=0, now=0.0)

    assert read(spool, header.place) == content


def test_the_memory_of_a_piece_may_be_used_again_after_a_flush(spool: Spool) -> None:
    buffer = bytearray(b"first")
    recording = spool.begin()
    recording.add(memoryview(buffer))
    recording.flush()
    buffer[:] = b"other"

    header = recording.commit(ORIGIN, head_length=0, now=0.0)

    assert read(spool, header.place) == b"first"


def test_what_came_so_far_can_be_looked_at(spool: Spool) -> None:
    recording = spool.begin()
    recording.add(b"before ")
    assert recording.view() == b"before "
    recording.add(b"and after")

    assert recording.view() == b"before and after"
    recording.abandon()


def test_an_abandoned_recording_leaves_nothing_and_the_next_one_takes_its_place(spool: Spool) -> None:
    first = record(spool, b"first")
    abandoned = spool.begin()
    abandoned.add(bytes(100_000))
    abandoned.flush()
    abandoned.abandon()

    second = record(spool, b"second")

    assert second.place == Place(first.place.segment, first.place.generation, first.following.end)
    spool.close()
    again, headers = replayed(spool.root)
    assert [read(again, one.place) for one in headers] == [b"first", b"second"]
    again.close()


def test_a_recording_that_has_ended_writes_nothing_more(spool: Spool) -> None:
    committed, abandoned = spool.begin(), spool.begin()
    header = committed.commit(ORIGIN, head_length=0, now=0.0)
    committed.abandon()
    abandoned.abandon()
    abandoned.abandon()

    for ended in (committed, abandoned):
        ended.add(b"late")
        with pytest.raises(SpoolError, match="ended"):
            ended.commit(ORIGIN, head_length=0, now=0.0)

    assert read(spool, header.place) == b""
    assert len({id(spool.begin()._segment) for _ in range(3)}) == 3  # each segment came back once


def test_two_recordings_at_once_are_in_two_segments(spool: Spool) -> None:
    one, other = spool.begin(), spool.begin()
    for recording, content in ((one, b"one"), (other, b"other")):
        recording.add(content)
    places = [recording.commit(ORIGIN, head_length=0, now=0.0).place for recording in (other, one)]

    assert [read(spool, place) for place in places] == [b"other", b"one"]
    assert len({place.segment for place in places}) == 2


def test_nobody_else_records_in_a_segment_before_the_instance_is_entered(spool: Spool) -> None:
    """Else a later record of the segment could have its row first, and the rows pass over this one at a crash."""
    beside: list[Recording] = []

    header = record(spool, b"content", enter=lambda _header: beside.append(spool.begin()))

    assert beside[0].commit(ORIGIN, head_length=0, now=0.0).place.segment != header.place.segment
    assert record(spool, b"next").place.segment in (1, 2)


def test_associations_at_once_never_meet_in_a_segment(spool: Spool) -> None:
    together, guard = threading.Barrier(6), threading.Lock()
    taken: set[int] = set()

    def send(number: int) -> list[tuple[RecordHeader, bytes]]:
        together.wait()
        sent = []
        for turn in range(12):
            content = bytes([number, turn]) * (1000 + 997 * turn)
            recording = spool.begin()
            segment = recording._segment.number
            with guard:
                assert segment not in taken
                taken.add(segment)
            recording.add(content)
            if turn % 5 == 4:
                with guard:
                    taken.discard(segment)
                recording.abandon()
                continue

            def leave(_header: RecordHeader, segment: int = segment) -> None:
                with guard:
                    taken.discard(segment)

            sent.append((recording.commit(ORIGIN, head_length=0, now=0.0, enter=leave), content))
        return sent

    with ThreadPoolExecutor(6) as associations:
        sent = [one for many in associations.map(send, range(6)) for one in many]

    assert all(read(spool, header.place) == content for header, content in sent)
    spool.close()
    again, headers = replayed(spool.root)
    assert sorted(headers, key=lambda one: (one.place.segment, one.sequence)) == headers
    assert {one.place for one in headers} == {header.place for header, _content in sent}
    again.close()


# ------------------------------------------------------------------ reading


def test_pydicom_reads_an_instance_where_it_lies(spool: Spool) -> None:
    dataset = mr()

    view = SpoolReader(spool.root).read(record(spool, part10(dataset)).place)

    assert dcmread(as_file(view)) == dataset


@NO_DEADLINE
@given(bit=st.integers(0, 8 * (RECORD_HEADER_BYTES + 5000) - 1))
def test_one_bit_that_flips_on_disk_is_an_error_and_never_other_bytes(spool: Spool, bit: int) -> None:
    place = record(spool, random.Random(1).randbytes(5000)).place
    with segments.path_of(spool.root, place.segment).open("r+b") as file:
        file.seek(place.offset + bit // 8)
        (byte,) = file.read(1)
        file.seek(place.offset + bit // 8)
        file.write(bytes([byte ^ 1 << bit % 8]))

    with pytest.raises(SpoolError):
        read(spool, place)


@pytest.mark.parametrize("left", [0, SEGMENT_HEADER_BYTES + 100, SEGMENT_HEADER_BYTES + RECORD_HEADER_BYTES + 100])
def test_a_segment_that_was_cut_off_is_an_error(spool: Spool, left: int) -> None:
    place = record(spool, bytes(5000)).place
    os.truncate(segments.path_of(spool.root, place.segment), left)

    with pytest.raises(SpoolError):
        read(spool, place)


def test_a_place_that_is_none_is_an_error(spool: Spool) -> None:
    place = record(spool, b"content").place

    for wrong in (
        replace(place, segment=99),
        replace(place, generation=place.generation + 1),
        replace(place, offset=place.offset + ALIGNMENT),
    ):
        with pytest.raises(SpoolError):
            read(spool, wrong)


# ------------------------------------------------------------------ the pool


def test_a_segment_that_is_nearly_full_is_sealed_and_the_next_one_goes_on(spool: Spool) -> None:
    places = [record(spool, bytes(150_000)).place for _ in range(8)]

    numbers = [place.segment for place in places]
    assert numbers == sorted(numbers)
    assert set(numbers) == {1, 2}
    assert spool.sealed() == {1}


def test_a_recycled_segment_starts_afresh_and_its_old_places_are_gone(spool: Spool) -> None:
    old = fill(spool).place

    spool.recycle(old.segment)
    new = record(spool, b"new").place

    assert (new.segment, new.offset) == (old.segment, old.offset)
    assert new.generation != old.generation
    with pytest.raises(SpoolError):
        read(spool, old)
    assert segments.path_of(spool.root, 1).stat().st_size == SEGMENT  # without what had outgrown it


@pytest.mark.parametrize("zero_recycled", [False, True])
def test_a_recycled_segment_is_overwritten_if_that_is_configured(tmp_path: Path, zero_recycled: bool) -> None:
    spool = Spool(tmp_path / "spool", segment_bytes=SEGMENT, spare=0, zero_recycled=zero_recycled)
    place = record(spool, b"SECRET^PATIENT" * 70_000).place

    spool.recycle(place.segment)

    held = segments.path_of(spool.root, place.segment).read_bytes()
    assert (b"SECRET^PATIENT" in held) is not zero_recycled
    assert not zero_recycled or not any(held[SEGMENT_HEADER_BYTES:])
    spool.close()


def test_a_segment_in_use_is_neither_sealed_nor_recycled(spool: Spool) -> None:
    parked = record(spool, b"content").place.segment
    with pytest.raises(SpoolError, match="in use"):
        spool.recycle(parked)
    recording = spool.begin()
    with pytest.raises(SpoolError, match="in use"):
        spool.recycle(parked)

    assert spool.sealed() == set()
    recording.abandon()


def test_no_segment_looks_sealed_while_it_changes_hands(spool: Spool) -> None:
    """What looks sealed and has no rows yet would start afresh under an instance."""
    done = threading.Event()

    def send() -> None:
        while not done.is_set():
            record(spool, b"small", enter=lambda _header: spool.begin().abandon())

    with ThreadPoolExecutor(2) as associations:
        futures = [associations.submit(send) for _ in range(2)]
        looked = [spool.sealed() for _ in range(400)]
        done.set()
    for future in futures:
        future.result()

    assert set().union(*looked) <= spool.sealed()


def test_spare_segments_are_made_ahead_and_are_zeros(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", segment_bytes=SEGMENT, spare=2)
    spool.start()
    until_spare(spool, 2)

    recording = spool.begin()
    until_spare(spool, 2)

    files = sorted(spool.root.glob("*.segment"))
    assert len(files) == 3
    assert all(file.stat().st_size == SEGMENT and file.stat().st_mode & 0o777 == 0o600 for file in files)
    assert not any(files[1].read_bytes()[SEGMENT_HEADER_BYTES:])
    recording.abandon()
    spool.close()


def until_spare(spool: Spool, number: int) -> None:
    waited = threading.Event()
    for _ in range(1000):
        if len(spool._free) >= number:
            return
        waited.wait(0.01)
    raise AssertionError("waited in vain")


# ------------------------------------------------------------------ the floor


def space(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    """Let the disk have that much room."""
    state = os.statvfs("/")
    values = [*state]
    values[4] = free // state.f_frsize  # f_bavail
    monkeypatch.setattr(os, "statvfs", lambda _path: os.statvfs_result(values))


def test_below_the_floor_the_room_that_there_is_is_used_but_none_is_added(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path / "spool", segment_bytes=SEGMENT, spare=0, floor_bytes=10 * SEGMENT)
    record(spool, b"makes the segment")
    space(monkeypatch, 10 * SEGMENT)

    small = record(spool, b"there is room for it")
    held = spool.begin()
    with pytest.raises(SpoolFullError):  # no second segment
        spool.begin()
    held.abandon()
    with pytest.raises(SpoolFullError):  # and none that grows
        record(spool, bytes(2 * SEGMENT))
    assert record(spool, b"goes on").place.offset == small.following.end

    space(monkeypatch, 12 * SEGMENT)
    record(spool, bytes(SEGMENT))
    assert read(spool, small.place) == b"there is room for it"
    assert not list(spool.root.glob("*.part"))
    spool.close()


# ------------------------------------------------------------------ replay


def test_what_was_committed_comes_back_once_and_in_order(spool: Spool) -> None:
    committed = [
        record(spool, bytes([number]) * 50_000 * (number % 3), replace(ORIGIN, sop_instance=f"2.25.{number}"))
        for number in range(60)
    ]
    spool.close()

    again, headers = replayed(spool.root, begun(committed))

    assert headers == committed
    assert again.sealed() == spool.sealed()
    assert read(again, record(again, b"goes on").place) == b"goes on"
    again.close()


def test_from_a_known_end_on_only_what_lies_behind_comes_back(spool: Spool) -> None:
    committed = [record(spool, b"content") for _ in range(5)]
    spool.close()
    again = Spool(spool.root, segment_bytes=SEGMENT, spare=0)

    known = {1: committed[2].following}

    assert list(again.replay(known)) == committed[3:]
    assert record(again, b"goes on").place.offset == committed[-1].following.end
    again.close()


def test_an_end_of_an_earlier_life_of_the_segment_counts_nothing(spool: Spool) -> None:
    old = fill(spool)
    spool.recycle(old.place.segment)
    new = record(spool, b"new")
    spool.close()
    again = Spool(spool.root, segment_bytes=SEGMENT, spare=0)

    assert list(again.replay({1: old.following})) == [new]
    again.close()


def test_records_of_an_earlier_life_are_not_taken(spool: Spool) -> None:
    for _ in range(15):
        record(spool, bytes(ALIGNMENT - RECORD_HEADER_BYTES))  # records of one page, as the new ones are
    fill(spool)
    spool.recycle(1)
    new = [record(spool, b"new") for _ in range(3)]
    spool.close()

    again, headers = replayed(spool.root)

    assert headers == new
    again.close()


def test_a_record_that_a_peer_forges_in_a_data_set_is_not_taken(spool: Spool) -> None:
    """Where the segment will go on lies a whole record, as a peer could write it who knows all but the generation."""
    true = record(spool, b"true")
    forged = RecordHeader(Place(true.place.segment, 0, true.following.end), true.sequence + 1, 0, 0, 0, 0.0, ORIGIN)
    with segments.path_of(spool.root, true.place.segment).open("r+b") as file:
        file.seek(true.following.end)
        file.write(forged.pack())
    spool.close()

    again, headers = replayed(spool.root)

    assert RecordHeader.unpack(forged.pack(), true.following.end) == forged
    assert headers == [true]
    again.close()


def test_a_torn_tail_is_dropped_and_overwritten(spool: Spool) -> None:
    whole, torn = record(spool, b"whole"), record(spool, bytes(range(256)) * 100)
    with segments.path_of(spool.root, 1).open("r+b") as file:
        file.seek(torn.place.offset + RECORD_HEADER_BYTES + 20_000)
        file.write(bytes(512))  # a sector that did not arrive
    spool.close()

    again, headers = replayed(spool.root, begun([whole]))

    assert headers == [whole]
    assert record(again, b"next").place == torn.place
    again.close()


@pytest.mark.parametrize("damaged", [[1], [1, 2], [0]])
def test_a_damaged_record_costs_itself_and_not_those_behind_it(spool: Spool, damaged: list[int]) -> None:
    records = [record(spool, bytes([k]) * 5000) for k in range(4)]
    with segments.path_of(spool.root, 1).open("r+b") as file:
        for k in damaged:
            file.seek(records[k].place.offset + RECORD_HEADER_BYTES + 100)
            file.write(b"rot")
    spool.close()

    again, headers = replayed(spool.root, begun(records))
    later = record(again, b"later")

    assert headers == [one for k, one in enumerate(records) if k not in damaged]
    assert later.place.offset == records[-1].following.end
    again.close()


def test_a_segment_of_which_the_ledger_knows_nothing_is_read_and_not_written_again(spool: Spool) -> None:
    first, second = record(spool, b"first"), record(spool, b"second")
    with segments.path_of(spool.root, 1).open("r+b") as file:
        file.seek(second.place.offset)
        file.write(bytes(RECORD_HEADER_BYTES))  # its header rots: the walk ends before it
    spool.close()

    again, headers = replayed(spool.root)

    assert headers == [first]
    assert record(again, b"next").place.segment == 2
    again.close()


def test_an_instance_that_was_broken_off_holds_no_blocks_behind_its_segment(spool: Spool) -> None:
    kept = record(spool, b"kept")
    recording = spool.begin()
    for _ in range(4):
        recording.add(bytes(SEGMENT))
        recording.flush()
    recording.abandon()

    assert segments.path_of(spool.root, kept.place.segment).stat().st_size == SEGMENT
    assert read(spool, kept.place) == b"kept"


def test_what_is_no_segment_of_ours_is_left_alone(spool: Spool) -> None:
    kept = record(spool, b"kept")
    (spool.root / "foo.segment").write_bytes(b"somebody else's")
    (spool.root / "00000007.segment").mkdir()
    spool.close()

    again, headers = replayed(spool.root, begun([kept]))

    assert headers == [kept]
    assert record(again, b"next").place.segment == kept.place.segment
    again.close()


def test_unfinished_segments_are_removed_and_one_without_a_header_is_left_alone(spool: Spool) -> None:
    kept = record(spool, b"content")
    (spool.root / "00000002.part").write_bytes(b"half")
    (spool.root / "00000003.segment").write_bytes(bytes(SEGMENT))
    spool.close()

    again, headers = replayed(spool.root, begun([kept]))

    assert headers == [kept]
    assert sorted(file.name for file in spool.root.iterdir()) == ["00000001.segment", "00000003.segment", "lock"]
    assert again.sealed() == set()
    with pytest.raises(SpoolError):
        again.recycle(3)
    full = [again.begin() for _ in range(2)]
    assert [one._segment.number for one in full] == [1, 4]  # never a number again
    for one in full:
        one.abandon()
    again.close()


def test_a_second_process_on_the_same_folder_is_refused(spool: Spool) -> None:
    with pytest.raises(LedgerError, match="another process"):
        Spool(spool.root)

    spool.close()
    Spool(spool.root).close()
