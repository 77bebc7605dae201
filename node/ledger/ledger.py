"""What becomes of what arrived: studies, jobs, results, and what people see of them.

A part each: `studies`, `jobs`, `outcomes`, `overview`, of which each may be used alone.
"""

from node.ledger.jobs import Jobs
from node.ledger.outcomes import Outcomes
from node.ledger.overview import Overview
from node.ledger.studies import Studies


class Ledger(Studies, Jobs, Outcomes, Overview):
    """All of it, on one engine, which the queue shares."""
