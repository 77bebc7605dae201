"""Two studies of one patient, whole: the second report knows the lesion by registration of the images of the first."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from node.errors import SpoolError
from node.jobs import steps
from node.jobs.priors import instances_outlined
from node.ledger.ledger import Ledger
from node.records import ResultRecord
from node.replay import replay
from node.report import codes
from node.settings import Settings
from node.simulator import Recipe, simulate
from node.simulator.recipe import LesionRecipe
from node.spool import Spool
from tests.jobs.test_rules_in_results import Bench
from tests.report.builders import items, value

pytestmark = pytest.mark.slow

ELSEWHERE_MM = (14.0, -9.0, 47.0)  # the table of the second examination


@cache
def examinations() -> tuple[Sequence[Dataset], Sequence[Dataset]]:
    """A study; and one of a year later: other slices, another frame of reference, turned, with a larger lesion."""
    first = Recipe(
        lesions=(LesionRecipe(diameter_mm=14, vessels=0),), series=("pre", "post"), pixel_mm=1.5, slices=18, snr=40
    )
    later = first.model_copy(
        update={
            "study_date": "20270105", "motion_mm": (5.0, -3.0, 4.0), "motion_deg": (1.0, 2.0, -1.0), "slices": 21,
            "snr": 25, "lesions": (LesionRecipe(diameter_mm=18, vessels=0),),
        }
    )  # fmt: skip
    then, now = (simulate(one).datasets for one in (first, later))
    for one in now:
        one.ImagePositionPatient = [a + b for a, b in zip(one.ImagePositionPatient, ELSEWHERE_MM, strict=True)]
    return then, now


class Hospital(Bench):
    """A node that receives studies, and reports on each."""

    def report(self, instances: Sequence[Dataset]) -> tuple[steps.Task, Dataset]:
        for one in instances:
            self.receive_one(one)
        task = self.job()
        row = self.ledger.job_rows()[0]
        place = self.folder / "work" / row.id
        steps.measure(str(place))
        (made,) = (one for one in steps.report(str(place))["objects"] if one["role"] == "sr")
        path = self.pipeline._results.store((place / made["file"]).read_bytes())
        record = ResultRecord(made["sop_instance"], made["sop_class"], row.id, "sr", path)
        self.ledger.settle(row.id, "findings", [record], {}, now=self.now)
        return task, dcmread(place / made["file"])


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    chosen = {"analysis": {"segmenter": "compartments"}, "report": {"objects": ["seg", "sr"]}}  # the quickest
    return Settings.checked({"node": {"data_dir": str(tmp_path)}, **chosen})


@pytest.fixture
def hospital(spool: Spool, ledger: Ledger, tmp_path: Path, settings: Settings) -> Hospital:
    return Hospital(spool, ledger, tmp_path, settings)


def tracks(report: Dataset) -> list[Any]:
    return [
        value(one) for one in items(report, "Imaging Measurements", "Measurement Group", "Tracking Unique Identifier")
    ]


def test_a_lesion_keeps_its_track_in_another_frame_of_reference_and_a_replay_gives_the_same(
    hospital: Hospital, settings: Settings, tmp_path: Path
) -> None:
    then, now = examinations()
    (tmp_path / "alias.key").write_bytes(b"k" * 32)

    _task, first = hospital.report(then)
    task, second = hospital.report(now)
    second_job = hospital.ledger.job_rows()[0].id
    again = replay(settings, second.SOPInstanceUID)

    assert tracks(first)[0] == tracks(second)[0]  # the lesion
    assert not {*tracks(first)[1:]} & {*tracks(second)}  # the muscles are those of each study
    change, *_others = (value(one) for one in items(second, "Qualitative Evaluations", "Description of Change"))
    assert "mm apart after registration of the earlier images; confidence medium" in str(change)
    (grown,) = items(second, "Imaging Measurements", "Measurement Group", codes.CHANGE_OF_VOLUME.meaning)
    assert 50 < float(grown.MeasuredValueSequence[0].NumericValue) < 200  # by 113 %, from 14 to 18 mm
    assert (again.differences, again.compared > 100) == ((), True)

    (report,) = task.earlier
    images = task.earlier_images[report.sha256]
    assert {dcmread(one.open()).SOPInstanceUID for one in images} == set(instances_outlined(first))
    assert len(images) == sum(one.SeriesInstanceUID == then[-1].SeriesInstanceUID for one in then)  # of the post series

    gone = replace(images[0], sha256="0" * 64)
    unused = replace(task, earlier_images={**task.earlier_images, "1": (gone,)})
    hospital.ledger.note_task(second_job, unused.as_json())
    assert replay(settings, second.SOPInstanceUID).differences == ()
    for without in (replace(task, earlier=(gone,)), replace(task, earlier_images={"1": (gone,)})):
        hospital.ledger.note_task(second_job, without.as_json())
        with pytest.raises(SpoolError):  # a job would go on without what is gone, a replay does not
            replay(settings, second.SOPInstanceUID)
