from collections.abc import Callable
from copy import deepcopy

import pytest
from pydicom.dataset import Dataset

from node.errors import ReportError
from node.report import gate
from tests.report.builders import built, evidence, items, name

SOURCES = tuple(header for series in evidence() for header in series.headers)
GROUPS = ("Imaging Measurements", "Measurement Group")

Objects = dict[str, Dataset]


@pytest.fixture(scope="module")
def sound() -> Objects:
    return built()


def test_what_was_built_passes(sound):
    gate.check(tuple(sound.values()), SOURCES)


def right_code_wrong_scheme(made: Objects) -> None:
    items(made["sr"], *GROUPS, "Finding Site")[0].ConceptCodeSequence[0].CodingSchemeDesignator = "SRT"


def wrong_meaning(made: Objects) -> None:
    items(made["sr"], *GROUPS, "Finding")[0].ConceptCodeSequence[0].CodeMeaning = "Metastasis"


def private_code_re_worded(made: Objects) -> None:
    made["seg-vessels"].SegmentSequence[0].AnatomicRegionSequence[0].CodeMeaning = "Veins"


def no_language(made: Objects) -> None:
    _drop(made["sr"], "Language of Content Item and Descendants")


def no_observer(made: Objects) -> None:
    _drop(made["sr"], "Observer Type")


def reference_not_in_evidence(made: Objects) -> None:
    series = made["sr"].CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    del series[0].ReferencedSOPSequence[0]


def reference_to_nowhere(made: Objects) -> None:
    source = made["seg-lesions"].PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0].SourceImageSequence[0]
    source.ReferencedSOPInstanceUID = "2.25.404"


def other_patient(made: Objects) -> None:
    made["seg-muscles"].PatientID = "PVM0002"


def other_name(made: Objects) -> None:
    made["sr"].PatientName = "Doe^John"


def other_study(made: Objects) -> None:
    made["sr"].StudyInstanceUID = "2.25.3"


def tracking_uid_twice_in_a_group(made: Objects) -> None:
    group = items(made["sr"], *GROUPS)[0]
    group.ContentSequence.append(deepcopy(items(group, "Tracking Unique Identifier")[0]))


def no_tracking_identifier(made: Objects) -> None:
    _drop(items(made["sr"], *GROUPS)[0], "Tracking Identifier")


def two_groups_with_one_tracking_uid(made: Objects) -> None:
    first, second, _ = items(made["sr"], *GROUPS, "Tracking Unique Identifier")
    second.UID = first.UID


def left_group_with_right_segment(made: Objects) -> None:
    _, left, right = items(made["sr"], *GROUPS, "Referenced Segment")
    left.ReferencedSOPSequence, right.ReferencedSOPSequence = right.ReferencedSOPSequence, left.ReferencedSOPSequence


def not_a_number(made: Objects) -> None:
    items(made["sr"], *GROUPS, "Volume")[0].MeasuredValueSequence[0].FloatingPointValue = float("nan")


def verified_by_the_machine(made: Objects) -> None:
    made["sr"].VerificationFlag = "VERIFIED"


def _drop(item: Dataset, meaning: str) -> None:
    item.ContentSequence = [child for child in item.ContentSequence if name(child) != meaning]


@pytest.mark.parametrize(
    ("defect", "message"),
    [
        (right_code_wrong_scheme, "'SRT'"),
        (wrong_meaning, "'Metastasis'"),
        (private_code_re_worded, "'Veins'"),
        (no_language, "language"),
        (no_observer, "observer"),
        (reference_not_in_evidence, "1 instances that it refers to are not in its evidence"),
        (reference_to_nowhere, "1 references lead neither"),
        (other_patient, "SEG 9001: PatientID"),
        (other_name, "SR 9004: PatientName"),
        (other_study, "SR 9004: StudyInstanceUID"),
        (tracking_uid_twice_in_a_group, "2 times 'Tracking Unique Identifier'"),
        (no_tracking_identifier, "0 times 'Tracking Identifier'"),
        (two_groups_with_one_tracking_uid, "two measurement groups have one Tracking UID"),
        (left_group_with_right_segment, "different Tracking UIDs"),
        (not_a_number, "FloatingPointValue is not a number"),
        (verified_by_the_machine, "unverified"),
    ],
)
def test_a_defect_is_held_back(sound: Objects, defect: Callable[[Objects], None], message: str):
    broken = deepcopy(sound)
    defect(broken)

    with pytest.raises(ReportError) as raised:
        gate.check(tuple(broken.values()), SOURCES)

    assert message in str(raised.value)


def test_every_fault_is_told_at_once_and_none_names_the_patient(sound: Objects):
    broken = deepcopy(sound)
    other_patient(broken)
    other_name(broken)
    no_language(broken)

    with pytest.raises(ReportError) as raised:
        gate.check(tuple(broken.values()), SOURCES)

    text = str(raised.value)
    assert ("PatientID" in text, "PatientName" in text, "language" in text) == (True, True, True)
    assert not any(secret in text for secret in ("PVM0001", "PVM0002", "Doe"))
