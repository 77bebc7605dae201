"""Comparison: what is said of earlier results, against what those tell."""

import math
from collections.abc import Iterator, Mapping, Sequence

from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes as standard

from node.findings import EarlierLesion, EarlierResult, Side
from node.report import codes
from node.report.gate.reading import children, content, is_sr, name_of, nested, text, value_of

_SIDES = {Side.LEFT: codes.LEFT, Side.RIGHT: codes.RIGHT}
_TOLD = (codes.EARLIER_VOLUME, codes.EARLIER_LONG_AXIS, codes.EARLIER_ENHANCEMENT)
_COMPARED = (*_TOLD, codes.CHANGE_OF_VOLUME, codes.CHANGE_OF_LONG_AXIS, codes.CHANGE_OF_ENHANCEMENT, codes.RECOGNIZED)
_DIGITS = 1e-5  # relative: values are written with six digits


def with_earlier(made: Sequence[Dataset], earlier: Sequence[EarlierResult]) -> Iterator[str]:
    """Yield where objects say of earlier results what those do not tell, or refer to others."""
    known: dict[str, list[EarlierLesion]] = {}  # by Tracking UID: a lesion may be in several results, newest first
    for lesion in (one for result in earlier for one in result.lesions):
        known.setdefault(lesion.tracking_uid, []).append(lesion)
    reports = {one.sop_instance for one in earlier}
    for dataset in filter(is_sr, made):
        referred = {
            text(item, "ReferencedSOPInstanceUID")
            for one in dataset.get("PertinentOtherEvidenceSequence", ())
            for item in nested(one)
        } - {""}
        if referred - reports:
            yield "GATE-REFERENCE its other evidence is none of the results that it was compared with"
        for group in content(dataset):
            if name_of(group) == codes.MEASUREMENT_GROUP:
                yield from _of_group(group, known)


def _of_group(group: Dataset, known: Mapping[str, Sequence[EarlierLesion]]) -> Iterator[str]:
    uids = [text(item, "UID") for item in children(group, codes.TRACKING_UNIQUE_IDENTIFIER)]
    same = [before for uid in uids for before in known.get(uid, ())]
    if same:  # which of them it was compared with is not told: what fits one of them may be right
        yield from min((list(_against(group, before)) for before in same), key=len)
    elif any(children(group, name) for name in _COMPARED):
        yield "GATE-TRACKING a lesion is compared with an earlier one, and has not its Tracking UID"


def _against(group: Dataset, before: EarlierLesion) -> Iterator[str]:
    names = [text(item, "TextValue") for item in children(group, codes.TRACKING_IDENTIFIER)]
    if names != [before.tracking_identifier]:
        yield "GATE-TRACKING a lesion has the Tracking UID of an earlier one, and another Tracking Identifier"
    sites = children(group, standard.SCT.FindingSite)
    if [value_of(item) for site in sites for item in children(site, standard.SCT.Laterality)] != [_SIDES[before.side]]:
        yield "GATE-SIDE a lesion has the Tracking UID of an earlier one on the other side"
    told = (before.volume_mm3, before.long_axis_mm, before.enhancement_pct)
    for name, value in zip(_TOLD, told, strict=True):
        for item in children(group, name):
            said = [float(one.NumericValue) for one in item.get("MeasuredValueSequence", ())]
            if value is None or not all(math.isclose(one, value, rel_tol=_DIGITS) for one in said):
                yield f"GATE-RANGE {name.meaning!r} is not what the earlier result told"
