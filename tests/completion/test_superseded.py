"""A study that grows while its job runs, in the node as it is served."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydicom import dcmread

from node.simulator import Recipe
from node.simulator.loopback import free_port
from tests.peers import ServedNode, storescu, until
from tests.walk.conftest import SMALL, simulated

__all__ = ["simulated"]  # a fixture

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def node(tmp_path: Path) -> Iterator[ServedNode]:
    node = ServedNode(tmp_path / "node", free_port())
    yield node
    node.kill()


def test_a_job_whose_study_grows_while_it_runs_ends_without_results_and_the_next_one_has_them(
    node: ServedNode, simulated: Callable[[str, Recipe], Path]
) -> None:
    study = simulated("late", SMALL.model_copy(update={"seed": 24}))
    truth = json.loads((study / "truth.json").read_text())
    series = {dcmread(next(one.iterdir())).SeriesInstanceUID: one for one in (study / "dicom").iterdir()}
    node.start()
    for kind in ("pre", "post"):
        assert storescu(node.port, series[truth["series"][kind]]).returncode == 0
    until(lambda: "J400" in node.log, 120, what="the job to run")

    assert storescu(node.port, series[truth["series"]["mrv"]]).returncode == 0
    until(lambda: [job.settled_s for job in node.console().jobs()].count(None) == 0 and "C300" in node.log, 300)
    until(lambda: len(node.console().jobs()) == 2 and all(job.settled_s for job in node.console().jobs()), 300)

    second, first = node.console().jobs()
    assert first.outcome.startswith("superseded")
    assert not second.outcome.startswith("superseded")
    assert (first.deliveries, list(second.deliveries)) == ({}, ["archive"])
    assert "J404" in node.log
