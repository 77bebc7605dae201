"""A verified report and a rejection note: what they say, and that nothing else of a report changes."""

import copy
import datetime as dt
from collections.abc import Callable

import pytest
from pydicom.dataset import Dataset

from node.errors import GateError, RulingError
from node.report import gate
from node.report.rulings import RECALL_REASONS, rejection_note, verified
from tests.report.builders import built, evidence, items, objects
from tests.report.defects import GROUPS

NOON = dt.datetime(2026, 1, 5, 12, tzinfo=dt.UTC)
CHANGED = (
    "SOPInstanceUID", "InstanceNumber", "InstanceCreationDate", "InstanceCreationTime", "VerificationFlag",
    "PreliminaryFlag", "VerifyingObserverSequence", "PredecessorDocumentsSequence",
)  # fmt: skip


def sr() -> Dataset:
    return copy.deepcopy(built()["sr"])


def approved(report: Dataset, *, replaces: bool = False, name: str = "Curie^Marie") -> Dataset:
    return verified(report, name=name, organization="Radium", moment=NOON, replaces=replaces)


def test_a_verified_report_is_another_instance_of_the_same_content_and_series():
    report = sr()

    made = approved(report)
    uid = made.SOPInstanceUID

    for keyword in CHANGED:
        for one in (report, made):
            one.pop(keyword, None)
    assert uid != built()["sr"].SOPInstanceUID
    assert made.to_json_dict() == report.to_json_dict()


def test_it_says_who_verified_it_for_whom_and_when():
    (observer,) = approved(sr()).VerifyingObserverSequence

    assert (observer.VerifyingObserverName, observer.VerifyingOrganization) == ("Curie^Marie", "Radium")
    assert observer.VerificationDateTime == "20260105120000+0000"


@pytest.mark.parametrize("replaces", [True, False])
def test_it_names_the_unverified_one_only_if_that_was_sent(replaces: bool):
    report = sr()

    made = approved(report, replaces=replaces)

    named = [
        one.ReferencedSOPInstanceUID
        for study in made.get("PredecessorDocumentsSequence", ())
        for series in study.ReferencedSeriesSequence
        for one in series.ReferencedSOPSequence
    ]
    assert named == ([report.SOPInstanceUID] if replaces else [])


def test_nobody_verifies_without_a_name_or_what_is_verified():
    for report, name in ((sr(), " "), (approved(sr()), "Curie^Marie")):
        with pytest.raises(RulingError):
            approved(report, name=name)


@pytest.mark.parametrize("reason", RECALL_REASONS)
def test_a_note_names_every_result_under_the_title_of_its_reason(reason: str):
    results = list(built().values())

    note = rejection_note(results, RECALL_REASONS[reason], text="wrong study", moment=NOON)

    named = [
        item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        for item in note.ContentSequence
        if "ReferencedSOPSequence" in item
    ]
    listed = [
        one.ReferencedSOPInstanceUID
        for study in note.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for one in series.ReferencedSOPSequence
    ]
    assert sorted(named) == sorted(listed) == sorted(one.SOPInstanceUID for one in results)
    assert note.ConceptNameCodeSequence[0].CodeValue == RECALL_REASONS[reason].value


def test_a_note_carries_names_byte_for_byte_whatever_the_character_set():
    def edit(header: Dataset) -> None:
        header.SpecificCharacterSet = "ISO_IR 999"

    results = objects(series=tuple(evidence(edit=edit)))
    name = results["sr"].get_item("PatientName").value

    note = rejection_note(list(results.values()), RECALL_REASONS["quality"], text="wrong study", moment=NOON)

    assert note.get_item("PatientName").value == name
    assert note.get_item("SpecificCharacterSet").value == results["sr"].get_item("SpecificCharacterSet").value


def others() -> list[Dataset]:
    return [one for name, one in built().items() if name != "sr"]


def test_a_verified_report_passes_the_gate_once_more():
    gate.check_verified(approved(sr()), sr(), others())


def another_volume(report: Dataset) -> None:
    (item,) = items(report, *GROUPS, "Volume")[:1]
    item.MeasuredValueSequence[0].NumericValue = "801"


def another_patient(report: Dataset) -> None:
    report.PatientID = "PVM0002"


def nobody(report: Dataset) -> None:
    del report.VerifyingObserverSequence


def no_moment(report: Dataset) -> None:
    report.VerifyingObserverSequence[0].VerificationDateTime = ""


def unverified(report: Dataset) -> None:
    report.VerificationFlag = "UNVERIFIED"


def same_instance(report: Dataset) -> None:
    report.SOPInstanceUID = sr().SOPInstanceUID


def other_side(report: Dataset) -> None:
    site = items(report, *GROUPS, "Finding Site")[0]
    side = items(site, "Laterality")[0].ConceptCodeSequence[0]
    side.CodeValue, side.CodeMeaning = "24028007", "Right"


@pytest.mark.parametrize(
    ("seed", "code"),
    [
        (another_volume, "GATE-STRUCTURE ContentSequence is not what it was"),
        (another_patient, "GATE-IDENTITY PatientID differs"),
        (nobody, "GATE-STRUCTURE it does not say who verified it"),
        (no_moment, "GATE-STRUCTURE it does not say who verified it"),
        (unverified, "GATE-STRUCTURE what a person verified must say so"),
        (same_instance, "GATE-IDENTITY a verified report must be another instance"),
        (other_side, "GATE-SIDE a measurement group says another side"),
    ],
)
def test_what_changed_while_it_was_verified_does_not_leave(seed: Callable[[Dataset], None], code: str):
    made = approved(sr())
    seed(made)

    with pytest.raises(GateError) as raised:
        gate.check_verified(made, sr(), others())

    assert code in str(raised.value)
    assert "PVM0002" not in str(raised.value)
