"""Peers that do nothing: what they cost, and whether others are still served meanwhile."""

import resource
import socket
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Literal

from benchmarks import blast
from benchmarks.load import WARM_UP
from benchmarks.peers import Receiver, Start
from benchmarks.places import Place
from benchmarks.processes import Running, cpu_s, resident_mb, running
from node.simulator.loopback import free_port

_WATCH_S = 4.0
_CONNECTED_S = 2.0  # until all connections are there, those that wait in the receiver's queue included
_ANSWERED_S = 3.0  # until an answer to an association request is waited for, all together
_PROBE_S = 5.0
_HALF = 40  # bytes of a request: inside its fixed fields

Kind = Literal["associations", "connections and half requests"]
_TITLES: dict[Kind, str] = {
    "associations": "{0} idle associations",
    "connections and half requests": "{0} idle connections, {0} half requests",
}


@dataclass(frozen=True, slots=True)
class Idled:
    """What idle peers did to a receiver; times are None where no answer came in 5 s.

    Parameters
    ----------
    accepted : int or None
        Associations; None where none were asked for.
    cpu_percent : float
        Of a core, of the receiving process, while nothing happens.
    grown_kb : float
        Resident memory of the receiving process, each peer.
    echo_s, store_s : float or None
        A new peer's association with one C-ECHO, with one C-STORE of 0.2 MB.
    """

    receiver: str
    title: str
    peers: int
    accepted: int | None
    cpu_percent: float
    grown_kb: float
    echo_s: float | None
    store_s: float | None


def idle(receiver: Receiver, place: Place, kind: Kind, count: int) -> Idled:
    """Return how a fresh receiver bears `count` idle associations, or connections and as many half-sent requests."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # for us, and for the receiver, which inherits it
    limit = 2 * count if kind == "associations" else None
    with ExitStack() as stack:
        start = Start(stack.enter_context(place.new_folder(0)), free_port(), limit)
        port, log = start.port, start.folder / "log.txt"
        it = stack.enter_context(running(receiver.command(start), receiver.environment, port, log))
        blast.send(port, WARM_UP.make(first=900_000)[:5])
        it.wait_until_calm()
        before_mb = resident_mb(it.receiving())
        if kind == "associations":
            sockets = _open(port, count, blast.associate_request())
            accepted = _accepted(sockets)
            cpu_percent = _cpu_percent(it)
            times = _probe(port)
        else:
            sockets = _open(port, count, b"") + _open(port, count, blast.associate_request()[:_HALF])
            accepted = None
            times = _probe(port)  # at once: a receiver with a deadline soon drops them
            cpu_percent = _cpu_percent(it)
        grown_mb = resident_mb(it.receiving()) - before_mb
        for one in sockets:
            one.close()
        it.must_live()
    return Idled(
        receiver.name,
        _TITLES[kind].format(count),
        len(sockets),
        accepted,
        cpu_percent,
        grown_mb * 1000 / len(sockets),
        *times,
    )


def _open(port: int, count: int, first_bytes: bytes) -> list[socket.socket]:
    """Return connections; one that finds no place in the receiver's queue in time stays unconnected, and idle too."""
    sockets = []
    for _ in range(count):
        one = socket.socket()
        one.setblocking(False)
        one.connect_ex(("127.0.0.1", port))
        sockets.append(one)
        time.sleep(0.0005)
    deadline = time.monotonic() + _CONNECTED_S
    for one in sockets:
        one.settimeout(max(0.001, deadline - time.monotonic()))
        try:
            one.sendall(first_bytes)
        except OSError:
            continue
    return sockets


def _accepted(sockets: Sequence[socket.socket]) -> int:
    deadline, accepted = time.monotonic() + _ANSWERED_S, 0
    for one in sockets:
        one.settimeout(max(0.005, deadline - time.monotonic()))
        try:
            accepted += one.recv(1) == b"\2"  # A-ASSOCIATE-AC
        except OSError:
            continue
    return accepted


def _cpu_percent(it: Running) -> float:
    before, began = cpu_s(it.receiving()), time.perf_counter()
    time.sleep(_WATCH_S)
    return 100 * (cpu_s(it.receiving()) - before) / (time.perf_counter() - began)


def _probe(port: int) -> tuple[float | None, float | None]:
    instance = WARM_UP.make(first=800_000)[0]

    def echo(association: blast.Association) -> bytes:
        return blast.echo_message()

    def store(association: blast.Association) -> bytes:
        return blast.store_message(instance, 1, association.longest_pdu)

    times: list[float | None] = []
    for message in (echo, store):
        began = time.perf_counter()
        try:
            with blast.Association(port, timeout_s=_PROBE_S) as association:
                association.exchange(message(association))
            times.append(time.perf_counter() - began)
        except (blast.RefusedError, OSError):
            times.append(None)
    return times[0], times[1]
