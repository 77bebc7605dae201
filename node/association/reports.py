"""Reports on storage commitment that we asked for: a destination that took our results tells what it commits itself to.

It calls us with them, as SCP (PS3.4 section J.3.3), hours after it was asked perhaps. What was asked, and what follows
from the answer, is a row of the ledger (`ledger.promises`); the working process sees to the rest.
"""

import time
from typing import Any

from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import evt

from node.association.commitment import LARGEST_REQUEST, Reply, Status
from node.dicom.references import read_report
from node.errors import HeaderError
from node.ledger import Promises
from node.settings import DeliverySettings

_EVENT_TYPES = (1, 2)  # all committed to, failures exist: PS3.4 table J.3-2
_MOST_INSTANCES = 10_000  # of one report; a job of ours has a dozen


class CommitmentReports:
    """Takes reports; safe to call from many threads."""

    def __init__(self, promises: Promises, settings: DeliverySettings) -> None:
        self._promises, self._settings = promises, settings

    def take(self, event: evt.Event) -> Reply:
        """Take an N-EVENT-REPORT and return its answer, in our own words whatever goes wrong."""
        request: Any = event.request
        try:
            return self._take(request, implicit=event.context.transfer_syntax == ImplicitVRLittleEndian)
        except HeaderError as error:
            return Reply(Status.INVALID_ARGUMENT_VALUE, str(error)[:64])
        except Exception as error:  # of the database; pynetdicom would log its text
            return Reply(Status.PROCESSING_FAILURE, f"The report could not be noted ({type(error).__name__})"[:64])

    def _take(self, request: Any, *, implicit: bool) -> Reply:
        if request.EventTypeID not in _EVENT_TYPES:
            return Reply(Status.NO_SUCH_EVENT_TYPE, "Only Event Types 1 and 2 are known")
        encoded = request.EventInformation.getvalue() if request.EventInformation else b""
        if len(encoded) > LARGEST_REQUEST:
            return Reply(Status.RESOURCE_LIMITATION, "The report is too large")
        report = read_report(encoded, implicit=implicit, most=_MOST_INSTANCES)
        settings = self._settings
        if not self._promises.reported(report, wait_s=settings.wait_s, attempts=settings.attempts, now=time.time()):
            return Reply(Status.INVALID_ARGUMENT_VALUE, "No request is open under this Transaction UID")
        return Reply(Status.SUCCESS)
