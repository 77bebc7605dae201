"""Rules: what is missing of a study, and which older studies are its priors. Pure.

An archive says little of a series: modality, description, body part. So the rules here are coarser than the roles of
completion, which see the headers; what is pulled in vain costs time, and nothing else.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta

from node.dicom.identifiers import SeriesUID, StudyUID
from node.records import REPORT_SERIES
from node.retrieval.answers import SeriesAnswer, StudyAnswer

_MR = "MR"
# English, German, French, Italian, Spanish, Dutch as they are met in descriptions; chosen.
_REGIONS = {
    "cervical": re.compile(r"(?<![a-z])(c[- _]?(spine|ws|wz)|hws)|[cz]ervi[ck]al", re.I),
    "thoracic": re.compile(r"(?<![a-z])((t|d|th)[- _]?(spine|ws|wz)|bws)|thora[ck]|dorsal", re.I),
    "lumbar": re.compile(r"(?<![a-z])((l|ls)[- _]?(spine|ws|wz|wk))|lumb|lomb|lenden|sacr(?!if)|sakr", re.I),
}
_SPINE = re.compile(r"spin(e|al)|wirbel|rachis|column|colonna|columna|wervel|vertebr|myelo|(?<![a-z])ws(?![a-z])", re.I)
_LOCALIZER = re.compile(r"(?<![a-z])(loc|localizer|localiser|scout|survey|plan|3[- ]?pl(ane)?)(?![a-z])", re.I)
_SAGITTAL = re.compile(r"(?<![a-z])sag", re.I)


def spine_regions(texts: Iterable[str]) -> frozenset[str] | None:
    """Return which regions of the spine descriptions and body parts name; none of them if just "spine".

    None if nothing says that it is about a spine at all.
    """
    said = " / ".join(texts)
    regions = frozenset(region for region, words in _REGIONS.items() if words.search(said))
    return regions if regions or _SPINE.search(said) else None


def missing_series(
    archived: Collection[SeriesAnswer], held: Mapping[SeriesUID, int], *, planes_only: bool, most_instances: int
) -> list[SeriesAnswer]:
    """Return the MR series that the archive has, or has more of than we hold.

    Parameters
    ----------
    archived : collection of SeriesAnswer
        What the archive has of the study.
    held : mapping
        How many instances of each series we hold.
    planes_only : bool
        Only what is described as localizer or sagittal: by it levels are named.
    most_instances : int
        A larger series is left where it is.
    """
    return [
        one
        for one in archived
        if one.modality == _MR
        and (not planes_only or _LOCALIZER.search(one.description) or _SAGITTAL.search(one.description))
        and (one.instances or 1) <= most_instances
        and held.get(one.series, 0) < (one.instances or 1)
    ]


def same_patient(ours: tuple[str, str], answer: StudyAnswer) -> bool:
    """Return whether a study of an archive is of the patient with that Patient ID and issuer.

    Issuers that are both named must be the same; many archives name none.
    """
    patient_id, issuer = (text.strip(" \0") for text in ours)
    return bool(patient_id) and answer.patient_id == patient_id and _agree(answer.issuer, issuer)


def other_patient(ours: tuple[str, str], answer: StudyAnswer) -> bool:
    """Return whether a study of an archive is of somebody else for certain.

    What is not ASCII cannot be compared: our Patient ID is the bytes that came, in whatever character set.
    """
    patient_id, issuer = (text.strip(" \0") for text in ours)
    comparable = patient_id.isascii() and issuer.isascii()
    return comparable and not (_agree(answer.patient_id, patient_id) and _agree(answer.issuer, issuer))


def priors(
    candidates: Iterable[StudyAnswer],
    *,
    study: StudyUID,
    patient: tuple[str, str],
    known: StudyAnswer | None,
    regions: frozenset[str] | None,
    today: str,
    days: int,
    most: int,
) -> list[StudyAnswer]:
    """Return the older MR studies of the same patient, newest first, that may be of the same part of the spine.

    Parameters
    ----------
    candidates : iterable of StudyAnswer
        What the archive has under the Patient ID.
    study, patient, known, regions
        The study in hand: its UID, Patient ID and issuer as received, how the archive has it if it does, and the
        regions of the spine that its descriptions name (None, or none: any).
    today : str
        The day, YYYYMMDD, before which priors lie if the archive does not have the study itself.
    days, most : int
        How far back, and how many at most.
    """
    before = known.acquired if known and known.acquired else today
    earliest = _days_before(before, days)
    found = []
    for one in candidates:
        if one.study == study or _MR not in one.modalities or not same_patient(patient, one):
            continue
        if known and not _agree(one.birth_date, known.birth_date):
            continue  # one Patient ID given to two people
        if not (earliest <= one.acquired[:8] and one.acquired < before):
            continue
        theirs = spine_regions([one.description])
        if one.description and (theirs is None or not may_overlap(theirs, regions)):
            continue
        found.append(one)
    return sorted(found, key=lambda one: (one.acquired, one.study), reverse=True)[:most]


def is_our_report(series: SeriesAnswer) -> bool:
    """Return whether a series holds a report of this node, as far as an archive says; who reads it looks closer."""
    return series.modality == "SR" and series.description.startswith(REPORT_SERIES)


def of_regions(series: SeriesAnswer, study: StudyAnswer, regions: frozenset[str] | None) -> bool:
    """Return whether a series of a prior is about the spine, and about none but other regions of it."""
    theirs = spine_regions([study.description, series.description, series.body_part])
    return theirs is not None and may_overlap(theirs, regions)


def may_overlap(one: frozenset[str], other: frozenset[str] | None) -> bool:
    """Return whether two sets of regions share one; a set that names none may be any."""
    return not one or not other or bool(one & other)


def _agree(one: str, other: str) -> bool:
    return not one or not other or one == other


def _days_before(day: str, days: int) -> str:
    try:
        return (datetime.strptime(day[:8], "%Y%m%d") - timedelta(days=days)).strftime("%Y%m%d")
    except (ValueError, OverflowError):
        return "99999999"  # without a day there is no "before"
