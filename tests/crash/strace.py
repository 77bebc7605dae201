"""strace(1), attached to a node: what it asks the kernel for, and what becomes of it when the kernel refuses."""

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest

from tests.conftest import needs

# Whatever may change what is on disk. CPython's os.pwritev is the call pwritev2, where there is one.
PERSISTENCE = (
    "openat,fallocate,ftruncate,write,writev,pwrite64,pwritev,pwritev2,fsync,fdatasync,rename,renameat,renameat2,"
    "unlink,unlinkat"
)
_LINE = re.compile(r"(\d+) +(?:<\.\.\. )?(\w+)(?: resumed>|\()(.*)")


@dataclass(frozen=True, slots=True)
class Call:
    """A system call: its first argument if that is a file, and whether this line is its beginning, its end or both."""

    name: str
    path: str
    begins: bool
    ends: bool
    failed: bool


class Strace:
    """Traces a process with all its threads, or one thread of it, while the block lasts.

    Parameters
    ----------
    target : int
        A process or thread.
    file : Path
        Where the trace goes.
    options : str
        What to trace and to inject.
    follow : bool
        Whether the other threads of the process are traced too.
    """

    def __init__(self, target: int, file: Path, *options: str, follow: bool) -> None:
        self._file = file
        command = [needs("strace", "strace"), "-yy", "-s", "0", "-o", str(file), *(["-f"] if follow else [])]
        self._tracer = subprocess.Popen(
            [*command, *options, "-p", str(target)], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        )

    def __enter__(self) -> Self:
        assert self._tracer.stderr is not None
        said = self._tracer.stderr.readline()
        if "attached" not in said:
            self.__exit__()
            if "not permitted" in said:
                pytest.skip("this machine does not let one process trace another (ptrace)")
            pytest.fail(f"strace: {said}")
        return self

    def __exit__(self, *_: object) -> None:
        self._tracer.terminate()  # it lets go of what it traces
        self._tracer.communicate()

    @property
    def text(self) -> str:
        return self._file.read_text(errors="replace")

    @property
    def has_injected(self) -> bool:
        return "(INJECTED)" in self.text

    def names(self) -> list[str]:
        """Return the names of the calls that were begun, in order."""
        lines = (re.match(r"(?:\d+ +)?(\w+)\(", line) for line in self.text.splitlines())
        return [line[1] for line in lines if line is not None]

    def calls(self) -> Iterator[Call]:
        """Yield the calls of all threads in the order of their beginnings and ends; needs `follow`."""
        begun: dict[str, str] = {}  # by thread: the path of a call that has not ended
        for line in self.text.splitlines():
            if (match := _LINE.match(line)) is None:
                continue
            thread, name, rest = match.groups()
            resumed, unfinished = "resumed>" in line, rest.endswith("<unfinished ...>")
            path = begun.pop(thread, "") if resumed else _path(rest)
            if unfinished:
                begun[thread] = path
            yield Call(name, path, not resumed, not unfinished, " = -1 E" in rest)


def _path(arguments: str) -> str:
    match = re.match(r"\d+<([^>]*)>|\d+<(TCP[^ ,]*)", arguments)
    return "" if match is None else (match[1] or match[2]).removesuffix(" (deleted)")
