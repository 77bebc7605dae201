"""Room 1: peers call, and we answer with a status that we can stand by.

In:   associations from the PACS and the scanners.
Out:  instances in the spool and the ledger, a DIMSE status to the peer.
Holds to: 0x0000 is said only when the instance would survive a power cut.
Knows nothing of: completeness, muscles, reports. It never decodes pixels.
"""

from node.association.receiver import Receiver
from node.association.retention import Retention

__all__ = ["Receiver", "Retention"]
