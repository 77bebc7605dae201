"""The courier: takes what a C-GET brings to our own receiver, by C-STORE over loopback, byte for byte.

A spool has one process that writes in it, the receiver; only that may say `0x0000`. So the archive gets the receiver's
answer to each instance, and an instance that was answered with it is as durable as any other.
"""

import contextlib
import tempfile
from collections.abc import Collection, Iterator
from ipaddress import ip_address
from pathlib import Path

from pynetdicom import AE, _config, build_context
from pynetdicom.association import Association

from node.dicom import part10
from node.dicom.identifiers import InstanceUID, SeriesUID, StudyUID
from node.dimse import NO_DELAY, await_reader
from node.errors import RetrievalError
from node.retrieval.archive import BROUGHT_BY_GET, Archive, Instance
from node.settings import AssociationSettings

_CANNOT_BE_STORED = 0xA700  # PS3.4 table B.2-1


class Courier:
    """An archive without C-MOVE, as a source for the puller."""

    def __init__(self, archive: Archive, receiver: AssociationSettings, *, silence_s: float) -> None:
        self._archive, self._receiver, self._silence_s = archive, receiver, silence_s

    @property
    def name(self) -> str:
        """The archive's."""
        return self._archive.name

    def instances(self, study: StudyUID, series: SeriesUID) -> frozenset[InstanceUID]:
        """Return the instances of a series that the archive has."""
        return self._archive.instances(study, series)

    def send(
        self, study: StudyUID, series: SeriesUID, instances: Collection[InstanceUID] = (), *, limit_s: float
    ) -> None:
        """Fetch a series, or some instances of it, and give each to our receiver."""
        with self._associated() as receiver, tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "instance"
            self._archive.get(
                study, series, instances, limit_s=limit_s, store=lambda one: _hand_over(receiver, one, file)
            )

    @contextlib.contextmanager
    def _associated(self) -> Iterator[Association]:
        # Files go out as they are: what pynetdicom would read and write again may not be the same bytes. Deliveries are
        # data sets in memory, and not touched by it.
        _config.STORE_SEND_CHUNKED_DATASET = True
        entity = AE(self._receiver.ae_title)
        entity.acse_timeout = entity.connection_timeout = entity.dimse_timeout = self._silence_s
        entity.network_timeout = None  # it waits while the archive looks for the next instance
        entity.requested_contexts = [build_context(*pair) for pair in BROUGHT_BY_GET]
        association = entity.associate(
            loopback(self._receiver.bind),
            self._receiver.port,
            ae_title=self._receiver.ae_title,
            evt_handlers=[NO_DELAY],
        )
        if not association.is_established:
            raise RetrievalError("our own receiver gives no association: it needs a [[peer]] of our title and address")
        try:
            yield association
        finally:
            if association.is_established:
                association.release()


def loopback(bind: str) -> str:
    """Return the address under which a process of this machine reaches who listens on `bind`."""
    address = ip_address(bind)
    if address.is_unspecified:
        return "127.0.0.1" if address.version == 4 else "::1"
    return bind


def _hand_over(receiver: Association, one: Instance, file: Path) -> int:
    """Give an instance to the receiver and return its answer."""
    head = part10.head(one.sop_class, one.sop_instance, one.transfer_syntax)
    file.write_bytes(head + one.data_set)
    await_reader(receiver)
    try:
        status = getattr(receiver.send_c_store(file), "Status", None)
    except (RuntimeError, ValueError):  # the receiver went away, or took no such context
        status = None
    return _CANNOT_BE_STORED if status is None else int(status)
