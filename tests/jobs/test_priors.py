"""Earlier results in a job: which the job is told of, with which it compares, and that the same comes out again."""

import datetime as dt
import hashlib
import json
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from node.dicom.geometry import Geometry
from node.dicom.identifiers import InstanceUID
from node.findings import Findings, Location, Recognition
from node.jobs import answers, priors, steps
from node.jobs.registering import Present
from node.ledger import Arrivals
from node.ledger.ledger import Ledger
from node.ledger.rulings import Rulings
from node.records import Predecessor, ResultRecord, Role
from node.report.codes import SOURCE_SERIES
from node.settings import AnalysisSettings, ReportSettings
from node.spool import Results, Spool
from tests.analysis.phantom import volume
from tests.builders import STUDY, part10, series_of
from tests.jobs.test_rules_in_results import POST, PRE, Bench, site_rules
from tests.report.builders import LESION, LESION_MM, MEASUREMENTS, WITH_LESION, built, evidence, items
from tests.report.builders import value as value_of

EARLIER = Predecessor("2.25.1", "2.25.11", "1.2.840.10008.5.1.4.1.1.88.34", "2.25.12")
NAMED = "levels and a suspicion by EMG"
NOW = replace(WITH_LESION, lesions=(replace(LESION, location=Location("L4", LESION_MM, None)),))


def report(**attributes: Any) -> Dataset:
    made = deepcopy(built(NAMED)["sr"])
    for keyword, value in {"StudyInstanceUID": "2.25.61", "StudyDate": "20250102", **attributes}.items():
        setattr(made, keyword, value)
    return made


def header(**attributes: Any) -> Dataset:
    made = deepcopy(evidence("post")[0].headers[0])
    made.FrameOfReferenceUID = "2.25.77"
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


def file_of(folder: Path, content: bytes) -> steps.InputFile:
    digest = hashlib.sha256(content).hexdigest()
    (folder / digest).write_bytes(content)
    return steps.InputFile(folder / digest, digest)


def compared(folder: Path, *reports: Dataset, own: Dataset | None = None) -> Findings:
    task = steps.Task(
        {Role.POST: []}, AnalysisSettings(), ReportSettings(), dt.datetime(2026, 1, 2, tzinfo=dt.UTC),
        earlier=tuple(file_of(folder, part10(one)) for one in reports),
    )  # fmt: skip
    return priors.compared(NOW, task, own or header())


def test_a_lesion_is_compared_with_the_newest_earlier_result(tmp_path: Path):
    findings = compared(tmp_path, report(), report(StudyInstanceUID="2.25.62", StudyDate="20250601"))

    assert [one.study_date for one in findings.earlier] == ["20250601", "20250102"]
    (prior,) = (one.prior for one in findings.lesions)
    assert prior is not None
    assert prior.study_date == "20250601"


def test_of_two_reports_of_a_study_the_later_one_counts(tmp_path: Path):
    verified = report(SOPInstanceUID="2.25.64", InstanceNumber=2)
    newer = report(SOPInstanceUID="2.25.65", ContentDate="20260103")

    assert [one.sop_instance for one in compared(tmp_path, verified, report()).earlier] == ["2.25.64"]
    assert [one.sop_instance for one in compared(tmp_path, newer, verified).earlier] == ["2.25.65"]


@pytest.mark.parametrize(
    "other",
    [
        {"StudyDate": "20260102", "StudyTime": "101500"},  # as the study's own
        {"StudyDate": "20260102", "StudyTime": ""},
        {"StudyDate": "20260103"},
    ],
)
def test_what_is_not_of_an_earlier_study_for_certain_is_no_prior(tmp_path: Path, other: dict[str, str]):
    findings = compared(tmp_path, report(**other))

    assert (findings.earlier, findings.lesions[0].prior) == ((), None)


def test_the_study_itself_is_not_its_own_prior(tmp_path: Path):
    own = header()

    assert compared(tmp_path, report(StudyInstanceUID=own.StudyInstanceUID), own=own).earlier == ()


def test_a_report_under_the_same_id_with_another_name_is_not_used_and_that_is_said(tmp_path: Path):
    findings = compared(tmp_path, report(PatientName="Roe^Richard"), report(PatientBirthDate="19600101"))

    assert (findings.earlier, findings.lesions[0].prior) == ((), None)
    assert [one.code for one in findings.caveats].count("PRI-1") == 1
    assert not any("Roe" in one.text for one in findings.caveats)


def test_without_a_date_of_its_own_a_study_is_compared_with_none_and_that_is_said(tmp_path: Path):
    findings = compared(tmp_path, report(), own=header(StudyDate=""))

    assert findings.earlier == ()
    assert "PRI-2" in [one.code for one in findings.caveats]


def test_what_cannot_be_read_is_no_prior_and_what_has_changed_on_disk_is_left_out_and_that_is_said(tmp_path: Path):
    task = steps.Task({Role.POST: []}, AnalysisSettings(), ReportSettings(), dt.datetime(2026, 1, 2, tzinfo=dt.UTC))
    garbage = file_of(tmp_path, b"\0" * 128 + b"DICM" + b"\xff" * 400)
    broken = report()
    items(broken, "Imaging Measurements", "Measurement Group", "Volume")[0].MeasuredValueSequence = [Dataset()]
    changed = replace(file_of(tmp_path, part10(report())), sha256="0" * 64)

    findings = priors.compared(NOW, replace(task, earlier=(garbage, file_of(tmp_path, part10(broken)))), header())
    without = priors.compared(NOW, replace(task, earlier=(changed,), revised=changed), header())

    assert [one.lesions for one in findings.earlier] == [()]  # of the broken one nothing but that it is there
    assert findings.caveats == NOW.caveats
    assert without.earlier == ()
    assert [one.code for one in without.caveats].count("PRI-3") == 1


def test_a_foreign_report_that_numbers_itself_twice_stops_no_measurement(tmp_path: Path):
    assert compared(tmp_path, report(InstanceNumber=[1, 2])).earlier == ()


def of_revised(folder: Path, **attributes: Any) -> tuple[steps.Task, Findings]:
    own = header()
    made = report(StudyInstanceUID=own.StudyInstanceUID, StudyDate=own.StudyDate, **attributes)
    task = steps.Task(
        {Role.POST: []}, AnalysisSettings(), ReportSettings(), dt.datetime(2026, 1, 2, tzinfo=dt.UTC),
        predecessor=EARLIER, revised=file_of(folder, part10(made)),
    )  # fmt: skip
    return task, priors.compared(NOW, task, own)


def test_the_report_before_of_the_same_study_gives_its_tracks_and_is_replaced(tmp_path: Path):
    task, findings = of_revised(tmp_path)

    assert findings.lesions[0].tracking_uid is not None
    assert priors.predecessor(task, header()) == EARLIER


def test_the_report_before_of_another_patient_gives_no_tracks_and_is_not_replaced(tmp_path: Path):
    task, findings = of_revised(tmp_path, PatientName="Roe^Richard")

    assert findings.lesions[0].tracking_uid is None
    assert "PRI-4" in [one.code for one in findings.caveats]
    assert priors.predecessor(task, header()) is None


def test_without_a_patient_id_the_report_before_of_the_same_study_is_still_replaced(tmp_path: Path):
    task, _findings = of_revised(tmp_path, PatientID="")

    assert priors.predecessor(task, header(PatientID="")) == EARLIER


def test_results_that_are_held_back_because_of_an_earlier_one_go_out_without_it(tmp_path: Path):
    measurement = MEASUREMENTS[NAMED]
    (lesion,) = measurement.findings.lesions
    (before,) = compared(tmp_path, report()).earlier
    then = replace(before.lesions[0], volume_mm3=1e-310)  # nobody can write the change since
    told = replace(lesion, tracking_uid=then.tracking_uid, prior=Recognition(then, "20250102", "chosen", "medium"))
    findings = replace(measurement.findings, lesions=(told,), earlier=(replace(before, lesions=(then,)),))
    task = steps.Task(
        {Role.POST: []}, AnalysisSettings(), ReportSettings(), dt.datetime(2026, 1, 2, tzinfo=dt.UTC),
        earlier=(file_of(tmp_path, part10(report())),),
    )  # fmt: skip

    answer = answers.answer(tmp_path, task, replace(measurement, findings=findings), evidence())

    (sr,) = (dcmread(tmp_path / one["file"]) for one in answer["objects"] if one["role"] == "sr")
    said = [value_of(one) for one in items(sr, "Qualitative Evaluations", "Comparison to previous studies")]
    assert (answer["faults"], answer["quarantined"], "seg" in {one["role"] for one in answer["objects"]}) == (
        [],
        [],
        True,
    )
    assert said == ["No earlier result was compared with."]
    assert answer["left_out"].startswith("GATE-") or answer["left_out"] == "they could not be written"  # for the log


def test_a_task_of_before_there_were_earlier_results_is_read():
    task = steps.Task({}, AnalysisSettings(), ReportSettings(), dt.datetime(2026, 1, 2, tzinfo=dt.UTC))
    values = json.loads(task.as_json())
    del values["earlier"], values["revised"]

    assert steps.Task.from_json(json.dumps(values)) == replace(task, inputs={}, earlier=())


@pytest.mark.parametrize(
    ("attributes", "moment", "may_be"),
    [
        ({}, "20260102101500", True),
        ({"StudyDate": "20260103"}, "20260102101500", False),
        ({"StudyDate": "20260102", "StudyTime": ""}, "20260102101500", False),
        ({"StudyDate": "20260103"}, "", True),
        ({"SeriesDescription": "Findings"}, "20260102101500", False),
    ],
)
def test_only_a_report_of_ours_on_an_older_study_may_be_a_prior(attributes: dict[str, str], moment: str, may_be: bool):
    assert priors.may_be_prior(report(**attributes), moment) is may_be


def test_the_report_of_a_later_study_does_not_make_a_study_new(spool: Spool, ledger: Ledger, tmp_path: Path):
    bench = Bench(spool, ledger, tmp_path)
    earlier, later = ({"StudyDate": day} for day in ("20250101", "20250102"))
    bench.receive(1, **PRE, study=OTHER, **later)
    bench.receive(2, **POST, study=OTHER, **later)
    bench.job()
    reported(bench)  # on a study of 2025-01-02

    bench.receive(1, **PRE, **earlier)
    bench.receive(2, **POST, **earlier)

    assert bench.job().earlier == ()


OTHER = "2.25.2000"


def reported(bench: Bench, made: Dataset | None = None, *, sop_instance: str = "2.25.9", review: bool = False) -> None:
    """Give the newest job its report."""
    path = Results(bench.folder / "results").store(part10(made or report()))
    row = bench.ledger.job_rows()[0]
    kept = ResultRecord(InstanceUID(sop_instance), report().SOPClassUID, row.id, "sr", path)
    bench.ledger.settle(row.id, "findings", [kept], {}, now=bench.now, review=review)


def jobs_of_two_studies(bench: Bench, **others: str) -> tuple[steps.Task, steps.Task]:
    """A study that got a report, and one that came after it."""
    bench.receive(1, **PRE)
    bench.receive(2, **POST)
    first = bench.job()
    reported(bench)
    bench.receive(1, **PRE, study=OTHER, **others)
    bench.receive(2, **POST, study=OTHER, **others)
    return first, bench.job()


def test_a_job_is_told_of_the_patients_reports_and_its_manifest_covers_them(
    spool: Spool, ledger: Ledger, tmp_path: Path
):
    first, second = jobs_of_two_studies(Bench(spool, ledger, tmp_path))

    (one,) = second.earlier
    assert (first.earlier, first.revised) == ((), None)
    assert read_uid(one) == report().SOPInstanceUID
    assert steps.Task.from_json(second.as_json()) == second


def test_a_study_that_is_measured_again_is_told_of_its_own_report_apart_from_priors(
    spool: Spool, ledger: Ledger, tmp_path: Path
):
    bench = Bench(spool, ledger, tmp_path)
    bench.receive(1, **PRE)
    bench.receive(2, **POST)
    bench.job()
    reported(bench)
    bench.receive(3, Modality="CT")  # reopens the study, and is not measured

    again = bench.job(site_rules(tmp_path, 1))

    assert again.revised is not None
    assert read_uid(again.revised) == report().SOPInstanceUID
    assert (again.earlier, again.predecessor and again.predecessor.sop_instance) == ((), "2.25.9")


def test_a_job_is_not_told_of_reports_of_another_patient(spool: Spool, ledger: Ledger, tmp_path: Path):
    _first, second = jobs_of_two_studies(Bench(spool, ledger, tmp_path), PatientID="ANOTHER")

    assert second.earlier == ()


def read_uid(one: steps.InputFile) -> str:
    return str(dcmread(one.open()).SOPInstanceUID)


def outlined_on_post() -> Dataset:
    """A report whose lesions were outlined on the post-contrast series of the bench."""
    made = report(StudyInstanceUID=STUDY)
    (source,) = {one.UID for one in items(made, "Imaging Measurements", "Measurement Group", SOURCE_SERIES.meaning)}
    (series,) = (
        one
        for study in made.CurrentRequestedProcedureEvidenceSequence
        for one in study.ReferencedSeriesSequence
        if one.SeriesInstanceUID == source
    )
    (template, *_rest) = series.ReferencedSOPSequence
    series.ReferencedSOPSequence = [deepcopy(template) for _ in range(6)]
    for number, one in enumerate(series.ReferencedSOPSequence, 1):
        one.ReferencedSOPInstanceUID = f"{STUDY}.2.{number}"
    return made


def with_an_earlier_report(bench: Bench) -> Bench:
    """A pair of a study that was reported on, and then another pair of the patient, not yet measured."""
    bench.receive(1, **PRE)
    bench.receive(2, **POST)
    bench.job()
    reported(bench, outlined_on_post())
    for number in (1, 2):
        bench.receive(number, **(PRE, POST)[number - 1], study=OTHER)
    return bench


def test_a_job_is_given_the_images_that_an_earlier_report_speaks_of_while_all_of_them_are_held(
    spool: Spool, ledger: Ledger, tmp_path: Path
):
    bench = with_an_earlier_report(Bench(spool, ledger, tmp_path))
    with_images, digest = bench.job(), bench.digest
    Arrivals(ledger.database).expire(before_s=bench.now - 500)
    bench.receive(3, Modality="CT", study=OTHER)  # reopens the study, and is not measured
    without = bench.job()

    (report_file,) = with_images.earlier
    images = with_images.earlier_images[report_file.sha256]
    assert [read_uid(one) for one in images] == [f"{STUDY}.2.{number}" for number in range(1, 7)]
    assert steps.Task.from_json(with_images.as_json()) == with_images
    assert (len(without.earlier), without.earlier_images) == (1, {})
    assert (bench.digest, without.manifest != with_images.manifest) == (digest, True)  # no new inputs, other results


def test_what_was_rejected_is_not_measured_again_because_images_of_an_earlier_study_are_gone(
    spool: Spool, ledger: Ledger, tmp_path: Path
):
    bench = with_an_earlier_report(Bench(spool, ledger, tmp_path))
    assert bench.job().earlier_images
    Arrivals(ledger.database).expire(before_s=bench.now - 500)
    reported(bench, sop_instance="2.25.10", review=True)
    rejected = bench.ledger.job_rows()[0].id
    Rulings(ledger.database).reject(rejected, "Curie", "no", now=bench.now)
    bench.receive(3, Modality="CT", study=OTHER)  # reopens the study, and is not measured

    assert bench.pipeline._assemble_job(bench.close().id) == f"repeats {rejected}, which was rejected"


def test_results_that_a_release_made_which_told_no_series_are_settled(spool: Spool, ledger: Ledger, tmp_path: Path):
    bench = Bench(spool, ledger, tmp_path)
    bench.receive(1, **PRE)
    bench.receive(2, **POST)
    job = bench.close().id
    recorded = {"role": "sr", "sop_class": report().SOPClassUID, "sop_instance": "2.25.9", "path": "a.dcm"}

    bench.pipeline._settle_job(job, "findings", [recorded])

    assert [(one.sop_instance, one.series) for one in Rulings(ledger.database).results(job)] == [("2.25.9", "")]


def test_a_report_that_an_archive_sent_brings_its_images_as_well(spool: Spool, ledger: Ledger, tmp_path: Path):
    bench = Bench(spool, ledger, tmp_path)
    bench.receive(1, **PRE)
    bench.receive(2, **POST)
    bench.job()  # of which no report of ours comes
    sent = outlined_on_post()
    sent.PatientID, sent.IssuerOfPatientID = "SECRET-ID", ""
    bench.receive_one(sent)
    for number in range(71, 75):  # newer ones under the same Patient ID, of somebody else
        other = deepcopy(sent)
        other.StudyInstanceUID, other.SOPInstanceUID = f"2.25.{number}", f"2.25.{number}.1"
        other.StudyDate, other.PatientName = "20250601", "Roe^Richard"
        bench.receive_one(other)
    bench.receive(1, **PRE, study=OTHER)
    bench.receive(2, **POST, study=OTHER)

    task = bench.job()

    assert [len(files) for files in task.earlier_images.values()] == [6]
    assert len(task.earlier) == 5


BACK = np.random.default_rng(1).integers(1, 4000, (6, 8, 8)).astype(np.uint16)
AGO = {"study": "2.25.61", "PatientID": "PVM0001", "PatientName": "Doe^Jane"}  # as `report`


def earlier_series(**attributes: Any) -> list[Dataset]:
    made = list(series_of(2, **(AGO | attributes)))
    for plane, one in zip(np.resize(BACK, (len(made), 8, 8)), made, strict=True):
        one.PixelData = plane.tobytes() if attributes.get("PixelData") is None else one.PixelData
    return made


def broken_off() -> list[Dataset]:
    """Three time points, of which the last lacks half of its slices."""
    points = [
        one
        for number in (1, 2, 3)
        for one in earlier_series(
            slices=6 if number < 3 else 3, TemporalPositionIdentifier=number, AcquisitionTime=f"10000{number}"
        )
    ]
    for number, one in enumerate(points, 1):
        one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = f"2.25.61.2.{number}"
    return points


def compared_with_images(folder: Path, images: list[Dataset], now: Any = BACK) -> Findings:
    """Compare with one earlier result and the images on which its lesion was outlined."""
    file = file_of(folder, part10(report()))
    task = steps.Task(
        {Role.POST: []}, AnalysisSettings(), ReportSettings(), dt.datetime(2026, 1, 2, tzinfo=dt.UTC),
        earlier=(file,), earlier_images={file.sha256: tuple(file_of(folder, part10(one)) for one in images)},
    )  # fmt: skip
    for one in images[:1]:
        if "gone" in str(one.get("SeriesDescription")):
            task.earlier_images[file.sha256][0].path.unlink()
    geometry = Geometry(np.diag([4.0, 1, 1, 1])[[2, 1, 0, 3]], BACK.shape, "2.25.77")
    present = Present(volume(now.astype(np.float64), geometry), np.zeros(BACK.shape, np.uint8), 1 << 20, 6.0)
    return priors.compared(NOW, task, header(), present)


@pytest.mark.parametrize("images", [earlier_series(), broken_off()], ids=["a series", "a dynamic that was broken off"])
def test_images_that_make_a_volume_are_registered_and_how_sure_that_is_is_told(tmp_path: Path, images: list[Dataset]):
    findings = compared_with_images(tmp_path, images)

    assert [one.study for one in findings.registrations] == ["2.25.61"]
    assert {"PRI-6", "PRI-7"} & {one.code for one in findings.caveats} == {"PRI-7"}  # noise of a few voxels


@pytest.mark.parametrize(
    ("images", "now"),
    [
        ([], BACK),
        (earlier_series(SeriesDescription="gone"), BACK),
        (earlier_series(PixelData=bytes(128)), BACK),
        (earlier_series(RescaleSlope="1e300", RescaleIntercept=0), BACK),
        (earlier_series(SliceThickness=7.0), BACK),
        (earlier_series(), np.where(BACK > 2000, np.inf, BACK)),  # which no fit survives
    ],
    ids=["none held", "gone from the disk", "all black", "infinite", "thick", "a fit that breaks"],
)
def test_images_that_cannot_be_registered_cost_neither_measurement_nor_comparison_and_that_is_said(
    tmp_path: Path, images: list[Dataset], now: Any
):
    findings = compared_with_images(tmp_path, images, now)

    assert findings.lesions[0].prior is not None  # by its vertebra
    assert findings.registrations == ()
    assert "PRI-6" in {one.code for one in findings.caveats}
