"""What an archive answers to a C-FIND, as plain values: checked, and doubted where archives are known to be wrong."""

from collections.abc import Iterable
from dataclasses import dataclass

from pydicom.dataset import Dataset

from node.dicom.identifiers import InstanceUID, SeriesUID, StudyUID, is_uid
from node.records import KnownStudy

_MOST_INSTANCES = 1_000_000  # of one series; beyond it the number is garbage; chosen


@dataclass(frozen=True, slots=True, repr=False)
class StudyAnswer:
    """A study as an archive has it; its patient is not shown. `acquired` is StudyDate and StudyTime, or ""."""

    study: StudyUID
    patient_id: str
    issuer: str
    birth_date: str
    acquired: str
    description: str
    modalities: frozenset[str]


@dataclass(frozen=True, slots=True, repr=False)
class SeriesAnswer:
    """A series as an archive has it; `instances` is None where the archive does not say, or says what cannot be."""

    series: SeriesUID
    modality: str
    description: str
    body_part: str
    instances: int | None


def read_studies(answers: Iterable[Dataset]) -> list[StudyAnswer]:
    """Return the studies of answers at the STUDY level (PS3.4 table C.6-2); what names no study is left out."""
    found = {}
    for one in answers:
        uid = _text(one, "StudyInstanceUID")
        if is_uid(uid):
            words = _text(one, "ModalitiesInStudy").replace("[", " ").replace("]", " ").replace("'", " ")
            found[uid] = StudyAnswer(
                study=StudyUID(uid),
                patient_id=_text(one, "PatientID"),
                issuer=_text(one, "IssuerOfPatientID"),
                birth_date=_text(one, "PatientBirthDate"),
                acquired=_digits(_text(one, "StudyDate")) + _digits(_text(one, "StudyTime").partition(".")[0]),
                description=_text(one, "StudyDescription"),
                modalities=frozenset(words.replace(",", " ").replace("\\", " ").split()),
            )
    return list(found.values())


def read_known(answers: Iterable[Dataset], study: StudyUID) -> KnownStudy | None:
    """Return whose a study is, of answers at the STUDY level; what is of another study is left out."""
    for one in answers:
        if _text(one, "StudyInstanceUID") == study:
            return KnownStudy(_text(one, "PatientID"), _text(one, "PatientName"), _text(one, "AccessionNumber"))
    return None


def read_series(answers: Iterable[Dataset], study: StudyUID) -> list[SeriesAnswer]:
    """Return the series of answers at the SERIES level (PS3.4 table C.6-3).

    Left out is what names no series, and what is of another study: some archives do not look at every key. Of a series
    that is answered twice with different numbers, the number is not known.
    """
    found: dict[str, SeriesAnswer] = {}
    for one in answers:
        uid = _text(one, "SeriesInstanceUID")
        if not is_uid(uid) or _text(one, "StudyInstanceUID") not in ("", study):
            continue
        answer = SeriesAnswer(
            series=SeriesUID(uid),
            modality=_text(one, "Modality"),
            description=_text(one, "SeriesDescription"),
            body_part=_text(one, "BodyPartExamined"),
            instances=_number(one, "NumberOfSeriesRelatedInstances"),
        )
        before = found.get(uid)
        if before is not None and before.instances != answer.instances:
            answer = SeriesAnswer(answer.series, answer.modality, answer.description, answer.body_part, None)
        found[uid] = answer
    return list(found.values())


def read_instances(answers: Iterable[Dataset], series: SeriesUID) -> frozenset[InstanceUID]:
    """Return the instances of answers at the IMAGE level (PS3.4 table C.6-4), those of other series left out."""
    return frozenset(
        InstanceUID(uid)
        for one in answers
        if _text(one, "SeriesInstanceUID") in ("", series) and is_uid(uid := _text(one, "SOPInstanceUID"))
    )


def _text(answer: Dataset, keyword: str) -> str:
    try:
        value = answer.get(keyword)
    except Exception:  # pydicom converts a value when it is asked for, and may fail in any way
        return ""
    return "" if value is None else str(value).strip(" \0")


def _digits(text: str) -> str:
    """Return a date or time without the separators of ACR-NEMA, which some archives keep."""
    return "".join(one for one in text if one.isdigit())


def _number(answer: Dataset, keyword: str) -> int | None:
    """Return a number of instances; zero, of a series that the archive says to have, is no number."""
    try:
        number = int(_text(answer, keyword))
    except ValueError:
        return None
    return number if 0 < number <= _MOST_INSTANCES else None
