"""Peers that hold on to all they can get do not keep a clean one out."""

import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.association.raw import associate_rq
from tests.crash.senders import Account, Sender, is_alive, receiving
from tests.peers import ServedNode

pytestmark = [pytest.mark.crash, pytest.mark.timeout(60)]

IDLE, HALF_SENT = 500, 500
LIMIT = 5  # associations of the attacking peer
ATTACKER = "127.0.0.2"
PATIENCE_S = 5.0  # of a clean sender; how long it really waits, the benchmark measures
DESCRIPTORS = 4096
SETTINGS = f"""
[[peer]]
ae_title = "ATTACK"
addresses = ["{ATTACKER}"]
max_associations = {LIMIT}
"""


@pytest.fixture
def descriptors() -> Iterator[None]:
    """Let this process and the node have as many descriptors as the attack takes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < DESCRIPTORS:
        pytest.skip(f"this machine lets a process have {hard} descriptors only")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, DESCRIPTORS), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("descriptors")
def test_a_clean_sender_is_served_beside_a_thousand_connections_that_say_nothing_or_half(tmp_path: Path) -> None:
    node, account = ServedNode(tmp_path / "node", 1, settings=SETTINGS), Account()
    half = associate_rq(calling="ATTACK")[:40]
    with receiving(node), ExitStack() as attack:
        accepted = []
        for _ in range(2 * LIMIT):
            association = attack.enter_context(Sender(node.port, Account(), source=ATTACKER, calling="ATTACK"))
            accepted.append(association.is_accepted)
        for k in range(IDLE + HALF_SENT):
            connection = socket.create_connection(("127.0.0.1", node.port), timeout=5, source_address=(ATTACKER, 0))
            attack.enter_context(connection)
            if k >= IDLE:
                connection.sendall(half)
        began = time.monotonic()

        with Sender(node.port, account, timeout_s=PATIENCE_S) as clean:
            statuses = [clean.echo(), clean.send_next()]

        print(f"association, C-ECHO and C-STORE took {time.monotonic() - began:.3f} s")  # pytest -rP
        assert statuses == [0x0000, 0x0000]
        assert accepted == [True] * LIMIT + [False] * LIMIT
        assert is_alive(node)
        assert account.faults(node, within_s=5.0) == []
