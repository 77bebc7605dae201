"""The calls by which the spool writes, seen, broken, and undone as a power cut would."""

import contextlib
import os
import random
import resource
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

WRITES = ("pwritev", "pwrite")
SYNCS = ("fdatasync", "fsync")
SIZES = ("posix_fallocate", "ftruncate")
CALLS = (*WRITES, *SYNCS, *SIZES, "open", "rename")


@contextlib.contextmanager
def no_descriptors() -> Iterator[None]:
    """Let this process open no file: a trouble that passes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@dataclass(frozen=True, slots=True)
class Call:
    """One call that was made; what does not apply to it is empty."""

    name: str
    file: int  # inode
    position: int = 0
    content: bytes = b""
    path: str = ""


@dataclass
class Disk:
    """Takes down every call on files below a folder, and makes one of them fail if told to.

    Parameters
    ----------
    syncing : bool
        Whether syncs are really made: the model of a power cut needs them no more than their place in the list.
    """

    root: Path
    monkeypatch: pytest.MonkeyPatch
    syncing: bool = True
    calls: list[Call] = field(default_factory=list)
    fault: Callable[[str, int], OSError | None] = lambda _name, _file: None

    def __post_init__(self) -> None:
        self.is_on = True
        for name in CALLS:
            self.monkeypatch.setattr(os, name, self._watched(name, getattr(os, name)))

    def _watched(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*arguments: Any, **more: Any) -> Any:
            if not self.is_on or not self._is_below(name, arguments[0]):
                return call(*arguments, **more)
            inode = 0 if name == "open" else _inode(arguments[0])
            error = self.fault(name, inode)
            if error is not None:
                raise error
            done = None if name in SYNCS and not self.syncing else call(*arguments, **more)
            self.calls.append(_call(name, inode or _inode(done), arguments, done))
            return done

        return watched

    def _is_below(self, name: str, what: Any) -> bool:
        path = Path(what) if name in ("open", "rename") else Path(f"/proc/self/fd/{what}").readlink()
        return path.is_relative_to(self.root)

    def names(self, start: int = 0) -> list[str]:
        """Return the names of the calls from one on, without the opening of files."""
        return [call.name for call in self.calls[start:] if call.name != "open"]

    def after_power_cut(self, folder: Path, *, at: int, sector: int, chance: random.Random) -> None:
        """Fill `folder` with what a disk may hold that lost its power before call number `at`.

        What was synced before is there. Of what was written later there is any part: each sector of each write, the
        size of each file, each new name.
        """
        files: dict[int, bytearray] = {}
        names: dict[int, str] = {}
        synced = {call.file: place for place, call in enumerate(self.calls[:at]) if call.name in SYNCS}
        folder_synced = max((place for file, place in synced.items() if file == self.root.stat().st_ino), default=-1)
        for place, call in enumerate(self.calls[:at]):
            certain = place < synced.get(call.file, -1)
            held = files.setdefault(call.file, bytearray())
            if call.name in WRITES:
                _write(held, call, certain, sector, chance)
            elif call.name in SIZES and (certain or chance.random() < 0.5):
                size = call.position
                held[size:] = bytes(max(0, size - len(held)))
            elif call.name in ("open", "rename") and call.path and (place < folder_synced or chance.random() < 0.5):
                names[call.file] = call.path
        folder.mkdir()
        for file, name in names.items():
            (folder / name).write_bytes(files[file])


def _inode(what: Any) -> int:
    return os.fstat(what).st_ino if isinstance(what, int) else Path(what).stat().st_ino


def _write(held: bytearray, call: Call, certain: bool, sector: int, chance: random.Random) -> None:
    content, position = call.content, call.position
    if certain:
        _put(held, position, content)
        return
    kept = chance.choice((0.1, 0.5, 0.9, 1.0))
    first = -position % sector  # sectors lie at multiples of their size
    edges = [0, *range(first or sector, len(content), sector), len(content)]
    for start, end in pairwise(edges):
        if chance.random() < kept:
            _put(held, position + start, content[start:end])


def _put(held: bytearray, position: int, content: bytes) -> None:
    if len(held) < position:
        held.extend(bytes(position - len(held)))
    held[position : position + len(content)] = content


def _call(name: str, inode: int, arguments: tuple[Any, ...], done: Any) -> Call:
    match name:
        case "pwritev":
            return Call(name, inode, arguments[2], b"".join(arguments[1])[:done])
        case "pwrite":
            return Call(name, inode, arguments[2], bytes(arguments[1])[:done])
        case "posix_fallocate":
            return Call(name, inode, arguments[1] + arguments[2])
        case "ftruncate":
            return Call(name, inode, arguments[1])
        case "rename":
            return Call(name, inode, path=Path(arguments[1]).name)
        case "open":
            return Call(name, inode, path=Path(arguments[0]).name if arguments[1] & os.O_CREAT else "")
        case _:
            return Call(name, inode)
