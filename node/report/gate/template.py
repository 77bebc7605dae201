"""The content tree of a report against the templates: TID 1500 with 1204, 1002, 1411 or 1501, 1419 (PS3.16)."""

from collections.abc import Iterator

from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes as standard

from node.report import codes
from node.report.gate.reading import NONE, children, content, evidence, name_of, text, value_of

_HAS_CONCEPT_MOD, _HAS_OBS_CONTEXT, _CONTAINS = "HAS CONCEPT MOD", "HAS OBS CONTEXT", "CONTAINS"
_RELATIONSHIPS = {  # of what hangs in one way only, wherever it stands
    codes.LANGUAGE: _HAS_CONCEPT_MOD,
    standard.DCM.ProcedureReported: _HAS_CONCEPT_MOD,
    codes.OBSERVER_TYPE: _HAS_OBS_CONTEXT,
    standard.DCM.DeviceObserverUID: _HAS_OBS_CONTEXT,
    codes.IMAGE_LIBRARY: _CONTAINS,
    codes.IMAGING_MEASUREMENTS: _CONTAINS,
    codes.QUALITATIVE_EVALUATIONS: _CONTAINS,
    codes.MEASUREMENT_GROUP: _CONTAINS,
    codes.TRACKING_IDENTIFIER: _HAS_OBS_CONTEXT,
    codes.TRACKING_UNIQUE_IDENTIFIER: _HAS_OBS_CONTEXT,
    codes.FINDING: _CONTAINS,
    standard.SCT.FindingSite: _HAS_CONCEPT_MOD,
    standard.SCT.Laterality: _HAS_CONCEPT_MOD,
    standard.SCT.TopographicalModifier: _HAS_CONCEPT_MOD,
    standard.SCT.MeasurementMethod: _HAS_CONCEPT_MOD,
    standard.DCM.Derivation: _HAS_CONCEPT_MOD,
    standard.DCM.ReferencedSegment: _CONTAINS,
    codes.SOURCE_SERIES: _CONTAINS,
}
_ONCE = {  # right below the root: what says it, and what it must say; None: anything
    codes.LANGUAGE: codes.ENGLISH,
    codes.OBSERVER_TYPE: codes.DEVICE,
    standard.DCM.ProcedureReported: codes.PROCEDURE_REPORTED,
    codes.IMAGING_MEASUREMENTS: None,
}
_ONCE_IN_GROUP = (
    codes.TRACKING_IDENTIFIER, codes.TRACKING_UNIQUE_IDENTIFIER, codes.FINDING, standard.SCT.FindingSite,
)  # fmt: skip
_AT_LEAST_ONCE_IN_MEASUREMENTS = (standard.DCM.AlgorithmName, standard.DCM.AlgorithmVersion)  # TID 4019
_NEEDED = {  # what an item of a value type cannot be without (PS3.3 table C.17.3-7)
    "CODE": "ConceptCodeSequence",
    "CONTAINER": "ContinuityOfContent",
    "DATE": "Date",
    "IMAGE": "ReferencedSOPSequence",
    "NUM": "MeasuredValueSequence",
    "SCOORD": "GraphicData",
    "SCOORD3D": "GraphicData",
    "TEXT": "TextValue",
    "TIME": "Time",
    "UIDREF": "UID",
}


def unverified(dataset: Dataset) -> Iterator[str]:
    """Yield what is wrong with the flags of a report that nobody has looked at."""
    flags = tuple(text(dataset, keyword) for keyword in ("CompletionFlag", "VerificationFlag", "PreliminaryFlag"))
    if flags != ("COMPLETE", "UNVERIFIED", "PRELIMINARY"):
        yield f"GATE-STRUCTURE it must be complete, unverified and preliminary, not {flags}"


def document(dataset: Dataset) -> Iterator[str]:
    """Yield what is wrong with the document: title, template, evidence."""
    named = [
        (text(item, "TemplateIdentifier"), text(item, "MappingResource"))
        for item in dataset.get("ContentTemplateSequence", ())
    ]
    if named != [("1500", "DCMR")]:
        yield "GATE-TEMPLATE it does not name TID 1500 as its template"
    if name_of(dataset) != codes.REPORT_TITLE:
        yield "GATE-TEMPLATE its title is another than 'Imaging Measurement Report'"
    listed = {sop_instance for sop_instance, _ in evidence(dataset)}
    predecessors = dataset.get("PredecessorDocumentsSequence", ())
    tree = {
        text(reference, "ReferencedSOPInstanceUID")
        for item in content(dataset)
        for reference in item.get("ReferencedSOPSequence", ())
    }
    if any(text(one, "StudyInstanceUID") != text(dataset, "StudyInstanceUID") for one in predecessors):
        yield "GATE-REFERENCE its predecessor is of another study"
    if tree - listed:
        yield f"GATE-REFERENCE {len(tree - listed)} instances that it refers to are not in its evidence"


def tree(dataset: Dataset) -> Iterator[str]:
    """Yield what is wrong with the content tree."""
    for item in content(dataset):
        yield from _item(item)
    for name, wanted in _ONCE.items():
        found = children(dataset, name)
        if len(found) != 1:
            yield f"GATE-TEMPLATE it has {len(found)} times {name.meaning!r}, not once"
        elif wanted is not None and value_of(found[0]) != wanted:
            yield f"GATE-TEMPLATE {name.meaning!r} must be {wanted.meaning!r}"
    for container in children(dataset, codes.IMAGING_MEASUREMENTS):
        for name in _AT_LEAST_ONCE_IN_MEASUREMENTS:
            if not children(container, name):
                yield f"GATE-TEMPLATE it does not say its {name.meaning!r}"
        if not children(container, codes.MEASUREMENT_GROUP):
            yield "GATE-TEMPLATE it has no measurement group"
        for group in children(container, codes.MEASUREMENT_GROUP):
            for name in _ONCE_IN_GROUP:
                if (times := len(children(group, name))) != 1:
                    yield f"GATE-TEMPLATE a measurement group has {times} times {name.meaning!r}, not once"


def _item(item: Dataset) -> Iterator[str]:
    kind, name = text(item, "ValueType"), name_of(item)
    if name == NONE:
        yield f"GATE-STRUCTURE a content item ({kind}) has no name"
    needed = _NEEDED.get(kind)
    if needed is None or not item.get(needed):
        yield f"GATE-STRUCTURE a content item ({kind}) says nothing"
    wanted = _RELATIONSHIPS.get(name)
    if wanted is not None and item.get("RelationshipType") != wanted:
        yield f"GATE-TEMPLATE {name.meaning!r} hangs by {text(item, 'RelationshipType')!r}, not {wanted!r}"
