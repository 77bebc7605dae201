"""Rows of the ledger as plain values: what is where, and what is owed to whom."""

from dataclasses import dataclass
from enum import StrEnum

from node.dicom.identifiers import InstanceUID, SeriesUID, StudyUID


class Role(StrEnum):
    """What a series is for in a measurement."""

    PRE = "pre"
    POST = "post"
    MRV = "mrv"
    LOCALIZER = "localizer"
    OTHER = "other"


class StudyState(StrEnum):
    """gathering -> measurable (a job exists) or not eligible; a late instance reopens it.

    Any of them -> held, when its instances contradict one another, until an operator says which count. Expired: its
    instances were dropped after `[spool] keep_days`.
    """

    GATHERING = "gathering"
    MEASURABLE = "measurable"
    NOT_ELIGIBLE = "not eligible"
    HELD = "held"
    EXPIRED = "expired"


class JobState(StrEnum):
    """Of a job as the operator sees it."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class DeliveryState(StrEnum):
    """owed -> stored, or abandoned (an operator's list)."""

    OWED = "owed"
    STORED = "stored"
    ABANDONED = "abandoned"


@dataclass(frozen=True, slots=True)
class Place:
    """Where an instance is in the spool: `offset` in bytes from the start of the segment to the record of it.

    The generation changes whenever a segment starts afresh, so that a place is never that of another instance.
    """

    segment: int
    generation: int
    offset: int


@dataclass(frozen=True, slots=True)
class SegmentEnd:
    """How far a segment is written: the next record comes at `end`, as number `sequence` of its generation."""

    segment: int
    generation: int
    end: int
    sequence: int


# Bytes: a UID has 64 (PS3.5 section 9.1), LO 64 characters of up to four bytes (table 6.2-1) less escapes; chosen so
# that ten of them fit into the header of a record.
LONGEST_TEXT = 191


@dataclass(frozen=True, slots=True)
class Origin:
    """What came with an instance: who sent it to whom, what as, and which patient and study it says it is of.

    Patient ID and issuer are the raw bytes of the data set read as Latin-1, whatever its character set. No value has
    more than `LONGEST_TEXT` characters; longer ones are cut.
    """

    transfer_syntax: str
    sop_class: str
    sop_instance: str
    study: str
    series: str
    patient_id: str
    issuer: str
    calling_ae: str
    called_ae: str
    address: str


@dataclass(frozen=True, slots=True)
class ReceivedInstance:
    """An instance that is durable in the spool.

    Parameters
    ----------
    place : Place
        Where.
    following : SegmentEnd
        Where the segment goes on behind it.
    origin : Origin
        What came with it.
    received_s : float
        Seconds since 1970.
    contradicts : bool
        Whether another content was held under its SOP Instance UID before.
    """

    place: Place
    following: SegmentEnd
    origin: Origin
    received_s: float
    contradicts: bool


@dataclass(frozen=True, slots=True)
class Version:
    """One content that is held under a SOP Instance UID; `contradicts` as of `ReceivedInstance`."""

    place: Place
    contradicts: bool


@dataclass(frozen=True, slots=True)
class SeriesProgress:
    """How far a series has come; times in seconds since 1970."""

    series: SeriesUID
    study: StudyUID
    instances: int
    last_seen_s: float


@dataclass(frozen=True, slots=True)
class RoleDecision:
    """Which role a series has, and the header facts that say so."""

    role: Role
    evidence: str


@dataclass(frozen=True, slots=True)
class Job:
    """One measurement of one study; `generation` counts how often the study was found measurable."""

    id: str
    study: StudyUID
    generation: int


@dataclass(frozen=True, slots=True)
class ResultRecord:
    """A result object in the spool, owed to the destinations."""

    sop_instance: InstanceUID
    sop_class: str
    job: str
    role: str
    path: str


@dataclass(frozen=True, slots=True)
class DeliveryRecord:
    """One object owed to one destination."""

    sop_instance: InstanceUID
    role: str
    destination: str
    state: DeliveryState
    attempts: int
    status: str


class CommitmentState(StrEnum):
    """Of the report on storage commitment: owed -> reported, or abandoned (nobody took it for days)."""

    OWED = "owed"
    REPORTED = "reported"
    ABANDONED = "abandoned"


@dataclass(frozen=True, slots=True)
class OwedReport:
    """A report that a peer waits for; `attempts` failed so far; seconds since 1970."""

    id: int
    peer: str
    attempts: int
    requested_s: float
