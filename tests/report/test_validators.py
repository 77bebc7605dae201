"""What the public validators say: dciodvfy, dcentvfy, DCMTK, PixelMed and highdicom over every shape of a result."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from node.analysis.recognition import recognized
from node.dicom.identifiers import derived_uid
from node.records import ResultRole
from node.report import SeriesEvidence
from node.report.earlier import read_report
from tests.builders import part10
from tests.conftest import needs, shared
from tests.report.builders import MEASUREMENTS, classic_series, enhanced_series, objects

PIXELMED = Path("/usr/share/java/pixelmed.jar")  # where Debian puts it


def series_of(shape: str) -> tuple[SeriesEvidence, ...]:
    """The series of a study of that shape's own, so that all can be checked in one run; one has multi-frame ones."""

    def edit(header: Dataset) -> None:
        header.StudyInstanceUID = derived_uid(shape)
        header.FrameOfReferenceUID = derived_uid(shape, "frame")
        header.SeriesInstanceUID = derived_uid(shape, header.SeriesDescription)
        header.StudyID = header.AccessionNumber = shape[:16]

    if shape == "findings without MRV":
        places = (3, 0, 7, 1, 6, 2, 5, 4)
        return enhanced_series("pre", places, edit), enhanced_series("post", places, edit)
    return tuple(classic_series(role, edit) for role in ("pre", "post", "mrv"))


@pytest.mark.slow
def test_no_validator_finds_an_error_in_any_shape_of_result(tmp_path):
    check = shared("tools", "report", "check_report.sh")
    needs("dsrdump", "dcmtk")
    needs("java", "default-jre-headless")
    if not PIXELMED.exists():
        pytest.skip("pixelmed.jar (Debian package libpixelmed-java) is not installed")
    results, sources = tmp_path / "results", tmp_path / "sources"
    results.mkdir()
    sources.mkdir()
    every, but_seg = (*ResultRole,), tuple(role for role in ResultRole if role is not ResultRole.SEG)
    shapes = [(shape, measurement, every) for shape, measurement in MEASUREMENTS.items()]
    shapes += [("segmentations off", MEASUREMENTS["findings with MRV"], but_seg)]
    shapes += [("compared with an earlier result", MEASUREMENTS["levels and a suspicion by EMG"], every)]
    for shape, measurement, wanted in shapes:
        series = series_of(shape)
        if shape == "compared with an earlier result":
            before = read_report(dcmread(results / "levels-and-a-suspicion-by-EMG.sr.dcm"))
            assert before is not None
            findings = recognized(measurement.findings, [before], None, "")
            assert findings.lesions[0].prior is not None
            measurement = replace(measurement, findings=findings)
        for name, dataset in objects(measurement, series, wanted=wanted).items():
            (results / f"{shape.replace(' ', '-')}.{name}.dcm").write_bytes(part10(dataset))
        for header in (header for one in series for header in one.headers):
            header.add_new("PixelData", "OW", bytes(2 * 64 * 64 * int(header.get("NumberOfFrames", 1))))
            (sources / f"{header.SOPInstanceUID}.dcm").write_bytes(part10(header))

    answer = subprocess.run(
        [check, results, sources],
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=240,
    )

    assert answer.stdout.rstrip().endswith("errors: 0"), answer.stdout
