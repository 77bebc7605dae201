"""Level and side that EMG suspects: read from what people and systems wrote.

In:   words of an order, a header, a small file; level and side as a person types them.
Out:  a `Suspicion`, or why none was taken.
Holds to: what is ambiguous, contradictory or denied gives nothing, with the reason; no text ever leaves.
Knows nothing of: ledger, spool, network, images.
"""

from node.emg.language import Unclear, parse_level, parse_side, read_text
from node.emg.order import Order, read_order
from node.emg.statements import BY_HAND, DROP_FOLDER, Statement, read_statements, statement

__all__ = [
    "BY_HAND",
    "DROP_FOLDER",
    "Order",
    "Statement",
    "Unclear",
    "parse_level",
    "parse_side",
    "read_order",
    "read_statements",
    "read_text",
    "statement",
]
