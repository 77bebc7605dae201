"""Negative controls: defects to put into sound result objects, one at a time, and what the gate says of each.

The first 21 are those of the list by which the public validators are judged (`tests.report.test_defects`); no public
tool sees the others.
"""

from collections.abc import Callable
from copy import deepcopy

import numpy as np
from pydicom.dataset import Dataset

from tests.report.builders import items, name

GROUPS = ("Imaging Measurements", "Measurement Group")

Objects = dict[str, Dataset]


def drop(item: Dataset, *meanings: str) -> None:
    """Take away the content items that have these names."""
    item.ContentSequence = [child for child in item.ContentSequence if name(child) not in meanings]


def group(made: Objects) -> Dataset:
    """The group of the lesion."""
    return items(made["sr"], *GROUPS)[0]


def volume(made: Objects) -> Dataset:
    return items(group(made), "Volume")[0]


def measured(made: Objects, meaning: str) -> Dataset:
    return items(group(made), meaning)[0].MeasuredValueSequence[0]


def no_completion_flag(made: Objects) -> None:
    del made["sr"].CompletionFlag


def site_contained(made: Objects) -> None:
    items(group(made), "Finding Site")[0].RelationshipType = "CONTAINS"


def no_units(made: Objects) -> None:
    del volume(made).MeasuredValueSequence[0].MeasurementUnitsCodeSequence


def other_procedure(made: Objects) -> None:
    code = items(made["sr"], "Procedure reported")[0].ConceptCodeSequence[0]
    code.CodeValue, code.CodeMeaning = "24968-0", "MR Lumbar spine"


def no_segment(made: Objects) -> None:
    drop(group(made), "Referenced Segment")


def no_source_series(made: Objects) -> None:
    drop(group(made), "Source series for segmentation")


def no_evidence(made: Objects) -> None:
    del made["sr"].CurrentRequestedProcedureEvidenceSequence


def wrong_meaning(made: Objects) -> None:
    items(group(made), "Tracking Unique Identifier")[0].ConceptNameCodeSequence[0].CodeMeaning = "Tracking UID"


def no_template(made: Objects) -> None:
    del made["sr"].ContentTemplateSequence


def wrong_template(made: Objects) -> None:
    made["sr"].ContentTemplateSequence[0].TemplateIdentifier = "9999"


def no_observer(made: Objects) -> None:
    drop(made["sr"], "Observer Type")


def no_language(made: Objects) -> None:
    drop(made["sr"], "Language of Content Item and Descendants")


def no_concept_name(made: Objects) -> None:
    del volume(made).ConceptNameCodeSequence


def malformed_reference(made: Objects) -> None:
    items(group(made), "Referenced Segment")[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID = "1.02.3"


def reference_not_in_evidence(made: Objects) -> None:
    series = made["sr"].CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    del series[0].ReferencedSOPSequence[0]


def wrong_modality(made: Objects) -> None:
    made["sr"].Modality = "MR"


def tracking_uid_twice_in_a_group(made: Objects) -> None:
    own = group(made)
    own.ContentSequence.append(deepcopy(items(own, "Tracking Unique Identifier")[0]))


def no_measurements(made: Objects) -> None:
    drop(made["sr"], "Imaging Measurements", "Qualitative Evaluations")


def long_number(made: Objects) -> None:
    volume(made).MeasuredValueSequence[0].NumericValue = "0.00000000000000001"


def other_patient(made: Objects) -> None:
    made["sr"].PatientID = "OTHER"


def right_code_wrong_scheme(made: Objects) -> None:
    items(group(made), "Finding")[0].ConceptCodeSequence[0].CodingSchemeDesignator = "SRT"


LISTED: dict[str, tuple[Callable[[Objects], None], str]] = {
    "Completion Flag missing": (no_completion_flag, "GATE-STRUCTURE it must be complete"),
    "Finding Site with CONTAINS": (site_contained, "GATE-TEMPLATE 'Finding Site' hangs by 'CONTAINS'"),
    "NUM without units": (no_units, "GATE-UNIT 'Volume' has no unit"),
    "procedure not in CID 100": (other_procedure, "GATE-TEMPLATE 'Procedure reported' must be"),
    "no Referenced Segment": (no_segment, "GATE-TEMPLATE some measurement groups refer"),
    "no source series": (no_source_series, "GATE-TEMPLATE a measurement group does not name the series"),
    "no evidence sequence": (no_evidence, "GATE-REFERENCE"),
    "wrong code meaning": (wrong_meaning, "GATE-CODE ('112040', 'DCM', 'Tracking UID')"),
    "no template identification": (no_template, "GATE-TEMPLATE it does not name TID 1500"),
    "wrong template identification": (wrong_template, "GATE-TEMPLATE it does not name TID 1500"),
    "no observer type": (no_observer, "GATE-TEMPLATE it has 0 times 'Observer Type'"),
    "no language": (no_language, "GATE-TEMPLATE it has 0 times 'Language of Content Item and Descendants'"),
    "NUM without concept name": (no_concept_name, "GATE-STRUCTURE a content item (NUM) has no name"),
    "malformed referenced UID": (malformed_reference, "GATE-REFERENCE 1 references lead neither"),
    "reference not in evidence": (
        reference_not_in_evidence,
        "GATE-REFERENCE 1 instances that it refers to are not in its evidence",
    ),
    "wrong Modality": (wrong_modality, "GATE-STRUCTURE its Modality must be SR"),
    "duplicate Tracking UID item": (tracking_uid_twice_in_a_group, "2 times 'Tracking Unique Identifier'"),
    "Imaging Measurements missing": (no_measurements, "GATE-TEMPLATE it has 0 times 'Imaging Measurements'"),
    "over-long DS": (long_number, "GATE-STRUCTURE 'Volume' has more than 16 characters"),
    "other PatientID in same study": (other_patient, "GATE-IDENTITY PatientID differs from that of a source"),
    "right code, wrong scheme": (right_code_wrong_scheme, "GATE-CODE ('C113842', 'SRT'"),
}


def other_name_in_a_segmentation(made: Objects) -> None:
    made["seg-muscles"].PatientName = "Doe^John"


def other_study(made: Objects) -> None:
    made["sr"].StudyInstanceUID = "2.25.3"


def other_birth_date_in_one(made: Objects) -> None:
    made["seg-vessels"].PatientBirthDate = "19600101"


def one_instance_uid_twice(made: Objects) -> None:
    made["seg-vessels"].SOPInstanceUID = made["seg-muscles"].SOPInstanceUID


def report_in_the_series_of_a_segmentation(made: Objects) -> None:
    made["sr"].SeriesInstanceUID = made["seg-muscles"].SeriesInstanceUID


def private_code_re_worded(made: Objects) -> None:
    made["seg-vessels"].SegmentSequence[0].AnatomicRegionSequence[0].CodeMeaning = "Veins"


def diagnosis_for_a_finding(made: Objects) -> None:
    items(group(made), "Finding")[0].ConceptCodeSequence[0].CodeMeaning = "Metastasis"


def reference_to_nowhere(made: Objects) -> None:
    source = made["seg-lesions"].PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0].SourceImageSequence[0]
    source.ReferencedSOPInstanceUID = "2.25.404"


def segmentation_that_no_report_names(made: Objects) -> None:
    del made["sr"]


def no_tracking_identifier(made: Objects) -> None:
    drop(group(made), "Tracking Identifier")


def two_groups_with_one_tracking_uid(made: Objects) -> None:
    first, second, _ = items(made["sr"], *GROUPS, "Tracking Unique Identifier")
    second.UID = first.UID


def two_segments_with_one_tracking_uid(made: Objects) -> None:
    left, right = made["seg-muscles"].SegmentSequence
    right.TrackingUID = left.TrackingUID


def left_group_with_right_segment(made: Objects) -> None:
    _, left, right = items(made["sr"], *GROUPS, "Referenced Segment")
    left.ReferencedSOPSequence, right.ReferencedSOPSequence = right.ReferencedSOPSequence, left.ReferencedSOPSequence


def segments_referred_to_by_none(made: Objects) -> None:
    for each in items(made["sr"], *GROUPS):
        drop(each, "Referenced Segment", "Source series for segmentation")


def series_of_another_segment(made: Objects) -> None:
    items(group(made), "Source series for segmentation")[0].UID = made["seg-vessels"].SeriesInstanceUID


def verified_by_the_machine(made: Objects) -> None:
    made["sr"].VerificationFlag = "VERIFIED"


def no_algorithm(made: Objects) -> None:
    drop(items(made["sr"], "Imaging Measurements")[0], "Algorithm Name")


def empty_sentence(made: Objects) -> None:
    items(made["sr"], "Qualitative Evaluations", "Summary")[0].TextValue = ""


def not_a_number(made: Objects) -> None:
    measured(made, "Volume").FloatingPointValue = float("nan")


def no_volume(made: Objects) -> None:
    measured(made, "Volume").NumericValue = "0"


def fraction_above_all(made: Objects) -> None:
    measured(made, "Vessel volume fraction on MR venography").NumericValue = "101"


def negative_axis(made: Objects) -> None:
    measured(made, "Long axis").NumericValue = "-3"


def signal_that_falls_by_more_than_all(made: Objects) -> None:
    measured(made, "Relative signal enhancement").NumericValue = "-101"


def litres(made: Objects) -> None:
    unit = measured(made, "Volume").MeasurementUnitsCodeSequence[0]
    unit.CodeValue, unit.CodeMeaning = "mm", "mm"


def mirrored_voxels(made: Objects) -> None:
    """As if an image had been flipped before it was segmented: codes and reference stay as they are."""
    for role in ("seg-muscles", "seg-lesions"):
        _mirror(made[role])


def lesion_mirrored(made: Objects) -> None:
    _mirror(made["seg-lesions"])


def _mirror(segmentation: Dataset) -> None:
    bits = np.unpackbits(np.frombuffer(segmentation.PixelData, np.uint8), bitorder="little")
    frames = bits.reshape(int(segmentation.NumberOfFrames), int(segmentation.Rows), int(segmentation.Columns))
    segmentation.PixelData = np.packbits(frames[:, :, ::-1].ravel(), bitorder="little").tobytes()


def other_side_in_the_report(made: Objects) -> None:
    site = items(group(made), "Finding Site", "Laterality")[0].ConceptCodeSequence[0]
    site.CodeValue, site.CodeMeaning = "24028007", "Right"


OURS: dict[str, tuple[Callable[[Objects], None], str]] = {
    "other name in a segmentation": (other_name_in_a_segmentation, "GATE-IDENTITY PatientName"),
    "other study": (other_study, "GATE-IDENTITY StudyInstanceUID"),
    "birth dates differ": (other_birth_date_in_one, "GATE-IDENTITY PatientBirthDate differs between"),
    "one SOP Instance UID twice": (one_instance_uid_twice, "GATE-IDENTITY two instances"),
    "two kinds in a series": (report_in_the_series_of_a_segmentation, "GATE-IDENTITY SR: its series"),
    "private code re-worded": (private_code_re_worded, "'Veins'"),
    "a diagnosis": (diagnosis_for_a_finding, "'Metastasis'"),
    "reference to nowhere": (reference_to_nowhere, "GATE-REFERENCE 1 references lead neither"),
    "no report": (segmentation_that_no_report_names, "GATE-STRUCTURE there is no report"),
    "no Tracking Identifier": (no_tracking_identifier, "0 times 'Tracking Identifier'"),
    "one Tracking UID for two groups": (two_groups_with_one_tracking_uid, "GATE-TRACKING two measurement groups"),
    "one Tracking UID for two segments": (two_segments_with_one_tracking_uid, "GATE-TRACKING two segments"),
    "groups changed over": (left_group_with_right_segment, "different Tracking UIDs"),
    "segments lost": (segments_referred_to_by_none, "GATE-TRACKING the measurement groups refer to no segment"),
    "another series": (series_of_another_segment, "GATE-TEMPLATE a measurement group does not name the series"),
    "verified by the machine": (verified_by_the_machine, "unverified"),
    "no algorithm": (no_algorithm, "'Algorithm Name'"),
    "empty sentence": (empty_sentence, "GATE-STRUCTURE a content item (TEXT) says nothing"),
    "not a number": (not_a_number, "GATE-RANGE 'Volume' is not a number"),
    "no volume": (no_volume, "GATE-RANGE 'Volume' cannot be 0"),
    "more than all": (fraction_above_all, "GATE-RANGE 'Vessel volume fraction on MR venography' cannot be 101"),
    "negative length": (negative_axis, "GATE-RANGE 'Long axis' cannot be -3"),
    "less than nothing": (signal_that_falls_by_more_than_all, "GATE-RANGE 'Relative signal enhancement' cannot"),
    "another unit": (litres, "GATE-UNIT 'Volume' is in 'mm', not 'mm3'"),
    "left and right changed over": (mirrored_voxels, "GATE-SIDE the muscles of the left"),
    "lesion on the other side": (lesion_mirrored, "GATE-SIDE a segment that says 'Left'"),
    "report says the other side": (other_side_in_the_report, "GATE-SIDE a measurement group says another side"),
}
