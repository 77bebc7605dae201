"""A-ASSOCIATE: pynetdicom decodes, decides and encodes; we say for which lane (PS3.7 annex D, PS3.8 section 9.3)."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    AsynchronousOperationsWindowNegotiation,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
    UserIdentityNegotiation,
)
from pynetdicom.presentation import PresentationContext, negotiate_as_acceptor

from node.association.admission import WRONG_APPLICATION_CONTEXT, WRONG_PROTOCOL_VERSION, Rejection
from node.dicom.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from node.errors import HeaderError

_PROTOCOL_VERSION = 0x0001
_APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"  # PS3.7 annex A.2.1
_ACCEPTED = 0x00  # of a presentation context: PS3.8 table 9-18


@dataclass(frozen=True, slots=True)
class Context:
    """An accepted presentation context."""

    abstract_syntax: str
    transfer_syntax: str


class AssociateRequest:
    """A decoded A-ASSOCIATE-RQ; HeaderError if the bytes are none."""

    def __init__(self, encoded: bytes) -> None:
        try:
            pdu = A_ASSOCIATE_RQ()
            pdu.decode(encoded)
            self._primitive: Any = pdu.to_primitive()
            self.called_ae = str(self._primitive.called_ae_title).strip(" ")
            self.calling_ae = str(self._primitive.calling_ae_title).strip(" ")
            proposed = self._primitive.presentation_context_definition_list
            self._protocol_version = int(pdu.protocol_version)
            self._application_context = str(pdu.application_context_name or "")
            self.proposed = frozenset(str(one.abstract_syntax) for one in proposed)
        except Exception as error:  # pynetdicom raises many kinds on garbage, and their texts quote it
            raise HeaderError("the A-ASSOCIATE-RQ cannot be read") from error

    @property
    def unsupported(self) -> Rejection | None:
        """What of the protocol itself is not ours, whoever asks (PS3.8 sections 9.3.2, 7.1.1.2).

        Of the protocol version only bit 0 is tested, as PS3.8 table 9-11 demands and DCMTK does.
        """
        if not self._protocol_version & _PROTOCOL_VERSION:
            return WRONG_PROTOCOL_VERSION
        if self._application_context != _APPLICATION_CONTEXT:
            return WRONG_APPLICATION_CONTEXT
        return None

    def accept(
        self, supported: Iterable[PresentationContext], *, largest_pdu: int, answer_identity: bool
    ) -> tuple[dict[int, Context], bytes]:
        """Return the accepted contexts by ID, and the A-ASSOCIATE-AC that says so.

        A peer that proposes roles may be SCU and not SCP; who would be SCP only does not get the context (PS3.7 section
        D.3.3.4). Of several transfer syntaxes in a context the one that `supported` names first is taken.
        Extended negotiation of SOP Classes is not answered, which means: not taken up (PS3.7 section D.3.3.5).
        """
        items: list[Any] = self._primitive.user_information
        roles: Any = {
            one.sop_class_uid: (one.scu_role, one.scp_role)
            for one in items
            if isinstance(one, SCP_SCU_RoleSelectionNegotiation)
        }
        results, role_answers = negotiate_as_acceptor(
            self._primitive.presentation_context_definition_list, list(supported), roles or None
        )
        answer: Any = A_ASSOCIATE()
        answer.application_context_name = self._primitive.application_context_name
        answer.calling_ae_title = self._primitive.calling_ae_title
        answer.called_ae_title = self._primitive.called_ae_title
        answer.result, answer.result_source = 0x00, 0x01
        answer.presentation_context_definition_results_list = results
        answer.user_information = [*_about_us(largest_pdu), *role_answers]
        for one in items:
            if isinstance(one, AsynchronousOperationsWindowNegotiation):
                answer.user_information.append(one_at_a_time())
            elif isinstance(one, UserIdentityNegotiation) and one.positive_response_requested and answer_identity:
                answer.user_information.append(identity_accepted())
        pdu = A_ASSOCIATE_AC()
        pdu.from_primitive(answer)
        contexts = {
            int(one.context_id or 0): Context(str(one.abstract_syntax), str(one.transfer_syntax[0]))
            for one in results
            if one.result == _ACCEPTED
        }
        return contexts, pdu.encode()


def rejected(rejection: Rejection) -> bytes:
    """Return the A-ASSOCIATE-RJ that tells a peer (PS3.8 section 9.3.4)."""
    pdu: Any = A_ASSOCIATE_RJ()
    pdu.result, pdu.source, pdu.reason_diagnostic = rejection.result, rejection.source, rejection.reason
    encoded: bytes = pdu.encode()
    return encoded


def _about_us(largest_pdu: int) -> list[Any]:
    length: Any = MaximumLengthNotification()
    length.maximum_length_received = largest_pdu
    implementation: Any = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    version: Any = ImplementationVersionNameNotification()
    version.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    return [length, implementation, version]


def one_at_a_time() -> Any:
    """Return the answer to any asynchronous operations window: 1 invoked, 1 performed (PS3.7 section D.3.3.3)."""
    window: Any = AsynchronousOperationsWindowNegotiation()
    window.maximum_number_operations_invoked = window.maximum_number_operations_performed = 1
    return window


def identity_accepted() -> Any:
    """Return the positive response to a user identity; empty, as for types 1 and 2 (PS3.7 section D.3.3.7)."""
    response: Any = UserIdentityNegotiation()
    response.server_response = b""
    return response
