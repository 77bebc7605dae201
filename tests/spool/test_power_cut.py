"""What is on disk after a power cut, whatever the disk did with what was not synced."""

import os
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from node.records import SegmentEnd
from node.spool import RecordHeader, Recording, Spool, SpoolReader
from node.spool import segment as segments
from node.spool.record import RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES, SegmentHeader
from tests.builders import ORIGIN, record
from tests.spool.disk import Disk

SEGMENT = 64 << 10
LARGEST = 24 << 10  # bytes of an instance; some outgrow their segment


@dataclass
class Sender:
    """One recording under way."""

    recording: Recording
    uid: str
    content: bytes
    sent: int = 0


@dataclass
class History:
    """What was promised and tried, each with the number of calls of the disk that were made before."""

    disk: Disk
    contents: dict[str, bytes] = field(default_factory=dict)  # of every recording, by SOP Instance UID
    promised: list[tuple[int, RecordHeader]] = field(default_factory=list)
    recycled: list[tuple[int, int, int, int]] = field(default_factory=list)  # segment, generation, begun, done

    def held(self, at: int) -> dict[str, RecordHeader]:
        """Return what must be there after a cut."""
        begun = {(number, generation) for number, generation, begun, _done in self.recycled if begun < at}
        return {
            header.origin.sop_instance: header
            for returned, header in self.promised
            if returned <= at and (header.place.segment, header.place.generation) not in begun
        }

    def gone(self, at: int) -> set[tuple[int, int]]:
        """Return segments and generations that can no longer be."""
        return {(number, generation) for number, generation, _begun, done in self.recycled if done <= at}


def live(root: Path, disk: Disk, chance: random.Random, turns: int) -> History:
    """Let up to three senders at a time record, abandon and commit, and old segments be recycled."""
    segments.make(root, 1, SEGMENT, before_each=lambda: None).close()
    spool = Spool(root, segment_bytes=SEGMENT, spare=0, zero_recycled=chance.random() < 0.3)
    assert list(spool.replay({})) == []
    history, senders = History(disk), list[Sender]()
    for turn in range(turns):
        sender = chance.choice(senders) if senders and (len(senders) == 3 or chance.random() < 0.8) else None
        if sender is None:
            size = chance.choice((0, chance.randrange(1, LARGEST), chance.randrange(1, LARGEST), 2 * SEGMENT))
            if size > SEGMENT and chance.random() < 0.8:
                size = 2048
            sender = Sender(spool.begin(), f"2.25.{turn}", chance.randbytes(size))
            history.contents[sender.uid] = sender.content
            senders.append(sender)
        elif sender.sent < len(sender.content) and chance.random() < 0.7:
            piece = sender.content[sender.sent : sender.sent + chance.randrange(1, LARGEST)]
            sender.sent += len(piece)
            sender.recording.add(piece)
            if chance.random() < 0.7:
                sender.recording.flush()
        elif chance.random() < 0.2:
            sender.recording.abandon()
            senders.remove(sender)
        else:
            sender.recording.add(sender.content[sender.sent :])
            origin = replace(ORIGIN, sop_instance=sender.uid)
            header = sender.recording.commit(origin, head_length=0, now=float(turn))
            history.promised.append((len(disk.calls), header))
            senders.remove(sender)
        sealed = sorted(spool.sealed())
        if len(sealed) > 2:
            number = chance.choice(sealed)
            generation = next(h.place.generation for _, h in reversed(history.promised) if h.place.segment == number)
            begun = len(disk.calls)
            spool.recycle(number)
            history.recycled.append((number, generation, begun, len(disk.calls)))
    for sender in senders:
        sender.recording.abandon()
    spool.close()
    return history


def noted(held: dict[str, RecordHeader], chance: random.Random) -> dict[int, SegmentEnd]:
    """Return how far the ledger may have followed: behind any record of each segment, or not at all."""
    ends: dict[int, SegmentEnd] = {}
    for header in held.values():
        if chance.random() < 0.3:
            ends[header.place.segment] = header.following
    return ends


@pytest.mark.parametrize("seed", range(24))
def test_after_a_power_cut_every_instance_whose_commit_returned_is_there_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    root = tmp_path / "spool"
    root.mkdir()
    chance = random.Random(seed)
    disk = Disk(root, monkeypatch, syncing=False)
    history = live(root, disk, chance, turns=150)
    disk.is_on = False
    monkeypatch.setattr(os, "fdatasync", lambda _descriptor: None)  # of the replays: quick
    assert len(history.promised) > 20

    for cut in range(16):
        at, image = chance.randrange(1, len(disk.calls)), tmp_path / f"cut{cut}"
        disk.after_power_cut(image, at=at, sector=chance.choice((512, 4096)), chance=chance)
        assert all(headers_of(image)), f"a segment without a header, seed {seed}, cut {cut}"
        held = history.held(at)
        known = noted(held, chance)

        found, after = replayed(image, known)

        behind = {uid for uid, one in held.items() if not _is_before(one, known.get(one.place.segment))}
        assert behind <= set(found), f"lost, seed {seed}, cut {cut}"
        for header, content in found.values():
            assert content == history.contents[header.origin.sop_instance], f"torn, seed {seed}, cut {cut}"
            assert (header.place.segment, header.place.generation) not in history.gone(at)
            assert not _is_before(header, known.get(header.place.segment))
        for uid, one in held.items():  # also what the ledger knew
            assert SpoolReader(image).read(one.place) == history.contents[uid]
        again = record(after, b"goes on")
        assert SpoolReader(image).read(again.place) == b"goes on"
        after.close()
        shutil.rmtree(image)


def headers_of(image: Path) -> list[SegmentHeader | None]:
    return [SegmentHeader.unpack(one.read_bytes()[:SEGMENT_HEADER_BYTES]) for one in image.glob("*.segment")]


def replayed(image: Path, known: dict[int, SegmentEnd]) -> tuple[dict[str, tuple[RecordHeader, bytes]], Spool]:
    spool = Spool(image, segment_bytes=SEGMENT, spare=0)
    headers = list(spool.replay(known))
    found = {one.origin.sop_instance: (one, bytes(SpoolReader(image).read(one.place))) for one in headers}
    assert len(found) == len(headers)
    return found, spool


def _is_before(header: RecordHeader, end: SegmentEnd | None) -> bool:
    return end is not None and header.place.generation == end.generation and header.sequence < end.sequence


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Spool, Disk]]:
    spool = Spool(tmp_path / "spool", segment_bytes=1 << 20, spare=0)
    record(spool, b"the first makes the segment")
    yield spool, Disk(spool.root, monkeypatch)
    spool.close()


@pytest.mark.parametrize("size", [0, 1, 2048, 200_000, 1 << 20, 3 << 20])
def test_commit_returns_after_data_and_header_were_written_and_then_synced_once(
    watched: tuple[Spool, Disk], size: int
) -> None:
    spool, disk = watched

    header = record(spool, bytes(size))

    *writes, sync = disk.names()
    assert sync == "fdatasync"
    assert set(writes) == {"pwritev"}
    *_data, last = [call for call in disk.calls if call.name == "pwritev"]
    assert last.position == header.place.offset
    assert last.content[:RECORD_HEADER_BYTES] == header.pack()


def test_a_new_segment_is_durable_with_its_name_before_anything_is_recorded_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path / "spool", segment_bytes=1 << 20, spare=0)
    disk = Disk(spool.root, monkeypatch)

    spool.begin().abandon()
    spool.close()

    assert disk.names() == ["posix_fallocate", "pwritev", "fsync", "rename", "fsync"]
    file, folder = (call.file for call in disk.calls if call.name == "fsync")
    assert (file, folder) == (segments.path_of(spool.root, 1).stat().st_ino, spool.root.stat().st_ino)


def test_what_a_killed_process_had_not_synced_is_synced_when_it_is_taken_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may come again, and is held already then: 0x0000 without another sync."""
    root = tmp_path / "spool"
    spool = Spool(root, segment_bytes=1 << 20, spare=0)
    record(spool, b"content")
    spool.close()
    disk = Disk(root, monkeypatch)
    spool = Spool(root, segment_bytes=1 << 20, spare=0)

    next(spool.replay({}))

    assert disk.names() == ["fdatasync"]
    spool.close()
