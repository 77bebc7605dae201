"""The output gate: nothing leaves that we have not checked ourselves.

The public validators run in the tests; these are the faults that would hurt a patient or that no validator sees (a
right code under a wrong scheme, a missing language, an empty observer).
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache

from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes as dictionary
from pydicom.sr.coding import Code

from node.errors import ReportError
from node.report import codes
from node.report.sources import text_as_received

_PATIENT = ("PatientID", "PatientName")  # the same in every source instance, or we do not know whose result this is
_STUDY = ("StudyInstanceUID", "StudyID", "AccessionNumber")  # of the first: some studies answer two orders

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


def check(objects: Sequence[Dataset], sources: Sequence[Dataset]) -> None:
    """Let `objects` pass if they are fit to be sent.

    Parameters
    ----------
    objects : sequence of Dataset
        All result objects of one analysis, as a receiver will read them.
    sources : sequence of Dataset
        Headers of all source instances, as received.

    Raises
    ------
    ReportError
        With every fault at once, without patient data.
    """
    known = {str(dataset.SOPInstanceUID) for dataset in (*sources, *objects)}
    segments = {
        (str(dataset.SOPInstanceUID), int(segment.SegmentNumber)): str(segment.TrackingUID)
        for dataset in objects
        for segment in dataset.get("SegmentSequence", ())
    }
    faults = []
    for dataset in objects:
        ours = [*_our_items(dataset)]
        found = [*_identity(dataset, sources), *_codes(ours), *_references(ours, known), *_numbers(ours)]
        if dataset.Modality == "SR":
            found += [*_document(dataset), *_groups(dataset, segments)]
        faults += [f"{dataset.Modality} {dataset.SeriesNumber}: {fault}" for fault in found]
    if faults:
        raise ReportError("the result objects must not be sent:\n" + "\n".join(faults))


def _identity(dataset: Dataset, sources: Sequence[Dataset]) -> Iterator[str]:
    for keywords, compared in ((_PATIENT, sources), (_STUDY, sources[:1])):
        for keyword in keywords:
            ours = text_as_received(dataset, keyword).rstrip("^=")
            if any(ours != text_as_received(source, keyword).rstrip("^=") for source in compared):
                yield f"{keyword} differs from that of a source instance"


def _text(dataset: Dataset, keyword: str) -> str:
    value = dataset.get(keyword)
    return "" if value is None else str(value)


def _codes(ours: Sequence[Dataset]) -> Iterator[str]:
    for item in ours:
        if "CodingSchemeDesignator" in item:
            triple = (_text(item, "CodeValue"), _text(item, "CodingSchemeDesignator"), _text(item, "CodeMeaning"))
            if triple not in codes.WRITTEN and triple not in _dictionary():
                yield f"code {triple} is neither in PS3.16 nor in our table"


@cache
def _dictionary() -> frozenset[tuple[str, str, str]]:
    """Return every code that PS3.16 has, as pydicom lists it."""
    return frozenset(
        (code.value, code.scheme_designator, code.meaning)
        for scheme in dictionary.schemes()
        for code in getattr(dictionary, scheme).concepts.values()
    )


def _references(ours: Sequence[Dataset], known: set[str]) -> Iterator[str]:
    lost = {uid for item in ours if (uid := _text(item, "ReferencedSOPInstanceUID"))} - known
    if lost:
        yield f"{len(lost)} references lead neither to a source instance nor to a result object"


def _numbers(ours: Sequence[Dataset]) -> Iterator[str]:
    for item in ours:
        for keyword in ("NumericValue", "FloatingPointValue"):
            if keyword in item and not math.isfinite(float(item[keyword].value)):
                yield f"{keyword} is not a number"


def _document(dataset: Dataset) -> Iterator[str]:
    flags = (dataset.CompletionFlag, dataset.VerificationFlag, dataset.PreliminaryFlag)
    if flags != ("COMPLETE", "UNVERIFIED", "PRELIMINARY"):
        yield f"it must be complete, unverified and preliminary, not {flags}"
    answers = {_name(item): item.ConceptCodeSequence[0] for item in dataset.ContentSequence if _is_code(item)}
    if codes.LANGUAGE not in answers:
        yield "it does not say its language"
    if codes.OBSERVER_TYPE not in answers or _code(answers[codes.OBSERVER_TYPE]) != codes.DEVICE:
        yield "it does not say that its observer is a device"
    evidence = {
        str(instance.ReferencedSOPInstanceUID)
        for study in dataset.get("CurrentRequestedProcedureEvidenceSequence", ())
        for series in study.ReferencedSeriesSequence
        for instance in series.ReferencedSOPSequence
    }
    tree = {
        str(reference.ReferencedSOPInstanceUID)
        for item in _content(dataset)
        for reference in item.get("ReferencedSOPSequence", ())
    }
    if tree - evidence:
        yield f"{len(tree - evidence)} instances that it refers to are not in its evidence"


def _groups(dataset: Dataset, segments: dict[tuple[str, int], str]) -> Iterator[str]:
    tracked: list[str] = []
    for group in _content(dataset):
        if _name(group) != codes.MEASUREMENT_GROUP:
            continue
        names = Counter(_name(item) for item in group.ContentSequence)
        for wanted in (codes.TRACKING_IDENTIFIER, codes.TRACKING_UNIQUE_IDENTIFIER):
            if names[wanted] != 1:
                yield f"a measurement group has {names[wanted]} times {wanted.meaning!r}, not once"
        own = [str(item.UID) for item in group.ContentSequence if _name(item) == codes.TRACKING_UNIQUE_IDENTIFIER]
        tracked += own
        for item in group.ContentSequence:
            for reference in item.get("ReferencedSOPSequence", ()):
                if "ReferencedSegmentNumber" in reference:
                    key = (str(reference.ReferencedSOPInstanceUID), int(reference.ReferencedSegmentNumber))
                    if segments.get(key) not in own:
                        yield "a measurement group and its segment have different Tracking UIDs"
    if len(set(tracked)) < len(tracked):
        yield "two measurement groups have one Tracking UID"


def _our_items(dataset: Dataset) -> Iterator[Dataset]:
    """Yield all sequence items that we wrote, at every depth."""
    for keyword in _OURS:
        for item in dataset.get(keyword, ()):
            yield item
            yield from _nested(item)


def _nested(dataset: Dataset) -> Iterator[Dataset]:
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                yield item
                yield from _nested(item)


def _content(dataset: Dataset) -> Iterator[Dataset]:
    """Yield all content items below `dataset`."""
    for item in dataset.get("ContentSequence", ()):
        yield item
        yield from _content(item)


def _is_code(item: Dataset) -> bool:
    return bool(item.ValueType == "CODE")


def _name(item: Dataset) -> Code | None:
    names = item.get("ConceptNameCodeSequence")
    return _code(names[0]) if names else None


def _code(item: Dataset) -> Code:
    return Code(item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning)
