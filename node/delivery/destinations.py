"""Destinations: where results go. `kind` of a [[destination]] in the settings is the name of the entry point."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, build_context
from pynetdicom.association import Association

from node import durable
from node.dimse import NO_DELAY, VERIFICATION, await_reader
from node.errors import DeliveryError, SettingsError
from node.ports import Answer
from node.settings import DestinationSettings

# Success, the warnings of PS3.4 table B.2-1 (the object is stored), and "Duplicate SOP Instance" (PS3.7 annex C.5.7),
# with which some archives answer to what they have already: after a crash of ours, that is what we want to hear.
_STORED = frozenset({0x0000, 0xB000, 0xB006, 0xB007, 0x0111})
_SOP_CLASS_NOT_SUPPORTED = 0x0122
_UNCOMPRESSED = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)


class DicomStorage:
    """A C-STORE SCP, usually the PACS."""

    def __init__(self, settings: DestinationSettings, *, calling_ae: str, network_timeout_s: float) -> None:
        self._settings, self._calling_ae, self._timeout_s = settings, calling_ae, network_timeout_s

    @property
    def name(self) -> str:
        return self._settings.name

    def deliver(self, objects: Sequence[Dataset]) -> Sequence[Answer]:
        """Send the objects in their order over one association; stop at the first that is worth trying again.

        So a report never arrives before what it refers to, unless the archive will never take that.
        """
        offered = {(str(one.SOPClassUID), syntax) for one in objects for syntax in _syntaxes(one)}
        answers: list[Answer] = []
        with associated(
            self._settings, offered, calling_ae=self._calling_ae, network_timeout_s=self._timeout_s
        ) as association:
            for one in objects:
                answers.append(_store(association, one))
                if not (answers[-1].stored or answers[-1].permanent):
                    break
        return answers


class Folder:
    """A folder of the file system: one Part 10 file an object, named by its SOP Instance UID."""

    def __init__(self, settings: DestinationSettings, *, calling_ae: str, network_timeout_s: float) -> None:
        if settings.folder is None:
            raise SettingsError(f"[[destination]] {settings.name}: kind 'folder' needs a folder")
        self._name, self._folder = settings.name, settings.folder

    @property
    def name(self) -> str:
        return self._name

    def deliver(self, objects: Sequence[Dataset]) -> Sequence[Answer]:
        """Write the objects durably; DeliveryError if the folder cannot be written."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            for one in objects:
                buffer = io.BytesIO()
                one.save_as(buffer, enforce_file_format=True)
                durable.write(self._folder / f"{one.SOPInstanceUID}.dcm", buffer.getvalue())
        except OSError as error:
            raise DeliveryError(f"the folder could not be written ({error.strerror})") from error
        return [Answer(str(one.SOPInstanceUID), stored=True, permanent=False, status="written") for one in objects]


def echo(settings: DestinationSettings, *, calling_ae: str, network_timeout_s: float) -> int:
    """Return the status that a C-ECHO gets; DeliveryError if there is no association or no answer."""
    offered = {(VERIFICATION, str(syntax)) for syntax in _UNCOMPRESSED}
    with associated(settings, offered, calling_ae=calling_ae, network_timeout_s=network_timeout_s) as association:
        status = getattr(association.send_c_echo(), "Status", None)
    if status is None:
        raise DeliveryError("the peer did not answer the C-ECHO")
    return int(status)


@contextmanager
def associated(
    peer: DestinationSettings, offered: set[tuple[str, str]], *, calling_ae: str, network_timeout_s: float
) -> Iterator[Association]:
    """Hold an association for pairs of SOP Class and Transfer Syntax; DeliveryError if the peer gives none."""
    ae = AE(calling_ae)
    ae.network_timeout = ae.dimse_timeout = ae.acse_timeout = ae.connection_timeout = network_timeout_s
    # One context for each pair: of several syntaxes in one context the peer would choose, and could choose wrongly.
    ae.requested_contexts = [build_context(sop_class, syntax) for sop_class, syntax in sorted(offered)]
    association = ae.associate(peer.host, peer.port, ae_title=peer.ae_title, evt_handlers=[NO_DELAY])
    if not association.is_established:
        raise DeliveryError("association rejected" if association.is_rejected else "no association")
    try:
        yield association
    finally:
        association.release()


def _syntaxes(one: Dataset) -> set[str]:
    """Return the syntaxes to offer: as it is, or, uncompressed, in any form that pynetdicom converts to."""
    own = one.file_meta.TransferSyntaxUID
    return {str(own)} if own.is_compressed else {str(own), *map(str, _UNCOMPRESSED)}


def _store(association: Association, one: Dataset) -> Answer:
    uid = str(one.SOPInstanceUID)
    if not any(context.abstract_syntax == one.SOPClassUID for context in association.accepted_contexts):
        return Answer(uid, stored=False, permanent=True, status="SOP Class not accepted")
    await_reader(association)
    try:
        status = getattr(association.send_c_store(one), "Status", None)
    except RuntimeError:  # the association went away under our hands
        status = None
    except ValueError:  # pynetdicom can encode it for no context that the peer accepted
        return Answer(uid, stored=False, permanent=True, status="Transfer Syntax not accepted")
    if status is None:
        return Answer(uid, stored=False, permanent=False, status="no answer")
    # 0xA9xx: the peer finds that the data set is wrong for its class; the same bytes will be wrong tomorrow.
    permanent = status == _SOP_CLASS_NOT_SUPPORTED or status & 0xFF00 == 0xA900
    return Answer(uid, stored=status in _STORED, permanent=permanent, status=f"0x{status:04X}")
