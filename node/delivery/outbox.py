"""The outbox of one destination: sends what is owed, then has the destination prove that it is there (`proof`).

All it knows is in the ledger, and each turn looks there for one parcel, the objects of one job. What can change by
itself is tried again, after longer and longer waits; what cannot waits for an operator, with the reason.
"""

import logging
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO

from pydicom import dcmread
from pydicom.dataset import Dataset

from node import eventlog
from node.delivery.absence import Absence
from node.delivery.commitment import CommitmentRequester
from node.delivery.identity import contradiction
from node.delivery.proof import Inquiry, Proof
from node.dicom.identifiers import InstanceUID
from node.errors import DeliveryError, RefusedError, RetrievalError, SpoolError, shown
from node.eventlog import Event
from node.ledger import Deliveries
from node.ports import Answer, Destination
from node.records import RECALL_NOTE, DeliveryRecord, DeliveryState, Parcel, ResultRecord
from node.settings import DeliverySettings
from node.spool import Results

_PATIENCE = 3  # attempts until a study that is not there is held: it may still be on its way; chosen
_AS_IT_IS = ("", "")  # no other SOP Class and Instance UID
_Object = tuple[ResultRecord, DeliveryRecord]


class Outbox:
    """Of one destination.

    Parameters
    ----------
    inquiry
        Where to look whose study it is before sending, and afterwards whether the objects are there; None: nowhere.
    commitment
        Who is asked for storage commitment; None: nobody.
    chance
        A number from 0 to 1: waits differ, so that not all that failed together is tried again together.
    pause_s
        Between two objects, so that a slow archive or line has time for others.
    """

    def __init__(
        self,
        destination: Destination,
        deliveries: Deliveries,
        results: Results,
        settings: DeliverySettings,
        *,
        inquiry: Inquiry | None = None,
        commitment: CommitmentRequester | None = None,
        chance: Callable[[], float] = random.random,
        pause_s: float = 0.0,
    ) -> None:
        self._destination, self._name = destination, destination.name
        self._deliveries, self._results, self._settings = deliveries, results, settings
        self._inquiry, self._chance, self._pause_s = inquiry, chance, pause_s
        self._absence = Absence(self._name, settings, self._wait_s)
        self._proof = Proof(
            self._name, deliveries, settings,
            inquiry=inquiry, commitment=commitment, wait_s=self._wait_s, park=self._park_unproven,
        )  # fmt: skip
        self._turn, self._stopping = threading.Lock(), threading.Event()

    def run_once(self, *, now: float) -> bool:
        """See to one parcel, and return whether there was one; `now` in seconds since 1970."""
        with self._turn:
            if self._stopping.is_set() or self._absence.lasts(now):
                return False
            parcel = self._deliveries.due(self._name, now=now)
            if parcel is None:
                return False
            if parcel.state is DeliveryState.OWED:
                self._send(parcel, now)
            else:
                self._proof.seek(parcel, now)
            return True

    def stop(self, *, wait_s: float) -> None:
        """Begin no other parcel, and let the one in hand end for so long."""
        self._stopping.set()
        if self._turn.acquire(timeout=wait_s):
            self._turn.release()

    # ---------------------------------------------------------------- owed -> stored

    def _send(self, parcel: Parcel, now: float) -> None:
        left = {one.sop_instance: (one, row) for one, row in parcel.objects}
        said: dict[str, str] = {}  # of what is to be sent again
        why, stored, was_asked = "not sent in this attempt", 0, False
        try:
            objects = [dcmread(BytesIO(self._results.read(one.path))) for one, _ in parcel.objects]
            if self._inquiry is not None and not self._is_known_alike(parcel, objects[0], self._inquiry, now):
                self._absence.note_answered()
                return
            replaced = self._deliveries.replaced(parcel.study, self._name)
            noted = dict(replaced)
            was_asked = True
            for answer in self._destination.deliver(objects, replaced):
                uid = InstanceUID(answer.sop_instance)
                was_refused = answer.permanent and not answer.stored  # then there is what was there before
                sent = replaced.get(uid, _AS_IT_IS) if was_refused else answer.sent or _AS_IT_IS
                if sent != noted.get(uid, _AS_IT_IS):
                    self._deliveries.note_sent(uid, self._name, *sent)  # unanswered, too: it may be there
                    noted[uid] = sent
                if answer.stored or answer.permanent:
                    self._note(left.pop(uid)[0], answer, now)
                    stored += answer.stored
                    if left:
                        self._stopping.wait(self._pause_s)
                else:
                    said[uid] = answer.status
            if len(left) < len(parcel.objects):
                self._absence.end()
            else:
                self._absence.note_vain(next(iter(said.values()), why), parcel.job, now)
        except (RefusedError, SpoolError) as error:  # what is damaged here is as little put right by waiting
            if isinstance(error, RefusedError):  # then the destination is there
                self._absence.end()
            for one, _ in left.values():
                self._park(one, shown(error), now, was=DeliveryState.OWED)  # no attempt: nothing of it can be there
            left = {}
        except (DeliveryError, RetrievalError) as error:
            why = shown(error)
            if stored:  # before it went away
                self._absence.end()
            self._absence.note_unreached(why, now)
        except Exception as error:  # a plug-in's too: none may end the deliveries in silence
            why = shown(error)
            if was_asked and not stored:  # what failed here before says nothing of it
                self._absence.note_vain(why, parcel.job, now)
        if stored:
            eventlog.record(Event.DELIVERY_STORED, job=parcel.job, destination=self._name, objects=stored)
        if left:
            self._try_later(parcel.job, list(left.values()), {uid: said.get(uid, why) for uid in left}, now)

    def _note(self, one: ResultRecord, answer: Answer, now: float) -> None:
        """Note an answer that is final."""
        if answer.permanent and not answer.stored:
            self._park(one, answer.status, now, was=DeliveryState.OWED, attempts=1)
            return
        self._deliveries.advance(
            one.sop_instance, self._name, DeliveryState.STORED, answer.status, was=DeliveryState.OWED,
            now=now, next_try_s=self._proof.begins_s(now), attempts=1,
        )  # fmt: skip
        if answer.sent is not None:
            eventlog.record(
                Event.DELIVERY_RELABELLED, job=one.job, destination=self._name, role=one.role,
                sop_class=answer.sent[0],
            )  # fmt: skip

    def _try_later(self, job: str, objects: Sequence[_Object], why: Mapping[str, str], now: float) -> None:
        """Owe objects on, until there were attempts enough."""
        attempt = max(row.attempts for _, row in objects) + 1
        if attempt >= self._settings.attempts:
            for one, _ in objects:
                status = why[one.sop_instance]
                if self._deliveries.advance(
                    one.sop_instance, self._name, DeliveryState.ABANDONED, status,
                    was=DeliveryState.OWED, now=now, attempts=1,
                ):  # fmt: skip
                    self._tell_operator(Event.DELIVERY_ABANDONED, one, status)
            return
        # What only lacks an association is tried when the destination is: then whoever is due the longest goes first.
        wait_s = 0.0 if self._absence.lasts(now) else self._wait_s(attempt)
        self._deliveries.postpone(why, self._name, DeliveryState.OWED, now=now, next_try_s=now + wait_s, attempts=1)
        eventlog.record(
            Event.DELIVERY_POSTPONED, logging.WARNING, job=job, destination=self._name, objects=len(objects),
            attempt=attempt, reason=f"'{why[objects[0][0].sop_instance]}'",
        )  # fmt: skip

    def _wait_s(self, tries: int) -> float:
        return self._settings.wait_s(tries) * (0.5 + 0.5 * self._chance())

    # ---------------------------------------------------------------- whose study it is there

    def _is_known_alike(self, parcel: Parcel, result: Dataset, inquiry: Inquiry, now: float) -> bool:
        """Return whether a parcel may be sent; else it is held, or, while the study may still come, postponed."""
        # A recall goes wherever its results are: what they are to be hidden for may be that the study is another's now.
        if all(row.released_by or one.role == RECALL_NOTE for one, row in parcel.objects):
            return True
        known = inquiry.known(parcel.study)
        if known is None:
            why = "the destination has no such study"
            looks = 1 + max(row.looks for _, row in parcel.objects)  # answered ones: an outage says nothing of a study
            if looks < _PATIENCE:
                self._look_later(parcel, why, looks, now)
                return False
        else:
            if any(row.looks for _, row in parcel.objects):
                self._deliveries.note_known([one.sop_instance for one, _ in parcel.objects], self._name)
            why = contradiction(result, known)
        if not why:
            return True
        for one, _ in parcel.objects:
            self._deliveries.advance(
                one.sop_instance, self._name, DeliveryState.HELD, why, was=DeliveryState.OWED, now=now
            )
        eventlog.record(
            Event.DELIVERY_HELD, logging.ERROR, job=parcel.job, destination=self._name, objects=len(parcel.objects),
            reason=f"'{why}'",
        )  # fmt: skip
        return False

    def _look_later(self, parcel: Parcel, why: str, looks: int, now: float) -> None:
        self._deliveries.postpone(
            {one.sop_instance: why for one, _ in parcel.objects}, self._name, DeliveryState.OWED,
            now=now, next_try_s=now + self._wait_s(looks), turns=0, looks=1,
        )  # fmt: skip
        eventlog.record(
            Event.DELIVERY_POSTPONED, logging.WARNING, job=parcel.job, destination=self._name,
            objects=len(parcel.objects), attempt=looks, reason=f"'{why}'",
        )  # fmt: skip

    # ---------------------------------------------------------------- an operator's list

    def _park(self, one: ResultRecord, why: str, now: float, *, was: DeliveryState, attempts: int = 0) -> None:
        if self._deliveries.advance(
            one.sop_instance, self._name, DeliveryState.PARKED, why, was=was, now=now, attempts=attempts
        ):
            self._tell_operator(Event.DELIVERY_PARKED, one, why)

    def _park_unproven(self, parcel: Parcel, why: str, now: float) -> None:
        for one, _ in parcel.objects:
            self._park(one, why, now, was=parcel.state)

    def _tell_operator(self, event: Event, one: ResultRecord, why: str) -> None:
        eventlog.record(
            event, logging.ERROR, job=one.job, destination=self._name, role=one.role, status=f"'{why}'"
        )  # fmt: skip
