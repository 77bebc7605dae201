"""What holds of every destination, ours and a plug-in's: put yours into `KINDS` and run this file."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from node import plugins
from node.calling import Caller
from node.errors import DeliveryError
from node.ports import Destination
from node.settings import DestinationSettings, TlsSettings
from node.simulator.archive import Archive
from tests.builders import part10
from tests.delivery.desk import REPORT, SEG, objects
from tests.delivery.test_stow import Origin

CALLER = Caller("PARASPINAL", TlsSettings(), silence_s=2.0, limit_s=10.0)
NOTHING: Mapping[str, tuple[str, str]] = {}
Held = Callable[[], set[str]]  # the SOP Instance UIDs that are there
Living = Callable[[Path], AbstractContextManager[tuple[DestinationSettings, Held]]]


@contextmanager
def dicom(folder: Path) -> Iterator[tuple[DestinationSettings, Held]]:
    with Archive(folder / "archive") as archive:
        yield DestinationSettings(name="here", port=archive.port), lambda: set(archive.digests)


@contextmanager
def a_folder(folder: Path) -> Iterator[tuple[DestinationSettings, Held]]:
    out = folder / "out"
    yield (
        DestinationSettings(name="here", kind="folder", folder=out),
        lambda: {str(dcmread(file).SOPInstanceUID) for file in out.iterdir()},
    )


@contextmanager
def dicomweb(_folder: Path) -> Iterator[tuple[DestinationSettings, Held]]:
    origin = Origin()
    try:
        yield (
            DestinationSettings(name="here", kind="dicomweb", options={"url": origin.url}),
            lambda: {uid for uid in (SEG, REPORT) if any(_is_of(uid, body) for _, _, body in origin.requests)},
        )
    finally:
        origin.stop()


def _is_of(uid: str, body: bytes) -> bool:
    return b"\x08\x00\x18\x00UI" + len(uid + "\0" * (len(uid) % 2)).to_bytes(2, "little") + uid.encode() in body


def unreachable(kind: str, folder: Path) -> DestinationSettings:
    """Return settings of a destination of a kind that is not there."""
    (folder / "file").touch()
    return DestinationSettings(
        name="here", kind=kind, port=1, folder=folder / "file" / "out", options={"url": "http://127.0.0.1:1"}
        if kind == "dicomweb" else {},
    )  # fmt: skip


KINDS: dict[str, Living] = {"dicom": dicom, "folder": a_folder, "dicomweb": dicomweb}
pytestmark = pytest.mark.parametrize("kind", KINDS)


def made(settings: DestinationSettings) -> Destination:
    """Return a destination as the node makes it: by the entry point of its kind."""
    destination: Destination = plugins.load("destinations", settings.kind)(settings, CALLER)
    return destination


def test_it_has_the_name_of_the_settings(kind: str, tmp_path: Path) -> None:
    with KINDS[kind](tmp_path) as (settings, _):
        assert made(settings).name == "here"


def test_each_object_is_answered_under_its_own_uid_in_order_and_is_there(kind: str, tmp_path: Path) -> None:
    with KINDS[kind](tmp_path) as (settings, held):
        answers = list(made(settings).deliver(objects(), NOTHING))

        assert [(one.sop_instance, one.stored, one.sent) for one in answers] == [
            (SEG, True, None),
            (REPORT, True, None),
        ]
        assert held() == {SEG, REPORT}


def test_what_comes_again_after_a_crash_is_taken_again_as_the_same(kind: str, tmp_path: Path) -> None:
    with KINDS[kind](tmp_path) as (settings, held):
        destination = made(settings)
        answers = [one for _ in range(2) for one in destination.deliver(objects(), NOTHING)]

        assert all(one.stored for one in answers)
        assert held() == {SEG, REPORT}


def test_whoever_stops_listening_in_the_middle_can_go_on_later(kind: str, tmp_path: Path) -> None:
    with KINDS[kind](tmp_path) as (settings, held):
        destination = made(settings)
        next(iter(destination.deliver(objects(), NOTHING)))
        list(destination.deliver(objects()[1:], NOTHING))

        assert held() == {SEG, REPORT}


def test_the_objects_stay_as_they_are(kind: str, tmp_path: Path) -> None:
    given: list[Dataset] = objects()
    before = [part10(one) for one in given]

    with KINDS[kind](tmp_path) as (settings, _):
        list(made(settings).deliver(given, NOTHING))

    assert [part10(one) for one in given] == before


def test_a_destination_that_is_not_there_is_a_delivery_error_in_our_own_words(kind: str, tmp_path: Path) -> None:
    with pytest.raises(DeliveryError) as raised:
        list(made(unreachable(kind, tmp_path)).deliver(objects(), NOTHING))

    assert "SECRET" not in str(raised.value)
    assert not any(one.SOPInstanceUID in str(raised.value) for one in objects())
