"""Where in a header an order's words stand, and what happens if they disagree."""

from typing import Any

import pytest
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from node.emg import read_order
from node.findings import Suspicion
from node.settings import EmgRule
from tests.builders import mr

LEFT, RIGHT = "EMG: denervation L4 left", "EMG: denervation L4 right"


def request(**attributes: Any) -> list[Dataset]:
    item = Dataset()
    for keyword, value in attributes.items():
        setattr(item, keyword, value)
    return [item]


def code(meaning: str) -> list[Dataset]:
    return request(CodeValue="1", CodingSchemeDesignator="99SITE", CodeMeaning=meaning)


@pytest.mark.parametrize(
    ("attributes", "basis"),
    [
        ({"RequestAttributesSequence": request(ReasonForTheRequestedProcedure=LEFT)}, "RequestAttributesSequence"),
        ({"RequestAttributesSequence": request(RequestedProcedureDescription=LEFT)}, "RequestAttributesSequence"),
        ({"RequestAttributesSequence": request(ScheduledProcedureStepDescription=LEFT)}, "RequestAttributesSequence"),
        (
            {"RequestAttributesSequence": request(ReasonForRequestedProcedureCodeSequence=code(LEFT))},
            "RequestAttributesSequence",
        ),
        ({"ReasonForTheRequestedProcedure": LEFT}, "ReasonForTheRequestedProcedure"),
        ({"ReasonForPerformedProcedureCodeSequence": code(LEFT)}, "ReasonForPerformedProcedureCodeSequence"),
        ({"AdmittingDiagnosesDescription": ["back pain", LEFT]}, "AdmittingDiagnosesDescription"),
        ({"StudyDescription": LEFT}, "StudyDescription"),
    ],
)
def test_the_suspicion_is_found_wherever_an_order_writes_it(attributes: dict[str, Any], basis: str) -> None:
    order = read_order([mr(**attributes)], ())

    assert (order.suspicion, order.unclear) == (Suspicion("L4", "left", "order", basis), "")


def test_parts_of_one_request_are_read_together() -> None:
    item = request(RequestedProcedureDescription="MRI L4 left", ReasonForTheRequestedProcedure="EMG: denervation")

    order = read_order([mr(RequestAttributesSequence=item)], ())

    assert order.suspicion is not None
    assert (order.suspicion.level, order.suspicion.side) == ("L4", "left")


@pytest.mark.parametrize(
    "second", [RIGHT, "EMG: denervation L5 left", "EMG: denervation L4 left, L5 right", "EMG left"]
)
def test_attributes_that_contradict_one_another_give_nothing(second: str) -> None:
    order = read_order([mr(ReasonForTheRequestedProcedure=LEFT, StudyDescription=second)], ())

    assert (order.suspicion, order.unclear) == (None, "attributes of the order contradict one another")


def test_series_that_contradict_one_another_give_nothing() -> None:
    order = read_order([mr(ReasonForTheRequestedProcedure=LEFT), mr(ReasonForTheRequestedProcedure=RIGHT)], ())

    assert order.suspicion is None


def test_a_site_rule_comes_before_the_words() -> None:
    rule = EmgRule(attribute="StudyDescription", pattern=r"EMG/(?P<level>\w+)/(?P<side>[LR])\b")

    order = read_order([mr(StudyDescription="LWS emg/L2/R", AdmittingDiagnosesDescription=LEFT)], (rule,))

    assert order.suspicion == Suspicion("L2", "right", "site rule", "rule 1, StudyDescription")


def test_a_site_rule_may_imply_level_and_side_and_look_at_a_tag_by_its_number() -> None:
    rule = EmgRule(attribute="00102000", pattern="^EMG-A7$", level="T11", side="re")

    order = read_order([mr(MedicalAlerts="EMG-A7")], (rule,))

    assert order.suspicion == Suspicion("T11", "right", "site rule", "rule 1, 00102000")


def test_a_site_rule_that_finds_no_level_gives_nothing_and_the_words_do_not_stand_in() -> None:
    rule = EmgRule(attribute="StudyDescription", pattern="EMG (?P<level>.+)", side="left")

    order = read_order([mr(StudyDescription="EMG lumbar", ReasonForTheRequestedProcedure=LEFT)], (rule,))

    assert (order.suspicion, order.unclear) == (None, "a site rule found no level or no side")


def test_the_keys_of_an_order_are_read_and_a_header_without_them_is_no_error() -> None:
    assert read_order([mr(AccessionNumber=" A1 ")], ()).accession_number == "A1"
    assert read_order([Dataset()], ()).study_date == ""
    assert read_order([], ()).suspicion is None


@pytest.mark.parametrize("keyword", ["AccessionNumber", "StudyDate", "RequestAttributesSequence"])
def test_an_attribute_that_cannot_be_read_costs_itself_and_not_the_order(keyword: str) -> None:
    header = mr(AccessionNumber="A1", StudyDate="20260102", StudyDescription=LEFT)
    tag = Tag(keyword)
    header[tag] = RawDataElement(tag, "FD", 3, b"abc", 0, False, True)  # three bytes are no number
    rule = EmgRule(attribute="MedicalAlerts", pattern="EMG", level="L2", side="left")

    order = read_order([header], (rule,))

    assert order.accession_number == ("" if keyword == "AccessionNumber" else "A1")
    assert order.study_date == ("" if keyword == "StudyDate" else "20260102")
    assert order.suspicion == Suspicion("L4", "left", "order", "StudyDescription")


@pytest.mark.parametrize(("vr", "value"), [("LO", "EMG: L2 right"), ("US", 5)])
def test_a_request_that_is_no_sequence_of_items_is_no_request(vr: str, value: str | int) -> None:
    header = mr(StudyDescription=LEFT)
    header.add_new("RequestAttributesSequence", vr, value)

    assert read_order([header], ()).suspicion == Suspicion("L4", "left", "order", "StudyDescription")


def test_no_text_of_the_order_is_in_what_is_kept() -> None:
    order = read_order([mr(ReasonForTheRequestedProcedure="SECRET^PATIENT EMG: denervation L4 left")], ())

    assert "SECRET" not in repr(order)
