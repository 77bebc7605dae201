"""Whose study it is at the destination: before a result is sent there, and a patient gets another one's report.

Compared is what both sides say. What is empty says nothing, and how a name is written down - case, trailing
delimiters, composed or decomposed characters (Unicode NFC) - does not count.
"""

import unicodedata

from pydicom.dataset import Dataset

from node.records import KnownStudy


def contradiction(result: Dataset, known: KnownStudy) -> str:
    """Return in what the destination knows the study otherwise than a result of ours; "" if in nothing.

    The values are not told: they are the patient's.
    """
    differing = []
    if _differ(_plain(result.get("PatientID")), _plain(known.patient_id)):
        differing.append("Patient ID")
    if _names_differ(str(result.get("PatientName") or ""), known.patient_name):
        differing.append("Patient's Name")
    if _differ(_plain(result.get("AccessionNumber")), _plain(known.accession_number)):
        differing.append("Accession Number")
    return f"the study is there under another {' and '.join(differing)}" if differing else ""


def _differ(ours: object, theirs: object) -> bool:
    return bool(ours) and bool(theirs) and ours != theirs


def _plain(value: object) -> str:
    return "" if value is None else str(value).strip(" \0")


def _names_differ(ours: str, theirs: str) -> bool:
    """Compare group by group, alphabetic, ideographic, phonetic: an archive may keep fewer (PS3.5 section 6.2)."""
    groups = zip(ours.split("="), theirs.split("="), strict=False)
    return any(_differ(_components(one), _components(other)) for one, other in groups)


def _components(group: str) -> tuple[str, ...]:
    components = [" ".join(part.split()) for part in unicodedata.normalize("NFC", group).casefold().split("^")]
    while components and not components[-1]:
        components.pop()
    return tuple(components)
