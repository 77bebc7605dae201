"""kill -9 of the receiving process at random moments, while it is sent to as fast as it takes."""

import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.senders import Account, Sender, start_receiver
from tests.peers import ServedNode

pytestmark = [pytest.mark.crash, pytest.mark.timeout(180)]

KILLS = 10  # for each number of senders
LATEST_S = 0.6  # some hundred instances


@pytest.fixture
def node(tmp_path: Path) -> Iterator[ServedNode]:
    node = ServedNode(tmp_path / "node", 1, spool="segment_mb = 1\nspare_segments = 2")  # a new one every 0.1 s or so
    yield node
    node.kill()


@pytest.mark.parametrize("senders", [1, 8])
def test_what_was_acknowledged_before_a_kill_is_held_and_nothing_is_torn(node: ServedNode, senders: int) -> None:
    account, moments, up_after_s = Account(), random.Random(senders), []
    start_receiver(node)
    for kill in range(KILLS):
        threads = [
            threading.Thread(target=Sender(node.port, account).send_until_gone, daemon=True) for _ in range(senders)
        ]
        for thread in threads:
            thread.start()
        time.sleep(moments.uniform(0.02, LATEST_S))
        node.kill()
        for thread in threads:
            thread.join()

        up_after_s.append(start_receiver(node))

        assert account.faults(node) == [], f"after kill {kill + 1}"
    assert len(account.acknowledged) > 10 * KILLS  # else nothing was put to the test
    print(f"{len(account.acknowledged)} acknowledged; longest restart to C-ECHO {max(up_after_s):.2f} s")  # pytest -rP
