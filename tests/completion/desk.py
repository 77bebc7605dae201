"""A watcher over a real spool and ledger, with a clock that the test sets."""

from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset

from node.completion import QuietPeriod, Watcher, read_table
from node.completion.clock import ClockWatch
from node.completion.watcher import ReadStudy
from node.ledger import Expectations
from node.ledger.ledger import Ledger
from node.records import Job, StudyState
from node.settings import CompletionSettings
from node.spool import Spool, SpoolReader
from tests.builders import receive, series_of

QUIET_S = 60.0
POST = {"ContrastBolusAgent": "GADOBUTROL", "AcquisitionDate": "20260102", "AcquisitionTime": "101500"}
PRE = {"AcquisitionDate": "20260102", "AcquisitionTime": "100000"}


class Desk:
    """A watcher; `jobs` is what it enqueued."""

    def __init__(
        self,
        spool: Spool,
        ledger: Ledger,
        *,
        read: ReadStudy | None = None,
        clock_file: Path | None = None,
        **settings: Any,
    ) -> None:
        self.spool, self.ledger, self.jobs = spool, ledger, list[Job]()
        self.is_receiving = True
        self.expectations = Expectations(ledger.database)
        self.settings = CompletionSettings.model_validate(settings)
        self.watcher = Watcher(
            ledger,
            SpoolReader(spool.root),
            QuietPeriod(self.settings),
            read_table(),
            self.settings,
            lambda _connection, job: self.jobs.append(job),
            receiving=lambda: self.is_receiving,
            clock=ClockWatch(clock_file, boot_id="this boot"),
            read=read,
        )

    def look(self, *, now: float, monotonic_s: float | None = None) -> None:
        """Let the watcher look once; its other clock agrees with `now` unless the test says otherwise."""
        self.watcher.run_once(now=now, monotonic_s=now if monotonic_s is None else monotonic_s)

    def receive(self, dataset: Dataset, *, now: float, content: bytes | None = None) -> None:
        receive(self.spool, self.ledger, dataset, now=now, content=content)

    def receive_pair(self, *, now: float, **attributes: Any) -> None:
        for dataset in [*series_of(1, **(PRE | attributes)), *series_of(2, **(POST | attributes))]:
            self.receive(dataset, now=now)

    @property
    def state(self) -> StudyState:
        """The state of the one study."""
        (row,) = self.ledger.study_rows()
        return row.state

    @property
    def reason(self) -> str:
        (row,) = self.ledger.study_rows()
        return row.reason

    @property
    def whole_by(self) -> str:
        (row,) = self.ledger.study_rows()
        return row.whole_by
