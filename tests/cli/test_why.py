"""`why`, `rules show`, `rules test`, `rules backtest`: what is shown, and that it names nobody."""

import json
import re
import time
from pathlib import Path

import pytest

from node import eventlog
from node.cli import main
from node.cli.rules import in_words
from node.completion import read_table
from node.ledger.ledger import Ledger
from node.spool import Spool
from tests.builders import SECRET, STUDY, mr, part10, series_of
from tests.completion.desk import POST, PRE, QUIET_S, Desk

SAID = {"SeriesDescription": f"T1 {SECRET}", "StationName": SECRET}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    """Return a function that runs the command line and returns exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "220")

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["paraspinal-node", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return call


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a contrast pair, a report among it, and a text."""
    folder = tmp_path / "study"
    folder.mkdir()
    instances = [*series_of(1, **(PRE | SAID)), *series_of(2, **(POST | SAID))]
    instances.append(mr("2.25.8", series="2.25.8.1", Modality="SR", Rows=None, ImagePositionPatient=None))
    for number, one in enumerate(instances):
        (folder / f"{number}.dcm").write_bytes(part10(one))
    (folder / "notes.txt").write_text("no DICOM")
    return folder


def site(tmp_path: Path, when: str) -> str:
    file = tmp_path / "site-roles.toml"
    file.write_text(
        'version = "site 9"\n[[rule]]\nname = "ours"\nrole = "other"\nconfidence = "high"\nreason = "tried out"\n'
        f"when = {when}\n"
    )
    return str(file)


@pytest.fixture
def node(tmp_path: Path, spool: Spool, ledger: Ledger) -> str:
    """A node that has closed a study with a pair; return the alias of the study."""
    eventlog.use_alias_key(tmp_path / "alias.key")
    desk, now = Desk(spool, ledger), time.time()
    desk.receive_pair(now=now, **SAID)
    desk.look(now=now + QUIET_S)
    (row,) = ledger.study_rows()
    return row.alias


def assert_names_nobody(shown: str) -> None:
    assert "SECRET" not in shown
    assert STUDY not in shown


def test_why_of_a_folder_gives_the_answer_first_and_then_the_rule_of_each_stack_on_any_terminal(
    run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")

    code, out, _err = run("why", str(folder))

    lines = out.splitlines()
    assert code == 0
    assert lines[0] == "study 1: contrast pair: pre 1/1, post 2/1"
    assert lines[1] == "pair 1/1, 2/1: comparable"
    assert lines[2].startswith("1/1: axial T1 pre")
    assert lines[3].startswith("    rule axial-t1: ")
    assert not any("fails" in line for line in lines)  # the rules that were tried before are for `--all`
    assert_names_nobody(out)


def test_why_with_all_shows_every_rule_that_was_tried_and_each_condition(run, folder: Path) -> None:
    code, out, _err = run("why", str(folder), "--all")

    assert code == 0
    assert "axial T1 pre" in out
    assert "axial T1 post" in out
    assert "TR 550 ms" in out  # what was found
    assert "not: one of MR" in out  # what was wanted
    assert "    not-mr does not match" in out
    assert "    axial-t1 matches" in out
    assert "contrast pair: pre" in out
    assert_names_nobody(out)


def test_why_of_a_study_that_the_node_holds_goes_by_alias(run, tmp_path: Path, node: str) -> None:
    code, out, _err = run("why", node, "--data", str(tmp_path))

    assert code == 0
    assert node in out
    assert "contrast agent named" in out
    assert_names_nobody(out)


def test_why_in_json_has_every_condition(run, folder: Path) -> None:
    code, out, _err = run("why", str(folder), "--json")

    (answer,) = json.loads(out)
    assert code == 0
    assert answer["stacks"][0]["rules"][0]["rule"] == "not-mr"
    assert answer["selected"].keys() == {"pre", "post"}
    assert_names_nobody(out)


def test_why_of_nothing_is_refused(run, tmp_path: Path, node: str) -> None:
    code, _out, err = run("why", "nobody", "--data", str(tmp_path))

    assert code == 1
    assert "no instance of a study" in err


def test_rules_show_lists_rules_and_facts(run) -> None:
    code, out, _err = run("rules", "show")

    assert code == 0
    assert "mrv-time-of-flight-by-physics" in out
    assert "obliqueness" in out


def test_rules_show_reads_a_rule_in_words(run) -> None:
    code, out, _err = run("rules", "show", "axial-t1")
    condition = run("rules", "show", "spin-echo")

    assert code == 0
    assert out.splitlines()[0].startswith("rule axial-t1: axial T1, confidence high")
    for line in (
        "t1-spin-echo: all of",
        "not scanning sequence is EP or GR",
        "TR from 200 to 1100 ms",
        "plane is axial",
    ):
        assert line in out
    assert condition[1].splitlines()[1] == "    all of"
    assert run("rules", "show", "nothing")[0] == 1


def test_every_rule_can_be_read(run) -> None:
    table = read_table()

    for rule in table.rules:
        assert list(in_words(rule.when, table))


def test_no_name_of_a_rule_is_cut(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")

    _code, out, _err = run("rules", "show")

    assert all(rule.name in out for rule in read_table().rules)


def test_rules_test_shows_what_a_changed_table_makes_of_files(run, tmp_path: Path, folder: Path) -> None:
    rules = site(tmp_path, '{ fact = "contrast_agent", is = true }')

    before = run("rules", "test", str(folder))
    after = run("rules", "test", str(folder), "--rules", rules)

    assert (before[0], after[0]) == (0, 0)
    assert "contrast pair" in before[1]
    assert "no contrast pair and no MRV: post-contrast T1 missing" in after[1]
    assert "site 9" in after[1]
    assert_names_nobody(before[1] + after[1])


def test_a_table_with_faults_is_a_fault_of_settings(run, tmp_path: Path, folder: Path) -> None:
    code, _out, err = run("rules", "test", str(folder), "--rules", site(tmp_path, '{ fact = "colour of hair" }'))

    assert code == 2
    assert "rule.1.when" in err


def test_a_node_with_such_a_table_does_not_start_and_check_says_why(run, tmp_path: Path) -> None:
    file = tmp_path / "site.toml"
    rules = site(tmp_path, '{ fact = "colour of hair" }')
    file.write_text(
        f'[node]\ndata_dir = "{tmp_path / "data"}"\n[association]\nport = 0\n[completion]\nroles = "{rules}"\n'
    )

    checked, started = run("--config", str(file), "check"), run("--config", str(file), "work")

    assert checked[0] == 2, checked
    assert "colour of hair" in re.sub(r"\s+", " ", checked[1])
    assert started[0] == 2
    assert "rule.1.when" in started[2]


def test_backtest_of_the_rules_in_force_changes_nothing(run, tmp_path: Path, node: str) -> None:
    code, out, _err = run("rules", "backtest", "--days", "1", "--data", str(tmp_path))

    assert code == 0
    assert "0 of 1 studies would change" in out


def test_backtest_of_changed_rules_tells_what_would_change(run, tmp_path: Path, node: str) -> None:
    rules = site(tmp_path, '{ fact = "contrast_agent", is = true }')

    code, out, _err = run("rules", "backtest", "--days", "1", "--rules", rules, "--data", str(tmp_path))

    assert code == 0
    assert "1 of 1 studies would change" in out
    assert node in out
    assert "axial T1 post" in out
    assert "post-contrast T1 missing" in out
    assert_names_nobody(out)


def test_backtest_leaves_out_a_study_that_gathers_again(
    run, spool: Spool, ledger: Ledger, tmp_path: Path, node: str
) -> None:
    """What was decided of it was decided of fewer instances."""
    Desk(spool, ledger).receive(next(series_of(9, Modality="CT")), now=time.time())

    _code, out, _err = run("rules", "backtest", "--days", "1", "--data", str(tmp_path))

    assert "0 of 0 studies" in out


def test_backtest_leaves_out_what_was_not_seen_in_those_days(run, tmp_path: Path, node: str) -> None:
    code, out, _err = run("rules", "backtest", "--days", "0", "--data", str(tmp_path))

    assert code == 0
    assert "0 of 0 studies" in out


def test_the_ledger_keeps_the_role_of_each_stack_with_its_rule(ledger: Ledger, node: str) -> None:
    rows = ledger.stack_rows(node)

    assert sorted(row.decision.label for row in rows if row.decision) == ["axial T1 post", "axial T1 pre"]
    assert {row.decision.rule for row in rows if row.decision} == {"axial-t1"}
    assert {row.decision.table for row in rows if row.decision} == {read_table().name}
    assert all(row.number == 1 and row.whole_by for row in rows)
