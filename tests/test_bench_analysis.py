"""The writer of the analysis's tables, on rows that were made up."""

from benchmarks.analysis import FILE, plain, section, write
from benchmarks.sheet import Sheet


def _sheet(title: str = "Made up", value: str = "1") -> Sheet:
    return Sheet(title, ("what", "value"), [("row", value)])


def test_rows_with_different_names_share_one_table_and_what_a_row_lacks_stays_empty():
    sheet = plain("Made up", [{"what": "a", "share": 0.12345}, {"what": "b", "at scores": {0.5: 0.9, 1.0: 0.75}}])

    assert list(sheet.columns) == ["what", "share", "at scores"]
    assert [list(row) for row in sheet.rows] == [["a", "0.123", ""], ["b", "", "0.5: 0.9, 1: 0.75"]]


def test_a_section_says_how_it_came_about_before_its_tables_and_shows_its_figure():
    text = section("speed", "2026-01-01, `command`", [_sheet()], figure=True)

    lines = [line for line in text.splitlines() if line]
    assert lines[:3] == ["# speed", "2026-01-01, `command`", "## Made up"]
    assert lines[-2:] == ["| row | 1 |", "![speed](speed.png)"]


def test_a_part_that_runs_again_replaces_its_own_section_only(tmp_path):
    for name, value in (("speed", "1"), ("vessels", "2"), ("speed", "3")):
        write(tmp_path, name, "then", [_sheet(value=value)], None)

    text = (tmp_path / FILE).read_text("utf-8")
    assert "| row | 1 |" not in text
    assert text.index("# vessels") < text.index("| row | 2 |") < text.index("# speed") < text.index("| row | 3 |")
    assert text.count("Written by") == 1
