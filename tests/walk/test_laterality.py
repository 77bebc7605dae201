"""Left is the patient's left: from what a scanner writes to what the report says, however the images are turned."""

import io
from collections.abc import Sequence
from copy import deepcopy
from functools import cache
from itertools import product
from typing import get_args

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from node.analysis import CompartmentSegmenter, MultiscaleDetector, measure
from node.analysis.grid import Grid
from node.dicom.volumes import stack
from node.findings import Measurement, Side, StudyVolumes
from node.report import SeriesEvidence, build
from node.settings import AnalysisSettings, ReportSettings
from node.simulator import Recipe, SimulatedStudy, simulate
from node.simulator.recipe import LesionRecipe, PatientPosition
from tests.builders import part10
from tests.report.builders import STARTED

POSITIONS = get_args(PatientPosition)
# The eight ways to lay a plane into rows and columns: mirrored at the diagonal or not, rows and columns run backwards
# or not. With an odd number of these the slice normal is turned as well, and with it the order of the slices.
TURNS = list(product((False, True), repeat=3))
SNOMED_SIDES = {"7771000": Side.LEFT, "24028007": Side.RIGHT}


@cache
def study(position: PatientPosition, side: Side) -> SimulatedStudy:
    """A study with one lesion, in large voxels."""
    lesion = LesionRecipe(side=side, diameter_mm=16, vessels=0)
    return simulate(
        Recipe(patient_position=position, lesions=(lesion,), series=("pre", "post"), pixel_mm=1.5, slices=9, snr=40)
    )


def turned(instances: Sequence[Dataset], turn: tuple[bool, bool, bool]) -> list[Dataset]:
    """Return the same voxels at the same places of the patient, written in other rows and columns."""
    transposed, rows_back, columns_back = turn
    made = []
    for one in instances:
        dataset = deepcopy(one)
        pixels = dataset.pixel_array
        along_row, along_column = np.array(dataset.ImageOrientationPatient, float).reshape(2, 3)
        row_mm, column_mm = (float(step) for step in dataset.PixelSpacing)
        place = np.array(dataset.ImagePositionPatient, float)
        if rows_back:
            pixels, place = pixels[::-1], place + along_column * row_mm * (pixels.shape[0] - 1)
            along_column = -along_column
        if columns_back:
            pixels, place = pixels[:, ::-1], place + along_row * column_mm * (pixels.shape[1] - 1)
            along_row = -along_row
        if transposed:
            pixels, along_row, along_column = pixels.T, along_column, along_row
            row_mm, column_mm = column_mm, row_mm
        dataset.Rows, dataset.Columns = pixels.shape
        dataset.PixelSpacing = [row_mm, column_mm]
        dataset.ImageOrientationPatient = [*along_row.tolist(), *along_column.tolist()]
        dataset.ImagePositionPatient = [round(one, 6) for one in place.tolist()]
        dataset.PixelData = np.ascontiguousarray(pixels).tobytes()
        made.append(dataset)
    return made


@cache
def as_acquired(position: PatientPosition) -> Grid:
    return Grid.of(stack(study(position, Side.LEFT).of("pre")))


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("turn", TURNS)
def test_the_analysis_sees_the_same_patient_however_the_images_are_turned(
    turn: tuple[bool, bool, bool], position: PatientPosition
) -> None:
    straight = as_acquired(position)

    other = Grid.of(stack(turned(study(position, Side.LEFT).of("pre"), turn)))

    assert np.array_equal(other.signal, straight.signal)
    assert np.allclose(other.geometry.affine, straight.geometry.affine, atol=1e-4)
    assert other.geometry.directions[0, 2] > 0.99  # the last axis runs to the patient's left: x of LPS


@pytest.mark.slow
@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("turn", TURNS)
def test_findings_segmentations_and_report_name_the_side_of_the_lesion(
    turn: tuple[bool, bool, bool], position: PatientPosition
) -> None:
    side = Side.LEFT if sum(turn) % 2 else Side.RIGHT
    series = {role: turned(study(position, side).of(role), turn) for role in ("pre", "post")}
    truth = np.array(study(position, side).truth.lesions[0].centre_mm)

    measurement, objects = reported(series)

    (lesion,) = measurement.findings.lesions
    assert lesion.side is side
    assert np.linalg.norm(np.array(lesion.centroid_mm) - truth) < 8
    muscles = {one.side: one for one in measurement.findings.muscles}
    assert muscles[Side.LEFT].location.position_mm[0] > 10
    assert muscles[Side.RIGHT].location.position_mm[0] < -10
    for name, wanted in (("seg-muscles", {"left": 1, "right": -1}), ("seg-lesions", {side.value: np.sign(truth[0])})):
        found = drawn(objects[name])
        assert {where: np.sign(x) for where, x in found.items()} == wanted
    assert sides_said(objects["sr"]) == sorted([side.value, "left", "right"])


def reported(series: dict[str, list[Dataset]]) -> tuple[Measurement, dict[str, Dataset]]:
    """Return what the analysis finds, and the result objects as a receiver reads them."""
    volumes = {role: stack(instances) for role, instances in series.items()}
    measurement = measure(
        StudyVolumes(**volumes),
        settings=AnalysisSettings(),
        segmenter=CompartmentSegmenter(),
        detector=MultiscaleDetector(),
    )
    evidence = []
    for role, instances in series.items():
        index = {one.SOPInstanceUID: number for number, one in enumerate(instances)}
        slices = tuple(
            (index[uid], frame) for uid, frame in zip(volumes[role].instances, volumes[role].frames, strict=True)
        )
        evidence.append(SeriesEvidence(role, tuple(instances), slices))
    made = build(measurement, evidence, settings=ReportSettings(), started=STARTED)
    return measurement, {one.name: dcmread(io.BytesIO(part10(one.dataset))) for one in made}


def drawn(segmentation: Dataset) -> dict[str, float]:
    """Return for each side that the segments name the mean x, LPS mm, of what is drawn, by the object's own headers."""
    shared = segmentation.SharedFunctionalGroupsSequence[0]
    along_row, along_column = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float).reshape(2, 3)
    row_mm, column_mm = (float(one) for one in shared.PixelMeasuresSequence[0].PixelSpacing)
    found: dict[str, list[float]] = {}
    for group, frame in zip(segmentation.PerFrameFunctionalGroupsSequence, segmentation.pixel_array, strict=True):
        (which,) = group.get("SegmentIdentificationSequence") or shared.SegmentIdentificationSequence
        number = which.ReferencedSegmentNumber
        segment = segmentation.SegmentSequence[number - 1]
        region = segment.get("AnatomicRegionSequence") or segment.SegmentedPropertyTypeCodeSequence
        modifiers = (
            region[0].get("AnatomicRegionModifierSequence") or region[0].SegmentedPropertyTypeModifierCodeSequence
        )
        rows, columns = np.nonzero(frame)
        places = (
            np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
            + np.outer(rows, along_column) * row_mm
            + np.outer(columns, along_row) * column_mm
        )
        found.setdefault(SNOMED_SIDES[modifiers[0].CodeValue].value, []).extend(places[:, 0])
    return {side: float(np.mean(places)) for side, places in found.items()}


def sides_said(report: Dataset) -> list[str]:
    """Return the laterality of every measurement group."""
    said = []

    def walk(item: Dataset) -> None:
        for child in item.get("ContentSequence", ()):
            names = child.get("ConceptNameCodeSequence")
            if names and names[0].CodeMeaning == "Laterality":
                said.append(SNOMED_SIDES[child.ConceptCodeSequence[0].CodeValue].value)
            walk(child)

    walk(report)
    return sorted(said)
