"""Telling: a report on storage commitment goes to its peer by N-EVENT-REPORT, and the answer comes in.

Over the association on which the peer asked, or over one that we open to the address that the settings give for it
(PS3.4 annex J).
"""

import contextlib
import io
import itertools
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, build_context, build_role, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import N_EVENT_REPORT
from pynetdicom.dsutils import encode

from node.association.conformance import STORAGE_COMMITMENT
from node.dicom.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from node.dimse import NO_DELAY
from node.errors import DeliveryError
from node.settings import PeerSettings

SOP_INSTANCE = "1.2.840.10008.1.20.1.1"  # the well-known one: PS3.4 section J.3.5
_N_EVENT_REPORT_RSP = 0x8100  # PS3.7 table E.1-1
_ANSWER_TIMEOUT_S = 30.0  # for the answer to a report; chosen
CONNECT_TIMEOUT_S = 10.0  # chosen
_POLL_S = 0.05  # how soon the end of an association is noticed


@dataclass(frozen=True, slots=True)
class Channel:
    """An association with an accepted presentation context for storage commitment."""

    association: Association
    context_id: int
    transfer_syntax: str


@dataclass(frozen=True, slots=True)
class Told:
    """A report that was told over an association, and where its answer comes out, at whatever time."""

    channel: Channel
    answers: "queue.SimpleQueue[int]"
    forget: Callable[[], None]  # that an answer is expected


class UnreachableError(DeliveryError):
    """There is no association with a peer, for none of its reports."""


class MuteError(DeliveryError):
    """A peer was told a report and does not answer: this turn it gets no other."""


class Teller:
    """Tells reports to peers.

    Parameters
    ----------
    ae_title, peers
        Ours; who is reached where. Nothing that comes over the network names an address.
    closing
        Set when the node stops: then nobody is waited for.
    """

    def __init__(self, ae_title: str, peers: Sequence[PeerSettings], closing: threading.Event) -> None:
        self._ae_title = ae_title
        self._addresses = {one.ae_title: (one.host, one.port) for one in reversed(peers) if one.host}
        self._closing = closing
        self._message_ids = itertools.cycle(range(1, 1 << 16))

    def tell(self, channel: Channel, event_type: int, report: Dataset, heard: Callable[[], None]) -> Told:
        """Send an N-EVENT-REPORT-RQ; `heard` is called when the answer is there, in a thread of pynetdicom.

        Not by `send_n_event_report`: that pauses the reader of pynetdicom until the answer comes. On an association
        that goes on, it takes the next C-STORE-RQ for the answer and aborts, and a release waits for its time-out.
        """
        encoded = encode(report, channel.transfer_syntax == ImplicitVRLittleEndian, True)
        if encoded is None:
            raise DeliveryError("the report cannot be encoded")
        message: Any = N_EVENT_REPORT()
        message.MessageID = next(self._message_ids)
        message.AffectedSOPClassUID, message.AffectedSOPInstanceUID = STORAGE_COMMITMENT, SOP_INSTANCE
        message.EventTypeID, message.EventInformation = event_type, io.BytesIO(encoded)
        association, answers = channel.association, queue.SimpleQueue[int]()

        def hear(event: evt.Event) -> None:
            command = event.message.command_set
            if command.CommandField == _N_EVENT_REPORT_RSP and command.MessageIDBeingRespondedTo == message.MessageID:
                answers.put(int(command.Status))
                heard()

        association.bind(evt.EVT_DIMSE_RECV, hear)
        association.dimse.send_msg(message, channel.context_id)
        return Told(channel, answers, lambda: association.unbind(evt.EVT_DIMSE_RECV, hear))

    def answer(self, told: Told) -> int:
        """Return the status of the answer; MuteError if none comes in time, or none can come any more."""
        association, deadline = told.channel.association, time.monotonic() + _ANSWER_TIMEOUT_S
        while association.is_established and time.monotonic() < deadline and not self._closing.is_set():
            with contextlib.suppress(queue.Empty):
                return told.answers.get(timeout=_POLL_S)
        with contextlib.suppress(queue.Empty):
            return told.answers.get_nowait()
        raise MuteError("the peer did not answer the report")

    @contextlib.contextmanager
    def associated(self, peer: str) -> Iterator[Channel]:
        """Hold an association to a peer, as SCP (PS3.4 section J.3.3.1.3, PS3.7 section D.3.3.4)."""
        if self._closing.is_set():
            raise DeliveryError("the node stops")
        if peer not in self._addresses:
            raise UnreachableError("the settings have no address of the peer")
        host, port = self._addresses[peer]
        ae = AE(self._ae_title)
        ae.implementation_class_uid, ae.implementation_version_name = (
            IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME,
        )  # fmt: skip
        ae.connection_timeout = ae.acse_timeout = CONNECT_TIMEOUT_S
        ae.network_timeout = 2 * _ANSWER_TIMEOUT_S  # pynetdicom is to end nothing before we do
        context = build_context(STORAGE_COMMITMENT, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
        try:
            association = ae.associate(
                host, port, contexts=[context], ae_title=peer, evt_handlers=[NO_DELAY],
                ext_neg=[build_role(STORAGE_COMMITMENT, scp_role=True)],
            )  # fmt: skip
        except OSError as error:
            raise UnreachableError("the host of the peer is not known") from error
        if not association.is_established:
            raise UnreachableError("association rejected" if association.is_rejected else "no association")
        try:
            accepted = association.accepted_contexts
            if not accepted:
                raise DeliveryError("the peer does not take reports on storage commitment")
            yield Channel(association, accepted[0].context_id or 0, str(accepted[0].transfer_syntax[0]))
        except MuteError:
            association.abort()  # it would not answer a release either
            raise
        finally:
            association.release()


def one_message_at_a_time(association: Association) -> None:
    """Let several threads send over an association: a message's fragments stand together (PS3.8 annex E)."""
    dimse: Any = association.dimse
    lock, send = threading.Lock(), dimse.send_msg

    def send_whole(message: Any, context_id: int) -> None:
        with lock:
            send(message, context_id)

    dimse.send_msg = send_whole
