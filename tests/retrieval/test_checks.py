"""What `check` says of archives."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from node.checks import Check, Verdict, run_checks
from node.settings import Settings
from tests.conftest import ROOT


def looked_at(tmp_path: Path, **changed: Any) -> dict[str, Check]:
    archive = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 1, "pull": ["missing"]}
    values: dict[str, Any] = {
        "node": {"data_dir": tmp_path},
        "association": {"bind": "127.0.0.1", "port": 0},
        "peer": [{"ae_title": "PACS", "addresses": ["127.0.0.1"]}],
        "archive": [archive | changed.pop("archive", {})],
    }
    return {one.name: one for one in run_checks(Settings.checked(values | changed))}


def test_an_archive_that_is_down_is_shown_and_is_no_fault(tmp_path: Path) -> None:
    one = looked_at(tmp_path)["C-ECHO archive pacs"]

    assert one.verdict is Verdict.WARNING
    assert "no association with 127.0.0.1:1: connection refused" in one.found


def test_an_archive_that_our_receiver_admits_may_be_pulled_from(tmp_path: Path) -> None:
    assert looked_at(tmp_path)["pull from pacs"].verdict is Verdict.OK


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"peer": [{"ae_title": "MR1", "addresses": ["127.0.0.1"]}]}, "no [[peer]] has the title PACS"),
        ({"peer": [{"ae_title": "PACS", "addresses": ["10.0.0.0/8"]}]}, "has the address of pacs"),
        ({"archive": {"how": "get"}}, "no [[peer]] has the title PARASPINAL"),
    ],
)
def test_what_our_own_receiver_would_reject_is_a_fault(tmp_path: Path, changed: dict[str, Any], complaint: str) -> None:
    one = looked_at(tmp_path, **changed)["pull from pacs"]

    assert one.verdict is Verdict.FAULT
    assert complaint in one.found


def test_an_archive_that_is_only_asked_needs_no_peer(tmp_path: Path) -> None:
    assert "pull from pacs" not in looked_at(tmp_path, archive={"pull": []}, peer=[])


def test_the_archive_of_the_example_for_a_site_is_valid() -> None:
    example = (ROOT / "config" / "site.example.toml").read_text()
    _before, _mark, block = example.partition("# [[archive]]\n")
    lines = block.partition("\n\n")[0].splitlines()

    (archive,) = Settings.checked({"archive": [tomllib.loads("\n".join(line.lstrip("# ") for line in lines))]}).archive

    assert archive.pull == ("missing", "localizers", "priors", "results")
