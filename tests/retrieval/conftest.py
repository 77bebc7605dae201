"""A real Orthanc as the archive, a real receiver that it sends to, and archives that misbehave."""

import json
import urllib.request
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from node.dicom.identifiers import StudyUID
from node.ledger.expectations import Expectations
from node.ledger.retrievals import Retrievals
from node.retrieval import Archive, Asker, Puller
from node.settings import ArchiveSettings, RetrievalSettings
from tests.association.conftest import Held
from tests.builders import part10, series_of
from tests.peers import Orthanc

QUICK = RetrievalSettings(ask_after_s=1, pull_after_s=10, silence_s=5, time_limit_s=20, first_wait_s=10, attempts=3)
NOW = 1_767_600_000.0  # 2026-01-05


class Pacs:
    """An Orthanc that knows us, and what is put into it."""

    def __init__(self, folder: Path) -> None:
        self.orthanc = Orthanc(folder)

    def knows(self, port: int, ae_title: str = "PARASPINAL") -> None:
        """Tell it our address, as the administrator of an archive would."""
        self._send("PUT", "/modalities/node", json.dumps({"AET": ae_title, "Host": "127.0.0.1", "Port": port}).encode())

    def forgets_us(self) -> None:
        self._send("DELETE", "/modalities/node", None)

    def take(self, datasets: Iterable[Dataset]) -> None:
        for one in datasets:
            self._send("POST", "/instances", part10(one))

    def settings(self, **changed: Any) -> ArchiveSettings:
        return ArchiveSettings(name="pacs", ae_title="ARCHIVE", port=self.orthanc.port, **changed)

    def _send(self, method: str, path: str, content: bytes | None) -> None:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.orthanc.http_port}{path}", data=content, method=method
        )
        with urllib.request.urlopen(request, timeout=30):
            pass


@pytest.fixture(scope="session")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pacs]:
    patch = pytest.MonkeyPatch()
    patch.setenv("TCP_NODELAY", "1")  # DCMTK's, for what it sends
    pacs = Pacs(tmp_path_factory.mktemp("pacs") / "orthanc")
    yield pacs
    pacs.orthanc.stop()
    patch.undo()


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Held]:
    held = Held(tmp_path)
    yield held
    held.stop()


@pytest.fixture
def pacs(orthanc: Pacs, held: Held) -> Pacs:
    """The archive, which sends to `held`."""
    orthanc.knows(held.port)
    return orthanc


@pytest.fixture
def study() -> StudyUID:
    """A study that no other test has."""
    return StudyUID(f"2.25.{uuid.uuid4().int >> 24}")


class Bench:
    """One archive as the worker has it: asker, puller, and the rows that both write."""

    def __init__(
        self, held: Held, settings: ArchiveSettings, common: RetrievalSettings = QUICK, *, rows_follow_s: float = 2.0
    ) -> None:
        self.held, self.database = held, held.ledger.database
        self.retrievals = Retrievals(self.database)
        self.archive = Archive(settings, calling_ae="PARASPINAL", silence_s=common.silence_s)
        self.asker = Asker(self.archive, settings, common, self.retrievals, Expectations(self.database))
        self.puller = Puller(self.archive, common, self.retrievals, rows_follow_s=rows_follow_s)

    def rows(self) -> dict[str, tuple[str, int, str]]:
        """Return state, attempts and status of each retrieval, by the UID of the series."""
        wanted = "SELECT series, state, attempts, status FROM retrieval ORDER BY id"
        return {series: tuple(rest) for series, *rest in self.database.connection.execute(wanted)}

    def expected(self, study: str) -> dict[str, int]:
        wanted = "SELECT series, instances FROM expectation WHERE study = ? AND source = 'C-FIND pacs'"
        return dict(self.database.connection.execute(wanted, (study,)).fetchall())

    def state(self, study: str) -> tuple[str, str]:
        wanted = "SELECT state, reason FROM study WHERE uid = ?"
        return tuple(self.database.connection.execute(wanted, (study,)).fetchone())

    def held_of(self, study: str) -> dict[str, int]:
        wanted = "SELECT series, count(*) FROM instance WHERE study = ? GROUP BY series"
        return dict(self.database.connection.execute(wanted, (study,)).fetchall())


def spine(study: str, number: int, **attributes: Any) -> list[Dataset]:
    """Return a series of four slices of a lumbar spine."""
    described = {"StudyDescription": "MRI lumbar spine", "SeriesDescription": "t1 tra"}
    return list(series_of(number, slices=4, study=study, **(described | attributes)))
