"""TLS as PS3.15 B.12 and B.13 want it (BCP 195: RFC 8996, RFC 9325), with certificates that may change while we run.

Versions 1.2 and 1.3, ephemeral keys, authenticated encryption; the peer must show a certificate if `[tls] ca` is set.
"""

import logging
import re
import ssl
import stat
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any, cast

from node.errors import SettingsError
from node.eventlog import Event, record
from node.settings import TlsSettings

# RFC 9325 section 4.2. TLS 1.3 has none but such suites. Security level 2 refuses keys below 2048 bits (RSA) or 224
# bits (elliptic curves), and SHA-1 signatures.
_SUITES = "ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL:@SECLEVEL=2"
_LOOK_EVERY_S = 1.0  # chosen: five `stat` calls a second at most, and a new certificate serves at once for a person

_Attribute = tuple[str, str]
_SHORT_NAMES = {  # RFC 4514 section 3; OpenSSL's long names otherwise
    "commonName": "CN",
    "localityName": "L",
    "stateOrProvinceName": "ST",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "streetAddress": "STREET",
    "domainComponent": "DC",
    "userId": "UID",
}


class UnreadSocket(ssl.SSLSocket):
    """A TLS socket to which bytes can be given back: `MSG_PEEK` does not exist under TLS.

    pynetdicom must find the A-ASSOCIATE-RQ unread. It reads by `recv` and asks `pending`, because `select` does not
    see what is already decrypted.
    """

    _again = b""

    def unread(self, data: bytes) -> None:
        """Let the next reads give `data` first."""
        self._again = data + self._again

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        if not self._again:
            return super().recv(buflen, flags)
        data, self._again = self._again[:buflen], self._again[buflen:]
        return data

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        if not self._again:
            return super().recv_into(buffer, nbytes, flags)
        with memoryview(buffer) as view, view.cast("B") as octets:
            data = self.recv(nbytes or len(octets))
            octets[: len(data)] = data
        return len(data)

    def pending(self) -> int:
        return len(self._again) + super().pending()


class ServerTls:
    """The context for new connections, made again when a file of it changes; connections that stand are not touched.

    The key must not need a passphrase: nobody is there to type it. A revocation list that has run out refuses every
    peer until a new one is there.

    Raises
    ------
    SettingsError
        If a file is missing or not usable; the message names it.
    """

    def __init__(self, settings: TlsSettings, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._monotonic = monotonic
        self._lock = Lock()
        self._files = [path for path in (settings.certificate, settings.key, settings.ca, settings.crl) if path]
        self._state = self._state_of_files()  # before they are read: what changes after this is seen
        self._context = _context(settings)
        self._looked_at = monotonic()
        self._warn_of_readable_key()

    @classmethod
    def of(cls, settings: TlsSettings) -> "ServerTls | None":
        """Return what `[tls]` says, or nothing if it says nothing: then the receiver speaks in the clear."""
        return None if settings == TlsSettings() else cls(settings)

    def context(self) -> ssl.SSLContext:
        """Return the context for a connection that begins now.

        If changed files are not usable, the old context stays, and that is recorded once for each change: between two
        renames a key does not fit its certificate, and the next look finds both.
        """
        with self._lock:
            now = self._monotonic()
            if now - self._looked_at >= _LOOK_EVERY_S:
                self._looked_at = now
                self._renew()
            return self._context

    def expires_in_days(self, now: datetime) -> float:
        """Return for how many days from `now` (with a time zone) the node's certificate is valid; negative if past.

        It is read from the file; SettingsError if that cannot be done.
        """
        certificate = self._settings.certificate
        assert certificate is not None
        try:
            text = certificate.read_text(encoding="ascii")
            first = text[text.index(ssl.PEM_HEADER) : text.index(ssl.PEM_FOOTER) + len(ssl.PEM_FOOTER)]
            end = not_after(ssl.PEM_cert_to_DER_cert(first))
        except (OSError, ValueError, IndexError) as error:
            raise SettingsError(f"[tls] certificate: no end of validity could be read from {certificate}") from error
        return (end - now).total_seconds() / 86400

    def _renew(self) -> None:
        state = self._state_of_files()
        if state == self._state:
            return
        self._state = state
        try:
            self._context = _context(self._settings)
        except SettingsError as error:
            record(Event.TLS_FILES_UNUSABLE, logging.ERROR, reason=repr(str(error)))
        else:
            record(Event.TLS_FILES_TAKEN)
            self._warn_of_readable_key()

    def _state_of_files(self) -> list[tuple[int, int, int] | None]:
        return [_state_of(path) for path in self._files]

    def _warn_of_readable_key(self) -> None:
        key = self._settings.key or self._settings.certificate
        with suppress(OSError):  # renamed away in this moment: the next look sees the new one
            mode = stat.S_IMODE(key.stat().st_mode) if key else 0
            if mode & (stat.S_IRGRP | stat.S_IROTH):
                record(Event.TLS_KEY_READABLE, logging.WARNING, mode=oct(mode))


def subject_of(socket: ssl.SSLSocket) -> str | None:
    """Return the subject of the peer's verified certificate, or None if it was not asked for one.

    The form is that of RFC 4514, "CN=scanner-1,OU=MR,O=Hospital": last attribute of the certificate first.
    """
    certificate = socket.getpeercert()  # empty if there was nothing to verify it against
    if not certificate:
        return None
    return subject_text(cast("Iterable[Iterable[_Attribute]]", certificate["subject"]))


def subject_text(names: Iterable[Iterable[_Attribute]]) -> str:
    """Return a subject as `ssl` gives it (relative distinguished names in the certificate's order) in RFC 4514 form."""
    return ",".join("+".join(f"{_SHORT_NAMES.get(t, t)}={_escaped(v)}" for t, v in name) for name in [*names][::-1])


def is_subject(subject: str, wanted: str) -> bool:
    """Return whether `subject` (RFC 4514 form) is the one `wanted` by the settings.

    `wanted` with an equals sign is compared with the whole subject, without one with the common name (the last one of
    the certificate, if it has several). So a certificate whose common name spells another's whole subject is not it.
    """
    if "=" in wanted:
        return subject == wanted
    attributes = re.findall(r"(?:[^,+\\]|\\.)+", subject)
    return next((one for one in attributes if one.startswith("CN=")), None) == f"CN={_escaped(wanted)}"


def not_after(der: bytes) -> datetime:
    """Return the end of validity of an X.509 certificate (RFC 5280 section 4.1), in UTC.

    `ssl` tells it only of certificates of peers; five steps through the DER do without another dependency.
    """
    certificate, _ = _element(der)
    fields, _ = _element(certificate)
    if fields[0] == 0xA0:  # [0] version; absent means version 1
        _, fields = _element(fields)
    for _ in ("serialNumber", "signature", "issuer"):
        _, fields = _element(fields)
    validity, _ = _element(fields)
    _, rest = _element(validity)
    text = _element(rest)[0].decode("ascii")
    if rest[0] == 0x17:  # UTCTime: two digits of the year, 50 is 1950 (RFC 5280 section 4.1.2.5.1)
        text = ("19" if text[:2] >= "50" else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)


def _element(der: bytes) -> tuple[bytes, bytes]:
    """Return the contents of the first DER element, and what follows it."""
    length, start = der[1], 2
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(der[2:start])
    return der[start : start + length], der[start + length :]


def _escaped(value: str) -> str:
    """Return an attribute value with RFC 4514 section 2.4's escapes; also of whatever does not print, for the log."""
    special = re.sub(r'([,+"\\<>;=]|^[# ]| $)', r"\\\1", value)
    return "".join(c if c.isprintable() else "".join(f"\\{octet:02X}" for octet in c.encode()) for c in special)


def _state_of(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _context(settings: TlsSettings) -> ssl.SSLContext:
    if settings.certificate is None:
        raise SettingsError("[tls] certificate is missing: key, ca and crl are of use only with one")
    if settings.crl is not None and settings.ca is None:
        raise SettingsError("[tls] ca is missing: crl is of use only with one")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_SUITES)
    # No tickets: they outlive a revocation, and an association of minutes gains nothing by resumption.
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    # A connection that ends without close_notify, as by our own stop, is no fault: the A-ABORT is still to be sent over
    # it. Nothing can be cut off unnoticed, because PDUs and messages say where they end.
    context.options |= ssl.OP_IGNORE_UNEXPECTED_EOF
    context.num_tickets = 0
    context.sslsocket_class = UnreadSocket
    _load_own(context, settings.certificate, settings.key)
    if settings.ca is not None:
        _load_verified(context, "ca", settings.ca, "x509_ca")
        context.verify_mode = ssl.CERT_REQUIRED
    if settings.crl is not None:
        _load_verified(context, "crl", settings.crl, "crl")
        context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF
    return context


def _load_own(context: ssl.SSLContext, certificate: Path, key: Path | None) -> None:
    _must_be_readable("certificate", certificate)
    if key is not None:
        _must_be_readable("key", key)
    try:
        # Without a password of ours OpenSSL would ask for one at the terminal, and wait.
        context.load_cert_chain(certificate, key, password="")
    except (ssl.SSLError, ValueError) as error:
        why = getattr(error, "reason", None) or "needs a passphrase, or is not PEM"
        raise SettingsError(
            f"[tls] certificate {certificate} and key {key or '(in the same file)'} are not usable together, both in "
            f"PEM and without passphrase: {why}"
        ) from error


def _load_verified(context: ssl.SSLContext, name: str, path: Path, kind: str) -> None:
    _must_be_readable(name, path)
    before = context.cert_store_stats()[kind]
    try:
        context.load_verify_locations(path)
    except ssl.SSLError as error:
        raise SettingsError(f"[tls] {name}: {path} is not usable PEM: {error.reason}") from error
    if context.cert_store_stats()[kind] == before:
        raise SettingsError(f"[tls] {name}: {path} holds no {'revocation list' if kind == 'crl' else 'CA certificate'}")


def _must_be_readable(name: str, path: Path) -> None:
    try:
        path.read_bytes()
    except OSError as error:
        raise SettingsError(f"[tls] {name}: {path} cannot be read ({error.strerror})") from error
