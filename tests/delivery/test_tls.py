"""Destinations over TLS: our own receiver is one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from node.association.receiver import Receiver
from node.calling import Caller
from node.delivery import DicomStorage, echo
from node.errors import DeliveryError, SettingsError
from node.ledger import Database
from node.retrieval import Archive
from node.settings import ArchiveSettings, DestinationSettings, Settings, TlsSettings
from node.spool import Spool
from tests.association.test_tls import Authority
from tests.delivery.desk import objects


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def port(authority: Authority, database: Database, spool: Spool) -> Iterator[int]:
    settings = Settings.checked(
        {
            "association": {"bind": "127.0.0.1", "port": 0},
            "tls": authority.settings("server").model_dump(),
            "peer": [{"ae_title": "*", "addresses": ["127.0.0.0/8"], "tls_subject": "client"}],
        }
    )
    receiver = Receiver(settings, spool, database)
    receiver.start()
    yield receiver.port
    receiver.stop(drain_s=0.0)


def peer(port: int, **settings: object) -> DestinationSettings:
    values = {"name": "pacs", "ae_title": "PARASPINAL", "port": port, "tls": True, "tls_name": "server"} | settings
    return DestinationSettings.model_validate(values)


def caller(tls: TlsSettings) -> Caller:
    return Caller("NODE", tls, silence_s=3.0, limit_s=10.0)


def test_objects_go_over_tls_with_our_certificate(port: int, authority: Authority) -> None:
    answers = list(DicomStorage(peer(port), caller(authority.settings("client"))).deliver(objects()))

    assert [one.stored for one in answers] == [True, True]


@pytest.mark.parametrize(
    ("ours", "settings", "why"),
    [
        ("client", {"tls_name": "another"}, "its certificate does not count: Hostname mismatch"),  # somebody else's
        ("client", {"tls_name": ""}, "its certificate does not count: IP address mismatch"),  # nor the host's
        ("client", {"tls": False}, "no answer that is DICOM"),
        ("revoked-by-nobody", {}, "its certificate does not count: "),
    ],
)
def test_whoever_is_not_who_the_settings_say_gets_nothing(
    port: int, authority: Authority, ours: str, settings: dict[str, object], why: str
) -> None:
    tls = authority.settings("client") if ours == "client" else authority.settings("client", ca="rogue.crt")

    with pytest.raises(DeliveryError, match=f"no association with 127.0.0.1:{port}: {why}"):
        list(DicomStorage(peer(port, **settings), caller(tls)).deliver(objects()))


def test_a_file_that_is_missing_is_told_in_our_words(port: int, authority: Authority, tmp_path: Path) -> None:
    tls = authority.settings("client").model_copy(update={"key": tmp_path / "missing.key"})

    with pytest.raises(SettingsError, match=r"\[tls\]: a file is not usable"):
        echo(peer(port), caller(tls))


def test_an_archive_is_asked_over_tls_too(port: int, authority: Authority) -> None:
    settings = ArchiveSettings(name="pacs", ae_title="PARASPINAL", port=port, tls=True, tls_name="server")

    status = Archive(settings, calling_ae="NODE", silence_s=3.0, tls=authority.settings("client")).echo()

    assert status == 0x0000
