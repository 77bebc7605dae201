"""The front door: takes connections, and hands on those that have sent a whole A-ASSOCIATE-RQ in time.

A thread, a buffer, an Association come into being only then. What says nothing, says half, or speaks no DICOM costs a
descriptor and some hundred bytes until its deadline, and no processor time: the kernel wakes us when all is there.
"""

import errno
import logging
import os
import select
import socket
import ssl
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from node.association.admission import RecentlyTold, parse_address
from node.association.greeting import Connection, Greeting, NotARequestError, PlainGreeting, TlsGreeting
from node.association.tls import ServerTls
from node.eventlog import Event, record
from node.settings import AssociationSettings

_BACKLOG = 512  # receiver.md 5.1: pynetdicom's 5 loses connections when several scanners begin at once
_OUT_OF_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_NOT_LISTENING = (errno.EBADF, errno.EINVAL, errno.ENOTSOCK, errno.EOPNOTSUPP)  # accept(2): no call will come again
_RESOURCE_WAIT_S = 0.05  # chosen
_LOOK_AGAIN_S = 0.02  # chosen
_TELL_EVERY_S = 60.0  # a port scan makes one line a minute, not thousands
_WORTH_A_LINE = ("address", "deadline", "evicted", "malformed", "tls", "resources")  # not: a peer that closed
_GONE = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    greeting: Greeting
    descriptor: int
    address: str
    port: int
    deadline: float


@dataclass(frozen=True, slots=True)
class _Arrived:
    socket: socket.socket
    address: str
    port: int
    at: float


class Gate:
    """Listens from `start` to `stop`; `serve` is called in a thread of its own for every whole request, and owns it.

    Parameters
    ----------
    address_allowed
        Asked before anything is read.
    serve
        Has to close the socket. What it raises is recorded by class, and the socket is closed.
    end_process
        Called if listening has ended by an error of ours: a process that is up and answers nobody helps nobody, and
        one that has ended is started again.
    """

    # threading.stack_size is the whole process's: to lower it for these threads only would race with all others that
    # start one. A stack is address space until it is used, so there is little to gain.

    def __init__(
        self,
        settings: AssociationSettings,
        tls: ServerTls | None,
        address_allowed: Callable[[str], bool],
        serve: Callable[[Connection], None],
        *,
        end_process: Callable[[], object] = lambda: os._exit(1),
    ) -> None:
        self._settings = settings
        self._tls = tls
        self._address_allowed = address_allowed
        self._serve = serve
        self._end_process = end_process
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._arrived: deque[_Arrived | None] = deque()  # None: descriptors are needed
        self._waiting: dict[int, _Waiting] = {}  # by descriptor, oldest first; the greeter's alone
        self._early: deque[tuple[float, _Waiting]] = deque()  # woken too early; when to look again
        self._told: Counter[str] = Counter()
        self._tell_at = 0.0
        self._strangers = RecentlyTold()  # the accepting thread's alone
        # Connections that came to nothing, by reason. Each key is counted by one thread, and none is added later.
        self.turned_away = Counter(dict.fromkeys((*_WORTH_A_LINE, "gone"), 0))

    def start(self) -> None:
        """Begin to listen; OSError if the port cannot be had."""
        bind = self._settings.bind
        self._listener = socket.create_server(
            (bind, self._settings.port),
            family=socket.AF_INET6 if ":" in bind else socket.AF_INET,
            backlog=_BACKLOG,
            dualstack_ipv6=bind == "::",
        )
        self._epoll = select.epoll()
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._bell, select.EPOLLIN)
        self._threads = [
            threading.Thread(target=self._run, args=(self._accept_all,), name="gate-accept", daemon=True),
            threading.Thread(target=self._run, args=(self._greet_all,), name="gate-greeter", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    @property
    def port(self) -> int:
        """The TCP port it listens on; of interest where the settings say 0."""
        return int(self._listener.getsockname()[1])

    def stop(self) -> None:
        """Take no more connections and close those that wait; those handed to `serve` are its own affair."""
        if self._stopping.is_set() or not self._threads:
            return
        self._stopping.set()
        with suppress(OSError):  # it is lost already
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes `accept`; closing alone does not
        os.eventfd_write(self._bell, 1)
        for thread in self._threads:
            thread.join()
        self._listener.close()
        for one in self._arrived:
            if one is not None:
                one.socket.close()
        for waiting in [*self._waiting.values()]:
            self._drop(waiting, "gone")
        self._epoll.close()
        os.close(self._bell)

    def _run(self, loop: Callable[[], None]) -> None:
        try:
            loop()
        except BaseException as error:  # unforeseen; the text may quote what a peer sent
            try:
                record(Event.GATE_FAILED, logging.ERROR, error=type(error).__name__)
            finally:
                self._end_process()

    def _accept_all(self) -> None:
        while not self._stopping.is_set():
            try:
                accepted, (host, port, *_) = self._listener.accept()
            except OSError as error:
                if error.errno in _OUT_OF_RESOURCES:  # the connection stays in the backlog: no spinning on it
                    self._post(None)
                    self._stopping.wait(_RESOURCE_WAIT_S)
                elif error.errno in _NOT_LISTENING and not self._stopping.is_set():
                    raise
                continue  # anything else concerns one connection (accept(2)), or is the stop
            try:
                address = str(parse_address(host))
                if not self._address_allowed(address):
                    self.turned_away["address"] += 1
                    accepted.close()
                    if self._strangers.is_news(address):
                        record(Event.CALLER_UNKNOWN, logging.WARNING, address=address)
                    continue
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # receiver.md section 2
                accepted.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            except (OSError, ValueError):
                accepted.close()
                continue
            self._post(_Arrived(accepted, address, port, time.monotonic()))

    def _post(self, arrived: _Arrived | None) -> None:
        self._arrived.append(arrived)
        os.eventfd_write(self._bell, 1)

    def _greet_all(self) -> None:
        while not self._stopping.is_set():
            for descriptor, events in self._epoll.poll(self._longest_wait_s()):
                if descriptor in self._waiting:
                    self._look(self._waiting[descriptor], events)
            # Only after all events of this turn: a new connection may get the descriptor of one that was closed in it.
            self._look_again_at_early()
            self._take_arrived()
            self._end_overdue()
            self._tell()

    def _longest_wait_s(self) -> float:
        now = time.monotonic()
        until = next((one.deadline for one in self._waiting.values()), now + _TELL_EVERY_S)
        if self._early:
            until = min(until, self._early[0][0])
        return max(0.0, until - now)

    def _look(self, waiting: _Waiting, events: int) -> None:
        before = waiting.greeting.events
        try:
            request = waiting.greeting.look()
        except NotARequestError:
            self._drop(waiting, "malformed")
        except (EOFError, ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
            self._drop(waiting, "gone")
        except ssl.SSLError:
            self._drop(waiting, "tls")
        except Exception:  # a fault of one connection, whatever it is, must not end the greeting of all others
            self._drop(waiting, "gone")
        else:
            if request is not None:
                self._hand_over(waiting, request)
            elif events & _GONE:
                self._drop(waiting, "gone")
            elif waiting.greeting.is_woken_early:
                # The kernel also wakes us while the window is smaller than a segment. It grows when the peer has its
                # acknowledgement; until then we would be woken again and again.
                self._early.append((time.monotonic() + _LOOK_AGAIN_S, waiting))
                self._watch_for(waiting, select.EPOLLRDHUP)
            elif waiting.greeting.events != before:
                self._watch_for(waiting, waiting.greeting.events)

    def _take_arrived(self) -> None:
        with suppress(BlockingIOError):
            os.eventfd_read(self._bell)
        while self._arrived:
            arrived = self._arrived.popleft()
            if arrived is None:
                self._evict(max(1, len(self._waiting) // 8))  # chosen: enough for the burst that used them up
            else:
                self._evict(len(self._waiting) + 1 - self._settings.max_waiting)
                self._begin(arrived)

    def _begin(self, arrived: _Arrived) -> None:
        try:
            greeting = TlsGreeting(arrived.socket, self._tls.context()) if self._tls else PlainGreeting(arrived.socket)
        except (OSError, ValueError):  # closed already
            arrived.socket.close()
            self.turned_away["gone"] += 1
            return
        deadline = arrived.at + self._settings.request_timeout_s
        waiting = _Waiting(greeting, greeting.socket.fileno(), arrived.address, arrived.port, deadline)
        self._waiting[waiting.descriptor] = waiting
        try:
            self._epoll.register(waiting.descriptor, greeting.events)
        except OSError:  # ENOSPC: /proc/sys/fs/epoll/max_user_watches; ENOMEM
            self._drop(waiting, "resources")

    def _end_overdue(self) -> None:
        now = time.monotonic()
        while self._waiting and (oldest := next(iter(self._waiting.values()))).deadline <= now:
            self._drop(oldest, "deadline")

    def _evict(self, count: int) -> None:
        for _ in range(min(count, len(self._waiting))):
            self._drop(next(iter(self._waiting.values())), "evicted")

    def _look_again_at_early(self) -> None:
        now = time.monotonic()
        while self._early and self._early[0][0] <= now:
            _, waiting = self._early.popleft()
            if self._waiting.get(waiting.descriptor) is waiting:
                self._watch_for(waiting, waiting.greeting.events)

    def _watch_for(self, waiting: _Waiting, events: int) -> None:
        try:
            self._epoll.modify(waiting.descriptor, events)
        except OSError:  # ENOMEM
            self._drop(waiting, "resources")

    def _hand_over(self, waiting: _Waiting, request: bytes) -> None:
        try:
            self._epoll.unregister(waiting.descriptor)
        except OSError:  # it would go on to wake us
            self._drop(waiting, "resources")
            return
        del self._waiting[waiting.descriptor]
        greeting = waiting.greeting
        connection = Connection(greeting.socket, waiting.address, waiting.port, request, greeting.tls_subject)
        thread = threading.Thread(target=self._served, args=(connection,), name="association", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no more threads
            self.turned_away["resources"] += 1
            greeting.socket.close()

    def _served(self, connection: Connection) -> None:
        try:
            self._serve(connection)
        except Exception as error:  # the text may quote what the peer sent
            record(Event.ASSOCIATION_FAILED, logging.ERROR, error=type(error).__name__)
            connection.socket.close()

    def _drop(self, waiting: _Waiting, reason: str) -> None:
        del self._waiting[waiting.descriptor]
        self.turned_away[reason] += 1
        with suppress(OSError):
            self._epoll.unregister(waiting.descriptor)
        waiting.greeting.socket.close()

    def _tell(self) -> None:
        now = time.monotonic()
        if now < self._tell_at:
            return
        news = {reason: self.turned_away[reason] - self._told[reason] for reason in _WORTH_A_LINE}
        if any(news.values()):
            self._told.update(news)
            self._tell_at = now + _TELL_EVERY_S
            record(
                Event.CALLS_TURNED_AWAY, logging.WARNING, **{reason: count for reason, count in news.items() if count}
            )
