from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import UID

from node.errors import SimulatorError
from node.simulator.archive import Archive, digest_of
from node.simulator.recipe import Syntax
from node.simulator.scanner import NOT_ACCEPTED, push
from tests.simulator.studies import coarse, study_of


@pytest.mark.slow
@pytest.mark.parametrize("syntax", ["explicit", "implicit", "rle", "jpeg2000", "jpegls"])
def test_what_the_archive_holds_is_byte_for_byte_what_the_scanner_sent(syntax: Syntax, tmp_path: Path) -> None:
    datasets = study_of(coarse(transfer_syntax=syntax)).datasets
    with Archive(tmp_path, ae_title="ARCHIVE") as archive:
        statuses = push(datasets, "127.0.0.1", archive.port, called_ae="ARCHIVE")

        assert statuses == (0x0000,) * len(datasets)
        assert archive.digests == {one.SOPInstanceUID: (digest_of(one),) for one in datasets}
        assert [digest_of(one) for one in archive.datasets()] == [digest_of(one) for one in datasets]


def test_an_enhanced_study_goes_over_the_network(tmp_path: Path) -> None:
    datasets = study_of(coarse(multiframe=True)).datasets
    with Archive(tmp_path) as archive:
        assert push(datasets, "127.0.0.1", archive.port, called_ae="ARCHIVE") == (0x0000, 0x0000)


def test_an_archive_told_to_refuse_takes_the_next_attempt(tmp_path: Path) -> None:
    datasets = study_of(coarse()).of("pre")
    with Archive(tmp_path, refuse_first=1) as archive:
        refused = push(datasets, "127.0.0.1", archive.port, called_ae="ARCHIVE")
        assert archive.datasets() == ()
        taken = push(datasets, "127.0.0.1", archive.port, called_ae="ARCHIVE")

        assert set(refused) == {0xA700}
        assert set(taken) == {0x0000}
        assert set(archive.attempts.values()) == {2}


def test_an_object_sent_twice_is_counted_twice_and_kept_once(tmp_path: Path) -> None:
    (first, *_) = study_of(coarse()).of("pre")
    with Archive(tmp_path) as archive:
        push([first, first], "127.0.0.1", archive.port, called_ae="ARCHIVE")

        assert archive.digests[first.SOPInstanceUID] == (digest_of(first),) * 2
        assert len(list(tmp_path.glob("*.dcm"))) == 1


def test_waiting_ends_when_the_last_object_has_come(tmp_path: Path) -> None:
    datasets = study_of(coarse()).of("pre")
    with Archive(tmp_path) as archive:
        push(datasets, "127.0.0.1", archive.port, called_ae="ARCHIVE")

        assert archive.wait_for(lambda one: len(one.digests) == len(datasets), timeout_s=5)
        assert not archive.wait_for(lambda one: len(one.digests) > len(datasets), timeout_s=0.01)


def test_files_of_the_archive_can_be_read_by_anyone(tmp_path: Path) -> None:
    (first, *_) = study_of(coarse()).of("pre")
    with Archive(tmp_path) as archive:
        push([first], "127.0.0.1", archive.port, called_ae="ARCHIVE")

    (file,) = tmp_path.glob("*.dcm")
    assert dcmread(file) == first


def test_a_call_to_another_title_is_not_an_association(tmp_path: Path) -> None:
    (first, *_) = study_of(coarse()).of("pre")
    with Archive(tmp_path, ae_title="ARCHIVE") as archive, pytest.raises(SimulatorError, match="did not accept"):
        push([first], "127.0.0.1", archive.port, called_ae="SOMEBODY")


def test_an_object_the_peer_takes_no_context_for_does_not_stop_the_others(tmp_path: Path) -> None:
    first, second, *_ = study_of(coarse()).of("pre")
    strange = first.copy()
    strange.SOPClassUID = UID("1.2.3.4.5")
    with Archive(tmp_path) as archive:
        statuses = push([strange, second], "127.0.0.1", archive.port, called_ae="ARCHIVE")

    assert statuses == (NOT_ACCEPTED, 0x0000)


def test_progress_is_told_after_each_answer(tmp_path: Path) -> None:
    datasets = study_of(coarse()).of("pre")
    told: list[tuple[int, int]] = []
    with Archive(tmp_path) as archive:
        push(
            datasets,
            "127.0.0.1",
            archive.port,
            called_ae="ARCHIVE",
            progress=lambda done, of: told.append((done, of)),
        )

    assert told == [(number, len(datasets)) for number in range(1, len(datasets) + 1)]
