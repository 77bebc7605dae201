"""How the gate reads what was built: items, names, references."""

from collections.abc import Iterator

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import Comprehensive3DSRStorage, ComprehensiveSRStorage, EnhancedSRStorage

NONE = Code("", "", "")  # where there is no code: pydicom's cannot be compared with anything else
_REPORTS = (Comprehensive3DSRStorage, ComprehensiveSRStorage, EnhancedSRStorage)


def is_sr(dataset: Dataset) -> bool:
    """Return whether an object is a report, by its SOP Class."""
    return dataset.get("SOPClassUID") in _REPORTS


def nested(dataset: Dataset) -> Iterator[Dataset]:
    """Yield all sequence items within a data set."""
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                yield item
                yield from nested(item)


def content(dataset: Dataset) -> Iterator[Dataset]:
    """Yield all content items below an item."""
    for item in dataset.get("ContentSequence", ()):
        yield item
        yield from content(item)


def children(item: Dataset, name: Code) -> list[Dataset]:
    """Return the content items right below an item that have a name."""
    return [one for one in item.get("ContentSequence", ()) if name_of(one) == name]


def name_of(item: Dataset) -> Code:
    """Return the concept name of a content item, or `NONE`. Codes are equal whatever their meaning."""
    return code_in(item, "ConceptNameCodeSequence")


def value_of(item: Dataset) -> Code:
    """Return the code that a CODE item says, or `NONE`."""
    return code_in(item, "ConceptCodeSequence")


def code_in(item: Dataset, keyword: str) -> Code:
    """Return the first code of a sequence, or `NONE`."""
    codes = item.get(keyword)
    return Code(*triple(codes[0])) if codes else NONE


def triple(item: Dataset) -> tuple[str, str, str]:
    """Return value, scheme and meaning of a code's item."""
    return text(item, "CodeValue"), text(item, "CodingSchemeDesignator"), text(item, "CodeMeaning")


def evidence(document: Dataset) -> Iterator[tuple[str, str]]:
    """Yield SOP Instance and Series Instance UID of what a document lists as evidence of the requested procedure."""
    for study in document.get("CurrentRequestedProcedureEvidenceSequence", ()):
        for series in study.get("ReferencedSeriesSequence", ()):
            for instance in series.get("ReferencedSOPSequence", ()):
                yield text(instance, "ReferencedSOPInstanceUID"), text(series, "SeriesInstanceUID")


def text(item: Dataset, keyword: str) -> str:
    """Return an attribute as text; "" if it is missing or empty."""
    value = item.get(keyword)
    return "" if value is None else str(value)
