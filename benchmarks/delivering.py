"""Sending small objects: our destination, and the whole outbox with its ledger, beside DCMTK's storescu.

`python -m benchmarks.delivering` prints the table. Each sender sends the same objects on one association, in turns; the
first turn warms up. Receivers and senders have TCP_NODELAY on: without it DCMTK's take 40 ms an object.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, SecondaryCaptureImageStorage
from rich.console import Console

from benchmarks.blast import CALLED
from benchmarks.peers import Receiver, Start, receivers
from benchmarks.processes import find_program, running
from benchmarks.sheet import Sheet
from node.calling import Caller
from node.delivery import DicomStorage, Outbox
from node.ledger import Deliveries, open_database
from node.ledger.engine import engine_of
from node.ledger.schema import delivery, job, result, study
from node.records import DeliveryState
from node.settings import DeliverySettings, DestinationSettings, TlsSettings
from node.simulator.loopback import free_port
from node.spool import Results

_OBJECTS, _ROUNDS = 200, 5
_SIDE = 64  # pixels: 4 kB an object; the reports of a study have 5 to 60 kB
_INTO = ("storescp", "C sink")
_CALLER = Caller("BENCH", TlsSettings(), silence_s=60.0, limit_s=600.0)


@dataclass(frozen=True, slots=True)
class _Took:
    """What sending one object took."""

    ms: float
    cpu_ms: float


def run(rounds: int = _ROUNDS) -> Sheet:
    rows = []
    with tempfile.TemporaryDirectory(prefix="paraspinal-bench-") as name:
        folder = Path(name)
        files = _files(folder / "files")
        for receiver in receivers(folder):
            if receiver.name in _INTO and receiver.program is not None:
                rows += _rows(receiver, files, folder, rounds)
    return Sheet(
        f"{_OBJECTS} objects of 5 kB, one association",
        ("sender, receiver", "ms an object", "min-max", "of storescu", "CPU ms an object"),
        rows,
        (
            f"Medians of {rounds} interleaved rounds; ratios are of ms an object, round by round.",
            "CPU: the sender's, its start included where it is a process of its own.",
            "Outbox: read from disk, sent, and each answer written to the ledger and synced before the next object.",
        ),
    )


def _rows(receiver: Receiver, files: list[Path], folder: Path, rounds: int) -> list[tuple[str, ...]]:
    place = folder / receiver.name.replace(" ", "-")
    place.mkdir()
    start = Start(place, free_port())
    objects = [dcmread(file) for file in files]
    settings = DestinationSettings(name="sink", ae_title=CALLED, port=start.port)
    senders: dict[str, Callable[[int], _Took]] = {
        "storescu": lambda _turn: _by_storescu(start.port, files),
        "DicomStorage": lambda _turn: _by_ours(DicomStorage(settings, _CALLER), objects),
        "outbox": lambda turn: _by_outbox(DicomStorage(settings, _CALLER), objects, folder / f"{place.name}-{turn}"),
    }
    if find_program("storescu") is None:
        del senders["storescu"]
    took: dict[str, list[_Took]] = {name: [] for name in senders}
    with ExitStack() as stack:
        stack.enter_context(running(receiver.command(start), receiver.environment, start.port, folder / "log"))
        for turn in range(rounds + 1):
            for name, send in senders.items():
                one = send(turn)
                if turn:
                    took[name].append(one)
    base = took.get("storescu")
    return [
        (
            f"{name}, {receiver.name}",
            f"{statistics.median(one.ms for one in turns):.2f}",
            f"{min(one.ms for one in turns):.2f}-{max(one.ms for one in turns):.2f}",
            "" if base is None else f"{statistics.median(a.ms / b.ms for a, b in zip(turns, base, strict=True)):.2f}",
            f"{statistics.median(one.cpu_ms for one in turns):.2f}",
        )
        for name, turns in took.items()
    ]


def _by_storescu(port: int, files: list[Path]) -> _Took:
    storescu = find_program("storescu")
    assert storescu is not None
    command = [storescu, "-q", "-aec", CALLED, "127.0.0.1", str(port), *map(str, files)]
    return _took(lambda: subprocess.run(command, check=True, env=os.environ | {"TCP_NODELAY": "1"}))


def _by_ours(storage: DicomStorage, objects: Sequence[Dataset]) -> _Took:
    def send() -> None:
        answers = list(storage.deliver(objects))
        assert len(answers) == len(objects), "not all were sent"
        assert all(one.stored for one in answers), "not all were taken"

    return _took(send)


def _by_outbox(storage: DicomStorage, objects: Sequence[Dataset], folder: Path) -> _Took:
    """Let an outbox empty a ledger of one job, made before the clock runs."""
    folder.mkdir()
    database, results = open_database(folder / "node.db"), Results(folder / "results")
    with engine_of(database).begin() as connection:
        connection.execute(
            study.insert().values(
                uid="2.25.1", alias="a", state="measurable", reason="", generation=1, changes=1, patient_id="",
                issuer="", first_seen_s=0.0, last_seen_s=0.0, since_s=0.0,
            )
        )  # fmt: skip
        values = {"id": "a-1", "study": "2.25.1", "generation": 1, "selection": {}, "stacks": {}, "task": ""}
        connection.execute(job.insert().values(created_s=0.0, **values))
        for one in objects:
            uid, path = str(one.SOPInstanceUID), results.store(Path(str(one.filename)).read_bytes())
            connection.execute(
                result.insert().values(
                    sop_instance=uid, sop_class=str(one.SOPClassUID), job="a-1", role="key-images", path=path,
                    series=str(one.SeriesInstanceUID),
                )
            )  # fmt: skip
            connection.execute(
                delivery.insert().values(
                    sop_instance=uid, destination="sink", state=DeliveryState.OWED, attempts=0, turns=0, looks=0,
                    status="", updated_s=0.0, next_try_s=0.0, sent_class="", sent_instance="", released_by="",
                )
            )  # fmt: skip
    deliveries = Deliveries(database)
    outbox = Outbox(storage, deliveries, results, DeliverySettings())
    took = _took(lambda: outbox.run_once(now=1.0))
    assert all(one.state is DeliveryState.STORED for one in deliveries.rows("a-1")), "not all were stored"
    return took


def _took(send: Callable[[], object]) -> _Took:
    began, cpu_s = time.perf_counter(), _cpu_s()
    send()
    each = 1000 / _OBJECTS
    return _Took(each * (time.perf_counter() - began), each * (_cpu_s() - cpu_s))


def _cpu_s() -> float:
    """Return user and system time of this process and of its children that have ended."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def _files(folder: Path) -> list[Path]:
    folder.mkdir()
    files = []
    for number in range(_OBJECTS):
        one = Dataset()
        one.file_meta = FileMetaDataset()
        one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one.SOPClassUID = one.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
        one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = UID(f"2.25.1.{number + 1}")
        one.StudyInstanceUID, one.SeriesInstanceUID = "2.25.1", "2.25.1.9001"
        one.PatientID, one.PatientName, one.Modality = "BENCH", "Bench^Mark", "OT"
        one.Rows = one.Columns = _SIDE
        one.SamplesPerPixel, one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 1, 8, 8, 7, 0
        one.PhotometricInterpretation = "MONOCHROME2"
        one.PixelData = bytes([number % 256]) * (_SIDE * _SIDE)
        files.append(folder / f"{number:04}.dcm")
        one.save_as(files[-1], enforce_file_format=True)
    return files


if __name__ == "__main__":
    found = run()
    if "--markdown" in sys.argv:
        print(found.as_markdown())
    else:
        Console(width=150).print(found.on_screen())
