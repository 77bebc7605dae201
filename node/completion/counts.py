"""Counts: what the headers of a series say is missing of it. Pure.

Headers count in several ways, none of which every scanner writes, or writes rightly: so a count that is not reached
lets a series wait longer, and one that is reached proves nothing.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from pydicom.dataset import Dataset

from node.completion.facts import StackFacts


def lacking_of(stacks: Sequence[StackFacts], headers: Sequence[Dataset]) -> str:
    """Return what is missing of a series by its own headers, in our own words; "" if nothing is known to be.

    Parameters
    ----------
    stacks : sequence of StackFacts
        The stacks of the series.
    headers : sequence of Dataset
        The headers of all its instances.
    """
    return "; ".join([*_gaps(stacks), *_short_stacks(stacks), *_time_points(headers), *_acquisitions(headers)])


def _gaps(stacks: Sequence[StackFacts]) -> Iterator[str]:
    """Yield the gaps between slices where nothing else of the series lies (`dicom.stacks`)."""
    for facts in stacks:
        for fault in facts.faults:
            if fault.text.startswith("gap") and "a slice there" not in fault.text:
                yield fault.text if len(stacks) == 1 else f"stack {facts.key.number}: {fault.text}"


def _short_stacks(stacks: Sequence[StackFacts]) -> Iterator[str]:
    """Yield the time points that have fewer slices than others of the series."""
    points = [facts for facts in stacks if "time point" in facts.splits]
    most = max((facts.slices for facts in points), default=0)
    for facts in points:
        if facts.slices < most:
            yield f"time point {facts.splits['time point']} has {facts.slices} of {most} slices"


def _time_points(headers: Sequence[Dataset]) -> Iterator[str]:
    """Yield whether there are fewer time points than Number of Temporal Positions (0020,0105) says.

    Of a single one that is left to `phases.lacking_phases`: the others may have come as a series each.
    """
    wanted = max((_number(header, "NumberOfTemporalPositions") for header in headers), default=0)
    here = {_number(header, "TemporalPositionIdentifier") for header in headers} - {0}
    if 1 < len(here) < wanted:
        yield f"{len(here)} of {wanted} time points"


def _acquisitions(headers: Sequence[Dataset]) -> Iterator[str]:
    """Yield the acquisitions with fewer instances than Images in Acquisition (0020,1002) says."""
    wanted_by = defaultdict[int, list[int]](list)
    for header in headers:
        wanted_by[_number(header, "AcquisitionNumber")].append(_number(header, "ImagesInAcquisition"))
    for acquisition, wanted in sorted(wanted_by.items()):
        if len(set(wanted)) == 1 and len(wanted) < wanted[0]:  # several: then it counts something else
            yield f"{len(wanted)} of {wanted[0]} images of acquisition {acquisition}"


def _number(header: Dataset, keyword: str) -> int:
    """Return a whole number of a header; 0 if there is none, or it is malformed."""
    try:
        return int(header.get(keyword) or 0)
    except Exception:  # what peers send may break pydicom anywhere; a count is only a hint
        return 0
