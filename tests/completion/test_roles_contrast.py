"""Before or after contrast is decided across the study: by bolus, agent, order in time, description."""

from typing import Any

import pytest

from node.completion import StackFacts, decide_roles, read_facts, read_table, select
from node.completion.pairs import compare
from node.records import Role, contrast_doubt
from tests.builders import series_of

TABLE = read_table()
DAY = {"AcquisitionDate": "20260102"}
AGENT = {"ContrastBolusAgent": "GADOBUTROL"}


def at(clock: str, **more: Any) -> dict[str, Any]:
    return DAY | {"AcquisitionTime": clock} | more


def contrasts(*study: dict[str, Any]) -> list[str]:
    facts = [one for number, attributes in enumerate(study, start=1) for one in stacks(number, **attributes)]
    roles = decide_roles(facts, TABLE)
    return [str(roles[one.key].contrast) for one in facts]


def stacks(number: int, **attributes: Any) -> tuple[StackFacts, ...]:
    return read_facts(list(series_of(number, **attributes)))


@pytest.mark.parametrize(
    "stated",
    [
        {"AcquisitionDate": "20260103", "AcquisitionTime": "000500"},
        {"AcquisitionDate": None, "StudyDate": "20260102", "AcquisitionTime": "000500"},
        {"AcquisitionDate": None, "StudyDate": "20260102", "AcquisitionDateTime": "20260103000500"},
    ],
)
def test_a_bolus_before_midnight_lies_before_the_series_after_it(stated: dict[str, Any]) -> None:
    (one,) = stacks(1, **(stated | {"ContrastBolusStartTime": "235800"}))

    assert one.acquisition.acquired_at_s is not None
    assert one.acquisition.bolus_at_s == one.acquisition.acquired_at_s - 7 * 60


def test_a_bolus_has_the_date_of_the_frame_and_not_of_the_study() -> None:
    stated = {"StudyDate": "20260102", "AcquisitionDateTime": "20260103001500", "ContrastBolusStartTime": "001000"}
    (one,) = stacks(1, **stated)

    assert one.acquisition.acquired_at_s is not None
    assert one.acquisition.bolus_at_s == one.acquisition.acquired_at_s - 5 * 60


BOLUS = AGENT | {"ContrastBolusStartTime": "101000"}


@pytest.mark.parametrize(
    ("study", "expected"),
    [
        ([at("100000"), at("101500", **AGENT)], ["pre", "post"]),
        ([at("100000"), at("101500")], ["pre", "pre"]),
        ([at("100000", **AGENT), at("101500", **AGENT)], ["post", "post"]),
        # the bolus says which, though the agent is named on both
        ([at("100000", **BOLUS), at("101500", **BOLUS)], ["pre", "post"]),
        # a bolus that only one of them states
        ([at("100000"), at("101500", **BOLUS), at("102000")], ["pre", "post", "post"]),
        ([at("100000", **AGENT), at("101500", **BOLUS)], ["contradictory", "post"]),
        ([at("100000"), at("101500", **BOLUS), at("102000", SeriesDescription="T1 pre")],
         ["pre", "post", "contradictory"]),
        # order in time
        ([at("101500", **AGENT), at("102000")], ["post", "post"]),
        ([at("101500", **AGENT), at("102000", SeriesDescription="t1 nativ")], ["post", "contradictory"]),
        ([{}, AGENT], ["contradictory", "post"]),
        ([{"SeriesDescription": "T1 pre"}, AGENT], ["pre", "post"]),
        # description against agent
        ([at("100000", SeriesDescription="T1 pre", **AGENT)], ["contradictory"]),
        ([at("100000", SeriesDescription="T1 pre/post")], ["contradictory"]),
    ],
)  # fmt: skip
def test_contrast_is_decided_across_the_study(study: list[dict[str, Any]], expected: list[str]) -> None:
    assert contrasts(*study) == expected


def test_two_series_that_headers_contradict_themselves_about_are_handed_on_to_be_refused() -> None:
    facts = [*stacks(1, **at("100000", SeriesDescription="T1 pre", **AGENT)), *stacks(2, **at("101500", **AGENT))]
    roles = decide_roles(facts, TABLE)

    selection = select(facts, roles, post_alone=False)

    assert selection.reason.startswith("ROLE-CONTRAST")
    assert selection.stacks == {Role.PRE: facts[0].key, Role.POST: facts[1].key}
    chosen = {role: roles[key] for role, key in selection.stacks.items()}
    assert contrast_doubt(chosen) == "described as before contrast, yet contrast is named too"


def test_a_contradiction_without_a_partner_is_named_with_its_code() -> None:
    facts = [
        *stacks(1, **at("100000", SeriesDescription="T1 pre", **AGENT)),
        *stacks(2, **at("101500", PixelSpacing=[2.0, 2.0], **AGENT)),
    ]

    selection = select(facts, decide_roles(facts, TABLE), post_alone=False)

    assert selection.stacks is None
    assert "ROLE-CONTRAST" in selection.reason


def test_nobody_doubts_a_pair_whose_headers_agree() -> None:
    facts = [*stacks(1, **at("100000")), *stacks(2, **at("101500", **AGENT))]
    roles = decide_roles(facts, TABLE)

    assert contrast_doubt({Role.PRE: roles[facts[0].key], Role.POST: roles[facts[1].key]}) == ""


def test_of_two_unnamed_series_before_the_one_with_contrast_the_first_is_taken() -> None:
    """The second may be an unnamed one after contrast."""
    facts = [*stacks(1, **at("100000")), *stacks(2, **at("101400")), *stacks(3, **at("102000", **AGENT))]

    selection = select(facts, decide_roles(facts, TABLE), post_alone=False)

    assert selection.stacks is not None
    assert selection.stacks[Role.PRE] == facts[0].key


def test_two_time_points_in_one_series_become_a_pair_where_the_bolus_lies_between_them() -> None:
    """The same series in two roles: its stacks are what is told apart."""
    physics = {"ScanningSequence": "GR", "SequenceVariant": "SP", "RepetitionTime": 5, "EchoTime": 2, "FlipAngle": 10}
    first = list(series_of(1, TemporalPositionIdentifier=1, **physics, **at("100000", **BOLUS)))
    second = list(series_of(1, TemporalPositionIdentifier=2, **physics, **at("101500", **BOLUS)))
    for number, instance in enumerate(second):
        instance.SOPInstanceUID = f"2.25.77.{number}"

    facts = read_facts([*second, *first])
    selection = select(facts, decide_roles(facts, TABLE), post_alone=False)

    assert selection.reason == "contrast pair"
    assert selection.stacks is not None
    assert [selection.stacks[role].number for role in (Role.PRE, Role.POST)] == [1, 2]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"RepetitionTime": 570}, "CMP-SEQ: TR 550 and 570"),
        ({"EchoTime": 13}, "CMP-SEQ: TE 12 and 13"),
        ({"FlipAngle": 90}, ""),  # stated by one of them only
        ({"SequenceVariant": ["SK", "MTC"]}, "CMP-SEQ: magnetisation transfer in one of them"),
        ({"ScanOptions": "FS"}, "CMP-FS: one with, one without fat suppression"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "DIXON", "WATER"]}, "CMP-FS: Dixon none and water"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "M", "NORM"]}, "CMP-COIL: filter NORM in one of them"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "P"]}, "CMP-SEQ: magnitude and another component"),
        ({"PatientID": "ANOTHER"}, "CMP-FOR: not one patient"),
        ({"StudyDate": "20260103"}, "CMP-TIME: not one day"),
        ({"PixelSpacing": [1.3, 1.3]}, "CMP-GEO: pixel spacing ratio 1.30"),
        ({"ImageOrientationPatient": [0, 1, 0, 1, 0, 0]}, "CMP-GEO: orientations 90.0 degrees apart"),
        ({"Rows": 20, "Columns": 20}, ""),  # more of the same place
        ({"ImagePositionPatient": [0.0, 0.0, 0.0], "slices": 1}, ""),
        ({"ImagePositionPatient": [0.0, 0.0, 300.0], "slices": 1}, "CMP-GEO: they share 0 of 4 mm"),
        ({"AcquisitionTime": "095900"}, "CMP-TIME: post -1.0 min after pre"),
        ({"AcquisitionTime": "100000"}, "CMP-TIME: post 0.0 min after pre"),  # the same series, sent again
        ({"AcquisitionTime": "123000"}, "CMP-TIME: post 2.5 h after pre"),
        ({}, ""),
    ],
)
def test_each_difference_that_forbids_a_comparison_has_its_code(change: dict[str, Any], code: str) -> None:
    (pre,) = stacks(1, **at("100000"))
    (post,) = stacks(2, **(at("101500") | change))

    found = [str(one) for one in compare(pre, post)]

    assert found == ([code] if code else []) or code in found
    assert bool(found) is bool(code)


def test_a_series_without_the_makers_private_scale_is_not_compared_with_one_that_has_it() -> None:
    def philips(number: int, clock: str, *, scaled: bool) -> StackFacts:
        headers = list(series_of(number, Manufacturer="Philips", RescaleSlope=2.0, RescaleIntercept=0, **at(clock)))
        for header in headers if scaled else []:
            block = header.private_block(0x2005, "Philips MR Imaging DD 001", create=True)
            block.add_new(0x0E, "FL", 0.5)
        (one,) = read_facts(headers)
        return one

    pre, stripped = philips(1, "100000", scaled=True), philips(1, "100000", scaled=False)

    assert compare(pre, philips(2, "101500", scaled=True)) == ()
    assert [(one.code, one.weakens) for one in compare(pre, philips(2, "101500", scaled=False))] == [
        ("CMP-SCALE", False)
    ]
    assert [(one.code, one.weakens) for one in compare(stripped, philips(2, "101500", scaled=False))] == [
        ("CMP-SCALE", True)
    ]


def private(number: int, clock: str, creator: str, tag: int, value: str | None, **attributes: Any) -> StackFacts:
    """Return the facts of a series of which each instance bears a private element, unless `value` is None."""
    headers = list(series_of(number, **at(clock, **attributes)))
    for header in headers if value is not None else []:
        header.private_block(tag >> 16, creator, create=True).add_new(tag & 0xFF, "SH", value)
    (one,) = read_facts(headers)
    return one


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        ("p+", "p+", ""),
        (None, None, ""),
        ("p+", None, "intensity filter PURE and none"),
        (None, "s", "intensity filter none and SCIC"),
        ("p+", "w", "intensity filter PURE and another"),
    ],
)
def test_series_that_ge_filtered_in_two_ways_are_not_compared(before: str, after: str, text: str) -> None:
    ge = ("GEMS_PARM_01", 0x0043002D)

    found = compare(private(1, "100000", *ge, before), private(2, "101500", *ge, after))

    assert [str(one) for one in found] == ([f"CMP-COIL: {text}"] if text else [])


@pytest.mark.parametrize(
    ("before", "after", "codes"), [("SENSE", "SENSE", []), ("SENSE", "SYN_COCA", ["CMP-COIL"]), ("SENSE", None, [])]
)
def test_series_whose_coil_elements_philips_combined_in_two_ways_are_not_compared(
    before: str, after: str, codes: list[str]
) -> None:
    philips = ("Philips MR Imaging DD 001", 0x200500A1)

    found = compare(private(1, "100000", *philips, before), private(2, "101500", *philips, after))

    assert [one.code for one in found] == codes


@pytest.mark.parametrize("word", ["NORM", "DIS3D", "GDC", "UCA", "IF"])
def test_a_filter_that_only_one_series_went_through_forbids_to_compare(word: str) -> None:
    (pre,), (post,) = stacks(1, **at("100000")), stacks(2, **at("101500", ImageType=["ORIGINAL", "PRIMARY", "M", word]))

    assert [one.code for one in compare(pre, post)] == ["CMP-COIL"]


def test_of_two_pairs_the_one_without_a_caveat_is_taken() -> None:
    def philips(number: int, clock: str, *, scaled: bool, **attributes: Any) -> StackFacts:
        headers = list(series_of(number, Manufacturer="Philips", **at(clock, **attributes)))
        for header in headers if scaled else []:
            header.private_block(0x2005, "Philips MR Imaging DD 001", create=True).add_new(0x0E, "FL", 0.5)
        (one,) = read_facts(headers)
        return one

    stripped = philips(1, "100000", scaled=False), philips(2, "101500", scaled=False, **AGENT)
    whole = philips(3, "100500", scaled=True), philips(4, "102000", scaled=True, **AGENT)
    study = [*stripped, *whole]

    selection = select(study, decide_roles(study, TABLE), post_alone=False)

    assert selection.reason == "contrast pair"
    assert selection.stacks == {Role.PRE: whole[0].key, Role.POST: whole[1].key}
