"""A process that is nothing but an outbox, for tests that kill it.

python -m tests.delivery.outbox_process FOLDER PORT
"""

import sys
import time
from pathlib import Path

from node import eventlog
from node.calling import Caller
from node.delivery import DicomStorage, Outbox
from node.ledger import Deliveries, open_database
from node.settings import DeliverySettings, TlsSettings
from node.spool import Results
from tests.delivery.desk import peer


def main() -> None:
    folder, port = Path(sys.argv[1]), int(sys.argv[2])
    eventlog.silence_libraries()
    caller = Caller("PARASPINAL", TlsSettings(), silence_s=1.0, limit_s=5.0)
    outbox = Outbox(
        DicomStorage(peer(port), caller),
        Deliveries(open_database(folder / "node.db")),
        Results(folder / "results"),
        DeliverySettings(first_wait_s=0.1, longest_wait_s=0.5, attempts=100_000),
    )
    (folder / "up").touch()
    while True:
        if not outbox.run_once(now=time.time()):
            time.sleep(0.01)


if __name__ == "__main__":
    main()
