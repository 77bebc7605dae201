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
    """gathering -> measurable (a job exists) or not eligible; a late instance reopens it."""

    GATHERING = "gathering"
    MEASURABLE = "measurable"
    NOT_ELIGIBLE = "not eligible"


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
class InstanceIdentity:
    """What makes an instance the same one when it comes again: where it belongs, and the bytes of its data set."""

    sop_instance: InstanceUID
    study: StudyUID
    series: SeriesUID
    data_set_sha256: str  # as sent, without file meta information, which is ours


@dataclass(frozen=True, slots=True)
class ReceivedInstance:
    """An instance as it arrived; `path` is relative to the spool and says nothing about the patient."""

    identity: InstanceIdentity
    sop_class: str
    transfer_syntax: str
    path: str
    sha256: str
    size: int
    calling_ae: str


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
