import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from node.errors import SpoolError, SpoolFullError
from node.spool import Spool


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(content=st.binary(max_size=4096))
def test_what_is_stored_is_read_back_byte_for_byte(spool: Spool, content: bytes) -> None:
    stored = spool.store(content)

    assert spool.path_of(stored.path).read_bytes() == content
    assert (stored.sha256, stored.size) == (hashlib.sha256(content).hexdigest(), len(content))


def test_the_same_content_is_one_file(spool: Spool) -> None:
    first, second = spool.store(b"content"), spool.store(b"content")

    assert first == second
    assert len([one for one in spool.root.rglob("*") if one.is_file()]) == 1


def test_a_name_on_disk_is_a_digest_and_nothing_else(spool: Spool) -> None:
    stored = spool.store(b"../../etc/passwd")

    assert Path(stored.path).name == f"{stored.sha256}.dcm"


def test_file_and_folder_are_synced_before_store_returns(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    fsync = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda fd: (synced.append(str(Path(f"/proc/self/fd/{fd}").readlink())), fsync(fd))[1]
    )

    stored = spool.store(b"content")

    folder = str((spool.root / stored.path).parent)
    assert [Path(one).suffix for one in synced] == [".part", "", ""]  # bytes, their name, the folder's own name
    assert synced[1:] == [folder, str(spool.root)]


def test_nothing_is_taken_when_the_free_space_would_fall_below_the_floor(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", floor_bytes=1 << 62)

    with pytest.raises(SpoolFullError):
        spool.store(b"content")

    assert not [one for one in spool.root.rglob("*") if one.is_file()]


def test_what_a_crash_left_unfinished_is_swept_and_what_is_whole_stays(spool: Spool) -> None:
    stored = spool.store(b"whole")
    half = spool.path_of(stored.path).with_name("torn.part")
    half.write_bytes(b"ha")

    assert spool.sweep() == 1
    assert not half.exists()
    assert spool.path_of(stored.path).read_bytes() == b"whole"


def test_a_missing_file_is_an_error_that_does_not_show_its_path(spool: Spool) -> None:
    with pytest.raises(SpoolError, match="missing"):
        spool.path_of("ab/none.dcm")
