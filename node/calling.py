"""Calling a peer: as whom, over TLS or not, and never for longer than we mean to.

What pynetdicom leaves open is closed here: a peer that stops in the middle of a PDU, or never stops answering, would
hold its thread for ever. So each association has a moment at which its socket is shut down, whoever waits for it.
"""

import contextlib
import socket
import ssl
import threading
import time
from dataclasses import dataclass
from typing import Any, Protocol

from pynetdicom import evt

from node.errors import SettingsError
from node.settings import Settings, TlsSettings

_LEAST_S = 0.1  # chosen: who is there answers a second attempt at once
# RFC 9325 section 4.2, as where we are called (`association.tls`).
_SUITES = "ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL:@SECLEVEL=2"


@dataclass(frozen=True, slots=True)
class Caller:
    """How we call.

    Parameters
    ----------
    ae_title : str
        Our own.
    tls : TlsSettings
        Our certificate, and who has signed those of peers.
    silence_s : float
        Until a silent peer is given up.
    limit_s : float
        For one association as a whole.
    """

    ae_title: str
    tls: TlsSettings
    silence_s: float
    limit_s: float

    @classmethod
    def of(cls, settings: Settings, *, silence_s: float | None = None) -> "Caller":
        """Return how the settings say that destinations are called."""
        delivery = settings.delivery
        patience_s = delivery.network_timeout_s if silence_s is None else silence_s
        return cls(settings.association.ae_title, settings.tls, patience_s, delivery.time_limit_s)


class Peer(Protocol):
    """What of a peer's settings says how it is reached."""

    @property
    def host(self) -> str: ...

    @property
    def port(self) -> int: ...

    @property
    def tls(self) -> bool: ...

    @property
    def tls_name(self) -> str: ...


def tls_arguments(peer: Peer, tls: TlsSettings) -> tuple[ssl.SSLContext, str] | None:
    """Return what pynetdicom wants to call a peer over TLS, the files read as they are now; None if it is not to.

    Its certificate must be of `tls_name`, or of its host, and signed by `[tls] ca`, or by whom the system trusts.

    Raises
    ------
    SettingsError
        If a file is not usable.
    """
    if not peer.tls:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # which verifies, and checks the name
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_SUITES)
    try:
        if tls.ca is None:
            context.load_default_certs()
        else:
            context.load_verify_locations(tls.ca)
        if tls.crl is not None:
            context.load_verify_locations(tls.crl)
            context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF
        if tls.certificate is not None:
            context.load_cert_chain(tls.certificate, tls.key, password="")
    except (OSError, ValueError) as error:  # of which ssl.SSLError is one
        raise SettingsError("[tls]: a file is not usable, see: check") from error
    return context, peer.tls_name or peer.host


def why_none(peer: Peer, tls: TlsSettings, tried: "Deadline", *, patience_s: float) -> str:
    """Return in words why there is no association with a peer that was called, and did not reject it.

    `tried` saw the call; `patience_s` is what it had for a connection.
    """
    left_s = patience_s - tried.lasted_s
    why = "no answer that is DICOM" if tried.was_connected else _why_unreached(peer, tls, left_s=left_s)
    return f"no association with {peer.host}:{peer.port}: {why}"


def _why_unreached(peer: Peer, tls: TlsSettings, *, left_s: float) -> str:
    """Return why a peer cannot be connected to: pynetdicom keeps that to itself, so it is tried once more."""
    try:
        with socket.create_connection((peer.host, peer.port), max(left_s, _LEAST_S)) as connection:
            if (arguments := tls_arguments(peer, tls)) is not None:
                context, name = arguments
                context.wrap_socket(connection, server_hostname=name).close()
    except ssl.SSLCertVerificationError as error:
        return f"its certificate does not count: {error.verify_message}"
    except ssl.SSLError as error:
        return f"no TLS with it ({error.reason})"
    except TimeoutError:
        return "timed out"
    except socket.gaierror:
        return "its host name is not known"
    except OSError as error:
        return (error.strerror or type(error).__name__).lower()
    return "it let us connect at the second attempt only"


class Deadline:
    """Shuts a socket down when its time is over: then whoever reads from it goes on."""

    def __init__(self, limit_s: float) -> None:
        self._began = time.monotonic()
        self._ends = self._began + limit_s
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._timer = threading.Timer(limit_s, self._end)
        self._timer.daemon = True

    @property
    def passed(self) -> bool:
        """Whether its time is over."""
        return time.monotonic() >= self._ends

    @property
    def lasted_s(self) -> float:
        """How long ago it began."""
        return time.monotonic() - self._began

    @property
    def was_connected(self) -> bool:
        """Whether there was a connection at all."""
        return bool(self._sockets)

    def hold(self, event: evt.Event) -> None:
        """Take the socket of an association that has just been connected (EVT_CONN_OPEN)."""
        connection: Any = event.assoc.dul.socket
        with self._lock:
            self._sockets.append(connection.socket)
        if self.passed:
            self._end()

    def __enter__(self) -> "Deadline":
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def _end(self) -> None:
        with self._lock:
            for one in self._sockets:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
