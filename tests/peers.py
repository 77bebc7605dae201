"""Real peers, each in a folder and on ports of its own: the node as it is served, a real Orthanc, DCMTK's storescu."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from node.console import Console
from node.settings import Settings, read_settings
from node.simulator.loopback import free_port, listens
from tests.conftest import ROOT, needs


def until(condition: Callable[[], Any], timeout_s: float = 60.0, *, what: str = "a condition") -> Any:
    """Return the first true value of `condition`."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {timeout_s:g} s in vain for {what}"
        time.sleep(0.1)
    return value


class Orthanc:
    """A real Orthanc as the archive."""

    def __init__(
        self, folder: Path, *, port: int | None = None, modalities: dict[str, Any] | None = None, **more: Any
    ) -> None:
        folder.mkdir(parents=True)
        self.port, self.http_port = port or free_port(), free_port()
        settings = {
            "Name": "archive",
            "DicomAet": "ARCHIVE",
            "DicomPort": self.port,
            "HttpPort": self.http_port,
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "index"),
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomAlwaysAllowStore": True,
            "DicomModalities": modalities or {},
        } | more
        (folder / "orthanc.json").write_text(json.dumps(settings))
        log = (folder / "log.txt").open("wb")
        self._process = subprocess.Popen(
            [needs("Orthanc", "orthanc"), str(folder / "orthanc.json")], stdout=log, stderr=log
        )
        until(lambda: listens(self.port) and listens(self.http_port), what="Orthanc")

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}{path}", timeout=30) as answer:
            return bytes(answer.read())

    def delete(self, path: str) -> None:
        request = urllib.request.Request(f"http://127.0.0.1:{self.http_port}{path}", method="DELETE")
        urllib.request.urlopen(request, timeout=30).close()

    def instances(self) -> list[str]:
        """Return Orthanc's own ids of what it holds."""
        return [str(one) for one in json.loads(self.get("/instances"))]

    def files(self, folder: Path) -> list[Path]:
        """Write what it holds into `folder` as it gives it out, and return the files."""
        folder.mkdir(parents=True, exist_ok=True)
        files = []
        for one in self.instances():
            files.append(folder / f"{one}.dcm")
            files[-1].write_bytes(self.get(f"/instances/{one}/file"))
        return files

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(timeout=30)


class ServedNode:
    """`paraspinal-node serve` in a process of its own, which can be killed and started again.

    `spool` is the table of that name in the settings, `settings` further tables.
    """

    def __init__(self, folder: Path, archive_port: int, *, spool: str = "segment_mb = 16", settings: str = "") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.port = folder, free_port()
        self.config = folder / "node.toml"
        self.config.write_text(
            f"""
[node]
data_dir = "{folder / "data"}"
stop_wait_s = 5
[association]
bind = "127.0.0.1"
port = {self.port}
[spool]
{spool}
[[peer]]
ae_title = "*"
addresses = ["127.0.0.0/8"]
[completion]
quiet_period_s = 2.0
sweep_every_s = 0.5
[jobs]
poll_every_s = 0.1
recovery_attempts = 100
[delivery]
first_wait_s = 0.5
longest_wait_s = 2.0
[[destination]]
name = "archive"
ae_title = "ARCHIVE"
port = {archive_port}
{settings}"""
        )
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def settings(self) -> Settings:
        return read_settings(self.config)

    @property
    def log(self) -> str:
        return (self.folder / "log.txt").read_text()

    def start(self, verb: str = "serve") -> None:
        ups = self.log.count("N100") if (self.folder / "log.txt").exists() else 0
        with (self.folder / "log.txt").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "node", "--config", str(self.config), verb],
                stdout=log, stderr=log, cwd=ROOT, start_new_session=True,
            )  # fmt: skip
        process = self.process
        until(lambda: self.log.count("N100") > ups or process.poll() is not None, what="the node to start")
        assert process.poll() is None, self.log

    def kill(self) -> None:
        """End it as a power cut would: no handler runs."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def terminate(self) -> int:
        """Ask it to stop, and return its exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)

    def console(self) -> Console:
        return Console(self.settings)

    def cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "node", "--config", str(self.config), *arguments],
            capture_output=True, text=True, cwd=ROOT, check=False, timeout=120, env=os.environ | {"COLUMNS": "200"},
        )  # fmt: skip


def storescu(port: int, folder: Path, *, syntax: str = "-xe") -> subprocess.CompletedProcess[str]:
    """Send every file below `folder` with DCMTK; `syntax` is its option for what to propose."""
    return subprocess.run(
        [
            needs("storescu", "dcmtk"), "-R", syntax, "-aec", "PARASPINAL", "-aet", "SCANNER", "+sd", "+r",
            "127.0.0.1", str(port), str(folder),
        ],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
