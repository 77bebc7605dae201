"""Whatever a peer sends, the receiving process lives on, serves the next one, and lets nothing out of its spool."""

import random
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.association.raw import RawPeer
from tests.crash.hostile import ANSWER, CANARY, CLASSES, Input, in_the_careful_lane
from tests.crash.senders import Account, Sender, receiving
from tests.peers import ServedNode

pytestmark = [pytest.mark.crash, pytest.mark.timeout(240)]

SEEDS = range(3)
PATIENCE_S = 0.3  # for one answer to a hostile input: some get none
SERVED_WITHIN_S = 5.0  # after each of them
MOST_GROWTH_MB = 64  # reliability.md H1


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedNode]:
    node = ServedNode(tmp_path_factory.mktemp("hostile") / "node", 1)
    with receiving(node):
        yield node


def send(port: int, hostile: Input) -> None:
    with RawPeer(port, timeout_s=PATIENCE_S) as peer, suppress(OSError, struct.error):
        peer.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for step in hostile:
            if step == ANSWER:
                with suppress(TimeoutError):
                    peer.pdu()
            else:
                peer.send(step)


@pytest.mark.parametrize("careful", [False, True], ids=["as it is", "careful lane"])
@pytest.mark.parametrize("name", CLASSES)
def test_a_hostile_peer_neither_ends_nor_stops_the_receiver(node: ServedNode, name: str, careful: bool) -> None:
    assert node.process is not None
    process, account = psutil.Process(node.process.pid), Account()
    memory_before, log_before = process.memory_info().rss, len(node.log)
    for seed in SEEDS:
        hostile = CLASSES[name](random.Random(f"{name} {seed}"))
        send(node.port, in_the_careful_lane(hostile) if careful else hostile)

        with Sender(node.port, account, timeout_s=SERVED_WITHIN_S) as clean:
            assert clean.echo() == 0x0000, f"{name}, seed {seed}"
            assert clean.send_next() == 0x0000, f"{name}, seed {seed}"

    assert node.process.poll() is None
    assert process.memory_info().rss - memory_before < MOST_GROWTH_MB << 20
    said = node.log[log_before:]
    assert CANARY not in said
    assert "Traceback" not in said  # it would quote what was received
    assert "N112" not in said  # a thread of pynetdicom's that died over it
    assert "A111" not in said  # an error that nobody foresaw
    assert not [file for file in (Path("/tmp") / CANARY, *node.folder.rglob(f"*{CANARY}*")) if file.exists()]
