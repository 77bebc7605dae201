"""Measurement groups and segments: each pair under one Tracking UID, and nothing lost between them."""

from collections.abc import Iterator, Sequence

from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes as standard

from node.report import codes
from node.report.gate.reading import children, content, is_sr, name_of, text

_COORDINATES = ("SCOORD", "SCOORD3D")  # right below a group: it is of TID 1410, draws, and needs no segment


def groups(made: Sequence[Dataset]) -> Iterator[str]:
    """Yield what is wrong between the groups of the reports and the segments."""
    segments = {
        (text(dataset, "SOPInstanceUID"), int(segment.SegmentNumber)): text(segment, "TrackingUID")
        for dataset in made
        for segment in dataset.get("SegmentSequence", ())
    }
    series = {
        text(dataset, "SOPInstanceUID"): {text(one, "SeriesInstanceUID") for one in dataset.ReferencedSeriesSequence}
        for dataset in made
        if "SegmentSequence" in dataset
    }
    uids = list(segments.values())
    if len(set(uids)) < len(uids):
        yield "GATE-TRACKING two segments have one Tracking UID"
    for dataset in filter(is_sr, made):
        yield from _of_report(
            [one for one in content(dataset) if name_of(one) == codes.MEASUREMENT_GROUP], segments, series
        )


def _of_report(
    found: Sequence[Dataset], segments: dict[tuple[str, int], str], series: dict[str, set[str]]
) -> Iterator[str]:
    tracked = [text(item, "UID") for group in found for item in children(group, codes.TRACKING_UNIQUE_IDENTIFIER)]
    if len(set(tracked)) < len(tracked):
        yield "GATE-TRACKING two measurement groups have one Tracking UID"
    regional = [_refers(group) for group in found if not _draws(group)]
    if any(regional) and not all(regional):
        yield "GATE-TEMPLATE some measurement groups refer to their segments, others to none"
    if regional and not any(regional) and set(tracked) <= set(segments.values()):
        yield "GATE-TRACKING the measurement groups refer to no segment, though each has one"
    for group in found:
        own = [text(item, "UID") for item in children(group, codes.TRACKING_UNIQUE_IDENTIFIER)]
        named = {text(item, "UID") for item in children(group, codes.SOURCE_SERIES)}
        for item in children(group, standard.DCM.ReferencedSegment):
            for reference in item.get("ReferencedSOPSequence", ()):
                instance = text(reference, "ReferencedSOPInstanceUID")
                if segments.get((instance, int(reference.get("ReferencedSegmentNumber") or 0))) not in own:
                    yield "GATE-TRACKING a measurement group and its segment have different Tracking UIDs"
                if len(named) != 1 or not named <= series.get(instance, set()):
                    yield "GATE-TEMPLATE a measurement group does not name the series that its segment was drawn on"


def _refers(group: Dataset) -> bool:
    return bool(children(group, standard.DCM.ReferencedSegment))


def _draws(group: Dataset) -> bool:
    return any(text(item, "ValueType") in _COORDINATES for item in group.get("ContentSequence", ()))
