"""Instances that came in two encodings: the study goes on if they say the same, and stays held if they do not."""

import threading
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLSLossless, RLELossless

from node.completion.encodings import Encodings
from node.dicom.likeness import difference
from node.jobs import sandbox
from node.jobs.likeness import first_difference
from node.ledger import Arrivals
from node.ledger.ledger import Ledger
from node.records import StudyState
from node.spool import Spool, SpoolReader
from tests.builders import mr, origin_of, part10, record, series_of
from tests.completion.desk import POST, PRE, QUIET_S, Desk


def encoded(dataset: Dataset, syntax: str) -> Dataset:
    """Return an instance in another transfer syntax."""
    other = deepcopy(dataset)
    if syntax in (JPEGLSLossless, RLELossless):
        other.compress(syntax, generate_instance_uid=False)
    else:
        other.file_meta.TransferSyntaxUID = UID(syntax)
    return other


def read(dataset: Dataset) -> Dataset:
    """Return an instance as it is read from its bytes."""
    import io

    from pydicom import dcmread

    return dcmread(io.BytesIO(part10(dataset)))


def receive_again(desk: Desk, dataset: Dataset, *, now: float) -> None:
    """Record another content of an instance that is held."""
    origin = replace(origin_of(dataset), transfer_syntax=str(dataset.file_meta.TransferSyntaxUID))
    header = record(desk.spool, part10(dataset), origin, now=now)
    Arrivals(desk.ledger.database).enter([header.received(contradicts=True)], now=now)


@pytest.fixture
def desk(spool: Spool, ledger: Ledger) -> Desk:
    return Desk(spool, ledger)


@pytest.fixture
def encodings(desk: Desk) -> Encodings:
    return Encodings(desk.ledger, SpoolReader(desk.spool.root), first_difference, quiet_period_s=QUIET_S)


def pair_in(syntax: str) -> list[Dataset]:
    return [encoded(one, syntax) for one in [*series_of(1, **PRE), *series_of(2, **POST)]]


@pytest.mark.parametrize("syntax", [JPEGLSLossless, RLELossless, ImplicitVRLittleEndian])
def test_a_study_that_came_in_two_encodings_goes_on_and_what_came_first_is_measured(
    desk: Desk, encodings: Encodings, syntax: str
) -> None:
    desk.receive_pair(now=0.0)
    desk.look(now=QUIET_S)
    before = {place for ones in desk.ledger.inputs(desk.jobs[0].id).values() for _uid, place in ones}
    for dataset in pair_in(syntax):
        receive_again(desk, dataset, now=100.0)
    assert desk.state is StudyState.HELD

    encodings.run_once(now=100.0 + QUIET_S)
    desk.look(now=100.0 + QUIET_S)

    assert desk.state is StudyState.MEASURABLE
    assert {place for ones in desk.ledger.inputs(desk.jobs[-1].id).values() for _uid, place in ones} == before


def test_nothing_is_compared_before_all_is_quiet(desk: Desk, encodings: Encodings) -> None:
    desk.receive_pair(now=0.0)
    receive_again(desk, pair_in(RLELossless)[0], now=10.0)

    encodings.run_once(now=10.0 + QUIET_S - 1)

    assert desk.state is StudyState.HELD


def other_pixels(dataset: Dataset) -> None:
    dataset.PixelData = b"\7\7" * 64


def other_value(dataset: Dataset) -> None:
    dataset.RepetitionTime = 551


def one_more(dataset: Dataset) -> None:
    dataset.ImageComments = "more"


def one_less(dataset: Dataset) -> None:
    del dataset.EchoTime


@pytest.mark.parametrize("alter", [other_pixels, other_value, one_more, one_less])
def test_a_study_of_which_one_instance_says_something_else_in_the_other_encoding_stays_held(
    desk: Desk, encodings: Encodings, alter: Callable[[Dataset], None]
) -> None:
    desk.receive_pair(now=0.0)
    again = [*series_of(1, **PRE)]
    alter(again[3])
    for dataset in again:
        receive_again(desk, encoded(dataset, RLELossless), now=0.0)

    encodings.run_once(now=QUIET_S)

    assert desk.state is StudyState.HELD


def test_a_study_that_contradicts_itself_in_one_encoding_stays_held_and_is_compared_once(
    desk: Desk, encodings: Encodings, caplog: pytest.LogCaptureFixture
) -> None:
    import logging

    logging.getLogger("paraspinal-node").propagate = True
    caplog.set_level(logging.INFO)
    desk.receive_pair(now=0.0)
    receive_again(desk, next(series_of(1, RepetitionTime=551, **PRE)), now=0.0)

    for turn in range(3):
        encodings.run_once(now=QUIET_S + turn)

    assert desk.state is StudyState.HELD
    # Each record once, however many handlers other tests have left behind.
    assert len({id(one) for one in caplog.records if "C316" in one.getMessage()}) == 1


@pytest.mark.parametrize("change", [{"PatientID": "SOMEBODY-ELSE"}, {"StudyInstanceUID": "2.25.1"}])
def test_what_came_again_for_another_patient_or_study_is_not_even_compared(
    desk: Desk, encodings: Encodings, change: dict[str, Any]
) -> None:
    desk.receive_pair(now=0.0)
    again = next(series_of(1, **PRE))
    for keyword, value in change.items():
        setattr(again, keyword, value)
    receive_again(desk, encoded(again, RLELossless), now=0.0)

    encodings.run_once(now=QUIET_S)

    assert {row.state for row in desk.ledger.study_rows()} == {StudyState.HELD}


@pytest.mark.parametrize("change", [{"PatientID": "SOMEBODY-ELSE"}, {"StudyInstanceUID": "2.25.1"}])
def test_a_study_in_doubt_for_another_reason_as_well_stays_held(
    desk: Desk, encodings: Encodings, change: dict[str, Any]
) -> None:
    desk.receive_pair(now=0.0)
    receive_again(desk, pair_in(RLELossless)[0], now=0.0)
    stranger = [*series_of(1, **PRE)][5]
    for keyword, value in change.items():
        setattr(stranger, keyword, value)
    if "PatientID" in change:
        stranger.SOPInstanceUID = "2.25.77"
        desk.receive(stranger, now=0.0)
    else:
        receive_again(desk, stranger, now=0.0)

    encodings.run_once(now=QUIET_S)

    assert {row.state for row in desk.ledger.study_rows()} == {StudyState.HELD}


def test_pixels_that_cannot_be_decoded_keep_a_study_held(desk: Desk, encodings: Encodings) -> None:
    desk.receive_pair(now=0.0)
    again = encoded(next(series_of(1, **PRE)), RLELossless)
    again.PixelData = again.PixelData[:-40] + bytes(40)
    receive_again(desk, again, now=0.0)

    encodings.run_once(now=QUIET_S)

    assert desk.state is StudyState.HELD


@pytest.mark.slow
def test_the_comparison_runs_in_the_sandbox(desk: Desk) -> None:
    def isolated(pairs: Any) -> str:
        return str(
            sandbox.run_isolated(
                "node.jobs.likeness:first_difference", {"pairs": pairs}, time_limit_s=60.0, memory_limit_mb=2048,
                cancelled=threading.Event(),
            )
        )  # fmt: skip

    desk.receive_pair(now=0.0)
    for dataset in pair_in(JPEGLSLossless):
        receive_again(desk, dataset, now=0.0)

    Encodings(desk.ledger, SpoolReader(desk.spool.root), isolated, quiet_period_s=QUIET_S).run_once(now=QUIET_S)

    assert desk.state is StudyState.GATHERING


# ------------------------------------------------------------------ data sets


def private(value: bytes) -> Dataset:
    made = mr()
    block = made.private_block(0x0029, "ACME", create=True)
    block.add_new(0x10, "LO", value.decode())
    item = Dataset()
    item.CodeValue = "T-1"
    made.ProcedureCodeSequence = [item]
    return made


def test_private_elements_and_sequences_are_compared_across_explicit_and_implicit_vr() -> None:
    explicit = read(encoded(private(b"value"), ExplicitVRLittleEndian))

    assert difference(explicit, read(encoded(private(b"value"), ImplicitVRLittleEndian))) == ""
    assert difference(explicit, read(encoded(private(b"other"), ImplicitVRLittleEndian))) == "(0029,1010)"


def test_a_value_in_a_sequence_that_differs_is_found() -> None:
    one, other = private(b"value"), private(b"value")
    other.ProcedureCodeSequence[0].CodeValue = "T-2"

    assert difference(read(one), read(encoded(other, RLELossless))) == "(0008,1032)"


def test_an_instance_without_pixels_differs_from_one_with() -> None:
    assert difference(read(mr()), read(mr(PixelData=None))) == "(7fe0,0010)"
    assert difference(read(mr(PixelData=None)), read(mr(PixelData=None))) == ""


def numbered(value: int) -> Dataset:
    made = private(b"value")
    made.private_block(0x0029, "ACME").add_new(0x11, "US", value)
    made.NumberOfTemporalPositions = 1
    made.RepresentativeFrameNumber = value
    return made


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_numbers_that_differ_in_a_byte_which_pads_text_differ(syntax: str) -> None:
    one, other = (read(encoded(numbered(value), syntax)) for value in (1, 0x2001))

    assert difference(one, read(encoded(numbered(1), syntax))) == ""
    assert difference(one, other) == "(0028,6010)"
    del one.RepresentativeFrameNumber, other.RepresentativeFrameNumber
    assert difference(one, other) == "(0029,1011)"


def test_the_padding_of_text_is_no_difference() -> None:
    one, other = private(b"value"), private(b"value \0")
    one.StudyID, other.StudyID = "7", "7   "

    assert difference(read(one), read(other)) == ""
