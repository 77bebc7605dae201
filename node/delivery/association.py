"""An association to a destination, which is there or is not, with the reason, and ends in time."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, build_context, evt
from pynetdicom.association import Association

from node.calling import Caller, Deadline, tls_arguments, why_none
from node.dimse import NO_DELAY
from node.errors import DeliveryError, RefusedError
from node.settings import DestinationSettings

UNCOMPRESSED = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
_PERMANENT = 0x01  # Result of an A-ASSOCIATE-RJ: PS3.8 table 9-21
_REASONS = {  # of a rejection, by Source and Reason: PS3.8 table 9-21
    (1, 2): "application context not supported",
    (1, 3): "calling AE title not recognized",
    (1, 7): "called AE title not recognized",
    (2, 2): "protocol version not supported",
    (3, 1): "temporary congestion",
    (3, 2): "local limit exceeded",
}


class NothingTakenError(RefusedError):
    """None of the SOP Classes that were offered is accepted."""


@contextlib.contextmanager
def associated(
    peer: DestinationSettings, offered: set[tuple[str, str]], caller: Caller, *, handlers: Sequence[Any] = ()
) -> Iterator[Association]:
    """Hold an association for pairs of SOP Class and Transfer Syntax.

    Raises
    ------
    RefusedError
        If the peer rejects it for good.
    DeliveryError
        If it gives none, or not now.
    """
    ae = AE(caller.ae_title)
    ae.network_timeout = ae.dimse_timeout = ae.acse_timeout = ae.connection_timeout = caller.silence_s
    # One context for each pair: of several syntaxes in one context the peer would choose, and could choose wrongly.
    ae.requested_contexts = [build_context(sop_class, syntax) for sop_class, syntax in sorted(offered)]
    with Deadline(caller.limit_s) as deadline:
        try:
            association = ae.associate(
                peer.host,
                peer.port,
                ae_title=peer.ae_title,
                tls_args=tls_arguments(peer, caller.tls),
                evt_handlers=[NO_DELAY, (evt.EVT_CONN_OPEN, deadline.hold), *handlers],
            )
        except OSError as error:  # its host has no address
            raise DeliveryError(why_none(peer, caller.tls, deadline, patience_s=caller.silence_s)) from error
        if not association.is_established:
            raise _refusal(association) or DeliveryError(
                why_none(peer, caller.tls, deadline, patience_s=caller.silence_s)
            )
        try:
            yield association
        finally:
            association.release()


def _refusal(association: Association) -> DeliveryError | None:
    answer: Any = association.acceptor.primitive
    if association.is_rejected and answer is not None:
        why = _REASONS.get((answer.result_source, answer.diagnostic), "no reason given")
        if answer.result == _PERMANENT:
            return RefusedError(f"association rejected for good: {why}")
        return DeliveryError(f"association rejected for now: {why}")
    if association.is_rejected:
        return DeliveryError("association rejected")
    # pynetdicom aborts an association in which no presentation context was accepted (PS3.8 section 7.1.1.14)
    if any(one.result is not None for one in association.rejected_contexts):
        return NothingTakenError("no SOP Class accepted")
    return None
