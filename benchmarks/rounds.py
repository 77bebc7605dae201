"""Rounds: each receiver in its turn, A B C, A B C, so that a disturbance of the machine hits all alike.

Each run is a fresh receiver on an empty folder. Compared is round by round: the ratio of a table is the median of the
rounds' ratios, not the ratio of medians.
"""

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

from benchmarks import blast
from benchmarks.load import WARM_UP, Instance, Load, write_files
from benchmarks.peers import Receiver, Start
from benchmarks.places import NoRoomError, Place
from benchmarks.processes import DiedError, Meter, Used, find_program, running
from node.simulator.loopback import free_port

_WARM_UP_FROM = 900_000  # numbers of its UIDs, which no load reaches
Sender = Callable[[int, Sequence[Instance], int], float]
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Case:
    """What is measured with every receiver: a place, a load, a number of associations at a time."""

    place: Place
    load: Load
    associations: int

    @property
    def title(self) -> str:
        plural = "" if self.associations == 1 else "s"
        return f"{self.load.title}, {self.associations} association{plural}, {self.place.name}"

    def concerns(self, receiver: Receiver) -> bool:
        fits = not receiver.loads or self.load.name in receiver.loads
        fits &= self.place.is_disk or not receiver.only_on_disk
        return fits and (receiver.serves_several or self.associations == 1)


@dataclass(frozen=True, slots=True)
class Run:
    """One receiver, one round."""

    objects: int
    megabytes: float
    seconds: float
    everything: Used
    receiving: Used

    @property
    def per_s(self) -> float:
        return self.objects / self.seconds


@dataclass(frozen=True, slots=True)
class Compared:
    """What one receiver did in all rounds of a case; `runs` by round, `faults` in words."""

    receiver: Receiver
    runs: Mapping[int, Run]
    faults: Sequence[str]

    def middle(self, value: Callable[[Run], float]) -> float:
        return median(value(run) for run in self.runs.values())

    def against(self, other: "Compared") -> float | None:
        """Return the median over the rounds of this rate over the other's, or None if no round has both."""
        both = self.runs.keys() & other.runs.keys()
        return median(self.runs[one].per_s / other.runs[one].per_s for one in both) if both else None


def compare(
    case: Case, receivers: Sequence[Receiver], *, repetitions: int, sender: Sender, tell: Progress
) -> list[Compared]:
    """Return what each receiver that the case concerns did, in the order given."""
    concerned = [receiver for receiver in receivers if case.concerns(receiver)]
    instances, warm_up = case.load.make(), WARM_UP.make(first=_WARM_UP_FROM)
    runs: dict[str, dict[int, Run]] = {receiver.name: {} for receiver in concerned}
    faults: dict[str, list[str]] = {receiver.name: [] for receiver in concerned}
    for number in range(repetitions):
        for receiver in concerned:
            tell(f"{case.title}: round {number + 1} of {repetitions}, {receiver.name}")
            share = instances[: max(2, round(receiver.share * len(instances)))]
            try:
                runs[receiver.name][number] = _measure(receiver, case, share, warm_up, sender)
            except (blast.RefusedError, DiedError, NoRoomError, OSError) as error:
                faults[receiver.name].append(fault_text(f"{receiver.name}, {case.title}", error))
    return [Compared(receiver, runs[receiver.name], faults[receiver.name]) for receiver in concerned]


def fault_text(where: str, error: Exception) -> str:
    return "; ".join([f"{where}: {error}", *getattr(error, "__notes__", ())])


def _measure(
    receiver: Receiver, case: Case, instances: Sequence[Instance], warm_up: Sequence[Instance], sender: Sender
) -> Run:
    sizes = sum(len(one.data_set) for one in instances)
    with case.place.new_folder(sizes) as folder:
        port = free_port()
        command = receiver.command(Start(folder, port))
        with running(command, receiver.environment, port, folder / "log.txt") as receiving:
            blast.send(port, warm_up if receiver.share == 1 else warm_up[:5])
            receiving.wait_until_calm()
            with Meter(receiving) as meter:
                seconds = sender(port, instances, case.associations)
            receiving.must_live()
    return Run(len(instances), sizes / 1e6, seconds, meter.everything, meter.receiving)


class Storescu:
    """DCMTK's storescu as sender: it costs about as much CPU as storescp, and is often the limit itself.

    Parameters
    ----------
    folder : Path
        For the files; they are written once a load.
    """

    def __init__(self, folder: Path) -> None:
        program = find_program("storescu")
        if program is None:
            raise DiedError("storescu (Debian package dcmtk) is not installed")
        self._program = program
        self._folder = folder
        self._files: dict[str, Path] = {}

    def __call__(self, port: int, instances: Sequence[Instance], associations: int) -> float:
        new = [one for one in instances if one.sop_instance not in self._files]
        if new:
            paths = write_files(new, self._folder / f"files{len(self._files)}")
            self._files |= dict(zip((one.sop_instance for one in new), paths, strict=True))
        files = [str(self._files[one.sop_instance]) for one in instances]
        command = [self._program, "-R", "-aet", blast.CALLING, "-aec", blast.CALLED, "127.0.0.1", str(port)]
        bounds = [len(files) * share // associations for share in range(associations + 1)]
        began = time.perf_counter()
        senders = [
            subprocess.Popen([*command, *files[start:end]], env={"TCP_NODELAY": "1"}, stderr=subprocess.DEVNULL)
            for start, end in pairwise(bounds)
        ]
        codes = [one.wait() for one in senders]
        if any(codes):
            raise blast.RefusedError(f"storescu ended with {codes}")
        return time.perf_counter() - began
