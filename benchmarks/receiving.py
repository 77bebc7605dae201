"""C-STORE receivers side by side: `make bench-receive`, or `python -m benchmarks.receiving --help`.

Ratios count; the machine is shared. Nothing asserts a time; the exit code is 1 if a receiver refused an object or died.
"""

import argparse
import datetime
import os
import platform
import shlex
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console

from benchmarks import blast, disk, places
from benchmarks.idle import Idled, Kind, idle
from benchmarks.load import LOADS, Load
from benchmarks.peers import BASE, OURS, Receiver, receivers
from benchmarks.places import Place
from benchmarks.processes import DiedError
from benchmarks.rounds import Case, Compared, Sender, Storescu, compare, fault_text
from benchmarks.sheet import Sheet

_SEVERAL = 4
_SEVERAL_LOADS = ("0.2MB",)
_IDLE: Sequence[tuple[Kind, int]] = (("associations", 100), ("connections and half requests", 500))
_NOT_IDLE = ("storescp", "storescp as installed", "Orthanc without sync", "C sink", "C sink synced")  # tell no more
_COLUMNS = ("receiver", "objects/s", "min-max", "MB/s", "CPU s/1,000", "CPU s/GB", "peak MB", "synced first")


Tell = Callable[[str], None]
Show = Callable[[Sheet], None]


def quick(show: Show, tell: Tell) -> list[str]:
    """Show tables of one round with few objects on the disk, in some 30 s, and return what failed."""
    load = Load("0.2MB", "0.2 MB MR", 300, 320)
    with _working_folder() as folder, _places(["disk"], None) as where:
        there, absent = _there(receivers(folder))
        faults = []
        for associations in (1, _SEVERAL):
            case = Case(where[0], load, associations)
            results = compare(case, there, repetitions=1, sender=blast.send, tell=tell)
            show(_sheet(case, results, absent, BASE))
            faults += [fault for one in results for fault in one.faults]
        show(_floor(where[0]))
    return faults


def main(words: Sequence[str] | None = None) -> int:
    options = _options(words)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that receivers are ended and folders removed
    screen, progress = Console(width=150), Console(stderr=True)
    sheets, faults = [], []

    def show(sheet: Sheet) -> None:
        """Show a table as soon as it is there, and write the document so far."""
        sheets.append(sheet)
        screen.print(sheet.on_screen(), "")
        if options.markdown:
            options.markdown.write_text(_document(sheets, words), encoding="utf-8")

    with _working_folder() as folder, _places(options.places, options.disk) as where:
        there, absent = _there(_chosen(receivers(folder), options.receivers))
        sender: Sender = Storescu(folder) if options.sender == "storescu" else blast.send
        for case in _cases(where, options.loads, options.associations):
            results = compare(case, there, repetitions=options.repetitions, sender=sender, tell=progress.print)
            show(_sheet(case, results, absent, options.base))
            faults += [fault for one in results for fault in one.faults]
        for place in where:
            if place.is_disk:
                show(_floor(place))
        if options.idle:
            sheet, more = _idle(there, absent, where[0], tell=progress.print)
            show(sheet)
            faults += more
    for fault in faults:
        progress.print(f"FAILED {fault}", style="bold red", markup=False)
    return 1 if faults else 0


def _floor(place: Place) -> Sheet:
    with place.new_folder(1 << 30) as folder:
        return disk.floor(folder)


def _cases(where: Sequence[Place], names: Sequence[str], associations: Sequence[int]) -> list[Case]:
    """Return all combinations, but several associations at a time with one load only: they differ little."""
    return [
        Case(place, load, count)
        for place in where
        for load in LOADS
        for count in associations
        if load.name in names and (count == 1 or load.name in _SEVERAL_LOADS)
    ]


def _sheet(case: Case, results: Sequence[Compared], absent: Sequence[str], base: str) -> Sheet:
    by_name = {one.receiver.name: one for one in results}
    rows = [row for one in results for row in _rows(one, by_name.get(base), by_name.get(OURS))]
    return Sheet(
        case.title, [*_COLUMNS[:4], f"of {base}", "ours of it", *_COLUMNS[4:]], rows, _notes(case, results, absent)
    )


def _rows(one: Compared, base: Compared | None, ours: Compared | None) -> Iterator[list[str]]:
    name = one.receiver.name
    if not one.runs:
        yield [name, "failed", *[""] * 8]
        return
    rates = [run.per_s for run in one.runs.values()]
    kilo, giga = 1000 / one.middle(lambda run: run.objects), 1000 / one.middle(lambda run: run.megabytes)
    yield [
        name,
        _rate(one.middle(lambda run: run.per_s)),
        f"{_rate(min(rates))}-{_rate(max(rates))}",
        f"{one.middle(lambda run: run.megabytes / run.seconds):,.0f}",
        _ratio(one, base),
        _ratio(ours, one),
        f"{one.middle(lambda run: run.everything.cpu_s) * kilo:.2f}",
        f"{one.middle(lambda run: run.everything.cpu_s) * giga:.2f}",
        f"{one.middle(lambda run: run.everything.peak_mb):.0f}",
        one.receiver.synced,
    ]
    if name == OURS:
        yield [
            "- process receiving",
            *[""] * 5,
            f"{one.middle(lambda run: run.receiving.cpu_s) * kilo:.2f}",
            f"{one.middle(lambda run: run.receiving.cpu_s) * giga:.2f}",
            f"{one.middle(lambda run: run.receiving.peak_mb):.0f}",
            "",
        ]


def _rate(per_s: float) -> str:
    return f"{per_s:,.0f}" if per_s >= 100 else f"{per_s:.1f}"


def _ratio(one: Compared | None, other: Compared | None) -> str:
    value = one.against(other) if one and other else None
    return "-" if value is None else f"{value:.2f}"


def _notes(case: Case, results: Sequence[Compared], absent: Sequence[str]) -> list[str]:
    rounds = max((len(one.runs) for one in results), default=0)
    fewer = [f"{one.receiver.name} {one.receiver.share:.0%}" for one in results if one.receiver.share < 1]
    notes = [f"Medians of {rounds} interleaved round{'s' * (rounds != 1)}; ratios are of objects/s, round by round."]
    notes.append("Synced first: what is on disk before Success. Peak: all its processes together, start-up included.")
    if fewer:
        notes.append(f"{case.load.instances} objects a round; of these {', '.join(fewer)}.")
    if absent:
        notes.append(f"Not installed, left out: {', '.join(absent)}.")
    return notes


def _idle(there: Sequence[Receiver], absent: Sequence[str], place: Place, tell: Tell) -> tuple[Sheet, list[str]]:
    results, faults = [], []
    for kind, count in _IDLE:
        for receiver in there:
            if receiver.name in _NOT_IDLE:
                continue
            tell(f"{count} idle {kind}: {receiver.name}")
            try:
                results.append(idle(receiver, place, kind, count))
            except (blast.RefusedError, DiedError, OSError) as error:
                faults.append(fault_text(f"{receiver.name}, {count} idle {kind}", error))
    columns = ("receiver", "beside", "accepted", "CPU % of a core", "kB each", "C-ECHO ms", "C-STORE ms")
    notes = ["Of the receiving process; C-ECHO and C-STORE (0.2 MB) each on a new association of another peer."]
    notes.append(f"For the idle associations {OURS} has its limits lifted to 200; the others' are their defaults.")
    if absent:
        notes.append(f"Not installed, left out: {', '.join(absent)}.")
    return Sheet("Peers that do nothing", columns, [_idle_row(one) for one in results], notes), faults


def _idle_row(one: Idled) -> list[str]:
    def milliseconds(seconds: float | None) -> str:
        return "none in 5 s" if seconds is None else f"{seconds * 1000:.0f}"

    return [
        one.receiver,
        one.title,
        "" if one.accepted is None else str(one.accepted),
        f"{one.cpu_percent:.1f}",
        f"{one.grown_kb:.0f}",
        milliseconds(one.echo_s),
        milliseconds(one.store_s),
    ]


def _chosen(every: Sequence[Receiver], names: Sequence[str] | None) -> list[Receiver]:
    if names is None:
        return list(every)
    known = {one.name: one for one in every}
    if unknown := set(names) - known.keys():
        raise SystemExit(f"no such receiver: {', '.join(sorted(unknown))}; there are: {', '.join(known)}")
    return [known[name] for name in names]


def _there(wanted: Sequence[Receiver]) -> tuple[list[Receiver], list[str]]:
    return [one for one in wanted if one.program], [one.name for one in wanted if not one.program]


@contextmanager
def _working_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="paraspinal-bench-") as folder:
        yield Path(folder)


@contextmanager
def _places(names: Sequence[str], disk: Path | None) -> Iterator[list[Place]]:
    with ExitStack() as stack:
        found = []
        for name in names:
            place = places.disk(disk) if name == "disk" else places.memory()
            if place is None:
                raise SystemExit("there is no tmpfs at /dev/shm: leave it out with --places disk")
            stack.callback(place.clean)
            found.append(place)
        yield found


def _document(sheets: Sequence[Sheet], words: Sequence[str] | None) -> str:
    command = shlex.join(["python", "-m", "benchmarks.receiving", *(sys.argv[1:] if words is None else words)])
    machine = f"{os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}"
    return f"{datetime.date.today()}, {machine}: `{command}`\n\n" + "\n".join(sheet.as_markdown() for sheet in sheets)


def _options(words: Sequence[str] | None) -> argparse.Namespace:
    def names(text: str) -> list[str]:
        return [word.strip() for word in text.split(",") if word.strip()]

    parser = argparse.ArgumentParser(prog="python -m benchmarks.receiving", description=__doc__)
    parser.add_argument("--receivers", type=names, help="names, with commas between; default: all")
    parser.add_argument(
        "--loads", type=names, default=[one.name for one in LOADS], help="default: 10kB,0.2MB,0.5MB,100MB"
    )
    parser.add_argument("--associations", type=lambda text: list(map(int, names(text))), default=[1, _SEVERAL])
    parser.add_argument("--places", type=names, default=["memory", "disk"], help="of: memory,disk")
    parser.add_argument("--disk", type=Path, help="folder on the disk to measure; default: the temporary folder")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--sender", choices=("blast", "storescu"), default="blast")
    parser.add_argument("--base", default=BASE, help=f"receiver of ratio 1, default {BASE}")
    parser.add_argument("--no-idle", dest="idle", action="store_false", help="leave out the peers that do nothing")
    parser.add_argument("--markdown", type=Path, help="also write the tables here")
    return parser.parse_args(words)


if __name__ == "__main__":
    sys.exit(main())
