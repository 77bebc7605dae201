"""The proof that a destination keeps what it took: it commits itself to that, and shows it (stored, committed, seen).

As far as the settings ask for either. What cannot be proven waits for an operator.
"""

import uuid
from collections.abc import Callable
from typing import Protocol

from node import eventlog
from node.delivery.commitment import CommitmentRequester
from node.dicom.identifiers import InstanceUID, SeriesUID, StudyUID
from node.dicom.references import CommitmentRequest, Reference
from node.errors import RefusedError, shown
from node.eventlog import Event
from node.ledger import Deliveries
from node.records import DeliveryState, KnownStudy, Parcel
from node.settings import DeliverySettings

_LOOK_AFTER_S = 2.0  # an archive has what it took in its index by then; chosen


class Inquiry(Protocol):
    """An archive that is asked what it has (`retrieval.Archive`)."""

    def known(self, study: StudyUID) -> KnownStudy | None:
        """Return whose study it is there; None if it is not there."""
        ...

    def instances(self, study: StudyUID, series: SeriesUID) -> frozenset[InstanceUID]:
        """Return the instances of a series that are there."""
        ...


class Proof:
    """Of one destination.

    Parameters
    ----------
    inquiry
        Where to look whether the objects are there; None: nowhere.
    commitment
        Who is asked for storage commitment; None: nobody.
    wait_s
        How long to wait after so many turns in vain.
    park
        Has a parcel wait for an operator, with the reason; `now` last.
    """

    def __init__(
        self,
        destination: str,
        deliveries: Deliveries,
        settings: DeliverySettings,
        *,
        inquiry: Inquiry | None,
        commitment: CommitmentRequester | None,
        wait_s: Callable[[int], float],
        park: Callable[[Parcel, str, float], None],
    ) -> None:
        self._name, self._deliveries, self._settings = destination, deliveries, settings
        self._inquiry, self._commitment = inquiry, commitment
        self._wait_s, self._park = wait_s, park

    def begins_s(self, now: float) -> float | None:
        """Return when to begin with what is stored now, in seconds since 1970; None: nothing is to be proven."""
        return now if self._commitment else now + _LOOK_AFTER_S if self._inquiry else None

    def seek(self, parcel: Parcel, now: float) -> None:
        """Go a step on with objects that are stored, or committed to."""
        match parcel.state:
            case DeliveryState.STORED if self._commitment is not None:
                self._have_committed(parcel, self._commitment, now)
            case DeliveryState.STORED | DeliveryState.COMMITTED if self._inquiry is not None:
                self._look(parcel, self._inquiry, now)
            case _:  # what the settings wanted to be proven when it was sent, and do not any more
                for one, row in parcel.objects:
                    self._deliveries.advance(
                        one.sop_instance, self._name, parcel.state, row.status, was=parcel.state, now=now
                    )

    def _have_committed(self, parcel: Parcel, commitment: CommitmentRequester, now: float) -> None:
        """Ask for storage commitment, for the first time or because no report has come."""
        if self._is_hopeless(parcel, "no report on storage commitment", now):
            return
        transaction_uid = f"2.25.{uuid.uuid4().int}"  # of this request and no other (PS3.4 section J.3.3.1.2)
        asked = [one.sop_instance for one, _ in parcel.objects]
        again_s = now + self._settings.commitment_wait_s
        self._deliveries.ask(asked, self._name, transaction_uid, now=now, next_try_s=again_s)
        references = tuple(
            Reference(row.sent_class or one.sop_class, row.sent_instance or one.sop_instance)
            for one, row in parcel.objects
        )
        try:
            commitment.ask(CommitmentRequest(transaction_uid, references))
        except RefusedError as error:
            self._park(parcel, f"stored, but {shown(error)}", now)
        except Exception as error:  # none may end the deliveries in silence
            self._unproven(parcel, shown(error), now, turns=0)  # counted before; and it may have heard us

    def _look(self, parcel: Parcel, inquiry: Inquiry, now: float) -> None:
        """Look whether the destination shows what it took."""
        if self._is_hopeless(parcel, "stored, but a C-FIND does not find it", now):
            return
        try:
            there = set[str]()
            for series in {one.series for one, _ in parcel.objects}:
                there |= inquiry.instances(parcel.study, SeriesUID(series))
        except Exception as error:  # as above
            self._unproven(parcel, shown(error), now)
            return
        seen = [(one, row) for one, row in parcel.objects if (row.sent_instance or one.sop_instance) in there]
        for one, row in seen:
            self._deliveries.advance(
                one.sop_instance, self._name, DeliveryState.SEEN, row.status, was=parcel.state, now=now
            )
        if seen:
            eventlog.record(Event.DELIVERY_SEEN, job=parcel.job, destination=self._name, objects=len(seen))
        missing = tuple(each for each in parcel.objects if each not in seen)
        if missing:
            left = Parcel(parcel.job, parcel.study, parcel.state, missing)
            self._unproven(left, "a C-FIND does not find it yet", now)

    def _unproven(self, parcel: Parcel, why: str, now: float, *, turns: int = 1) -> None:
        wait_s = self._wait_s(1 + max(row.turns for _, row in parcel.objects))
        self._deliveries.postpone(
            {one.sop_instance: why for one, _ in parcel.objects}, self._name, parcel.state,
            now=now, next_try_s=now + wait_s, turns=turns,
        )  # fmt: skip

    def _is_hopeless(self, parcel: Parcel, why: str, now: float) -> bool:
        """Park what could not be proven for long, and return whether that is so."""
        if max(row.turns for _, row in parcel.objects) < self._settings.attempts:
            return False
        self._park(parcel, why, now)
        return True
