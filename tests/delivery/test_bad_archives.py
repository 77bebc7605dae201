"""However an archive misbehaves: in the end it has each version of a result once, and the same bytes each time."""

import pytest

from node.calling import Caller
from node.delivery import DicomStorage
from node.records import DeliveryState
from node.settings import TlsSettings
from tests.delivery.bad_archive import FOR_GOOD, FOR_NOW, MODES, BadArchive
from tests.delivery.desk import REPORT, SEG, Desk, objects, peer

IMPATIENT = Caller("PARASPINAL", TlsSettings(), silence_s=0.5, limit_s=3.0)
OWED, STORED, PARKED = DeliveryState.OWED, DeliveryState.STORED, DeliveryState.PARKED


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_each_version_arrives_once_and_its_bytes_never_change(desk: Desk, mode: str) -> None:
    older = desk.owe()
    newer = desk.owe(objects(2))

    with BadArchive(mode, "ok") as archive:
        outbox = desk.outbox(DicomStorage(peer(archive.port), IMPATIENT))
        outbox.run_once(now=desk.now)
        at_first = {state for state, _ in desk.states(older)}
        desk.undelivered.owe_again(older, now=desk.now)  # before the newer one is sent
        for _ in range(4):
            desk.run(outbox, after_s=1000.0)

    assert {state for state, _ in desk.states(older) + desk.states(newer)} == {STORED}
    assert at_first == {PARKED if mode in FOR_GOOD else OWED if mode in FOR_NOW else STORED}
    digests = archive.digests()
    assert set(digests) == {SEG, REPORT, "2.25.77.3", "2.25.77.4"}
    assert {len(one) for one in digests.values()} == {1}
    order = [one.sop_instance for one in archive.stored if one.step != mode]
    assert order == sorted(order)  # what a version refers to before it, and the older version before the newer


@pytest.mark.slow
def test_a_bad_archive_keeps_no_other_waiting(desk: Desk) -> None:
    job = desk.owe(None, "pacs", "viewer")

    with BadArchive("hang", hang_s=2.0) as bad, BadArchive("ok") as good:
        slow = desk.outbox(DicomStorage(peer(bad.port), IMPATIENT))
        viewer = peer(good.port).model_copy(update={"name": "viewer"})
        desk.run(slow)
        desk.run(desk.outbox(DicomStorage(viewer, IMPATIENT)))

    assert {one.destination: one.state for one in desk.deliveries.rows(job) if one.role == "seg"} == {
        "pacs": OWED, "viewer": STORED,
    }  # fmt: skip


def test_an_object_is_the_same_in_whatever_encoding_it_comes() -> None:
    """Else a version that came twice, before and after a kill, looks like two."""
    with BadArchive("implicit", "ok") as archive:
        for _ in range(2):
            list(DicomStorage(peer(archive.port), IMPATIENT).deliver(objects()))

    assert [one.step for one in archive.stored] == ["implicit", "implicit", "ok", "ok"]
    assert {uid: len(digests) for uid, digests in archive.digests().items()} == {SEG: 1, REPORT: 1}
