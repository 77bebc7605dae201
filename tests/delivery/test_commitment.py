"""Storage commitment asked for: by N-ACTION, told by N-EVENT-REPORT on the same association or on a new one."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, build_role, evt

from node.association.receiver import Receiver
from node.delivery.commitment import CommitmentRequester
from node.dicom.identifiers import InstanceUID
from node.dicom.references import CommitmentReport
from node.ledger import Database, Promises
from node.ledger.rulings import Rulings
from node.records import RECALL_NOTE, DeliveryState, ResultRecord
from node.settings import Settings
from node.spool import Spool
from tests.delivery.desk import CALLER, REPORT, SEG, Desk, objects, peer, storage
from tests.delivery.test_identity import OURS, Knows
from tests.delivery.test_outbox import Scripted
from tests.peers import Orthanc, until

STORAGE_COMMITMENT, WELL_KNOWN = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1"
STORED, COMMITTED, OWED = DeliveryState.STORED, DeliveryState.COMMITTED, DeliveryState.OWED
SYNTAXES = ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2"]


def report_on(request: Dataset, *, failed: tuple[str, ...] = (), reason: int = 0x0112) -> tuple[int, Dataset]:
    """Return Event Type and Information of a report, with these instances failed."""
    report = Dataset()
    report.TransactionUID = request.TransactionUID
    fine, wrong = [], []
    for one in request.ReferencedSOPSequence:
        (wrong if one.ReferencedSOPInstanceUID in failed else fine).append(one)
    if fine:
        report.ReferencedSOPSequence = fine
    for one in wrong:
        one.FailureReason = reason
    if wrong:
        report.FailedSOPSequence = wrong
    return (2 if wrong else 1), report


class Committing:
    """An archive that is asked for storage commitment: it keeps the requests, and reports at once if told how.

    `first` is done with a request before it is answered.
    """

    def __init__(
        self,
        *,
        at_once: Callable[[Dataset], tuple[int, Dataset]] | None = None,
        first: Callable[[Dataset], object] = lambda _request: None,
        status: int = 0,
    ) -> None:
        self.requests: list[Dataset] = []
        self.answers: list[int | None] = []  # to its reports
        self._at_once, self._first, self._status = at_once, first, status
        ae = AE("ARCHIVE")
        ae.add_supported_context(STORAGE_COMMITMENT)
        self._server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_N_ACTION, self._act)])
        self.port = int(self._server.socket.getsockname()[1])

    def _act(self, event: evt.Event) -> tuple[int, None]:
        self.requests.append(event.action_information)
        self._first(event.action_information)
        if self._at_once is not None:
            threading.Timer(0.05, self._report, [event.assoc, *self._at_once(event.action_information)]).start()
        return self._status, None

    def _report(self, association: Any, event_type: int, report: Dataset) -> None:
        status, _ = association.send_n_event_report(report, event_type, STORAGE_COMMITMENT, WELL_KNOWN)
        self.answers.append(status.get("Status"))

    def stop(self) -> None:
        self._server.shutdown()


def requester(desk: Desk, port: int, *, linger_s: float = 0.05, attempts: int = 80) -> CommitmentRequester:
    def note(report: CommitmentReport) -> bool:
        return Promises(desk.ledger.database).reported(
            report, wait_s=lambda _sent: 10.0, attempts=attempts, now=desk.now
        )

    return CommitmentRequester(peer(port), CALLER, note, linger_s=linger_s)


@pytest.fixture
def receiver(database: Database, spool: Spool) -> Iterator[Receiver]:
    settings = Settings.checked(
        {
            "association": {"bind": "127.0.0.1", "port": 0},
            "peer": [{"ae_title": "*", "addresses": ["127.0.0.0/8"]}],
        }
    )
    receiver = Receiver(settings, spool, database)
    receiver.start()
    yield receiver
    receiver.stop(drain_s=0.0)


def tell(receiver: Receiver, event_type: int, report: Dataset) -> int:
    """Report as an archive does, over an association that it opens, as SCP; return the answer."""
    ae = AE("ARCHIVE")
    ae.add_requested_context(STORAGE_COMMITMENT, SYNTAXES)
    association = ae.associate(
        "127.0.0.1", receiver.port, ae_title="PARASPINAL", ext_neg=[build_role(STORAGE_COMMITMENT, scp_role=True)]
    )
    assert association.accepted_contexts[0].as_scp  # the role that it proposed was accepted
    try:
        status, _ = association.send_n_event_report(report, event_type, STORAGE_COMMITMENT, WELL_KNOWN)
        return int(status.Status)
    finally:
        association.release()


def test_a_report_on_the_same_association_commits_the_destination(desk: Desk) -> None:
    job = desk.owe()
    archive = Committing(at_once=report_on)
    desk.run(desk.outbox(Scripted("stored"), commitment=requester(desk, archive.port, linger_s=5.0)))
    until(lambda: archive.answers, what="our answer to the report")
    archive.stop()

    assert archive.answers == [0x0000]
    asked = {one.ReferencedSOPInstanceUID for one in archive.requests[0].ReferencedSOPSequence}
    assert (len(archive.requests), asked) == (1, {SEG, REPORT})
    assert desk.states(job) == [(COMMITTED, "committed to")] * 2


def test_a_report_on_a_new_association_comes_to_the_receiver(desk: Desk, receiver: Receiver) -> None:
    job = desk.owe()
    archive = Committing()
    outbox = desk.outbox(Scripted("stored"), commitment=requester(desk, archive.port))
    desk.run(outbox)
    asked = desk.states(job)

    status = tell(receiver, *report_on(archive.requests[0]))
    told_twice = tell(receiver, *report_on(archive.requests[0]))
    archive.stop()

    assert asked == [(STORED, "commitment asked for")] * 2
    assert (status, told_twice) == (0x0000, 0x0115)  # no request is open any more
    assert desk.states(job) == [(COMMITTED, "committed to")] * 2


def test_what_the_destination_does_not_commit_to_is_sent_again(desk: Desk, receiver: Receiver) -> None:
    job = desk.owe()
    archive = Committing()
    outbox = desk.outbox(destination := Scripted("stored"), commitment=requester(desk, archive.port))
    desk.run(outbox)
    tell(receiver, *report_on(archive.requests[0], failed=(SEG,)))
    desk.now = time.time()
    after_report = desk.states(job)
    desk.run(outbox, after_s=100.0)
    tell(receiver, *report_on(archive.requests[1]))
    archive.stop()

    assert after_report == [(OWED, "not committed to: 0x0112"), (COMMITTED, "committed to")]
    assert destination.got == [[SEG, REPORT], [SEG]]
    assert [one.ReferencedSOPInstanceUID for one in archive.requests[1].ReferencedSOPSequence] == [SEG]
    assert [state for state, _ in desk.states(job)] == [COMMITTED] * 2


def test_what_a_destination_never_commits_itself_to_is_an_operators_in_the_end(desk: Desk) -> None:
    job = desk.owe()
    archive = Committing(at_once=lambda request: report_on(request, failed=(SEG,)))
    outbox = desk.outbox(
        destination := Scripted("stored"), commitment=requester(desk, archive.port, linger_s=5.0, attempts=3)
    )
    for _ in range(5):
        desk.run(outbox, after_s=1000.0)
    parked, sent = desk.states(job), [SEG in one for one in destination.got]
    desk.undelivered.owe_again(job, now=desk.now)
    owed = desk.states(job)
    archive.stop()

    assert parked == [(DeliveryState.PARKED, "stored, but not committed to: 0x0112"), (COMMITTED, "committed to")]
    assert sent == [True] * 3
    assert [state for state, _ in owed] == [OWED, COMMITTED]


@pytest.mark.parametrize("reason", [0x0119, 0x0122])  # class-instance conflict, SOP Class not supported
def test_what_a_destination_cannot_commit_itself_to_is_not_sent_again(desk: Desk, reason: int) -> None:
    job = desk.owe()
    archive = Committing(at_once=lambda request: report_on(request, failed=(SEG, REPORT), reason=reason))
    desk.run(desk.outbox(Scripted("stored"), commitment=requester(desk, archive.port, linger_s=5.0)))
    archive.stop()

    assert desk.states(job) == [(DeliveryState.PARKED, f"stored, but not committed to: 0x{reason:04X}")] * 2


def test_a_report_that_comes_when_nobody_expects_one_any_more_is_believed(desk: Desk, receiver: Receiver) -> None:
    desk.settings = desk.settings.model_copy(update={"attempts": 1})
    job = desk.owe()
    archive = Committing()
    outbox = desk.outbox(Scripted("stored"), commitment=requester(desk, archive.port))
    for _ in range(2):
        desk.run(outbox, after_s=desk.settings.commitment_wait_s + 1.0)
    given_up = desk.states(job)
    tell(receiver, *report_on(archive.requests[0]))
    archive.stop()

    assert given_up == [(DeliveryState.PARKED, "no report on storage commitment")] * 2
    assert desk.states(job) == [(COMMITTED, "committed to")] * 2


def test_a_request_that_cannot_be_made_counts_once(desk: Desk) -> None:
    job = desk.owe()
    desk.run(desk.outbox(Scripted("stored"), commitment=requester(desk, 1)))

    assert [one.turns for one in desk.deliveries.rows(job)] == [1, 1]


def test_a_request_that_is_not_reported_on_is_made_again_under_another_uid(desk: Desk, receiver: Receiver) -> None:
    job = desk.owe()
    archive = Committing()
    outbox = desk.outbox(Scripted("stored"), commitment=requester(desk, archive.port))
    desk.run(outbox)
    too_early = desk.run(outbox, after_s=desk.settings.commitment_wait_s - 1.0)
    desk.run(outbox, after_s=2.0)
    late = tell(receiver, *report_on(archive.requests[0]))
    believed = desk.states(job)
    in_time = tell(receiver, *report_on(archive.requests[1], failed=(SEG,)))
    archive.stop()

    assert (too_early, len(archive.requests)) == (0, 2)
    assert archive.requests[0].TransactionUID != archive.requests[1].TransactionUID
    assert (late, in_time) == (0x0000, 0x0000)
    assert believed == desk.states(job) == [(COMMITTED, "committed to")] * 2


def test_a_report_counts_though_its_request_was_answered_badly(desk: Desk, receiver: Receiver) -> None:
    job = desk.owe()
    archive = Committing(first=lambda request: tell(receiver, *report_on(request)), status=0x0110)
    desk.run(desk.outbox(Scripted("stored"), commitment=requester(desk, archive.port)))
    archive.stop()

    assert desk.states(job) == [(COMMITTED, "committed to")] * 2


def test_a_destination_that_offers_no_commitment_is_an_operators_to_know(desk: Desk, tmp_path: Path) -> None:
    job = desk.owe()
    ae = AE("ARCHIVE")
    ae.add_supported_context("1.2.840.10008.1.1")
    server = ae.start_server(("127.0.0.1", 0), block=False)
    desk.run(desk.outbox(Scripted("stored"), commitment=requester(desk, server.socket.getsockname()[1])))
    server.shutdown()

    assert desk.states(job) == [(DeliveryState.PARKED, "stored, but storage commitment is not offered")] * 2


@pytest.mark.parametrize("event_type", [0, 3])
def test_a_report_of_an_unknown_event_type_is_refused(receiver: Receiver, event_type: int) -> None:
    report = Dataset()
    report.TransactionUID = "2.25.1"

    assert tell(receiver, event_type, report) == 0x0113


def test_commitment_comes_before_looking(desk: Desk, receiver: Receiver) -> None:
    job = desk.owe()
    archive = Committing()
    looks = Knows(OURS, shows=frozenset({SEG, REPORT}))
    outbox = desk.outbox(Scripted("stored"), commitment=requester(desk, archive.port), inquiry=looks)
    desk.run(outbox, after_s=10.0)
    asked = [state for state, _ in desk.states(job)]
    tell(receiver, *report_on(archive.requests[0]))
    desk.now = time.time()
    desk.run(outbox, after_s=1.0)
    archive.stop()

    assert asked == [STORED] * 2
    assert [state for state, _ in desk.states(job)] == [DeliveryState.SEEN] * 2


@pytest.mark.slow
def test_orthanc_commits_itself_to_what_it_holds_and_to_nothing_else(
    desk: Desk, receiver: Receiver, tmp_path: Path
) -> None:
    us = {"AET": "PARASPINAL", "Host": "127.0.0.1", "Port": receiver.port, "AllowStorageCommitment": True}
    orthanc = Orthanc(tmp_path / "orthanc", modalities={"node": us})
    try:
        job = desk.owe()
        outbox = desk.outbox(storage(orthanc.port), commitment=requester(desk, orthanc.port))
        desk.run(outbox)
        until(lambda: {state for state, _ in desk.states(job)} == {COMMITTED}, 20, what="the report")

        for one in orthanc.instances():
            orthanc.delete(f"/instances/{one}")
        desk.deliveries.advance(SEG, "pacs", STORED, "", was=COMMITTED, now=desk.now, next_try_s=desk.now)
        desk.run(outbox)
        until(lambda: desk.states(job)[0][0] is OWED, 20, what="the report that it is gone")
        desk.now = time.time()
        desk.run(outbox, after_s=100.0)
        until(lambda: desk.states(job)[0][0] is COMMITTED, 20, what="the report on what was sent again")
    finally:
        orthanc.stop()


@pytest.mark.parametrize("recalled", [False, True])
def test_what_a_newer_revision_has_passed_over_is_not_sent_after_it(desk: Desk, recalled: bool) -> None:
    job = desk.owe()
    archive = Committing()
    desk.run(desk.outbox(Scripted("stored"), commitment=requester(desk, archive.port)))
    desk.owe(objects(2))
    desk.run(desk.outbox(destination := Scripted("stored")))
    if recalled:
        note = ResultRecord(InstanceUID("2.25.77.9"), "1.2.5", job, RECALL_NOTE, "d.dcm")
        Rulings(desk.ledger.database).recall(job, note, "Curie", "wrong", now=desk.now)
    first = archive.requests[0]
    archive.stop()

    told = CommitmentReport(str(first.TransactionUID), frozenset({REPORT}), {SEG: 0x0112})
    Promises(desk.ledger.database).reported(told, wait_s=lambda _sent: 10.0, attempts=80, now=desk.now)
    desk.run(desk.outbox(destination), after_s=100.0)

    row = desk.rows(job)["seg"]
    assert [SEG] not in destination.got
    assert (row.state, row.status) == (
        (DeliveryState.WITHDRAWN, "recalled") if recalled
        else (DeliveryState.PARKED, "stored, but not committed to: 0x0112, and a newer revision is there")
    )  # fmt: skip


def test_what_was_committed_to_meanwhile_is_not_parked_by_who_read_it_before(desk: Desk) -> None:
    job = desk.owe()
    for was, state in ((OWED, STORED), (STORED, COMMITTED)):
        assert desk.deliveries.advance(SEG, "pacs", state, "", was=was, now=desk.now)

    assert not desk.deliveries.advance(SEG, "pacs", DeliveryState.PARKED, "no report", was=STORED, now=desk.now)

    assert desk.rows(job)["seg"].state is COMMITTED


def test_the_note_of_a_recall_is_sent_until_it_is_committed_to_whatever_is_there_since(desk: Desk) -> None:
    job = desk.owe()
    desk.run(desk.outbox(Scripted("stored")))
    desk.owe(objects(2))
    desk.run(desk.outbox(Scripted("stored")))
    note = ResultRecord(InstanceUID("2.25.77.9"), "1.2.5", job, RECALL_NOTE, "d.dcm")
    Rulings(desk.ledger.database).recall(job, note, "Curie", "wrong", now=desk.now)
    desk.deliveries.advance(note.sop_instance, "pacs", STORED, "", was=OWED, now=desk.now, attempts=1)
    desk.deliveries.ask([note.sop_instance], "pacs", "2.25.5", now=desk.now, next_try_s=desk.now)

    told = CommitmentReport("2.25.5", frozenset(), {note.sop_instance: 0x0112})
    Promises(desk.ledger.database).reported(told, wait_s=lambda _sent: 10.0, attempts=80, now=desk.now)

    assert desk.rows(job)[RECALL_NOTE].state is OWED
