"""What the kernel is asked for, and in which order: nothing is promised before it is on disk."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.senders import Account, Sender, start_receiver
from tests.crash.strace import Call, Strace
from tests.peers import ServedNode

pytestmark = [pytest.mark.crash, pytest.mark.timeout(60)]

INSTANCES = 15
CALLS = "trace=write,writev,pwrite64,pwritev,pwritev2,fsync,fdatasync,sendto,sendmsg"


@pytest.fixture
def node(tmp_path: Path) -> Iterator[ServedNode]:
    # No spare segments: every third instance makes one.
    node = ServedNode(tmp_path / "node", 1, spool="segment_mb = 1\nspare_segments = 0")
    yield node
    node.kill()


def synced_at_answers(calls: Iterator[Call], port: int) -> list[bool | None]:
    """Return for each message to the peer whether all that was written to segments since the one before is synced.

    None where nothing was written. A sync counts when it has ended well, for what was written before it began.
    """
    dirty: set[str] = set()
    covered: dict[str, bool] = {}  # a sync in progress, by path: whether nothing was written since it began
    answers: list[bool | None] = []
    has_written = False
    for call in calls:
        if "TCP" in call.path and f":{port}-" in call.path:
            if call.begins:
                answers.append(not dirty if has_written else None)
                has_written = False
        elif not call.path.endswith(".segment"):
            continue
        elif call.name in ("fsync", "fdatasync"):
            if call.begins:
                covered[call.path] = True
            if call.ends and covered.pop(call.path, False) and not call.failed:
                dirty.discard(call.path)
        else:
            has_written = True
            dirty.add(call.path)
            covered.pop(call.path, None)
    return answers


def test_every_byte_of_an_instance_is_synced_before_the_first_byte_of_its_answer(
    node: ServedNode, tmp_path: Path
) -> None:
    start_receiver(node)
    assert node.process is not None

    tracing = Strace(node.process.pid, tmp_path / "trace", "-e", CALLS, follow=True)
    with tracing as strace, Sender(node.port, Account()) as sender:
        statuses = [sender.send_next(300_000) for _ in range(INSTANCES)]

    assert statuses == [0x0000] * INSTANCES
    accept, *answers = synced_at_answers(strace.calls(), node.port)
    assert accept is None
    assert answers[:INSTANCES] == [True] * INSTANCES
