"""How fast instances are taken: by this node, by DCMTK's storescp, by Orthanc; one association of DCMTK's storescu.

DCMTK's programs and Orthanc leave Nagle's algorithm on unless the environment says TCP_NODELAY=1, and then take some
20 instances a second whatever their size. Beating that would mean nothing: all peers run with it set.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from node.simulator import Recipe, simulate, write

NO_DELAY = os.environ | {"TCP_NODELAY": "1"}


@dataclass(frozen=True, slots=True)
class Received:
    """One receiver's rate; `durable`: whether an instance survives a power cut once Success was said."""

    name: str
    per_s: float
    durable: str


def run(folder: Path) -> list[Received]:
    """Return the rates, this node's last; empty if storescu is not installed."""
    storescu = shutil.which("storescu")
    if storescu is None:
        return []
    study = simulate(Recipe(series=("pre", "post", "mrv"), pixel_mm=1.0, slices=40, lesions=()))
    write(study, folder / "sent")
    files = [str(path) for path in sorted((folder / "sent" / "dicom").glob("*/*"))]
    results = []
    if storescp := shutil.which("storescp"):
        (folder / "storescp").mkdir()
        port = free_port()
        with peer([storescp, "-od", str(folder / "storescp"), "-aet", "PARASPINAL", str(port)], port):
            results.append(Received("storescp", rate(storescu, files, port), "no: it does not sync"))
    if orthanc := shutil.which("Orthanc", path="/usr/sbin:/usr/local/sbin:/usr/bin"):
        port = free_port()
        config = folder / "orthanc.json"
        settings = {
            "DicomAet": "PARASPINAL",
            "DicomPort": port,
            "HttpServerEnabled": False,
            "StorageDirectory": str(folder / "orthanc"),
            "IndexDirectory": str(folder / "orthanc"),
            "DicomAlwaysAllowStore": True,
        }
        config.write_text(json.dumps(settings))
        with peer([orthanc, str(config)], port):
            results.append(Received("Orthanc", rate(storescu, files, port), "no: default settings"))
    port = free_port()
    config = folder / "node.toml"
    config.write_text(f'[node]\ndata_dir = "{folder}/node"\n[association]\nbind = "127.0.0.1"\nport = {port}\n')
    with peer([sys.executable, "-m", "node", "--config", str(config), "serve"], port):
        results.append(Received("paraspinal-node", rate(storescu, files, port), "yes"))
    return results


def rate(storescu: str, files: list[str], port: int) -> float:
    """Return instances per second over one association."""
    began = time.perf_counter()
    subprocess.run(
        [storescu, "-R", "-xe", "-aec", "PARASPINAL", "127.0.0.1", str(port), *files], check=True, env=NO_DELAY
    )
    return len(files) / (time.perf_counter() - began)


@contextmanager
def peer(command: list[str], port: int) -> Iterator[None]:
    """Run a receiver until it listens, and end it afterwards."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=NO_DELAY)
    try:
        deadline = time.monotonic() + 60
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if time.monotonic() > deadline or process.poll() is not None:
                raise RuntimeError(f"{command[0]} does not listen")
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
