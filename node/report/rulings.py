"""What a person's decision makes of results: a report that is verified, or a note that recalls them all."""

import copy
import datetime as dt
from collections.abc import Mapping, Sequence
from io import BytesIO
from types import MappingProxyType

import highdicom as hd
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes as standard
from pydicom.sr.coding import Code
from pydicom.uid import UID
from pydicom.valuerep import DA, DT, TM

from node.dicom.identifiers import derived_uid
from node.errors import RulingError
from node.records import Predecessor
from node.report.document import document_item

# Imaging Object Change Management (IHE RAD TF-2 4.66.4): titles of a rejection note, CID 7010.
RECALL_REASONS: Mapping[str, Code] = MappingProxyType(
    {
        "quality": standard.DCM.RejectedForQualityReasons,
        "patient-safety": standard.DCM.RejectedForPatientSafetyReasons,
        "worklist": standard.DCM.IncorrectModalityWorklistEntry,
        "retention": standard.DCM.DataRetentionPolicyExpired,
    }
)
_NOTE_SERIES = 9008  # Series Number; the results have 9001 to 9021
_TYPE_2 = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex",
    "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip
_OF_PATIENT_AND_STUDY = (
    *_TYPE_2, "SpecificCharacterSet", "IssuerOfPatientID", "StudyDescription",
    "Manufacturer", "ManufacturerModelName", "SoftwareVersions", "DeviceSerialNumber", "InstitutionName",
)  # fmt: skip


def verified(report: Dataset, *, name: str, organization: str, moment: dt.datetime, replaces: bool) -> Dataset:
    """Return a report as a person has verified it: another instance, of the same content.

    Parameters
    ----------
    report : Dataset
        As it was made, unverified.
    name, organization : str
        Who verifies it: family^given (VR PN), and for whom (VR LO). Both are type 1 (PS3.3 table C.17-2).
    moment : datetime
        When.
    replaces : bool
        Whether the unverified one was sent, so that this one replaces it there.

    Raises
    ------
    RulingError
        If it is verified already, name or organization is empty, or cannot be written in its character set.
    """
    if report.VerificationFlag != "UNVERIFIED":
        raise RulingError("the report is verified already")
    if not name.strip() or not organization.strip():
        raise RulingError("who verifies a report must have a name and an organization")
    _refuse_unwritable(report, name + organization)
    made = copy.deepcopy(report)
    uid = UID(derived_uid("verified", report.SOPInstanceUID, name, moment.isoformat()))
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = uid
    made.InstanceNumber = int(report.InstanceNumber) + 1
    made.InstanceCreationDate, made.InstanceCreationTime = DA(moment.date()), TM(moment.time())
    made.VerificationFlag, made.PreliminaryFlag = "VERIFIED", "FINAL"
    observer = Dataset()
    observer.VerifyingObserverName, observer.VerifyingOrganization = name, organization
    observer.VerificationDateTime = DT(moment)
    observer.VerifyingObserverIdentificationCodeSequence = []
    made.VerifyingObserverSequence = [observer]
    if replaces:
        series = str(report.SeriesInstanceUID)
        earlier = Predecessor(str(report.StudyInstanceUID), series, report.SOPClassUID, report.SOPInstanceUID)
        made.PredecessorDocumentsSequence = [document_item(earlier)]
    return _as_read(made)


def rejection_note(results: Sequence[Dataset], title: Code, *, text: str, moment: dt.datetime) -> Dataset:
    """Return the Key Object Selection by which archives hide what was recalled.

    Parameters
    ----------
    results : sequence of Dataset
        All result objects of one job.
    title : Code
        One of `RECALL_REASONS`.
    text : str
        Why, for readers; it goes into the note.
    moment : datetime
        When, with a time zone.

    Raises
    ------
    RulingError
        If the text cannot be written in the results' character set.
    """
    first = results[0]
    _refuse_unwritable(first, text)
    nameless = [_without_patient(one) for one in results]
    content = hd.ko.KeyObjectSelection(document_title=title, referenced_objects=nameless, description=text)
    note = hd.ko.KeyObjectSelectionDocument(
        evidence=nameless,
        content=content,
        series_instance_uid=derived_uid("recall series", first.StudyInstanceUID, first.SOPInstanceUID),
        series_number=_NOTE_SERIES,
        sop_instance_uid=derived_uid("recall", title.value, *(str(one.SOPInstanceUID) for one in results)),
        instance_number=1,
        manufacturer=first.get("Manufacturer"),
    )
    for item in note.ContentSequence:
        if item.ValueType != "TEXT" and "ConceptNameCodeSequence" in item:
            del item.ConceptNameCodeSequence  # TID 2010 row 8 has none; highdicom writes one
    for keyword in _OF_PATIENT_AND_STUDY:  # byte for byte, in whatever character set
        if keyword in first:
            note[keyword] = first.get_item(keyword)
    note.SeriesDescription = "PVM results recalled"
    note.ContentDate, note.ContentTime = DA(moment.date()), TM(moment.time())
    note.InstanceCreationDate, note.InstanceCreationTime = note.ContentDate, note.ContentTime
    note.TimezoneOffsetFromUTC = f"{moment:%z}"
    return _as_read(note)


def _refuse_unwritable(report: Dataset, text: str) -> None:
    if report.get("SpecificCharacterSet") != "ISO_IR 192" and not text.isascii():
        raise RulingError("the results are not in UTF-8: what is added to them must be ASCII")


def _without_patient(one: Dataset) -> Dataset:
    """Return what a reference to an object needs: highdicom refuses the character sets that some sources have."""
    made = Dataset()
    for keyword in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        setattr(made, keyword, one[keyword].value)
    for keyword in _TYPE_2:
        setattr(made, keyword, None)
    return made


def _as_read(dataset: Dataset) -> Dataset:
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return dcmread(BytesIO(buffer.getvalue()))
