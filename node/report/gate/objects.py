"""What holds for every result object: whose it is, what it is, which codes it writes, what it refers to."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache

from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes as dictionary
from pydicom.uid import (
    Comprehensive3DSRStorage,
    EncapsulatedPDFStorage,
    KeyObjectSelectionDocumentStorage,
    ParametricMapStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from node.report import codes
from node.report.gate.reading import is_sr, nested, text, triple
from node.report.sources import text_as_received

_PATIENT = ("PatientID", "PatientName")  # the same in every source instance, or we do not know whose result this is
_STUDY = ("StudyInstanceUID", "StudyID", "AccessionNumber")  # of the first: some studies answer two orders
_IN_ALL = (*_PATIENT, *_STUDY, "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "ReferringPhysicianName")

_MODALITIES = {  # design: the bundle of one analysis; where the Standard leaves it open, OT
    SegmentationStorage: "SEG",
    ParametricMapStorage: "OT",
    SecondaryCaptureImageStorage: "OT",
    Comprehensive3DSRStorage: "SR",
    KeyObjectSelectionDocumentStorage: "KO",
    EncapsulatedPDFStorage: "DOC",
}
_UID = re.compile(r"(?=.{1,64}\Z)(0|[1-9]\d*)(\.(0|[1-9]\d*))+")  # PS3.5 section 9.1

_OURS = (  # where we write; codes and references elsewhere are the source's own, copied as they came
    "ConceptNameCodeSequence",
    "ContentSequence",
    "PerformedProcedureCodeSequence",
    "ContributingEquipmentSequence",
    "CurrentRequestedProcedureEvidenceSequence",
    "ReferencedSeriesSequence",
    "SourceImageSequence",
    "SegmentSequence",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)


def identity(one: Dataset, first: Dataset, sources: Sequence[Dataset]) -> Iterator[str]:
    """Yield where an object is of another patient or study than the images, or than the first object."""
    for keywords, compared in ((_PATIENT, sources), (_STUDY, sources[:1])):
        for keyword in keywords:
            ours = _plain(one, keyword)
            if any(ours != _plain(source, keyword) for source in compared):
                yield f"GATE-IDENTITY {keyword} differs from that of a source instance"
    for keyword in _IN_ALL:
        if _plain(one, keyword) != _plain(first, keyword):
            yield f"GATE-IDENTITY {keyword} differs between the result objects"


def _plain(dataset: Dataset, keyword: str) -> str:
    return text_as_received(dataset, keyword).rstrip("^= ")


def kind(one: Dataset) -> Iterator[str]:
    """Yield what is wrong with SOP Class and Modality."""
    wanted = _MODALITIES.get(one.get("SOPClassUID"))
    if wanted is None:
        yield "GATE-STRUCTURE its SOP Class is none of ours"
    elif one.get("Modality") != wanted:
        yield f"GATE-STRUCTURE its Modality must be {wanted}"


def codes_written(one: Dataset) -> Iterator[str]:
    """Yield the codes that we should not have written."""
    for item in _our_items(one):
        if "CodingSchemeDesignator" in item and not _is_known(code := triple(item)):
            yield f"GATE-CODE {code} is neither in PS3.16 nor in our table"


def _is_known(code: tuple[str, str, str]) -> bool:
    return code in codes.WRITTEN or code in _dictionary()


@cache
def _dictionary() -> frozenset[tuple[str, str, str]]:
    """Return every code that PS3.16 has, as pydicom lists it."""
    return frozenset(
        (code.value, code.scheme_designator, code.meaning)
        for scheme in dictionary.schemes()
        for code in getattr(dictionary, scheme).concepts.values()
    )


def uids(made: Sequence[Dataset], sources: Sequence[Dataset]) -> Iterator[str]:
    """Yield malformed and repeated UIDs of ours; a series holds objects of one kind, and none of the images' is one."""
    instances = Counter(text(one, "SOPInstanceUID") for one in (*made, *sources))
    if any(instances[text(one, "SOPInstanceUID")] > 1 for one in made):
        yield "GATE-IDENTITY two instances have one SOP Instance UID"
    kinds: dict[str, set[str]] = {}
    for one in (*made, *sources):
        kinds.setdefault(text(one, "SeriesInstanceUID"), set()).add(text(one, "SOPClassUID"))
    for one in made:
        if len(kinds[text(one, "SeriesInstanceUID")]) > 1:
            yield f"GATE-IDENTITY {text(one, 'Modality')}: its series has objects of another kind"
        for keyword in ("SOPInstanceUID", "SeriesInstanceUID"):
            if not _UID.fullmatch(text(one, keyword)):
                yield f"GATE-STRUCTURE {text(one, 'Modality')}: {keyword} is malformed"


def references(made: Sequence[Dataset], sources: Sequence[Dataset]) -> Iterator[str]:
    """Yield references that lead nowhere, and objects that no report leads to."""
    known = {text(one, "SOPInstanceUID") for one in (*sources, *made)}
    for one in made:
        lost = {uid for item in _our_items(one) if (uid := text(item, "ReferencedSOPInstanceUID"))} - known
        if lost:
            yield f"GATE-REFERENCE {len(lost)} references lead neither to a source instance nor to a result object"
    reports = [one for one in made if is_sr(one)]
    led_to = {text(item, "ReferencedSOPInstanceUID") for one in reports for item in _our_items(one)}
    not_led_to = [one for one in made if text(one, "SOPInstanceUID") not in led_to]
    for one in not_led_to:  # IHE AI Results: all is reachable from the report
        if not is_sr(one):
            yield f"GATE-REFERENCE {text(one, 'Modality')} {text(one, 'SeriesNumber')}: no report leads to it"
    roots = sum(map(is_sr, not_led_to))
    if not reports:
        yield "GATE-STRUCTURE there is no report"
    elif roots != 1:
        yield f"GATE-STRUCTURE there are {roots} reports that no other leads to, not one"


def _our_items(dataset: Dataset) -> Iterator[Dataset]:
    """Yield all sequence items that we wrote, at every depth."""
    for keyword in _OURS:
        for item in dataset.get(keyword, ()):
            yield item
            yield from nested(item)
