"""The node as it is served, beside a real Orthanc: what is missing comes, and the study is measurable with it."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

from node.errors import RulingError
from node.simulator import Recipe, simulate, write
from tests.peers import ServedNode, storescu, until
from tests.retrieval.conftest import Pacs
from tests.retrieval.faults import saying

pytestmark = pytest.mark.slow


def study_files(folder: Path, **recipe: Any) -> dict[str, list[Path]]:
    """Write a small study and return its files by the kind of the series."""
    study = simulate(Recipe(pixel_mm=2.0, slices=6, series=("localizer", "pre", "post"), snr=0, **recipe))
    write(study, folder)
    places = sorted((folder / "dicom").iterdir())
    return {one.kind: sorted(place.iterdir()) for one, place in zip(study.series, places, strict=True)}


def push(node: ServedNode, folder: Path, files: list[Path]) -> None:
    """Send files as a scanner does."""
    folder.mkdir()
    for file in files:
        (folder / f"{file.parent.name}{file.name}").write_bytes(file.read_bytes())
    sent = storescu(node.port, folder)
    assert sent.returncode == 0, sent.stderr


def served(folder: Path, archive_port: int, *, archive: str) -> ServedNode:
    settings = f"""
[retrieval]
sweep_every_s = 0.3
ask_after_s = 0.5
pull_after_s = 1.0
first_wait_s = 0.5
longest_wait_s = 1.0
silence_s = 5.0
attempts = 500
[[archive]]
name = "pacs"
ae_title = "ARCHIVE"
port = {archive_port}
{archive}
"""
    return ServedNode(folder, archive_port, settings=settings)


@pytest.fixture(params=["move", "get"])
def node(request: pytest.FixtureRequest, tmp_path: Path, orthanc: Pacs) -> Iterator[ServedNode]:
    node = served(
        tmp_path / "node", orthanc.orthanc.port, archive=f'how = "{request.param}"\npull = ["missing", "priors"]'
    )
    orthanc.knows(node.port)
    node.start()
    yield node
    node.kill()


def studies(node: ServedNode) -> dict[str, dict[str, Any]]:
    return {one["alias"]: one for one in node.console().status()["studies"]}


def test_a_series_that_was_not_pushed_comes_and_the_study_is_measurable(
    node: ServedNode, orthanc: Pacs, tmp_path: Path
) -> None:
    files = study_files(tmp_path / "study", seed=int(time.time()))
    orthanc.take(dcmread(file) for one in files.values() for file in one)

    push(node, tmp_path / "pushed", files["localizer"] + files["pre"] + files["post"][:2])

    until(lambda: [one for one in studies(node).values() if one["state"] == "measurable"], what="a measurable study")
    (study,) = studies(node).values()
    assert (study["series"], study["instances"]) == (3, sum(len(one) for one in files.values()))
    assert node.console().status()["retrievals"] == []
    assert "SECRET" not in node.log
    assert "SIM" not in node.log


def test_a_prior_comes_and_makes_no_job(node: ServedNode, orthanc: Pacs, tmp_path: Path) -> None:
    patient = {"patient_id": f"P{time.time_ns()}"}
    prior = study_files(tmp_path / "prior", seed=time.time_ns() % 10**9, study_date="20250301", **patient)
    files = study_files(tmp_path / "study", seed=time.time_ns() % 10**9 + 1, **patient)
    orthanc.take(dcmread(file) for one in [*prior.values(), *files.values()] for file in one)

    push(node, tmp_path / "pushed", [file for one in files.values() for file in one])

    until(
        lambda: [one for one in studies(node).values() if one["reason"].startswith("prior of another study")],
        what="the prior",
    )
    until(lambda: node.console().jobs(), what="the job of the study")
    by_state = {one["state"]: one for one in studies(node).values()}
    assert set(by_state) == {"measurable", "not eligible"}
    assert [job.study for job in node.console().jobs()] == [by_state["measurable"]["alias"]]


def test_what_was_asked_for_before_a_crash_comes_after_it(tmp_path: Path, orthanc: Pacs) -> None:
    files = study_files(tmp_path / "study", seed=time.time_ns() % 10**9)
    orthanc.take(dcmread(file) for one in files.values() for file in one)
    node = served(tmp_path / "node", orthanc.orthanc.port, archive='pull = ["missing"]')
    try:
        orthanc.forgets_us()
        orthanc.knows(1)  # nobody listens there: moves fail
        node.start()
        push(node, tmp_path / "pushed", files["pre"])
        until(lambda: [one for one in node.console().status()["retrievals"] if one["attempts"] > 0], what="an attempt")
        node.kill()
        orthanc.knows(node.port)
        node.start()

        until(lambda: not node.console().status()["retrievals"], what="the retrievals to be done")
        (study,) = studies(node).values()
        assert study["instances"] == sum(len(one) for one in files.values())
    finally:
        node.kill()


def test_an_archive_that_hangs_holds_up_no_study(tmp_path: Path) -> None:
    files = study_files(tmp_path / "study", seed=11)
    with saying() as mute:
        node = served(tmp_path / "node", mute.port, archive='pull = ["missing", "priors"]')
        try:
            node.start()
            push(node, tmp_path / "pushed", [file for one in files.values() for file in one])

            until(lambda: [one for one in studies(node).values() if one["state"] == "measurable"], what="its closing")
            until(lambda: "R600" in node.log, what="the archive to be given up")
        finally:
            node.kill()


def test_an_operator_checks_pulls_and_sees_how_it_goes(tmp_path: Path, orthanc: Pacs) -> None:
    files = study_files(tmp_path / "study", seed=time.time_ns() % 10**9)
    orthanc.take(dcmread(file) for one in files.values() for file in one)
    node = served(tmp_path / "node", orthanc.orthanc.port, archive="")
    try:
        orthanc.knows(node.port)
        node.start()
        push(node, tmp_path / "pushed", files["pre"])
        study = until(lambda: list(studies(node)), what="the study")[0]
        uid = str(dcmread(files["pre"][0], stop_before_pixels=True).StudyInstanceUID)

        checked = node.cli("check")
        pulled = node.cli("pull", study)
        refused = node.cli("pull", study, "--archive", "nowhere")
        until(lambda: studies(node)[study]["instances"] == sum(len(one) for one in files.values()), what="all of it")

        assert "C-ECHO archive pacs" in checked.stdout
        assert f"{study}: 2 series asked for" in pulled.stdout
        assert refused.returncode == 2
        assert uid not in "".join(one.stdout + one.stderr for one in (checked, pulled, refused))
        assert node.console().pull(study, "pacs") == (0, [])
        with pytest.raises(RulingError, match="there is no study nobody"):
            node.console().pull("nobody", None)
    finally:
        node.kill()
