"""The front door over real sockets: who is served, who is closed, and what waiting costs."""

import contextlib
import errno
import gc
import logging
import queue
import resource
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.transport import ThreadedAssociationServer

from node.association.admission import Admission
from node.association.gate import Gate
from node.association.greeting import Connection
from node.association.tls import ServerTls
from node.dimse import await_reader
from node.settings import AssociationSettings, PeerSettings, TlsSettings
from tests.association.test_tls import Authority
from tests.conftest import ROOT

VERIFICATION = "1.2.840.10008.1.1"


def request(length: int = 68) -> bytes:
    """Return something that has the outline of an A-ASSOCIATE-RQ; the gate looks no further."""
    return struct.pack(">BBI", 1, 0, length) + bytes(n % 251 for n in range(length))


class Door:
    """A gate, its clients, and what it served: each connection is answered with the request's length and closed."""

    def __init__(
        self, tls: ServerTls | None = None, networks: tuple[str, ...] = ("127.0.0.1/32",), **more: Any
    ) -> None:
        settings = {"bind": "127.0.0.1", "port": 0, "request_timeout_s": 5.0} | more
        association = AssociationSettings(**settings)
        peer = PeerSettings.model_validate({"ae_title": "*", "addresses": networks})
        self.served: queue.Queue[Connection] = queue.Queue()
        self.ended = threading.Event()  # instead of the process
        allowed = Admission(association, [peer]).address_allowed
        self.gate = Gate(association, tls, allowed, self.answer, end_process=self.ended.set)
        self.gate.start()
        self.clients: list[socket.socket] = []

    def answer(self, connection: Connection) -> None:
        self.served.put(connection)
        read = bytearray()
        while len(read) < len(connection.request):
            read += connection.socket.recv(4096)
        assert read == connection.request
        connection.socket.sendall(len(read).to_bytes(4))
        connection.socket.close()

    def call(self, *pieces: bytes, context: ssl.SSLContext | None = None, source: str = "127.0.0.1") -> socket.socket:
        client = socket.create_connection(("127.0.0.1", self.gate.port), 5, source_address=(source, 0))
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context is not None:
            client = context.wrap_socket(client)
        self.clients.append(client)
        for piece in pieces:
            client.sendall(piece)
        return client

    @property
    def waiting(self) -> int:
        return len(self.gate._waiting)

    def stop(self) -> None:
        self.gate.stop()
        for client in self.clients:
            client.close()


@pytest.fixture
def opened() -> Iterator[Callable[..., Door]]:
    doors: list[Door] = []

    def make(*args: Any, **more: Any) -> Door:
        doors.append(Door(*args, **more))
        return doors[-1]

    yield make
    for door in doors:
        door.stop()


def answer(client: socket.socket) -> int:
    """Return the length that was answered, or 0 if the connection was closed without an answer."""
    try:
        return int.from_bytes(client.recv(4))
    except (ConnectionError, ssl.SSLError):
        return 0


def eventually(holds: Callable[[], bool], within_s: float = 5.0) -> bool:
    end = time.monotonic() + within_s
    while not holds() and time.monotonic() < end:
        time.sleep(0.005)
    return holds()


def seconds(what: Callable[[], object]) -> float:
    begun = time.monotonic()
    what()
    return time.monotonic() - begun


@pytest.mark.parametrize("length", [68, 5000, 40_000, 65_536])
@pytest.mark.parametrize("first", [None, 1, 5, 6, 7, 34_000])
def test_a_whole_request_is_served_unread_however_it_is_cut(
    opened: Callable[..., Door], length: int, first: int | None
) -> None:
    door, whole = opened(), request(length)

    client = door.call(whole[:first])
    if first is not None:
        time.sleep(0.01)
        client.sendall(whole[first:])

    assert answer(client) == length + 6
    connection = door.served.get(timeout=1)
    assert connection.request == whole
    assert (connection.address, connection.port) == client.getsockname()
    assert connection.tls_subject is None


def test_a_request_in_pieces_of_one_byte_is_served(opened: Callable[..., Door]) -> None:
    door = opened()

    client = door.call(*(bytes([octet]) for octet in request(2000)))

    assert answer(client) == 2006


def test_the_socket_handed_over_waits_for_single_bytes_again(opened: Callable[..., Door]) -> None:
    door = opened()

    answer(door.call(request(300)))
    connection = door.served.get(timeout=1)

    assert connection.socket.gettimeout() is None
    door2 = opened()
    kept: queue.Queue[socket.socket] = queue.Queue()
    door2.gate._serve = lambda connection: kept.put(connection.socket)
    client = door2.call(request(300)[:100])
    time.sleep(0.01)
    client.sendall(request(300)[100:])
    with kept.get(timeout=1) as handed:
        assert handed.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT) == 1
        assert handed.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert handed.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


@pytest.mark.parametrize("pieces", [(), (request()[:1],), (request()[:30],)], ids=["silent", "header", "half"])
def test_what_is_not_whole_at_the_deadline_is_closed(opened: Callable[..., Door], pieces: tuple[bytes, ...]) -> None:
    door = opened(request_timeout_s=0.2)

    client = door.call(*pieces)

    assert 0.15 < seconds(lambda: answer(client)) < 1.0
    assert door.gate.turned_away["deadline"] == 1
    assert door.served.empty()


def test_bytes_that_trickle_do_not_move_the_deadline(opened: Callable[..., Door]) -> None:
    door = opened(request_timeout_s=0.3)
    client, begun = door.call(), time.monotonic()

    with contextlib.suppress(OSError):
        for octet in request(68):
            client.sendall(bytes([octet]))
            time.sleep(0.02)

    assert answer(client) == 0
    assert time.monotonic() - begun < 1.0


@pytest.mark.parametrize(
    "start",
    [b"G", b"GET / HTTP/1.0\r\n\r\n", b"\x04", b"\x16\x03\x01\x02\x00\x01", request(65_537)[:6], request(67)],
    ids=["one byte", "http", "data", "tls", "too long", "too short"],
)
def test_what_is_no_request_is_closed_at_once(opened: Callable[..., Door], start: bytes) -> None:
    door = opened()

    assert seconds(lambda: answer(door.call(start))) < 1.0
    assert door.gate.turned_away["malformed"] == 1


def test_a_peer_that_closes_is_forgotten_at_once_and_without_a_line(
    opened: Callable[..., Door], caplog: pytest.LogCaptureFixture
) -> None:
    door, threads = opened(), threading.active_count()

    with caplog.at_level(logging.INFO):
        for _ in range(100):
            door.call().close()
            door.call(request()[:30]).close()
        assert eventually(lambda: door.gate.turned_away["gone"] == 200)

    assert door.waiting == 0
    assert threading.active_count() == threads
    assert caplog.text == ""


def test_an_address_that_no_peer_has_is_closed_unread_and_told_once(
    opened: Callable[..., Door], caplog: pytest.LogCaptureFixture
) -> None:
    door = opened()

    assert [answer(door.call(source=source)) for source in ("127.0.0.2", "127.0.0.2", "127.0.0.3")] == [0, 0, 0]
    assert door.gate.turned_away["address"] == 3
    assert answer(door.call(request())) == 74
    assert caplog.text.count("A121") == 2
    assert caplog.text.count("address=127.0.0.2") == caplog.text.count("address=127.0.0.3") == 1


def test_an_ipv4_peer_of_a_socket_for_ipv6_is_known_by_its_ipv4_address(opened: Callable[..., Door]) -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    door = opened(bind="::")

    assert answer(door.call(request())) == 74
    assert door.served.get(timeout=1).address == "127.0.0.1"


@pytest.mark.slow
def test_eight_hundred_that_say_nothing_or_half_cost_no_processor_and_hold_up_nobody(
    opened: Callable[..., Door],
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))  # both ends are in this process
    door = opened(request_timeout_s=60.0)
    for n in range(800):
        door.call(*((request(3000)[:1500],) if n % 2 else ()))
    assert eventually(lambda: door.waiting == 800)

    begun = time.process_time()
    time.sleep(1.0)
    used = time.process_time() - begun
    for client in door.clients[1::2]:
        client.sendall(b"x")  # still half
    answered = seconds(lambda: answer(door.call(request())))

    print(f"CPU {used:.4f} s a second, clean peer {answered * 1000:.1f} ms")
    assert used < 0.05
    assert answered < 1.0
    assert door.waiting == 800


def test_a_receive_buffer_that_is_too_small_at_first_costs_no_processor_and_delays_only_its_own_peer(
    opened: Callable[..., Door],
) -> None:
    door = opened()
    door.gate._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # Linux caps SO_RCVLOWAT by it
    client = door.call()
    threading.Thread(target=client.sendall, args=(request(40_000),), daemon=True).start()
    assert eventually(lambda: [one.greeting.is_woken_early for one in door.gate._waiting.values()] == [True])

    begun = time.process_time()
    assert answer(door.call(request())) == 74
    time.sleep(0.4)
    assert time.process_time() - begun < 0.1

    (waiting,) = door.gate._waiting.values()
    waiting.greeting.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    assert answer(client) == 40_006


def test_the_oldest_waiting_goes_when_too_many_wait(opened: Callable[..., Door]) -> None:
    door = opened(max_waiting=3)
    clients = [door.call() for _ in range(3)]
    assert eventually(lambda: door.waiting == 3)

    assert answer(door.call(request())) == 74

    assert answer(clients[0]) == 0
    clients[2].sendall(request())
    assert answer(clients[2]) == 74
    assert door.gate.turned_away["evicted"] == 1


def test_an_error_of_who_serves_is_told_by_class_and_closes_the_connection(
    opened: Callable[..., Door], caplog: pytest.LogCaptureFixture
) -> None:
    door = opened()

    def fail(connection: Connection) -> None:
        raise ValueError("DOE^JANE")

    door.gate._serve = fail
    assert answer(door.call(request())) == 0
    assert eventually(lambda: "error=ValueError" in caplog.text)
    assert "DOE" not in caplog.text


def test_no_descriptors_left_neither_ends_nor_spins_the_gate_and_who_waits_gives_way(
    opened: Callable[..., Door],
) -> None:
    door = opened(request_timeout_s=60.0)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    pairs = [socket.create_connection(("127.0.0.1", door.gate.port), 5) for _ in range(20)]
    assert eventually(lambda: door.waiting == 20)
    gc.collect()  # what other tests left open must not be given back meanwhile
    gc.disable()
    late = [socket.socket() for _ in range(3)]
    # Above all that are open, so that what is given up can be had again: a socket made now may lie in a gap below.
    highest = max(int(one.name) for one in Path("/proc/self/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
    blockers: list[socket.socket] = []
    try:
        with contextlib.suppress(OSError):
            while True:
                blockers.append(socket.socket())

        begun = time.process_time()
        for client in late:
            client.settimeout(5)
            client.connect(("127.0.0.1", door.gate.port))
            client.sendall(request())
        assert [answer(client) for client in late] == [74, 74, 74]
        assert time.process_time() - begun < 0.5
        assert door.gate.turned_away["evicted"] > 0
    finally:
        gc.enable()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for one in [*blockers, *late, *pairs]:
            one.close()


class Epoll:
    """The real one, but the next call of `failing` fails once."""

    def __init__(self, door: Door, failing: str) -> None:
        self._real, self.failing = door.gate._epoll, failing
        door.gate._epoll = self

    def __getattr__(self, name: str) -> Any:
        if name == self.failing:
            self.failing = ""
            raise OSError(errno.ENOSPC, "max_user_watches")
        return getattr(self._real, name)


@pytest.mark.parametrize("call", ["register", "unregister"])
def test_a_call_of_epoll_that_fails_costs_one_connection_only(opened: Callable[..., Door], call: str) -> None:
    door = opened()
    Epoll(door, call)

    assert answer(door.call(request())) == 0
    assert door.gate.turned_away["resources"] == 1
    assert door.waiting == 0
    assert answer(door.call(request())) == 74
    assert not door.ended.is_set()


def test_a_change_of_epoll_that_fails_costs_one_connection_only(opened: Callable[..., Door]) -> None:
    door = opened()
    door.gate._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # so that it is woken too early
    Epoll(door, "modify")
    client = door.call()

    with contextlib.suppress(ConnectionError):
        client.sendall(request(40_000))

    assert answer(client) == 0
    assert door.gate.turned_away["resources"] == 1
    assert answer(door.call(request())) == 74
    assert not door.ended.is_set()


def test_a_greeter_that_ends_ends_the_process(opened: Callable[..., Door], caplog: pytest.LogCaptureFixture) -> None:
    door = opened()
    Epoll(door, "poll")

    door.call()

    assert door.ended.wait(5)
    assert "A122" in caplog.text
    assert "error=OSError" in caplog.text


def test_a_listener_that_is_lost_ends_the_process_and_does_not_spin(opened: Callable[..., Door]) -> None:
    door = opened()

    door.gate._listener.shutdown(socket.SHUT_RDWR)

    assert door.ended.wait(5)


@pytest.mark.slow
def test_a_gate_ends_its_process_with_a_status_of_failure() -> None:
    """In a process of its own, with the default."""
    program = """
import socket, time
from node.association.gate import Gate
from node.settings import AssociationSettings
gate = Gate(AssociationSettings(bind="127.0.0.1", port=0), None, lambda address: True, lambda connection: None)
gate.start()
gate._listener.shutdown(socket.SHUT_RDWR)
time.sleep(10)
"""
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, timeout=8, check=False)

    assert ended.returncode == 1


def test_a_stopped_gate_has_closed_who_waited_and_takes_nobody(opened: Callable[..., Door]) -> None:
    door = opened()
    client = door.call(request()[:30])
    assert eventually(lambda: door.waiting == 1)
    port = door.gate.port

    assert seconds(door.gate.stop) < 1.0

    assert answer(client) == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 1)
    assert not [one for one in threading.enumerate() if one in door.gate._threads]


@pytest.mark.parametrize("length", [68, 65_536])
def test_a_tls_peer_is_served_with_its_subject_and_its_request_unread(
    opened: Callable[..., Door], authority: Authority, length: int
) -> None:
    door = opened(ServerTls(authority.settings(crl="crl.pem")))

    client = door.call(request(length)[:3], request(length)[3:], context=authority.client())

    assert answer(client) == length + 6
    connection = door.served.get(timeout=1)
    assert connection.tls_subject == "CN=client,O=Hospital"
    assert connection.socket.gettimeout() is None


@pytest.mark.parametrize("name", [None, "foreign", "revoked", "expired"])
def test_a_bad_certificate_costs_only_its_own_connection(
    opened: Callable[..., Door], authority: Authority, name: str | None
) -> None:
    door = opened(ServerTls(authority.settings(crl="crl.pem")))

    with contextlib.suppress(OSError):  # under 1.3 the client learns it only when it reads
        assert answer(door.call(request(), context=authority.client(name))) == 0

    assert eventually(lambda: door.gate.turned_away["tls"] == 1)
    assert answer(door.call(request(), context=authority.client())) == 74


def test_a_stalled_handshake_or_request_under_tls_holds_up_nobody_and_ends(
    opened: Callable[..., Door], authority: Authority
) -> None:
    door = opened(ServerTls(authority.settings()), request_timeout_s=0.5)
    stalled = [door.call(b"\x16\x03\x01\x02\x00\x01\x00\x01"), door.call(request()[:9], context=authority.client())]

    assert seconds(lambda: answer(door.call(request(), context=authority.client()))) < 0.4

    assert [answer(one) for one in stalled] == [0, 0]
    assert door.gate.turned_away["deadline"] == 2


def test_plain_dicom_on_a_tls_port_is_closed_at_once(opened: Callable[..., Door], authority: Authority) -> None:
    door = opened(ServerTls(authority.settings()))

    client = door.call(request())
    client.settimeout(1)

    with contextlib.suppress(ConnectionError):
        assert client.recv(100)[:1] in (b"", b"\x15")  # nothing, or a TLS alert
    assert eventually(lambda: door.gate.turned_away["tls"] == 1)


def test_a_new_certificate_is_shown_to_new_peers_and_the_old_association_goes_on(
    opened: Callable[..., Door], authority: Authority, tmp_path: Path
) -> None:
    now = [0.0]
    for kind in ("crt", "key"):
        shutil.copy(authority.folder / f"server.{kind}", tmp_path / kind)
    settings = TlsSettings(certificate=tmp_path / "crt", key=tmp_path / "key", ca=authority.folder / "ca.crt")
    door = opened(ServerTls(settings, monotonic=lambda: now[0]))
    old = door.call(request()[:20], context=authority.client())
    assert eventually(lambda: door.waiting == 1)

    for kind in ("crt", "key"):
        shutil.copy(authority.folder / f"server2.{kind}", tmp_path / kind)
    now[0] += 2
    new = door.call(request(), context=authority.client())
    old.sendall(request()[20:])

    assert (answer(old), answer(new)) == (74, 74)
    shown = [str(one.getpeercert()["subject"]) for one in (old, new) if isinstance(one, ssl.SSLSocket)]
    assert ["server2" in one for one in shown] == [False, True]


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_pynetdicom_finds_the_request_unread_and_answers_an_echo(
    opened: Callable[..., Door], authority: Authority, secure: bool
) -> None:
    door = opened(ServerTls(authority.settings()) if secure else None)
    scp = AE("PARASPINAL")
    scp.add_supported_context(VERIFICATION, ImplicitVRLittleEndian)
    echoes: list[str] = []
    handlers: list[Any] = [(evt.EVT_C_ECHO, lambda event: echoes.append(event.assoc.requestor.ae_title) or 0x0000)]
    server = scp.make_server(("127.0.0.1", 0), evt_handlers=handlers, server_class=ThreadedAssociationServer)
    door.gate._serve = lambda one: server.process_request(one.socket, (one.address, one.port))
    scu = AE("SCANNER")
    scu.add_requested_context(VERIFICATION, ImplicitVRLittleEndian)
    arguments: dict[str, Any] = {"tls_args": (authority.client(), None)} if secure else {}

    association = scu.associate("127.0.0.1", door.gate.port, ae_title="PARASPINAL", **arguments)
    assert association.is_established
    statuses = []
    for _ in range(2):
        await_reader(association)
        statuses.append(association.send_c_echo().Status)
    association.release()
    server.server_close()

    assert statuses == [0x0000, 0x0000]
    assert echoes == ["SCANNER", "SCANNER"]
