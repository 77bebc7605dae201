"""What an archive is asked of the studies at rest, and what follows from its answers."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage
from pynetdicom import evt

from node.dicom.identifiers import StudyUID
from node.ledger import Arrivals
from node.ledger.priors import Priors
from node.records import StudyState
from node.settings import ArchiveSettings
from tests.association.conftest import Held
from tests.builders import mr, receive
from tests.ledger.test_ledger import close, received
from tests.retrieval.conftest import NOW, QUICK, Bench, Pacs, spine
from tests.retrieval.faults import Fake, answer, saying, serving


def arrive(held: Held, datasets: Sequence[Dataset], *, now: float = NOW) -> None:
    for one in datasets:
        receive(held.spool, held.ledger, one, now=now)


def series_answer(study: str, number: int, instances: Any = 4, **attributes: Any) -> Dataset:
    values = {"Modality": "MR", "NumberOfSeriesRelatedInstances": instances, "StudyInstanceUID": study}
    return answer(SeriesInstanceUID=f"{study}.{number}", **(values | attributes))


def study_answer(study: str, **attributes: Any) -> Dataset:
    values = {"PatientID": "SECRET-ID", "StudyDate": "20260102", "ModalitiesInStudy": "MR"}
    return answer(StudyInstanceUID=study, **(values | attributes))


def test_what_the_archive_counts_is_expected(pacs: Pacs, held: Held, study: StudyUID) -> None:
    pacs.take(spine(study, 1) + spine(study, 2))
    arrive(held, spine(study, 1)[:2])
    bench = Bench(held, pacs.settings())

    bench.asker.run_once(now=NOW + 2)

    assert bench.expected(study) == {f"{study}.1": 4, f"{study}.2": 4}


def test_a_site_that_does_not_send_us_all_series_expects_only_those_that_come(
    pacs: Pacs, held: Held, study: StudyUID
) -> None:
    pacs.take(spine(study, 1) + spine(study, 2))
    arrive(held, spine(study, 1)[:2])
    bench = Bench(held, pacs.settings(counts="series"))

    bench.asker.run_once(now=NOW + 2)

    assert bench.expected(study) == {f"{study}.1": 4}


def test_a_study_is_not_asked_about_while_it_comes(pacs: Pacs, held: Held, study: StudyUID) -> None:
    pacs.take(spine(study, 1))
    arrive(held, spine(study, 1)[:2])
    bench = Bench(held, pacs.settings())

    bench.asker.run_once(now=NOW + 0.5)

    assert bench.expected(study) == {}


@pytest.mark.parametrize("garbage", [None, "", 0, -3, 99_999_999])
def test_a_number_that_cannot_be_is_replaced_by_a_list_of_the_instances(
    held: Held, study: StudyUID, garbage: object
) -> None:
    images = [answer(SOPInstanceUID=f"{study}.1.{number}", SeriesInstanceUID=f"{study}.1") for number in range(1, 8)]
    arrive(held, spine(study, 1))
    fake = Fake({"STUDY": [study_answer(study)], "SERIES": [series_answer(study, 1, garbage)], "IMAGE": images})
    with serving(fake) as settings:
        bench = Bench(held, settings)
        bench.asker.run_once(now=NOW + 2)

    assert bench.expected(study) == {f"{study}.1": 7}


def test_a_series_without_any_number_is_not_expected(held: Held, study: StudyUID) -> None:
    arrive(held, spine(study, 1))
    with serving(Fake({"STUDY": [study_answer(study)], "SERIES": [series_answer(study, 1, 0)]})) as settings:
        bench = Bench(held, settings)
        bench.asker.run_once(now=NOW + 2)

    assert bench.expected(study) == {}


def test_reports_and_other_modalities_are_not_expected(held: Held, study: StudyUID) -> None:
    arrive(held, spine(study, 1))
    series = [series_answer(study, 1), series_answer(study, 2, Modality="SR"), series_answer(study, 3, Modality="SEG")]
    with serving(Fake({"STUDY": [study_answer(study)], "SERIES": series})) as settings:
        bench = Bench(held, settings)
        bench.asker.run_once(now=NOW + 2)

    assert bench.expected(study) == {f"{study}.1": 4}


def test_series_of_another_study_are_not_expected(held: Held, study: StudyUID) -> None:
    arrive(held, spine(study, 1))
    stray = series_answer("2.25.5", 1)
    with serving(Fake({"STUDY": [study_answer(study)], "SERIES": [stray, series_answer(study, 1)]})) as settings:
        bench = Bench(held, settings)
        bench.asker.run_once(now=NOW + 2)

    assert bench.expected(study) == {f"{study}.1": 4}


def test_nothing_counts_of_a_study_that_the_archive_has_under_another_patient(held: Held, study: StudyUID) -> None:
    arrive(held, spine(study, 1)[:2])
    fake = Fake({"STUDY": [study_answer(study, PatientID="OTHER")], "SERIES": [series_answer(study, 1)]})
    with serving(fake) as settings:
        bench = Bench(held, settings.model_copy(update={"pull": ("missing", "priors")}))
        bench.asker.run_once(now=NOW + 60)

    assert bench.expected(study) == {}
    assert bench.rows() == {}


def test_nothing_is_pulled_unless_the_settings_say_so(pacs: Pacs, held: Held, study: StudyUID) -> None:
    pacs.take(spine(study, 1) + spine(study, 2))
    arrive(held, spine(study, 1)[:2])
    bench = Bench(held, pacs.settings())

    bench.asker.run_once(now=NOW + 60)

    assert bench.rows() == {}


def test_missing_series_and_instances_are_asked_for_once_the_study_rests(
    pacs: Pacs, held: Held, study: StudyUID
) -> None:
    pacs.take(spine(study, 1) + spine(study, 2) + spine(study, 3))
    arrive(held, spine(study, 1)[:2] + spine(study, 3))
    bench = Bench(held, pacs.settings(pull=("missing",)))

    bench.asker.run_once(now=NOW + 2)
    early = bench.rows()
    bench.asker.run_once(now=NOW + 11)

    assert early == {}
    assert set(bench.rows()) == {f"{study}.1", f"{study}.2"}


def test_localizers_and_sagittal_series_alone_can_be_asked_for(pacs: Pacs, held: Held, study: StudyUID) -> None:
    pacs.take(
        spine(study, 1)
        + spine(study, 2, SeriesDescription="t2 sag")
        + spine(study, 3, SeriesDescription="localizer")
        + spine(study, 4, SeriesDescription="t1 tra km")
    )
    arrive(held, spine(study, 1))
    bench = Bench(held, pacs.settings(pull=("localizers",)))

    bench.asker.run_once(now=NOW + 11)

    assert set(bench.rows()) == {f"{study}.2", f"{study}.3"}


def test_what_was_asked_for_is_not_asked_for_again(pacs: Pacs, held: Held, study: StudyUID) -> None:
    pacs.take(spine(study, 1) + spine(study, 2))
    arrive(held, spine(study, 1))
    bench = Bench(held, pacs.settings(pull=("missing",)))

    for later in (11, 100, 1000, 10_000):
        bench.asker.run_once(now=NOW + later)
        Bench(held, pacs.settings(pull=("missing",))).asker.run_once(now=NOW + later)  # as after a restart

    assert list(bench.rows()) == [f"{study}.2"]


def test_a_held_study_is_not_asked_about(held: Held, study: StudyUID) -> None:
    arrivals = Arrivals(held.ledger.database)
    arrivals.enter([received(1, study=study)], now=NOW)
    arrivals.enter([received(2, study=study, contradicts=True)], now=NOW)
    with serving(Fake()) as settings:
        fake_settings = settings.model_copy(update={"pull": ("missing", "priors", "localizers")})
        bench = Bench(held, fake_settings)
        bench.asker.run_once(now=NOW + 60)

    assert bench.state(study)[0] == StudyState.HELD
    assert bench.rows() == {}


def test_no_more_series_are_asked_for_than_the_limit(held: Held, study: StudyUID) -> None:
    arrive(held, spine(study, 1))
    series = [series_answer(study, number) for number in range(1, 50)]
    with serving(Fake({"STUDY": [study_answer(study)], "SERIES": series})) as settings:
        common = QUICK.model_copy(update={"most_series": 7})
        bench = Bench(held, settings.model_copy(update={"pull": ("missing",)}), common)
        for later in (11, 100, 1000):
            bench.asker.run_once(now=NOW + later)

    assert len(bench.rows()) == 7


def test_a_series_larger_than_the_limit_stays_where_it_is(held: Held, study: StudyUID) -> None:
    arrive(held, spine(study, 1))
    series = [series_answer(study, 2, 2001), series_answer(study, 3, 2000)]
    with serving(Fake({"STUDY": [study_answer(study)], "SERIES": series})) as settings:
        bench = Bench(held, settings.model_copy(update={"pull": ("missing",)}))
        bench.asker.run_once(now=NOW + 11)

    assert list(bench.rows()) == [f"{study}.3"]


def test_an_archive_that_is_down_is_given_longer_and_longer_rests(held: Held, study: StudyUID) -> None:
    arrive(held, spine(study, 1))
    refused = Fake(find_status=0xA700)
    with serving(refused) as settings:
        bench = Bench(held, settings)
        for second in range(2, 200):
            bench.asker.run_once(now=NOW + second)

    assert len(refused.asked) == 5  # after 10, 20, 40 and 80 s


def test_a_study_of_which_the_question_fails_keeps_no_other_from_being_asked_about(held: Held, study: StudyUID) -> None:
    arrive(held, spine(study, 1))
    arrive(held, spine(f"{study}.7", 1), now=NOW + 0.5)

    class Choosy(Fake):
        def find(self, event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
            self.find_status = 0xC000 if event.identifier.StudyInstanceUID == study else 0x0000
            return super().find(event)

    with serving(fake := Choosy()) as settings:
        bench = Bench(held, settings)
        for second in range(2, 30):
            bench.asker.run_once(now=NOW + second)

    assert f"{study}.7" in {one.StudyInstanceUID for one in fake.asked}


def test_a_study_is_asked_about_after_twice_the_wait_each_time(held: Held, study: StudyUID) -> None:
    arrive(held, spine(study, 1))
    fake = Fake()
    with serving(fake) as settings:
        bench = Bench(held, settings)
        for second in range(2, 200):
            bench.asker.run_once(now=NOW + second)

    assert len(fake.asked) == 2 * 5  # study and series


def test_a_study_that_grows_is_asked_about_as_soon_as_it_rests_again(held: Held, study: StudyUID) -> None:
    arrive(held, spine(study, 1)[:2])
    fake = Fake()
    with serving(fake) as settings:
        bench = Bench(held, settings)
        bench.asker.run_once(now=NOW + 2)
        arrive(held, spine(study, 1)[2:], now=NOW + 3)
        bench.asker.run_once(now=NOW + 5)

    assert len(fake.asked) == 2 * 2


@pytest.mark.slow
def test_an_archive_that_hangs_costs_its_own_turn_and_nothing_else(held: Held, study: StudyUID) -> None:
    arrive(held, spine(study, 1))
    with saying() as settings:
        common = QUICK.model_copy(update={"silence_s": 0.5})
        bench = Bench(held, settings.model_copy(update={"pull": ("missing",)}), common)
        bench.asker.run_once(now=NOW + 11)

    (gathered,) = held.ledger.gathering()
    assert gathered.study == study
    assert bench.rows() == {}


# ---------------------------------------------------------------- priors


@pytest.fixture
def patient(study: StudyUID) -> str:
    """A Patient ID that no other test has."""
    return f"P{study[-12:]}"


def asks_for_priors(pacs: Pacs, held: Held, study: StudyUID, patient: str, **settings: Any) -> Bench:
    """Ask once about a study of the patient on 2026-01-02, which pacs and node both have."""
    datasets = spine(study, 1, PatientID=patient)
    pacs.take(datasets)
    arrive(held, datasets)
    bench = Bench(held, pacs.settings(pull=("priors",), **settings))
    bench.asker.run_once(now=NOW + 11)
    return bench


def test_older_spine_studies_of_the_patient_are_asked_for(
    pacs: Pacs, held: Held, study: StudyUID, patient: str
) -> None:
    older, younger = f"{study}.100", f"{study}.200"
    pacs.take(spine(older, 1, PatientID=patient, StudyDate="20250101"))
    pacs.take(spine(younger, 1, PatientID=patient, StudyDate="20260103"))

    bench = asks_for_priors(pacs, held, study, patient)

    assert list(bench.rows()) == [f"{older}.1"]


def test_no_more_priors_are_asked_for_than_the_newest_few(
    pacs: Pacs, held: Held, study: StudyUID, patient: str
) -> None:
    for year in (2022, 2023, 2024, 2025):
        pacs.take(spine(f"{study}.{year}", 1, PatientID=patient, StudyDate=f"{year}0601"))

    bench = asks_for_priors(pacs, held, study, patient, most_priors=2)

    assert set(bench.rows()) == {f"{study}.2025.1", f"{study}.2024.1"}


def test_priors_that_are_too_old_are_left_where_they_are(pacs: Pacs, held: Held, study: StudyUID, patient: str) -> None:
    pacs.take(spine(f"{study}.1999", 1, PatientID=patient, StudyDate="19990601"))

    assert asks_for_priors(pacs, held, study, patient).rows() == {}


def test_a_study_of_another_part_of_the_body_is_no_prior(pacs: Pacs, held: Held, study: StudyUID, patient: str) -> None:
    for number, description in enumerate(("MRI knee", "MRI brain", "MRI cervical spine")):
        pacs.take(
            spine(f"{study}.{100 + number}", 1, PatientID=patient, StudyDate="20250101", StudyDescription=description)
        )

    assert asks_for_priors(pacs, held, study, patient).rows() == {}


def test_a_study_that_is_not_about_the_spine_has_no_priors_here(
    pacs: Pacs, held: Held, study: StudyUID, patient: str
) -> None:
    knee = spine(study, 1, PatientID=patient, StudyDescription="MRI knee")
    pacs.take(knee + spine(f"{study}.100", 1, PatientID=patient, StudyDate="20250101"))
    arrive(held, knee)
    bench = Bench(held, pacs.settings(pull=("priors",)))

    bench.asker.run_once(now=NOW + 11)

    assert bench.rows() == {}


def test_an_id_of_another_issuer_is_another_patient(pacs: Pacs, held: Held, study: StudyUID, patient: str) -> None:
    older = {"PatientID": patient, "StudyDate": "20250101"}
    datasets = spine(study, 1, PatientID=patient, IssuerOfPatientID="HERE")
    pacs.take(spine(f"{study}.100", 1, IssuerOfPatientID="ELSEWHERE", **older))
    pacs.take(spine(f"{study}.101", 1, IssuerOfPatientID="HERE", **older))
    arrive(held, datasets)
    bench = Bench(held, pacs.settings(pull=("priors",)))

    bench.asker.run_once(now=NOW + 11)

    assert list(bench.rows()) == [f"{study}.101.1"]


@pytest.mark.parametrize("patient_id", ["", " ", "*", "A?1", "A\\B", "Müller"])
def test_a_patient_id_that_would_match_others_is_never_asked_for(held: Held, study: StudyUID, patient_id: str) -> None:
    Arrivals(held.ledger.database).enter([received(1, study=study, patient_id=patient_id)], now=NOW)
    other = study_answer("2.25.7", PatientID="", StudyDate="20250101", StudyDescription="lumbar spine")
    fake = Fake({"STUDY": [other]})
    with serving(fake) as settings:
        bench = Bench(held, settings.model_copy(update={"pull": ("priors",)}))
        bench.asker.run_once(now=NOW + 11)

    assert [one.StudyInstanceUID for one in fake.asked] == [study, study]
    assert bench.rows() == {}


def test_a_study_that_the_node_has_received_itself_is_not_pulled_as_a_prior(
    pacs: Pacs, held: Held, study: StudyUID, patient: str
) -> None:
    older = spine(f"{study}.100", 1, PatientID=patient, StudyDate="20250101")
    pacs.take(older)
    arrive(held, older[:2])

    assert asks_for_priors(pacs, held, study, patient).rows() == {}


def test_an_archive_is_not_asked_about_a_prior_as_about_a_study(held: Held, study: StudyUID) -> None:
    prior = f"{study}.100"
    arrive(held, spine(study, 1))
    older = study_answer(prior, StudyDate="20250101", StudyDescription="lumbar spine")
    series = series_answer(prior, 1, SeriesDescription="t1 lumbar spine")
    with serving(Fake({"STUDY": [study_answer(study), older], "SERIES": [series]})) as settings:
        bench = Bench(held, settings.model_copy(update={"pull": ("priors",)}))
        bench.asker.run_once(now=NOW + 11)
        arrive(held, spine(prior, 1), now=NOW + 12)
        bench.asker.run_once(now=NOW + 1000)

    assert list(bench.rows()) == [f"{prior}.1"]
    assert bench.expected(prior) == {}


def test_settings_of_an_archive_pull_nothing_by_default() -> None:
    assert ArchiveSettings(name="pacs").pull == ()


# ---------------------------------------------------------------- reports of ours


def report_of_ours(study: str, patient: str, **attributes: Any) -> Dataset:
    """A report as an archive looks at it: its headers."""
    described = {"SOPClassUID": Comprehensive3DSRStorage, "Modality": "SR", "PixelData": None, "Rows": None}
    words = {"StudyDate": "20250101", "StudyDescription": "MRI lumbar spine"}
    words["SeriesDescription"] = "PVM measurement report (automatic, investigational)"
    values = described | words | {"PatientID": patient} | attributes
    return mr(f"{study}.9.1", study=study, series=f"{study}.9", **values)


def test_our_own_earlier_reports_are_asked_for_at_once_and_are_there_for_the_job(
    pacs: Pacs, held: Held, study: StudyUID, patient: str
) -> None:
    older = f"{study}.100"
    pacs.take([*spine(older, 1, PatientID=patient, StudyDate="20250101"), report_of_ours(older, patient)])
    datasets = spine(study, 1, PatientID=patient)
    pacs.take(datasets)
    arrive(held, datasets)
    bench = Bench(held, pacs.settings(pull=("results",)))

    bench.asker.run_once(now=NOW + 2)
    asked = bench.rows()
    bench.puller.run_once(now=NOW + 2)
    (gathered,) = held.ledger.gathering()
    (job,) = close(held.ledger, now=NOW + 20)

    assert asked == {f"{older}.9": ("asked", 0, "")}
    assert bench.held_of(older) == {f"{older}.9": 1}
    assert gathered.study == study
    assert len(Priors(held.ledger.database).received(job.id)) == 1
    arrive(held, spine(older, 1, PatientID=patient, StudyDate="20250101"))  # to be measured, as any other
    assert [one.study for one in held.ledger.gathering()] == [older]


@pytest.mark.parametrize(
    "other",
    [{"StudyDate": "20260103"}, {"Modality": "SEG"}, {"SeriesDescription": "Report"}, {"PatientID": "SOMEBODY"}],
)
def test_no_other_report_is_asked_for(
    pacs: Pacs, held: Held, study: StudyUID, patient: str, other: dict[str, str]
) -> None:
    older, dated = f"{study}.100", {"StudyDate": other.get("StudyDate", "20250101")}
    whose = {"PatientID": other.get("PatientID", patient)}
    pacs.take([*spine(older, 1, **(dated | whose)), report_of_ours(older, patient, **(dated | whose | other))])
    datasets = spine(study, 1, PatientID=patient)
    pacs.take(datasets)
    arrive(held, datasets)
    bench = Bench(held, pacs.settings(pull=("results",)))

    bench.asker.run_once(now=NOW + 2)

    assert bench.rows() == {}
