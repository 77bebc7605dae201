"""Performed procedure steps over real associations, as a scanner's SCU tells of them."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import MRImageStorage
from pynetdicom import AE, build_context
from pynetdicom.association import Association

from node.association import mpps
from node.association.conformance import PROCEDURE_STEP
from node.association.mpps import MAY_NO_LONGER_BE_UPDATED
from node.dicom.performed import PerformedStep, StepState, read_step
from node.dimse import await_reader
from node.errors import HeaderError
from node.ledger import Database, Expectations, Noted
from node.records import MPPS, Expectation
from tests.association.conftest import Held
from tests.association.raw import RawPeer
from tests.builders import SECRET, mr
from tests.peers import until

EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
STEP, STUDY, SERIES = "2.25.5001", "2.25.1000", "2.25.1000.1"


def began(*studies: str, status: str = "IN PROGRESS") -> Dataset:
    """Return the Attribute List of an N-CREATE (PS3.4 table F.7.2-1), patient data included."""
    made = Dataset()
    made.ScheduledStepAttributesSequence = []
    for study in studies or (STUDY,):
        scheduled = Dataset()
        scheduled.StudyInstanceUID = study
        scheduled.ReferencedStudySequence = []
        scheduled.AccessionNumber = SECRET
        made.ScheduledStepAttributesSequence.append(scheduled)
    made.PatientName = SECRET
    made.PatientID = SECRET
    made.PerformedProcedureStepID = "1"
    made.PerformedStationAETitle = "SCANNER"
    if status:
        made.PerformedProcedureStepStatus = status
    made.Modality = "MR"
    made.PerformedSeriesSequence = []
    return made


def ended(status: str = "COMPLETED", *, instances: int = 3, series: str = SERIES, others: int = 0) -> Dataset:
    """Return the Modification List of the last N-SET."""
    made = Dataset()
    made.PerformedProcedureStepStatus = status
    performed = Dataset()
    performed.ProtocolName = SECRET
    performed.SeriesInstanceUID = series
    performed.ReferencedImageSequence = [reference(f"{series}.{k}") for k in range(instances)]
    performed.ReferencedNonImageCompositeSOPInstanceSequence = [reference(f"{series}.9.{k}") for k in range(others)]
    made.PerformedSeriesSequence = [performed]
    return made


def reference(sop_instance: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = MRImageStorage, sop_instance
    return item


class Scanner:
    """An SCU of performed procedure steps, associated with a node."""

    def __init__(self, held: Held, *, syntax: str = EXPLICIT) -> None:
        ae = AE("SCANNER")
        ae.requested_contexts = [build_context(PROCEDURE_STEP, syntax), build_context(MRImageStorage, EXPLICIT)]
        self.association: Association = ae.associate("127.0.0.1", held.port, ae_title="PARASPINAL")
        assert self.association.is_established

    def create(self, attributes: Dataset, step: str | None = STEP) -> Dataset:
        await_reader(self.association)
        return self.association.send_n_create(attributes, PROCEDURE_STEP, step)[0]

    def set(self, changes: Dataset, step: str = STEP) -> Dataset:
        await_reader(self.association)
        return self.association.send_n_set(changes, PROCEDURE_STEP, step)[0]


@pytest.fixture
def scan(start: Callable[..., Held]) -> Iterator[Callable[..., tuple[Held, Scanner]]]:
    scanners: list[Scanner] = []

    def begin(**options: Any) -> tuple[Held, Scanner]:
        held = start()
        scanners.append(Scanner(held, **options))
        return held, scanners[-1]

    yield begin
    for one in scanners:
        one.association.abort()


def told(held: Held) -> tuple[list[str], dict[str, int]]:
    """Return the states of the steps, and how many instances are expected of which series."""
    with held.ledger.database.begin() as connection:
        states = [row[0] for row in connection.execute("SELECT state FROM procedure_step ORDER BY study")]
        counts = dict(connection.execute("SELECT series, instances FROM expectation").fetchall())
    return states, counts


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_a_step_that_ends_says_how_many_instances_to_expect(scan: Any, syntax: str) -> None:
    held, scanner = scan(syntax=syntax)

    assert scanner.create(began()).Status == 0x0000
    assert told(held) == (["IN PROGRESS"], {})
    assert scanner.set(ended(instances=3, others=1)).Status == 0x0000

    assert told(held) == (["COMPLETED"], {SERIES: 4})


def test_completion_sees_the_step_with_the_study_that_it_is_of(scan: Any) -> None:
    held, scanner = scan()
    scanner.create(began())
    scanner.set(ended("DISCONTINUED"))
    await_reader(scanner.association)
    scanner.association.send_c_store(mr(f"{SERIES}.0"))

    (study,) = until(lambda: held.ledger.gathering(), 5.0)

    assert study.steps == ("DISCONTINUED",)
    assert [(one.source, one.instances) for series in study.series for one in series.expected] == [(MPPS, 3)]
    assert isinstance(study.series[0].expected[0], Expectation)


def test_a_step_without_a_uid_gets_one_from_us(scan: Any) -> None:
    held, scanner = scan()

    assert scanner.create(began(), None).Status == 0x0000

    with held.ledger.database.begin() as connection:
        ((step,),) = connection.execute("SELECT sop_instance FROM procedure_step").fetchall()
    assert scanner.set(ended(), step).Status == 0x0000


def test_a_step_is_known_after_a_restart(start: Callable[..., Held]) -> None:
    held = start()
    scanner = Scanner(held)
    scanner.create(began())
    scanner.association.release()
    held.stop()

    scanner = Scanner(start())

    assert scanner.create(began()).Status == 0x0111
    assert scanner.set(ended()).Status == 0x0000
    scanner.association.release()


def test_a_step_that_has_ended_may_no_longer_be_updated(scan: Any) -> None:
    held, scanner = scan()
    scanner.create(began())
    scanner.set(ended(instances=3))

    answer = scanner.set(ended(instances=9))

    assert (answer.Status, answer.ErrorID) == (0x0110, MAY_NO_LONGER_BE_UPDATED)
    assert told(held)[1] == {SERIES: 3}


def test_what_was_listed_while_in_progress_counts_when_the_last_word_lists_nothing(scan: Any) -> None:
    held, scanner = scan()
    scanner.create(began())
    scanner.set(ended("IN PROGRESS", instances=2))
    last = Dataset()
    last.PerformedProcedureStepStatus = "COMPLETED"

    assert scanner.set(last).Status == 0x0000

    assert told(held) == (["COMPLETED"], {SERIES: 2})


def test_of_a_step_for_two_studies_no_series_is_counted_for_either(scan: Any) -> None:
    held, scanner = scan()
    scanner.create(began(STUDY, "2.25.2000"))

    scanner.set(ended())

    assert told(held) == (["COMPLETED", "COMPLETED"], {})


@pytest.mark.parametrize(
    ("attributes", "step", "status"),
    [
        (began(status="COMPLETED"), STEP, 0x0106),
        (began(status="PAUSED"), STEP, 0x0106),
        (began(status=""), STEP, 0x0120),
        (began(""), STEP, 0x0120),
        (Dataset(), STEP, 0x0120),
    ],
    ids=["completed at once", "no such status", "no status", "empty study", "nothing at all"],
)
def test_a_step_that_cannot_begin_is_refused_and_not_kept(
    scan: Any, attributes: Dataset, step: str, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger("paraspinal-node").propagate = True
    held, scanner = scan()
    if not attributes:
        attributes.PatientName = SECRET

    answer = scanner.create(attributes, step)

    assert answer.Status == status
    assert answer.ErrorComment
    assert told(held) == ([], {})
    assert "A241" in caplog.text
    assert "SECRET" not in caplog.text


def test_a_change_of_a_step_that_nobody_began_is_refused(scan: Any) -> None:
    held, scanner = scan()

    assert scanner.set(ended()).Status == 0x0112
    assert told(held) == ([], {})


def test_a_step_that_lists_too_many_instances_is_refused(scan: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mpps, "_MOST_INSTANCES", 5)
    held, scanner = scan()
    scanner.create(began())

    assert scanner.set(ended(instances=6)).Status == 0x0213
    assert told(held) == (["IN PROGRESS"], {})


def test_a_ledger_that_refuses_is_answered_with_processing_failure(scan: Any) -> None:
    held, scanner = scan()
    with held.ledger.database.begin() as connection:
        connection.execute("DROP TABLE procedure_step")

    assert scanner.create(began()).Status == 0x0110


def test_who_is_not_on_the_list_may_not_tell_of_steps(start: Callable[..., Held]) -> None:
    held = start(require_called_ae=True)

    with RawPeer(held.port) as peer:
        answer = peer.associate(called="SOMEBODY", contexts=((1, PROCEDURE_STEP, EXPLICIT),))

    assert answer == b"\x03\0\0\0\0\4\0\x01\x01\x07"  # A-ASSOCIATE-RJ: called AE title not recognized


@pytest.mark.parametrize("cut", range(8, 60, 7))
def test_a_data_set_that_ends_within_an_element_is_told_apart_from_one_that_says_nothing(cut: int) -> None:
    from tests.builders import data_set_bytes, part10

    step = ended()
    step.SOPClassUID, step.SOPInstanceUID = MRImageStorage, STEP
    step.file_meta = mr().file_meta
    encoded = data_set_bytes(part10(step))

    with pytest.raises(HeaderError):
        read_step(encoded[: len(encoded) - cut], implicit=False, most=100)


def test_a_step_of_a_study_that_never_comes_is_forgotten_after_a_month(database: Database) -> None:
    expectations, month_s = Expectations(database), 31 * 86400.0
    step = PerformedStep(StepState.IN_PROGRESS, frozenset({"2.25.1"}), {"2.25.1.1": {"2.25.1.1.1"}})
    expectations.begin_step("2.25.1.99", step, calling_ae="MR1", now=0.0)

    noted = expectations.begin_step("2.25.2.99", replace(step, made=None), calling_ae="MR1", now=month_s)
    again = expectations.begin_step("2.25.1.99", replace(step, made=None), calling_ae="MR1", now=month_s)

    assert (noted, again) == (Noted.YES, Noted.YES)
    with database.begin() as connection:
        assert connection.execute("SELECT * FROM expectation").fetchall() == []
