"""The composition root of the receiving process: spool, ledger and the receiver that peers call; nothing else.

It imports neither queue, analysis nor report, and no pixel decoder (`process.leave_out_pixel_decoders` comes first):
it is the process that must stay up while the others come and go.
"""

import errno
import logging
import time
from datetime import UTC, datetime

from node import durable, eventlog, process
from node.association import Receiver, Retention
from node.association.tls import ServerTls
from node.errors import SettingsError
from node.eventlog import Event
from node.ledger import Arrivals, open_database
from node.loops import repeat
from node.settings import Settings
from node.spool import Spool

_RETAIN_EVERY_S = 600.0  # chosen
_LOOK_AT_CERTIFICATE_EVERY_S = 86400.0
_SOON_DAYS = 30.0  # chosen: time enough to order a certificate in a hospital
_OF_THE_PORT = (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES)  # bind(2)


class Reception:
    """The receiver, connected.

    Raises
    ------
    SettingsError
        If the data folder cannot be used.
    LedgerError
        If another process receives into the data folder.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        data_dir = process.open_data_dir(settings)
        self._port_file = data_dir / process.RECEIVER_PORT
        self._spool = Spool(
            data_dir / process.SPOOL,
            segment_bytes=settings.spool.segment_mb << 20,
            spare=settings.spool.spare_segments,
            floor_bytes=settings.spool.free_space_floor_mb << 20,
            zero_recycled=settings.spool.zero_recycled,
        )
        database = open_database(data_dir / process.DATABASE)
        self._arrivals = Arrivals(database)
        self._receiver = Receiver(settings, self._spool, database)

    def start(self) -> None:
        """Take up what was received before, then listen; SettingsError if the port cannot be had."""
        self._arrivals.excuse_outage(now=time.time())
        self._port_file.unlink(missing_ok=True)
        try:
            self._receiver.start()
        except OSError as error:
            if not is_of_the_port(error):
                raise
            raise SettingsError(f"[association] port: {error.strerror}") from error
        durable.write(self._port_file, f"{self.port}\n".encode())  # for `check`: it and a stranger may share a machine
        retention = Retention(
            self._spool, self._arrivals, self._receiver.register, keep_days=self._settings.spool.keep_days
        )
        repeat(lambda: retention.run_once(now=time.time()), _RETAIN_EVERY_S, "retention")
        tls = self._receiver.tls
        if tls is not None:
            warn_of_end(tls, now=datetime.now(UTC))
            repeat(lambda: warn_of_end(tls, now=datetime.now(UTC)), _LOOK_AT_CERTIFICATE_EVERY_S, "certificate")

    @property
    def port(self) -> int:
        """The TCP port peers call."""
        return self._receiver.port

    def stop(self) -> None:
        """Take no new associations and let the running ones end for `stop_wait_s`."""
        self._receiver.stop(drain_s=self._settings.node.stop_wait_s)


def is_of_the_port(error: OSError) -> bool:
    """Return whether a start failed for the port: it takes up the spool too, whose faults name a file."""
    return error.errno in _OF_THE_PORT and error.filename is None


def warn_of_end(tls: ServerTls, *, now: datetime) -> None:
    """Warn if the node's certificate is valid for less than 30 days from `now`."""
    days = tls.expires_in_days(now)
    if days < _SOON_DAYS:
        eventlog.record(Event.TLS_CERTIFICATE_ENDS, logging.WARNING, days=f"{days:.0f}")
