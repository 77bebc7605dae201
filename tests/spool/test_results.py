import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from node.errors import SpoolError
from node.spool import Results
from tests.spool.disk import no_descriptors


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20, deadline=None)
@given(content=st.binary(max_size=4096))
def test_what_is_stored_is_read_back_byte_for_byte(results: Results, content: bytes) -> None:
    assert results.path_of(results.store(content)).read_bytes() == content


def test_the_same_content_is_one_file(results: Results) -> None:
    assert results.store(b"content") == results.store(b"content")
    assert len(list(results.root.iterdir())) == 1


def test_a_name_on_disk_is_a_digest_and_nothing_else(results: Results) -> None:
    content = b"../../etc/passwd"

    assert results.store(content) == f"{hashlib.sha256(content).hexdigest()}.dcm"


def test_file_and_folder_are_synced_before_store_returns(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(Path(f"/proc/self/fd/{fd}").readlink()), fsync(fd))[1])

    results.store(b"content")
    assert [one.suffix for one in synced] == [".part", ""]
    assert synced[1] == results.root

    results.store(b"content")  # the first writer may not have come to the folder yet
    assert synced[2:] == [results.root]


def test_what_a_crash_left_unfinished_is_swept_and_what_is_whole_stays(results: Results) -> None:
    path = results.store(b"whole")
    half = results.path_of(path).with_name("torn.part")
    half.write_bytes(b"ha")

    assert results.sweep() == 1
    assert not half.exists()
    assert results.path_of(path).read_bytes() == b"whole"


def test_a_missing_file_is_an_error_that_does_not_show_its_path(results: Results) -> None:
    with pytest.raises(SpoolError, match="missing") as caught:
        results.path_of("none.dcm")

    assert "none" not in str(caught.value)


def test_a_disk_that_cannot_be_read_at_the_moment_is_no_damage(results: Results) -> None:
    path = results.store(b"content")

    with no_descriptors(), pytest.raises(OSError, match="Too many open files"):
        results.read(path)

    assert results.read(path) == b"content"
