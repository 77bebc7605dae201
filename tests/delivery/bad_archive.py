"""An archive that misbehaves by a script: each association takes the next step, the last one repeats."""

import hashlib
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.dsutils import encode

VERIFICATION, IMPLICIT, EXPLICIT = "1.2.840.10008.1.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
FOR_GOOD = ("refuse", "noctx", "a900", "0122")
WARNINGS = ("b000", "b006", "b007")
FOR_NOW = ("transient", "drop", "a700", "c000", "abort", "close", "hang", "stall")
MODES = (*FOR_GOOD, *WARNINGS, *FOR_NOW, "implicit")


@dataclass(frozen=True)
class Stored:
    """A data set that was stored: by which association's step, and the digest of its bytes in Implicit VR."""

    sop_instance: str
    digest: str
    step: str


class BadArchive:
    """Its steps:

    refuse, transient   A-ASSOCIATE-RJ, for good (calling AE title not recognized) or for now (local limit exceeded)
    drop                closes at the association request
    noctx, implicit     accepts no storage class; accepts Implicit VR Little Endian alone
    a700 a900 c000 0122 that failure, nothing stored
    b000 b006 b007      that warning, stored
    abort, close        stores, then aborts, or closes the connection, in place of the answer
    hang                stores, and answers after `hang_s`
    stall               says half of its A-ASSOCIATE-AC, and then nothing more
    ok                  stores, 0x0000
    """

    def __init__(self, *script: str, hang_s: float = 1.0) -> None:
        self.stored: list[Stored] = []
        self.associations = 0
        self._script, self._hang_s, self._lock = script, hang_s, threading.Lock()
        ae = AE("ARCHIVE")
        ae.maximum_associations = 100
        for one in AllStoragePresentationContexts:
            ae.add_supported_context(str(one.abstract_syntax), [EXPLICIT, IMPLICIT])
        ae.add_supported_context(VERIFICATION)
        handlers: list[Any] = [(evt.EVT_REQUESTED, self._requested), (evt.EVT_C_STORE, self._store)]
        self._server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        self.port = int(self._server.socket.getsockname()[1])

    def __enter__(self) -> "BadArchive":
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()

    def digests(self) -> dict[str, set[str]]:
        """Return the digests of all that was stored, by SOP Instance UID."""
        found: dict[str, set[str]] = {}
        with self._lock:
            for one in self.stored:
                found.setdefault(one.sop_instance, set()).add(one.digest)
        return found

    def _requested(self, event: evt.Event) -> None:
        with self._lock:
            step = self._script[min(self.associations, len(self._script) - 1)]
            self.associations += 1
        association: Any = event.assoc
        association.step = step
        contexts: Sequence[Any] = association.acceptor.supported_contexts
        match step:
            case "refuse" | "transient":
                association.acse.send_reject(*((1, 1, 3) if step == "refuse" else (2, 3, 2)))
                association.kill()
            case "drop":
                association.dul.socket.close()
            case "stall":
                association.dul.socket.socket.sendall(bytes([0x02, 0, 0, 0, 1, 0, 0, 1]))
                time.sleep(self._hang_s)
                association.dul.socket.close()
            case "noctx":
                association.acceptor.supported_contexts = [c for c in contexts if c.abstract_syntax == VERIFICATION]
            case "implicit":
                for one in contexts:
                    one.transfer_syntax = [IMPLICIT]
                association.acceptor.supported_contexts = contexts

    def _store(self, event: evt.Event) -> int:
        association: Any = event.assoc
        step = association.step
        if step in ("a700", "a900", "c000", "0122"):
            return int(step, 16)
        # In one encoding whatever was negotiated: with "implicit" the same object comes in other bytes.
        encoded = encode(event.dataset, is_implicit_vr=True, is_little_endian=True)
        assert encoded is not None
        digest = hashlib.sha256(encoded).hexdigest()
        with self._lock:
            self.stored.append(Stored(str(event.request.AffectedSOPInstanceUID), digest, step))
        match step:
            case "abort":
                association.abort()
            case "close":
                association.dul.socket.close()
            case "hang":
                time.sleep(self._hang_s)
        return int(step, 16) if step in WARNINGS else 0x0000
