"""What is where, and what is owed to whom: the one durable memory of the node.

In:   what association received, what completion decided, what jobs made, what destinations answered.
Out:  the same, as rows (`records`) to whoever asks.
Holds to: one public method, one transaction; a method that returned is durable.
Knows nothing of: pixels, DIMSE, muscles. Only this package speaks SQL.
"""

from node.ledger.commitments import Commitments, Owing
from node.ledger.database import open_database
from node.ledger.ledger import Enqueue, EnqueueDelivery, GatheringStudy, Ledger

__all__ = ["Commitments", "Enqueue", "EnqueueDelivery", "GatheringStudy", "Ledger", "Owing", "open_database"]
