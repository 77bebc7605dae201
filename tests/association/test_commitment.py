"""Storage commitment, asked for by real associations; the peer that asks also listens, as its settings entry says."""

import contextlib
import io
import itertools
import json
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import UID, EnhancedMRImageStorage, MRImageStorage
from pynetdicom import AE, build_context, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import N_EVENT_REPORT

from node.association import Receiver, commitment, telling
from node.association.commitment import StorageCommitment
from node.association.conformance import STORAGE_COMMITMENT
from node.association.register import Register
from node.association.telling import SOP_INSTANCE, one_message_at_a_time
from node.dicom.references import CommitmentRequest, Reference, read_request
from node.dimse import await_reader
from node.errors import HeaderError
from node.ledger import Arrivals, Commitments, Database, Owing, open_database
from node.ledger import commitments as commitments_module
from node.records import CommitmentState
from node.settings import Settings
from node.simulator.loopback import free_port
from node.spool import Spool, SpoolReader
from tests.builders import mr, part10
from tests.conftest import ROOT
from tests.peers import Orthanc, until

IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
TRANSACTION = "2.25.7001"
Asked = list[tuple[str, str]]


class Node:
    """A receiver on a port and in a folder of its own."""

    def __init__(self, folder: Path, peer_port: int | None, *, ae_title: str = "SCANNER") -> None:
        peer: dict[str, Any] = {"ae_title": ae_title, "addresses": ["127.0.0.1"]}
        if peer_port is not None:
            peer |= {"host": "127.0.0.1", "port": peer_port}
        settings = Settings.checked({"association": {"bind": "127.0.0.1", "port": 0}, "peer": [peer]})
        self.folder = folder
        database = open_database(folder / "node.db")
        self.commitments = Commitments(database)
        self.receiver = Receiver(settings, Spool(folder / "spool", segment_bytes=1 << 20, spare=1), database)
        self.receiver.start()

    def stop(self) -> None:
        self.receiver.stop(drain_s=0.0)


class Scanner:
    """An SCU of storage commitment: what is told to it, and whether on an association of its own."""

    def __init__(self, *, status: int = 0x0000) -> None:
        self.port, self.status = free_port(), status
        self.told: list[tuple[int, Dataset, str]] = []
        self._handlers: list[Any] = [(evt.EVT_N_EVENT_REPORT, self._hear)]
        self._server: Any = None

    def listen(self) -> None:
        ae = AE("SCANNER")
        ae.add_supported_context(STORAGE_COMMITMENT, [EXPLICIT, IMPLICIT], scu_role=False, scp_role=True)
        self._server = ae.start_server(("127.0.0.1", self.port), block=False, evt_handlers=self._handlers)

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()

    def associate(self, node: Node, *, syntax: str = EXPLICIT, largest_pdu: int = 16382) -> Association:
        ae = AE("SCANNER")
        ae.maximum_pdu_size = largest_pdu
        ae.requested_contexts = [
            build_context(STORAGE_COMMITMENT, syntax), build_context(MRImageStorage, EXPLICIT)
        ]  # fmt: skip
        association = ae.associate("127.0.0.1", node.receiver.port, ae_title="PARASPINAL", evt_handlers=self._handlers)
        assert association.is_established
        return association

    def _hear(self, event: evt.Event) -> tuple[int, None]:
        where = "new" if event.assoc.is_acceptor else "same"
        self.told.append((event.event_type, event.event_information, where))
        return self.status, None


def request(asked: Asked, transaction_uid: str = TRANSACTION) -> Dataset:
    made = Dataset()
    made.TransactionUID = transaction_uid
    made.ReferencedSOPSequence = []
    for sop_class, sop_instance in asked:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, sop_instance
        made.ReferencedSOPSequence.append(item)
    return made


def ask(association: Association, information: Dataset | None, *, action: int = 1, instance: str = SOP_INSTANCE) -> int:
    await_reader(association)
    status, _ = association.send_n_action(information, action, STORAGE_COMMITMENT, instance)
    return int(status.Status)


def failures(report: Dataset) -> dict[str, int]:
    return {one.ReferencedSOPInstanceUID: one.FailureReason for one in report.get("FailedSOPSequence", [])}


def committed(report: Dataset) -> set[str]:
    return {one.ReferencedSOPInstanceUID for one in report.get("ReferencedSOPSequence", [])}


def store(association: Association, *instances: Dataset) -> Asked:
    for one in instances:
        await_reader(association)
        association.send_c_store(one)
    return [(str(one.SOPClassUID), str(one.SOPInstanceUID)) for one in instances]


@pytest.fixture
def scanner() -> Iterator[Scanner]:
    scanner = Scanner()
    yield scanner
    scanner.stop()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Node]]:
    nodes: list[Node] = []

    def start_one(peer_port: int | None = None) -> Node:
        nodes.append(Node(tmp_path, peer_port))
        return nodes[-1]

    yield start_one
    nodes[-1].stop()


def state(node: Node) -> dict[str, int]:
    return node.commitments.counts()


def settled(node: Node) -> None:
    """Wait until the answer to the report is written down."""
    until(lambda: state(node) == {"reported": 1}, 5.0, what="the report to be settled")


def damage(node: Node, sop_instance: str) -> None:
    """Flip a bit of the instance on disk."""
    (version,) = node.receiver.register.versions(sop_instance)
    file, offset = SpoolReader(node.folder / "spool").path_of(version.place)
    with file.open("r+b") as opened:
        opened.seek(offset + 400)
        byte = opened.read(1)[0]
        opened.seek(offset + 400)
        opened.write(bytes([byte ^ 1]))


# -------------------------------------------------------------------- the report


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_what_is_held_is_committed_to_on_the_association_that_asked(
    start: Callable[..., Node], scanner: Scanner, syntax: str
) -> None:
    node = start()
    association = scanner.associate(node, syntax=syntax)
    asked = store(association, mr("2.25.1"), mr("2.25.2"))

    assert ask(association, request(asked)) == 0x0000
    settled(node)

    ((event_type, report, where),) = scanner.told
    assert (event_type, where, report.TransactionUID) == (1, "same", TRANSACTION)
    assert (committed(report), failures(report)) == ({"2.25.1", "2.25.2"}, {})
    association.release()


def test_each_instance_that_is_not_safe_is_named_with_its_reason(start: Callable[..., Node], scanner: Scanner) -> None:
    node = start()
    association = scanner.associate(node)
    store(association, mr("2.25.1"), mr("2.25.2"), mr("2.25.3"), mr("2.25.4"), mr("2.25.4", RepetitionTime=600))
    damage(node, "2.25.3")

    ask(association, request([
        (MRImageStorage, "2.25.1"), (EnhancedMRImageStorage, "2.25.2"), (MRImageStorage, "2.25.3"),
        (MRImageStorage, "2.25.4"), (MRImageStorage, "2.25.5"), ("1.2.3.4.5", "2.25.6"),
    ]))  # fmt: skip
    settled(node)

    ((event_type, report, _),) = scanner.told
    assert event_type == 2
    assert committed(report) == {"2.25.1"}
    assert failures(report) == {
        "2.25.2": 0x0119,  # another class
        "2.25.3": 0x0110,  # damaged
        "2.25.4": 0x0110,  # two contents
        "2.25.5": 0x0112,  # unknown
        "2.25.6": 0x0122,  # unknown, of a class that we do not take
    }
    association.release()


def test_an_instance_is_looked_at_when_the_report_is_made(start: Callable[..., Node], scanner: Scanner) -> None:
    node = start(scanner.port)
    association = scanner.associate(node)
    asked = store(association, mr("2.25.1"))
    ask(association, request(asked))
    association.release()
    until(lambda: node.commitments.next_due_s() > time.time() + 1, 5.0, what="the first attempt to fail")
    damage(node, "2.25.1")
    scanner.listen()

    assert node.receiver.commitment.run_once(now=time.time() + 10) == 1

    ((event_type, report, _),) = scanner.told
    assert (event_type, failures(report)) == (2, {"2.25.1": 0x0110})


def test_the_association_goes_on_while_it_waits_for_the_answer_to_a_report(
    start: Callable[..., Node], scanner: Scanner
) -> None:
    node, hearing, going_on = start(), threading.Event(), threading.Event()
    hear = scanner._hear

    def hear_slowly(event: evt.Event) -> tuple[int, None]:
        hearing.set()
        going_on.wait(5)
        return hear(event)

    scanner._handlers = [(evt.EVT_N_EVENT_REPORT, hear_slowly)]
    association = scanner.associate(node, largest_pdu=256)
    store(association, mr("2.25.1"))
    unknown = {f"2.25.9{number:06}" for number in range(300)}
    ask(association, request([(MRImageStorage, one) for one in sorted(unknown)]))
    later = []
    while not hearing.is_set() and len(later) < 1000:
        await_reader(association)
        later.append(association.send_c_store(mr("2.25.1")).Status)
    for _ in range(3):
        await_reader(association)
        later.append(association.send_c_store(mr("2.25.1")).Status)
    going_on.set()
    settled(node)

    assert set(later) == {0x0000}
    ((_, report, _),) = scanner.told
    assert set(failures(report)) == unknown
    association.release()
    assert association.is_released


def test_no_message_comes_between_the_fragments_of_another(start: Callable[..., Node], scanner: Scanner) -> None:
    association = scanner.associate(start())
    one_message_at_a_time(association)
    senders: list[int] = []

    def send_slowly(_fragment: object) -> None:
        senders.append(threading.get_ident())
        time.sleep(0.0005)

    def send() -> None:
        message = N_EVENT_REPORT()
        message.MessageID, message.EventTypeID = 1, 1
        message.AffectedSOPClassUID, message.AffectedSOPInstanceUID = STORAGE_COMMITMENT, SOP_INSTANCE
        message.EventInformation = io.BytesIO(bytes(1 << 20))
        association.dimse.send_msg(message, 1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(association.dul, "send_pdu", send_slowly)
        threads = [threading.Thread(target=send) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert len(senders) > 4
    assert [sender for sender, _ in itertools.groupby(senders)] == [thread.ident for thread in threads]
    association.release()


# -------------------------------------------------------------------- where and when


def test_after_a_release_the_report_comes_over_a_new_association(start: Callable[..., Node], scanner: Scanner) -> None:
    node = start(scanner.port)
    scanner.listen()
    association = scanner.associate(node)
    asked = store(association, mr("2.25.1"))

    ask(association, request(asked))
    association.release()
    settled(node)

    ((event_type, report, where),) = scanner.told
    assert (event_type, where, committed(report)) == (1, "new", {"2.25.1"})


def test_a_peer_that_does_not_listen_is_told_later_and_once(start: Callable[..., Node], scanner: Scanner) -> None:
    node = start(scanner.port)
    association = scanner.associate(node)
    ask(association, request(store(association, mr("2.25.1"))))
    association.release()
    until(lambda: node.commitments.next_due_s() > time.time() + 1, 5.0, what="the first attempt to fail")
    reporter = node.receiver.commitment

    assert reporter.run_once(now=time.time() + 6) == 0
    assert state(node) == {"owed": 1}
    scanner.listen()
    assert reporter.run_once(now=time.time() + 8) == 0  # not due yet: the waits grow
    assert reporter.run_once(now=time.time() + 20) == 1
    assert reporter.run_once(now=time.time() + 2000) == 0

    assert [told[0] for told in scanner.told] == [1]
    assert state(node) == {"reported": 1}


def test_a_peer_that_cannot_be_reached_holds_up_no_other(tmp_path: Path, scanner: Scanner) -> None:
    """Not even where its name is unknown, which pynetdicom raises as it comes."""
    database = open_database(tmp_path / "node.db")
    register = Register(Spool(tmp_path / "spool", segment_bytes=1 << 20, spare=0), Arrivals(database))
    here = {"addresses": ["127.0.0.1"], "host": "127.0.0.1", "port": scanner.port, "ae_title": "SCANNER"}
    peers = [here | {"host": "nowhere.invalid", "ae_title": "LOST"}, here]
    settings = Settings.checked({"peer": peers})
    commitments = Commitments(database)
    wanted = CommitmentRequest(TRANSACTION, (Reference(MRImageStorage, "2.25.1"),))
    for peer in ("LOST", "SCANNER"):
        commitments.owe(wanted, peer, now=0.0, next_try_s=0.0)
    scanner.listen()

    taken = StorageCommitment(
        settings.association, settings.peer, register, SpoolReader(tmp_path / "spool"), commitments
    ).run_once(now=1.0)

    assert (taken, commitments.counts()) == (1, {"owed": 1, "reported": 1})


class Mute:
    """A peer that takes associations, and hears reports without an answer."""

    def __init__(self) -> None:
        self.associations = 0
        self._over = threading.Event()
        ae = AE("MUTE")
        ae.add_supported_context(STORAGE_COMMITMENT, [EXPLICIT, IMPLICIT], scu_role=False, scp_role=True)
        handlers: list[Any] = [(evt.EVT_N_EVENT_REPORT, self._hear)]
        self._server: Any = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        self.port: int = self._server.server_address[1]

    def _hear(self, _event: evt.Event) -> tuple[int, None]:
        self.associations += 1
        self._over.wait(10)
        return 0x0000, None

    def stop(self) -> None:
        self._over.set()
        self._server.shutdown()


def test_a_peer_that_never_answers_is_waited_for_once_a_turn_and_holds_up_no_other(
    tmp_path: Path, scanner: Scanner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telling, "_ANSWER_TIMEOUT_S", 0.5)
    mute = Mute()
    database = open_database(tmp_path / "node.db")
    register = Register(Spool(tmp_path / "spool", segment_bytes=1 << 20, spare=0), Arrivals(database))
    here = {"addresses": ["127.0.0.1"], "host": "127.0.0.1"}
    peers = [here | {"ae_title": "MUTE", "port": mute.port}, here | {"ae_title": "SCANNER", "port": scanner.port}]
    settings = Settings.checked({"peer": peers})
    commitments = Commitments(database)
    for number in range(8):
        wanted = CommitmentRequest(f"2.25.{number}", (Reference(MRImageStorage, "2.25.1"),))
        commitments.owe(wanted, "MUTE" if number < 7 else "SCANNER", now=0.0, next_try_s=float(number))
    scanner.listen()
    reports = StorageCommitment(
        settings.association, settings.peer, register, SpoolReader(tmp_path / "spool"), commitments
    )
    began = time.monotonic()

    taken = reports.run_once(now=10.0)

    assert (taken, commitments.counts()) == (1, {"owed": 7, "reported": 1})
    assert mute.associations == 1
    assert time.monotonic() - began < 3.0  # one wait for an answer, not seven
    mute.stop()


def test_what_is_owed_to_one_peer_fills_no_turn(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commitments_module, "_TURN", 4)
    commitments = Commitments(database)
    for number in range(9):
        wanted = CommitmentRequest(f"2.25.{number}", (Reference(MRImageStorage, "2.25.1"),))
        commitments.owe(wanted, "A" if number < 7 else "B", now=0.0, next_try_s=float(number))

    assert [one.peer for one in commitments.due(now=10.0)] == ["A", "B", "A", "B"]
    assert [one.id for one in commitments.due(now=10.0)] == [1, 8, 2, 9]


@pytest.mark.parametrize("answers", [True, False], ids=["it answers at last", "it never answers"])
def test_a_peer_that_has_not_answered_is_not_told_again_while_its_association_goes_on(
    start: Callable[..., Node], scanner: Scanner, monkeypatch: pytest.MonkeyPatch, answers: bool
) -> None:
    monkeypatch.setattr(telling, "_ANSWER_TIMEOUT_S", 0.3)
    going_on, hear = threading.Event(), scanner._hear

    def hear_late(event: evt.Event) -> tuple[int, None]:
        answer = hear(event)
        if event.assoc.is_requestor:
            going_on.wait(20)
        return answer

    scanner._handlers = [(evt.EVT_N_EVENT_REPORT, hear_late)]
    node = start(scanner.port)
    scanner.listen()
    association = scanner.associate(node)
    ask(association, request(store(association, mr("2.25.1"))))
    until(lambda: node.commitments.next_due_s() > time.time() + 1 and scanner.told, 5.0, what="a report without answer")

    assert node.receiver.commitment.run_once(now=time.time() + 60) == 0
    assert len(scanner.told) == 1
    if answers:
        going_on.set()
        settled(node)
    else:
        association.abort()
        later = itertools.count(time.time() + 2000, 2000)
        until(lambda: node.receiver.commitment.run_once(now=next(later)), 5.0, what="another association")
        going_on.set()

    assert state(node) == {"reported": 1}
    assert [told[2] for told in scanner.told] == (["same"] if answers else ["same", "new"])


def test_a_peer_without_an_address_is_abandoned_after_three_days_and_may_ask_again(
    start: Callable[..., Node], scanner: Scanner
) -> None:
    node = start()
    association = scanner.associate(node)
    asked = store(association, mr("2.25.1"))
    ask(association, request(asked))
    association.release()
    until(lambda: node.commitments.next_due_s() > time.time() + 1, 5.0, what="the first attempt to fail")

    node.receiver.commitment.run_once(now=time.time() + 71 * 3600)
    assert state(node) == {"owed": 1}
    node.receiver.commitment.run_once(now=time.time() + 73 * 3600)
    assert state(node) == {"abandoned": 1}
    association = scanner.associate(node)
    assert ask(association, request(asked)) == 0x0000
    settled(node)

    assert [told[2] for told in scanner.told] == ["same"]
    association.release()


def test_a_refusal_of_the_report_is_noted_and_not_tried_again(start: Callable[..., Node]) -> None:
    node, scanner = start(), Scanner(status=0x0110)
    association = scanner.associate(node)

    ask(association, request(store(association, mr("2.25.1"))))
    settled(node)

    assert node.receiver.commitment.run_once(now=time.time() + 2000) == 0
    assert len(scanner.told) == 1
    association.release()


def test_a_report_that_is_owed_is_sent_after_a_restart_and_once(start: Callable[..., Node], scanner: Scanner) -> None:
    first = start(scanner.port)
    association = scanner.associate(first)
    ask(association, request(store(association, mr("2.25.1"))))
    association.release()
    first.stop()
    scanner.listen()

    second = start(scanner.port)
    second.receiver.commitment.run_once(now=time.time() + 20)
    assert state(second) == {"reported": 1}
    second.stop()
    third = start(scanner.port)
    third.receiver.commitment.run_once(now=time.time() + 2000)

    assert [told[0] for told in scanner.told] == [1]


_SERVE = """
import sys, threading
from pathlib import Path
from node import eventlog
eventlog.use_alias_key(Path(sys.argv[1]) / "alias.key")
from tests.association.test_commitment import Node
node = Node(Path(sys.argv[1]), int(sys.argv[2]))
print(node.receiver.port, flush=True)
threading.Event().wait()
"""


@pytest.mark.slow
@pytest.mark.crash
def test_a_report_survives_that_the_node_is_killed_right_after_its_answer(tmp_path: Path, scanner: Scanner) -> None:
    def serve() -> tuple[subprocess.Popen[str], Any]:
        process = subprocess.Popen(
            [sys.executable, "-c", _SERVE, str(tmp_path), str(scanner.port)],
            stdout=subprocess.PIPE, text=True, cwd=ROOT,
        )  # fmt: skip
        assert process.stdout is not None
        port = int(process.stdout.readline())
        receiver = type("Receiver", (), {"port": port})
        return process, type("Served", (), {"receiver": receiver})

    process, node = serve()
    association = scanner.associate(node)
    status = ask(association, request(store(association, mr("2.25.1"))))
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (status, scanner.told) == (0x0000, [])
    scanner.listen()
    process, _ = serve()
    try:
        until(lambda: scanner.told, 20.0, what="the report")
        time.sleep(1.0)
    finally:
        process.kill()
        process.wait()

    assert [(told[0], told[2]) for told in scanner.told] == [(1, "new")]


# -------------------------------------------------------------------- requests


def test_the_same_request_again_is_a_success_and_makes_no_second_report(
    start: Callable[..., Node], scanner: Scanner
) -> None:
    node = start()
    association = scanner.associate(node)
    asked = store(association, mr("2.25.1"))

    statuses = [ask(association, request(asked)) for _ in range(3)]
    settled(node)
    statuses.append(ask(association, request(asked)))
    node.receiver.commitment.run_once(now=time.time() + 2000)

    assert statuses == [0x0000] * 4
    assert len(scanner.told) == 1
    association.release()


def test_what_was_settled_a_month_ago_is_forgotten_and_what_is_owed_is_not(database: Database) -> None:
    commitments = Commitments(database)
    wanted = [CommitmentRequest(f"2.25.{n}", (Reference(MRImageStorage, "2.25.1"),)) for n in range(3)]
    ids = [commitments.owe(one, "SCANNER", now=0.0, next_try_s=0.0)[1] for one in wanted]
    commitments.settle(ids[0], CommitmentState.REPORTED, "0x0000", now=10.0)
    commitments.settle(ids[1], CommitmentState.REPORTED, "0x0000", now=20.0)

    assert commitments.forget(settled_before_s=15.0) == 1

    assert commitments.counts() == {"owed": 1, "reported": 1}


def test_more_is_not_owed_than_a_disk_can_bear(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commitments_module, "_MOST_OWED", 3)
    commitments = Commitments(database)
    references = tuple(Reference(MRImageStorage, f"2.25.{n}") for n in range(2))

    found = [
        commitments.owe(CommitmentRequest(f"2.25.{n}", references), "SCANNER", now=0.0, next_try_s=0.0)[0]
        for n in range(2)
    ]

    assert found == [Owing.NEW, Owing.TOO_MANY]


def test_another_request_under_the_same_transaction_uid_is_refused(
    start: Callable[..., Node], scanner: Scanner
) -> None:
    node = start()
    association = scanner.associate(node)
    asked = store(association, mr("2.25.1"), mr("2.25.2"))

    statuses = ask(association, request(asked[:1])), ask(association, request(asked))
    settled(node)
    node.receiver.commitment.run_once(now=time.time() + 2000)

    assert statuses == (0x0000, 0x0115)
    assert [committed(told[1]) for told in scanner.told] == [{"2.25.1"}]
    association.release()


def without(keyword: str) -> Dataset:
    made = request([(MRImageStorage, "2.25.1")])
    delattr(made, keyword)
    return made


def item_without(keyword: str) -> Dataset:
    made = request([(MRImageStorage, "2.25.1")])
    delattr(made.ReferencedSOPSequence[0], keyword)
    return made


def malformed(keyword: str) -> Dataset:
    made = request([(MRImageStorage, "2.25.1")])
    made.add_new(keyword, "LO", "../../etc/passwd")
    return made


@pytest.mark.parametrize(
    ("information", "options", "status"),
    [
        (request([(MRImageStorage, "2.25.1")]), {"action": 2}, 0x0123),
        (request([(MRImageStorage, "2.25.1")]), {"instance": "1.2.3"}, 0x0112),
        (None, {}, 0x0120),
        (without("TransactionUID"), {}, 0x0120),
        (without("ReferencedSOPSequence"), {}, 0x0120),
        (request([]), {}, 0x0120),
        (item_without("ReferencedSOPClassUID"), {}, 0x0120),
        (item_without("ReferencedSOPInstanceUID"), {}, 0x0120),
        (malformed("TransactionUID"), {}, 0x0115),
        (request([(MRImageStorage, f"2.25.{number}") for number in range(4)]), {}, 0x0213),
    ],
)  # fmt: skip
@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_a_request_that_is_none_is_refused_and_nothing_is_owed(
    start: Callable[..., Node],
    scanner: Scanner,
    information: Dataset,
    options: dict[str, Any],
    status: int,
    syntax: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(commitment, "_MOST_REFERENCES", 3)
    node = start()
    association = scanner.associate(node, syntax=syntax)

    assert ask(association, information, **options) == status

    assert state(node) == {}
    assert ask(association, request(store(association, mr("2.25.1")))) == 0x0000  # and nothing else is broken
    association.release()


def element(tag: int, value: bytes, length: int | None = None) -> bytes:
    size = len(value) if length is None else length
    return (tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little") + size.to_bytes(4, "little") + value


UNDEFINED = 0xFFFFFFFF
ITEM = element(0xFFFEE000, b"", UNDEFINED)
ENDS = element(0xFFFEE00D, b"") + element(0xFFFEE0DD, b"")
UIDS = element(0x00081150, b"1.2.3\0") + element(0x00081155, b"2.25.1")


def sequence(tag: int, depth: int) -> bytes:
    return (element(tag, b"", UNDEFINED) + ITEM) * depth + ENDS * depth


def test_sequences_around_and_inside_are_passed_over_however_deep() -> None:
    data = (
        sequence(0x00081111, 20_000)
        + element(0x00081195, b"2.25.7")
        + element(0x00081199, b"", UNDEFINED) + ITEM + sequence(0x00081111, 20_000) + UIDS
        + element(0xFFFEE00D, b"") + element(0xFFFEE000, UIDS) + element(0xFFFEE0DD, b"")
    )  # fmt: skip

    found = read_request(data, implicit=True, most=2)

    assert found.transaction_uid == "2.25.7"
    assert [one.sop_instance for one in found.references] == ["2.25.1", "2.25.1"]


@pytest.mark.parametrize(
    "data",
    [
        element(0x00081195, b"2.25.7", 60),
        element(0x00081199, UIDS),
        element(0x00081199, element(0xFFFEE000, UIDS, 4096)),
        element(0x00081199, b"", UNDEFINED) + ITEM,
        element(0x00081111, b"", UNDEFINED) + ENDS,
        sequence(0x00081111, 3)[:-8],
        ENDS,
        b"\0" * 7,
    ],
)
def test_a_data_set_that_is_not_whole_is_refused(data: bytes) -> None:
    with pytest.raises(HeaderError, match=r"element|items|end"):
        read_request(data, implicit=True, most=10)


def test_no_bytes_end_in_another_error() -> None:
    good = element(0x00081195, b"2.25.7") + element(0x00081199, b"", UNDEFINED) + ITEM + UIDS + ENDS
    for cut in range(len(good)):
        for value in (0, 0xFF):
            bad = good[:cut] + bytes([value]) + good[cut + 1 :]
            for data in (bad, good[:cut]):
                for implicit in (True, False):
                    with contextlib.suppress(HeaderError):
                        read_request(data, implicit=implicit, most=1)


def test_a_uid_with_leading_zeros_is_reported_as_it_was_asked(start: Callable[..., Node], scanner: Scanner) -> None:
    node = start()
    association = scanner.associate(node)

    ask(association, request([(MRImageStorage, UID("1.02..3"))]))
    settled(node)

    assert failures(scanner.told[0][1]) == {"1.02..3": 0x0112}
    association.release()


# -------------------------------------------------------------------- a peer that is not ours


@pytest.mark.slow
def test_orthanc_is_told_what_is_held_of_its_instances(tmp_path: Path) -> None:
    orthanc = Orthanc(tmp_path / "orthanc")
    node = Node(tmp_path, orthanc.port, ae_title="ARCHIVE")

    def call(method: str, path: str, body: bytes) -> Any:
        called = urllib.request.Request(f"http://127.0.0.1:{orthanc.http_port}{path}", data=body, method=method)
        with urllib.request.urlopen(called, timeout=30) as answer:
            return json.loads(answer.read() or b"{}")

    try:
        call("PUT", "/modalities/node", json.dumps(["PARASPINAL", "127.0.0.1", node.receiver.port]).encode())
        kept = [call("POST", "/instances", part10(mr(f"2.25.{number}")))["ID"] for number in (1, 2)]
        call("POST", "/modalities/node/store", json.dumps({"Resources": kept[:1]}).encode())
        asked = json.dumps({"Resources": kept}).encode()
        path = call("POST", "/modalities/node/storage-commitment", asked)["Path"]
        until(lambda: json.loads(orthanc.get(path))["Status"] != "Pending", 20.0, what="the report")
        told = json.loads(orthanc.get(path))
    finally:
        node.stop()
        orthanc.stop()

    assert [one["SOPInstanceUID"] for one in told["Success"]] == ["2.25.1"]
    assert [(one["SOPInstanceUID"], one["FailureReason"]) for one in told["Failures"]] == [("2.25.2", 0x0112)]
