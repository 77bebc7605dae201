"""The bulk lane against a peer of bytes: every way of cutting a message up, and every way of breaking the protocol."""

import contextlib
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from node.association.tls import ServerTls
from node.association.wire import ConnectionEndedError, Wire
from tests.association.conftest import Held
from tests.association.raw import (
    ABORT,
    BIG_ENDIAN,
    COMMAND,
    EXPLICIT,
    IMPLICIT,
    LAST,
    MR,
    RELEASE_RQ,
    VERIFICATION,
    RawPeer,
    command,
    p_data,
)  # fmt: skip
from tests.association.test_tls import Authority, shake
from tests.builders import data_set_bytes, mr, part10

A_ABORT, RELEASE_RP = 0x07, b"\x06\0\0\0\0\4\0\0\0\0"
STORE = (3, COMMAND | LAST, command(0x0001))


@pytest.fixture
def peer(held: Held) -> Iterator[RawPeer]:
    with RawPeer(held.port) as peer:
        assert peer.associate()[0] == 0x02
        yield peer


def encoded(instance: Dataset, syntax: str = EXPLICIT) -> bytes:
    if syntax != EXPLICIT:
        instance.file_meta.TransferSyntaxUID = {
            IMPLICIT: ImplicitVRLittleEndian, BIG_ENDIAN: ExplicitVRBigEndian,
        }[syntax]  # fmt: skip
    return data_set_bytes(part10(instance))


def held_data_sets(held: Held, sop_instance: str = "2.25.1") -> list[bytes]:
    return [data_set_bytes(one) for one in held.files(sop_instance)]


# ---------------------------------------------------------------- what the Standard allows


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(data=st.data())
def test_a_message_may_be_cut_into_fragments_pdus_and_segments_anywhere(
    peer: RawPeer, held: Held, data: st.DataObject
) -> None:
    number = data.draw(st.integers(1, 10**12))
    uid = f"2.25.7.{number}"
    content = encoded(mr(uid, PixelData=random.Random(number).randbytes(128)))
    request = command(0x0001, sop_instance=uid, message_id=number & 0xFFFF)
    pdvs = [*_fragments(data, request, COMMAND), *_fragments(data, content, 0)]
    stream = b"".join(_pdus(data, pdvs))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        peer.send(stream[begin:end])

    answer = peer.answer()

    assert struct.unpack("<H", answer[0x0900]) == (0,)
    assert struct.unpack("<H", answer[0x0120]) == (number & 0xFFFF,)
    assert (answer[0x0002].rstrip(b"\0"), answer[0x1000].rstrip(b"\0")) == (MR.encode(), uid.encode())
    assert held_data_sets(held, uid) == [content]


def _fragments(data: st.DataObject, content: bytes, kind: int) -> list[tuple[int, int, bytes]]:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(content)), max_size=4)))
    pieces = [content[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(content)], strict=True)]
    return [(3, kind | (LAST if last else 0), piece) for piece, last in zip(pieces, [*[0] * len(cuts), 1], strict=True)]


def _pdus(data: st.DataObject, pdvs: list[tuple[int, int, bytes]]) -> Iterator[bytes]:
    while pdvs:
        count = data.draw(st.integers(1, len(pdvs)))
        yield p_data(*pdvs[:count])
        del pdvs[:count]


@pytest.mark.parametrize(("context", "syntax"), [(3, EXPLICIT), (5, IMPLICIT), (7, BIG_ENDIAN)])
def test_every_encoding_is_held_as_sent(peer: RawPeer, held: Held, context: int, syntax: str) -> None:
    content = encoded(mr(), syntax)

    assert peer.store(content, context=context) == 0x0000
    assert held_data_sets(held) == [content]


def test_a_sequence_of_undefined_length_before_the_uids_is_no_obstacle(peer: RawPeer, held: Held) -> None:
    nested = Dataset()
    nested.ReferencedSOPClassUID, nested.ReferencedSOPInstanceUID = MR, "2.25.99"
    instance = mr(ReferencedImageSequence=Sequence([nested]))
    instance["ReferencedImageSequence"].is_undefined_length = True
    content = encoded(instance)

    assert peer.store(content, piece=40) == 0x0000  # no fragment holds the head
    assert held_data_sets(held) == [content]


def test_an_object_larger_than_buffer_and_segment_is_held(peer: RawPeer, held: Held) -> None:
    content = encoded(mr(Rows=1024, Columns=1536, PixelData=random.Random(1).randbytes(3 << 20)))

    assert peer.store(content, piece=100_001) == 0x0000
    assert held_data_sets(held) == [content]


def test_the_same_instance_in_another_encoding_is_another_content(peer: RawPeer, held: Held) -> None:
    assert peer.store(encoded(mr())) == 0x0000
    assert peer.store(encoded(mr(), IMPLICIT), context=5) == 0xB000
    assert len(held.files("2.25.1")) == 2


def test_a_release_is_answered_and_the_connection_is_closed_by_the_peer(peer: RawPeer) -> None:
    peer.send(RELEASE_RQ)

    assert peer.pdu() == RELEASE_RP


def test_a_request_that_we_do_not_know_is_answered_and_its_data_set_skipped(peer: RawPeer) -> None:
    find = command(0x0020)
    for pdu in (
        p_data((3, COMMAND | LAST, find), (3, LAST, b"whatever")),
        p_data((3, COMMAND | LAST, command(0x0020, data_set=False))),
    ):
        peer.send(pdu)
        answer = peer.answer()
        assert struct.unpack("<H", answer[0x0900]) == (0x0211,)
        assert answer[0x0902].strip()  # Error Comment
    assert peer.echo() == 0x0000


def test_a_cancel_is_not_answered(peer: RawPeer) -> None:
    peer.send(p_data((3, COMMAND | LAST, command(0x0FFF, data_set=False))))

    assert peer.echo() == 0x0000


def test_a_class_that_is_not_of_the_context_is_refused(peer: RawPeer) -> None:
    request = command(0x0001, sop_class="1.2.840.10008.5.1.4.1.1.2")
    peer.send(p_data((3, COMMAND | LAST, request), (3, LAST, encoded(mr()))))

    assert peer.status() == 0x0122


@pytest.mark.parametrize("garbage", [b"", b"x", b"not a data set at all", bytes(100), b"\xff" * 70_000])
def test_what_cannot_be_a_data_set_is_refused_and_the_next_is_taken(peer: RawPeer, held: Held, garbage: bytes) -> None:
    peer.send(p_data(STORE))
    for begin in range(0, max(1, len(garbage)), 16000):
        piece = garbage[begin : begin + 16000]
        peer.send(p_data((3, LAST if begin + 16000 >= len(garbage) else 0, piece)))
    answer = peer.answer()

    assert struct.unpack("<H", answer[0x0900]) == (0xC000,)
    assert answer[0x0902].strip()  # Error Comment
    assert held.files("2.25.1") == []
    assert peer.store(encoded(mr())) == 0x0000


# ---------------------------------------------------------------- what it does not


@pytest.mark.parametrize(
    "bytes_sent",
    [
        p_data((9, COMMAND | LAST, command(0x0030, data_set=False))),  # a context that was not accepted
        p_data((3, LAST, b"data")),  # a data set without its command
        p_data((3, 0, b"")),  # the same, empty and not the last
        p_data(STORE, STORE),  # a command where the data set was due
        p_data(STORE, (1, LAST, b"data")),  # a data set in another context than its command
        p_data((1, COMMAND, b"half"), (3, COMMAND | LAST, b"half")),  # a command in two contexts
        p_data((1, COMMAND | LAST, b"no command set")),
        p_data((1, COMMAND | LAST, b"")),
        p_data((1, COMMAND | LAST, command(0x0030)[:30])),
        p_data((1, COMMAND | LAST, struct.pack("<HHL", 8, 5, 0))),  # a data set as a command set
        b"".join(p_data((3, COMMAND, bytes(8000))) for _ in range(3)),  # a command that does not end
        struct.pack(">BBL", 4, 0, 1 << 20),  # longer than negotiated
        struct.pack(">BBL", 4, 0, 0xFFFFFFFF),
        struct.pack(">BBLL", 4, 0, 4, 0),  # ends within the PDV header
        struct.pack(">BBLLBB", 4, 0, 6, 100, 1, 3),  # PDV longer than its PDU
        struct.pack(">BBLLBB", 4, 0, 6, 1, 1, 3),  # PDV shorter than its own header
        struct.pack(">BBLLBB", 4, 0, 6, 0xFFFFFFFF, 1, 3),
        struct.pack(">BBL", 1, 0, 70) + bytes(70),  # a second A-ASSOCIATE-RQ
        struct.pack(">BBL", 2, 0, 4) + bytes(4),
        struct.pack(">BBL", 99, 0, 4) + bytes(4),
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)  # fmt: skip
def test_a_broken_protocol_is_aborted_and_nothing_is_held(held: Held, peer: RawPeer, bytes_sent: bytes) -> None:
    peer.send(bytes_sent)
    peer.socket.shutdown(socket.SHUT_WR)

    assert peer.pdu()[0] == A_ABORT
    assert held.files("2.25.1") == []
    with RawPeer(held.port) as another:
        another.associate()
        assert another.echo() == 0x0000


@pytest.mark.parametrize("end", [ABORT, RELEASE_RQ, b""], ids=["abort", "release", "connection lost"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.999])
def test_of_an_instance_cut_off_in_the_middle_nothing_is_held(
    held: Held, peer: RawPeer, end: bytes, share: float
) -> None:
    content = encoded(mr(Rows=512, Columns=512, PixelData=bytes(512 * 512 * 2)))
    part = content[: int(len(content) * share)]
    peer.send(p_data(STORE), *(p_data((3, 0, part[i : i + 16000])) for i in range(0, len(part), 16000)), end)
    peer.socket.close()

    with RawPeer(held.port) as another:
        another.associate()
        assert another.store(encoded(mr("2.25.2")), sop_instance="2.25.2") == 0x0000
    assert held.files("2.25.1") == []
    assert len(held.files("2.25.2")) == 1


def test_an_instance_larger_than_configured_is_cut_off(start: Callable[..., Held], layer: dict[str, Any]) -> None:
    held = start(max_instance_mb=1, **layer)
    with held.call() as peer:
        peer.associate()
        head = encoded(mr())
        peer.send(p_data(STORE), p_data((3, 0, head)))
        for _ in range(100):
            peer.send(p_data((3, 0, bytes(16000))))

        assert peer.pdu()[0] == A_ABORT
        assert peer.pdu() == b""
    assert held.files("2.25.1") == []


def test_silence_between_messages_ends_the_association(start: Callable[..., Held], layer: dict[str, Any]) -> None:
    held = start(idle_timeout_s=0.5, **layer)
    with held.call() as peer:
        began = time.monotonic()
        peer.associate()
        assert peer.pdu()[0] == A_ABORT
        assert 0.5 < time.monotonic() - began < 10.0
        assert peer.pdu() == b""  # over TLS: after its close_notify


def test_silence_within_a_record_of_tls_is_silence(start: Callable[..., Held], authority: Authority) -> None:
    held = start(idle_timeout_s=0.5, authority=authority)
    with held.call() as peer:
        peer.associate()
        socket.socket.send(peer.socket, b"\x17\x03\x03\x01\x00half")

        assert peer.pdu()[0] == A_ABORT


@pytest.mark.parametrize("message", [b"", p_data(STORE, (3, 0, b"some"))], ids=["between messages", "in one"])
def test_a_stop_is_said_to_the_peer(start: Callable[..., Held], layer: dict[str, Any], message: bytes) -> None:
    held = start(**layer)
    with held.call() as peer:
        peer.associate()
        peer.send(message)
        began = time.monotonic()
        stopping = threading.Thread(target=held.stop)
        stopping.start()

        assert peer.pdu()[0] == A_ABORT
        assert peer.pdu() == b""
        assert time.monotonic() - began < 10.0
    stopping.join()


def test_a_peer_that_does_not_read_is_given_up(layer: dict[str, Any]) -> None:
    near, far = socket.socketpair()
    if layer:
        near, far = shake(ServerTls(layer["authority"].settings()).context(), layer["authority"].client())
        near.settimeout(None)
    wire = Wire(near, largest_pdu=16384, idle_s=0.5, slowest=1)
    ended: list[str] = []

    def send() -> None:
        try:
            wire.send(bytes(32 << 20))
        except ConnectionEndedError as error:
            ended.append(error.why)

    sending = threading.Thread(target=send, daemon=True)
    sending.start()
    sending.join(3.0)

    assert ended == ["does not take our answer"]
    near.close()
    far.close()


def test_a_peer_that_trickles_within_a_message_is_cut_off(start: Callable[..., Held], layer: dict[str, Any]) -> None:
    held = start(idle_timeout_s=0.8, slowest_bytes_per_s=1000, **layer)
    with held.call() as peer:
        peer.associate()
        content, sent = p_data(STORE, (3, 0, encoded(mr()))), 0
        peer.socket.settimeout(0.05)
        began, answer = time.monotonic(), b""
        while not answer and time.monotonic() - began < 5.0:
            peer.send(content[sent : sent + 1])
            sent += 1
            with contextlib.suppress(TimeoutError):
                answer = peer.socket.recv(1)

    assert answer == bytes((A_ABORT,))


def test_a_slow_peer_that_keeps_its_pace_is_served(start: Callable[..., Held]) -> None:
    held = start(idle_timeout_s=0.4, slowest_bytes_per_s=100)
    with RawPeer(held.port) as peer:
        peer.associate()
        content = encoded(mr())
        stream = p_data(STORE, (3, LAST, content))
        for at in range(0, len(stream), 100):
            peer.send(stream[at : at + 100])
            time.sleep(0.1)

        assert peer.status() == 0x0000
    assert held_data_sets(held) == [content]


def test_one_association_may_say_echo_and_store_in_turn(peer: RawPeer, held: Held) -> None:
    for k in range(20):
        assert peer.echo() == 0x0000
        assert peer.store(encoded(mr(f"2.25.4.{k}")), sop_instance=f"2.25.4.{k}") == 0x0000


def test_a_verification_context_takes_no_instance(peer: RawPeer) -> None:
    request = command(0x0001, sop_class=VERIFICATION)
    peer.send(p_data((1, COMMAND | LAST, request), (1, LAST, encoded(mr()))))

    assert peer.status() in (0x0122, 0xA900, 0xC000)


def test_a_command_in_crumbs_is_a_command(peer: RawPeer, held: Held) -> None:
    """No fragment fills the small buffer that an association begins with."""
    request, content = command(0x0001), encoded(mr())
    crumbs = [request[at : at + 3] for at in range(0, len(request), 3)]
    for crumb in crumbs[:-1]:
        peer.send(p_data((3, COMMAND, crumb)))
    peer.send(p_data((3, COMMAND | LAST, crumbs[-1])), p_data((3, LAST, content)))

    assert peer.status() == 0x0000
    assert held_data_sets(held) == [content]
