import logging
import subprocess
import sys
from pathlib import Path

import pytest

from node import eventlog
from node.eventlog import Event
from tests.conftest import ROOT


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


def test_processes_that_start_at_the_same_moment_on_a_new_folder_have_one_key(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from node import eventlog\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "for number in range(20):\n"
        "    folder = Path(sys.argv[1], str(number)); folder.mkdir(exist_ok=True)\n"
        "    eventlog.use_alias_key(folder / 'alias.key'); print(eventlog.alias('2.25.1'))\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, cwd=ROOT, **pipes) for _ in range(3)]
    for one in processes:
        one.stdout.readline()

    for one in processes:
        one.stdin.write("\n")
        one.stdin.flush()
    seen = [one.communicate(timeout=30)[0].split() for one in processes]

    assert seen[0] == seen[1] == seen[2]
    assert len(set(seen[0])) == 20
