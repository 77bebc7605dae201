"""TLS towards peers: what is offered, what is refused, and certificates that change while the node runs."""

import logging
import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from node.association.tls import ServerTls, UnreadSocket, subject_of
from node.errors import SettingsError
from node.settings import TlsSettings
from tests.conftest import needs

_CONFIGURATION = """[ca]
default_ca=own
[own]
database=index
serial=serial
new_certs_dir=.
default_md=sha256
policy=any
unique_subject=no
default_crl_days=30
default_days=30
[any]
organizationName=optional
commonName=supplied
"""


class Authority:
    """A certificate authority in a folder, made with the `openssl` program."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "ca.cnf").write_text(_CONFIGURATION)
        (folder / "index").touch()
        (folder / "serial").write_text("1000\n")
        for name in ("ca", "rogue"):
            self._openssl("req", "-x509", *self._new_key(name), "-days", "30", "-out", f"{name}.crt")
        for name in ("server", "server2", "client", "revoked"):
            self.issue(name)
        self.issue("foreign", "rogue")
        self.issue("expired", "ca", "-startdate", "20200101000000Z", "-enddate", "20200201000000Z")
        self.sign("-gencrl", "-out", "empty.pem")
        self.sign("-revoke", "revoked.crt")
        self.sign("-gencrl", "-out", "crl.pem")

    def issue(self, name: str, by: str = "ca", *dates: str) -> None:
        self._openssl("req", *self._new_key(name), "-out", "csr.pem")
        self.sign("-batch", "-notext", "-in", "csr.pem", "-out", f"{name}.crt", *dates, by=by)

    def sign(self, *words: str, by: str = "ca") -> None:
        self._openssl("ca", "-config", "ca.cnf", "-cert", f"{by}.crt", "-keyfile", f"{by}.key", *words)

    def settings(self, name: str = "server", **more: str) -> TlsSettings:
        files = {"certificate": f"{name}.crt", "key": f"{name}.key", "ca": "ca.crt"} | more
        return TlsSettings(**{option: self.folder / file for option, file in files.items() if file})

    def client(self, name: str | None = "client", **more: Any) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(self.folder / "ca.crt")
        context.set_ciphers(more.get("ciphers", "ALL") + ":@SECLEVEL=0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # 1.1 is offered on purpose
            context.minimum_version = more.get("lowest", ssl.TLSVersion.TLSv1)
            context.maximum_version = more.get("highest", ssl.TLSVersion.MAXIMUM_SUPPORTED)
        if name:
            context.load_cert_chain(self.folder / f"{name}.crt", self.folder / f"{name}.key")
        return context

    def _new_key(self, name: str) -> tuple[str, ...]:
        # Elliptic curves are quick to make; the server has RSA, or key exchange by RSA could not even be offered.
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
        return (
            *(("-newkey", "rsa:2048") if name.startswith("server") else curve),
            "-nodes",
            "-keyout",
            f"{name}.key",
            "-subj",
            f"/O=Hospital/CN={name}",
        )

    def _openssl(self, *words: str) -> None:
        done = subprocess.run([needs("openssl", "openssl"), *words], cwd=self.folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        for key in self.folder.glob("*.key"):
            key.chmod(0o600)


def shake(server: ssl.SSLContext, client: ssl.SSLContext) -> tuple[UnreadSocket, ssl.SSLSocket]:
    """Return both ends of a connection whose handshake succeeded on both sides, or raise what the server found."""
    near, far = socket.socketpair()
    near.settimeout(5)
    far.settimeout(5)
    result: list[Any] = []

    def serve() -> None:
        try:
            result.append(server.wrap_socket(near, server_side=True))
        except OSError as error:
            result.append(error)
            near.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        end = client.wrap_socket(far)
    except OSError:
        end = None
    thread.join()
    if isinstance(result[0], OSError):
        raise result[0]
    assert end is not None
    return result[0], end


def close(*ends: socket.socket) -> None:
    for end in ends:
        end.close()


V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
ACCEPTED: dict[str, dict[str, Any]] = {
    "1.2 ECDHE GCM": {"lowest": V12, "highest": V12, "ciphers": "ECDHE-RSA-AES128-GCM-SHA256"},
    "1.2 ECDHE ChaCha20": {"lowest": V12, "highest": V12, "ciphers": "ECDHE-RSA-CHACHA20-POLY1305"},
    "1.3": {"lowest": V13},
}
REFUSED: dict[str, dict[str, Any]] = {
    "1.0": {"highest": ssl.TLSVersion.TLSv1},
    "1.1": {"lowest": ssl.TLSVersion.TLSv1_1, "highest": ssl.TLSVersion.TLSv1_1},
    "1.2 RSA CBC": {"lowest": V12, "highest": V12, "ciphers": "AES128-SHA"},
    "1.2 ECDHE CBC": {"lowest": V12, "highest": V12, "ciphers": "ECDHE-RSA-AES128-SHA256"},
    "1.2 NULL": {"lowest": V12, "highest": V12, "ciphers": "NULL-SHA256"},
    "1.2 anonymous": {"lowest": V12, "highest": V12, "ciphers": "AECDH-AES128-SHA"},
}
UNKNOWN: dict[str, dict[str, Any]] = {
    "no certificate": {"name": None},
    "foreign certificate": {"name": "foreign"},
    "expired certificate": {"name": "expired"},
    "revoked certificate": {"name": "revoked"},
}


@pytest.mark.parametrize("offer", ACCEPTED.values(), ids=ACCEPTED)
def test_what_bcp_195_recommends_is_accepted(authority: Authority, offer: dict[str, Any]) -> None:
    near, far = shake(ServerTls(authority.settings(crl="crl.pem")).context(), authority.client(**offer))

    assert subject_of(near) == "CN=client,O=Hospital"
    assert near.compression() is None
    close(near, far)


@pytest.mark.parametrize("offer", [*REFUSED.values(), *UNKNOWN.values()], ids=[*REFUSED, *UNKNOWN])
def test_what_bcp_195_forbids_or_nobody_vouches_for_is_refused(authority: Authority, offer: dict[str, Any]) -> None:
    server, client = ServerTls(authority.settings(crl="crl.pem")).context(), authority.client(**offer)

    with pytest.raises(ssl.SSLError):
        shake(server, client)


@pytest.mark.parametrize("offer", REFUSED.values(), ids=REFUSED)
def test_what_is_refused_would_be_taken_by_a_lax_server(authority: Authority, offer: dict[str, Any]) -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(authority.folder / "server.crt", authority.folder / "server.key")
    server.set_ciphers("ALL:eNULL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        server.minimum_version = ssl.TLSVersion.TLSv1
    server.sslsocket_class = UnreadSocket
    client = authority.client(**offer)
    client.verify_mode = ssl.CERT_NONE  # an anonymous server has nothing to verify

    close(*shake(server, client))


def test_a_revoked_certificate_is_refused_because_of_the_list_alone(authority: Authority) -> None:
    close(*shake(ServerTls(authority.settings()).context(), authority.client("revoked")))
    close(*shake(ServerTls(authority.settings(crl="empty.pem")).context(), authority.client("revoked")))

    with pytest.raises(ssl.SSLCertVerificationError, match="revoked"):
        shake(ServerTls(authority.settings(crl="crl.pem")).context(), authority.client("revoked"))


def test_without_ca_no_certificate_is_asked_for_and_no_subject_is_known(authority: Authority) -> None:
    near, far = shake(ServerTls(authority.settings(ca="")).context(), authority.client("foreign"))

    assert subject_of(near) is None
    close(near, far)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"certificate": ""}, "certificate is missing"),
        ({"ca": "", "crl": "crl.pem"}, "ca is missing"),
        ({"certificate": "none.crt"}, "certificate.*none.crt cannot be read"),
        ({"key": "none.key"}, "key.*none.key cannot be read"),
        ({"key": "server2.key"}, "KEY_VALUES_MISMATCH"),
        ({"key": "ca.cnf"}, "not usable together"),
        ({"key": "locked.key"}, "without passphrase"),
        ({"ca": "ca.cnf"}, "ca: .*not usable PEM"),
        ({"ca": "client.crt"}, "holds no CA certificate"),
        ({"crl": "ca.crt"}, "holds no revocation list"),
    ],
)
def test_files_that_cannot_serve_are_refused_by_name(authority: Authority, files: dict[str, str], words: str) -> None:
    if not (authority.folder / "locked.key").exists():
        words_of_openssl = ("pkey", "-in", "server.key", "-aes128", "-passout", "pass:secret", "-out", "locked.key")
        authority._openssl(*words_of_openssl)

    with pytest.raises(SettingsError, match=words):
        ServerTls(authority.settings(**files))


def test_nothing_under_tls_means_no_tls(authority: Authority) -> None:
    assert ServerTls.of(TlsSettings()) is None
    assert isinstance(ServerTls.of(authority.settings()), ServerTls)


class Files:
    """A copy of the server's files that a test may change, with a clock of its own."""

    def __init__(self, authority: Authority, folder: Path) -> None:
        self.authority = authority
        self.folder = folder
        self.now = 100.0
        self.put("server")
        shutil.copy(authority.folder / "ca.crt", folder)
        names = {"certificate": "certificate", "key": "key", "ca": "ca.crt"}
        self.settings = TlsSettings(**{option: folder / name for option, name in names.items()})
        self.tls = ServerTls(self.settings, monotonic=lambda: self.now)

    def put(self, name: str, *which: str) -> None:
        for kind in which or ("certificate", "key"):
            suffix = {"certificate": "crt", "key": "key"}[kind]
            shutil.copy(self.authority.folder / f"{name}.{suffix}", self.folder / "new")
            (self.folder / "new").replace(self.folder / kind)

    def shown(self) -> str:
        near, far = shake(self.tls.context(), self.authority.client())
        subject = str(subject_of(far))
        close(near, far)
        return subject


@pytest.fixture
def files(authority: Authority, tmp_path: Path) -> Files:
    return Files(authority, tmp_path)


def test_a_changed_certificate_is_shown_after_a_second_and_old_connections_go_on(files: Files) -> None:
    old = shake(files.tls.context(), files.authority.client())
    files.put("server2")

    files.now += 0.5
    assert files.shown() == "CN=server,O=Hospital"
    files.now += 0.6
    assert files.shown() == "CN=server2,O=Hospital"

    old[1].sendall(b"still here")
    assert old[0].recv(10) == b"still here"
    close(*old)


def test_files_that_stay_the_same_keep_the_context(files: Files) -> None:
    before = files.tls.context()
    files.now += 10

    assert files.tls.context() is before


def test_a_half_made_change_leaves_the_old_certificate_and_is_told_once(
    files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    files.put("server2", "certificate")  # the key is still the old one

    with caplog.at_level(logging.INFO):
        for _ in range(3):
            files.now += 2
            assert files.shown() == "CN=server,O=Hospital"
    assert caplog.text.count("A131") == 1

    files.put("server2", "key")
    files.now += 2
    assert files.shown() == "CN=server2,O=Hospital"


def test_a_key_that_others_can_read_is_told(files: Files, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        ServerTls(files.settings)
        assert "A132" not in caplog.text
        (files.folder / "key").chmod(0o640)
        ServerTls(files.settings)

    assert "A132" in caplog.text


def test_the_end_of_validity_is_read_as_openssl_reads_it(authority: Authority) -> None:
    openssl = [needs("openssl", "openssl"), "x509", "-noout", "-enddate", "-in", str(authority.folder / "server.crt")]
    text = subprocess.run(openssl, capture_output=True, text=True, check=True).stdout.strip().partition("=")[2]
    end = datetime.fromtimestamp(ssl.cert_time_to_seconds(text), UTC)

    assert ServerTls(authority.settings()).expires_in_days(end) == 0
    assert 29 < ServerTls(authority.settings()).expires_in_days(datetime.now(UTC)) <= 30


@pytest.mark.parametrize("read", ["recv", "recv_into"])
def test_bytes_given_back_come_first_and_once(authority: Authority, read: str) -> None:
    near, far = shake(ServerTls(authority.settings()).context(), authority.client())
    far.sendall(b"fresh")
    near.unread(b"cd")
    near.unread(b"ab")
    buffer = bytearray(3)

    def some() -> bytes:
        return near.recv(3) if read == "recv" else bytes(buffer[: near.recv_into(buffer)])

    assert near.pending() == 4
    assert [some() for _ in range(4)] == [b"abc", b"d", b"fre", b"sh"]
    assert near.pending() == 0
    close(near, far)


def test_recv_into_costs_no_more_once_all_is_replayed(authority: Authority) -> None:
    tls = ServerTls(authority.settings()).context()
    near, far = shake(tls, authority.client())
    near.unread(b"x")
    near.recv(1)
    buffer = memoryview(bytearray(16384))

    def seconds(receive: Callable[..., int]) -> float:
        best = 1.0
        for _ in range(40):
            far.sendall(bytes(16384 * 4))
            begun = time.perf_counter()
            for _ in range(4):
                receive(near, buffer)
            best = min(best, time.perf_counter() - begun)
        return best

    plain, ours = seconds(ssl.SSLSocket.recv_into), seconds(UnreadSocket.recv_into)
    print(f"{os.getpid()}: plain {plain / 4 * 1e6:.1f} us, ours {ours / 4 * 1e6:.1f} us a record of 16 kB")
    close(near, far)

    assert ours < 1.5 * plain  # measured: 1.0; the bound allows for a busy machine
