"""What every side of a DIMSE conversation needs, whether it calls or is called."""

import socket
import time
from typing import Any

from pynetdicom import evt
from pynetdicom.association import Association

_READER_LIMIT_S = 1.0  # it needs a millisecond; chosen
VERIFICATION = "1.2.840.10008.1.1"  # PS3.4 annex A


def _no_delay(event: evt.Event) -> None:
    connection: Any = event.assoc.dul.socket
    connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


# pynetdicom leaves Nagle's algorithm on, which costs 40 ms an instance (measured with pynetdicom 3.0.4).
NO_DELAY: tuple[Any, Any] = (evt.EVT_CONN_OPEN, _no_delay)


def await_reader(association: Association) -> None:
    """Wait until pynetdicom's reader thread has left the pause that the last request put it into.

    `send_c_store` takes a reader that is about to wake up for one that pauses; it then reads the peer's answer as if
    it were a request, and we wait for it in vain. Seen on a busy machine with pynetdicom 3.0.4, once in some hundred
    objects; pynetdicom issue 875 reports the like of C-FIND. There is no public way to ask the reader.
    """
    deadline = time.monotonic() + _READER_LIMIT_S
    while association._is_paused and association.is_established and time.monotonic() < deadline:
        time.sleep(0.0002)
