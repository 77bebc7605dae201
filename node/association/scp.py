"""The application entity that peers call."""

import time
from typing import Any

from pynetdicom import AE, evt
from pynetdicom.transport import ThreadedAssociationServer

from node.association import conformance
from node.association.handlers import StoreHandler
from node.dimse import NO_DELAY
from node.ledger import Ledger
from node.settings import AssociationSettings
from node.spool import Spool

_DRAIN_POLL_S = 0.05
# A connection that says nothing (a port scan, a health check) holds one of the associations for so long, even if it
# is closed: pynetdicom 3.0.4 waits in Sta1. Chosen.
_LONGEST_GREETING_S = 10.0


class Receiver:
    """Answers C-ECHO and C-STORE from `start` to `stop`."""

    def __init__(self, settings: AssociationSettings, spool: Spool, ledger: Ledger) -> None:
        self._settings = settings
        self._store = StoreHandler(spool, ledger)
        self._ae = AE(settings.ae_title)
        self._ae.supported_contexts = conformance.contexts()
        self._ae.require_called_aet = settings.require_called_ae
        self._ae.require_calling_aet = list(settings.allowed_calling_ae)
        self._ae.maximum_associations = settings.max_associations
        self._ae.maximum_pdu_size = settings.max_pdu_bytes
        self._ae.network_timeout = settings.network_timeout_s
        self._ae.dimse_timeout = settings.network_timeout_s
        self._ae.acse_timeout = min(settings.network_timeout_s, _LONGEST_GREETING_S)
        self._server: ThreadedAssociationServer | None = None

    @property
    def port(self) -> int:
        """The TCP port it listens on; of interest where the settings say 0."""
        listening: Any = self._server
        return int(listening.socket.getsockname()[1])

    def start(self) -> None:
        """Begin to answer; OSError if the port cannot be had."""
        handlers: list[Any] = [
            NO_DELAY,
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_C_ECHO, lambda _event: 0x0000),
        ]
        self._server = self._ae.start_server(
            (self._settings.bind, self._settings.port), block=False, evt_handlers=handlers
        )

    def stop(self, *, drain_s: float) -> None:
        """Take no more associations, let the running ones end by themselves for `drain_s`, then abort them."""
        if self._server is None:
            return
        self._server.shutdown()
        self._server = None
        deadline = time.monotonic() + drain_s
        while any(one.is_established for one in self._ae.active_associations) and time.monotonic() < deadline:
            time.sleep(_DRAIN_POLL_S)
        for association in self._ae.active_associations:
            # Before a peer has greeted there is nothing to abort: pynetdicom's state machine would raise.
            association.abort() if association.is_established else association.kill()
