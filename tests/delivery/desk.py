"""A node's outbox without the node: jobs with results that are owed, outboxes, and a clock that a test moves."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage, SegmentationStorage

from node.calling import Caller
from node.delivery import DicomStorage, Outbox
from node.dicom.identifiers import InstanceUID
from node.ledger import Arrivals, Deliveries, Undelivered
from node.ledger.ledger import Ledger
from node.ports import Destination
from node.records import DeliveryRecord, DeliveryState, ResultRecord
from node.settings import DeliverySettings, DestinationSettings, TlsSettings
from node.spool import Results
from tests.builders import mr, part10
from tests.ledger.test_ledger import close, received

CALLER = Caller("PARASPINAL", TlsSettings(), silence_s=5.0, limit_s=30.0)
SEG, REPORT = InstanceUID("2.25.77.1"), InstanceUID("2.25.77.2")


def objects(revision: int = 1, **attributes: Any) -> list[Dataset]:
    """Return a segmentation and a report that refers to it."""
    seg, report = f"2.25.77.{2 * revision - 1}", f"2.25.77.{2 * revision}"
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = SegmentationStorage, seg
    return [
        mr(seg, SOPClassUID=SegmentationStorage, PixelData=bytes(128), **attributes),
        mr(
            report,
            SOPClassUID=Comprehensive3DSRStorage,
            PixelData=None,
            ReferencedSOPSequence=[reference],
            **attributes,
        ),
    ]


def peer(port: int, **settings: Any) -> DestinationSettings:
    return DestinationSettings(name="pacs", ae_title="ARCHIVE", port=port, **settings)


def storage(port: int, **settings: Any) -> DicomStorage:
    return DicomStorage(peer(port, **settings), CALLER)


@dataclass
class Desk:
    """`now` in seconds since 1970."""

    ledger: Ledger
    results: Results
    now: float = 1000.0
    settings: DeliverySettings = field(default_factory=lambda: DeliverySettings(first_wait_s=10.0))

    @property
    def deliveries(self) -> Deliveries:
        return Deliveries(self.ledger.database)

    @property
    def undelivered(self) -> Undelivered:
        return Undelivered(self.ledger.database)

    def owe(
        self,
        made: Sequence[Dataset] | None = None,
        *destinations: str,
        roles: Sequence[str] = ("seg", "sr"),
        study: int = 1,
    ) -> str:
        """Have a job end with result objects, and return its id; again for a study: its next revision."""
        instance = received(len(self.ledger.job_rows(1_000_000)) + 1, study=f"2.25.{study}", series=f"2.25.{study}.1")
        Arrivals(self.ledger.database).enter([instance], now=self.now)
        (job,) = close(self.ledger, now=self.now)
        records = [
            ResultRecord(
                InstanceUID(one.SOPInstanceUID),
                one.SOPClassUID,
                job.id,
                role,
                self.results.store(part10(one)),
                one.SeriesInstanceUID,
            )
            for one, role in zip(objects() if made is None else made, roles, strict=True)
        ]
        owed = {name: set(roles) for name in destinations or ("pacs",)}
        self.ledger.settle(job.id, "findings", records, owed, now=self.now)
        return job.id

    def receive(self, sop_instance: str) -> None:
        """Have an instance of the first study come in, as if an archive had routed it back."""
        instance = received(99, sop_instance=sop_instance, study="2.25.1", series="2.25.1.99")
        Arrivals(self.ledger.database).enter([instance], now=self.now)

    def outbox(self, destination: Destination, **proof: Any) -> Outbox:
        return Outbox(destination, self.deliveries, self.results, self.settings, chance=lambda: 1.0, **proof)

    def run(self, outbox: Outbox, *, after_s: float = 0.0) -> int:
        """Let time pass, then let an outbox do what is due; return how many parcels that were."""
        self.now += after_s
        turns = 0
        while outbox.run_once(now=self.now):
            turns += 1
            assert turns < 100, "the outbox never rests"
        return turns

    def rows(self, job: str) -> dict[str, DeliveryRecord]:
        return {one.role: one for one in self.deliveries.rows(job)}

    def states(self, job: str) -> list[tuple[DeliveryState, str]]:
        """Return state and last answer of a job's objects, the segmentation first."""
        return [(one.state, one.status) for one in self.deliveries.rows(job)]
