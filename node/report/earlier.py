"""Earlier: what a report of this node, perhaps of another release, tells of its lesions; and whose it is.

Read are codes and numbers, never sentences, which releases word differently. An archive may have handed the report
back, so nothing in it is trusted: what does not read as we write it is left out.
"""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes as standard
from pydicom.sr.coding import Code

from node.dicom.identifiers import is_uid
from node.dicom.moments import study_began
from node.findings import EarlierLesion, EarlierResult, Side
from node.report import codes
from node.report.gate import limits
from node.report.gate.reading import NONE, children, content, evidence, is_sr, name_of, text, value_of
from node.report.sources import text_as_received

_IDENTIFIER = re.compile(r"PVM lesion [1-9]\d{0,3}")  # as `segmentations.lesion_region` and recognition write it
_NUMBERS = (
    *codes.CENTROID_POSITION, codes.VOLUME, codes.LONG_AXIS, codes.SHORT_AXIS, codes.ENHANCEMENT,
    codes.DISTANCE_FROM_MIDLINE, codes.DISTANCE_FROM_SKIN,
)  # fmt: skip
_SIDES = {codes.LEFT: Side.LEFT, codes.RIGHT: Side.RIGHT}


def read_report(report: Dataset) -> EarlierResult | None:
    """Return what a report tells; None if it is none of ours, has no date, or says that nothing could be analyzed."""
    schemes = {text(one, "CodingSchemeUID") for one in report.get("CodingSchemeIdentificationSequence", ())}
    is_ours = is_sr(report) and name_of(report) == codes.REPORT_TITLE and codes.PRIVATE_SCHEME_UID in schemes
    told = [value_of(item) for item in content(report) if name_of(item) == codes.PROCESSING_SUMMARY]
    uids = [text(report, keyword) for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")]
    if not is_ours or len(told) != 1 or told[0] == codes.NONE_SUCCEEDED or not study_began(report):
        return None
    if not all(map(is_uid, uids)):
        return None
    frames = _frames_of_reference(report)
    groups = [
        group
        for container in children(report, codes.IMAGING_MEASUREMENTS)
        for group in children(container, codes.MEASUREMENT_GROUP)
        if [value_of(item) for item in children(group, codes.FINDING)] == [codes.ENHANCING_LESION]
    ]
    lesions = [lesion for group in groups if (lesion := _lesion(group, frames)) is not None]
    named = Counter(name for one in lesions for name in (one.tracking_identifier, one.tracking_uid))
    study, series, sop_instance = uids
    return EarlierResult(
        study=study,
        series=series,
        sop_class=text(report, "SOPClassUID"),
        sop_instance=sop_instance,
        study_date=study_began(report)[:8],
        release=text(report, "SoftwareVersions")[:16],
        lesions=tuple(one for one in lesions if named[one.tracking_identifier] == named[one.tracking_uid] == 1),
    )


def is_of_patient(report: Dataset, header: Dataset) -> bool:
    """Return whether a report is about the patient of a header, beyond doubt.

    Both have a Patient ID, and nothing says otherwise.
    """
    return _plain(header, "PatientID") != "" and agrees(report, header)


def agrees(report: Dataset, header: Dataset) -> bool:
    """Return whether report and header say nothing that two patients would; that is enough within one study.

    Patient ID and its issuer must be the same, and nothing else that both say may differ: name, day of birth, sex.
    """
    ids = [[_plain(one, keyword) for keyword in ("PatientID", "IssuerOfPatientID")] for one in (report, header)]
    if ids[0] != ids[1]:
        return False
    for keyword in ("PatientBirthDate", "PatientSex"):
        one, other = re.sub(r"\W", "", _plain(report, keyword)), re.sub(r"\W", "", _plain(header, keyword))
        if one and other and one != other:
            return False
    names = (_plain(one, "PatientName").split("=") for one in (report, header))
    return all(not a or not b or a == b for a, b in zip(*(map(_bare, name) for name in names), strict=False))


def _plain(dataset: Dataset, keyword: str) -> str:
    return text_as_received(dataset, keyword).strip(" \0")


def _bare(group: str) -> str:
    """Return a group of a name without case, delimiters that end it, and how its letters are composed."""
    return " ".join(unicodedata.normalize("NFC", group).casefold().rstrip("^ ").split())


def _lesion(group: Dataset, frames: dict[str, str]) -> EarlierLesion | None:
    identifiers = [text(item, "TextValue") for item in children(group, codes.TRACKING_IDENTIFIER)]
    uids = [text(item, "UID") for item in children(group, codes.TRACKING_UNIQUE_IDENTIFIER)]
    sites = children(group, standard.SCT.FindingSite)
    side, level = (_modifier(sites, name) for name in (standard.SCT.Laterality, standard.SCT.TopographicalModifier))
    if not (len(identifiers) == len(uids) == 1 and _IDENTIFIER.fullmatch(identifiers[0]) and is_uid(uids[0])):
        return None
    if side not in _SIDES or any(_beyond_limits(group)):
        return None
    x, y, z = (_number(group, name) for name in codes.CENTROID_POSITION)
    sources = [text(item, "UID") for item in children(group, codes.SOURCE_SERIES)]
    return EarlierLesion(
        tracking_identifier=identifiers[0],
        tracking_uid=uids[0],
        side=_SIDES[side],
        level=codes.level_of(level),
        centroid_mm=None if x is None or y is None or z is None else (x, y, z),
        frame_of_reference=_frame(frames, sources),
        volume_mm3=_number(group, codes.VOLUME),
        long_axis_mm=_number(group, codes.LONG_AXIS),
        short_axis_mm=_number(group, codes.SHORT_AXIS),
        enhancement_pct=_number(group, codes.ENHANCEMENT, codes.MEDIAN),
        midline_distance_mm=_number(group, codes.DISTANCE_FROM_MIDLINE),
        skin_distance_mm=_number(group, codes.DISTANCE_FROM_SKIN),
    )


def _beyond_limits(group: Dataset) -> Iterator[str]:
    """Yield what the gate would not let out of the numbers of a group that are read."""
    read = Dataset()
    read.ContentSequence = [item for name in _NUMBERS for item in children(group, name)]
    return limits.numbers(read)


def _frame(frames: Mapping[str, str], sources: Sequence[str]) -> str | None:
    """Return the frame of reference of a lesion's source series; if none is named, that of all series."""
    found = {frames.get(one) for one in sources} or set(frames.values())
    return found.pop() if len(found) == 1 else None


def _modifier(sites: Sequence[Dataset], name: Code) -> Code:
    found = [value_of(item) for site in sites for item in children(site, name)]
    return found[0] if len(found) == 1 else NONE


def _number(group: Dataset, name: Code, derivation: Code | None = None) -> float | None:
    """Return the one number under a name, with this derivation if one is given; None if there is none."""
    found = [
        float(measured.NumericValue)
        for item in children(group, name)
        if derivation is None or derivation in [value_of(one) for one in children(item, standard.DCM.Derivation)]
        for measured in item.get("MeasuredValueSequence", ())
    ]
    return found[0] if len(found) == 1 and math.isfinite(found[0]) else None


def _frames_of_reference(report: Dataset) -> dict[str, str]:
    """Return the frame of reference of each source series, as image library and evidence together tell it."""
    series_of = dict(evidence(report))
    found = {}
    for library in children(report, codes.IMAGE_LIBRARY):
        for group in children(library, codes.IMAGE_LIBRARY_GROUP):
            frames = [text(item, "UID") for item in children(group, codes.FRAME_OF_REFERENCE_UID)]
            for item in children(group, codes.SOURCE) if len(frames) == 1 else ():
                for reference in item.get("ReferencedSOPSequence", ()):
                    found[series_of.get(text(reference, "ReferencedSOPInstanceUID"), "")] = frames[0]
    return found
