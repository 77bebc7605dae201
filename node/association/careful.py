"""The careful lane: whole associations that pynetdicom serves, because more than storage was proposed."""

import contextlib
import logging
import os
import socket
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.dimse_messages import N_ACTION_RSP
from pynetdicom.pdu_primitives import AsynchronousOperationsWindowNegotiation, UserIdentityNegotiation
from pynetdicom.service_class import StorageServiceClass
from pynetdicom.sop_class import register_uid
from pynetdicom.transport import RequestHandler, ThreadedAssociationServer

from node import eventlog
from node.association import commitment, conformance
from node.association.commitment import StorageCommitment
from node.association.greeting import Connection
from node.association.guard import Guard
from node.association.intake import Answer, Intake, Status, StoreRequest
from node.association.mpps import ProcedureSteps, StepRequest
from node.association.negotiation import identity_accepted, one_at_a_time
from node.association.reports import CommitmentReports
from node.association.telling import Channel, one_message_at_a_time
from node.dicom.identifiers import shown_title
from node.dicom.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from node.eventlog import Event
from node.settings import AssociationSettings

_META_LENGTH = 140  # where the length of the file meta information is: the value of (0002,0000), PS3.10 section 7.1
_PIECE = 1 << 18
_PLENTY = 1 << 20  # associations: admission has counted them before


class CarefulLane:
    """Hands connections to pynetdicom, request unread, and waits for their end.

    Parameters
    ----------
    folder : Path
        For instances while they arrive, because memory may not hold them; emptied whenever nobody is served. It
        becomes the process's folder for temporary files, which is the only way to tell pynetdicom.
    """

    def __init__(
        self,
        settings: AssociationSettings,
        intake: Intake,
        commitment: StorageCommitment,
        steps: ProcedureSteps,
        reports: CommitmentReports,
        folder: Path,
    ) -> None:
        self._settings, self._intake, self._commitment, self._folder = settings, intake, commitment, folder
        self._steps, self._reports = steps, reports
        self._lock, self._serving = threading.Lock(), 0
        self._guards: dict[Association, Guard] = {}
        folder.mkdir(exist_ok=True, mode=0o700)
        self._sweep()
        _config.STORE_RECV_CHUNKED_DATASET = True
        tempfile.tempdir = str(folder)
        self._here = threading.local()  # the guard of the association that this thread begins
        for number, sop_class in enumerate(conformance.PRIVATE_STORAGE_CLASSES):  # unknown ones it would abort
            register_uid(sop_class, f"PrivateStorage{number}", StorageServiceClass)
        ae = AE(settings.ae_title)
        for one in conformance.careful_contexts():  # not by `supported_contexts`, which forgets the roles
            ae.add_supported_context(
                str(one.abstract_syntax), one.transfer_syntax, scu_role=one.scu_role, scp_role=one.scp_role
            )
        ae.maximum_associations = _PLENTY
        ae.maximum_pdu_size = settings.max_pdu_bytes
        ae.network_timeout = None  # the guard's affair: pynetdicom's begins anew with a PDU only when that is whole
        ae.dimse_timeout = settings.idle_timeout_s
        ae.acse_timeout = settings.request_timeout_s
        ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        handlers: list[Any] = [
            (evt.EVT_CONN_OPEN, self._watch),
            (evt.EVT_REQUESTED, self._negotiate),
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_C_ECHO, lambda _event: int(Status.SUCCESS)),
            (evt.EVT_N_ACTION, self._act),
            (evt.EVT_N_EVENT_REPORT, self._hear),
            (evt.EVT_N_CREATE, self._create),
            (evt.EVT_N_SET, self._set),
            (evt.EVT_DIMSE_SENT, self._sent),
        ]
        self._server: Any = ae.make_server(
            ("127.0.0.1", 0), evt_handlers=handlers, server_class=ThreadedAssociationServer
        )
        listening: Any = self._server.socket
        listening.close()  # the gate listens; of the server only its way to serve is wanted

    def serve(self, connection: Connection) -> None:
        """Serve a connection until its association has ended."""
        with self._lock:
            self._serving += 1
        began, guard = time.monotonic(), Guard(connection.socket, self._settings, self._intake)
        self._here.guard = guard
        try:
            RequestHandler(guard.socket, (connection.address, connection.port), self._server)  # type: ignore[arg-type]
            tally = guard.wait()
            eventlog.record(
                Event.ASSOCIATION_ENDED, peer=shown_title(guard.peer), lane="careful", instances=tally.instances,
                refused=tally.refused, bytes=tally.octets, seconds=round(time.monotonic() - began, 2),
                ended=f"'{tally.ended}'",
            )  # fmt: skip
        finally:
            with self._lock:
                self._guards = {one: other for one, other in self._guards.items() if other is not guard}
                self._serving -= 1
                if not self._serving:
                    self._sweep()

    def abort(self, connected: socket.socket) -> None:
        """End an association, from another thread."""
        guard = next((one for one in list(self._guards.values()) if one.connected is connected), None)
        if guard is not None:
            guard.end("the node stops")
        else:  # it has not begun
            with contextlib.suppress(OSError):
                connected.shutdown(socket.SHUT_RDWR)

    def _sweep(self) -> None:
        """Remove what pynetdicom left of instances that were cut off."""
        for file in self._folder.iterdir():
            file.unlink(missing_ok=True)

    def _watch(self, event: evt.Event) -> None:
        guard: Guard = self._here.guard
        guard.watch(event.assoc)
        with self._lock:
            self._guards[event.assoc] = guard
        one_message_at_a_time(event.assoc)

    def _negotiate(self, event: evt.Event) -> None:
        """Answer what pynetdicom does not answer by itself, as the bulk lane does."""
        acceptor, request = event.assoc.acceptor, event.assoc.requestor.primitive
        assert request is not None
        accepts = self._settings.user_identity == "accept"
        for item in request.user_information:
            if isinstance(item, AsynchronousOperationsWindowNegotiation):
                acceptor.add_negotiation_item(one_at_a_time())
            elif isinstance(item, UserIdentityNegotiation) and item.positive_response_requested and accepts:
                acceptor.add_negotiation_item(identity_accepted())

    def _store(self, event: evt.Event) -> Dataset:
        """Answer a C-STORE: the same intake as in the bulk lane."""
        guard = self._guards[event.assoc]
        with guard.answering():
            try:
                answer = self._take(event, guard)
            except Exception as error:  # pynetdicom would log its text, patient data included
                eventlog.record(Event.INSTANCE_REFUSED, logging.ERROR, reason=type(error).__name__)
                answer = Answer(Status.PROCESSING_FAILURE, "The instance could not be stored")
        taken = answer.status in (Status.SUCCESS, Status.COERCION_OF_DATA_ELEMENTS)
        guard.tally.instances += taken
        guard.tally.refused += not taken
        return _response(answer.status, answer.comment)

    def _take(self, event: evt.Event, guard: Guard) -> Answer:
        request: Any = event.request
        requestor, acceptor = event.assoc.requestor, event.assoc.acceptor
        why = guard.without_room.pop(request.MessageID, None)
        if why is not None:
            eventlog.record(
                Event.INSTANCE_REFUSED, logging.ERROR, reason=f"'{why}'", peer=shown_title(str(requestor.ae_title))
            )
            return Answer(Status.OUT_OF_RESOURCES, why.capitalize()[:64])
        if request.AffectedSOPClassUID != event.context.abstract_syntax:
            return Answer(Status.SOP_CLASS_NOT_SUPPORTED, "Another SOP Class than the presentation context's")
        incoming = self._intake.begin(
            StoreRequest(
                str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID),
                str(event.context.transfer_syntax), str(requestor.ae_title), str(acceptor.ae_title),
                str(requestor.address),
            )
        )  # fmt: skip
        try:
            with event.dataset_path.open("rb") as file:
                file.seek(_META_LENGTH)
                file.seek(int.from_bytes(file.read(4), "little"), os.SEEK_CUR)
                while piece := file.read(_PIECE):
                    incoming.add(piece)
                    incoming.flush()
            return incoming.finish()
        finally:
            incoming.drop()

    def _act(self, event: evt.Event) -> tuple[Dataset, None]:
        """Answer an N-ACTION: storage commitment is the only service with one."""
        request: Any = event.request
        context = event.context
        if context.abstract_syntax != conformance.STORAGE_COMMITMENT:
            reply = commitment.Reply(commitment.Status.NO_SUCH_SOP_CLASS, "Not negotiated for this context")
        else:
            information = request.ActionInformation
            action = commitment.Action(
                str(request.RequestedSOPClassUID), str(request.RequestedSOPInstanceUID), request.ActionTypeID,
                information.getvalue() if information else b"", str(event.assoc.requestor.ae_title),
                Channel(event.assoc, context.context_id, str(context.transfer_syntax)),
            )  # fmt: skip
            with self._guards[event.assoc].answering():
                reply = self._commitment.take(action, now=time.time())
        return _response(reply.status, reply.comment), None

    def _hear(self, event: evt.Event) -> tuple[Dataset, None]:
        """Answer an N-EVENT-REPORT: what became of a request of ours for storage commitment."""
        if event.context.abstract_syntax != conformance.STORAGE_COMMITMENT:
            return _response(commitment.Status.NO_SUCH_SOP_CLASS, "Not negotiated for this context"), None
        with self._guards[event.assoc].answering():
            reply = self._reports.take(event)
        return _response(reply.status, reply.comment), None

    def _create(self, event: evt.Event) -> tuple[Dataset, Dataset | None]:
        """Answer an N-CREATE: a performed procedure step begins."""
        request: Any = event.request
        step = _step_request(event, request.AffectedSOPClassUID, request.AffectedSOPInstanceUID, request.AttributeList)
        with self._guards[event.assoc].answering():
            reply = self._steps.create(step, now=time.time())
        named = None
        if reply.sop_instance and not step.sop_instance:
            named = Dataset()
            named.AffectedSOPInstanceUID = reply.sop_instance
        return _response(reply.status, reply.comment, reply.error_id), named

    def _set(self, event: evt.Event) -> tuple[Dataset, None]:
        """Answer an N-SET: a performed procedure step goes on, or ends."""
        request: Any = event.request
        step = _step_request(
            event, request.RequestedSOPClassUID, request.RequestedSOPInstanceUID, request.ModificationList
        )
        with self._guards[event.assoc].answering():
            reply = self._steps.change(step, now=time.time())
        return _response(reply.status, reply.comment, reply.error_id), None

    def _sent(self, event: evt.Event) -> None:
        if isinstance(event.message, N_ACTION_RSP):
            self._commitment.answered(now=time.time())


def _step_request(event: evt.Event, sop_class: Any, sop_instance: Any, data_set: Any) -> StepRequest:
    """Return what came; pynetdicom serves each presentation context by its own SOP Class's service."""
    return StepRequest(
        str(sop_class), str(sop_instance or ""), str(event.context.transfer_syntax),
        data_set.getvalue() if data_set else b"", str(event.assoc.requestor.ae_title),
    )  # fmt: skip


def _response(status: int, comment: str, error_id: int | None = None) -> Dataset:
    response = Dataset()
    response.Status = int(status)
    if comment:
        response.ErrorComment = comment[:64]  # LO
    if error_id is not None:
        response.ErrorID = error_id
    return response
