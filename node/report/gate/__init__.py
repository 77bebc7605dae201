"""The output gate: nothing leaves that we have not checked ourselves.

The public validators run in the tests; these are the faults that would hurt a patient, that no validator sees (a right
code under a wrong scheme, left and right changed over), or that would make an archive refuse us. Each has a code:

    GATE-IDENTITY   another patient or study than that of the images, or a UID twice
    GATE-STRUCTURE  SOP Class, Modality, flags, or what a content item cannot be without
    GATE-TEMPLATE   TID 1500, 1411, 1501, 2010: what must be there is not, or hangs wrongly
    GATE-CODE       a code that is neither in PS3.16 nor in our table
    GATE-REFERENCE  leads nowhere, or is not in the evidence
    GATE-TRACKING   lost, double or mixed-up Tracking UIDs, also against earlier results
    GATE-UNIT       a number without its unit, or with another
    GATE-RANGE      a number that cannot be, or is none
    GATE-SIDE       laterality against the voxels

Part of it: `objects` (what holds for every object), `template` (the content tree of an SR), `tracking` (groups and
segments), `comparison` (what is said of earlier results), `verification` (what a person verified), `coordinates` (what
is drawn), `limits` (units and ranges), `sides` (left and right).
"""

from collections.abc import Callable, Iterator, Sequence

from pydicom.dataset import Dataset

from node.errors import GateError
from node.findings import EarlierResult
from node.report.gate import comparison, coordinates, limits, objects, sides, template, tracking, verification
from node.report.gate.reading import is_sr

__all__ = ["check", "check_verified", "faults"]

_OF_ONE: tuple[Callable[[Dataset], Iterator[str]], ...] = (objects.kind, objects.codes_written, limits.numbers)
_OF_REPORT = (template.document, template.tree)


def check(made: Sequence[Dataset], sources: Sequence[Dataset], earlier: Sequence[EarlierResult] = ()) -> None:
    """Let objects pass if they are fit to be sent.

    Parameters
    ----------
    made : sequence of Dataset
        All result objects of one analysis, as a receiver will read them.
    sources : sequence of Dataset
        Headers of all source instances, as received.
    earlier : sequence of EarlierResult
        Results of older studies that they were compared with.

    Raises
    ------
    GateError
        With every fault at once, without patient data.
    """
    _refuse("the result objects", faults(made, sources, earlier))


def check_verified(report: Dataset, before: Dataset, others: Sequence[Dataset]) -> None:
    """Let a report pass that a person has verified.

    Parameters
    ----------
    report, before : Dataset
        As verified, and as it was made and passed; both as a receiver will read them.
    others : sequence of Dataset
        The other result objects of the analysis.

    Raises
    ------
    GateError
        With every fault at once, without patient data.
    """
    found = list(verification.verified(report, before))
    found += [fault for each in (*_OF_ONE, *_OF_REPORT) for fault in each(report)]
    made = [report, *others]
    found += [fault for one in made for fault in objects.identity(one, before, [before])]
    found += [*objects.uids(made, [before]), *tracking.groups(made), *sides.laterality(made, sides.segments_of(made))]
    _refuse("the verified report", found)


def _refuse(what: str, found: Sequence[str]) -> None:
    if found:
        raise GateError(f"{what} must not be sent:\n" + "\n".join(found))


def faults(made: Sequence[Dataset], sources: Sequence[Dataset], earlier: Sequence[EarlierResult] = ()) -> list[str]:
    """Return every fault as a line: object, code, what is wrong; arguments as of `check`."""
    found = []
    for one in made:
        checks = (*_OF_ONE, *((template.unverified, *_OF_REPORT) if is_sr(one) else ()))
        own = [*objects.identity(one, made[0], sources), *(fault for each in checks for fault in each(one))]
        found += [f"{one.get('Modality', '')} {one.get('SeriesNumber', '')}: {fault}" for fault in own]
    segments = sides.segments_of(made)
    for together in (
        objects.uids(made, sources),
        objects.references(made, sources),
        tracking.groups(made),
        comparison.with_earlier(made, earlier),
        coordinates.coordinates(made, sources, segments),
        sides.laterality(made, segments),
    ):
        found += together
    return found
