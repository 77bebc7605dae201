"""Sources: the measured series as the node received them, and their headers made fit to be copied from.

Headers in the field lack attributes that must be there, hold values that the Standard does not know, and come in
many character sets. What we copy from them must be strict.
"""

import re
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from node.errors import ReportError

_UTF_8 = "ISO_IR 192"  # the only one that holds every name: under ISO_IR 100 a Japanese one silently becomes "??"

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
        A header of the study, fit to be copied from: complete, valid and in UTF-8.
    series : tuple of SeriesEvidence
        What was measured.
    """

    header: Dataset
    series: tuple[SeriesEvidence, ...]

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
        return cls(_fit(headers[0]), tuple(series for series in evidence if series.headers))

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


def _fit(header: Dataset) -> Dataset:
    """Return a copy of a source header that highdicom takes and the Standard allows."""
    fit = _decoded(header)
    for keyword in _TYPE_2:
        if keyword not in fit:
            setattr(fit, keyword, None)
    if fit.PatientSex not in ("M", "F", "O"):
        fit.PatientSex = None  # unknown: better than another sex
    fit.SpecificCharacterSet = _UTF_8
    return fit


def _decoded(dataset: Dataset) -> Dataset:
    """Return a copy with text decoded by its own character set, so that it can be written in another one."""
    copy = Dataset()
    for element in dataset:
        if element.tag.is_private or element.keyword in _IMAGE_ONLY or element.keyword == "SpecificCharacterSet":
            continue
        copy.add_new(element.tag, element.VR, _value(element))
    return copy


def _value(element: DataElement) -> object:
    match element.VR:
        case "SQ":
            return [_decoded(item) for item in element.value]
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
