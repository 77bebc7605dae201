"""The receiver, called by real associations over a real socket."""

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import JPEGLosslessSV1, MRImageStorage
from pynetdicom import AE, build_context
from pynetdicom.association import Association

from node.association import Receiver
from node.association.conformance import STORAGE_CLASSES, TRANSFER_SYNTAXES
from node.ledger import Ledger
from node.settings import AssociationSettings
from node.spool import Spool
from tests.builders import STUDY, data_set_bytes, mr, part10
from tests.conftest import shared

SETTINGS = AssociationSettings(bind="127.0.0.1", port=0, free_space_floor_mb=0, network_timeout_s=5.0)


@pytest.fixture
def receiver(spool: Spool, ledger: Ledger) -> Iterator[Receiver]:
    receiver = Receiver(SETTINGS, spool, ledger)
    receiver.start()
    yield receiver
    receiver.stop(drain_s=0.0)


def associate(
    receiver: Receiver, *datasets: Dataset, called: str = "PARASPINAL", calling: str = "SCANNER"
) -> Association:
    ae = AE(calling)
    wanted = {(str(one.SOPClassUID), str(one.file_meta.TransferSyntaxUID)) for one in datasets}
    ae.requested_contexts = [
        build_context(*pair) for pair in sorted(wanted | {("1.2.840.10008.1.1", "1.2.840.10008.1.2")})
    ]
    return ae.associate("127.0.0.1", receiver.port, ae_title=called)


def send(receiver: Receiver, *datasets: Dataset) -> list[Dataset]:
    association = associate(receiver, *datasets)
    assert association.is_established
    answers = [association.send_c_store(one) for one in datasets]
    association.release()
    return answers


def held(spool: Spool) -> list[bytes]:
    return [path.read_bytes() for path in sorted(spool.root.rglob("*.dcm"))]


def test_an_echo_is_answered(receiver: Receiver) -> None:
    association = associate(receiver)

    assert association.send_c_echo().Status == 0x0000
    association.release()


def test_an_instance_is_held_in_spool_and_ledger_when_success_is_said(
    receiver: Receiver, spool: Spool, ledger: Ledger
) -> None:
    instance = mr()

    (answer,) = send(receiver, instance)

    assert answer.Status == 0x0000
    assert [data_set_bytes(content) for content in held(spool)] == [data_set_bytes(part10(instance))]
    assert ledger.paths(STUDY, instance.SeriesInstanceUID)


def test_an_instance_sent_twice_is_kept_once(receiver: Receiver, spool: Spool, ledger: Ledger) -> None:
    answers = send(receiver, mr(), mr())

    assert [answer.Status for answer in answers] == [0x0000, 0x0000]
    assert (len(held(spool)), ledger.counts()["instances"]) == (1, 1)


def test_other_content_under_the_same_uid_is_refused_and_the_first_is_kept(
    receiver: Receiver, ledger: Ledger, spool: Spool
) -> None:
    answers = send(receiver, mr(), mr(RepetitionTime=600))

    assert [answer.Status for answer in answers] == [0x0000, 0xC001]
    (path,) = ledger.paths(STUDY, f"{STUDY}.1")
    assert dcmread(spool.path_of(path)).RepetitionTime == 550


def test_an_instance_without_a_study_is_refused_with_a_comment(receiver: Receiver, spool: Spool) -> None:
    (answer,) = send(receiver, mr(StudyInstanceUID=None))

    assert (answer.Status, answer.ErrorComment) == (0xC000, "StudyInstanceUID is missing or malformed")
    assert held(spool) == []


@pytest.mark.parametrize("uid", ["../../../tmp/x", "1.2.840/..", "a" * 64])
def test_a_uid_that_is_none_never_reaches_the_disk(receiver: Receiver, spool: Spool, uid: str) -> None:
    instance = mr()
    instance.add_new("SeriesInstanceUID", "LO", uid)

    (answer,) = send(receiver, instance)

    assert answer.Status == 0xC000
    assert held(spool) == []


def test_a_full_disk_is_answered_with_out_of_resources(tmp_path: Path, ledger: Ledger) -> None:
    receiver = Receiver(SETTINGS, Spool(tmp_path / "full", floor_bytes=1 << 62), ledger)
    receiver.start()

    (answer,) = send(receiver, mr())
    receiver.stop(drain_s=0.0)

    assert (answer.Status, answer.ErrorComment) == (0xA700, "The disk of the node is full")
    assert ledger.counts()["instances"] == 0


def test_a_disk_that_refuses_is_a_failure_without_details(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, ledger: Ledger
) -> None:
    def refuse(_self: Spool, _content: bytes) -> Any:
        raise OSError(5, "Input/output error on /secret/path")

    monkeypatch.setattr(Spool, "store", refuse)

    (answer,) = send(receiver, mr())

    assert (answer.Status, answer.ErrorComment) == (0x0110, "The instance could not be stored")
    assert ledger.counts()["instances"] == 0


def test_an_association_for_somebody_else_is_rejected(receiver: Receiver) -> None:
    assert associate(receiver, called="OTHER").is_rejected


def test_a_caller_that_is_not_on_the_list_is_rejected(spool: Spool, ledger: Ledger) -> None:
    settings = SETTINGS.model_copy(update={"allowed_calling_ae": ("MR1",)})
    receiver = Receiver(settings, spool, ledger)
    receiver.start()

    refused, accepted = associate(receiver, calling="MR2"), associate(receiver, calling="MR1")

    assert (refused.is_rejected, accepted.is_established) == (True, True)
    accepted.release()
    receiver.stop(drain_s=0.0)


def test_every_storage_class_is_accepted_in_every_syntax(receiver: Receiver) -> None:
    for syntax in TRANSFER_SYNTAXES:
        for start in range(0, len(STORAGE_CLASSES), 128):  # an association has at most 128 contexts, PS3.8 9.3.2
            some = STORAGE_CLASSES[start : start + 128]
            ae = AE("SCANNER")
            ae.requested_contexts = [build_context(one, syntax) for one in some]
            association = ae.associate("127.0.0.1", receiver.port, ae_title="PARASPINAL")
            assert {context.abstract_syntax for context in association.accepted_contexts} == set(some)
            association.release()


def test_compressed_pixels_are_stored_as_sent_even_if_they_are_garbage(receiver: Receiver, spool: Spool) -> None:
    instance = mr()
    instance.file_meta.TransferSyntaxUID = JPEGLosslessSV1
    fragment = b"\xfe\xff\x00\xe0\x00\x00\x00\x00" + b"\xfe\xff\x00\xe0\x08\x00\x00\x00notajpeg"
    instance["PixelData"].value = fragment + b"\xfe\xff\xdd\xe0\x00\x00\x00\x00"
    instance["PixelData"].is_undefined_length = True

    (answer,) = send(receiver, instance)

    assert answer.Status == 0x0000
    (content,) = held(spool)
    assert b"notajpeg" in content
    assert dcmread(next(spool.root.rglob("*.dcm"))).file_meta.TransferSyntaxUID == JPEGLosslessSV1


def test_a_stopped_receiver_takes_no_connection(spool: Spool, ledger: Ledger) -> None:
    receiver = Receiver(SETTINGS, spool, ledger)
    receiver.start()
    port = receiver.port

    receiver.stop(drain_s=0.0)

    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_a_connection_that_says_nothing_does_not_hold_up_a_stop(spool: Spool, ledger: Ledger) -> None:
    receiver = Receiver(SETTINGS, spool, ledger)
    receiver.start()

    with socket.create_connection(("127.0.0.1", receiver.port)):
        began = time.monotonic()
        receiver.stop(drain_s=30.0)

    assert time.monotonic() - began < 15.0


def test_a_running_association_may_end_by_itself_when_the_receiver_stops(spool: Spool, ledger: Ledger) -> None:
    receiver = Receiver(SETTINGS, spool, ledger)
    receiver.start()
    association = associate(receiver, mr())

    stopping = threading.Thread(target=receiver.stop, kwargs={"drain_s": 10.0})
    stopping.start()

    status = association.send_c_store(mr()).Status
    association.release()
    stopping.join(timeout=10.0)

    assert status == 0x0000
    assert not stopping.is_alive()


@pytest.mark.slow
def test_real_vendor_instances_are_held_byte_for_byte(receiver: Receiver, spool: Spool) -> None:
    files = [path for path in sorted(shared("data", "vendor_pack_dcm_qa").rglob("*.dcm")) if path.is_file()]
    expected = {}
    for path in files:
        header = dcmread(path, stop_before_pixels=True)
        expected[str(header.SOPInstanceUID)] = data_set_bytes(path.read_bytes())
    contexts = set()
    for path in files:
        header = dcmread(path, stop_before_pixels=True)
        contexts.add((str(header.SOPClassUID), str(header.file_meta.TransferSyntaxUID)))
    ae = AE("SCANNER")
    ae.requested_contexts = [build_context(*pair) for pair in sorted(contexts)]
    association = ae.associate("127.0.0.1", receiver.port, ae_title="PARASPINAL")

    statuses = {association.send_c_store(path).Status for path in files}  # by path: the bytes as they are
    association.release()

    assert statuses == {0x0000}
    received = {
        str(dcmread(path).SOPInstanceUID): data_set_bytes(path.read_bytes()) for path in spool.root.rglob("*.dcm")
    }
    assert received == expected
    assert MRImageStorage in {pair[0] for pair in contexts}
