"""Room 8: asks the archives what they have of a study, and has them send what is missing.

In:   studies that came to rest, from the ledger; what the archives answer to C-FIND.
Out:  expectations and retrievals as rows of the ledger; the instances themselves come in through our own receiver.
Holds to: nothing waits for an archive, each question has an end; what was asked to come is a row, and is asked once.
Knows nothing of: when a study is complete, and what is measured.
"""

from node.retrieval.archive import Archive
from node.retrieval.asking import Asker, ask_for
from node.retrieval.courier import Courier, loopback
from node.retrieval.pulling import Puller

__all__ = ["Archive", "Asker", "Courier", "Puller", "ask_for", "loopback"]
