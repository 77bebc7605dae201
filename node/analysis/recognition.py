"""Recognition: which lesions of this study are those of earlier results of the patient. Pure; nothing is guessed.

Within one frame of reference (a study that is measured again) a lesion is where it was. Another study has another
frame: nothing registers the two, so a lesion is recognized only by its vertebra, its side, and how far it lies from the
midsagittal plane and from the skin. What fits two lesions is recognized as neither.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count
from typing import Literal

from node.findings import VERTEBRAE, EarlierLesion, EarlierResult, Findings, LesionFindings, Recognition

# Chosen; nobody has measured them. A second outline moves a centre by less than half of the lesion, or by a few mm.
_LEAST_SHIFT_MM = 4.0
_SHARE_OF_AXIS = 0.5
# Chosen likewise. Posture and weight move a muscle against the skin more than against the midline.
_MIDLINE_MM = 10.0
_SKIN_MM = 15.0

_Likeness = tuple[str, Literal["high", "medium"]]  # basis and confidence of a recognition


def recognized(
    findings: Findings, earlier: Sequence[EarlierResult], revised: EarlierResult | None, frame_of_reference: str
) -> Findings:
    """Return the findings with what earlier results tell of their lesions, and each lesion tracked.

    A lesion that was recognized has the Tracking Identifier and UID that it had; no other has an identifier that was
    in use. Results that knew nothing of each other may have given one identifier to two tracks: it is that of the track
    in the first of them, and a lesion of the other is not recognized.

    Parameters
    ----------
    earlier : sequence of EarlierResult
        Of older studies, newest first. Each lesion is looked for in the newest first.
    revised : EarlierResult or None
        The report of this study that is replaced: a lesion keeps the Tracking UID that it had there.
    frame_of_reference : str
        UID of that of the lesions' positions; "" if it has none.
    """
    priors: dict[int, Recognition] = {}
    tracks: dict[int, EarlierLesion] = {}
    all_results = [*earlier, *([] if revised is None else [revised])]
    holders: dict[str, str] = {}  # Tracking UID by identifier
    for one in (lesion for result in all_results for lesion in result.lesions):
        holders.setdefault(one.tracking_identifier, one.tracking_uid)
    for result in all_results:
        taken = {one.tracking_uid for one in tracks.values()}
        missing = [one for one in findings.lesions if one.number not in tracks]
        known = [one for one in result.lesions if one.tracking_uid not in taken]
        for number, before, (basis, confidence) in _pairs(missing, known, frame_of_reference):
            if holders[before.tracking_identifier] != before.tracking_uid:
                continue
            tracks[number] = before
            if result is not revised:
                priors[number] = Recognition(before, result.study_date, basis, confidence)
    used = {*holders}
    lesions = []
    for lesion in findings.lesions:
        track = tracks.get(lesion.number)
        name = _unused(lesion.number, used) if track is None else track.tracking_identifier
        used.add(name)
        uid = None if track is None else track.tracking_uid
        lesions.append(
            replace(lesion, tracking_identifier=name, tracking_uid=uid, prior=priors.get(lesion.number))
        )  # fmt: skip
    return replace(findings, lesions=tuple(lesions), earlier=tuple(earlier))


def _pairs(
    lesions: Sequence[LesionFindings], known: Sequence[EarlierLesion], frame_of_reference: str
) -> Iterator[tuple[int, EarlierLesion, _Likeness]]:
    """Yield number and earlier lesion of the pairs that are alike, where each is like no other."""
    alike = [
        (one.number, before, likeness)
        for one in lesions
        for before in known
        if (likeness := _likeness(one, before, frame_of_reference)) is not None
    ]
    for number, before, likeness in alike:
        if sum(number == each or before is other for each, other, _likeness in alike) == 1:
            yield number, before, likeness


def _likeness(one: LesionFindings, before: EarlierLesion, frame_of_reference: str) -> _Likeness | None:
    """Return why two lesions are to be taken for one; None if they are not, or nothing tells."""
    if one.side is not before.side:
        return None
    if frame_of_reference and before.frame_of_reference == frame_of_reference and before.centroid_mm is not None:
        apart_mm = math.dist(one.centroid_mm, before.centroid_mm)
        shorter_mm = min(one.long_axis_mm, before.long_axis_mm or 0.0)
        if apart_mm > max(_LEAST_SHIFT_MM, _SHARE_OF_AXIS * shorter_mm):
            return None
        return f"{apart_mm:.0f} mm apart in one frame of reference", "high"
    level = None if one.location is None else one.location.level
    if level not in VERTEBRAE or level != before.level:
        return None
    shifts = [
        _shift(one.midline_distance_mm, before.midline_distance_mm, _MIDLINE_MM),
        _shift(one.skin_distance_mm, before.skin_distance_mm, _SKIN_MM),
    ]
    if None in shifts:
        return None
    midline_mm, skin_mm = shifts
    shifted = f"{midline_mm:+z.0f} mm from the midline and {skin_mm:+z.0f} mm from the skin"
    return f"both at {level} on the {one.side}, {shifted} against then; not registered", "medium"


def _shift(now_mm: float | None, then_mm: float | None, most_mm: float) -> float | None:
    """Return how much a distance grew; None if one is not known, or it differs by more than may be."""
    if now_mm is None or then_mm is None or abs(now_mm - then_mm) > most_mm:
        return None
    return now_mm - then_mm


def _unused(number: int, used: set[str]) -> str:
    """Return the identifier after a lesion's number, or the next one that is free."""
    return next(name for free in count(number) if (name := f"PVM lesion {free}") not in used)
