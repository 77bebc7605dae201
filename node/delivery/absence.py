"""How long a destination has taken nothing: whoever is away is left alone for a while, and told of once.

Away is who gives no association. Who gives one and then says "not now" to all that it is sent (0xA700, HTTP 503, no
answer) is asked on, for what one object is refused for says nothing of the others; but it is told of likewise.
"""

import logging
from collections.abc import Callable

from node import eventlog
from node.eventlog import Event
from node.settings import DeliverySettings

_ALARM_AFTER = 3  # turns in a row in which nothing was taken: 45 to 90 s, by the waits of the settings; chosen


class Absence:
    """Of one destination; times in seconds since 1970.

    Parameters
    ----------
    wait_s
        How long to wait after so many turns without an association.
    """

    def __init__(self, destination: str, settings: DeliverySettings, wait_s: Callable[[int], float]) -> None:
        self._destination, self._settings, self._wait_s = destination, settings, wait_s
        self._unreached, self._until_s = 0, 0.0
        self._vain, self._counted_s, self._vain_job = 0, 0.0, ""

    def lasts(self, now: float) -> bool:
        """Return whether nothing is to be tried yet: the next parcel would only find out the same."""
        return now < self._until_s <= now + self._settings.longest_wait_s

    def note_unreached(self, why: str, now: float) -> None:
        """Note a turn without an association."""
        self._unreached += 1
        self._until_s = now + self._wait_s(self._unreached)
        self._count(why, now)

    def note_vain(self, why: str, job: str, now: float) -> None:
        """Note a turn in which nothing of a job was taken, and nothing refused for good."""
        self._unreached = 0
        # However many parcels have their turn at this moment: by as many the archive is not the longer in trouble.
        is_of_this_moment = 0.0 <= now - self._counted_s < self._settings.first_wait_s / 2
        # 0xCxxx is about the object (PS3.4 table B.2-1): of one job, however often, it says nothing of the archive.
        is_of_one_job = why.startswith("0xC") and job == self._vain_job
        if not (is_of_this_moment or is_of_one_job):
            self._vain_job = job
            self._count(why, now)

    def note_answered(self) -> None:
        """Note an answer about no object of ours: it is there again, but may go on taking nothing."""
        if self._unreached:
            self.end()

    def end(self) -> None:
        """Note that the destination took something, or refused it for good."""
        if self._vain >= _ALARM_AFTER:
            eventlog.record(Event.DESTINATION_BACK, destination=self._destination)
        self._unreached = self._vain = 0

    def _count(self, why: str, now: float) -> None:
        self._vain, self._counted_s = self._vain + 1, now
        if self._vain == _ALARM_AFTER:
            eventlog.record(Event.DESTINATION_AWAY, logging.ERROR, destination=self._destination, reason=f"'{why}'")
