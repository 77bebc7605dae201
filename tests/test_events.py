import logging
from pathlib import Path

import pytest

from node import eventlog
from node.eventlog import Event


def test_every_event_has_a_code_of_its_own() -> None:
    codes = [event.value.split()[0] for event in Event]

    assert len(set(codes)) == len(codes)
    assert all(len(code) == 4 and code[0].isupper() and code[1:].isdigit() for code in codes)


def test_an_alias_is_stable_for_a_node_and_says_nothing_to_another(tmp_path: Path) -> None:
    eventlog.use_alias_key(tmp_path / "a.key")
    here = eventlog.alias("2.25.1")
    eventlog.use_alias_key(tmp_path / "b.key")
    elsewhere = eventlog.alias("2.25.1")
    eventlog.use_alias_key(tmp_path / "a.key")

    assert eventlog.alias("2.25.1") == here != elsewhere
    assert "2.25" not in here


def test_libraries_that_would_quote_data_sets_are_silent(caplog: pytest.LogCaptureFixture) -> None:
    eventlog.silence_libraries()

    logging.getLogger("pynetdicom.events").error("SECRET^PATIENT")
    logging.getLogger("pydicom").warning("SECRET^PATIENT")

    assert "SECRET" not in caplog.text
