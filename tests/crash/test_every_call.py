"""Each call that writes to disk while one instance is received: the process is killed there, or the kernel refuses.

One after the other, in a real receiving process, by strace: the first, the second, ... until there are no more. The
calls of the association's thread make the instance durable; those of the ledger follow behind its answer.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from node.ledger import open_database
from node.ledger.ledger import Ledger
from tests.crash.senders import GONE, Account, Sender, is_alive, start_receiver, threads
from tests.crash.strace import PERSISTENCE, Strace
from tests.peers import ServedNode, until

pytestmark = [pytest.mark.crash, pytest.mark.timeout(240)]

# Bytes of pixels. Large: written in several calls, and as 1/8 of a segment is not left each makes a new one.
SIZES = {"association": 960_000, "ledger": 2048}
CALLS = {  # what a reception surely consists of: else it was not put to the test
    "association": {"openat", "fallocate", "pwritev2", "fsync", "rename", "fdatasync"},
    "ledger": {"pwrite64", "fdatasync"},
}


@pytest.fixture
def node(tmp_path: Path) -> Iterator[ServedNode]:
    node = ServedNode(tmp_path / "node", 1, spool="segment_mb = 1\nspare_segments = 0")
    yield node
    node.kill()


class Tracer:
    """Traces the calls of the thread that serves an association, or those on the files of the ledger."""

    def __init__(self, node: ServedNode, where: str) -> None:
        self._node, self._where = node, where
        self.pixel_bytes = SIZES[where]

    def on(self, thread: int, *inject: str) -> Strace:
        options = ("-e", f"trace={PERSISTENCE}", *inject)
        if self._where == "association":
            return Strace(thread, self._node.folder / "trace", *options, follow=False)
        assert self._node.process is not None
        files = [str(self._node.folder / "data" / name) for name in ("node.db", "node.db-wal", "node.db-shm")]
        paths = [option for file in files for option in ("-P", file)]
        return Strace(self._node.process.pid, self._node.folder / "trace", *options, *paths, follow=True)

    def failing(self, point: tuple[str, int], thread: int, what: str) -> Strace:
        """Let the n-th call of a name end badly; strace counts each name by itself."""
        name, nth = point
        return self.on(thread, "-e", f"inject={name}:{what}:when={nth}")


def points(node: ServedNode, tracer: Tracer, account: Account) -> list[tuple[str, int]]:
    """Return every call that a process which has just begun makes for one instance: its name, and the how-manieth."""
    start_receiver(node)
    sender, thread = served_by(node, account)
    with sender, tracer.on(thread) as strace:
        assert sender.send_next(tracer.pixel_bytes) == 0x0000
        until(lambda: rows(node) == len(account.sent), 10, what="the row")
    node.kill()
    counts = Counter(strace.names())
    return [(name, nth) for name, count in counts.items() for nth in range(1, count + 1)]


def served_by(node: ServedNode, account: Account) -> tuple[Sender, int]:
    """Return a new association, and the thread that serves it."""
    before = threads(node)
    sender = Sender(node.port, account)
    assert sender.is_accepted
    (thread,) = threads(node) - before
    return sender, thread


def rows(node: ServedNode) -> int:
    return Ledger(open_database(node.folder / "data" / "node.db")).counts()["instances"]


@pytest.mark.parametrize("where", ["association", "ledger"])
def test_killed_at_any_call_nothing_acknowledged_is_lost_and_nothing_torn_is_seen(node: ServedNode, where: str) -> None:
    account, tracer = Account(), Tracer(node, where)
    killed = Counter[str]()
    todo = points(node, tracer, account)
    start_receiver(node)
    for point in todo:
        sender, thread = served_by(node, account)
        sender.send_next(tracer.pixel_bytes)  # into what the one before may have left empty
        with sender, tracer.failing(point, thread, "signal=SIGKILL"):
            with suppress(*GONE):
                sender.send_next(tracer.pixel_bytes)
            with suppress(AssertionError):  # data may come in fewer pieces than when they were counted
                until(lambda: not is_alive(node), 1.0, what="its end")
        killed[point[0]] += not is_alive(node)
        node.kill()

        start_receiver(node)

        assert account.faults(node) == [], f"killed at {point}"
    assert +killed >= Counter(CALLS[where])
    print(f"killed at {killed}")  # pytest -rP


@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
@pytest.mark.parametrize("where", ["association", "ledger"])
def test_an_error_at_any_call_is_no_false_success_and_the_next_instance_is_taken(
    node: ServedNode, where: str, error: str
) -> None:
    account, tracer = Account(), Tracer(node, where)
    failed = Counter[str]()
    for point in points(node, tracer, account):
        if point[0] == "openat" or not is_alive(node):  # the ledger is opened once
            node.kill()
            start_receiver(node)
        sender, thread = served_by(node, account)
        with sender:
            with tracer.failing(point, thread, f"error={error}") as strace:
                status = sender.send_next(tracer.pixel_bytes)
                until(lambda: strace.has_injected or rows(node) == len(account.acknowledged), 10, what=f"{point}")
            is_fatal = where == "association" and strace.has_injected  # rows follow when they can
            expected = {0xA700} if is_fatal else {0x0000}
            if point[0] == "openat":  # perhaps of the ledger, where SQLite can do without some files
                expected |= {0x0000, 0x0110}
            assert status in expected, f"{status:04X} at {point}"
            assert sender.send_next(tracer.pixel_bytes) == 0x0000, f"after {point}"
        until(lambda: rows(node) == len(account.acknowledged), 10, what=f"the rows after {point}")
        failed[point[0]] += strace.has_injected
    assert +failed >= Counter(CALLS[where])
    print(f"failed at {failed}")  # pytest -rP
    assert is_alive(node)
    assert account.faults(node) == []

    node.kill()
    start_receiver(node)

    assert account.faults(node) == []
