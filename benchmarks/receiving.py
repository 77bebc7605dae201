"""How fast instances are taken: by this node, by DCMTK's storescp, by Orthanc; one sender, one association each."""

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from node.simulator import Recipe, simulate
from node.simulator.scanner import push

INSTANCES = 200


@dataclass(frozen=True, slots=True)
class Received:
    """One receiver's rate; `durable`: whether an instance survives a power cut once Success was said."""

    name: str
    per_s: float
    durable: str


def run(folder: Path) -> list[Received]:
    """Return the rates, this node's last."""
    slices = tuple(simulate(Recipe(series=("pre", "post", "mrv"), pixel_mm=1.0, slices=24, lesions=())).datasets)
    results = []
    if storescp := shutil.which("storescp"):
        (folder / "storescp").mkdir()
        port = free_port()
        with peer([storescp, "-od", str(folder / "storescp"), "-aet", "PARASPINAL", str(port)], port):
            results.append(Received("storescp", rate(slices, port), "no (measured: no fsync)"))
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
            results.append(Received("Orthanc", rate(slices, port), "no (default settings)"))
    port = free_port()
    config = folder / "node.toml"
    config.write_text(f'[node]\ndata_dir = "{folder}/node"\n[association]\nbind = "127.0.0.1"\nport = {port}\n')
    with peer([sys.executable, "-m", "node", "--config", str(config), "serve"], port):
        results.append(Received("paraspinal-node", rate(slices, port), "yes"))
    return results


def rate(slices: tuple, port: int) -> float:
    """Return instances per second of `INSTANCES` instances over one association."""
    wanted = list(slices[:INSTANCES])
    began = time.perf_counter()
    statuses = push(wanted, "127.0.0.1", port, called_ae="PARASPINAL")
    seconds = time.perf_counter() - began
    if set(statuses) != {0x0000}:
        raise RuntimeError("a receiver refused instances: its rate would mean nothing")
    return len(wanted) / seconds


@contextmanager
def peer(command: list[str], port: int) -> Iterator[None]:
    """Run a receiver until it listens, and end it afterwards."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
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
