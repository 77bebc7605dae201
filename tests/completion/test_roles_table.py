"""The rule table: what a site can write, and what is said of what it cannot."""

from pathlib import Path
from typing import Any

import pytest

from node.completion import StackFacts, decide_roles, read_facts, read_table
from node.completion.facts import VOCABULARY, Kind
from node.completion.table import Check, RoleTable
from node.errors import SettingsError
from node.records import Confidence, SeriesRole
from tests.builders import SECRET, series_of


def facts(**attributes: Any) -> StackFacts:
    (one,) = read_facts(list(series_of(1, **attributes)), sender="MRRESEARCH")
    return one


def site(tmp_path: Path, when: str, *, role: str = "other", conditions: str = "") -> Path:
    file = tmp_path / "roles.toml"
    file.write_text(
        f'version = "site 1"\n{conditions}\n[[rule]]\nname = "ours"\nrole = "{role}"\nconfidence = "high"\n'
        f'reason = "ours says so"\nwhen = {when}\n'
    )
    return file


def holds(tmp_path: Path, when: str, **attributes: Any) -> bool:
    first = read_table(site(tmp_path, when)).first(facts(**attributes))
    return first is not None and first.rule.name == "ours"


@pytest.mark.parametrize(
    ("when", "attributes", "expected"),
    [
        ('{ fact = "tr", between = [500, 600] }', {}, True),
        ('{ fact = "tr", between = [600, 700] }', {}, False),
        ('{ fact = "tr", at_least = 550 }', {}, True),
        ('{ fact = "tr", at_most = 549.9 }', {}, False),
        ('{ fact = "ti", present = false }', {}, True),
        ('{ fact = "ti", at_most = 1000 }', {}, False),  # what is not stated fulfils nothing
        ('{ not = { fact = "ti", at_most = 1000 } }', {}, True),
        ('{ fact = "scan_options", one_of = ["fc", "FS"] }', {"ScanOptions": ["PFP", "FC"]}, True),
        ('{ fact = "scan_options", all_of = ["FC", "FS"] }', {"ScanOptions": ["PFP", "FC"]}, False),
        ('{ fact = "description", matches = "^Research" }', {"SeriesDescription": "RESEARCH 7"}, True),
        ('{ fact = "description", matches = "km", ignoring = "ohne km" }', {"SeriesDescription": "ohne KM"}, False),
        ('{ fact = "sender", one_of = ["MRRESEARCH"] }', {}, True),
        (
            '{ fact = "plane", one_of = ["sagittal"] }',
            {"ImageOrientationPatient": [0, 1, 0, 0, 0, -1], "slices": 1},
            True,
        ),
        ('{ fact = "slices", at_least = 6 }', {"slices": 5}, False),
        ('{ fact = "extent", between = [23, 25] }', {}, True),  # five steps of 4 mm, and one thickness
        ('{ fact = "slice_spacing", between = [3.9, 4.1] }', {}, True),
        ('{ fact = "contrast_agent", is = true }', {"ContrastBolusAgent": "GADOBUTROL"}, True),
        ('{ tag = "NumberOfAverages", at_least = 2 }', {"NumberOfAverages": 3}, True),
        ('{ tag = "(0018,0083)", at_least = 2 }', {"NumberOfAverages": 1}, False),
        ('{ tag = "NumberOfAverages", one_of = ["2", "3"] }', {"NumberOfAverages": 3}, True),  # a number as a word
        ('{ tag = "NumberOfAverages", one_of = ["2", "3"] }', {"NumberOfAverages": 1.5}, False),
        ('{ tag = "NumberOfAverages", all_of = ["2"] }', {"NumberOfAverages": 1}, False),
        ('{ tag = "EchoTime", matches = "^12.5$" }', {"EchoTime": 12.5}, True),
        ('{ tag = "EchoTime", matches = "^13" }', {"EchoTime": 12.5}, False),
        ('{ tag = "InstanceNumber", one_of = ["12345678"] }', {"InstanceNumber": 12345678}, True),
        ('{ tag = "NumberOfAverages", present = false }', {"NumberOfAverages": 1}, False),
        ('{ tag = "EchoTime", at_least = 12, at_most = 13 }', {"EchoTime": 12.5}, True),
        ('{ tag = "EchoTime", at_least = 12, at_most = 13 }', {"EchoTime": 13.5}, False),
        ('{ tag = "StationName", one_of = ["MR7"] }', {"StationName": "MR7"}, True),
        ('{ tag = "ReferencedImageSequence", present = true }', {}, False),
        ('{ any = [{ fact = "tr", at_least = 9000 }, { fact = "te", at_most = 20 }] }', {}, True),
        ('{ all = [{ fact = "tr", at_least = 9000 }, { fact = "te", at_most = 20 }] }', {}, False),
    ],
)
def test_a_condition_holds_or_fails_as_it_reads(
    tmp_path: Path, when: str, attributes: dict[str, Any], expected: bool
) -> None:
    assert holds(tmp_path, when, **attributes) is expected


def test_a_private_element_is_found_in_whichever_block_its_creator_has(tmp_path: Path) -> None:
    when = '{ tag = "(2001,0015)", creator = "A Maker", between = [6, 8] }'
    headers = list(series_of(1))
    for header in headers:
        header.private_block(0x2001, "Somebody else", create=True)
        header.private_block(0x2001, "A Maker", create=True).add_new(0x15, "DS", "7")
    (one,) = read_facts(headers)

    won = read_table(site(tmp_path, when)).first(one)

    assert won is not None
    assert won.rule.name == "ours"


def test_a_rule_of_the_site_comes_before_ours_and_may_give_another_meaning_to_a_name(tmp_path: Path) -> None:
    conditions = '[conditions.says-post]\nfact = "description"\nmatches = "verum"'
    table = read_table(site(tmp_path, '{ fact = "te", at_least = 9999 }', conditions=conditions))
    one = facts(SeriesDescription="t1 verum")

    assert table.rules[0].name == "ours"
    assert decide_roles([one], table)[one.key].label == "axial T1 post"
    assert decide_roles([one], read_table())[one.key].label == "axial T1 pre"


def test_what_a_site_changes_changes_version_and_digest(tmp_path: Path) -> None:
    ours, theirs = read_table(), read_table(site(tmp_path, '{ fact = "tr", present = true }'))

    assert "site 1" in theirs.version
    assert ours.version in theirs.version
    assert ours.digest != theirs.digest


FAULTY = """
version = "1"
typo = 1

[conditions.round]
use = "circle"
[conditions.circle]
use = "round"

[[rule]]
name = "Bad Name"
role = "lumbar"
confidence = "sure"
reason = ""
when = { fact = "colour of the coil", one_of = ["x"] }

[[rule]]
name = "two-subjects"
role = "other"
confidence = "low"
reason = "r"
when = { all = [{ fact = "tr", tag = "EchoTime", at_least = 1 }, { fact = "tr", one_of = ["5"] }, { fact = "te" }] }

[[rule]]
name = "patient"
role = "other"
confidence = "low"
reason = "r"
when = { any = [
    { tag = "PatientName", matches = "x" }, { tag = "NoSuchKeyword", present = true },
    { tag = "(0019,0010)", present = true }, { fact = "description", matches = "(" }, { fact = "tr", between = [1] },
    { not = { use = "nowhere" } },
] }
"""


@pytest.mark.parametrize(
    ("two", "found"),
    [
        ('tag = "StationName", one_of = ["A"], matches = "B"', "one_of, matches"),
        ('fact = "scan_options", one_of = ["A"], all_of = ["B"]', "one_of, all_of"),
        ('fact = "te", between = [1, 2], at_least = 3', "between, at_least"),
        ('fact = "te", at_most = 3, present = false', "at_most, present"),
    ],
)
def test_a_condition_with_two_tests_is_refused_for_only_one_would_be_asked(
    tmp_path: Path, two: str, found: str
) -> None:
    with pytest.raises(SettingsError, match=rf"wants one of .* alone; found {found}"):
        read_table(site(tmp_path, f"{{ {two} }}"))


def test_every_fault_of_a_table_is_said_at_once_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "roles.toml"
    file.write_text(FAULTY)

    with pytest.raises(SettingsError) as refused:
        read_table(file)

    text = str(refused.value)
    for said in (
        "typo",
        "rule.1.name",
        "rule.1.role",
        "rule.1.confidence",
        "rule.1.reason",
        "rule.1.when.fact: must be a fact that `rules show` lists, not 'colour of the coil'",
        "rule.3.when.any.6.not: uses 'nowhere', which no [conditions.nowhere] defines",
        "rule.2.when.all.1: wants exactly one of",
        "rule.2.when.all.2: tr can be asked for between",
        "rule.2.when.all.3: wants one of",
        "rule.3.when.any.1.tag: must not ask who the patient is (group 0010), not 'PatientName'",
        "rule.3.when.any.2.tag: must be a keyword of PS3.6 or (gggg,eeee), not 'NoSuchKeyword'",
        "rule.3.when.any.3: a private element wants its creator",
        "rule.3.when.any.4.matches: must be a regular expression",
        "rule.3.when.any.5.between",
    ):
        assert said in text, said


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('version = "1"\n[conditions.a]\nuse = "b"\n[conditions.b]\nuse = "a"\n', "is defined by itself"),
        (
            'version = "1"\n[[rule]]\nname = "x"\nrole = "other"\nconfidence = "low"\nreason = "r"\n'
            'when = { use = "nothing" }\n',
            "uses 'nothing'",
        ),
        (
            'version = "1"\n[[rule]]\nname = "axial-t1"\nrole = "other"\nconfidence = "low"\nreason = "r"\n'
            'when = { fact = "tr", present = true }\n',
            "two rules have this name",
        ),
        ("version = ", "not valid TOML"),
    ],
)
def test_a_table_that_cannot_work_is_refused(tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "roles.toml"
    file.write_text(content)

    with pytest.raises(SettingsError, match=said):
        read_table(file)


def test_a_table_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        read_table(tmp_path / "none.toml")


def texts(table: RoleTable, one: StackFacts) -> str:
    def all_of(check: Check) -> list[str]:
        return [check.found, check.wanted, *(text for part in check.parts for text in all_of(part))]

    return " ".join(text for checked in table.checks(one) for text in all_of(checked.check))


def test_what_checks_show_of_a_header_is_no_text_of_it(tmp_path: Path) -> None:
    when = """{ any = [
        { tag = "StationName", one_of = ["MR7"] }, { tag = "ProtocolName", matches = "x" },
        { tag = "AccessionNumber", present = true }, { fact = "sender", one_of = ["A"] },
    ] }"""
    one = facts(
        StationName=SECRET, ProtocolName=SECRET, AccessionNumber="4711", SeriesDescription=f"T1 {SECRET}",
        ImageType=["ORIGINAL", "PRIMARY", "SECRET PATIENT"], ScanOptions="SECRET PATIENT", SequenceName=SECRET,
        Manufacturer=SECRET,
    )  # fmt: skip
    table = read_table(site(tmp_path, when))

    shown = texts(table, one) + decide_roles([one], table)[one.key].evidence

    assert "SECRET" not in shown
    assert "4711" not in shown
    assert "550" in shown  # numbers are shown


def test_every_fact_of_the_vocabulary_can_be_asked_of_any_stack() -> None:
    one = facts()

    for name, fact in VOCABULARY.items():
        value = fact.of(one)
        assert value is None or isinstance(value, (int, float, str, tuple, bool)), name
        if fact.kind is Kind.NUMBER:
            assert value is None or isinstance(value, (int, float)), name


def test_the_shipped_table_gives_every_role_and_ends_with_a_rule_that_always_holds() -> None:
    table = read_table()

    assert {rule.role for rule in table.rules} == set(SeriesRole)
    assert table.rules[-1].role is SeriesRole.OTHER
    assert all(rule.confidence in Confidence for rule in table.rules)
