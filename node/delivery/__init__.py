"""Room 7: hands finished objects over, and does not rest until they are taken, and proven to be there.

In:   results that the ledger says are owed; their bytes, from the spool.
Out:  the objects at their destinations, and each destination's answers in the ledger.
Holds to: an object counts as delivered when its destination has said so; a study's revisions arrive in their order;
    nothing is sent to whoever knows the study as another patient's, where that is asked.
Knows nothing of: how results were made.
"""

from node.delivery.association import NothingTakenError
from node.delivery.commitment import CommitmentRequester
from node.delivery.dicom import DicomStorage, echo, probe, takes
from node.delivery.folder import Folder
from node.delivery.outbox import Outbox
from node.delivery.proof import Inquiry
from node.delivery.retention import ResultRetention

__all__ = [
    "CommitmentRequester", "DicomStorage", "Folder", "Inquiry", "NothingTakenError", "Outbox", "ResultRetention",
    "echo", "probe", "takes",
]  # fmt: skip
