"""What is where, and what is owed to whom: the one durable memory of the node.

In:   what association received, what completion decided, what jobs made, what destinations answered.
Out:  the same, as rows (`records`) to whoever asks.
Holds to: one public method, one transaction; a method that returned is durable.
Knows nothing of: pixels, DIMSE, muscles. Only this package speaks SQL.

Through this door comes what the receiving process needs; what needs SQLAlchemy (`ledger`) does not.
"""

from node.ledger.arrivals import Arrivals
from node.ledger.commitments import Commitments, Owing
from node.ledger.database import Database, open_database
from node.ledger.deliveries import Deliveries
from node.ledger.expectations import Expectations, Noted
from node.ledger.promises import Promises
from node.ledger.undelivered import Undelivered

__all__ = [
    "Arrivals", "Commitments", "Database", "Deliveries", "Expectations", "Noted", "Owing", "Promises", "Undelivered",
    "open_database",
]  # fmt: skip
