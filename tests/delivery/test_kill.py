"""kill -9 of whoever delivers, at random moments, while the archive misbehaves in every way it knows.

`PARASPINAL_KILLS=200 pytest tests/delivery/test_kill.py -rP` is the long one.
"""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pydicom import dcmread

from node.association.receiver import Receiver
from node.records import DeliveryState
from tests.builders import mr
from tests.conftest import ROOT
from tests.delivery.bad_archive import MODES, BadArchive
from tests.delivery.desk import Desk, objects, storage
from tests.delivery.test_commitment import receiver
from tests.peers import Orthanc, until

__all__ = ["receiver"]  # a fixture
KILLS = int(os.environ.get("PARASPINAL_KILLS", "5"))
pytestmark = [pytest.mark.crash, pytest.mark.slow, pytest.mark.timeout(120 + 30 * KILLS)]
_STUCK_S = 60.0  # more than all waits and deadlines of an attempt together


def start(folder: Path, port: int, *more: str) -> "subprocess.Popen[bytes]":
    (folder / "up").unlink(missing_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.delivery.outbox_process", str(folder), str(port), *more], cwd=ROOT
    )
    until(lambda: (folder / "up").exists() or process.poll() is not None, what="the outbox")
    assert process.poll() is None
    return process


def test_after_any_kill_each_version_is_at_the_archive_once(desk: Desk, tmp_path: Path) -> None:
    chance = random.Random(KILLS)
    # Two associations that behave for each that does not, so that something is always under way.
    script = [chance.choice([*MODES, *["ok"] * (2 * len(MODES))]) for _ in range(100 * KILLS)]
    desk.now = time.time()
    jobs: list[str] = []
    expected: set[str] = set()
    parked = 0

    with BadArchive(*script, "ok", hang_s=1.5) as archive:
        for kill in range(KILLS):
            for _ in range(3):  # of few studies, so that most are newer versions of one
                made = objects(len(jobs) + 1)
                jobs.append(desk.owe(made, study=1 + len(jobs) % 3))
                expected |= {str(one.SOPInstanceUID) for one in made}
            process = start(tmp_path, archive.port)
            time.sleep(chance.uniform(0.0, 0.6))
            process.kill()
            process.wait()
            for waiting in desk.undelivered.waiting().values():  # an operator tries everything again
                parked += sum(owe_again(desk, job) for job in waiting)
            assert set(archive.digests()) <= expected, f"after kill {kill + 1}"
        process = start(tmp_path, archive.port)
        try:
            settle(desk, len(expected))
        finally:
            process.kill()
            process.wait()

    digests = archive.digests()
    assert set(digests) == expected
    assert [one for one in archive.stored if len(digests[one.sop_instance]) > 1] == []
    print(  # pytest -rP
        f"{KILLS} kills, {archive.associations} associations, {len(expected)} objects of {len(jobs)} versions, "
        f"{len(archive.stored) - len(expected)} stored again with the same bytes, {parked} parked and tried again"
    )


def test_after_any_kill_each_version_is_committed_to_and_seen_in_a_real_archive(
    desk: Desk, receiver: Receiver, tmp_path: Path
) -> None:
    chance = random.Random(KILLS)
    us = {"AET": "PARASPINAL", "Host": "127.0.0.1", "Port": receiver.port, "AllowStorageCommitment": True}
    orthanc = Orthanc(tmp_path / "orthanc", modalities={"node": us})
    desk.now = time.time()
    studies = [{"StudyInstanceUID": f"2.25.{study}", "SeriesInstanceUID": f"2.25.{study}.1"} for study in (1, 2, 3)]
    images = [mr(f"2.25.88.{number}", **of) for number, of in enumerate(studies)]
    list(storage(orthanc.port).deliver(images))  # whose study it is, is looked up there
    expected = [str(one.SOPInstanceUID) for one in images]
    try:
        for kill in range(KILLS):
            made = objects(kill + 1, **studies[kill % 3])
            desk.owe(made, study=1 + kill % 3)
            expected += [str(one.SOPInstanceUID) for one in made]
            process = start(tmp_path, orthanc.port, "proving")
            time.sleep(chance.uniform(0.0, 1.5))
            process.kill()
            process.wait()
        process = start(tmp_path, orthanc.port, "proving")
        try:
            settle(desk, 2 * KILLS, DeliveryState.SEEN)
        finally:
            process.kill()
            process.wait()
        there = [str(dcmread(file).SOPInstanceUID) for file in orthanc.files(tmp_path / "there")]
    finally:
        orthanc.stop()

    assert sorted(there) == sorted(expected)
    print(f"{KILLS} kills, {2 * KILLS} objects committed to and seen in Orthanc")  # pytest -rP


def owe_again(desk: Desk, job: str) -> int:
    return desk.undelivered.owe_again(job, now=time.time(), although_newer=True)


def settle(desk: Desk, objects_owed: int, state: DeliveryState = DeliveryState.STORED) -> None:
    """Wait until all is in a state, however long that takes, while there is progress."""
    reached, deadline = 0, time.monotonic() + _STUCK_S
    while reached < objects_owed:
        assert time.monotonic() < deadline, f"{reached} of {objects_owed} are {state}, and nothing moves any more"
        for waiting in desk.undelivered.waiting().values():
            for job in waiting:
                owe_again(desk, job)
        time.sleep(0.1)
        before, reached = reached, desk.ledger.counts().get(f"deliveries {state}", 0)
        if reached > before:
            deadline = time.monotonic() + _STUCK_S
