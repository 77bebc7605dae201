"""A folder that is measured: of what lies where the results go, nothing but earlier results is replaced."""

import json
from pathlib import Path

import pytest

from node.errors import FolderError, HeaderError
from node.folder import measure_folder
from node.settings import Settings
from tests.builders import part10, series_of

AGENT = {"ContrastBolusAgent": "GADOBUTROL"}


def written(folder: Path, *, pair: bool = False) -> Path:
    """Write a study that is not eligible, or a pair of a few voxels, which is refused with a report."""
    folder.mkdir()
    for number in (1, 2) if pair else (1,):
        clock = {"AcquisitionDate": "20260102", "AcquisitionTime": f"10{number:02d}00"}
        for one in series_of(number, **(clock | (AGENT if number == 2 else {}))):
            (folder / f"{one.SOPInstanceUID}.dcm").write_bytes(part10(one))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("within", [".", "out"])
def test_results_are_never_written_into_the_folder_of_the_study(tmp_path: Path, within: str) -> None:
    study = written(tmp_path / "study")
    (study / "2.25.1000.1.1.dcm").rename(study / "sr.dcm")
    before = contents(study)

    with pytest.raises(FolderError, match="lies in the folder of the study"):
        measure_folder(study, study / within, Settings())

    assert contents(study) == before


@pytest.mark.parametrize(
    ("findings", "named"),
    [
        (None, "map.dcm, seg-tumour.dcm, sr.dcm"),
        (b"{}", "findings.json, map.dcm, seg-tumour.dcm, sr.dcm"),
        (b'{"schema_version": "1.4", "objects": ["sr.dcm", "map.dcm", "../study"]}', "seg-tumour.dcm"),
        (
            b'{"schema_version": "1.4", "outcome": "of a release that listed no objects", "muscles": []}',
            "seg-tumour.dcm",
        ),
        (
            b'{"schema_version": "1.4", "summary": "of another program"}',
            "findings.json, map.dcm, seg-tumour.dcm, sr.dcm",
        ),
    ],
)
def test_files_that_no_findings_list_as_ours_are_left_alone(tmp_path: Path, findings: bytes | None, named: str) -> None:
    study, out = written(tmp_path / "study", pair=True), tmp_path / "out"
    out.mkdir()
    for name in ("sr.dcm", "map.dcm", "seg-tumour.dcm", "notes.txt"):
        (out / name).write_bytes(b"a researcher's own")
    if findings is not None:
        (out / "findings.json").write_bytes(findings)
    before = contents(out)

    with pytest.raises(FolderError, match=named):
        measure_folder(study, out, Settings())

    assert contents(out) == before


def test_the_results_of_a_release_that_did_not_list_them_are_its_own(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for name in ("seg-muscles.dcm", "map.dcm", "key-image-1.dcm", "sr.dcm", "pdf.dcm"):
        (out / name).write_bytes(b"of an earlier measurement")
    (out / "findings.json").write_text('{"schema_version": "1.4", "outcome": "findings", "muscles": []}')

    assert (
        measure_folder(written(tmp_path / "study"), out, Settings()).findings is None
    )  # not eligible, but not refused


@pytest.mark.slow
def test_a_measurement_that_was_cut_off_while_it_wrote_can_be_done_again(tmp_path: Path) -> None:
    study, out = written(tmp_path / "study", pair=True), tmp_path / "out"
    (out / "sr.dcm").mkdir(parents=True)  # where no file can be written
    (out / "seg-old.dcm").write_bytes(b"of an earlier measurement")
    (out / "findings.json").write_text('{"schema_version": "1.4", "objects": ["sr.dcm", "seg-old.dcm"]}')

    with pytest.raises(OSError, match=r"sr\.dcm"):
        measure_folder(study, out, Settings())
    cut_off = {path.name for path in out.iterdir()}
    (out / "sr.dcm").rmdir()
    (out / "sr.dcm").write_bytes(b"half of it")
    made = measure_folder(study, out, Settings())

    assert {"findings.json", "seg-old.dcm"} <= cut_off
    assert {path.name for path in out.iterdir()} == {"findings.json", *(path.name for path in made.objects)}


@pytest.mark.slow
def test_results_are_replaced_when_there_are_new_ones_and_not_before(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "I5.dcm").write_bytes(b"a researcher's own")
    for name in ("sr.dcm", "seg-old.dcm"):
        (out / name).write_bytes(b"of an earlier measurement")
    (out / "findings.json").write_text('{"schema_version": "1.4", "objects": ["sr.dcm", "seg-old.dcm"]}')
    before = contents(out)

    assert measure_folder(written(tmp_path / "not eligible"), out, Settings()).findings is None
    (tmp_path / "empty").mkdir()
    with pytest.raises(HeaderError):
        measure_folder(tmp_path / "empty", out, Settings())
    assert contents(out) == before

    made = measure_folder(written(tmp_path / "study", pair=True), out, Settings())
    listed = json.loads((out / "findings.json").read_bytes())["objects"]
    assert "sr.dcm" in listed == [path.name for path in made.objects]
    assert set(contents(out)) == {"findings.json", "I5.dcm", *listed}
    assert contents(out)["sr.dcm"] != before["sr.dcm"]
