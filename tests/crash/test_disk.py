"""A disk that loses its power, and one that is full, under a real receiving process."""

import random
import shutil
import subprocess
from pathlib import Path

import pytest

from node.holdings import Holdings
from tests.association.raw import COMMAND, LAST, command, p_data
from tests.crash.disks import LoopDisk, small_tmpfs
from tests.crash.senders import Account, Sender, instance, is_alive, receiving, uid_of
from tests.peers import ServedNode, until

pytestmark = [pytest.mark.crash, pytest.mark.timeout(120)]

CUTS = 4
MOST_INSTANCES = 60  # between two cuts
SMALL_MB, BALLAST_MB = 14, 4
PIXEL_BYTES = 128 << 10
BACK_WITHIN_S = 5.0  # of space returning
FLOOR_MB = 3
SPOOL = f"segment_mb = 1\nspare_segments = 1\nfree_space_floor_mb = {FLOOR_MB}"


def test_after_a_power_cut_all_that_was_acknowledged_is_there_and_nothing_is_torn(tmp_path: Path) -> None:
    disk = LoopDisk(tmp_path / "disk.img", 64)
    node = ServedNode(tmp_path / "node", 1, spool=SPOOL)
    data = node.folder / "data"
    account, chance = Account(), random.Random(20261126)
    with disk.mounted(data):
        with receiving(node):
            pass
        subprocess.run(["sync", "-f", str(data)], check=True)  # the installation itself is old news at a power cut
    for cut in range(CUTS):
        with disk.mounted(data), receiving(node), Sender(node.port, account) as sender:
            for _ in range(chance.randrange(1, MOST_INSTANCES)):
                assert sender.send_next() == 0x0000
            begun = p_data((3, COMMAND | LAST, command(1, sop_instance=uid_of(0))))
            sender.send(begun, p_data((3, 0, instance(0)[:4000])))  # the cut comes in the middle of an instance
            disk.cut(data)
        with disk.mounted(data), receiving(node):
            assert account.faults(node) == [], f"after cut {cut + 1}"


def test_a_full_disk_is_said_and_left_clean_and_the_node_goes_on_when_there_is_space(tmp_path: Path) -> None:
    node = ServedNode(tmp_path / "node", 1, spool=SPOOL)
    data, account = node.folder / "data", Account()
    with small_tmpfs(data, SMALL_MB):
        ballast = data / "ballast"
        ballast.write_bytes(bytes(BALLAST_MB << 20))
        with receiving(node), Sender(node.port, account) as sender:
            statuses = [sender.send_next(PIXEL_BYTES) for _ in range(120)]

            assert set(statuses) == {0x0000, 0xA700}
            assert statuses[-20:] == [0xA700] * 20
            assert sender.echo() == 0x0000
            assert shutil.disk_usage(data).free > FLOOR_MB << 19  # at least half of it: for the ledger's rows

            assert account.faults(node, within_s=5.0) == []
            assert held(node) == set(account.acknowledged)  # no orphan: nothing of what was refused
            until(lambda: not leftovers(data), 5.0, what="the last unfinished segment to go")

            ballast.unlink()
            until(lambda: sender.send_next(PIXEL_BYTES) == 0x0000, BACK_WITHIN_S, what="the first instance")
            assert is_alive(node)
        with receiving(node):
            assert account.faults(node) == []


def held(node: ServedNode) -> set[str]:
    return {uid for uid, _ in Holdings(node.settings).held()}


def leftovers(data: Path) -> list[Path]:
    """Return files that are empty or unfinished; locks are empty by their nature."""
    files = [file for file in (data / "spool").iterdir() if file.name != "lock"]
    return [file for file in files if file.suffix == ".part" or not file.stat().st_size]
