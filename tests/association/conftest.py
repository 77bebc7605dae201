"""A receiver on a port of its own, in a temporary folder."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from node.association import Receiver
from node.ledger import open_database
from node.ledger.ledger import Ledger
from node.settings import Settings
from node.spool import Spool, SpoolReader
from tests.association.raw import RawPeer
from tests.association.test_tls import Authority
from tests.peers import until

SETTINGS: dict[str, Any] = {
    "association": {"bind": "127.0.0.1", "port": 0, "idle_timeout_s": 5.0, "request_timeout_s": 2.0},
    "peer": [{"ae_title": "*", "addresses": ["127.0.0.1"]}],
}


class Held:
    """A receiver, and what it holds."""

    def __init__(
        self,
        folder: Path,
        *,
        spool: dict[str, Any] | None = None,
        authority: Authority | None = None,
        **association: Any,
    ) -> None:
        self.folder, self._stopped, self.authority = folder, False, authority
        tls = {"tls": authority.settings()} if authority else {}
        settings = Settings.checked(SETTINGS | {"association": SETTINGS["association"] | association} | tls)
        self.spool = Spool(folder / "spool", **({"segment_bytes": 1 << 20, "spare": 1} | (spool or {})))
        self.ledger = Ledger(open_database(folder / "node.db"))
        self.receiver = Receiver(settings, self.spool, self.ledger.database)
        self.receiver.start()

    @property
    def port(self) -> int:
        return self.receiver.port

    def call(self) -> RawPeer:
        """Return a peer of bytes, over TLS if that is what the receiver speaks."""
        return RawPeer(self.port, tls=self.authority.client() if self.authority else None)

    def files(self, sop_instance: str) -> list[bytes]:
        """Return the Part 10 bytes of all that is held under a SOP Instance UID."""
        reader = SpoolReader(self.folder / "spool")
        return [bytes(reader.read(one.place)) for one in self.receiver.register.versions(sop_instance)]

    def counts(self) -> dict[str, int]:
        return self.ledger.counts()

    def stop(self, *, drain_s: float = 0.0) -> None:
        if not self._stopped:
            self._stopped = True
            self.receiver.stop(drain_s=drain_s)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
def layer(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What to give to `start`, so that the test is run in the clear and over TLS."""
    return {"authority": request.getfixturevalue("authority")} if request.param else {}


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Held]]:
    """Give a function that starts a receiver; the last one is stopped at the end."""
    started: list[Held] = []

    def start_one(**options: Any) -> Held:
        started.append(Held(tmp_path, **options))
        return started[-1]

    yield start_one
    started[-1].stop()


@pytest.fixture
def held(start: Callable[..., Held]) -> Held:
    return start()


def rows(held: Held, wanted: int) -> None:
    """Wait until the ledger has so many instances: rows follow the records."""
    until(lambda: held.counts()["instances"] == wanted, 5.0, what=f"{wanted} rows")
