"""Rows of the ledger as plain values: what is where, and what is owed to whom."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from node.dicom.identifiers import InstanceUID, SeriesUID, StudyUID


class Role(StrEnum):
    """What a series is for in a measurement."""

    PRE = "pre"
    POST = "post"
    MRV = "mrv"
    SAGITTAL = "sagittal"  # not measured: vertebral levels are read from it
    FAT = "fat"  # Dixon fat of the acquisition whose water is PRE
    VELOCITY = "velocity"  # of the phase contrast whose magnitude is MRV
    DYNAMIC = "dynamic"  # all time points
    LOCALIZER = "localizer"
    OTHER = "other"


class SeriesRole(StrEnum):
    """What a stack of a series is, as its headers say; `Role` is what a measurement takes of them."""

    LOCALIZER = "localizer"
    AXIAL_T1 = "axial T1"
    SAGITTAL_T1 = "sagittal T1"
    CORONAL_T1 = "coronal T1"
    AXIAL_T2 = "axial T2"
    SAGITTAL_T2 = "sagittal T2"
    CORONAL_T2 = "coronal T2"
    AXIAL_STIR = "axial STIR"
    SAGITTAL_STIR = "sagittal STIR"
    CORONAL_STIR = "coronal STIR"
    DIXON_WATER = "Dixon water"
    DIXON_FAT = "Dixon fat"
    DIXON_IN_PHASE = "Dixon in-phase"
    DIXON_OPPOSED_PHASE = "Dixon opposed-phase"
    DYNAMIC = "dynamic"
    MRV_TOF = "MRV time of flight"
    MRV_PC_MAGNITUDE = "MRV phase contrast magnitude"
    MRV_PC_VELOCITY = "MRV phase contrast velocity"
    MRV_CE = "MRV contrast-enhanced"
    MRV_BSSFP = "MRV bSSFP"
    DERIVED = "derived"
    OTHER = "other"


# Velocities are signed: no vessel is outlined on them.
_VENOGRAPHIES = frozenset({SeriesRole.MRV_TOF, SeriesRole.MRV_PC_MAGNITUDE, SeriesRole.MRV_CE, SeriesRole.MRV_BSSFP})
_PURPOSES = {
    SeriesRole.LOCALIZER: Role.LOCALIZER,
    SeriesRole.DYNAMIC: Role.DYNAMIC,
    SeriesRole.DIXON_FAT: Role.FAT,
    SeriesRole.MRV_PC_VELOCITY: Role.VELOCITY,
}


class Contrast(StrEnum):
    """Whether a T1-weighted stack was acquired before or after the contrast medium was given."""

    PRE = "pre"
    POST = "post"
    CONTRADICTORY = "contradictory"  # the headers of the study say both, or leave it open: ROLE-CONTRAST


class Confidence(StrEnum):
    """Of a role: said by physics or by the scanner, partly inferred, or by the description alone."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


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
    """owed -> stored -> committed -> seen, as far as the destination proves it.

    Abandoned, parked and held wait for an operator; for what is withdrawn nobody waits.
    """

    OWED = "owed"
    STORED = "stored"  # the destination said so
    COMMITTED = "committed"  # it took responsibility (PS3.4 annex J)
    SEEN = "seen"  # and shows the object to whoever asks (C-FIND)
    ABANDONED = "abandoned"  # tried for days
    PARKED = "parked"  # it will never take it as it is
    HELD = "held"  # it knows the study otherwise than the result does
    WITHDRAWN = "withdrawn"  # recalled before it was known to be there


DELIVERED = (DeliveryState.STORED, DeliveryState.COMMITTED, DeliveryState.SEEN)
FOR_AN_OPERATOR = (DeliveryState.ABANDONED, DeliveryState.PARKED, DeliveryState.HELD)
NOT_DELIVERED = (DeliveryState.OWED, *FOR_AN_OPERATOR)


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


MPPS = "MPPS"  # the source of an expectation: the modality, when its step has ended


@dataclass(frozen=True, slots=True)
class Expectation:
    """How many instances there are, in a series or a whole study, by the word of somebody else.

    Parameters
    ----------
    source : str
        Who says so: `MPPS`, "C-FIND".
    instances : int
        How many.
    noted_s : float
        When we were told, in seconds since 1970.
    missing : int or None
        How many of the instances that it names are not here; None if it names none, and only counts.
    """

    source: str
    instances: int
    noted_s: float
    missing: int | None = None

    def lacks(self, here: int) -> int:
        """Return how many instances are missing if there are `here`: those named, or else by the count."""
        return max(0, self.instances - here) if self.missing is None else self.missing


@dataclass(frozen=True, slots=True)
class SeriesProgress:
    """How far a series has come.

    Parameters
    ----------
    last_seen_s : float
        When the last instance came, or came again, in seconds since 1970.
    senders : frozenset of str
        The calling AE titles that instances of it came from.
    expected : tuple of Expectation
        What others say it has.
    lacking : str
        What its headers say is missing, in our own words; "" while they have not been read.
    """

    series: SeriesUID
    study: StudyUID
    instances: int
    last_seen_s: float
    senders: frozenset[str] = frozenset()
    expected: tuple[Expectation, ...] = ()
    lacking: str = ""


@dataclass(frozen=True, slots=True, order=True)
class StackKey:
    """A stack of a series: its `number` is that of `dicom.stacks.split`, which counts from 1."""

    series: SeriesUID
    number: int = 1


@dataclass(frozen=True, slots=True)
class RoleDecision:
    """Which role a stack has, and what says so, in our own words and numbers only.

    Parameters
    ----------
    role : SeriesRole
        By the first rule that holds.
    evidence : str
        The rule's reason and what was found; then, for T1, what says pre or post.
    rule : str
        The name of that rule; "" if none held.
    confidence : Confidence
        The rule's, or that of the decision on contrast where it is lower.
    contrast : Contrast or None
        None where the question does not arise.
    fat_suppressed : bool
        Whether the signal of fat is suppressed.
    table : str
        Version and digest of the rule table.
    """

    role: SeriesRole
    evidence: str
    rule: str = ""
    confidence: Confidence = Confidence.LOW
    contrast: Contrast | None = None
    fat_suppressed: bool = False
    table: str = ""

    @property
    def purpose(self) -> Role:
        """Return what a measurement may take the stack for."""
        if self.contrast is Contrast.PRE:
            return Role.PRE
        if self.contrast is Contrast.POST:
            return Role.POST
        if self.role in _VENOGRAPHIES:
            return Role.MRV
        return _PURPOSES.get(self.role, Role.OTHER)

    @property
    def label(self) -> str:
        """Return the role as an operator reads it: "axial T1 post, fat-suppressed"."""
        words = str(self.role) if self.contrast is None else f"{self.role} {self.contrast}"
        return f"{words}, fat-suppressed" if self.fat_suppressed else words


def contrast_doubt(selected: Mapping[Role, RoleDecision]) -> str:
    """Return why nobody can tell which of the selected series is before and which after contrast; "" if one can."""
    said = [
        decision.evidence.rpartition("ROLE-CONTRAST: ")[2]
        for role, decision in sorted(selected.items())
        if role in (Role.PRE, Role.POST) and decision.contrast is Contrast.CONTRADICTORY
    ]
    return "; ".join(dict.fromkeys(said))


def rule_table(selected: Mapping[Role, RoleDecision]) -> str:
    """Return the rule table that gave the selected stacks their roles: version and digest."""
    return " and ".join(sorted({decision.table for decision in selected.values()}))


@dataclass(frozen=True, slots=True)
class Job:
    """One measurement of one study; `generation` counts how often the study was found measurable."""

    id: str
    study: StudyUID
    generation: int


class ResultRole(StrEnum):
    """What a result object is; in the order of sending, so that what a report refers to is there before it."""

    SEG = "seg"
    MAP = "map"
    KEY_IMAGES = "key-images"
    SR = "sr"
    OUTLINES = "outlines"
    KO = "ko"
    PDF = "pdf"


# What a recall sends: of the kind "ko" as well, and told apart from the key objects of the results.
RECALL_NOTE = f"{ResultRole.KO}-recall"
# Series Description of reports of ours begins so: by it they are found in an archive.
REPORT_SERIES = "PVM measurement report"


class Ruling(StrEnum):
    """What holds for the results of a job because people have their say about it."""

    WAITING = "waits for review"
    APPROVED = "approved"
    REJECTED = "rejected"
    RECALLED = "recalled"


class Act(StrEnum):
    """What a person did to a job or a study, beside the rulings on results."""

    RETRIED = "retried"
    CANCELLED = "cancelled"
    RELEASED = "released"  # what was held of a job, or a study
    FORCED = "force-completed"
    ADOPTED = "adopted"


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A result object that the output gate held back; `faults` are those of all objects made with it."""

    role: str
    path: str
    faults: str


@dataclass(frozen=True, slots=True)
class Predecessor:
    """The earlier report of a study that a new one replaces."""

    study: str
    series: str
    sop_class: str
    sop_instance: str


@dataclass(frozen=True, slots=True)
class ResultRecord:
    """A result object in the spool, owed to the destinations; a recall names it though its file is lost."""

    sop_instance: InstanceUID
    sop_class: str
    job: str
    role: str
    path: str
    series: str = ""


@dataclass(frozen=True, slots=True)
class DeliveryRecord:
    """One object owed to one destination.

    Parameters
    ----------
    attempts : int
        How often it was sent, or tried to be; since it was owed again, that counts one at most before.
    turns : int
        How often something was tried in vain since it came into its state.
    looks : int
        How often the destination has answered that it has no such study, since it was owed, or owed again.
    status : str
        What the destination said last, or why it says nothing.
    sent_class, sent_instance : str
        SOP Class and Instance UID of what it got instead of the object (`delivery.fallback`), else "".
    released_by : str
        Who sent it although the destination knows the study otherwise, else "".
    """

    sop_instance: InstanceUID
    role: str
    destination: str
    state: DeliveryState
    attempts: int
    turns: int
    looks: int
    status: str
    sent_class: str = ""
    sent_instance: str = ""
    released_by: str = ""


@dataclass(frozen=True, slots=True)
class Parcel:
    """The objects of one job that are due at one destination and in one state, each with the path of its bytes."""

    job: str
    study: StudyUID
    state: DeliveryState
    objects: tuple[tuple[ResultRecord, DeliveryRecord], ...]


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


class RetrievalReason(StrEnum):
    """Why an archive is asked to send a series."""

    MISSING = "missing"  # of a study that we hold
    LOCALIZER = "localizer"  # the same, and described as localizer or sagittal
    PRIOR = "prior"  # of an older study: its study is kept, and not measured
    RESULT = "result"  # a report of ours of an older study: the same, unless anything else of it comes
    OPERATOR = "operator"  # `pull STUDY`


class RetrievalState(StrEnum):
    """asked -> done, or failed (an operator may ask again)."""

    ASKED = "asked"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A series that an archive shall send; `instances` is how many it says to have, None if it does not."""

    study: StudyUID
    series: SeriesUID
    archive: str
    reason: RetrievalReason
    for_study: StudyUID
    instances: int | None


@dataclass(frozen=True, slots=True)
class Retrieval:
    """A series that an archive was asked for, and is to be asked for now; `attempts` were begun so far."""

    id: int
    study: StudyUID
    series: SeriesUID
    reason: RetrievalReason
    attempts: int
    expired: bool  # the study was dropped meanwhile


@dataclass(frozen=True, slots=True, repr=False)
class RestingStudy:
    """A study of which nothing comes at the moment, with how many instances of each series count; not shown."""

    study: StudyUID
    patient_id: str
    issuer: str
    last_seen_s: float
    held: Mapping[SeriesUID, int]


@dataclass(frozen=True, slots=True, repr=False)
class KnownStudy:
    """Whose study an archive says that it is, and under which accession number; texts as they came, not shown."""

    patient_id: str
    patient_name: str
    accession_number: str
