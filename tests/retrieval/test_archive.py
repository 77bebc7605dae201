"""Questions to a real Orthanc, and to archives that misbehave."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from node.dicom.identifiers import SeriesUID, StudyUID
from node.errors import RetrievalError
from node.retrieval import Archive
from node.retrieval.archive import Instance
from node.settings import ArchiveSettings
from tests.builders import data_set_bytes, part10
from tests.retrieval.conftest import Pacs, spine
from tests.retrieval.faults import Fake, accepting, answer, saying, serving

STUDY, SERIES = StudyUID("2.25.1"), SeriesUID("2.25.1.1")


def asked_by(settings: ArchiveSettings, *, silence_s: float = 5.0, calling_ae: str = "PARASPINAL") -> Archive:
    return Archive(settings, calling_ae=calling_ae, silence_s=silence_s)


def test_an_orthanc_says_whose_a_study_is_and_how_many_instances_each_series_has(pacs: Pacs, study: StudyUID) -> None:
    pacs.take(spine(study, 1, IssuerOfPatientID="HOSPITAL") + spine(study, 2, IssuerOfPatientID="HOSPITAL")[:3])

    known, series = asked_by(pacs.settings()).study(study)

    assert known is not None
    assert (known.patient_id, known.issuer) == ("SECRET-ID", "HOSPITAL")
    assert {one.series: one.instances for one in series} == {f"{study}.1": 4, f"{study}.2": 3}


def test_a_study_that_the_archive_does_not_have_is_none(pacs: Pacs, study: StudyUID) -> None:
    assert asked_by(pacs.settings()).study(study) == (None, [])


def test_an_orthanc_lists_the_instances_of_a_series(pacs: Pacs, study: StudyUID) -> None:
    pacs.take(spine(study, 1) + spine(study, 2))

    listed = asked_by(pacs.settings()).instances(study, SeriesUID(f"{study}.1"))

    assert listed == {f"{study}.1.{number}" for number in (1, 2, 3, 4)}


def test_a_get_brings_the_bytes_of_what_was_asked_for(orthanc: Pacs, study: StudyUID) -> None:
    sent = spine(study, 1)
    orthanc.knows(4242)
    orthanc.take(sent)
    brought: list[Instance] = []
    wanted = [one.SOPInstanceUID for one in sent[:2]]

    asked_by(orthanc.settings()).get(
        study, SeriesUID(f"{study}.1"), wanted, limit_s=10, store=lambda one: brought.append(one) or 0
    )

    assert {one.sop_instance: one.data_set for one in brought} == {
        one.SOPInstanceUID: data_set_bytes(part10(one)) for one in sent[:2]
    }


def test_an_archive_that_does_not_know_us_is_an_error_that_may_pass(orthanc: Pacs, study: StudyUID) -> None:
    with pytest.raises(RetrievalError, match="ends the association"):
        asked_by(orthanc.settings(), calling_ae="STRANGER").study(study)


def test_a_move_to_a_destination_that_the_archive_does_not_know_is_an_error(pacs: Pacs, study: StudyUID) -> None:
    pacs.take(spine(study, 1))
    pacs.knows(pacs.orthanc.port, "SOMEBODY")

    with pytest.raises(RetrievalError):
        asked_by(pacs.settings()).send(study, SeriesUID(f"{study}.1"), limit_s=10)


def test_an_archive_that_is_down_is_an_error() -> None:
    with pytest.raises(RetrievalError, match="no association"):
        asked_by(ArchiveSettings(name="pacs", port=1)).echo()


def test_an_archive_without_an_address_is_an_error() -> None:
    with pytest.raises(RetrievalError, match=r"no association with no-such-host\.invalid:104: its host name is not"):
        asked_by(ArchiveSettings(name="pacs", host="no-such-host.invalid")).study(STUDY)


def test_another_title_than_that_of_the_archive_is_an_error() -> None:
    with (
        serving(Fake(), title="ANOTHER", require_called=True) as settings,
        pytest.raises(RetrievalError, match="rejects"),
    ):
        asked_by(settings).study(STUDY)


@pytest.mark.parametrize("status", [0xA700, 0xA900, 0xC001, 0x0122])
def test_a_failure_for_an_answer_is_an_error_with_its_status(status: int) -> None:
    with serving(Fake(find_status=status)) as settings, pytest.raises(RetrievalError, match=f"0x{status:04X}"):
        asked_by(settings).study(STUDY)


@contextmanager
def no_longer_than(seconds: float) -> Iterator[None]:
    """Fail if the block outlasts a limit that is several times what it should take: it would have hung."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        (),  # accepts the connection and says nothing
        (accepting()[:30],),  # stops within the A-ASSOCIATE-AC
        (accepting(),),  # accepts the association and says nothing
        (accepting(), b"\x04\x00\x00\x00\x10\x00\x00"),  # stops within the first P-DATA
        (b"HTTP/1.1 400 Bad Request\r\n\r\n",),
    ],
    ids=["mute", "half an acceptance", "mute when asked", "half an answer", "another protocol"],
)
def test_an_archive_that_stops_in_the_middle_is_given_up(words: tuple[bytes, ...]) -> None:
    with saying(*words) as settings, no_longer_than(20), pytest.raises(RetrievalError):
        asked_by(settings, silence_s=0.5).study(STUDY)


@pytest.mark.slow
def test_an_archive_that_answers_for_ever_is_given_up() -> None:
    with serving(Fake(endless=True)) as settings, no_longer_than(30), pytest.raises(RetrievalError):
        asked_by(settings, silence_s=0.5).study(STUDY)


def test_answers_that_name_nothing_are_left_out() -> None:
    fake = Fake({"STUDY": [answer(PatientID="SECRET-ID")], "SERIES": [answer(Modality="MR")]})
    with serving(fake) as settings:
        assert asked_by(settings).study(STUDY) == (None, [])
