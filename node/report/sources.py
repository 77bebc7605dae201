"""Sources: the measured series as the node received them, and their headers made fit to be copied from.

Headers in the field lack attributes that must be there, hold values that the Standard does not know, and come in
many character sets. What we copy from them must be strict. Text that its own character set explains is written in
UTF-8. Text that it does not explain - no set is declared, an unknown or a wrong one - nobody can write anew without
guessing at a name: then all text is written byte for byte as it came, under the set that it came with.
"""

import re
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass

from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.valuerep import PersonName

from node.dicom.charsets import TEXT_VRS, character_sets, read_text
from node.errors import HeaderError, ReportError

_UTF_8 = "ISO_IR 192"  # the only one that holds every name: under ISO_IR 100 a Japanese one silently becomes "??"
BYTE_FOR_BYTE = "ISO_IR 100"  # a character for each byte, and back
_MULTI_VALUED = frozenset({"LO", "PN", "SH", "UC"})  # text with a backslash between values: PS3.5 table 6.2-1

_TYPE_2 = (  # Patient and General Study (PS3.3 C.7.1.1, C.7.2.1): must be there, may be empty; scanners leave them out
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex",
    "StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID", "AccessionNumber",
)  # fmt: skip

_IMAGE_ONLY = frozenset({"PixelData", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"})

_DATE = re.compile(r"\d{8}")  # PS3.5 table 6.2-1, VR DA
_TIME = re.compile(r"([01]\d|2[0-3])([0-5]\d([0-5]\d(\.\d{1,6})?)?)?")  # VR TM; some send seven digits of fraction


@dataclass(frozen=True, slots=True, eq=False)
class SeriesEvidence:
    """One measured series: headers of its instances, and where each slice of its volume lies.

    Parameters
    ----------
    role : str
        "pre", "post" or "mrv".
    headers : tuple of Dataset
        One per SOP instance, classic or multi-frame; pixel data is not needed.
    slices : tuple of (int, int)
        For each slice (axis 0 of the arrays in `Regions`): index into `headers`, and frame index from 0. Empty if
        no volume could be made.
    """

    role: str
    headers: tuple[Dataset, ...]
    slices: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Study:
    """What all result objects share with their sources.

    Parameters
    ----------
    header : Dataset
        A header of the study, fit to be copied from: complete, valid and in UTF-8; or, if that cannot be, in Latin-1,
        a character for each byte that came.
    series : tuple of SeriesEvidence
        What was measured.
    received_set : bytes or None
        Specific Character Set as received, if the text of `header` is byte for byte as received; else None.
    """

    header: Dataset
    series: tuple[SeriesEvidence, ...]
    received_set: bytes | None = None

    @classmethod
    def of(cls, evidence: Sequence[SeriesEvidence]) -> "Study":
        """Return the study that `evidence` comes from.

        Raises
        ------
        ReportError
            If there is no header, or the headers are of more than one study.
        """
        headers = [header for series in evidence for header in series.headers]
        if not headers:
            raise ReportError("a report needs the header of at least one source instance, found none")
        studies = {str(header.StudyInstanceUID) for header in headers}
        if len(studies) > 1:
            raise ReportError(f"the evidence must be of one study, found {len(studies)}")
        used = tuple(series for series in evidence if series.headers)
        try:
            return cls(_fit(headers[0], in_utf_8=True), used)
        except HeaderError:
            return cls(_fit(headers[0], in_utf_8=False), used, _received_set(headers[0]))

    @property
    def instances(self) -> tuple[Dataset, ...]:
        """Headers of all source instances, as received."""
        return tuple(header for series in self.series for header in series.headers)

    def series_of(self, role: str) -> SeriesEvidence:
        """Return the series that was measured as `role`.

        Raises
        ------
        ReportError
            If there is none.
        """
        for series in self.series:
            if series.role == role:
                return series
        raise ReportError(f"regions lie on the grid of the {role!r} series, of which the evidence has no header")

    def standing_for(self, instance: Dataset) -> Dataset:
        """Return the fit header under the identity of `instance`."""
        header = deepcopy(self.header)
        header.SOPClassUID, header.SOPInstanceUID = instance.SOPClassUID, instance.SOPInstanceUID
        header.SeriesInstanceUID = instance.SeriesInstanceUID
        return header

    def requests(self) -> list[Dataset]:
        """Return the items of Referenced Request Sequence: the orders that the images answer (PS3.3 C.17.2)."""
        return [_request(item, self.header) for item in self.header.get("RequestAttributesSequence") or []]


def text_as_received(header: Dataset, keyword: str) -> str:
    """Return the text of an attribute by its own character set; or, if that does not explain it, a byte a character."""
    if keyword not in header:
        return ""
    element = header.get_item(keyword)
    if isinstance(element, RawDataElement):
        raw = element.value or b""
    elif isinstance(element.value, PersonName) and isinstance(element.value.original_string, bytes):
        raw = element.value.original_string  # somebody has asked for the name; these are still its bytes
    else:
        return "" if element.value is None else str(element.value)
    try:
        return read_text(raw, character_sets(_received_set(header)), person_name=_vr(element) == "PN")
    except HeaderError:
        return raw.decode("latin-1").rstrip(" \0")


def _received_set(header: Dataset) -> bytes:
    """Return the value of Specific Character Set; empty if it is not there."""
    element = header.get_item("SpecificCharacterSet") if "SpecificCharacterSet" in header else None
    if isinstance(element, RawDataElement):
        return element.value or b""
    value = None if element is None else element.value
    return "\\".join([value] if isinstance(value, str) else value or []).encode("latin-1", errors="replace")


def _fit(header: Dataset, *, in_utf_8: bool) -> Dataset:
    """Return a copy of a source header that highdicom takes and the Standard allows.

    Raises
    ------
    HeaderError
        If it shall be in UTF-8, and a text in it is not in its own character set.
    """
    fit = _copied(header, ("",) if in_utf_8 else None)
    for keyword in _TYPE_2:
        if keyword not in fit:
            setattr(fit, keyword, None)
    if fit.PatientSex not in ("M", "F", "O"):
        fit.PatientSex = None  # unknown: better than another sex
    fit.SpecificCharacterSet = _UTF_8 if in_utf_8 else BYTE_FOR_BYTE
    return fit


def _copied(dataset: Dataset, terms: tuple[str, ...] | None) -> Dataset:
    """Return a copy with text decoded, so that it can be written in another set.

    `terms` are the character sets around `dataset`, which may have its own; None takes every byte for a character.
    """
    if terms is not None and "SpecificCharacterSet" in dataset:
        terms = character_sets(_received_set(dataset))
    copy = Dataset()
    for tag in list(dataset.keys()):  # to go through the elements would decode them, with what pydicom makes of it
        raw = dataset.get_item(tag)
        if isinstance(raw, RawDataElement) and (vr := _vr(raw)) in TEXT_VRS and not tag.is_private:
            copy.add_new(tag, vr, _text(raw.value or b"", vr, terms))
            continue
        element = dataset[tag]
        if tag.is_private or element.keyword in _IMAGE_ONLY or element.keyword == "SpecificCharacterSet":
            continue
        copy.add_new(tag, element.VR, _value(element, terms))
    return copy


def _vr(element: DataElement | RawDataElement) -> str:
    """Return the VR of an element; in a data set of implicit VR that of the dictionary."""
    if element.VR is not None:
        return str(element.VR)
    return dictionary_VR(element.tag) if dictionary_has_tag(element.tag) else "UN"


def _text(content: bytes, vr: str, terms: tuple[str, ...] | None) -> str | list[str]:
    if terms is None:
        text = content.decode("latin-1").rstrip(" \0")
    else:
        text = read_text(content, terms, person_name=vr == "PN")
    values = text.split("\\") if vr in _MULTI_VALUED else [text]
    return values if len(values) > 1 else values[0]


def _value(element: DataElement, terms: tuple[str, ...] | None) -> object:
    match element.VR:
        case "SQ":
            return [_copied(item, terms) for item in element.value]
        case "DA":
            return _valid(_DATE.fullmatch(str(element.value).replace(".", "")))  # 1950.01.01: as before 1993
        case "TM":
            return _valid(_TIME.match(str(element.value).replace(":", "")))
        case _:
            return element.value


def _valid(match: re.Match[str] | None) -> str | None:
    return match[0] if match else None


def _request(attributes: Dataset, header: Dataset) -> Dataset:
    request = Dataset()
    request.StudyInstanceUID = attributes.get("StudyInstanceUID") or header.StudyInstanceUID
    request.ReferencedStudySequence = []
    request.AccessionNumber = attributes.get("AccessionNumber") or header.AccessionNumber
    for keyword in (
        "PlacerOrderNumberImagingServiceRequest",
        "FillerOrderNumberImagingServiceRequest",
        "RequestedProcedureID",
        "RequestedProcedureDescription",
    ):
        setattr(request, keyword, attributes.get(keyword))
    request.RequestedProcedureCodeSequence = attributes.get("RequestedProcedureCodeSequence") or []
    return request
