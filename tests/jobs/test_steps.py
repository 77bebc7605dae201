"""The steps measure the stacks that were chosen, and their results refer to what was measured, and to nothing else."""

import datetime as dt
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from node.jobs import steps
from node.records import Role
from node.settings import AnalysisSettings, ReportSettings
from node.simulator.multiframe import to_enhanced
from tests.builders import part10
from tests.simulator.studies import coarse, study_of


def one_series() -> list[Dataset]:
    """Return the pre and post images of a study as two time points of one series, post first."""
    study = study_of(coarse(pixel_mm=1.8, slice_mm=5.0, slices=6))
    made = []
    for number, kind in ((2, "post"), (1, "pre")):
        for one in study.of(kind):
            made.append(Dataset(one))
            made[-1].file_meta = one.file_meta
            made[-1].TemporalPositionIdentifier = number
            made[-1].SeriesInstanceUID = study.of("pre")[0].SeriesInstanceUID
    return made


def as_enhanced() -> list[Dataset]:
    """Return the same as frames of one instance."""
    instances = one_series()
    made = to_enhanced(instances)
    for frame, one in zip(made.PerFrameFunctionalGroupsSequence, instances, strict=True):
        frame.FrameContentSequence[0].TemporalPositionIndex = one.TemporalPositionIdentifier
    return [made]


def measured(instances: Sequence[Dataset], folder: Path, stacks: dict[Role, int]) -> dict[str, list[tuple[str, int]]]:
    """Return SOP Instance UID and frame of each slice that was measured, by role."""
    files = []
    for number, one in enumerate(instances):
        path = folder / f"{number}.dcm"
        path.write_bytes(part10(one))
        files.append(steps.InputFile(path, hashlib.sha256(path.read_bytes()).hexdigest()))
    started = dt.datetime(2026, 1, 5, 12, tzinfo=dt.UTC)
    steps.Task(
        dict.fromkeys(stacks, files), AnalysisSettings(), ReportSettings(), started, stacks=stacks, memory_limit_mb=1024
    ).write(folder)
    steps.measure(str(folder))
    slices = json.loads((folder / "measurement.json").read_text())["slices"]
    return {role: [(uid, frame) for uid, frame in found] for role, found in slices.items()}


def referenced(dataset: Dataset) -> set[str]:
    """Return all instances that an object refers to, anywhere in it."""
    found: set[str] = set()
    dataset.walk(
        lambda _dataset, element: found.add(element.value) if element.keyword == "ReferencedSOPInstanceUID" else None
    )
    return found


@pytest.mark.slow
def test_two_time_points_of_one_series_are_measured_as_pre_and_post(tmp_path: Path) -> None:
    instances = one_series()

    slices = measured(instances, tmp_path, {Role.PRE: 1, Role.POST: 2})

    for role, position in (("pre", 1), ("post", 2)):
        expected = {str(one.SOPInstanceUID) for one in instances if one.TemporalPositionIdentifier == position}
        assert {uid for uid, _frame in slices[role]} == expected
    overview, coronal, *_lesions = steps.read_measurement(tmp_path).pictures  # what the report step will draw
    assert (overview.plane, coronal.plane, overview.lesion) == ("axial", "coronal", None)
    assert {"pre", "post", "enhancement", "muscles", "lesions"} <= set(overview.layers)
    assert overview.right_mm == pytest.approx((1.8, 0, 0), abs=0.01)


@pytest.mark.slow
def test_results_refer_to_the_chosen_stack_and_not_to_others_of_its_series(tmp_path: Path) -> None:
    instances = one_series()
    slices = measured(instances, tmp_path, {Role.POST: 2})

    objects = [dcmread(tmp_path / one["file"]) for one in steps.report(str(tmp_path))["objects"]]

    made = {str(one.SOPInstanceUID) for one in objects}
    chosen = {uid for uid, _frame in slices["post"]}
    (report,) = (one for one in objects if one.Modality == "SR")
    assert referenced(report) - made == chosen
    for one in objects:
        assert referenced(one) - made <= chosen


@pytest.mark.slow
def test_frames_of_one_instance_are_measured_by_their_stack_too(tmp_path: Path) -> None:
    slices = measured(as_enhanced(), tmp_path, {Role.PRE: 1, Role.POST: 2})

    assert sorted(frame for _uid, frame in slices["pre"]) == [6, 7, 8, 9, 10, 11]
    assert sorted(frame for _uid, frame in slices["post"]) == [0, 1, 2, 3, 4, 5]


@pytest.mark.slow
def test_a_stack_that_is_not_there_is_refused_with_the_reason(tmp_path: Path) -> None:
    instances = one_series()

    assert measured(instances, tmp_path, {Role.POST: 3}) == {}

    refusals = json.loads((tmp_path / "measurement.json").read_text())["findings"]["refusals"]
    assert refusals[0] == {"code": "IN-1", "text": "post series: stack 3 was chosen, the series has 2"}
