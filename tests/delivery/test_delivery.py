"""Deliveries to a real listening archive, and what the ledger says afterwards."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage, ImplicitVRLittleEndian, SegmentationStorage
from pynetdicom import AE, evt

from node.delivery import DicomStorage, Folder, Sender, echo
from node.dicom.identifiers import InstanceUID
from node.errors import DeliveryError
from node.ledger import Arrivals
from node.ledger.ledger import Ledger
from node.ports import Answer
from node.records import DeliveryState, ResultRecord
from node.settings import DestinationSettings
from node.simulator.archive import Archive
from node.spool import Results
from tests.builders import mr, part10
from tests.ledger.test_ledger import FIRST, close, enqueue_nothing

SEG, REPORT = InstanceUID("2.25.77.1"), InstanceUID("2.25.77.2")


def objects() -> list[Dataset]:
    return [
        mr(SEG, SOPClassUID=SegmentationStorage, PixelData=bytes(128)),
        mr(REPORT, SOPClassUID=Comprehensive3DSRStorage),
    ]


def dicom(port: int) -> DicomStorage:
    settings = DestinationSettings(name="pacs", ae_title="ARCHIVE", port=port)
    return DicomStorage(settings, calling_ae="PARASPINAL", network_timeout_s=5.0)


@pytest.fixture
def owed(results: Results, arrivals: Arrivals, ledger: Ledger) -> str:
    """A job whose segmentation and report are owed to "pacs"."""
    arrivals.enter([FIRST], now=1.0)
    (job,) = close(ledger)
    records = [
        ResultRecord(InstanceUID(one.SOPInstanceUID), one.SOPClassUID, job.id, role, results.store(part10(one)))
        for one, role in zip(objects(), ("seg-muscles", "sr"), strict=True)
    ]
    ledger.settle(job.id, "findings", records, ["pacs"], enqueue=enqueue_nothing, now=2.0)
    return job.id


def states(ledger: Ledger, job: str) -> dict[str, tuple[DeliveryState, int, str]]:
    return {one.role: (one.state, one.attempts, one.status) for one in ledger.delivery_rows(job)}


def test_what_is_owed_is_stored_and_written_down(owed: str, results: Results, ledger: Ledger, tmp_path: Path) -> None:
    with Archive(tmp_path / "archive") as archive:
        still_owed = Sender(ledger, results, {"pacs": dicom(archive.port)}).attempt(owed, "pacs", 1, False)

    assert not still_owed
    assert list(archive.digests) == [SEG, REPORT]  # in this order: the reference resolves when the report arrives
    assert states(ledger, owed) == dict.fromkeys(("seg-muscles", "sr"), (DeliveryState.STORED, 1, "0x0000"))


def test_a_refusal_is_tried_again_and_each_object_is_taken_once(
    owed: str, results: Results, ledger: Ledger, tmp_path: Path
) -> None:
    with Archive(tmp_path / "archive", refuse_first=1) as archive:
        sender = Sender(ledger, results, {"pacs": dicom(archive.port)})
        left = [sender.attempt(owed, "pacs", attempt, False) for attempt in (1, 2, 3)]

    assert left == [True, True, False]
    assert {uid: len(contents) for uid, contents in archive.digests.items()} == {SEG: 1, REPORT: 1}


def test_a_report_does_not_overtake_the_segmentation_it_refers_to(
    owed: str, results: Results, ledger: Ledger, tmp_path: Path
) -> None:
    with Archive(tmp_path / "archive", refuse_first=1) as archive:
        Sender(ledger, results, {"pacs": dicom(archive.port)}).attempt(owed, "pacs", 1, False)

    assert list(archive.attempts) == [SEG]
    assert states(ledger, owed)["sr"] == (DeliveryState.OWED, 1, "not sent in this attempt")


def test_the_last_attempt_abandons_what_was_not_taken(
    owed: str, results: Results, ledger: Ledger, tmp_path: Path
) -> None:
    with Archive(tmp_path / "archive", refuse_first=99) as archive:
        still_owed = Sender(ledger, results, {"pacs": dicom(archive.port)}).attempt(owed, "pacs", 7, True)

    assert not still_owed
    assert states(ledger, owed)["seg-muscles"] == (DeliveryState.ABANDONED, 7, "0xA700")


def test_an_archive_that_is_down_leaves_everything_owed(owed: str, results: Results, ledger: Ledger) -> None:
    still_owed = Sender(ledger, results, {"pacs": dicom(1)}).attempt(owed, "pacs", 1, False)

    assert still_owed
    assert {state for state, _attempts, _status in states(ledger, owed).values()} == {DeliveryState.OWED}


def test_a_destination_that_left_the_settings_keeps_its_deliveries_owed(
    owed: str, results: Results, ledger: Ledger
) -> None:
    assert Sender(ledger, results, {}).attempt(owed, "pacs", 1, False)
    assert states(ledger, owed)["sr"][2] == "no such destination in the settings"


def answers_of(status: int, sent: Sequence[Dataset], supported: Sequence[str]) -> Sequence[Answer]:
    """Return the answers of an archive that takes `supported` classes, in one syntax, and says `status`."""
    ae = AE("ARCHIVE")
    for sop_class in supported:
        ae.add_supported_context(sop_class, ImplicitVRLittleEndian)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, lambda _event: status)])
    try:
        return dicom(server.socket.getsockname()[1]).deliver(sent)
    finally:
        server.shutdown()


@pytest.mark.parametrize(
    ("status", "stored", "permanent"),
    [
        (0x0000, True, False),
        (0xB000, True, False),  # coercion of data elements
        (0x0111, True, False),  # duplicate SOP instance: it is there
        (0xA700, False, False),
        (0xC123, False, False),
        (0xA900, False, True),
        (0x0122, False, True),
    ],
)
def test_every_status_has_its_meaning(status: int, stored: bool, permanent: bool) -> None:
    (answer,) = answers_of(status, objects()[:1], [SegmentationStorage])

    assert (answer.stored, answer.permanent, answer.status) == (stored, permanent, f"0x{status:04X}")


def test_a_class_that_the_archive_never_takes_does_not_hold_up_the_report() -> None:
    answers = answers_of(0x0000, objects(), [Comprehensive3DSRStorage])

    assert [(one.stored, one.permanent) for one in answers] == [(False, True), (True, False)]


def test_the_folder_destination_holds_whole_files(tmp_path: Path) -> None:
    settings = DestinationSettings(name="disk", kind="folder", folder=tmp_path / "out")

    answers = Folder(settings, calling_ae="PARASPINAL", network_timeout_s=5.0).deliver(objects())

    assert all(one.stored for one in answers)
    assert {dcmread(path).SOPInstanceUID for path in (tmp_path / "out").iterdir()} == {SEG, REPORT}


def test_an_echo_tells_whether_a_destination_answers(tmp_path: Path) -> None:
    with Archive(tmp_path / "archive") as archive:
        peer = DestinationSettings(name="pacs", ae_title="ARCHIVE", port=archive.port)
        assert echo(peer, calling_ae="PARASPINAL", network_timeout_s=5.0) == 0x0000

    with pytest.raises(DeliveryError, match="no association"):
        echo(peer, calling_ae="PARASPINAL", network_timeout_s=5.0)
