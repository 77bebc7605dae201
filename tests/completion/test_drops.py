"""The drop folder: what is taken, what is moved aside, and that nothing is lost."""

import json
import os
from pathlib import Path

import pytest

from node.completion.drops import ASIDE, DropFolder
from node.errors import StatementError
from node.ledger import Database
from node.ledger.suspicions import Suspicions

LEFT = {"accession_number": "SECRET1", "level": "L4", "side": "left"}
NOW = 1_800_000_000.0


@pytest.fixture
def suspicions(database: Database) -> Suspicions:
    return Suspicions(database)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "drops"
    folder.mkdir()
    return folder


def drop(folder: Path, name: str, content: bytes, *, age_s: float = 60.0) -> Path:
    path = folder / name
    path.write_bytes(content)
    os.utime(path, (NOW - age_s, NOW - age_s))
    return path


def test_a_good_file_is_entered_and_removed(folder: Path, suspicions: Suspicions, caplog) -> None:
    drop(folder, "SECRET.json", json.dumps([LEFT, LEFT | {"accession_number": "SECRET2"}]).encode())
    drop(folder, "other.CSV", b"accession_number,level,side\nSECRET3,L5,re\n")

    DropFolder(folder, suspicions).run_once(now=NOW)

    assert suspicions.waiting() == 3
    assert list(folder.iterdir()) == []
    assert "SECRET" not in caplog.text


def test_a_bad_file_is_moved_aside_with_its_reason_and_holds_up_no_other(
    folder: Path, suspicions: Suspicions, caplog
) -> None:
    content = json.dumps([LEFT, LEFT | {"side": "SECRET"}]).encode()
    drop(folder, "a-SECRET.json", content)
    drop(folder, "b.json", json.dumps(LEFT).encode())

    DropFolder(folder, suspicions).run_once(now=NOW)

    assert suspicions.waiting() == 1
    assert (folder / ASIDE / "a-SECRET.json").read_bytes() == content
    assert (folder / ASIDE / "a-SECRET.json.reason.txt").read_text().startswith("statement 2: a side is")
    assert "SECRET" not in caplog.text


def test_a_second_bad_file_of_one_name_does_not_replace_the_first(folder: Path, suspicions: Suspicions) -> None:
    for content in (b"first", b"second"):
        drop(folder, "bad.json", content)
        DropFolder(folder, suspicions).run_once(now=NOW)

    kept = [path.read_bytes() for path in (folder / ASIDE).glob("*.json")]

    assert sorted(kept) == [b"first", b"second"]


def test_a_file_that_may_still_grow_is_left_alone(folder: Path, suspicions: Suspicions) -> None:
    growing = drop(folder, "new.json", b"{", age_s=1.0)
    hidden = drop(folder, ".hidden.json", b"{")
    partial = drop(folder, "new.json.part", b"{")

    DropFolder(folder, suspicions).run_once(now=NOW)

    assert growing.exists()
    assert hidden.exists()
    assert partial.exists()
    assert not (folder / ASIDE).exists()


def test_a_link_and_a_file_that_is_too_large_are_not_read(folder: Path, suspicions: Suspicions, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(json.dumps(LEFT).encode())
    (folder / "link.json").symlink_to(tmp_path / "elsewhere")
    os.utime(folder / "link.json", (NOW - 60, NOW - 60), follow_symlinks=False)
    drop(folder, "large.json", b" " * 1_000_001)

    DropFolder(folder, suspicions).run_once(now=NOW)

    assert suspicions.waiting() == 0
    assert (folder / ASIDE / "link.json").is_symlink()
    assert (folder / ASIDE / "large.json").exists()
    assert (tmp_path / "elsewhere").exists()


def test_a_folder_that_is_away_is_named(tmp_path: Path, suspicions: Suspicions) -> None:
    with pytest.raises(StatementError, match=f"folder {tmp_path / 'away'} cannot be listed"):
        DropFolder(tmp_path / "away", suspicions).run_once(now=NOW)
