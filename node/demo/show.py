"""The show itself: start everything, push, wait, read what arrived, draw it, stop."""

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread

from PIL import Image
from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage, EncapsulatedPDFStorage, SecondaryCaptureImageStorage
from rich.console import Console as Screen
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from node import eventlog
from node.console import Console
from node.demo.reading import ReadReport, read_report
from node.errors import NodeError
from node.settings import Settings, read_settings
from node.simulator import SimulatedStudy, demo_recipes, simulate, write
from node.simulator.archive import Archive
from node.simulator.loopback import free_port, listens
from node.simulator.scanner import push

_TIME_LIMIT_S = 110.0
_LOOK_EVERY_S = 0.25
_START_LIMIT_S = 30.0
_MARKER = "made by paraspinal-node demo"
_SETTINGS = """\
[node]
data_dir = "{data}"
stop_wait_s = 5
[association]
bind = "127.0.0.1"
port = {port}
[spool]
segment_mb = 32  # a hospital takes 256
[[peer]]  # who may call
ae_title = "SCANNER"
addresses = ["127.0.0.1"]
[completion]
quiet_period_s = 3.0  # a hospital takes 60
sweep_every_s = 0.5
[jobs]
poll_every_s = 0.2
[report]
objects = ["seg", "map", "key-images", "sr", "ko", "pdf"]
[[destination]]
name = "archive"
ae_title = "ARCHIVE"
port = {archive_port}
"""


@dataclass(slots=True)
class _Progress:
    """One study on its way; `study` when it is simulated."""

    name: str
    study: SimulatedStudy | None = None
    pushed: int = 0
    node_says: str = ""
    arrived: list[Dataset] = field(default_factory=list)

    @property
    def folder(self) -> str:
        return self.name.replace(" ", "-")

    @property
    def datasets(self) -> Sequence[Dataset]:
        return self.study.datasets if self.study else ()

    @property
    def report(self) -> Dataset | None:
        return next((one for one in self.arrived if one.SOPClassUID == Comprehensive3DSRStorage), None)


def run_demo(out: Path, screen: Screen, *, keep: bool) -> None:
    """Run the demonstration and leave its results in `out`.

    Raises
    ------
    NodeError
        If the results do not arrive in time, or `out` holds something that is not ours.
    """
    _prepare(out)
    began = time.monotonic()
    progress = [_Progress(name) for name in demo_recipes()]
    with Archive(out / "archive", ae_title="ARCHIVE", port=0) as archive:
        config = out / "node.toml"
        port = free_port()
        config.write_text(_SETTINGS.format(data=out.resolve() / "node", port=port, archive_port=archive.port))
        with _served(config, port, out / "node.log") as process:
            screen.print(f"the node listens on port {port}, the archive on {archive.port}", highlight=False)
            scanner = Thread(target=_scan, args=(progress, port, out / "scanner"), daemon=True)
            scanner.start()
            _follow(progress, scanner, archive, read_settings(config), screen, began)
            if not screen.is_terminal:
                screen.line()  # elsewhere the live table ends within its last line
            for one in progress:
                _show(one, out / "results" / one.folder, screen)
            screen.print(
                f"{time.monotonic() - began:.0f} s; reports, segmentations, maps, pictures, PDF: {out / 'results'}"
            )
            if keep:
                screen.print(f"the node goes on; look: paraspinal-node --config {config} status; stop: Ctrl-C")
                with suppress(KeyboardInterrupt):
                    process.wait()


def _prepare(out: Path) -> None:
    """Make the folder, or empty it if an earlier demonstration made it."""
    marker = out / "README.txt"
    if out.exists():
        if not marker.exists() and any(out.iterdir()):
            raise NodeError(f"{out} exists and was not made by the demonstration: name another folder with --out")
        shutil.rmtree(out)
    out.mkdir(parents=True)
    marker.write_text(f"{_MARKER}; simulated patients, nothing here is clinical.\n")


@contextmanager
def _served(config: Path, port: int, log_file: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run the node as an operator would, and stop it in order."""
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "node", "--config", str(config), "serve"], stdout=log, stderr=log
        )
    deadline = time.monotonic() + _START_LIMIT_S
    try:
        while not listens(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise NodeError(f"the node did not start; its log: {log_file}")
            time.sleep(0.1)
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait()


def _scan(progress: Sequence[_Progress], port: int, folder: Path) -> None:
    """Simulate and push the studies, one after the other, as a scanner's day goes; keep them with their truth."""
    for one, recipe in zip(progress, demo_recipes().values(), strict=True):
        one.study = simulate(recipe)
        write(one.study, folder / one.folder)

        def count(one: _Progress = one) -> None:
            one.pushed += 1

        statuses = push(one.study.datasets, "127.0.0.1", port, called_ae="PARASPINAL", progress=lambda *_: count())
        if set(statuses) != {0x0000}:
            raise NodeError(f"the node did not take all of {one.name}")


def _follow(
    progress: Sequence[_Progress], scanner: Thread, archive: Archive, settings: Settings, screen: Screen, began: float
) -> None:
    """Show where each study is until every one has its report, and nothing more is owed."""
    console = Console(settings)
    with Live(_table(progress, began), console=screen, refresh_per_second=4) as live:
        while True:
            status = console.status()
            studies = {row["alias"]: row for row in status["studies"]}
            jobs = {row["study"]: row for row in status["jobs"]}
            received = archive.datasets()
            for one in progress:
                if one.study is None:
                    continue
                uid = str(one.datasets[0].StudyInstanceUID)
                one.arrived = [dataset for dataset in received if dataset.StudyInstanceUID == uid]
                name = eventlog.alias(uid)
                one.node_says = _says(studies.get(name), jobs.get(name))
            live.update(_table(progress, began))
            owed = status["counts"].get("deliveries owed", 0)
            if all(one.report is not None for one in progress) and not owed:
                return
            if not scanner.is_alive() and any(one.study is None or one.pushed < len(one.datasets) for one in progress):
                raise NodeError("the scanner could not send its studies; see the node's log")
            if time.monotonic() - began > _TIME_LIMIT_S:
                missing = ", ".join(one.name for one in progress if one.report is None)
                raise NodeError(
                    f"no report has arrived in {_TIME_LIMIT_S:g} s for: {missing or 'none, but objects are owed'}"
                )
            time.sleep(_LOOK_EVERY_S)


def _says(study: dict[str, str] | None, job: dict[str, str] | None) -> str:
    if job is not None:
        return f"job {job['state']}" + (f": {job['outcome']}" if job["outcome"] else "")
    return str(study["state"]) if study else ""


def _table(progress: Sequence[_Progress], began: float) -> Table:
    table = Table("study", "pushed", "the node says", "arrived", caption=f"{time.monotonic() - began:.0f} s")
    for one in progress:
        total = len(one.datasets)
        arrived = ", ".join(sorted(str(dataset.Modality) for dataset in one.arrived))
        pushed = f"{one.pushed} of {total}" if total else "being scanned"
        table.add_row(one.name, pushed, one.node_says, f"[green]{arrived}[/]")
    return table


def _show(one: _Progress, folder: Path, screen: Screen) -> None:
    """Print what the received report says, and write the objects into `folder`, pictures and PDF also as such."""
    assert one.report is not None, "followed until it was there"
    folder.mkdir(parents=True)
    for dataset in one.arrived:
        name = _file_name(dataset)
        dataset.save_as(folder / f"{name}.dcm", enforce_file_format=True)
        if dataset.SOPClassUID == SecondaryCaptureImageStorage:
            Image.fromarray(dataset.pixel_array).save(folder / f"{name}.png")
        if dataset.SOPClassUID == EncapsulatedPDFStorage:
            document = dataset.EncapsulatedDocument[: dataset.EncapsulatedDocumentLength]
            (folder / f"{name}.pdf").write_bytes(document)
    report = read_report(one.report)
    screen.print(_measurements(one.name, report))
    for concept, text in report.texts:
        if concept == "Summary":
            screen.print(text, highlight=False)


def _file_name(dataset: Dataset) -> str:
    match dataset.Modality:
        case "SR":
            return "report"
        case "DOC":
            return "report-as-pdf"
        case "KO":
            return "key-objects"
        case "OT" if dataset.SOPClassUID == SecondaryCaptureImageStorage:
            return f"key-image-{dataset.InstanceNumber}"
        case _:
            return str(dataset.ContentLabel).lower()


def _measurements(name: str, report: ReadReport) -> Table:
    """Return what was measured: a row for each quantity, a column for each region."""
    regions = dict.fromkeys((one.group, one.site) for one in report.measured)
    values = {(one.name, one.unit, one.group): one.value for one in report.measured}
    table = Table("measurement", "unit", title=f"{name}: {report.answer}", title_justify="left")
    for group, site in regions:
        table.add_column(f"{group}\n[dim]{site}[/]", justify="right")
    for quantity, unit in dict.fromkeys((one.name, one.unit) for one in report.measured):
        row = (values.get((quantity, unit, group)) for group, _site in regions)
        table.add_row(quantity, escape(unit), *(_number(value) for value in row))
    return table


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
