"""The receiver, called by real associations over a real socket, by pynetdicom and by a peer of bytes."""

import errno
import logging
import os
import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian, JPEGLosslessSV1
from pynetdicom import AE, build_context
from pynetdicom.association import Association

from node.association.conformance import STORAGE_CLASSES, STORAGE_COMMITMENT, TRANSFER_SYNTAXES
from node.association.greeting import Connection
from node.dimse import await_reader
from node.records import StudyState
from tests.association.conftest import Held, rows
from tests.association.raw import CONTEXTS, EXPLICIT, MR, VERIFICATION, RawPeer, associate_rq, item
from tests.builders import SECRET, STUDY, data_set_bytes, mr, part10
from tests.conftest import shared
from tests.peers import until

BOTH_LANES = pytest.mark.parametrize("careful", [False, True], ids=["bulk lane", "careful lane"])


def associate(
    held: Held, *datasets: Dataset, called: str = "PARASPINAL", calling: str = "SCANNER", careful: bool = False
) -> Association:
    ae = AE(calling)
    wanted = {(str(one.SOPClassUID), str(one.file_meta.TransferSyntaxUID)) for one in datasets}
    wanted |= {(VERIFICATION, str(ImplicitVRLittleEndian))}
    wanted |= {(STORAGE_COMMITMENT, EXPLICIT)} if careful else set()
    ae.requested_contexts = [build_context(*pair) for pair in sorted(wanted)]
    return ae.associate("127.0.0.1", held.port, ae_title=called)


def send(held: Held, *datasets: Dataset, careful: bool = False) -> list[Dataset]:
    association = associate(held, *datasets, careful=careful)
    assert association.is_established
    answers = [stored(association, one) for one in datasets]
    association.release()
    return answers


def stored(association: Association, one: Dataset | Path) -> Dataset:
    """Return the answer to a C-STORE, in an association that may have sent something before."""
    await_reader(association)
    return association.send_c_store(one)


@BOTH_LANES
def test_an_echo_is_answered(held: Held, careful: bool) -> None:
    association = associate(held, careful=careful)

    assert association.send_c_echo().Status == 0x0000
    association.release()


@BOTH_LANES
def test_an_instance_is_held_byte_for_byte_when_success_is_said(held: Held, careful: bool) -> None:
    instance = mr()

    (answer,) = send(held, instance, careful=careful)

    assert answer.Status == 0x0000
    assert [data_set_bytes(content) for content in held.files("2.25.1")] == [data_set_bytes(part10(instance))]
    rows(held, 1)


@BOTH_LANES
def test_an_instance_sent_twice_is_kept_once(held: Held, careful: bool) -> None:
    answers = send(held, mr(), mr(), careful=careful)

    assert [answer.Status for answer in answers] == [0x0000, 0x0000]
    assert len(held.files("2.25.1")) == 1
    rows(held, 1)


@pytest.mark.parametrize(("policy", "status"), [("warn", 0xB000), ("refuse", 0xC001)])
@BOTH_LANES
def test_other_content_under_the_same_uid_is_kept_too_and_holds_the_study(
    start: Callable[..., Held], caplog: pytest.LogCaptureFixture, policy: str, status: int, careful: bool
) -> None:
    held = start(on_conflict=policy)

    with caplog.at_level(logging.INFO, logger="paraspinal-node"):
        answers = send(held, mr(), mr(RepetitionTime=600), mr(RepetitionTime=600), mr(), careful=careful)
        until(lambda: "A213" in caplog.text, 5.0, what="the study to be held")

    assert [answer.Status for answer in answers] == [0x0000, status, status, 0x0000]
    assert all("UID" in answer.ErrorComment for answer in answers[1:3])
    assert len(held.files("2.25.1")) == 2
    (row,) = held.ledger.study_rows()
    assert row.state is StudyState.HELD
    assert caplog.text.count("A212") == 1


def test_one_study_with_two_patients_is_held(held: Held) -> None:
    answers = send(held, mr("2.25.1"), mr("2.25.2", PatientID="ANOTHER"))
    rows(held, 2)

    assert [answer.Status for answer in answers] == [0x0000, 0x0000]
    assert held.ledger.study_rows()[0].state is StudyState.HELD


@BOTH_LANES
def test_an_instance_without_a_study_is_refused_with_a_comment(held: Held, careful: bool) -> None:
    (answer,) = send(held, mr(StudyInstanceUID=None), careful=careful)

    assert (answer.Status, answer.ErrorComment) == (0xC000, "StudyInstanceUID is missing or malformed")
    assert held.files("2.25.1") == []


@BOTH_LANES
def test_a_data_set_of_another_instance_than_the_command_says_is_refused(held: Held, careful: bool) -> None:
    contexts = [(1, VERIFICATION, EXPLICIT), (3, MR, EXPLICIT)]
    contexts += [(5, STORAGE_COMMITMENT, EXPLICIT)] if careful else []
    with RawPeer(held.port) as peer:
        peer.associate(contexts=contexts)
        status = peer.store(data_set_bytes(part10(mr("2.25.2"))), sop_instance="2.25.1")

    assert status == 0xA900
    assert held.files("2.25.1") == held.files("2.25.2") == []


@pytest.mark.parametrize("uid", ["../../../tmp/x", "1.2.840/..", "a" * 64])
def test_a_uid_that_is_none_never_reaches_the_disk(held: Held, uid: str) -> None:
    instance = mr()
    instance.add_new("SeriesInstanceUID", "UI", uid)

    (answer,) = send(held, instance)

    assert answer.Status == 0xC000
    assert held.files("2.25.1") == []


@BOTH_LANES
def test_a_full_disk_is_answered_with_out_of_resources_and_the_echo_lives(
    start: Callable[..., Held], careful: bool
) -> None:
    held = start(spool={"floor_bytes": 1 << 62})
    association = associate(held, mr(), careful=careful)

    answer = association.send_c_store(mr())
    await_reader(association)
    echo = association.send_c_echo()
    association.release()

    assert (answer.Status, answer.ErrorComment) == (0xA700, "The disk of the node is full: its floor is reached")
    assert echo.Status == 0x0000
    assert held.counts()["instances"] == 0


@pytest.mark.parametrize(("call", "number"), [("fdatasync", errno.EIO), ("pwritev", errno.ENOSPC)])
def test_a_disk_that_refuses_is_answered_and_the_next_instance_is_taken(
    held: Held, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    until(lambda: held.spool.sealed() == set(), what="the pool")  # the filler is done
    time.sleep(0.2)
    original, failures = getattr(os, call), [OSError(number, "no /secret/path")]

    def failing(descriptor: int, *rest: Any) -> Any:
        if failures and Path(f"/proc/self/fd/{descriptor}").readlink().suffix == ".segment":
            raise failures.pop()
        return original(descriptor, *rest)

    monkeypatch.setattr(os, call, failing)

    first, second = send(held, mr("2.25.1"), mr("2.25.2"))

    assert first.Status == 0xA700
    assert "secret" not in first.ErrorComment
    assert held.files("2.25.1") == []
    assert second.Status == 0x0000


@BOTH_LANES
def test_every_storage_class_is_accepted_in_every_syntax(held: Held, careful: bool) -> None:
    most = 127 if careful else 128  # an association has at most 128 contexts, PS3.8 9.3.2
    for syntax in TRANSFER_SYNTAXES[:: 4 if careful else 1]:
        for begin in range(0, len(STORAGE_CLASSES), most):
            some = STORAGE_CLASSES[begin : begin + most]
            ae = AE("SCANNER")
            ae.requested_contexts = [build_context(one, syntax) for one in some]
            if careful:
                ae.add_requested_context(STORAGE_COMMITMENT)
            association = ae.associate("127.0.0.1", held.port, ae_title="PARASPINAL")
            accepted = {context.abstract_syntax for context in association.accepted_contexts}
            assert accepted == {*some, *([STORAGE_COMMITMENT] if careful else [])}
            association.release()


@BOTH_LANES
def test_of_several_syntaxes_in_a_context_the_first_of_the_table_is_accepted(held: Held, careful: bool) -> None:
    ae = AE("SCANNER")
    ae.add_requested_context(MR, [TRANSFER_SYNTAXES[7], TRANSFER_SYNTAXES[1], TRANSFER_SYNTAXES[3]])
    if careful:
        ae.add_requested_context(STORAGE_COMMITMENT)
    association = ae.associate("127.0.0.1", held.port, ae_title="PARASPINAL")
    accepted = {one.abstract_syntax: one.transfer_syntax for one in association.accepted_contexts}
    association.release()

    assert accepted[MR] == [TRANSFER_SYNTAXES[1]]


def test_compressed_pixels_are_stored_as_sent_even_if_they_are_garbage(held: Held) -> None:
    instance = mr()
    instance.file_meta.TransferSyntaxUID = JPEGLosslessSV1
    fragment = b"\xfe\xff\x00\xe0\x00\x00\x00\x00" + b"\xfe\xff\x00\xe0\x08\x00\x00\x00notajpeg"
    instance["PixelData"].value = fragment + b"\xfe\xff\xdd\xe0\x00\x00\x00\x00"
    instance["PixelData"].is_undefined_length = True

    (answer,) = send(held, instance)

    assert answer.Status == 0x0000
    (content,) = held.files("2.25.1")
    assert data_set_bytes(content) == data_set_bytes(part10(instance))


def test_a_file_that_is_held_can_be_read_by_pydicom(held: Held, tmp_path: Any) -> None:
    send(held, mr())
    (content,) = held.files("2.25.1")
    (tmp_path / "one.dcm").write_bytes(content)

    read = dcmread(tmp_path / "one.dcm")

    assert (read.SOPInstanceUID, read.file_meta.MediaStorageSOPInstanceUID) == ("2.25.1", "2.25.1")
    assert read.preamble == bytes(128)
    assert read.file_meta.FileMetaInformationGroupLength == content.index(data_set_bytes(content)) - 144


# ---------------------------------------------------------------- who is let in


def test_an_association_for_somebody_else_is_rejected(held: Held) -> None:
    with RawPeer(held.port) as peer:
        assert peer.associate(called="OTHER") == b"\x03\0\0\0\0\4\0\x01\x01\x07"


@BOTH_LANES
def test_a_protocol_that_is_not_dicoms_is_rejected(held: Held, careful: bool) -> None:
    contexts = (*CONTEXTS, (9, STORAGE_COMMITMENT, EXPLICIT)) if careful else CONTEXTS
    for asked, answer in {
        ("version", 0): b"\x01\x02\x02",  # permanent, service provider (ACSE), protocol version
        ("version", 2): b"\x01\x02\x02",
        ("application_context", "1.2.3"): b"\x01\x01\x02",  # permanent, service user, application context name
        ("application_context", ""): b"\x01\x01\x02",
    }.items():
        with RawPeer(held.port) as peer:
            assert peer.associate(contexts=contexts, **dict([asked])) == b"\x03\0\0\0\0\4\0" + answer


def test_of_the_protocol_version_only_bit_0_counts(held: Held) -> None:
    with RawPeer(held.port) as peer:
        assert peer.associate(version=3)[0] == 2


def test_a_refusal_names_address_and_titles_and_nothing_that_could_be_read_as_a_field(
    held: Held, caplog: pytest.LogCaptureFixture
) -> None:
    with RawPeer(held.port) as peer:
        peer.associate(called="OTHER A120", calling="SCAN NER")

    until(lambda: "A110" in caplog.text, what="the line")
    assert "peer=SCAN?NER called=OTHER?A120 address=127.0.0.1" in caplog.text


def test_without_a_peer_in_the_settings_nobody_is_let_in(start: Callable[..., Held], monkeypatch: Any) -> None:
    monkeypatch.setitem(__import__("tests.association.conftest", fromlist=["SETTINGS"]).SETTINGS, "peer", [])
    held = start()

    with RawPeer(held.port) as peer:
        assert peer.pdu() == b""  # closed before a word was read


def test_more_associations_than_allowed_are_rejected_for_now(start: Callable[..., Held]) -> None:
    held = start(max_associations=1)
    with RawPeer(held.port) as first, RawPeer(held.port) as second:
        first.associate()
        assert second.associate() == b"\x03\0\0\0\0\4\0\x02\x03\x02"  # transient, local limit exceeded

    def free() -> bool:
        with RawPeer(held.port) as third:
            return third.associate()[0] == 2

    assert until(free, 5.0, what="a free slot")


def test_a_window_of_operations_and_a_user_identity_are_answered(held: Held) -> None:
    window = item(0x53, (8).to_bytes(2, "big") + (8).to_bytes(2, "big"))
    name = b"somebody"
    identity = item(0x58, bytes((1, 1)) + len(name).to_bytes(2, "big") + name + bytes(2))
    unknown = item(0x56, (len(MR)).to_bytes(2, "big") + MR.encode() + b"\1\1")  # SOP Class Extended Negotiation
    with RawPeer(held.port) as peer:
        accepted = peer.associate(user_information=window + identity + unknown)

        assert accepted[0] == 2
        assert item(0x53, b"\0\1\0\1") in accepted
        assert item(0x59, b"\0\0") in accepted
        assert peer.echo() == 0


@pytest.mark.parametrize(
    ("proposed", "answered", "result"),
    [((1, 0), (1, 0), 0), ((1, 1), (1, 0), 0), ((0, 1), None, 1), ((0, 0), None, 1), (None, None, 0)],
)
def test_a_peer_may_be_scu_of_storage_and_nothing_else(
    held: Held, proposed: tuple[int, int] | None, answered: tuple[int, int] | None, result: int
) -> None:
    def role(pair: tuple[int, int]) -> bytes:
        return item(0x54, len(MR).to_bytes(2, "big") + MR.encode() + bytes(pair))

    with RawPeer(held.port) as peer:
        accepted = peer.associate(user_information=role(proposed) if proposed else b"")

        assert accepted[0] == 2
        assert accepted.count(MR.encode()) == (answered is not None)
        assert answered is None or role(answered) in accepted
        results = {accepted[at + 4]: accepted[at + 6] for at in _items(accepted)}
        assert results == {1: 0, 3: result, 5: result, 7: result}
        assert peer.echo() == 0
        if not result:
            assert peer.store(data_set_bytes(part10(mr()))) == 0


def _items(accepted: bytes) -> list[int]:
    """Return where the presentation contexts of an A-ASSOCIATE-AC begin."""
    found, at = [], 74
    while at < len(accepted):
        if accepted[at] == 0x21:
            found.append(at)
        at += 4 + int.from_bytes(accepted[at + 2 : at + 4])
    return found


def test_a_user_identity_is_not_answered_where_the_site_says_so(start: Callable[..., Held]) -> None:
    held = start(user_identity="ignore")
    identity = item(0x58, bytes((1, 1)) + (1).to_bytes(2, "big") + b"x" + bytes(2))
    with RawPeer(held.port) as peer:
        accepted = peer.associate(user_information=identity)

    assert accepted[0] == 2
    assert b"\x59\0" not in accepted[74:]


def test_no_patient_is_named_in_the_log(held: Held, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), caplog.at_level(logging.DEBUG, "paraspinal-node"):  # whoever set it before
        send(held, mr(), mr(RepetitionTime=600), mr("2.25.2", StudyInstanceUID=None))
        rows(held, 2)

    assert "A200" in caplog.text
    assert SECRET not in caplog.text
    assert "SECRET-ID" not in caplog.text
    assert STUDY not in caplog.text


@BOTH_LANES
def test_a_peer_that_resets_behind_its_request_is_no_error_of_ours(
    held: Held, caplog: pytest.LogCaptureFixture, careful: bool
) -> None:
    request = associate_rq(contexts=(*CONTEXTS, (9, STORAGE_COMMITMENT, EXPLICIT)) if careful else CONTEXTS)
    with socket.create_server(("127.0.0.1", 0)) as server:
        peer = socket.create_connection(server.getsockname())
        accepted, (address, port) = server.accept()
        peer.sendall(request)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()

    if not careful:  # Linux keeps what came before a reset; it may be lost all the same
        accepted.recv(len(request))

    held.receiver._gate._served(Connection(accepted, address, port, request))

    assert "A111" not in caplog.text


# ---------------------------------------------------------------- start and stop


def test_what_was_acknowledged_before_a_crash_is_known_after_it(start: Callable[..., Held]) -> None:
    crashed = start()
    send(crashed, mr("2.25.1"))
    crashed.spool._held.close()  # as the kernel does for a process that was killed

    again = start()

    assert len(again.files("2.25.1")) == 1
    assert [answer.Status for answer in send(again, mr("2.25.1"))] == [0x0000]
    assert again.counts()["instances"] == 1


def test_a_stopped_receiver_takes_no_connection(held: Held) -> None:
    port = held.port

    held.stop()

    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


@BOTH_LANES
def test_a_running_association_may_end_by_itself_when_the_receiver_stops(held: Held, careful: bool) -> None:
    association = associate(held, mr(), careful=careful)

    stopping = threading.Thread(target=held.stop, kwargs={"drain_s": 10.0})
    stopping.start()
    status = association.send_c_store(mr()).Status
    association.release()
    stopping.join(timeout=10.0)

    assert status == 0x0000
    assert not stopping.is_alive()


@BOTH_LANES
def test_an_idle_association_does_not_hold_up_a_stop_for_long(held: Held, careful: bool) -> None:
    association = associate(held, careful=careful)

    began = time.monotonic()
    held.stop(drain_s=0.2)

    assert time.monotonic() - began < 5.0
    until(lambda: association.is_aborted or not association.is_established, 5.0, what="the abort")


@pytest.mark.slow
@BOTH_LANES
def test_real_vendor_instances_are_held_byte_for_byte(held: Held, careful: bool) -> None:
    files = [path for path in sorted(shared("data", "vendor_pack_dcm_qa").rglob("*.dcm")) if path.is_file()]
    headers = {path: dcmread(path, stop_before_pixels=True) for path in files}
    contexts = {(str(one.SOPClassUID), str(one.file_meta.TransferSyntaxUID)) for one in headers.values()}
    ae = AE("SCANNER")
    ae.requested_contexts = [build_context(*pair) for pair in sorted(contexts)]
    if careful:
        ae.add_requested_context(STORAGE_COMMITMENT)
    association = ae.associate("127.0.0.1", held.port, ae_title="PARASPINAL")

    statuses = {stored(association, path).Status for path in files}  # by path: the bytes as they are
    association.release()

    assert statuses == {0x0000}
    for path, header in headers.items():
        assert [data_set_bytes(one) for one in held.files(str(header.SOPInstanceUID))] == [
            data_set_bytes(path.read_bytes())
        ]


def test_a_large_instance_of_the_careful_lane_leaves_nothing_but_itself(held: Held) -> None:
    large = mr(Rows=1024, Columns=1024, PixelData=os.urandom(2 << 20))
    association = associate(held, large, careful=True)
    assert association.send_c_store(large).Status == 0x0000
    association.abort()

    assert [data_set_bytes(one) for one in held.files("2.25.1")] == [data_set_bytes(part10(large))]
    until(lambda: not list((held.folder / "spool" / "careful").iterdir()), 5.0, what="the folder to be empty")
