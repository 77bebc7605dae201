"""What goes to an archive that refuses an SOP Class: the same report in an older one, under a UID of its own."""

from collections.abc import Collection, Iterator
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    EnhancedSRStorage,
    KeyObjectSelectionDocumentStorage,
    SegmentationStorage,
)
from pynetdicom import AE, evt

from node.delivery import takes
from node.delivery.fallback import fitted, substitutes
from node.dicom.identifiers import InstanceUID
from node.ledger.rulings import Rulings
from node.records import DeliveryState, ResultRecord
from tests.builders import mr, part10
from tests.delivery.desk import CALLER, REPORT, SEG, Desk, objects, peer, storage

SYNTAXES = ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2"]
SR_3D, SR_COMPREHENSIVE, SR_ENHANCED = map(str, (Comprehensive3DSRStorage, ComprehensiveSRStorage, EnhancedSRStorage))
KO_UID = "2.25.77.9"


class Picky:
    """An archive that takes some SOP Classes only, and keeps the data sets in the order of arrival."""

    def __init__(self, *sop_classes: str) -> None:
        self.got: list[Dataset] = []
        ae = AE("ARCHIVE")
        for one in (*sop_classes, "1.2.840.10008.1.1"):
            ae.add_supported_context(one, SYNTAXES)
        self._server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, self._store)])
        self.port = int(self._server.socket.getsockname()[1])

    def _store(self, event: evt.Event) -> int:
        self.got.append(event.dataset)
        return 0x0000

    def __enter__(self) -> "Picky":
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()


def report(**attributes: Any) -> Dataset:
    return mr(REPORT, SOPClassUID=Comprehensive3DSRStorage, PixelData=None, **attributes)


def key_objects() -> Dataset:
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = SR_3D, REPORT
    evidence = Dataset()
    evidence.ReferencedSOPSequence = [reference]
    return mr(
        KO_UID,
        SOPClassUID=KeyObjectSelectionDocumentStorage,
        PixelData=None,
        CurrentRequestedProcedureEvidenceSequence=[evidence],
    )


def item(value_type: str, **attributes: Any) -> Dataset:
    made = Dataset()
    made.ValueType = value_type
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


@pytest.mark.parametrize(
    ("accepted", "sent"),
    [
        ({SR_3D, SR_COMPREHENSIVE, SR_ENHANCED}, SR_3D),
        ({SR_COMPREHENSIVE, SR_ENHANCED}, SR_COMPREHENSIVE),
        ({SR_ENHANCED}, SR_ENHANCED),
        (set(), SR_3D),  # nothing fits: it goes as it is, and is refused
    ],
)
def test_a_report_goes_in_the_best_class_that_is_taken(accepted: Collection[str], sent: str) -> None:
    (made,) = fitted([report()], accepted)

    assert (made.SOPClassUID, made.file_meta.MediaStorageSOPClassUID) == (sent, sent)
    assert (made.SOPInstanceUID == REPORT) is (sent == SR_3D)
    assert made.SOPInstanceUID == made.file_meta.MediaStorageSOPInstanceUID


def test_the_same_report_becomes_the_same_instance_each_time_and_another_in_another_class() -> None:
    (first,) = fitted([report()], {SR_COMPREHENSIVE})
    (again,) = fitted([report()], {SR_COMPREHENSIVE})
    (other,) = fitted([report()], {SR_ENHANCED})

    assert first == again
    assert len({REPORT, first.SOPInstanceUID, other.SOPInstanceUID}) == 3


def test_nothing_but_its_label_changes() -> None:
    before = report(ContentSequence=[item("TEXT", TextValue="investigational")])
    (made,) = fitted([before], {SR_ENHANCED})

    changed = {element.keyword for element in made if element != before[element.tag]}
    assert changed == {"SOPClassUID", "SOPInstanceUID"}
    assert (before.SOPClassUID, before.SOPInstanceUID) == (SR_3D, REPORT)


@pytest.mark.parametrize("within", [item("SCOORD3D"), item("NUM", ReferencedContentItemIdentifier=[1, 2])])
def test_a_tree_that_an_older_class_cannot_hold_goes_in_its_own_or_not_at_all(within: Dataset) -> None:
    made = report(ContentSequence=[item("CONTAINER", ContentSequence=[within])])

    assert substitutes(made) == ()
    assert [one.SOPInstanceUID for one in fitted([made], {SR_COMPREHENSIVE, SR_ENHANCED})] == [REPORT]


def test_what_refers_to_a_replaced_report_refers_to_its_replacement() -> None:
    accepted = {SR_COMPREHENSIVE, str(KeyObjectSelectionDocumentStorage)}
    sr, ko = fitted([report(), key_objects()], accepted)
    (alone,) = fitted([key_objects()], accepted, {REPORT: (SR_COMPREHENSIVE, str(sr.SOPInstanceUID))})

    reference = ko.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSOPSequence[0]
    assert (reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID) == (
        SR_COMPREHENSIVE,
        sr.SOPInstanceUID,
    )
    assert ko.SOPInstanceUID not in (KO_UID, sr.SOPInstanceUID)
    assert alone == ko  # also when the report was taken in an earlier attempt


def test_what_went_in_an_older_class_goes_in_that_again_while_it_is_taken() -> None:
    (older,) = fitted([report()], {SR_COMPREHENSIVE})
    replaced = {REPORT: (SR_COMPREHENSIVE, str(older.SOPInstanceUID))}

    (again,) = fitted([report()], {SR_3D, SR_COMPREHENSIVE, SR_ENHANCED}, replaced)
    (as_it_is,) = fitted([report()], {SR_3D}, replaced)

    assert again == older  # one instance there, not two
    assert as_it_is.SOPInstanceUID == REPORT


@pytest.fixture
def older() -> Iterator[Picky]:
    with Picky(SegmentationStorage, SR_ENHANCED) as archive:
        yield archive


def test_an_older_archive_gets_the_report_and_the_ledger_says_as_what(desk: Desk, older: Picky) -> None:
    job = desk.owe()

    desk.run(desk.outbox(storage(older.port)))

    row = desk.rows(job)["sr"]
    assert [one.SOPClassUID for one in older.got] == [SegmentationStorage, SR_ENHANCED]
    assert (row.state, row.sent_class, row.sent_instance) == (
        DeliveryState.STORED, SR_ENHANCED, older.got[1].SOPInstanceUID,
    )  # fmt: skip
    assert desk.rows(job)["seg"].sent_class == ""


def test_where_no_report_is_taken_the_rest_is_sent_and_the_report_parked(desk: Desk) -> None:
    job = desk.owe()

    with Picky(SegmentationStorage) as archive:
        desk.run(desk.outbox(storage(archive.port)))

    assert [one.SOPInstanceUID for one in archive.got] == [SEG]
    assert desk.states(job) == [(DeliveryState.STORED, "0x0000"), (DeliveryState.PARKED, "SOP Class not accepted")]


def test_the_key_objects_of_a_later_attempt_refer_to_what_was_sent_in_an_earlier_one(desk: Desk) -> None:
    job = desk.owe([*objects(), key_objects()], roles=("seg", "sr", "ko"))
    with Picky(SegmentationStorage, SR_ENHANCED) as archive:
        desk.run(desk.outbox(storage(archive.port)))
    desk.undelivered.owe_again(job, now=desk.now)  # the key objects, which were not taken
    with Picky(SegmentationStorage, SR_ENHANCED, KeyObjectSelectionDocumentStorage) as later:
        desk.run(desk.outbox(storage(later.port)))

    (ko,) = later.got
    reference = ko.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSOPSequence[0]
    assert reference.ReferencedSOPInstanceUID == archive.got[1].SOPInstanceUID


@pytest.mark.parametrize("owed_again", [True, False])
def test_a_recall_names_what_the_destination_holds(desk: Desk, owed_again: bool) -> None:
    job = desk.owe()
    with Picky(SegmentationStorage, SR_ENHANCED, KeyObjectSelectionDocumentStorage) as archive:
        outbox = desk.outbox(storage(archive.port))
        desk.run(outbox)
        if owed_again:  # as when the archive does not commit itself to it
            desk.deliveries.advance(
                REPORT,
                "pacs",
                DeliveryState.OWED,
                "",
                was=DeliveryState.STORED,
                now=desk.now,
                next_try_s=desk.now + 1e6,
            )
        path = desk.results.store(part10(key_objects()))
        note = ResultRecord(InstanceUID(KO_UID), KeyObjectSelectionDocumentStorage, job, "ko", path)
        Rulings(desk.ledger.database).recall(job, note, "Curie", "wrong", now=desk.now)
        desk.run(outbox, after_s=2e6)

    _, sent, named = archive.got
    reference = named.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSOPSequence[0]
    assert (reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID) == (SR_ENHANCED, sent.SOPInstanceUID)


def test_a_report_that_nobody_answered_to_is_known_by_what_it_was_sent_as(desk: Desk) -> None:
    def mute(event: evt.Event) -> int:
        got.append(str(event.request.AffectedSOPInstanceUID))
        event.assoc.abort()
        return 0

    got: list[str] = []
    job = desk.owe(objects()[1:], roles=("sr",))
    ae = AE("ARCHIVE")
    ae.add_supported_context(SR_ENHANCED, SYNTAXES)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, mute)])
    desk.run(desk.outbox(storage(server.socket.getsockname()[1])))
    server.shutdown()

    row = desk.rows(job)["sr"]
    assert (row.state, [row.sent_instance]) == (DeliveryState.OWED, got)


def test_a_result_that_comes_back_in_its_other_class_is_known_as_ours(desk: Desk, older: Picky) -> None:
    desk.owe()
    desk.run(desk.outbox(storage(older.port)))
    before = desk.ledger.study_rows()[0].state

    desk.receive(str(older.got[1].SOPInstanceUID))

    assert desk.ledger.study_rows()[0].state == before


def test_what_a_destination_takes_can_be_asked_without_sending(older: Picky) -> None:
    assert takes(peer(older.port), [SR_3D, SR_ENHANCED, SegmentationStorage], CALLER) == {
        SR_ENHANCED, str(SegmentationStorage),
    }  # fmt: skip
    assert takes(peer(older.port), [SR_3D], CALLER) == set()


def test_the_bytes_in_the_spool_stay_what_they_were(desk: Desk, older: Picky) -> None:
    job = desk.owe()
    parcel = desk.deliveries.due("pacs", now=desk.now)
    assert parcel is not None
    paths = [desk.results.path_of(one.path) for one, _ in parcel.objects]

    desk.run(desk.outbox(storage(older.port)))

    assert [dcmread(path).SOPInstanceUID for path in paths] == [SEG, REPORT]
    assert desk.states(job)[1][0] is DeliveryState.STORED


def test_as_what_a_report_goes_is_noted_before_it_is_sent(desk: Desk) -> None:
    """Else a kill in between and a recall name the UID that was not sent."""

    def store(event: evt.Event) -> int:
        seen.append((str(event.request.AffectedSOPInstanceUID), desk.rows(job)["sr"].sent_instance))
        return status.pop()

    seen: list[tuple[str, str]] = []
    status = [0x0000, 0xA900]  # it takes it the second time
    job = desk.owe(objects()[1:], roles=("sr",))
    ae = AE("ARCHIVE")
    ae.add_supported_context(SR_ENHANCED, SYNTAXES)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    outbox = desk.outbox(storage(server.socket.getsockname()[1]))
    desk.run(outbox)
    refused = desk.rows(job)["sr"]
    desk.undelivered.owe_again(job, now=desk.now)
    desk.run(outbox)
    server.shutdown()

    assert [sent == noted for sent, noted in seen] == [True, True]
    assert (refused.state, refused.sent_instance) == (DeliveryState.PARKED, "")  # it is not there
    assert desk.rows(job)["sr"].sent_instance == seen[1][0]
