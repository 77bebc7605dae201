"""Room 3: decides when a study has all that a measurement needs.

In:   series and instances that the ledger says still gather; their headers, from the spool.
Out:  in one transaction: roles with their evidence, the study's new state, and a job where there is one to do.
Holds to: quiet time, roles and rules are functions of what is stored, so a restart forgets nothing.
Knows nothing of: associations, pixels, the queue's engine (it is handed a function that enqueues).
"""

from node.completion.facts import StackFacts, read_facts
from node.completion.roles import decide_roles
from node.completion.rules import Selection, select
from node.completion.table import RoleTable, read_table
from node.completion.triggers import QuietPeriod, waiting_of
from node.completion.watcher import Watcher

__all__ = [
    "QuietPeriod",
    "RoleTable",
    "Selection",
    "StackFacts",
    "Watcher",
    "decide_roles",
    "read_facts",
    "read_table",
    "select",
    "waiting_of",
]
