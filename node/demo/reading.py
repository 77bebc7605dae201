"""Reading a measurement report (TID 1500) as a viewer would: tree in, lines out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset


@dataclass(frozen=True, slots=True)
class Measured:
    """One NUM item: in which group, of which site, what, how much, in which unit (UCUM)."""

    group: str
    site: str
    name: str
    value: float
    unit: str


@dataclass(frozen=True, slots=True)
class ReadReport:
    """What a report says: its answer to the exam, its texts, its measurements."""

    answer: str
    texts: tuple[tuple[str, str], ...]
    measured: tuple[Measured, ...]


def read_report(report: Dataset) -> ReadReport:
    """Return what a received report says."""
    items = list(_walk(report.ContentSequence))
    answer = next((_code(item) for item in items if _name(item) == "CAD Processing and Findings Summary"), "")
    texts = tuple((_name(item), str(item.TextValue)) for item in items if item.ValueType == "TEXT")
    groups = [item for item in items if item.ValueType == "CONTAINER" and _name(item) == "Measurement Group"]
    return ReadReport(answer, texts, tuple(one for group in groups for one in _measured(group)))


def _measured(group: Dataset) -> Iterator[Measured]:
    items = group.ContentSequence
    tracking = next((str(item.TextValue) for item in items if _name(item) == "Tracking Identifier"), "")
    site = ""
    for item in items:
        if _name(item) == "Finding Site":
            modifiers = [_code(child) for child in item.get("ContentSequence", []) if _name(child) == "Laterality"]
            site = " ".join([_code(item), *modifiers])
    for item in items:
        if item.ValueType == "NUM":
            value = item.MeasuredValueSequence[0]
            unit = str(value.MeasurementUnitsCodeSequence[0].CodeValue)
            how = [
                _code(child)
                for child in _walk(item.get("ContentSequence", []))
                if _name(child) in ("Derivation", "Topographical modifier")  # a vertebra, where it is of one level
            ]
            yield Measured(tracking, site, ", ".join([_name(item), *how]), float(value.NumericValue), unit)


def _walk(items: Sequence[Dataset]) -> Iterator[Dataset]:
    for item in items:
        yield item
        yield from _walk(item.get("ContentSequence", []))


def _name(item: Dataset) -> str:
    names = item.get("ConceptNameCodeSequence")
    return str(names[0].CodeMeaning) if names else ""


def _code(item: Dataset) -> str:
    return str(item.ConceptCodeSequence[0].CodeMeaning) if item.ValueType == "CODE" else ""
