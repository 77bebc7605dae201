"""Room 2: bytes on disk, exactly as they were sent.

In:   Part 10 bytes of one instance, from association; result objects, from jobs.
Out:  the same bytes, to completion, jobs and delivery.
Holds to: what `store` returned for survives a power cut; a reader sees no file or the whole one.
Knows nothing of: patients, studies, roles. Names on disk are digests of the bytes, never text from the wire.
"""

from node.spool.files import Spool, StoredFile

__all__ = ["Spool", "StoredFile"]
