"""Room 7: hands finished objects over, and does not rest until they are taken.

In:   results that the ledger says are owed; their bytes, from the spool.
Out:  the objects at their destinations, and each destination's answer in the ledger.
Holds to: an object counts as delivered when its destination has said so; one association an attempt.
Knows nothing of: how results were made, and when the next attempt is (the queue does).
"""

from node.delivery.destinations import DicomStorage, Folder, echo
from node.delivery.sender import Sender

__all__ = ["DicomStorage", "Folder", "Sender", "echo"]
