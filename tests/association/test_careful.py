"""The careful lane, called by a peer of bytes: it keeps the limits of the bulk lane, in the clear and over TLS."""

import contextlib
import logging
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest

from node.association import commitment, guard
from node.association.conformance import PRIVATE_STORAGE_CLASSES, STORAGE_COMMITMENT
from node.association.telling import SOP_INSTANCE
from tests.association.conftest import Held
from tests.association.raw import (
    COMMAND,
    CONTEXTS,
    EXPLICIT,
    LAST,
    VERIFICATION,
    RawPeer,
    command,
    element,
    item,
    p_data,
)
from tests.association.test_tls import Authority
from tests.builders import data_set_bytes, mr, part10
from tests.peers import until

A_ABORT = 7
CAREFUL = (*CONTEXTS, (9, STORAGE_COMMITMENT, EXPLICIT), (11, PRIVATE_STORAGE_CLASSES[0], EXPLICIT))
STORE = (3, COMMAND | LAST, command(1))
ECHO = (1, COMMAND | LAST, command(0x0030, sop_class=VERIFICATION, data_set=False))
PIECE = bytes(16000)


def n_action() -> bytes:
    """Return the command set of an N-ACTION-RQ (PS3.7 table 10.3-7)."""
    body = element(0x0003, STORAGE_COMMITMENT.encode()) + element(0x0100, b"\x30\x01") + element(0x0110, b"\1\0")
    body += element(0x0800, b"\1\0") + element(0x1001, SOP_INSTANCE.encode()) + element(0x1008, b"\1\0")
    return element(0x0000, struct.pack("<L", len(body))) + body


ASK = (9, COMMAND | LAST, n_action())


@pytest.fixture
def calling(caplog: pytest.LogCaptureFixture, layer: dict[str, Any], start: Callable[..., Held]) -> Iterator[Any]:
    """Give a function that starts a receiver and returns it with an associated peer."""
    caplog.set_level(logging.INFO, logger="paraspinal-node")
    peers: list[RawPeer] = []

    def call(**options: Any) -> tuple[Held, RawPeer]:
        held = start(**options, **layer)
        peers.append(held.call())
        assert peers[-1].associate(contexts=CAREFUL)[0] == 2
        return held, peers[-1]

    yield call
    for one in peers:
        one.socket.close()


def ended(caplog: pytest.LogCaptureFixture) -> str:
    """Return the line with which the association ended."""
    until(lambda: "A101" in caplog.text, 5.0, what="the end of the association")
    (line,) = [one for one in caplog.messages if "A101" in one]
    return line


def temporary(held: Held) -> int:
    """Return the bytes of instances on their way."""
    return sum(one.stat().st_size for one in (held.folder / "spool" / "careful").iterdir())


# ---------------------------------------------------------------- PDUs


@pytest.mark.parametrize(("kind", "length"), [(4, 2 << 30), (4, 131073), (2, 65537)])
def test_a_pdu_that_is_announced_too_long_is_not_waited_for(
    calling: Any, caplog: pytest.LogCaptureFixture, kind: int, length: int
) -> None:
    _, peer = calling()
    began = time.monotonic()

    peer.send(struct.pack(">BBL", kind, 0, length))

    assert peer.pdu()[0] == A_ABORT
    assert time.monotonic() - began < 10.0
    assert "ended='PDU longer than negotiated'" in ended(caplog)


def test_what_follows_a_pdu_that_is_too_long_takes_no_memory(calling: Any) -> None:
    _, peer = calling()
    before = psutil.Process().memory_info().rss

    peer.send(struct.pack(">BBL", 4, 0, 2 << 30))
    peer.socket.settimeout(3.0)
    with contextlib.suppress(OSError):  # the node has hung up
        for _ in range(40):
            peer.send(bytes(1 << 20))

    assert psutil.Process().memory_info().rss - before < 16 << 20


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (b"", "silent for too long"),
        (p_data(ECHO)[:3], "too slow"),
        (p_data(ECHO)[:-1], "too slow"),
        (p_data(STORE, (3, 0, b"some")), "too slow"),
    ],
    ids=["between messages", "within a header", "within a PDU", "between the PDUs of a message"],
)
def test_silence_ends_the_association(calling: Any, caplog: pytest.LogCaptureFixture, sent: bytes, why: str) -> None:
    began = time.monotonic()
    _, peer = calling(idle_timeout_s=0.6)
    peer.send(sent)

    assert peer.pdu()[0] == A_ABORT
    assert 0.6 < time.monotonic() - began < 10.0
    assert f"ended='{why}'" in ended(caplog)


def test_silence_within_a_record_of_tls_is_silence(
    start: Callable[..., Held], authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    held = start(idle_timeout_s=0.5, authority=authority)
    with caplog.at_level(logging.INFO, logger="paraspinal-node"), held.call() as peer:
        peer.associate(contexts=CAREFUL)
        began = time.monotonic()
        socket.socket.send(peer.socket, b"\x17\x03\x03\x01\x00half")

        assert "ended='silent for too long'" in ended(caplog)
        assert time.monotonic() - began < 10.0


@pytest.mark.slow
def test_a_peer_that_does_not_read_is_given_up(
    calling: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "_MOST_WAITING", 1 << 20)
    held, peer = calling(idle_timeout_s=0.5)
    (ours,) = [one.connected for one in held.receiver._careful._guards.values()]
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)  # few answers are to fill it
    peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    peer.socket.settimeout(0.2)
    began = time.monotonic()

    with contextlib.suppress(OSError):
        while "A101" not in caplog.text and time.monotonic() - began < 10.0:
            peer.send(p_data(ECHO))
            time.sleep(0.002)

    assert "ended='silent for too long'" in ended(caplog)


@pytest.mark.slow
def test_a_slow_disk_of_ours_is_no_silence_of_the_peer(calling: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _, peer = calling(idle_timeout_s=0.8)
    sync = os.fdatasync

    def slow(descriptor: int) -> None:
        time.sleep(1.2)
        sync(descriptor)

    monkeypatch.setattr(os, "fdatasync", slow)

    assert peer.store(data_set_bytes(part10(mr()))) == 0x0000
    time.sleep(0.4)
    assert peer.echo() == 0x0000


def test_a_peer_that_trickles_is_cut_off(calling: Any, caplog: pytest.LogCaptureFixture) -> None:
    _, peer = calling(idle_timeout_s=0.5, slowest_bytes_per_s=1000)
    began = time.monotonic()

    peer.socket.settimeout(0.1)
    peer.send(p_data(STORE))
    answer = b""
    while not answer and time.monotonic() - began < 10.0:
        try:
            peer.send(p_data((3, 0, b"ab")))
            answer = peer.socket.recv(10)
        except TimeoutError:
            continue
        except OSError:
            break

    assert time.monotonic() - began < 9.0
    assert "ended='too slow'" in ended(caplog)


def test_a_slow_peer_that_keeps_the_pace_may_be_slow(calling: Any) -> None:
    _, peer = calling(idle_timeout_s=0.4, slowest_bytes_per_s=100)
    content = p_data(ECHO)

    for at in range(0, len(content), 20):  # takes longer than the idle time-out
        peer.send(content[at : at + 20])
        time.sleep(0.12)

    assert peer.status() == 0x0000


def test_a_stop_is_said_to_the_peer(calling: Any, caplog: pytest.LogCaptureFixture) -> None:
    held, peer = calling()
    peer.send(p_data(ECHO)[:10])
    time.sleep(0.1)

    held.stop()

    assert peer.pdu()[0] == A_ABORT
    assert "ended='the node stops'" in ended(caplog)


# ---------------------------------------------------------------- messages


def test_a_data_set_that_never_ends_takes_no_memory(calling: Any) -> None:
    held, peer = calling(max_instance_mb=64)
    before = psutil.Process().memory_info().rss
    peer.send(p_data(ASK))
    for _ in range(2500):  # 40 MB
        peer.send(p_data((9, 0, PIECE)))
    assert psutil.Process().memory_info().rss - before < 20 << 20

    peer.send(p_data((9, LAST, PIECE)))

    assert peer.status() == 0x0213
    assert peer.echo() == 0x0000
    assert commitment.LARGEST_REQUEST == 4 << 20
    assert held.files("2.25.1") == []


def test_a_request_of_four_megabytes_is_read(calling: Any) -> None:
    _, peer = calling()
    peer.send(p_data(ASK), *[p_data((9, 0, bytes(64)))] * 100, p_data((9, LAST, b"")))

    assert peer.status() in (0x0115, 0x0120)  # it was looked at, and is none


@pytest.mark.parametrize("request_", [STORE, ASK], ids=["C-STORE", "N-ACTION"])
def test_a_message_larger_than_configured_is_cut_off_and_leaves_nothing(
    calling: Any, caplog: pytest.LogCaptureFixture, request_: tuple[int, int, bytes]
) -> None:
    held, peer = calling(max_instance_mb=1)
    peer.send(p_data(request_))
    most = 0
    for _ in range(60):  # below the limit
        peer.send(p_data((request_[0], 0, PIECE)))
    for _ in range(40):
        peer.send(p_data((request_[0], 0, PIECE)))
        most = max(most, temporary(held))

    assert peer.pdu()[0] == A_ABORT
    assert most <= 1 << 20
    assert "ended='instance larger than configured'" in ended(caplog)
    until(lambda: temporary(held) == 0, 5.0, what="the folder to be empty")


def test_on_a_full_disk_an_instance_is_refused_before_it_takes_room(
    calling: Any, caplog: pytest.LogCaptureFixture
) -> None:
    held, peer = calling()
    peer.send(p_data(STORE))
    peer.send(*[p_data((3, 0, PIECE))] * 100)
    until(lambda: temporary(held) > 1 << 20, 5.0, what="the first bytes")
    held.spool._floor_bytes = 1 << 62  # the disk has filled up

    for _ in range(800):
        peer.send(p_data((3, 0, PIECE)))
    assert temporary(held) < 5 << 20
    peer.send(p_data((3, LAST, PIECE)))

    answer = peer.answer()
    assert struct.unpack("<H", answer[0x0900]) == (0xA700,)
    assert b"disk" in answer[0x0902]
    assert peer.echo() == 0x0000
    assert "A210" in caplog.text
    assert "refused=1" in _released(peer, caplog)


def _released(peer: RawPeer, caplog: pytest.LogCaptureFixture) -> str:
    peer.send(b"\x05\0\0\0\0\4\0\0\0\0")
    assert peer.pdu()[0] == 6
    return ended(caplog)


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (p_data((3, COMMAND | LAST, b"garbage!" * 20)), "message that cannot be read"),
        (p_data((3, COMMAND | LAST, b"")), "message that cannot be read"),
        (p_data((3, LAST, b"a data set")), "data set without its command"),
        (p_data(STORE, (5, 0, b"x")), "data set without its command"),
        (p_data(STORE, STORE), "command where a data set was due"),
        (p_data((99, COMMAND | LAST, command(1))), "PDV of a presentation context that was not accepted"),
        (p_data((3, COMMAND, bytes(16385))), "command set too long"),
        (p_data(*[ASK, (9, LAST, PIECE[:60])] * 200), "too many requests before their answers"),
    ],
)
def test_who_breaks_the_protocol_is_told_so_at_once(
    calling: Any, caplog: pytest.LogCaptureFixture, sent: bytes, why: str
) -> None:
    _, peer = calling()
    began = time.monotonic()

    peer.send(sent)
    while (pdu := peer.pdu())[:1] == b"\4":
        pass

    assert pdu[0] == A_ABORT
    assert time.monotonic() - began < 10.0
    assert f"ended='{why}" in ended(caplog)


def test_two_messages_in_one_pdu_are_both_answered(calling: Any) -> None:
    _, peer = calling()

    peer.send(p_data(ECHO, ECHO))

    assert (peer.status(), peer.status()) == (0x0000, 0x0000)


# ---------------------------------------------------------------- what both lanes do alike


@pytest.mark.parametrize("proposed", [(8, 8), (1, 1)])
def test_a_window_of_operations_and_a_user_identity_are_answered(start: Callable[..., Held], proposed: Any) -> None:
    window = item(0x53, struct.pack(">HH", *proposed))
    identity = item(0x58, bytes((1, 1)) + (8).to_bytes(2, "big") + b"somebody" + bytes(2))
    with RawPeer(start().port) as peer:
        accepted = peer.associate(contexts=CAREFUL, user_information=window + identity)

        assert accepted[0] == 2
        assert accepted.count(item(0x53, b"\0\1\0\1")) == 1
        assert accepted.count(item(0x59, b"\0\0")) == 1
        assert peer.echo() == 0


def test_a_user_identity_is_not_answered_where_the_site_says_so(start: Callable[..., Held]) -> None:
    held = start(user_identity="ignore")
    identity = item(0x58, bytes((1, 1)) + (1).to_bytes(2, "big") + b"x" + bytes(2))
    with RawPeer(held.port) as peer:
        accepted = peer.associate(contexts=CAREFUL, user_information=identity)

    assert accepted[0] == 2
    assert b"\x59\0" not in accepted[74:]


def test_an_instance_of_a_private_class_is_taken(calling: Any) -> None:
    held, peer = calling()
    instance = mr(SOPClassUID=PRIVATE_STORAGE_CLASSES[0])
    instance.file_meta.MediaStorageSOPClassUID = PRIVATE_STORAGE_CLASSES[0]
    content = data_set_bytes(part10(instance))

    peer.send(
        p_data((11, COMMAND | LAST, command(1, sop_class=PRIVATE_STORAGE_CLASSES[0]))), p_data((11, LAST, content))
    )

    assert peer.status() == 0x0000
    assert len(held.files("2.25.1")) == 1


def test_an_instance_of_another_class_than_its_context_is_refused(calling: Any) -> None:
    _, peer = calling()
    enhanced = command(1, sop_class="1.2.840.10008.5.1.4.1.1.4.1")

    peer.send(p_data((3, COMMAND | LAST, enhanced)), p_data((3, LAST, data_set_bytes(part10(mr())))))

    assert peer.status() == 0x0122


def test_the_end_of_an_association_is_told_with_its_counts(calling: Any, caplog: pytest.LogCaptureFixture) -> None:
    _, peer = calling()
    content = data_set_bytes(part10(mr()))
    assert peer.store(content) == 0x0000
    assert peer.store(content, sop_instance="2.25.2") == 0xA900

    line = _released(peer, caplog)

    assert f"peer=SCANNER lane=careful instances=1 refused=1 bytes={2 * len(content)} " in line
    assert "ended='released'" in line


def test_whoever_aborts_or_goes_is_known_by_the_log(
    start: Callable[..., Held], caplog: pytest.LogCaptureFixture
) -> None:
    held = start()
    with caplog.at_level(logging.INFO, logger="paraspinal-node"):
        for last in (b"\x07\0\0\0\0\4\0\0\0\0", b""):
            with RawPeer(held.port) as peer:
                peer.associate(contexts=CAREFUL)
                peer.send(last)
        until(lambda: caplog.text.count("A101") == 2, 5.0, what="both ends")

    assert caplog.text.count("ended='aborted by the peer'") == 1
    assert caplog.text.count("ended='connection closed'") == 1
