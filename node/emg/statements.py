"""Statements: what a person, or a small file of another system, says EMG found, and for which study."""

import csv
import io
import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from node.emg.language import SuspectedSide, parse_level, parse_side
from node.errors import SettingsError, StatementError

BY_HAND, DROP_FOLDER = "emg add", "drop folder"

_KEYS = ("study_instance_uid", "accession_number", "patient_id", "issuer_of_patient_id", "study_date")
_FIELDS = frozenset({*_KEYS, "level", "side"})
_MOST_STATEMENTS = 10_000  # in one file; chosen
_LONGEST_KEY = 64  # characters of a UID, and of LO and SH as stored (PS3.5 table 6.2-1)


@dataclass(frozen=True, slots=True)
class Statement:
    """Level and side, and the study they are for: by its UID, its accession number, or patient and date.

    The study may come later. Keys are patient data, and text in Unicode, composed (NFC).
    """

    level: str
    side: SuspectedSide
    source: str
    study: str = ""
    accession_number: str = ""
    patient_id: str = ""
    issuer: str = ""  # of the Patient ID; "" if that is not said
    study_date: str = ""  # YYYYMMDD

    def __repr__(self) -> str:
        return f"Statement({self.level}, {self.side}, {self.source})"


def statement(values: Mapping[str, Any], source: str) -> Statement:
    """Return the statement that a row of a file, or the command line, makes.

    Raises
    ------
    StatementError
        If a field is unknown, a level or side is none, or no study is named. No value is quoted.
    """
    if unknown := set(values) - _FIELDS:
        raise StatementError(f"{len(unknown)} unknown fields; known are: {', '.join(sorted(_FIELDS))}")
    said = {name: unicodedata.normalize("NFC", str(values.get(name) or "")).strip() for name in _FIELDS}
    said["study_date"] = said["study_date"].replace("-", "")
    if not (said["study_instance_uid"] or said["accession_number"] or (said["patient_id"] and said["study_date"])):
        raise StatementError("no study: give study_instance_uid, accession_number, or patient_id and study_date")
    if any(len(said[key]) > _LONGEST_KEY for key in _KEYS):
        raise StatementError(f"a key has more than {_LONGEST_KEY} characters")
    if not re.fullmatch(r"[0-9.]*", said["study_instance_uid"]):
        raise StatementError("study_instance_uid is no UID")
    if said["study_date"] and not (len(said["study_date"]) == 8 and said["study_date"].isdecimal()):
        raise StatementError("study_date is not YYYYMMDD")
    try:
        level, side = parse_level(said["level"]), parse_side(said["side"])
    except SettingsError as error:
        raise StatementError(str(error)) from error
    return Statement(
        level, side, source, said["study_instance_uid"], said["accession_number"], said["patient_id"],
        said["issuer_of_patient_id"], said["study_date"],
    )  # fmt: skip


def read_statements(content: bytes, *, is_csv: bool) -> tuple[Statement, ...]:
    """Return the statements of a JSON file (an object, or a list of them) or of a CSV file with a line of names.

    The whole file counts, or nothing of it.

    Raises
    ------
    StatementError
        With what is wrong in which row; no value is quoted.
    """
    rows = _csv_rows(content) if is_csv else _json_rows(content)
    if not rows or len(rows) > _MOST_STATEMENTS:
        raise StatementError(f"a file makes 1 to {_MOST_STATEMENTS} statements, this one {len(rows)}")
    made = []
    for number, row in enumerate(rows, start=1):
        try:
            made.append(statement(row, DROP_FOLDER))
        except StatementError as error:
            raise StatementError(f"statement {number}: {error}") from error
    return tuple(made)


def _json_rows(content: bytes) -> Sequence[Mapping[str, Any]]:
    try:
        values = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError):  # its text would quote the file
        raise StatementError("not JSON in UTF-8") from None
    rows = values if isinstance(values, list) else [values]
    if not all(isinstance(row, dict) for row in rows):
        raise StatementError("not an object, nor a list of objects")
    return rows


def _csv_rows(content: bytes) -> Sequence[Mapping[str, Any]]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise StatementError("not CSV in UTF-8") from None
    head = text.partition("\n")[0]
    delimiter = max(",;\t", key=head.count)
    try:
        rows = list(csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error:
        raise StatementError("not CSV") from None
    if any(None in row or None in row.values() for row in rows):
        raise StatementError("a line has more or fewer fields than the first")
    return [{name.strip(): value for name, value in row.items()} for row in rows]
