"""One attempt to deliver what is owed of one job to one destination."""

import logging
import time
from collections.abc import Mapping

from pydicom import dcmread

from node import eventlog
from node.errors import shown
from node.eventlog import Event
from node.ledger.ledger import Ledger
from node.ports import Answer, Destination
from node.records import DeliveryState
from node.spool import Results


class Sender:
    """Sends, and writes down what was answered."""

    def __init__(self, ledger: Ledger, results: Results, destinations: Mapping[str, Destination]) -> None:
        self._ledger, self._results, self._destinations = ledger, results, destinations

    def attempt(self, job_id: str, destination: str, attempt: int, final: bool) -> bool:
        """Send what is still owed and return whether something is owed after that.

        What this attempt leaves and a later one could change stays owed; if none is to follow (`final`), or the
        destination will never take it, it is abandoned: an operator's list (`jobs list --waiting`).
        """
        owed = self._ledger.owed(job_id, destination)
        if not owed:
            return False
        answers, reason = self._send(destination, [record.path for record in owed])
        left = 0
        for record in owed:
            answer = answers.get(record.sop_instance)
            status = answer.status if answer else reason
            if answer is not None and answer.stored:
                state = DeliveryState.STORED
            elif final or (answer is not None and answer.permanent):
                state = DeliveryState.ABANDONED
                eventlog.record(
                    Event.DELIVERY_ABANDONED, logging.ERROR, job=job_id, destination=destination, role=record.role,
                    status=f"'{status}'",
                )  # fmt: skip
            else:
                state, left = DeliveryState.OWED, left + 1
            self._ledger.note_delivery(
                record.sop_instance, destination, state, status, attempt=attempt, now=time.time()
            )
        stored = sum(answer.stored for answer in answers.values())
        if stored:
            eventlog.record(Event.DELIVERY_STORED, job=job_id, destination=destination, objects=stored)
        if left:
            eventlog.record(
                Event.DELIVERY_POSTPONED, logging.WARNING, job=job_id, destination=destination, objects=left,
                attempt=attempt, reason=f"'{reason}'",
            )  # fmt: skip
        return left > 0

    def _send(self, destination: str, paths: list[str]) -> tuple[dict[str, Answer], str]:
        """Return the answers by SOP Instance UID, and what stands in for an answer that is missing."""
        if destination not in self._destinations:
            return {}, "no such destination in the settings"
        try:
            objects = [dcmread(self._results.path_of(path)) for path in paths]
            answers = self._destinations[destination].deliver(objects)
        except Exception as error:  # a plug-in's too: none may end the chain of attempts in silence
            return {}, shown(error)
        return {answer.sop_instance: answer for answer in answers}, "not sent in this attempt"
