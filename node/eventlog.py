"""The event log: a closed vocabulary with stable codes, and aliases instead of identifiers.

Fields are counts, seconds, codes, our own ids and aliases; never a name, a UID as received, a description, or the
text of somebody else's exception.
"""

import base64
import hmac
import logging
import os
import warnings
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
    INSTANCE_STORED = "A200 instance stored"
    INSTANCE_REPEATED = "A201 instance held already"
    INSTANCE_REFUSED = "A210 instance refused"
    INSTANCE_FAILED = "A211 instance could not be stored"
    SPOOL_SWEPT = "A220 unfinished files removed from the spool"
    STUDY_MEASURABLE = "C300 study measurable"
    STUDY_NOT_ELIGIBLE = "C301 study not eligible"
    SERIES_UNREADABLE = "C310 series left out: a header of it could not be read"
    STUDY_FAILED = "C311 study could not be looked at; the next turn tries again"
    JOB_STARTED = "J400 job started"
    JOB_MEASURED = "J401 job measured"
    JOB_SETTLED = "J402 job settled, results owed"
    JOB_REPEATED = "J403 inputs were measured before"
    JOB_FAILED = "J410 job failed"
    JOB_HEALED = "J411 stranded job queued again"
    DELIVERY_STORED = "D500 results stored at destination"
    DELIVERY_POSTPONED = "D501 delivery tried again later"
    DELIVERY_ABANDONED = "D510 delivery abandoned"


def record(event: Event, level: int = logging.INFO, **fields: str | int | float | None) -> None:
    """Write one line: the event's code and words, then `fields` as key=value."""
    _log.log(level, "%s%s", event.value, "".join(f" {key}={value}" for key, value in fields.items()))


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
        durable.write(file, os.urandom(32))  # rows of the ledger hold aliases made with it
        file.chmod(0o600)
    _alias_key = file.read_bytes()


def start(level: str) -> None:
    """Send the event log to standard error, and silence libraries that would quote data sets."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    _log.handlers[:] = [handler]
    _log.setLevel(level)
    _log.propagate = False
    silence_libraries()


def silence_libraries() -> None:
    """Silence loggers and warnings that print element values, patient names included, or the text of exceptions."""
    warnings.simplefilter("ignore")
    for name in ("pynetdicom", "pydicom", "dbos", "apscheduler", "highdicom", "sqlalchemy"):
        library = logging.getLogger(name)
        library.handlers[:] = [logging.NullHandler()]
        library.propagate = False
        library.setLevel(logging.CRITICAL + 1)
