"""An archive that answers: C-ECHO, C-FIND, C-MOVE and C-GET in the Study Root (PS3.4 annex C), each with an end."""

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    EnhancedMRColorImageStorage,
    EnhancedMRImageStorage,
    EnhancedSRStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    LegacyConvertedEnhancedMRImageStorage,
    MRImageStorage,
)
from pynetdicom import AE, build_context, build_role, evt
from pynetdicom.association import Association

from node.calling import Deadline, tls_arguments, why_none
from node.dicom.identifiers import InstanceUID, SeriesUID, StudyUID
from node.dimse import NO_DELAY, VERIFICATION, await_reader
from node.errors import RetrievalError
from node.records import KnownStudy
from node.retrieval.answers import (
    SeriesAnswer,
    StudyAnswer,
    read_instances,
    read_known,
    read_series,
    read_studies,
)
from node.settings import ArchiveSettings, Settings, TlsSettings

# Study Root Query/Retrieve Information Model, PS3.4 table C.6.2-1
_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
_GET = "1.2.840.10008.5.1.4.1.2.2.3"
_UNCOMPRESSED: list[str | UID] = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
# What a C-GET may bring: what is pulled is MR, and reports of ours. One context for each pair, so that the archive need
# not convert.
_IMAGES = (
    MRImageStorage,
    EnhancedMRImageStorage,
    EnhancedMRColorImageStorage,
    LegacyConvertedEnhancedMRImageStorage,
)
_SYNTAXES = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    UID("1.2.840.10008.1.2.5"),  # RLE Lossless
    UID("1.2.840.10008.1.2.4.50"),  # JPEG Baseline
    UID("1.2.840.10008.1.2.4.51"),  # JPEG Extended
    UID("1.2.840.10008.1.2.4.57"),  # JPEG Lossless
    UID("1.2.840.10008.1.2.4.70"),  # JPEG Lossless SV1
    UID("1.2.840.10008.1.2.4.80"),  # JPEG-LS Lossless
    UID("1.2.840.10008.1.2.4.81"),  # JPEG-LS Near-lossless
    UID("1.2.840.10008.1.2.4.90"),  # JPEG 2000 Lossless
    UID("1.2.840.10008.1.2.4.91"),  # JPEG 2000
)
_REPORTS = (Comprehensive3DSRStorage, ComprehensiveSRStorage, EnhancedSRStorage)
BROUGHT_BY_GET = (
    *((one, syntax) for one in _IMAGES for syntax in _SYNTAXES),
    *((one, syntax) for one in _REPORTS for syntax in _SYNTAXES[:2]),
)
_PENDING = frozenset({0xFF00, 0xFF01})  # PS3.4 table C.4-1
_SUCCESS = 0x0000
_SOME_FAILED = 0xB000  # PS3.4 tables C.4-2 and C.4-3: a warning, sub-operations ended with failures
_CANNOT_BE_STORED = 0xA700  # PS3.4 table B.2-1
_NO_TLS = TlsSettings()
_MOST_ANSWERS = 20_000  # to one question, some 2 kB each; chosen

Answer = tuple[Dataset, Dataset | None]


@dataclass(frozen=True, slots=True)
class Instance:
    """An instance that a C-GET brings: as bytes, and what its presentation context says of them."""

    sop_class: str
    sop_instance: str
    transfer_syntax: str
    data_set: bytes


class Archive:
    """A Query/Retrieve SCP; every question is an association of its own.

    Each method raises RetrievalError if there is no association, no answer in time, or a failure for an answer.

    Parameters
    ----------
    settings : ArchiveSettings
        Where it is.
    calling_ae : str
        Our AE title; also the Move Destination, which the archive must know by address.
    silence_s : float
        Until a silent archive is given up.
    tls : TlsSettings
        Our certificate, and who has signed that of an archive that is called over TLS.
    """

    def __init__(
        self, settings: ArchiveSettings, *, calling_ae: str, silence_s: float, tls: TlsSettings = _NO_TLS
    ) -> None:
        self._settings, self._calling_ae, self._silence_s, self._tls = settings, calling_ae, silence_s, tls

    @classmethod
    def of(cls, settings: Settings, one: ArchiveSettings, *, silence_s: float | None = None) -> "Archive":
        """Return an archive of the settings."""
        patience_s = settings.retrieval.silence_s if silence_s is None else silence_s
        return cls(one, calling_ae=settings.association.ae_title, silence_s=patience_s, tls=settings.tls)

    @property
    def name(self) -> str:
        """Its name in the settings."""
        return self._settings.name

    def echo(self) -> int:
        """Return the status that a C-ECHO gets."""
        with self._associated([build_context(VERIFICATION, _UNCOMPRESSED)], limit_s=2 * self._silence_s) as association:
            status = getattr(association.send_c_echo(), "Status", None)
        if status is None:
            raise RetrievalError("no answer to the C-ECHO")
        return int(status)

    def study(self, study: StudyUID) -> tuple[StudyAnswer | None, list[SeriesAnswer]]:
        """Return a study as the archive has it, with its series; None and none if it has not."""
        with self._asking() as ask:
            studies = read_studies(ask("STUDY", _OF_A_STUDY | {"StudyInstanceUID": study}))
            known = next((one for one in studies if one.study == study), None)
            series = read_series(ask("SERIES", _OF_A_SERIES | {"StudyInstanceUID": study}), study)
        return known, series

    def known(self, study: StudyUID) -> KnownStudy | None:
        """Return whose study it is by what the archive says; None if it has no such study."""
        with self._asking() as ask:
            return read_known(ask("STUDY", _WHOSE_STUDY | {"StudyInstanceUID": study}), study)

    def studies_of(self, patient_id: str) -> list[StudyAnswer]:
        """Return the studies under a Patient ID, whosever they are."""
        with self._asking() as ask:
            return read_studies(ask("STUDY", _OF_A_STUDY | {"PatientID": patient_id}))

    def instances(self, study: StudyUID, series: SeriesUID) -> frozenset[InstanceUID]:
        """Return the instances of a series that the archive has."""
        with self._asking() as ask:
            keys = {"StudyInstanceUID": study, "SeriesInstanceUID": series, "SOPInstanceUID": ""}
            return read_instances(ask("IMAGE", keys), series)

    def send(
        self, study: StudyUID, series: SeriesUID, instances: Collection[InstanceUID] = (), *, limit_s: float
    ) -> None:
        """Have the archive send a series, or some instances of it, to our own receiver."""
        context = build_context(_MOVE, _UNCOMPRESSED)
        with self._associated([context], limit_s=limit_s, silence_s=limit_s) as association:
            await_reader(association)
            wanted = _identifier(study, series, instances)
            _follow(association.send_c_move(wanted, self._calling_ae, _MOVE))

    def get(
        self,
        study: StudyUID,
        series: SeriesUID,
        instances: Collection[InstanceUID] = (),
        *,
        limit_s: float,
        store: Callable[[Instance], int],
    ) -> None:
        """Have the archive send a series, or some instances of it, over the association; `store` gives each status."""
        contexts = [build_context(*pair) for pair in BROUGHT_BY_GET]
        roles = [build_role(one, scp_role=True) for one in (*_IMAGES, *_REPORTS)]

        def take(event: evt.Event) -> int:
            try:
                request: Any = event.request
                return store(
                    Instance(
                        str(request.AffectedSOPClassUID),
                        str(request.AffectedSOPInstanceUID),
                        str(event.context.transfer_syntax),
                        request.DataSet.getvalue(),
                    )
                )
            except Exception:  # towards a peer a fault is a status; pynetdicom would log its text
                return _CANNOT_BE_STORED

        with self._associated(
            [build_context(_GET, _UNCOMPRESSED), *contexts],
            limit_s=limit_s,
            silence_s=limit_s,
            roles=roles,
            handlers=[(evt.EVT_C_STORE, take)],
        ) as association:
            await_reader(association)
            _follow(association.send_c_get(_identifier(study, series, instances), _GET))

    @contextlib.contextmanager
    def _asking(self) -> Iterator[Callable[[str, Mapping[str, str]], list[Dataset]]]:
        """Hold an association for questions, and give what asks one: the level, and its keys by keyword."""
        limit_s = 4 * self._silence_s  # for all of them together; chosen
        with self._associated([build_context(_FIND, _UNCOMPRESSED)], limit_s=limit_s) as association:

            def ask(level: str, keys: Mapping[str, str]) -> list[Dataset]:
                identifier = Dataset()
                identifier.QueryRetrieveLevel = level
                for keyword, value in keys.items():
                    setattr(identifier, keyword, value)
                if not association.is_established:
                    raise RetrievalError("the association ended")
                await_reader(association)
                return _collect(association.send_c_find(identifier, _FIND))

            yield ask

    @contextlib.contextmanager
    def _associated(
        self,
        contexts: Sequence[Any],
        *,
        limit_s: float,
        silence_s: float | None = None,
        roles: Sequence[Any] = (),
        handlers: Sequence[Any] = (),
    ) -> Iterator[Association]:
        """Hold an association that ends after `limit_s` at the latest; RetrievalError for all that goes wrong."""
        entity = AE(self._calling_ae)
        entity.acse_timeout = entity.connection_timeout = self._silence_s
        entity.dimse_timeout = entity.network_timeout = self._silence_s if silence_s is None else silence_s
        entity.requested_contexts = list(contexts)
        with Deadline(limit_s) as deadline:
            try:
                association = entity.associate(
                    self._settings.host,
                    self._settings.port,
                    ae_title=self._settings.ae_title,
                    ext_neg=list(roles),
                    tls_args=tls_arguments(self._settings, self._tls),
                    evt_handlers=[NO_DELAY, (evt.EVT_CONN_OPEN, deadline.hold), *handlers],
                )
            except OSError as error:  # its host has no address
                raise RetrievalError(self._why_none(deadline)) from error
            try:
                if association.is_rejected:
                    raise RetrievalError("the archive rejects the association")
                if not association.is_established:
                    raise RetrievalError(self._why_none(deadline))
                try:
                    yield association
                except (RuntimeError, ValueError) as error:  # it went away under our hands; no context was accepted
                    raise RetrievalError("the archive does not offer what was asked, or left") from error
            except RetrievalError as error:
                if association.is_established:
                    association.abort()  # it may be in the middle of answers
                if deadline.passed:
                    raise RetrievalError(f"not done within {limit_s:g} s") from error
                raise
            finally:
                if association.is_established:
                    association.release()

    def _why_none(self, tried: Deadline) -> str:
        return why_none(self._settings, self._tls, tried, patience_s=self._silence_s)


# Return keys: "" asks for the value (PS3.4 section C.2.2.1.3)
_OF_A_STUDY = {
    "PatientID": "", "IssuerOfPatientID": "", "PatientBirthDate": "", "StudyDate": "", "StudyTime": "",
    "StudyDescription": "", "ModalitiesInStudy": "", "StudyInstanceUID": "",
}  # fmt: skip
_WHOSE_STUDY = {"PatientID": "", "PatientName": "", "AccessionNumber": ""}
_OF_A_SERIES = {
    "SeriesInstanceUID": "", "Modality": "", "SeriesDescription": "", "BodyPartExamined": "",
    "NumberOfSeriesRelatedInstances": "",
}  # fmt: skip


def _identifier(study: StudyUID, series: SeriesUID, instances: Collection[InstanceUID]) -> Dataset:
    identifier = Dataset()
    identifier.QueryRetrieveLevel = "IMAGE" if instances else "SERIES"
    identifier.StudyInstanceUID = study
    identifier.SeriesInstanceUID = series
    if instances:
        identifier.SOPInstanceUID = sorted(instances)  # a list of UIDs, PS3.4 section C.2.2.2.2
    return identifier


def _collect(answers: Iterator[Answer]) -> list[Dataset]:
    """Return the identifiers of the pending answers once the last one is Success."""
    found: list[Dataset] = []
    for status, identifier in answers:
        code = _code(status)
        if code not in _PENDING:
            if code != _SUCCESS:
                raise RetrievalError(f"the archive answers 0x{code:04X} to the C-FIND")
            return found
        if identifier is None:
            raise RetrievalError("an answer of the archive cannot be read")
        found.append(identifier)
        if len(found) > _MOST_ANSWERS:
            raise RetrievalError(f"the archive has more than {_MOST_ANSWERS} answers")
    raise RetrievalError("the archive stopped answering")


def _follow(answers: Iterator[Answer]) -> None:
    """Wait for the last answer to a C-MOVE or C-GET; RetrievalError with its status unless it is Success.

    How many sub-operations an archive counts is not looked at: what has come, our own ledger knows.
    """
    for status, _identifier in answers:
        code = _code(status)
        if code == _SOME_FAILED:
            raise RetrievalError("the archive could not send all of it")
        if code not in _PENDING:
            if code != _SUCCESS:
                raise RetrievalError(f"the archive answers 0x{code:04X}")
            return
    raise RetrievalError("the archive stopped answering")


def _code(status: Dataset) -> int:
    code = status.get("Status")
    if code is None:
        raise RetrievalError("the archive does not answer, or ends the association")
    return int(code)
