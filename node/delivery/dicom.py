"""A C-STORE SCP as a destination, usually the PACS."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    EncapsulatedPDFStorage,
    KeyObjectSelectionDocumentStorage,
    ParametricMapStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)
from pynetdicom.association import Association

from node.calling import Caller
from node.delivery import fallback
from node.delivery.association import UNCOMPRESSED, NothingTakenError, associated
from node.delivery.commitment import STORAGE_COMMITMENT
from node.dimse import VERIFICATION, await_reader
from node.errors import DeliveryError, RefusedError
from node.ports import Answer
from node.records import ResultRole
from node.settings import DestinationSettings

# Success, the warnings of PS3.4 table B.2-1 (the object is stored), and "Duplicate SOP Instance" (PS3.7 annex C.5.7),
# with which some archives answer to what they have already: after a crash of ours, that is what we want to hear.
STORED = frozenset({0x0000, 0xB000, 0xB006, 0xB007, 0x0111})
_SOP_CLASS_NOT_SUPPORTED = 0x0122
SENT = {  # the SOP Classes that objects go in, the best first
    ResultRole.SEG: (SegmentationStorage,),
    ResultRole.MAP: (ParametricMapStorage,),
    ResultRole.KEY_IMAGES: (SecondaryCaptureImageStorage,),
    ResultRole.SR: fallback.BEST_FIRST,
    ResultRole.OUTLINES: (fallback.BEST_FIRST[0],),  # it may hold SCOORD3D
    ResultRole.KO: (KeyObjectSelectionDocumentStorage,),
    ResultRole.PDF: (EncapsulatedPDFStorage,),
}


class DicomStorage:
    """Kind "dicom"."""

    def __init__(self, settings: DestinationSettings, caller: Caller) -> None:
        self._settings, self._caller = settings, caller

    @property
    def name(self) -> str:
        return self._settings.name

    def deliver(
        self, objects: Sequence[Dataset], replaced: Mapping[str, tuple[str, str]] = fallback.NOTHING, /
    ) -> Iterator[Answer]:
        """Send the objects in their order over one association; stop at the first that is worth trying again.

        So a report never arrives before what its content refers to, unless the archive will never take that; of what
        its evidence lists some follows. A report whose SOP Class is refused goes as the best one that is taken
        (`fallback`); as which is said before it is sent.
        """
        offered = {
            (sop_class, syntax)
            for one in objects
            for sop_class in (str(one.SOPClassUID), *fallback.substitutes(one))
            for syntax in _syntaxes(one)
        }
        with associated(self._settings, offered, self._caller) as association:
            accepted = {str(context.abstract_syntax) for context in association.accepted_contexts}
            for original, one in zip(objects, fallback.fitted(objects, accepted, replaced), strict=True):
                uid, sent = str(original.SOPInstanceUID), None
                if one is not original:
                    sent = (str(one.SOPClassUID), str(one.SOPInstanceUID))
                    yield Answer(uid, stored=False, permanent=False, status="no answer", sent=sent)
                answer = replace(_store(association, one), sop_instance=uid, sent=sent)
                yield answer
                if not (answer.stored or answer.permanent):
                    return


def echo(settings: DestinationSettings, caller: Caller) -> int:
    """Return the status that a C-ECHO gets; DeliveryError if there is no association or no answer."""
    offered = {(VERIFICATION, str(syntax)) for syntax in UNCOMPRESSED}
    with associated(settings, offered, caller) as association:
        status = getattr(association.send_c_echo(), "Status", None)
    if status is None:
        raise DeliveryError("the peer did not answer the C-ECHO")
    return int(status)


def takes(settings: DestinationSettings, sop_classes: Collection[str], caller: Caller) -> set[str]:
    """Return which SOP Classes a destination accepts uncompressed; DeliveryError if there is no association."""
    offered = {(sop_class, str(syntax)) for sop_class in sop_classes for syntax in UNCOMPRESSED}
    try:
        with associated(settings, offered, caller) as association:
            return {str(context.abstract_syntax) for context in association.accepted_contexts}
    except NothingTakenError:
        return set()


def probe(settings: DestinationSettings, caller: Caller) -> str:
    """Return in words what a destination takes of what it is to get, and as what.

    Raises
    ------
    RefusedError
        If it does not take all of that; in the same words.
    DeliveryError
        If there is no association.
    """
    wanted = {role: [str(one) for one in SENT[role]] for role in settings.objects}
    accepted = takes(settings, {one for classes in wanted.values() for one in classes}, caller)
    best = {role: next((one for one in classes if one in accepted), None) for role, classes in wanted.items()}
    refused = [role for role, sop_class in best.items() if sop_class is None]
    words = [f"takes {', '.join(role for role in best if role not in refused) or 'nothing'}"]
    if (report := best.get(ResultRole.SR)) not in (None, fallback.BEST_FIRST[0]):
        words.append(f"the report as {UID(str(report)).name}")
    if refused:
        words.append(f"refuses {', '.join(refused)}: those will be parked")
    commits = not settings.commitment or takes(settings, [STORAGE_COMMITMENT], caller)
    if not commits:
        words.append("offers no storage commitment: turn commitment off, or everything will be parked")
    if refused or not commits:
        raise RefusedError("; ".join(words))
    return "; ".join(words)


def _syntaxes(one: Dataset) -> set[str]:
    """Return the syntaxes to offer: as it is, or, uncompressed, in any form that pynetdicom converts to."""
    own = one.file_meta.TransferSyntaxUID
    return {str(own)} if own.is_compressed else {str(own), *map(str, UNCOMPRESSED)}


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
    return Answer(uid, stored=status in STORED, permanent=permanent, status=f"0x{status:04X}")
