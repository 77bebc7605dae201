"""A process that is nothing but an outbox, for tests that kill it.

python -m tests.delivery.outbox_process FOLDER PORT [proving]

With "proving" it asks for storage commitment, and looks whose study it is and what is there.
"""

import sys
import time
from pathlib import Path
from typing import Any

from node import eventlog
from node.calling import Caller
from node.delivery import CommitmentRequester, DicomStorage, Outbox
from node.ledger import Deliveries, Promises, open_database
from node.retrieval import Archive
from node.settings import ArchiveSettings, DeliverySettings, TlsSettings
from node.spool import Results
from tests.delivery.desk import peer


def main() -> None:
    folder, port = Path(sys.argv[1]), int(sys.argv[2])
    eventlog.silence_libraries()
    caller = Caller("PARASPINAL", TlsSettings(), silence_s=1.0, limit_s=5.0)
    database = open_database(folder / "node.db")
    proof: dict[str, Any] = {}
    if sys.argv[3:] == ["proving"]:
        told = Promises(database)
        proof["commitment"] = CommitmentRequester(
            peer(port),
            caller,
            lambda report: told.reported(report, wait_s=lambda _sent: 0.1, attempts=100_000, now=time.time()),
        )
        archive = ArchiveSettings(name="pacs", ae_title="ARCHIVE", port=port)
        proof["inquiry"] = Archive(archive, calling_ae="PARASPINAL", silence_s=1.0)
    outbox = Outbox(
        DicomStorage(peer(port), caller),
        Deliveries(database),
        Results(folder / "results"),
        DeliverySettings(first_wait_s=0.1, longest_wait_s=0.5, attempts=100_000, commitment_wait_s=2.0),
        **proof,
    )
    (folder / "up").touch()
    while True:
        if not outbox.run_once(now=time.time()):
            time.sleep(0.01)


if __name__ == "__main__":
    main()
