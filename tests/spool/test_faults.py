"""A disk that refuses: never an instance that is not held, and the next one finds its place."""

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from node.errors import SpoolError, SpoolFullError
from node.spool import RecordHeader, Spool, SpoolReader
from tests.builders import ORIGIN, record
from tests.spool.disk import Disk

SEGMENT = 1 << 20
CONTENT = bytes(range(256)) * 1000
ERRORS = [errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE]


def fail(at: int, code: int) -> Callable[[str, int], OSError | None]:
    """Return what makes call number `at` fail, and that alone."""
    counted = 0

    def fault(_name: str, _file: int) -> OSError | None:
        nonlocal counted
        counted += 1
        return OSError(code, "told to fail") if counted == at else None

    return fault


def store(spool: Spool, content: bytes = CONTENT) -> RecordHeader:
    """Record as an association does: in pieces, and abandoned when something is raised."""
    recording = spool.begin()
    try:
        for start in range(0, len(content), 100_000):
            recording.add(content[start : start + 100_000])
            recording.flush()
        return recording.commit(ORIGIN, head_length=0, now=0.0)
    finally:
        recording.abandon()


def calls_of_one(root: Path, monkeypatch: pytest.MonkeyPatch, *, warm: bool) -> list[str]:
    """Return the calls that recording an instance makes, into a new segment or one that was begun."""
    spool = Spool(root, segment_bytes=SEGMENT, spare=0)
    if warm:
        record(spool, b"first")
    with monkeypatch.context() as patch:
        disk = Disk(root, patch)
        store(spool)
    spool.close()
    return [call.name for call in disk.calls]


@pytest.mark.parametrize("code", ERRORS)
@pytest.mark.parametrize("warm", [False, True])
def test_whichever_call_fails_nothing_is_committed_and_the_next_recording_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, warm: bool
) -> None:
    calls = calls_of_one(tmp_path / "counted", monkeypatch, warm=warm)
    assert len(calls) == (5 if warm else 12)

    for at in range(1, len(calls) + 1):
        root = tmp_path / f"{at}"
        spool = Spool(root, segment_bytes=SEGMENT, spare=0)
        kept = [record(spool, b"first")] if warm else []
        with monkeypatch.context() as patch:
            disk = Disk(root, patch, fault=fail(at, code))

            with pytest.raises(SpoolError) as caught:
                store(spool)

            assert isinstance(caught.value, SpoolFullError) is (code in (errno.ENOSPC, errno.EDQUOT))
            assert "told" not in str(caught.value) or code not in (errno.ENOSPC, errno.EDQUOT)
            failed = len(disk.calls)
            kept.append(store(spool))
            assert "fdatasync" in disk.names(failed)
        spool.close()

        again = Spool(root, segment_bytes=SEGMENT, spare=0)
        assert sorted(again.replay({}), key=lambda one: one.place.segment) == kept, f"{calls[at - 1]} failed"
        assert SpoolReader(root).read(kept[-1].place) == CONTENT
        assert not list(root.glob("*.part"))
        again.close()


@pytest.mark.parametrize("name", ["pwritev", "fdatasync"])
def test_a_segment_whose_pages_were_refused_is_set_aside_and_never_synced_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """After a failed sync the pages count as clean, and the next one would say that all is well."""
    spool = Spool(tmp_path / "spool", segment_bytes=SEGMENT, spare=0)
    kept = record(spool, b"before")
    refused: list[int] = []

    def refuse(call: str, file: int) -> OSError | None:
        if call == name and not refused:
            refused.append(file)
            return OSError(errno.EIO, "told to fail")
        return None

    disk = Disk(spool.root, monkeypatch, fault=refuse)
    with pytest.raises(SpoolError):
        store(spool)
    failed = len(disk.calls)
    after = [store(spool) for _ in range(3)]

    assert refused[0] not in {call.file for call in disk.calls[failed:] if call.name in ("fdatasync", "fsync")}
    assert kept.place.segment not in {one.place.segment for one in after}
    assert SpoolReader(spool.root).read(kept.place) == b"before"  # what it held stays readable
    assert spool.sealed() == set()
    with pytest.raises(SpoolError):
        spool.recycle(kept.place.segment)
    spool.close()


def test_a_disk_that_refuses_all_says_so_each_time_and_recovers_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path / "spool", segment_bytes=SEGMENT, spare=0)
    broken = True
    Disk(spool.root, monkeypatch, fault=lambda _n, _f: OSError(errno.ENOSPC, "full") if broken else None)

    for _ in range(3):
        with pytest.raises(SpoolFullError):
            store(spool)
    broken = False
    header = store(spool)

    assert SpoolReader(spool.root).read(header.place) == CONTENT
    assert sorted(file.name for file in spool.root.iterdir() if file.name != "lock") == [
        f"{header.place.segment:08d}.segment"
    ]
    spool.close()


def test_a_segment_that_cannot_start_afresh_stays_sealed_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path / "spool", segment_bytes=SEGMENT, spare=0)
    record(spool, bytes(SEGMENT))
    with monkeypatch.context() as patch:
        disk = Disk(spool.root, patch)
        spool.recycle(1)
    record(spool, bytes(SEGMENT))
    calls = len(disk.calls)
    assert calls == 4  # open, ftruncate, header, fsync

    for at in range(1, calls + 1):
        with monkeypatch.context() as patch:
            Disk(spool.root, patch, fault=fail(at, errno.EIO))
            with pytest.raises(SpoolError):
                spool.recycle(1)
        assert spool.sealed() == {1}
    spool.recycle(1)

    assert record(spool, b"new").place.segment == 1
    spool.close()
