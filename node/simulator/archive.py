"""An archive that receives: a C-STORE and C-ECHO SCP which keeps what it gets in files, and fails on demand."""

import hashlib
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.dsutils import encode
from pynetdicom.presentation import build_context
from pynetdicom.transport import ThreadedAssociationServer

from node.dicom.identifiers import parse_ae_title
from node.dimse import NO_DELAY, VERIFICATION
from node.errors import SimulatorError

_SUCCESS = 0x0000
_OUT_OF_RESOURCES = 0xA700  # PS3.4 table B.2-1: worth trying again
_CANNOT_UNDERSTAND = 0xC000  # PS3.4 table B.2-1
_SYNTAXES: list[str | UID] = [
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEG2000Lossless,
]


def digest_of(dataset: Dataset) -> str:
    """Return the SHA-256 of a data set as it goes over the network in its own transfer syntax."""
    syntax = dataset.file_meta.TransferSyntaxUID
    encoded = encode(dataset, syntax.is_implicit_VR, syntax.is_little_endian, syntax.is_deflated)
    if encoded is None:
        raise SimulatorError("a data set cannot be encoded in its own transfer syntax")
    return hashlib.sha256(encoded).hexdigest()


class Archive:
    """A PACS for tests and demonstrations; use it as a context manager, which listens from start to end.

    Parameters
    ----------
    folder : Path
        Where the instances are kept, one file each, named by SOP Instance UID. Made if missing.
    ae_title : str
        Its own title; calls to another one are rejected.
    port : int
        0: any free one; `port` says which.
    refuse_first : int
        How many attempts of each object are answered with 0xA700 before one is taken.
    """

    def __init__(self, folder: Path, *, ae_title: str = "ARCHIVE", port: int = 0, refuse_first: int = 0) -> None:
        self.folder = folder
        self.ae_title = parse_ae_title(ae_title)
        self.refuse_first = refuse_first
        self._wanted_port = port
        self._server: ThreadedAssociationServer | None = None
        self._changed = threading.Condition(threading.RLock())
        self._digests: dict[str, list[str]] = {}
        self._attempts: Counter[str] = Counter()

    def __enter__(self) -> "Archive":
        self.folder.mkdir(parents=True, exist_ok=True)
        entity = AE(ae_title=self.ae_title)
        entity.require_called_aet = True
        entity.supported_contexts = [
            build_context(str(one.abstract_syntax), _SYNTAXES) for one in AllStoragePresentationContexts
        ]
        entity.add_supported_context(VERIFICATION)
        handlers: list[Any] = [(evt.EVT_C_STORE, self._on_store), (evt.EVT_C_ECHO, lambda _: _SUCCESS), NO_DELAY]
        self._server = entity.start_server(("127.0.0.1", self._wanted_port), block=False, evt_handlers=handlers)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server = None

    @property
    def port(self) -> int:
        """The port it listens on.

        Raises
        ------
        SimulatorError
            Outside of its `with` block.
        """
        if self._server is None:
            raise SimulatorError("the archive does not listen: use it in a with block")
        return int(self._server.server_address[1])

    @property
    def digests(self) -> dict[str, tuple[str, ...]]:
        """SHA-256 of every data set that was taken, by SOP Instance UID, in the order of arrival."""
        with self._changed:
            return {instance: tuple(all_of_it) for instance, all_of_it in self._digests.items()}

    @property
    def attempts(self) -> dict[str, int]:
        """How often each SOP Instance UID was offered, refusals included."""
        with self._changed:
            return dict(self._attempts)

    def datasets(self) -> tuple[Dataset, ...]:
        """Return what it holds, read from its files, in the order of first arrival."""
        return tuple(dcmread(self._path(instance)) for instance in self.digests)

    def wait_for(self, predicate: Callable[["Archive"], bool], timeout_s: float) -> bool:
        """Wait until `predicate` of this archive holds; look at each arrival. Return whether it does."""
        with self._changed:
            return self._changed.wait_for(lambda: predicate(self), timeout_s)

    def _path(self, instance: str) -> Path:
        return self.folder / f"{instance}.dcm"

    def _on_store(self, event: evt.Event) -> int:
        try:
            request: Any = event.request
            instance = str(request.AffectedSOPInstanceUID)
            return self._store(instance, event.encoded_dataset(include_meta=False), event.encoded_dataset())
        except Exception:  # towards a peer a fault is a status; pynetdicom would log the exception's text
            return _CANNOT_UNDERSTAND

    def _store(self, instance: str, encoded: bytes, file: bytes) -> int:
        with self._changed:
            self._attempts[instance] += 1
            if self._attempts[instance] <= self.refuse_first:
                self._changed.notify_all()
                return _OUT_OF_RESOURCES
            part = self._path(instance).with_suffix(".part")
            part.write_bytes(file)
            part.replace(self._path(instance))  # whoever reads sees all of it or nothing
            self._digests.setdefault(instance, []).append(hashlib.sha256(encoded).hexdigest())
            self._changed.notify_all()
        return _SUCCESS
