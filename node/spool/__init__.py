"""Room 2: bytes on disk, exactly as they were sent.

In:   Part 10 bytes of one instance, from association; result objects, from jobs.
Out:  the same bytes, to completion, jobs and delivery: instances mapped from segments, results as files.
Holds to: what `commit` returned for survives a power cut; a reader sees nothing of an instance or all of it, and
damage on disk is an error, never other bytes.
Knows nothing of: patients, studies, roles. Names on disk are our own numbers and digests, never text from the wire.
"""

from node.spool.reader import SegmentState, SpoolReader, as_file, mapped, read_header
from node.spool.record import RecordHeader
from node.spool.results import Results
from node.spool.spool import Recording, Spool

__all__ = [
    "RecordHeader",
    "Recording",
    "Results",
    "SegmentState",
    "Spool",
    "SpoolReader",
    "as_file",
    "mapped",
    "read_header",
]
