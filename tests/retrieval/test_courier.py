"""What a C-GET brings, handed to a real receiver."""

from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.uid import MRImageStorage
from pynetdicom import _config

from node.dicom.identifiers import SeriesUID, StudyUID
from node.errors import RetrievalError
from node.retrieval import Archive, Courier, Puller, loopback
from node.retrieval.archive import BROUGHT_BY_GET
from node.settings import AssociationSettings
from tests.association.conftest import Held
from tests.builders import data_set_bytes, part10
from tests.retrieval.conftest import NOW, QUICK, Bench, Pacs, spine
from tests.retrieval.test_pulling import begin, want


@pytest.fixture
def as_in_the_worker(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return what undoes the settings that a receiver makes for its process: the courier is in another one."""

    def undo() -> None:
        monkeypatch.setattr(_config, "STORE_RECV_CHUNKED_DATASET", False)
        monkeypatch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", False)

    return undo


def courier(pacs: Pacs, port: int) -> Courier:
    archive = Archive(pacs.settings(how="get"), calling_ae="PARASPINAL", silence_s=5)
    return Courier(archive, AssociationSettings(bind="127.0.0.1", port=port), silence_s=5)


def test_what_a_get_brings_is_in_the_spool_byte_for_byte(
    pacs: Pacs, held: Held, study: StudyUID, as_in_the_worker: Callable[[], None]
) -> None:
    as_in_the_worker()
    sent = spine(study, 2)
    pacs.take(sent)
    begin(held, study)
    bench = Bench(held, pacs.settings())
    want(bench, study, 2)

    Puller(courier(pacs, held.port), QUICK, bench.retrievals).run_once(now=NOW)

    assert bench.rows()[f"{study}.2"] == ("done", 1, "")
    for one in sent:
        (file,) = held.files(one.SOPInstanceUID)
        assert data_set_bytes(file) == data_set_bytes(part10(one))


def test_an_archive_is_told_when_our_receiver_has_no_room(
    pacs: Pacs, study: StudyUID, tmp_path: Path, as_in_the_worker: Callable[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    pacs.take(spine(study, 2))
    full = Held(tmp_path / "full", spool={"floor_bytes": 1 << 60})
    as_in_the_worker()
    try:
        with pytest.raises(RetrievalError, match=r"could not send all|answers 0x"):
            courier(pacs, full.port).send(study, SeriesUID(f"{study}.2"), limit_s=10)
    finally:
        full.stop()
    assert "A210" in caplog.text  # it was our receiver that refused


def test_without_our_receiver_the_archive_is_not_even_asked(pacs: Pacs, study: StudyUID) -> None:
    with pytest.raises(RetrievalError, match="our own receiver"):
        courier(pacs, 1).send(study, SeriesUID(f"{study}.2"), limit_s=10)


@pytest.mark.parametrize(
    ("bind", "address"), [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("10.1.2.3", "10.1.2.3"), ("::1", "::1")]
)
def test_the_receiver_is_reached_where_it_listens(bind: str, address: str) -> None:
    assert loopback(bind) == address


def test_mr_is_what_is_brought() -> None:
    assert MRImageStorage in {sop_class for sop_class, _syntax in BROUGHT_BY_GET}
    assert len(BROUGHT_BY_GET) < 128  # presentation contexts have odd ids of one byte, PS3.8 table 9-13
