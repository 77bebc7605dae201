"""What a destination gets that does not take a report as it is: the same tree in an older SR SOP Class.

Comprehensive 3D SR adds SCOORD3D and references between items to Comprehensive SR, and that adds references to
Enhanced SR (PS3.3 A.35.2, A.35.3, A.35.13). Our report uses neither, so that it is valid as any of them once it is
labelled so. It is then another instance, with a UID of its own: derived, so that the same report is the same instance
each time it is sent.
"""

import copy
from collections.abc import Collection, Iterator, Mapping, Sequence

from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    EnhancedSRStorage,
)

from node.dicom.identifiers import derived_uid

BEST_FIRST = tuple(map(str, (Comprehensive3DSRStorage, ComprehensiveSRStorage, EnhancedSRStorage)))
NOTHING: Mapping[str, tuple[str, str]] = {}


def substitutes(one: Dataset) -> tuple[str, ...]:
    """Return the SOP Classes, best first, in which an object may go if its own is refused; none for most."""
    sop_class = str(one.SOPClassUID)
    if sop_class not in BEST_FIRST or not _is_plain(one):
        return ()
    return BEST_FIRST[BEST_FIRST.index(sop_class) + 1 :]


def fitted(
    objects: Sequence[Dataset], accepted: Collection[str], replaced: Mapping[str, tuple[str, str]] = NOTHING
) -> Iterator[Dataset]:
    """Yield each object, or what goes in its stead to a destination that accepts these SOP Classes.

    An object that refers to one that was replaced, now or earlier, refers to its replacement, and is thereby another
    instance as well. What was replaced in an earlier attempt goes as that again, while its class is accepted: the
    destination may have it. What fits in no way is yielded as it is.
    """
    known = dict(replaced)
    for one in objects:
        own = str(one.SOPClassUID)
        before, _ = known.pop(str(one.SOPInstanceUID), (own, ""))
        best = next((each for each in (before, own, *substitutes(one)) if each in accepted), own)
        stale = sorted(_references(one) & known.keys()) if known else []
        if best == own and not stale:
            yield one
            continue
        made = copy.deepcopy(one)
        uid = derived_uid("sent instead", one.SOPInstanceUID, best, *(known[each][1] for each in stale))
        made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = UID(best)
        made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = UID(uid)
        for item in _items(made):
            if (old := item.get("ReferencedSOPInstanceUID")) in stale:
                item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = map(UID, known[old])
        known[str(one.SOPInstanceUID)] = (best, uid)
        yield made


def _is_plain(report: Dataset) -> bool:
    """Return whether no item of the content tree has 3D coordinates, or refers to another item."""
    return not any(
        item.get("ValueType") == "SCOORD3D" or "ReferencedContentItemIdentifier" in item for item in _items(report)
    )


def _items(dataset: Dataset) -> Iterator[Dataset]:
    """Yield a data set and all items within it."""
    pending = [dataset]
    while pending:
        one = pending.pop()
        yield one
        for element in one:
            if element.VR == "SQ":
                pending.extend(element.value)


def _references(dataset: Dataset) -> set[str]:
    return {str(item.ReferencedSOPInstanceUID) for item in _items(dataset) if "ReferencedSOPInstanceUID" in item}
