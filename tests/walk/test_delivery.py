"""The served node and its archive: results that are proven to be there, to the last state."""

from pathlib import Path

import pytest

from node.records import DeliveryState
from node.simulator.loopback import free_port
from tests.peers import Orthanc, ServedNode, storescu, until
from tests.walk.conftest import SMALL

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


def deliveries(node: ServedNode) -> set[str]:
    """Return the states of all result objects."""
    counts = node.console().status()["counts"]
    return {name.removeprefix("deliveries ") for name in counts if name.startswith("deliveries ")}


def test_results_are_stored_committed_to_and_seen_in_a_real_archive(tmp_path: Path, simulated: object) -> None:
    port = free_port()
    node = ServedNode(tmp_path / "node", port, settings="commitment = true\nverify = true\n")
    us = {"AET": "PARASPINAL", "Host": "127.0.0.1", "Port": node.port, "AllowStorageCommitment": True}
    orthanc = Orthanc(tmp_path / "orthanc", port=port, modalities={"node": us})
    study = simulated("small", SMALL) / "dicom"  # type: ignore[operator]
    try:
        storescu(orthanc.port, study)  # the archive has the study: its identity is looked up there
        node.start()
        assert storescu(node.port, study).returncode == 0

        until(lambda: deliveries(node) == {DeliveryState.SEEN}, 120, what="the archive to show the results")
    finally:
        node.kill()
        orthanc.stop()

    for code in ("D500", "D502", "D503"):
        assert code in node.log
