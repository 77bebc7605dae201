"""Recognition: which lesions of this study are those of earlier results of the patient. Pure; nothing is guessed.

In a study that is measured again a lesion is where it was. Where the images of another study could be registered with
these (`followup`) a lesion is recognized by its place, otherwise only by its vertebra, its side, and how far it lies
from the midsagittal plane and from the skin. Another study may have the same frame of reference, where a lesion should
be where it was; but that may be one used again for a patient who lay down anew, so a registration that was tried is
believed instead. Where place and vertebra say different things, and where one fits two lesions, nothing is recognized.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import Literal

from node.analysis.brought import Brought, Point
from node.findings import (
    VERTEBRAE,
    EarlierLesion,
    EarlierResult,
    Findings,
    LesionFindings,
    Recognition,
    Registration,
)

# Chosen; nobody has measured them. A second outline moves a centre by less than half of the lesion, or by a few mm.
_LEAST_SHIFT_MM = 4.0
_SHARE_OF_AXIS = 0.5
_BETWEEN_STUDIES_MM = 6.0  # on top of that, where images were registered: twice what 95 % of places miss [M]
# Chosen likewise. Posture and weight move a muscle against the skin more than against the midline.
_MIDLINE_MM = 10.0
_SKIN_MM = 15.0

# Basis and confidence of a recognition, and by what.
_Likeness = tuple[str, Literal["high", "medium"], Literal["place", "registration", "level"]]


def recognized(
    findings: Findings,
    earlier: Sequence[EarlierResult],
    revised: EarlierResult | None,
    frame_of_reference: str,
    brought: Mapping[str, Brought] | None = None,
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
    brought : mapping of str to Brought, optional
        By study, what was found of those earlier results whose images were there.
    """
    brought = brought or {}
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
        found = brought.get(result.study)
        places = {} if found is None else found.places
        frame = frame_of_reference if found is None else ""
        for number, before, likeness in _pairs(missing, known, frame, places, is_same_study=result is revised):
            if holders[before.tracking_identifier] != before.tracking_uid:
                continue
            tracks[number] = before
            if result is not revised:
                priors[number] = Recognition(before, result.study_date, *likeness)
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
    registrations = tuple(
        Registration(one.study, brought[one.study].gates, tuple(_empty(one, brought[one.study], lesions)))
        for one in earlier
        if one.study in brought
    )
    return replace(findings, lesions=tuple(lesions), earlier=tuple(earlier), registrations=registrations)


def _empty(result: EarlierResult, found: Brought, lesions: Sequence[LesionFindings]) -> Iterator[str]:
    """Yield the Tracking UIDs of lesions whose places were looked at, and are near to no candidate of either side."""
    for before in result.lesions:
        place = found.places.get(before.tracking_uid)
        if place is None or before.tracking_uid not in found.looked_at:
            continue
        if not any(_apart(one, before, place)[1] for one in lesions):
            yield before.tracking_uid


def _pairs(
    lesions: Sequence[LesionFindings],
    known: Sequence[EarlierLesion],
    frame_of_reference: str,
    places: Mapping[str, Point],
    *,
    is_same_study: bool,
) -> Iterator[tuple[int, EarlierLesion, _Likeness]]:
    """Yield number and earlier lesion of the pairs that are alike, where each is like no other."""
    alike = [
        (one.number, before, likeness)
        for one in lesions
        for before in known
        if (likeness := _likeness(one, before, frame_of_reference, places.get(before.tracking_uid), is_same_study))
    ]
    for number, before, likeness in alike:
        if sum(number == each or before is other for each, other, _likeness in alike) == 1:
            yield number, before, likeness


def _likeness(
    one: LesionFindings, before: EarlierLesion, frame_of_reference: str, place: Point | None, is_same_study: bool
) -> _Likeness | None:
    """Return why two lesions are to be taken for one; None if they are not, or nothing tells.

    `place` is where the earlier one would lie in this study, if its images were registered. `frame_of_reference` is ""
    where nothing may be told by it.
    """
    if one.side is not before.side:
        return None
    level = None if one.location is None else one.location.level
    is_of_another_level = level in VERTEBRAE and before.level in VERTEBRAE and level != before.level
    if frame_of_reference and before.frame_of_reference == frame_of_reference and before.centroid_mm is not None:
        apart_mm = math.dist(one.centroid_mm, before.centroid_mm)
        if apart_mm > _reach_mm(one, before) or (is_of_another_level and not is_same_study):
            return None
        return f"{apart_mm:.0f} mm apart in one frame of reference", "high" if is_same_study else "medium", "place"
    if place is not None:
        apart_mm, is_near = _apart(one, before, place)
        if not is_near or is_of_another_level:
            return None
        return f"{apart_mm:.0f} mm apart after registration of the earlier images", "medium", "registration"
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
    return f"both at {level} on the {one.side}, {shifted} against then; not registered", "medium", "level"


def _reach_mm(one: LesionFindings, before: EarlierLesion) -> float:
    """Return how far apart the centres of two outlines of one lesion may be."""
    return max(_LEAST_SHIFT_MM, _SHARE_OF_AXIS * min(one.long_axis_mm, before.long_axis_mm or 0.0))


def _apart(one: LesionFindings, before: EarlierLesion, place: Point) -> tuple[float, bool]:
    """Return how far a lesion is from the place of an earlier one, and whether that is near."""
    apart_mm = math.dist(one.centroid_mm, place)
    return apart_mm, apart_mm <= _reach_mm(one, before) + _BETWEEN_STUDIES_MM


def _shift(now_mm: float | None, then_mm: float | None, most_mm: float) -> float | None:
    """Return how much a distance grew; None if one is not known, or it differs by more than may be."""
    if now_mm is None or then_mm is None or abs(now_mm - then_mm) > most_mm:
        return None
    return now_mm - then_mm


def _unused(number: int, used: set[str]) -> str:
    """Return the identifier after a lesion's number, or the next one that is free."""
    return next(name for free in count(number) if (name := f"PVM lesion {free}") not in used)
