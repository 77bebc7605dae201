"""The receivers that are compared: ours as it is installed, others as they are and as fast as they can be set.

DCMTK's programs and Orthanc leave Nagle's algorithm on unless the environment says TCP_NODELAY=1, and then take some
20 objects a second whatever their size. Beating that would mean nothing: all run with it set, but for the row that
shows it. None of the others is durable: what they have answered with Success is lost, or unknown, after a power cut.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.blast import CALLED
from benchmarks.processes import find_program

_NO_DELAY = {"TCP_NODELAY": "1"}
_SINK_SOURCE = Path(__file__).with_name("sink.c")


@dataclass(frozen=True, slots=True)
class Start:
    """Where a receiver is to run: an empty folder of its own, a free port, how many associations it must bear."""

    folder: Path
    port: int
    associations: int | None = None  # None: its default


@dataclass(frozen=True, slots=True)
class Receiver:
    """One row of the tables.

    Parameters
    ----------
    name : str
    synced : str
        What is on disk when it says Success.
    program : str or None
        What it needs and is there; None: it is left out, by name.
    command : callable
        The command line for a start.
    serves_several : bool
        Whether it serves more than one association at a time.
    share : float
        Of a load that it gets, two objects at least: a slow receiver shows its rate with fewer.
    loads : tuple of str
        Names of the loads that it is measured with; empty: all.
    only_on_disk : bool
        Whether it differs from another row by its syncs alone, which are nothing in memory.
    """

    name: str
    synced: str
    program: str | None
    command: Callable[[Start], list[str]]
    environment: Mapping[str, str] = field(default_factory=dict)
    serves_several: bool = True
    share: float = 1.0
    loads: tuple[str, ...] = ()
    only_on_disk: bool = False


OURS = "paraspinal-node"
BASE = "storescp tuned"


def receivers(folder: Path) -> tuple[Receiver, ...]:
    """Return all receivers, ours first; what must be built is built into `folder`."""
    storescp, orthanc, sink = find_program("storescp"), find_program("Orthanc"), _built_sink(folder)

    def dcmtk(*options: str) -> Callable[[Start], list[str]]:
        return lambda start: [storescp or "", "-q", *options, "-od", str(start.folder), str(start.port)]

    def orthanc_with(**more: object) -> Callable[[Start], list[str]]:
        return lambda start: [orthanc or "", str(_orthanc_settings(start, more))]

    def sink_that(mode: str) -> Callable[[Start], list[str]]:
        return lambda start: [sink or "", str(start.port), str(start.folder), mode]

    return (
        Receiver(OURS, "object and record", sys.executable, _node),
        Receiver(BASE, "nothing", storescp, dcmtk("--fork", "+B", "-pdu", "131072"), _NO_DELAY),
        Receiver("storescp", "nothing", storescp, dcmtk(), _NO_DELAY, serves_several=False),
        Receiver("storescp --fork", "nothing", storescp, dcmtk("--fork"), _NO_DELAY),
        Receiver(
            "storescp as installed", "nothing", storescp, dcmtk(), serves_several=False, share=0.044, loads=("0.2MB",)
        ),
        Receiver("Orthanc", "object alone", orthanc, orthanc_with(), _NO_DELAY, share=0.3),
        Receiver(
            "Orthanc without sync",
            "nothing",
            orthanc,
            orthanc_with(SyncStorageArea=False, StoreMD5ForAttachments=False, SaveJobs=False, MaximumPduLength=131072),
            _NO_DELAY,
            share=0.3,
        ),
        Receiver("pynetdicom storescp", "nothing", sys.executable, _pynetdicom, share=0.15),
        Receiver("C sink", "nothing", sink, sink_that("write")),
        Receiver("C sink synced", "file and folder", sink, sink_that("sync"), only_on_disk=True),
    )


def _node(start: Start) -> list[str]:
    """Return our product's command: default settings, but for where it is and that this machine may call it.

    `associations` lifts the limits in total and per peer, for measuring with more of them than the defaults allow.
    """
    limit = f"max_associations = {start.associations}\n" if start.associations else ""
    config = start.folder / "site.toml"
    config.write_text(
        f'[node]\ndata_dir = "{start.folder}/var"\n'
        f'[association]\nae_title = "{CALLED}"\nbind = "127.0.0.1"\nport = {start.port}\n{limit}'
        f'[[peer]]\nae_title = "*"\naddresses = ["127.0.0.0/8"]\n{limit}'
    )
    return [sys.executable, "-m", "node", "--config", str(config), "serve"]


def _pynetdicom(start: Start) -> list[str]:
    return [sys.executable, "-m", "pynetdicom", "storescp", str(start.port), "-od", str(start.folder), "-q"]


def _orthanc_settings(start: Start, more: Mapping[str, object]) -> Path:
    path = start.folder / "orthanc.json"
    settings = {
        "DicomAet": CALLED,
        "DicomPort": start.port,
        "HttpServerEnabled": False,
        "StorageDirectory": f"{start.folder}/store",
        "IndexDirectory": f"{start.folder}/store",
    }
    path.write_text(json.dumps(settings | dict(more)))
    return path


def _built_sink(folder: Path) -> str | None:
    compiler = find_program("cc", "gcc", "clang")
    if compiler is None:
        return None
    program = folder / "sink"
    if not program.exists():
        subprocess.run([compiler, "-O2", "-o", str(program), str(_SINK_SOURCE)], check=True)
    return str(program)
