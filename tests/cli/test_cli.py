"""The command line by its exit codes (0 done, 1 refused or failed, 2 a fault of usage or settings) and its words."""

import json
import re
from pathlib import Path

import pytest

from node.cli import main
from node.ledger import Ledger, open_database
from node.simulator.archive import Archive
from tests.builders import SECRET, mr, part10, series_of


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    """Return a function that runs the command line and returns exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["paraspinal-node", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return call


def configured(tmp_path: Path, archive_port: int) -> str:
    file = tmp_path / "site.toml"
    file.write_text(
        f'[node]\ndata_dir = "{tmp_path / "data"}"\n[association]\nport = 0\n'
        f'[[destination]]\nname = "pacs"\nae_title = "ARCHIVE"\nport = {archive_port}\n'
    )
    return str(file)


def test_every_verb_is_there(run) -> None:
    code, out, _err = run("--help")

    assert code == 0
    for verb in ["check", "serve", "receive", "work", "status", "jobs", "measure", "echo", "send", "simulate", "demo"]:
        assert re.search(rf"\b{verb}\b", out)


def test_the_version_is_told(run) -> None:
    assert run("--version")[:2] == (0, "paraspinal-node 0.1.0\n")


def test_a_fault_in_the_settings_is_exit_2_with_its_place(run, tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("[association]\nport = 70000\n")

    code, _out, err = run("--config", "bad.toml", "check")

    assert code == 2
    assert "[association] port" in err


def test_check_passes_on_the_defaults_and_makes_the_data_folder(run, tmp_path: Path) -> None:
    with Archive(tmp_path / "archive") as archive:
        code, out, _err = run("--config", configured(tmp_path, archive.port), "check")

    assert code == 0
    assert "C-ECHO pacs" in out
    assert "0x0000" in out
    assert (tmp_path / "data").stat().st_mode & 0o077 == 0


def test_check_names_a_plug_in_that_is_missing(run, tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text('[association]\nport = 0\n[analysis]\nsegmenter = "none"\n')

    code, out, _err = run("--config", "site.toml", "check")

    assert code == 2
    assert "no plug-in 'none' among segmenters" in out


def test_echo_and_send_reach_a_destination_by_its_name(run, tmp_path: Path) -> None:
    (tmp_path / "one.dcm").write_bytes(part10(mr()))
    with Archive(tmp_path / "archive") as archive:
        config = configured(tmp_path, archive.port)
        echoed = run("--config", config, "echo", "pacs")
        sent = run("--config", config, "send", "one.dcm", "pacs")
        held = list(archive.digests)

    assert (echoed[0], sent[0]) == (0, 0)
    assert held == ["2.25.1"]


def test_a_destination_that_is_down_is_exit_1(run, tmp_path: Path) -> None:
    code, _out, err = run("--config", configured(tmp_path, 1), "echo", "pacs")

    assert (code, err) == (1, "failed: no association\n")


def test_an_unknown_destination_is_a_fault_of_usage(run, tmp_path: Path) -> None:
    code, _out, err = run("--config", configured(tmp_path, 1), "echo", "other")

    assert code == 2
    assert "there are: pacs" in err


def test_status_where_no_node_has_worked_is_exit_2(run, tmp_path: Path) -> None:
    code, _out, err = run("status", "--data", str(tmp_path / "nowhere"))

    assert code == 2
    assert "no node has worked" in err


def test_status_as_json_tells_that_nothing_runs(run, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    Ledger(open_database(data / "node.db"))

    code, out, _err = run("status", "--data", str(data), "--json")

    picture = json.loads(out)
    assert (code, picture["running"], picture["jobs"]) == (0, False, [])


def test_a_job_that_does_not_exist_is_told(run, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    Ledger(open_database(data / "node.db"))

    assert run("jobs", "show", "none", "--data", str(data))[0] == 2
    assert run("jobs", "retry", "none", "--data", str(data))[0] == 1
    assert run("jobs", "cancel", "none", "--data", str(data))[0] == 1


def test_measuring_a_study_without_a_pair_is_refused_with_the_reason(run, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    folder.mkdir()
    for dataset in series_of(1):
        (folder / f"{dataset.SOPInstanceUID}.dcm").write_bytes(part10(dataset))

    code, _out, err = run("measure", str(folder), "--out", str(tmp_path / "out"))

    assert code == 1
    assert err == "refused: not eligible: no contrast pair and no MRV: post-contrast T1 missing\n"


def test_measuring_two_studies_at_once_is_a_fault_of_usage(run, tmp_path: Path) -> None:
    folder = tmp_path / "studies"
    folder.mkdir()
    for study in ("2.25.1", "2.25.2"):
        for dataset in series_of(1, study=study, slices=1):
            (folder / f"{dataset.SOPInstanceUID}.dcm").write_bytes(part10(dataset))

    code, _out, err = run("measure", str(folder), "--out", str(tmp_path / "out"))

    assert code == 2
    assert "found 2 studies" in err
    assert SECRET not in err


def test_simulating_with_a_wrong_option_tells_what_is_wanted(run, tmp_path: Path) -> None:
    code, _out, err = run("simulate", "--out", str(tmp_path / "s"), "--vendor", "acme", "--snr", "-1")

    assert code == 2
    assert "vendor" in err
    assert "snr" in err
