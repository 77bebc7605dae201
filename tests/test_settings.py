import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from node.errors import SettingsError
from node.settings import (
    ArchiveSettings,
    DestinationSettings,
    EmgRule,
    PeerSettings,
    SenderSettings,
    Settings,
    read_settings,
)
from tests.conftest import ROOT

DEFAULTS = ROOT / "config" / "node.toml"


def test_the_shipped_file_shows_every_setting_with_its_default() -> None:
    shown = tomllib.loads(DEFAULTS.read_text())
    code = Settings().model_dump(mode="json", exclude={"archive", "destination", "peer"})

    assert shown == code


TABLES = {
    "peer": PeerSettings,
    "destination": DestinationSettings,
    "archive": ArchiveSettings,
    "completion.sender": SenderSettings,
    "emg.rules": EmgRule,
}


def example(table: str) -> dict[str, Any]:
    """Return the example of a table in double brackets that the shipped file has behind #."""
    lines = DEFAULTS.read_text().split(f"# [[{table}]]")[1].split("\n\n")[0].splitlines()[1:]
    return tomllib.loads("\n".join(line.removeprefix("# ") for line in lines))


@pytest.mark.parametrize("table", TABLES)
def test_the_shipped_file_shows_an_example_of_every_table_with_its_defaults(table: str) -> None:
    shown, model = example(table), TABLES[table]

    assert model.model_validate(shown)
    required = {name for name, field in model.model_fields.items() if field.is_required()}
    defaults = model.model_construct().model_dump(mode="json", exclude=required)
    assert {name: value for name, value in shown.items() if name not in required} == defaults
    assert required <= set(shown)
    for name in required:
        line = next(
            line for line in DEFAULTS.read_text().split(f"# [[{table}]]")[1].splitlines() if f"# {name} =" in line
        )
        assert "must be given" in line


def test_no_table_in_double_brackets_is_left_out() -> None:
    lists = {name for name, field in Settings.model_fields.items() if "tuple" in str(field.annotation)}

    assert lists == {name for name in TABLES if "." not in name}


def test_every_line_of_the_shipped_file_gives_its_reason() -> None:
    settings = [line for line in DEFAULTS.read_text().splitlines() if re.match(r"(# )?\w+ = |# \[\[", line)]

    assert [line for line in settings if not re.search(r"  # [\w\"]", line)] == []


def test_the_example_for_a_site_is_valid() -> None:
    settings = read_settings(ROOT / "config" / "site.example.toml")

    assert [one.name for one in settings.destination] == ["pacs"]
    assert [one.ae_title for one in settings.peer] == ["MRSCANNER1", "PACS"]


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    file = tmp_path / "bad.toml"
    file.write_text('[association]\nport = "high"\nae_title = "FAR TOO LONG A TITLE"\n[jobs]\nparalel = 2\n')

    with pytest.raises(SettingsError) as caught:
        read_settings(file)

    told = str(caught.value)
    assert len(told.splitlines()) == 3
    assert all(line.startswith(f"{file}: ") for line in told.splitlines())
    assert all(name in told for name in ("[association] port", "[association] ae_title", "[jobs] paralel"))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("[association", "not valid TOML"),
        ('[[destination]]\nname = "a"\n[[destination]]\nname = "a"\n', "found twice: a"),
        ('[[destination]]\nname = "a"\nkind = "folder"\n', "needs a folder"),
        ('[[archive]]\nname = "a"\n[[archive]]\nname = "a"\n', "found twice: a"),
        ('[tls]\ncertificate = "a"\nkey = "b"\n[[archive]]\nname = "a"\nhow = "get"\n', "use 'move'"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(tmp_path: Path, content: str, complaint: str) -> None:
    file = tmp_path / "bad.toml"
    file.write_text(content)

    with pytest.raises(SettingsError, match=re.escape(complaint)):
        read_settings(file)


def test_what_contradicts_itself_is_told_at_once(tmp_path: Path) -> None:
    file = tmp_path / "bad.toml"
    file.write_text('[[destination]]\nname = "a"\nkind = "folder"\n[[archive]]\nname = "b"\n[[archive]]\nname = "b"\n')

    with pytest.raises(SettingsError) as caught:
        read_settings(file)

    assert [line.partition(": ")[0] for line in str(caught.value).splitlines()] == [str(file)] * 2
    assert "found twice: b" in str(caught.value)
    assert "needs a folder" in str(caught.value)


def test_a_path_is_seen_from_the_folder_of_the_file_wherever_the_node_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "etc").mkdir()
    monkeypatch.chdir(tmp_path)
    Path("etc/site.toml").write_text(
        '[completion]\nroles = "rules/own.toml"\n[tls]\nca = "/ca.pem"\n[[destination]]\nname = "a"\n'
        'folder = "results"\n'
    )

    settings = read_settings(Path("etc/site.toml"))

    assert settings.completion.roles == tmp_path / "etc" / "rules" / "own.toml"
    assert settings.tls.ca == Path("/ca.pem")
    assert settings.destination[0].folder == tmp_path / "etc" / "results"
    assert Settings.checked(settings.model_dump()) == settings


def test_a_missing_file_is_told_by_name(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none\.toml: cannot be read"):
        read_settings(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"completion": {"quite_period_s": 9}},
            "[completion] quite_period_s: no such setting; is quiet_period_s meant?",
        ),
        ({"peers": []}, "peers: no such setting; is peer meant?"),
        ({"peer": {"ae_title": "X"}}, "peer: several may be given, so write [[peer]]"),
        ({"peer": [{"ae_title": "X"}]}, "[peer] 1.addresses: must be given"),
        (
            {"peer": [{"ae_title": "X", "addresses": ["::1/128"], "prot": 1}]},
            "[peer] 1.prot: no such setting; is port meant?",
        ),
        ({"data_dir": "/srv"}, "data_dir: no such setting here; it belongs in [node]"),
        ({"how": "get"}, "how: no such setting here; it belongs in [[archive]]"),
        (
            {"peer": [{"ae_title": "X", "addresses": ["10.1.2.300"]}]},
            "[peer] 1.addresses.1: value is not a valid IPv4 or IPv6 network, not '10.1.2.300'",
        ),
        (
            {"destination": [{"name": "PACS Main"}]},
            "[destination] 1.name: a name is 1 to 32 of a-z, 0-9 and '-', the first of them no '-', not 'PACS Main'",
        ),
        ({"node": {"stop_wait_s": -1}}, "[node] stop_wait_s: Input should be greater than or equal to 0, not -1"),
    ],
)
def test_a_fault_says_where_it_is_and_what_is_wanted(values: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.checked(values)

    assert str(caught.value) == said


def test_a_title_that_is_none_is_quoted_once() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.checked({"association": {"ae_title": "A" * 17}})

    assert str(caught.value).startswith("[association] ae_title: ")
    assert str(caught.value).count("A" * 17) == 1


def test_a_study_that_ended_waits_until_an_archive_was_asked_for_earlier_results() -> None:
    def quiet_s(pull: list[str], **completion: float) -> float:
        values = {"archive": [{"name": "pacs", "pull": pull}], "completion": completion}
        return Settings.checked(
            values | {"retrieval": {"ask_after_s": 4.0, "sweep_every_s": 3.0}}
        ).completion.ended_quiet_period_s

    assert quiet_s(["missing"]) == 5.0
    assert quiet_s(["results"]) == 12.0
    assert quiet_s(["results"], ended_quiet_period_s=30.0) == 30.0
