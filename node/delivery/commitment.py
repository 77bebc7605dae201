"""Storage commitment asked for: a destination is to say that it has taken responsibility (PS3.4 annex J).

The report comes on the association on which we asked, if it comes at once, or on one that the destination opens to
our receiver, hours later perhaps. So the request is a row before it is sent, and whoever gets the report notes it.
"""

import threading
from collections.abc import Callable
from typing import Any

from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import evt
from pynetdicom.pdu import P_DATA_TF

from node.calling import Caller
from node.delivery.association import UNCOMPRESSED, NothingTakenError, associated
from node.dicom.references import CommitmentReport, CommitmentRequest, read_report, request_of
from node.dimse import await_reader
from node.errors import DeliveryError, RefusedError
from node.settings import DestinationSettings

STORAGE_COMMITMENT = "1.2.840.10008.1.20.1"  # Push Model
_SOP_INSTANCE = "1.2.840.10008.1.20.1.1"  # the well-known one: PS3.4 section J.3.5
_REQUEST = 1  # Action Type ID: PS3.4 table J.3-1
_SUCCESS, _PROCESSING_FAILURE = 0x0000, 0x0110
MOST_INSTANCES = 10_000  # of one report; a job has a dozen
_LINGER_S = 1.0  # chosen: most archives open an association of their own


class CommitmentRequester:
    """Asks one destination.

    Parameters
    ----------
    note
        Takes a report, and returns whether it answers a request of ours that is open.
    linger_s
        That the association stays open, for a report that comes at once.
    """

    def __init__(
        self,
        settings: DestinationSettings,
        caller: Caller,
        note: Callable[[CommitmentReport], bool],
        *,
        linger_s: float = _LINGER_S,
    ) -> None:
        self._settings, self._caller, self._note, self._linger_s = settings, caller, note, linger_s

    def ask(self, request: CommitmentRequest) -> None:
        """Ask, and take the report if it comes at once.

        Raises
        ------
        RefusedError
            If the destination does not do this.
        DeliveryError
            If it does not answer, or cannot now.
        """
        heard, answered = threading.Event(), threading.Event()

        def hear(event: evt.Event) -> tuple[int, None]:
            try:
                report: Any = event.request
                implicit = event.context.transfer_syntax == ImplicitVRLittleEndian
                self._note(read_report(report.EventInformation.getvalue(), implicit=implicit, most=MOST_INSTANCES))
            except Exception:  # towards a peer a fault is a status; pynetdicom would log its text
                return _PROCESSING_FAILURE, None
            heard.set()
            return _SUCCESS, None

        def look_for_answer(event: evt.Event) -> None:
            # While it serves a request pynetdicom would let us release the association before that is answered.
            if heard.is_set() and isinstance(event.pdu, P_DATA_TF):
                answered.set()

        offered = {(STORAGE_COMMITMENT, str(syntax)) for syntax in UNCOMPRESSED}
        handlers = [(evt.EVT_N_EVENT_REPORT, hear), (evt.EVT_PDU_SENT, look_for_answer)]
        try:
            with associated(self._settings, offered, self._caller, handlers=handlers) as association:
                await_reader(association)
                try:
                    answer, _ = association.send_n_action(
                        request_of(request), _REQUEST, STORAGE_COMMITMENT, _SOP_INSTANCE
                    )
                except (RuntimeError, ValueError):  # the association went away under our hands
                    raise DeliveryError("the request for storage commitment could not be sent") from None
                status = answer.get("Status")
                if status is None:
                    raise DeliveryError("no answer to the request for storage commitment")
                if status != _SUCCESS:
                    raise DeliveryError(f"the request for storage commitment is answered 0x{status:04X}")
                answered.wait(self._linger_s)
        except NothingTakenError:
            raise RefusedError("storage commitment is not offered") from None
