"""What the headers of a study say of its order: keys to find it by, and what EMG suspects.

A site rule comes before the order's own words: whoever wrote it knows how this site writes.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from pydicom.dataset import Dataset

from node.emg.language import SuspectedSide, Unclear, parse_level, parse_side, read_text
from node.errors import SettingsError
from node.findings import Suspicion
from node.settings import EmgRule

SITE_RULE, ORDER = "site rule", "order"

_Answer = tuple[str, SuspectedSide] | Unclear

_OF_A_REQUEST = (
    "ReasonForTheRequestedProcedure",
    "ReasonForRequestedProcedureCodeSequence",
    "RequestedProcedureDescription",
    "ScheduledProcedureStepDescription",
)  # of an item of Request Attributes Sequence (PS3.3 table 10-9)
_OF_THE_STUDY = (
    "ReasonForTheRequestedProcedure",
    "ReasonForRequestedProcedureCodeSequence",
    "ReasonForPerformedProcedureCodeSequence",
    "RequestedProcedureDescription",
    "AdmittingDiagnosesDescription",
    "StudyDescription",
)  # at the top: on badly run sites, and of the General Study and Patient Study modules (PS3.3 C.7.2.1, C.7.2.2)


@dataclass(frozen=True, slots=True)
class Order:
    """What the headers say: keys of the study, and its EMG suspicion, or why none was taken ("" if none is named).

    Keys are text, decoded by the study's character set, composed (NFC): patient data.
    """

    accession_number: str = field(repr=False)
    study_date: str = field(repr=False)
    suspicion: Suspicion | None
    unclear: str
    patient_id: str = field(default="", repr=False)
    issuer: str = field(default="", repr=False)  # of the Patient ID


def read_order(headers: Sequence[Dataset], rules: Sequence[EmgRule]) -> Order:
    """Return what the headers, one of each series, say of the order that their study answers.

    Everything that speaks of EMG must agree: attributes among one another, and one series with the next.
    """
    first = headers[0] if headers else Dataset()
    suspicion, unclear = _first_that_speaks([_by_rules(headers, rules), _by_words(headers)])
    return Order(
        _key(first, "AccessionNumber"), _key(first, "StudyDate"), suspicion, unclear,
        _key(first, "PatientID"), _key(first, "IssuerOfPatientID"),
    )  # fmt: skip


def _key(header: Dataset, keyword: str) -> str:
    """Return the value of a keyword that a study is found by; "" if it is absent, or cannot be read."""
    return unicodedata.normalize("NFC", "".join(_texts(header, keyword))).strip(" \0")


def _first_that_speaks(answers: Sequence[Suspicion | Unclear | None]) -> tuple[Suspicion | None, str]:
    for answer in answers:
        if isinstance(answer, Unclear):
            return None, answer.reason
        if answer is not None:
            return answer, ""
    return None, ""


def _by_rules(headers: Sequence[Dataset], rules: Sequence[EmgRule]) -> Suspicion | Unclear | None:
    for number, rule in enumerate(rules, start=1):
        answers: set[_Answer] = {
            _apply(rule, match)
            for header in headers
            for text in _texts_of(header, rule.attribute)
            if (match := re.search(rule.pattern, text, re.IGNORECASE))
        }
        if answers:
            return _agreed(answers, SITE_RULE, f"rule {number}, {rule.attribute}")
    return None


def _apply(rule: EmgRule, match: re.Match[str]) -> _Answer:
    said = match.groupdict(default="")
    try:
        return parse_level(rule.level or said.get("level", "")), parse_side(rule.side or said.get("side", ""))
    except SettingsError:
        return Unclear("a site rule found no level or no side")


def _by_words(headers: Sequence[Dataset]) -> Suspicion | Unclear | None:
    answers: set[_Answer] = set()
    bases: list[str] = []
    for header in headers:
        for keyword, text in _words(header):
            answer = read_text(text)
            if answer is not None:
                answers.add(answer)
                bases.append(keyword)
    return _agreed(answers, ORDER, ", ".join(dict.fromkeys(bases))) if answers else None


def _agreed(answers: set[_Answer], source: str, basis: str) -> Suspicion | Unclear:
    """Return the one answer there is; an attribute that is unclear is a contradiction to one that is not."""
    clear = {answer for answer in answers if not isinstance(answer, Unclear)}
    unclear = sorted(answer.reason for answer in answers if isinstance(answer, Unclear))
    if unclear and not clear:
        return Unclear(unclear[0])
    if unclear or len(clear) > 1:
        return Unclear("attributes of the order contradict one another")
    ((level, side),) = clear
    return Suspicion(level, side, source, basis)


def _words(header: Dataset) -> Iterator[tuple[str, str]]:
    """Yield keyword and text of what an order is written in; each item of a request is one text."""
    for item in _requests(header):
        texts = [text for keyword in _OF_A_REQUEST for text in _texts(item, keyword)]
        yield "RequestAttributesSequence", ".\n".join(texts)
    for keyword in _OF_THE_STUDY:
        for text in _texts(header, keyword):
            yield keyword, text


def _texts_of(header: Dataset, attribute: str) -> Iterator[str]:
    """Yield the texts of an attribute, at the top and in the items of Request Attributes Sequence."""
    for item in (header, *_requests(header)):
        yield from _texts(item, attribute)


def _requests(header: Dataset) -> list[Dataset]:
    """Return the items of Request Attributes Sequence; none if it is absent, or no sequence that can be read."""
    try:
        return list(header.RequestAttributesSequence or [])
    except Exception:  # as in `_texts`
        return []


def _texts(dataset: Dataset, attribute: str) -> list[str]:
    """Return the value of a keyword, or a tag in eight hexadecimal digits, as texts; of a code its meaning."""
    try:
        element = dataset[attribute]
        if element.VR == "SQ":
            return [str(item.get("CodeMeaning") or "") for item in element.value]
        values = element.value if element.VM > 1 else [element.value]
        return ["; ".join(str(one) for one in values if one not in (None, ""))]
    except Exception:  # absent; or what peers send breaks pydicom, which costs the attribute, not the study
        return []
