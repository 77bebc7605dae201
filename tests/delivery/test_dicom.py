"""A C-STORE SCP as a destination: what each of its answers means."""

import contextlib
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage, ImplicitVRLittleEndian, SegmentationStorage
from pynetdicom import AE, evt

from node.delivery import DicomStorage, echo
from node.errors import DeliveryError, RefusedError
from node.ports import Answer
from node.simulator.archive import Archive
from tests.delivery.desk import CALLER, objects, peer, storage


def answers_of(
    sent: Sequence[Dataset], supported: Sequence[str], status: int = 0x0000, reject: tuple[int, int, int] | None = None
) -> Sequence[Answer]:
    """Return the answers of an archive that takes `supported` classes, in one syntax, and says `status`."""
    ae = AE("ARCHIVE")
    for sop_class in supported:
        ae.add_supported_context(sop_class, ImplicitVRLittleEndian)
    handlers: list[Any] = [(evt.EVT_C_STORE, lambda _event: status)]
    if reject:
        handlers.append((evt.EVT_REQUESTED, _rejecting(reject)))
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        return list(storage(server.socket.getsockname()[1]).deliver(sent))
    finally:
        server.shutdown()


def _rejecting(answer: tuple[int, int, int]) -> Callable[[evt.Event], None]:
    def reject(event: evt.Event) -> None:
        event.assoc.acse.send_reject(*answer)
        event.assoc.kill()

    return reject


@pytest.mark.parametrize(
    ("status", "stored", "permanent"),
    [
        (0x0000, True, False),
        (0xB000, True, False),  # coercion of data elements
        (0xB006, True, False),  # elements discarded
        (0xB007, True, False),  # data set does not match SOP Class, stored all the same
        (0x0111, True, False),  # duplicate SOP instance: it is there
        (0xA700, False, False),
        (0xC123, False, False),
        (0xA900, False, True),
        (0x0122, False, True),
    ],
)
def test_every_status_has_its_meaning(status: int, stored: bool, permanent: bool) -> None:
    (answer,) = answers_of(objects()[:1], [SegmentationStorage], status)

    assert (answer.stored, answer.permanent, answer.status) == (stored, permanent, f"0x{status:04X}")


def test_a_class_that_the_archive_never_takes_does_not_hold_up_the_report() -> None:
    answers = answers_of(objects(), [Comprehensive3DSRStorage])

    assert [(one.stored, one.permanent) for one in answers] == [(False, True), (True, False)]


@pytest.mark.parametrize(
    ("rejection", "error", "reason"),
    [
        ((1, 1, 3), RefusedError, "for good: calling AE title not recognized"),
        ((1, 1, 7), RefusedError, "for good: called AE title not recognized"),
        ((2, 3, 2), DeliveryError, "for now: local limit exceeded"),
    ],
)
def test_a_rejection_is_for_good_or_for_now(
    rejection: tuple[int, int, int], error: type[Exception], reason: str
) -> None:
    with pytest.raises(DeliveryError, match=reason) as raised:
        answers_of(objects(), [SegmentationStorage], reject=rejection)

    assert raised.type is error


def test_an_archive_that_takes_nothing_of_ours_refuses_for_good() -> None:
    with pytest.raises(RefusedError, match="no SOP Class accepted"):
        answers_of(objects(), ["1.2.840.10008.1.1"])


def test_an_echo_tells_whether_a_destination_answers(tmp_path: Path) -> None:
    with Archive(tmp_path / "archive") as archive:
        assert echo(peer(archive.port), CALLER) == 0x0000
        port = archive.port

    with pytest.raises(DeliveryError, match=f"^no association with 127.0.0.1:{port}: connection refused$"):
        echo(peer(port), CALLER)


@pytest.mark.parametrize("backlog", [0, None], ids=["no answer to the connection", "another protocol"])
def test_who_does_not_answer_is_told_apart_from_who_speaks_something_else(backlog: int | None) -> None:
    impatient = replace(CALLER, silence_s=0.3)
    with socket.create_server(("127.0.0.1", 0), backlog=backlog) as server, contextlib.ExitStack() as waiting:
        port = server.getsockname()[1]
        if backlog == 0:  # the queue of the listener is full, and the kernel drops who comes besides
            waiting.enter_context(socket.create_connection(("127.0.0.1", port)))
        else:
            threading.Thread(target=lambda: _say(server, b"HTTP/1.1 400 Bad Request\r\n\r\n")).start()
        with pytest.raises(DeliveryError) as raised:
            echo(peer(port), impatient)

    why = "timed out" if backlog == 0 else "no answer that is DICOM"
    assert str(raised.value) == f"no association with 127.0.0.1:{port}: {why}"


def _say(server: socket.socket, words: bytes) -> None:
    connection, _ = server.accept()
    with connection:
        connection.recv(1 << 16)
        connection.sendall(words)


def test_a_peer_that_stops_in_the_middle_of_a_pdu_is_given_up() -> None:
    half = bytes([0x02, 0, 0, 0, 1, 0, 0, 1])  # of an A-ASSOCIATE-AC; then nothing, and the connection stays open
    impatient = replace(CALLER, silence_s=60.0, limit_s=0.3)

    with socket.create_server(("127.0.0.1", 0)) as server:
        answering = threading.Thread(target=lambda: kept.append(server.accept()[0]) or kept[0].sendall(half))
        kept: list[socket.socket] = []
        answering.start()
        with pytest.raises(DeliveryError, match="no association"):
            list(DicomStorage(peer(server.getsockname()[1]), impatient).deliver(objects()))
        answering.join()
        kept[0].close()
