"""The receiver: who comes through the gate is admitted or not, and served in one of two lanes."""

import contextlib
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator

from node import eventlog
from node.association import conformance
from node.association.admission import Admission, Caller, Rejection
from node.association.careful import CarefulLane
from node.association.commitment import StorageCommitment
from node.association.gate import Gate
from node.association.greeting import Connection
from node.association.intake import Intake
from node.association.lane import Lane, Tally
from node.association.mpps import ProcedureSteps
from node.association.negotiation import AssociateRequest, rejected
from node.association.register import Register
from node.association.reports import CommitmentReports
from node.association.tls import ServerTls
from node.association.wire import AbortReason, ConnectionEndedError, Wire, a_abort
from node.dicom.identifiers import shown_title
from node.errors import HeaderError
from node.eventlog import Event
from node.ledger import Arrivals, Commitments, Database, Expectations, Promises
from node.settings import Settings
from node.spool import Spool, SpoolReader

_CAREFUL = "careful"  # folder in the spool
_DRAIN_POLL_S = 0.05
_LINGER_S = 1.0  # that a peer gets to read our last word; chosen


class Receiver:
    """Answers C-ECHO, C-STORE, storage commitment and performed procedure steps from `start` to `stop`.

    Parameters
    ----------
    settings : Settings
        Of which it uses `association`, `tls` and `peer`.
    spool, database
        Where instances go, and their rows. The spool must not have been replayed: that is done here.
    """

    def __init__(self, settings: Settings, spool: Spool, database: Database) -> None:
        self._settings = settings.association
        self._spool = spool
        self.register = Register(spool, Arrivals(database))
        self._intake = Intake(settings.association, spool, self.register)
        self._admission = Admission(settings.association, settings.peer)
        self.tls = ServerTls.of(settings.tls)
        self._gate = Gate(settings.association, self.tls, self._admission.address_allowed, self._serve)
        self.commitment = StorageCommitment(
            settings.association, settings.peer, self.register, SpoolReader(spool.root), Commitments(database)
        )
        self._careful = CarefulLane(
            settings.association, self._intake, self.commitment, ProcedureSteps(Expectations(database)),
            CommitmentReports(Promises(database), settings.delivery), spool.root / _CAREFUL,
        )  # fmt: skip
        self._serving: dict[int, Callable[[], None]] = {}  # by thread: what ends it
        self._lock = threading.Lock()

    @property
    def port(self) -> int:
        """The TCP port it listens on; of interest where the settings say 0."""
        return self._gate.port

    def start(self) -> None:
        """Take up what was received before, then begin to answer; OSError if the port cannot be had."""
        entered = self.register.replay(now=time.time())
        if entered:
            eventlog.record(Event.SPOOL_REPLAYED, instances=entered)
        self._spool.start()
        self.register.start()
        self._gate.start()
        self.commitment.start()

    def stop(self, *, drain_s: float) -> None:
        """Take no more associations, let the running ones end by themselves for `drain_s`, then abort them."""
        self._gate.stop()
        deadline = time.monotonic() + drain_s
        while self._serving and time.monotonic() < deadline:
            time.sleep(_DRAIN_POLL_S)
        with self._lock:
            ends = list(self._serving.values())
        for end in ends:
            end()
        deadline = time.monotonic() + 2 * _LINGER_S
        while self._serving and time.monotonic() < deadline:
            time.sleep(_DRAIN_POLL_S)
        self.commitment.stop()
        self.register.close()
        self._spool.close()

    # ---------------------------------------------------------------- one connection, in a thread of its own

    def _serve(self, connection: Connection) -> None:
        with connection.socket:
            try:
                self._admit(connection)
            except HeaderError:
                eventlog.record(
                    Event.ASSOCIATION_REFUSED, logging.WARNING, reason="'request cannot be read'",
                    address=connection.address,
                )  # fmt: skip
                self._last_word(connection, a_abort(AbortReason.INVALID_PARAMETER))
            _linger(connection.socket)

    def _admit(self, connection: Connection) -> None:
        request = AssociateRequest(connection.request)
        peer = shown_title(request.calling_ae)
        caller = Caller(request.called_ae, request.calling_ae, connection.address, connection.tls_subject)
        admitted = request.unsupported or self._admission.admit(caller)
        if isinstance(admitted, Rejection):
            eventlog.record(
                Event.ASSOCIATION_REFUSED, logging.WARNING, reason=f"'{admitted.why}'", peer=peer,
                called=shown_title(request.called_ae), address=connection.address,
            )  # fmt: skip
            self._last_word(connection, rejected(admitted))
            return
        with admitted:
            if request.proposed & conformance.CAREFUL_CLASSES or not request.proposed & conformance.BULK_CLASSES:
                eventlog.record(Event.ASSOCIATION_BEGAN, logging.DEBUG, peer=peer, lane="careful")
                with self._counted(lambda: self._careful.abort(connection.socket)):
                    self._careful.serve(connection)
            else:
                began = time.monotonic()
                tally = self._bulk(connection, request, caller)
                eventlog.record(
                    Event.ASSOCIATION_ENDED, peer=peer, instances=tally.instances, refused=tally.refused,
                    bytes=tally.octets, seconds=round(time.monotonic() - began, 2), ended=f"'{tally.ended}'",
                )  # fmt: skip

    def _bulk(self, connection: Connection, request: AssociateRequest, caller: Caller) -> Tally:
        settings = self._settings
        try:
            connection.socket.recv(len(connection.request))  # only looked at until now
            wire = Wire(
                connection.socket,
                largest_pdu=settings.max_pdu_bytes,
                idle_s=settings.idle_timeout_s,
                slowest=settings.slowest_bytes_per_s,
            )
        except OSError:  # reset by the peer behind its request
            return Tally(ended="connection broke")
        contexts, answer = request.accept(
            conformance.bulk_contexts(),
            largest_pdu=settings.max_pdu_bytes,
            answer_identity=settings.user_identity == "accept",
        )
        lane = Lane(wire, contexts, self._intake, caller, largest_pdu=settings.max_pdu_bytes)
        with self._counted(wire.stop):
            try:
                wire.send(answer)
            except ConnectionEndedError as error:
                return Tally(ended=error.why)
            lane.serve()
        return lane.tally

    @contextlib.contextmanager
    def _counted(self, end: Callable[[], None]) -> Iterator[None]:
        here = threading.get_ident()
        with self._lock:
            self._serving[here] = end
        try:
            yield
        finally:
            with self._lock:
                del self._serving[here]

    def _last_word(self, connection: Connection, pdu: bytes) -> None:
        with contextlib.suppress(OSError):
            connection.socket.settimeout(_LINGER_S)
            connection.socket.recv(len(connection.request))  # what is unread would turn our close into a reset
            connection.socket.sendall(pdu)


def _linger(connected: socket.socket) -> None:
    """Let the peer read our last word: closing with something unread would discard it at the peer.

    Under TLS the last word is the alert close_notify (RFC 8446 section 6.1); what comes behind it is not decrypted.
    """
    deadline = time.monotonic() + _LINGER_S
    with contextlib.suppress(OSError):
        if isinstance(connected, ssl.SSLSocket):
            connected.settimeout(_LINGER_S)
            with contextlib.suppress(OSError, ValueError):  # the peer does not answer it, or sends on, or has gone
                connected.unwrap()
        socket.socket.shutdown(connected, socket.SHUT_WR)
        while (left := deadline - time.monotonic()) > 0:
            connected.settimeout(left)
            if not socket.socket.recv(connected, 1 << 16):
                break
