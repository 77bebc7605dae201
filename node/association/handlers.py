"""C-STORE: the bytes of one instance to spool and ledger, and the status that says what became of them."""

import hashlib
import io
import logging
import re
import time
from enum import IntEnum
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import evt

from node import eventlog
from node.dicom.identifiers import InstanceUID, SeriesUID, StudyUID
from node.errors import ConflictError, HeaderError, SpoolFullError
from node.eventlog import Event, alias
from node.ledger import Ledger
from node.records import InstanceIdentity, ReceivedInstance
from node.spool import Spool

_UID = re.compile(r"[0-9.]{1,64}")  # PS3.5 section 9.1, less its rule on leading zeros, which scanners break
_ROUTING = ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"]


class Status(IntEnum):
    """What we answer to a C-STORE (PS3.4 table B.2-1; processing failure: PS3.7 annex C.5)."""

    SUCCESS = 0x0000
    PROCESSING_FAILURE = 0x0110
    OUT_OF_RESOURCES = 0xA700
    DOES_NOT_MATCH_SOP_CLASS = 0xA900
    CANNOT_UNDERSTAND = 0xC000
    HELD_WITH_OTHER_CONTENT = 0xC001


class StoreHandler:
    """Stores what C-STORE requests bring, and answers them.

    Parameters
    ----------
    spool, ledger
        Where an instance goes, in this order: bytes that no row knows do no harm, a row without bytes would.
    """

    def __init__(self, spool: Spool, ledger: Ledger) -> None:
        self._spool, self._ledger = spool, ledger

    def __call__(self, event: evt.Event) -> Dataset:
        """Return the response to one request."""
        try:
            status, comment = self._store(event)
        except Exception as error:  # pynetdicom would log its text, patient data included
            eventlog.record(Event.INSTANCE_FAILED, logging.ERROR, error=type(error).__name__)
            status, comment = Status.PROCESSING_FAILURE, "The instance could not be stored"
        response = Dataset()
        response.Status = int(status)
        if comment:
            response.ErrorComment = comment  # PS3.7 C.4: LO, at most 64 characters
        return response

    def _store(self, event: evt.Event) -> tuple[Status, str]:
        content = event.encoded_dataset()  # preamble, file meta information, and the data set as it was sent
        try:
            routing = _routing(content)
        except HeaderError as error:
            eventlog.record(Event.INSTANCE_REFUSED, logging.WARNING, reason="header")
            return Status.CANNOT_UNDERSTAND, str(error)[:64]
        request: Any = event.request
        requested = (str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID))
        if (routing.SOPClassUID, routing.SOPInstanceUID) != requested:
            eventlog.record(Event.INSTANCE_REFUSED, logging.WARNING, reason="command and data set differ")
            return Status.DOES_NOT_MATCH_SOP_CLASS, "SOP Class or Instance UID of command and data set differ"
        identity = InstanceIdentity(
            sop_instance=InstanceUID(routing.SOPInstanceUID),
            study=StudyUID(routing.StudyInstanceUID),
            series=SeriesUID(routing.SeriesInstanceUID),
            data_set_sha256=hashlib.sha256(event.encoded_dataset(include_meta=False)).hexdigest(),
        )
        try:
            new = not self._ledger.repeats(identity, now=time.time()) and self._keep(event, content, identity, routing)
        except SpoolFullError:
            eventlog.record(Event.INSTANCE_REFUSED, logging.ERROR, reason="disk full")
            return Status.OUT_OF_RESOURCES, "The disk of the node is full"
        except ConflictError:
            eventlog.record(
                Event.INSTANCE_REFUSED, logging.ERROR, reason="conflict", instance=alias(identity.sop_instance)
            )
            return Status.HELD_WITH_OTHER_CONTENT, "Another content is held under this SOP Instance UID"
        eventlog.record(
            Event.INSTANCE_STORED if new else Event.INSTANCE_REPEATED,
            logging.DEBUG,
            instance=alias(identity.sop_instance),
            bytes=len(content),
        )
        return Status.SUCCESS, ""

    def _keep(self, event: evt.Event, content: bytes, identity: InstanceIdentity, routing: Dataset) -> bool:
        """Store the bytes, then enter the row, and return whether that was new; another association may be quicker."""
        stored = self._spool.store(content)
        return self._ledger.enter(
            ReceivedInstance(
                identity=identity,
                sop_class=routing.SOPClassUID,
                transfer_syntax=str(event.context.transfer_syntax),
                path=stored.path,
                sha256=stored.sha256,
                size=stored.size,
                calling_ae=str(event.assoc.requestor.ae_title),
            ),
            now=time.time(),
        )


def _routing(content: bytes) -> Dataset:
    """Return the four UIDs of the data set, each checked.

    Raises
    ------
    HeaderError
        If the bytes are no data set, or a UID is missing or malformed.
    """
    try:
        routing = dcmread(io.BytesIO(content), stop_before_pixels=True, specific_tags=_ROUTING)
        uids = {keyword: str(routing.get(keyword, "")) for keyword in _ROUTING}
    except Exception as error:  # pydicom raises many kinds on garbage, and their texts quote it
        raise HeaderError("The data set cannot be read") from error
    for keyword, found in uids.items():
        if not _UID.fullmatch(found):
            raise HeaderError(f"{keyword} is missing or malformed")
    checked = Dataset()
    for keyword, found in uids.items():
        setattr(checked, keyword, found)
    return checked
