"""The command line by its exit codes (0 done, 1 refused or failed, 2 a fault of usage or settings) and its words."""

import hashlib
import json
import os
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from pydicom import dcmread

from node import eventlog
from node.cli import main
from node.cli.show import print_table, table
from node.holdings import Holdings
from node.ledger import Arrivals, open_database
from node.settings import Settings
from node.simulator.archive import Archive
from node.spool import Spool
from tests.builders import SECRET, STUDY, data_set_bytes, mr, origin_of, part10, record, series_of


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
    for verb in [
        "check",
        "serve",
        "receive",
        "work",
        "status",
        "jobs",
        "spool",
        "release",
        "emg",
        "measure",
        "echo",
        "send",
        "simulate",
        "demo",
    ]:
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


def test_check_names_a_drop_folder_that_cannot_be_used(run, tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text(f'[association]\nport = 0\n[emg]\nfolder = "{tmp_path / "nowhere"}"\n')

    code, out, _err = run("--config", "site.toml", "check")

    assert code == 0  # it may be of another machine, and come back: the node takes what lies there then
    assert re.search(r"drop folder +│ warning", out)
    assert "is no folder in which" in out


def test_echo_and_send_reach_a_destination_by_its_name(run, tmp_path: Path) -> None:
    (tmp_path / "one.dcm").write_bytes(part10(mr()))
    with Archive(tmp_path / "archive") as archive:
        config = configured(tmp_path, archive.port)
        echoed = run("--config", config, "echo", "pacs")
        sent = run("--config", config, "send", "one.dcm", "pacs")
        held = list(archive.digests)

    assert (echoed[0], sent[0]) == (0, 0)
    assert held == ["2.25.1"]


@pytest.mark.parametrize("kept", [slice(300), slice(-1)])
def test_a_file_that_broke_off_is_not_sent(run, tmp_path: Path, kept: slice) -> None:
    (tmp_path / "torn.dcm").write_bytes(part10(mr())[kept])

    code, _out, err = run("--config", configured(tmp_path, 1), "send", "torn.dcm", "pacs")

    assert code == 2
    assert "torn.dcm is not a whole DICOM file" in err


def test_a_destination_that_is_down_is_exit_1(run, tmp_path: Path) -> None:
    code, _out, err = run("--config", configured(tmp_path, 1), "echo", "pacs")

    assert (code, err) == (1, "failed: no association with 127.0.0.1:1: connection refused\n")


def test_an_unknown_destination_is_a_fault_of_usage(run, tmp_path: Path) -> None:
    code, _out, err = run("--config", configured(tmp_path, 1), "echo", "other")

    assert code == 2
    assert "there are: pacs" in err


def test_no_alias_and_no_word_is_broken_at_80_columns_while_the_words_fit(capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    long = "fsb5yjih3suaq-12"
    made = table("job", "state", "outcome", "deliveries", "made", "took", title="jobs", whole=("job",))
    made.add_row(long, "succeeded", f"repeats {long}, which was recalled", "pacs: 12 withdrawn", "22 min ago", "33 s")

    print_table(made)

    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert all(one in out for one in (f"│ {long} │", f"│ {long}, ", "succeeded", "withdrawn", "deliveries"))


def test_what_is_asked_of_a_study_or_archive_that_is_not_there_is_refused_or_a_fault_of_usage(
    run, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    open_database(data / "node.db")
    (tmp_path / "site.toml").write_text('[[archive]]\nname = "pacs"\n')
    words = ("--config", "site.toml", "pull", "nobody", "--data", str(data))

    study, archive, none = run(*words), run(*words, "--archive", "nix"), run(*words[2:])

    assert (study[0], study[2]) == (1, "refused: there is no study nobody; see: status\n")
    assert (archive[0], none[0]) == (2, 2)
    assert "there are: pacs" in archive[2]


def test_status_where_no_node_has_worked_is_exit_2(run, tmp_path: Path) -> None:
    code, _out, err = run("status", "--data", str(tmp_path / "nowhere"))

    assert code == 2
    assert "no node has worked" in err


def test_status_as_json_tells_that_nothing_runs(run, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    open_database(data / "node.db")

    code, out, _err = run("status", "--data", str(data), "--json")

    picture = json.loads(out)
    assert (code, picture["running"], picture["jobs"]) == (0, False, [])


def test_a_job_that_does_not_exist_is_told(run, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    open_database(data / "node.db")

    assert run("jobs", "show", "none", "--data", str(data))[0] == 1
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


# ---------------------------------------------------------------- what is held


@pytest.fixture
def held(tmp_path: Path) -> dict[str, bytes]:
    """Two instances in the data folder, and a third that contradicts the second; the data sets by SOP Instance UID."""
    (tmp_path / "data").mkdir()
    eventlog.use_alias_key(tmp_path / "data" / "alias.key")
    spool = Spool(tmp_path / "data" / "spool", segment_bytes=1 << 20, spare=0)
    list(spool.replay({}))
    arrivals = Arrivals(open_database(tmp_path / "data" / "node.db"))
    sent = [(mr("2.25.1"), False), (mr("2.25.2"), False), (mr("2.25.2", PatientID="OTHER"), True)]
    for dataset, contradicts in sent:
        content = part10(dataset)
        head_length = len(content) - len(data_set_bytes(content))
        header = record(spool, content, origin_of(dataset), head_length=head_length)
        arrivals.enter([header.received(contradicts=contradicts)], now=1.0)
    spool.close()
    return {"first": data_set_bytes(part10(sent[0][0])), "alias": eventlog.alias(STUDY).encode()}


def data(tmp_path: Path) -> tuple[str, str]:
    return "--data", str(tmp_path / "data")


def test_what_is_held_is_listed_with_the_digest_of_its_data_set(run, held: dict[str, bytes], tmp_path: Path) -> None:
    code, out, _err = run("spool", "held", *data(tmp_path))

    lines = [line.split(" ") for line in out.splitlines()]
    assert code == 0
    assert [uid for uid, _sha256 in lines] == ["2.25.1", "2.25.2", "2.25.2"]
    assert lines[0][1] == hashlib.sha256(held["first"]).hexdigest()
    assert lines[1][1] != lines[2][1]


def test_segments_are_listed(run, held: dict[str, bytes], tmp_path: Path) -> None:
    code, out, _err = run("spool", "ls", *data(tmp_path))

    assert code == 0
    assert re.search(r"1 .* 1 .* \d+ % .* 3 ", out)


def test_a_study_is_exported_as_it_was_received(run, held: dict[str, bytes], tmp_path: Path) -> None:
    code, out, _err = run("spool", "export", held["alias"].decode(), str(tmp_path / "out"), *data(tmp_path))

    assert (code, "3 instances" in out) == (0, True)
    files = sorted((tmp_path / "out").iterdir())
    assert [file.name for file in files] == ["000001.dcm", "000002.dcm", "000003-contradicts.dcm"]
    assert data_set_bytes(files[0].read_bytes()) == held["first"]
    assert dcmread(files[0]).SOPInstanceUID == "2.25.1"


def test_an_exported_file_is_for_its_owner_alone_whatever_the_umask(held: dict[str, bytes], tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        Holdings(Settings.checked({"node": {"data_dir": tmp_path / "data"}})).export(STUDY, tmp_path / "out")
    finally:
        os.umask(before)

    assert {file.stat().st_mode & 0o777 for file in (tmp_path / "out").iterdir()} == {0o600}


def test_a_study_is_not_exported_among_other_files(run, held: dict[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "000001.dcm").write_bytes(b"of another study")

    code, _out, err = run("spool", "export", held["alias"].decode(), str(tmp_path / "out"), *data(tmp_path))

    assert (code, "name an empty or new folder" in err) == (1, True)
    assert [file.read_bytes() for file in (tmp_path / "out").iterdir()] == [b"of another study"]


def test_a_damaged_instance_is_left_out_of_an_export_by_alias_and_the_others_are_written(
    run, held: dict[str, bytes], tmp_path: Path
) -> None:
    damage(tmp_path, held["first"])

    code, out, err = run("spool", "export", held["alias"].decode(), str(tmp_path / "out"), *data(tmp_path))

    assert (code, "2 instances" in out) == (1, True)
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["000002.dcm", "000003-contradicts.dcm"]
    assert f"damaged: instance {eventlog.alias('2.25.1')} of study {held['alias'].decode()}: " in err


def test_a_study_that_is_not_held_cannot_be_exported(run, held: dict[str, bytes], tmp_path: Path) -> None:
    code, _out, err = run("spool", "export", "nothing", str(tmp_path / "out"), *data(tmp_path))

    assert (code, "no instance" in err) == (1, True)
    assert not (tmp_path / "out").exists()


def damage(tmp_path: Path, data_set: bytes) -> None:
    """Change one bit of a data set on disk."""
    (segment,) = (tmp_path / "data" / "spool").glob("*.segment")
    content = bytearray(segment.read_bytes())
    content[content.index(data_set) + 300] ^= 1
    segment.write_bytes(content)


def test_what_is_damaged_is_missing_from_the_list_and_told_beside_it(
    run, held: dict[str, bytes], tmp_path: Path
) -> None:
    damage(tmp_path, held["first"])

    code, out, err = run("spool", "held", *data(tmp_path))

    assert (code, [line.split()[0] for line in out.splitlines()]) == (1, ["2.25.2", "2.25.2"])
    assert f"damaged: instance {eventlog.alias('2.25.1')} of study" in err


def test_what_is_dropped_while_we_look_is_not_damaged(held: dict[str, bytes], tmp_path: Path) -> None:
    holdings = Holdings(Settings.checked({"node": {"data_dir": tmp_path / "data"}}))
    found = holdings.verify()
    next(found)
    with closing(sqlite3.connect(tmp_path / "data" / "node.db")) as other, other:
        other.execute("DELETE FROM instance")
    for segment in (tmp_path / "data" / "spool").glob("*.segment"):
        segment.unlink()

    assert list(found) == []


def test_damage_on_disk_is_found_and_told_without_a_uid(run, held: dict[str, bytes], tmp_path: Path) -> None:
    sound, out, _err = run("spool", "verify", *data(tmp_path))
    damage(tmp_path, held["first"])

    damaged, after, err = run("spool", "verify", *data(tmp_path))

    assert (sound, "3 of 3" in out) == (0, True)
    assert (damaged, "2 of 3" in after, "checksum" in err) == (1, True, True)
    assert "2.25.1" not in err


def test_a_held_study_is_shown_and_released(run, held: dict[str, bytes], tmp_path: Path) -> None:
    alias = held["alias"].decode()
    before = json.loads(run("status", "--json", *data(tmp_path))[1])

    wrong, _out, _err = run("release", alias, "--use", "any", *data(tmp_path))
    code, out, _err = run("release", alias, "--use", "first", *data(tmp_path))
    again, _out, err = run("release", alias, "--use", "first", *data(tmp_path))

    assert before["held_studies"] == [alias]
    assert (wrong, code, again) == (2, 0, 1)
    assert "1 instances left out" in out
    assert "no study" in err
    assert json.loads(run("status", "--json", *data(tmp_path))[1])["held_studies"] == []


def test_an_error_that_nobody_foresaw_is_told_by_its_class_and_our_line_and_nothing_else(
    run, held: dict[str, bytes], tmp_path: Path
) -> None:
    with closing(sqlite3.connect(tmp_path / "data" / "node.db")) as other:
        other.execute(
            "CREATE TRIGGER refuse BEFORE UPDATE OF patient_id ON study BEGIN SELECT RAISE(ABORT, 'SECRET words'); END"
        )

    code, out, err = run("release", held["alias"].decode(), "--use", "first", *data(tmp_path))

    assert (code, out) == (1, "")
    assert re.fullmatch(r"failed: IntegrityError at node\.ledger\.studies:\d+\n", err)


def test_a_ledger_that_is_not_a_database_is_told_without_a_traceback(run, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "node.db").write_text("no database, but long enough to look like one" * 10)

    code, _out, err = run("status", *data(tmp_path))

    assert (code, len(err.splitlines())) == (1, 1)
    assert err.startswith("failed: DatabaseError at node.ledger.")


def test_what_emg_suspects_is_told_and_taken_back_for_a_study_that_may_still_come(run, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    open_database(data / "node.db")
    where = ("--data", str(data))

    told = [
        run("emg", "add", STUDY, "--level", "l4/5", "--side", "li", *where),
        run("emg", "add", "--accession", SECRET, "--level", "Th11", "--side", "right", *where),
        run("emg", "add", "--patient-id", SECRET, "--study-date", "20260102", "--level", "L4", "--side", "R", *where),
    ]
    waiting = json.loads(run("emg", "list", "--json", *where)[1])["waiting"]
    taken_back = run("emg", "forget", STUDY, *where)

    assert [code for code, _out, _err in told] == [0, 0, 0]
    assert waiting == 3
    assert taken_back[0] == 0
    assert json.loads(run("emg", "list", "--json", *where)[1])["waiting"] == 2
    assert "2 statements wait" in run("status", *where)[1]
    assert run("emg", "forget", STUDY, *where)[0] == 1
    assert not any(SECRET in out + err for _code, out, err in told)


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ((STUDY, "--level", "L9", "--side", "left"), "C1 to S1"),
        ((STUDY, "--level", "L4", "--side", "middle"), "left, right or both"),
        (("--level", "L4", "--side", "left"), "give STUDY, or --accession, or --patient-id with --study-date"),
        (("unknown-alias", "--level", "L4", "--side", "left"), "no UID"),
    ],
)
def test_an_emg_finding_that_cannot_be_taken_is_a_fault_of_usage(
    run, tmp_path: Path, arguments: tuple[str, ...], fault: str
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    open_database(data / "node.db")

    code, _out, err = run("emg", "add", *arguments, "--data", str(data))

    assert code == 2
    assert fault in err
