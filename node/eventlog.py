"""The event log: a closed vocabulary with stable codes, and aliases instead of identifiers.

Fields are counts, seconds, codes, our own ids and aliases; never a name, a UID as received, a description, or the
text of somebody else's exception.
"""

import base64
import contextlib
import fcntl
import hmac
import logging
import os
import warnings
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

from node import durable
from node.errors import NodeError

_log = logging.getLogger("paraspinal-node")
_alias_key = b""


class Event(StrEnum):
    """Every event there is. A code is never used again for something else."""

    NODE_STARTED = "N100 node started"
    NODE_STOPPING = "N101 node stops"
    NODE_STOPPED = "N102 node stopped"
    LOOP_FAILED = "N110 a loop's turn failed; the next one tries again"
    CLOCK_TROUBLE = "N111 the clock could not run a job in time"
    THREAD_ENDED = "N112 a thread ended by an error that nothing caught"
    PROCESS_UP = "N120 process up"
    PROCESS_ENDED = "N121 process ended; it is started again"
    PROCESS_KILLED = "N122 process did not stop in time and was killed"
    PROCESS_FAILED = "N123 process ended by an error that nobody foresaw"
    ASSOCIATION_BEGAN = "A100 association began"
    ASSOCIATION_ENDED = "A101 association ended"
    ASSOCIATION_REFUSED = "A110 association refused"
    ASSOCIATION_FAILED = "A111 association ended by an error of ours"
    CALLS_TURNED_AWAY = "A120 connections closed before a whole association request, counted by reason"
    CALLER_UNKNOWN = "A121 caller from an address that no [[peer]] has; told once an hour"
    GATE_FAILED = "A122 the listener ended by an error of ours; the process ends, to be started again"
    TLS_FILES_TAKEN = "A130 changed certificate files are in use"
    TLS_FILES_UNUSABLE = "A131 changed certificate files are not usable; the former ones stay in use"
    TLS_KEY_READABLE = "A132 private key can be read by others than its owner"
    TLS_CERTIFICATE_ENDS = "A133 certificate runs out soon; peers then refuse the node"
    INSTANCE_STORED = "A200 instance stored"
    INSTANCE_REPEATED = "A201 instance held already"
    INSTANCE_REFUSED = "A210 instance refused"
    INSTANCE_CONTRADICTS = "A212 instance kept, but contradicts one of the same UID"
    STUDY_HELD = "A213 study held: its instances contradict one another"
    REGISTER_BEHIND = "A214 rows could not be written; the instances are safe, their rows follow"
    SPOOL_SWEPT = "A220 unfinished files removed from the spool"
    STUDIES_EXPIRED = "A225 studies dropped after keep_days"
    SPOOL_REPLAYED = "A224 instances entered that the ledger did not know yet"
    RECORD_DAMAGED = "A223 an instance on disk is not what was received"
    SEGMENT_UNREADABLE = "A221 segment without a header left alone"
    SEGMENT_SET_ASIDE = "A222 segment set aside after an error of the disk"
    COMMITMENT_ASKED = "A230 storage commitment asked for; a report is owed"
    COMMITMENT_REFUSED = "A231 request for storage commitment refused"
    COMMITMENT_REPORTED = "A232 storage commitment reported"
    COMMITMENT_POSTPONED = "A233 report on storage commitment could not be handed over; tried again later"
    COMMITMENT_ABANDONED = "A234 report on storage commitment abandoned"
    STEP_NOTED = "A240 performed procedure step noted"
    STEP_REFUSED = "A241 request about a performed procedure step refused"
    STUDY_MEASURABLE = "C300 study measurable"
    STUDY_NOT_ELIGIBLE = "C301 study not eligible"
    SERIES_UNREADABLE = "C310 series left out: a header of it could not be read, or it makes no stack"
    STUDY_FAILED = "C311 study could not be looked at; the next turn tries again"
    STUDY_INCOMPLETE = "C312 study closed although something of it is known to be missing"
    STUDY_OVERDUE = "C313 study or job has been in one state for too long; told once a day"
    CLOCK_SET = "C314 clock was set; quiet times begin anew"
    STUDY_ALIKE = "C315 held study goes on: its contradicting instances say the same in other encodings"
    STUDY_DIFFERS = "C316 study stays held: its instances contradict one another, decoded as well"
    STUDY_SET_ASIDE = "C317 study set aside as not eligible: every attempt to look at it failed"
    DROP_TAKEN = "C390 statements on EMG findings taken from the drop folder"
    DROP_SET_ASIDE = "C391 file of the drop folder moved aside: nothing of it was taken"
    DROP_FAILED = "C392 file of the drop folder could not be read or moved; the next turn tries again"
    EMG_UNCLEAR = "C393 order speaks of EMG, but no level and side were taken"
    STUDY_AGAIN = "C394 measured study gathers again: another EMG finding holds for it"
    JOB_STARTED = "J400 job started"
    JOB_MEASURED = "J401 job measured"
    JOB_SETTLED = "J402 job settled, results owed"
    JOB_REPEATED = "J403 inputs were measured before"
    JOB_SUPERSEDED = "J404 job ends without results: its study has changed since"
    JOB_FAILED = "J410 job failed"
    RESULTS_QUARANTINED = "J412 result objects held back by the output gate; they wait for an operator"
    COMPARISON_LEFT_OUT = "J413 report made without earlier results: what it said of them did not pass the output gate"
    RESULTS_APPROVED = "J420 results approved by a person"
    RESULTS_REJECTED = "J421 results rejected by a person; nothing of them is sent"
    RESULTS_RECALLED = "J422 results recalled; a rejection note is owed to all that hold them"
    JOB_HEALED = "J411 stranded job queued again"
    DELIVERY_STORED = "D500 results stored at destination"
    DELIVERY_POSTPONED = "D501 delivery tried again later"
    DELIVERY_COMMITTED = "D502 destination has committed itself to results"
    DELIVERY_SEEN = "D503 results found at the destination"
    DELIVERY_RELABELLED = "D504 result sent in another SOP Class, as the destination takes no better one"
    RESULTS_DROPPED = "D505 files of delivered results dropped, their images having been dropped after keep_days"
    DELIVERY_ABANDONED = "D510 delivery abandoned"
    DELIVERY_PARKED = "D511 delivery parked: trying again will not help; it waits for an operator"
    DELIVERY_HELD = "D512 delivery held: the destination knows the study otherwise; it waits for an operator"
    DELIVERY_UNCOMMITTED = "D513 destination does not commit itself to results; they are sent again"
    DELIVERY_STRANDED = "D514 deliveries parked: their destinations are not in the settings any more"
    DESTINATION_AWAY = "D520 destination not reached, or taking nothing, three times in a row"
    DESTINATION_BACK = "D521 destination answers again"
    ARCHIVE_SILENT = "R600 archive could not be asked; it is asked again later"
    ARCHIVE_DISAGREES = "R601 archive has the study under another Patient ID; nothing of it is counted or pulled"
    RETRIEVAL_ASKED = "R610 retrievals entered"
    RETRIEVAL_DONE = "R611 retrieval done"
    RETRIEVAL_POSTPONED = "R612 retrieval tried again later"
    RETRIEVAL_FAILED = "R613 retrieval given up"
    PRIOR_KEPT = "R620 study kept as a prior of another, not measured"


def record(event: Event, level: int = logging.INFO, **fields: str | int | float | None) -> None:
    """Write one line: the event's code and words, then `fields` as key=value."""
    _log.log(level, "%s%s", event.value, "".join(f" {key}={value}" for key, value in fields.items()))


def listens(level: int) -> bool:
    """Return whether a line of that level would be written, for who would have to work for its fields."""
    return _log.isEnabledFor(level)


def alias(identifier: str) -> str:
    """Return a short stand-in for an identifier: the same one in every line of this node, unreadable elsewhere."""
    if not _alias_key:
        raise NodeError("aliases need the key of a data folder: use_alias_key comes first")
    digest = hmac.digest(_alias_key, identifier.encode(), "sha256")
    return base64.b32encode(digest[:8]).decode().rstrip("=").lower()


def use_alias_key(file: Path) -> None:
    """Take the key of all aliases from `file`, which is made at the first call.

    Without a key anyone could find out whose alias it is by trying UIDs.
    """
    global _alias_key
    if not file.exists():
        with _alone_in(file.parent):  # receiver and worker may be started at the same moment
            if not file.exists():
                durable.write(file, os.urandom(32))  # rows of the ledger hold aliases made with it
                file.chmod(0o600)
    _alias_key = file.read_bytes()


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Hold a lock on a folder against other processes; it ends with ours."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def start(level: str) -> None:
    """Send the event log to standard error, and silence libraries that would quote data sets."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    _log.handlers[:] = [handler]
    _log.setLevel(level)
    _log.propagate = False
    logging.raiseExceptions = False  # a log that cannot be written must not fill standard error with tracebacks
    silence_libraries()


def silence_libraries() -> None:
    """Silence loggers and warnings that print element values, patient names included, or the text of exceptions."""
    warnings.simplefilter("ignore")
    for name in (
        "pynetdicom", "pydicom", "dbos", "apscheduler", "highdicom", "sqlalchemy", "dicomweb_client", "urllib3",
    ):  # fmt: skip
        library = logging.getLogger(name)
        library.handlers[:] = [logging.NullHandler()]
        library.propagate = False
        library.setLevel(logging.CRITICAL + 1)
