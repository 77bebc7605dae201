"""kill -9 of the whole node at random moments, again and again, changes nothing of what the archive gets."""

import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import Comprehensive3DSRStorage

from node.simulator import Recipe
from node.simulator.loopback import listens
from tests.peers import Orthanc, ServedNode, storescu, until
from tests.walk.conftest import SMALL, node, orthanc, simulated  # noqa: F401

KILLS = 20
# The first kills meet the study while it arrives: it is quiet for 4 s only after that. These come right after a step
# has ended (job started, measured, results owed, results stored at the archive), the others at random moments.
STAGES = {5: "J400", 7: "J401", 8: "J402", 9: "D500"}


@pytest.mark.crash
@pytest.mark.timeout(900)
def test_twenty_kills_end_in_exactly_one_report(
    node: ServedNode,  # noqa: F811
    orthanc: Orthanc,  # noqa: F811
    simulated: Callable[[str, Recipe], Path],  # noqa: F811
    tmp_path: Path,
) -> None:
    study = simulated("lesion", SMALL)
    node.config.write_text(node.config.read_text().replace("quiet_period_s = 2.0", "quiet_period_s = 4.0"))
    expected = len(list((study / "dicom").glob("*/*")))
    moments = random.Random(20261126)
    done = threading.Event()

    def scan() -> None:
        """Send as a scanner does: what was not acknowledged is sent again."""
        while not done.is_set():
            if listens(node.port) and storescu(node.port, study / "dicom").returncode == 0:
                return
            time.sleep(0.3)

    scanner = threading.Thread(target=scan, daemon=True)
    scanner.start()
    for kill in range(KILLS):
        node.start()
        stage = STAGES.get(kill)
        if stage is None:
            time.sleep(moments.uniform(0.1, 2.0))
        else:
            until(lambda: stage in node.log, 120, what=stage)  # noqa: B023
        node.kill()
    assert [stage for stage in STAGES.values() if stage not in node.log] == []
    node.start()
    scanner.join(timeout=120)
    done.set()
    until(lambda: [job for job in node.console().jobs() if job.settled_s], 300, what="the job to settle")
    until(lambda: not node.console().status()["counts"].get("deliveries owed"), 120, what="the delivery")
    time.sleep(3.0)  # longer than a retry waits: what would come twice has come

    received = [dcmread(path) for path in orthanc.files(tmp_path / "received")]
    assert node.console().status()["counts"]["instances"] == expected
    assert [job.outcome for job in node.console().jobs()] == ["findings"]
    assert sum(one.SOPClassUID == Comprehensive3DSRStorage for one in received) == 1
    (job,) = node.console().jobs()
    shown = node.console().job(job.id)
    assert shown is not None
    assert len(received) == len(shown["objects"])  # each once: the report, segmentations and whatever else is made
