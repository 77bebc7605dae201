"""Files of the drop folder, row by row."""

import json

import pytest

from node.emg import Statement, read_statements
from node.errors import StatementError

LEFT = {"accession_number": "A1", "level": "L4/5", "side": "li"}


def as_json(*rows: object) -> bytes:
    return json.dumps(rows[0] if len(rows) == 1 else rows).encode()


def test_json_is_one_object_or_a_list() -> None:
    expected = Statement("L4-L5", "left", "drop folder", accession_number="A1")

    assert read_statements(as_json(LEFT), is_csv=False) == (expected,)
    assert read_statements(b"\xef\xbb\xbf" + as_json(LEFT, LEFT), is_csv=False) == (expected, expected)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_has_a_line_of_names_and_the_delimiter_of_the_country(delimiter: str) -> None:
    lines = [["patient_id", "study_date", "level", "side"], ["P1", "2026-01-02", "Th11", "Rechts"]]
    content = "\r\n".join(delimiter.join(line) for line in lines).encode()

    assert read_statements(content, is_csv=True) == (
        Statement("T11", "right", "drop folder", patient_id="P1", study_date="20260102"),
    )


@pytest.mark.parametrize(
    ("content", "is_csv", "reason"),
    [
        (b"{", False, "not JSON"),
        (b"\xff", False, "not JSON"),
        (b"[1]", False, "not an object"),
        (b"[]", False, "this one 0"),
        (b"[" * 100_000, False, "not JSON"),
        (as_json(LEFT, LEFT | {"side": "SECRET"}), False, "statement 2: a side is left, right or both"),
        (as_json(LEFT | {"level": "SECRET"}), False, "statement 1: a level is a nerve root"),
        (as_json(LEFT | {"SECRET": "x"}), False, "1 unknown fields"),
        (as_json({"level": "L4", "side": "left"}), False, "no study"),
        (as_json({"level": "L4", "side": "left", "patient_id": "SECRET"}), False, "no study"),
        (as_json(LEFT | {"study_date": "SECRET"}), False, "not YYYYMMDD"),
        (as_json(LEFT | {"study_instance_uid": "SECRET"}), False, "no UID"),
        (as_json(LEFT | {"accession_number": "SECRET" * 20}), False, "more than 64"),
        (b"accession_number,level,side\nA1,L4", True, "more or fewer fields"),
        (b"accession_number,level,side\nA1,L4,left,SECRET", True, "more or fewer fields"),
        (b"", True, "this one 0"),
        (b"\xff\xfe", True, "not CSV"),
    ],
)
def test_what_cannot_be_taken_is_refused_as_a_whole_without_a_word_of_it(
    content: bytes, is_csv: bool, reason: str
) -> None:
    with pytest.raises(StatementError, match=reason) as refused:
        read_statements(content, is_csv=is_csv)

    assert "SECRET" not in str(refused.value)


def test_a_statement_does_not_show_its_keys() -> None:
    assert "A1" not in repr(read_statements(as_json(LEFT), is_csv=False))
