"""Random histories of a node, with a clock of the test's own: what is measured in the end is what was acknowledged.

The parts are real: intake, register, spool, ledger, watcher. Only sockets, threads and the queue's engine are left out.
Each history is made of one number, the seed, which a failing test names; `PARASPINAL_SCHEDULES_FROM` gives another
first seed. The model beside it knows what was sent, answered and told, and nothing of how the node decides.
"""

import hashlib
import os
import random
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from node.association.intake import Intake, Status, StoreRequest
from node.association.register import Register
from node.completion import QuietPeriod, Watcher, read_table
from node.dicom.performed import PerformedStep, StepState
from node.ledger import Arrivals, Expectations, Noted, open_database
from node.ledger.ledger import Ledger
from node.records import Job, Place, StudyState
from node.settings import AssociationSettings, CompletionSettings
from node.spool import Spool, SpoolReader
from tests.builders import data_set_bytes, mr, part10
from tests.completion.desk import POST, PRE

FIRST_SEED = int(os.environ.get("PARASPINAL_SCHEDULES_FROM", "0"))
A_FOLDER_FOR = 50  # schedules; each has studies of its own, and what the last one left is there for the next
SETTINGS = CompletionSettings()
QUIET_S, ENDED_S, INCOMPLETE_S = SETTINGS.quiet_period_s, SETTINGS.ended_quiet_period_s, SETTINGS.incomplete_after_s
TABLE = read_table()
TEMPLATE = "2.25.7000000"  # the study of the encoded instances; others differ in the last digits alone
KINDS: dict[int, dict[str, Any]] = {1: PRE, 2: POST, 3: {"AngioFlag": "Y", "ScanningSequence": "GR"}}
PATIENT, OTHER_PATIENT = "PATIENT-A", "PATIENT-B"

Content = tuple[str, str]  # SOP Instance UID, SHA-256 of the data set


def encoded(kind: int, number: int) -> bytes:
    series = f"{TEMPLATE}.{kind}"
    return data_set_bytes(
        part10(
            mr(
                f"{series}.{number}",
                study=TEMPLATE,
                series=series,
                PatientID=PATIENT,
                Rows=1,
                Columns=2,
                PixelData=b"\1\0\2\0",
                ImagePositionPatient=[0.0, 0.0, 4.0 * number],
                **KINDS[kind],
            )
        )
    )


ENCODED = {(kind, number): encoded(kind, number) for kind in KINDS for number in range(6)}


@dataclass(frozen=True)
class Instance:
    """One instance that a scanner has; `altered` has other pixels, `swapped` another patient."""

    study: str
    kind: int
    number: int
    altered: bool = False
    swapped: bool = False

    @property
    def uid(self) -> str:
        return f"{self.study}.{self.kind}.{self.number}"

    @property
    def series(self) -> str:
        return f"{self.study}.{self.kind}"

    @property
    def patient(self) -> str:
        return OTHER_PATIENT if self.swapped else PATIENT

    @property
    def data_set(self) -> bytes:
        content = ENCODED[self.kind, self.number].replace(TEMPLATE.encode(), self.study.encode())
        if self.altered:
            content = content[:-4] + b"\7\0\7\0"
        return content.replace(PATIENT.encode(), self.patient.encode())

    @property
    def content(self) -> Content:
        return self.uid, hashlib.sha256(self.data_set).hexdigest()


class Reader(SpoolReader):
    """A reader during whose reading something may happen: so what comes while the watcher looks at a study."""

    def __init__(self, root: Path, before: Callable[[], None]) -> None:
        super().__init__(root)
        self._before = before

    def read(self, place: Place) -> memoryview:
        self._before()
        return super().read(place)


class Node:
    """The parts of a node in one folder, and a clock; the receiver or the worker may be away.

    `meanwhile` is called before the watcher reads a header, `closing` with each job, in the transaction that makes it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.now, self.monotonic_s = folder, 1e9, 0.0
        self.meanwhile: Callable[[], None] = lambda: None
        self.closing: Callable[[Job], None] = lambda _job: None
        self.jobs: list[Job] = []
        self.register: Register | None = None
        self.start_receiver()
        self.start_worker()

    def start_receiver(self) -> None:
        """Do as `Reception.start` does."""
        database = open_database(self.folder / "node.db")
        arrivals = Arrivals(database)
        self.spool = Spool(self.folder / "spool", segment_bytes=1 << 22, spare=0)
        self.expectations = Expectations(database)
        self.register = Register(self.spool, arrivals)
        self.intake = Intake(AssociationSettings(), self.spool, self.register)
        arrivals.excuse_outage(now=self.now)
        self.register.replay(now=self.now)

    def kill_receiver(self) -> None:
        """End it as a power cut does: rows that were not written are lost."""
        self.spool.close()
        self.register = None

    def start_worker(self) -> None:
        self.ledger = Ledger(open_database(self.folder / "node.db"))
        self.reader = SpoolReader(self.folder / "spool")
        self.watcher = Watcher(
            self.ledger, Reader(self.reader.root, lambda: self.meanwhile()), QuietPeriod(SETTINGS), TABLE, SETTINGS,
            lambda _connection, job: self._enqueue(job), receiving=lambda: self.register is not None,
        )  # fmt: skip

    def _enqueue(self, job: Job) -> None:
        self.jobs.append(job)
        self.closing(job)

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.monotonic_s += seconds

    def store(self, instance: Instance, *, cut_off: bool) -> int | None:
        """Send an instance by C-STORE; None if its association broke before the end."""
        incoming = self.intake.begin(
            StoreRequest(MRImageStorage, instance.uid, ExplicitVRLittleEndian, "MR1", "PARASPINAL", "10.0.0.1")
        )
        try:
            data_set = instance.data_set
            half = len(data_set) // 2
            incoming.add(data_set[:half])
            if cut_off:
                return None
            incoming.add(data_set[half:])
            return incoming.finish().status
        finally:
            incoming.drop()

    def inputs(self, job: Job) -> set[Content]:
        """Return what a job measures, by the bytes that lie where its instances are."""
        found = set()
        for instances in self.ledger.inputs(job.id).values():
            for uid, place in instances:
                header, view = self.reader.read_record(place)
                found.add((str(uid), hashlib.sha256(view[header.head_length :]).hexdigest()))
        return found


@dataclass
class Study:
    """What the model knows of one study: every content that was acknowledged, in the order of its arrival."""

    uid: str
    acknowledged: list[Instance] = field(default_factory=list)
    patient: str = ""
    counted: dict[str, Instance] = field(default_factory=dict)  # by SOP Instance UID
    held: bool = False
    released: bool = False  # since the last job
    written: int = 0  # contents that have rows
    closed: int = 0  # contents that had rows at the last job
    moved_s: float = 0.0  # when it last grew, came again, or its quiet time began anew; by the clock nobody sets
    step: StepState | None = None
    made: dict[str, set[str]] = field(default_factory=dict)  # by series, by the word of the modality
    archived: int = 0  # by the word of an archive
    forced: bool = False
    jobs: list[set[Content]] = field(default_factory=list)

    def take(self, one: Instance) -> bool:
        """Note an instance that was acknowledged; return whether it is new."""
        if one in self.acknowledged:
            return False
        self.patient = self.patient or one.patient
        contradicts = any(other.uid == one.uid for other in self.acknowledged)
        self.acknowledged.append(one)
        if contradicts or one.patient != self.patient:
            self.held = True
        if not contradicts:
            self.counted[one.uid] = one
        return True

    def release(self, *, latest: bool) -> None:
        arrived = self.acknowledged[::-1] if latest else self.acknowledged
        self.patient = arrived[0].patient
        self.counted = {}
        for one in arrived:
            if one.patient == self.patient:
                self.counted.setdefault(one.uid, one)
        self.held, self.released = False, True

    def counting(self, kinds: set[int]) -> set[Content]:
        return {one.content for one in self.counted.values() if one.kind in kinds}

    @property
    def wanted(self) -> set[Content]:
        """What is to be measured: all of it, or without a pair the MRV alone."""
        pair = {1, 2} <= {one.kind for one in self.counted.values()}
        return self.counting({1, 2, 3} if pair else {3})

    @property
    def quiet_s(self) -> float:
        """For how long at least it has to be quiet before it is closed."""
        if self.forced:
            return 0.0
        if (
            self.step is StepState.IN_PROGRESS
            or self.archived > len(self.counted)
            or any(named - self.counted.keys() for named in self.made.values())
        ):
            return INCOMPLETE_S
        return QUIET_S if self.step is None else ENDED_S

    @property
    def is_measurable(self) -> bool | None:
        """Whether it has a pair or an MRV; None where that is open: so few slices that their spacing is another."""
        numbers = defaultdict(set)
        for one in self.counted.values():
            numbers[one.kind].add(one.number)
        steps = [[b - a for a, b in pairwise(sorted(of_series))] for of_series in numbers.values()]
        if any(median(of_series or [0]) != 1 for of_series in steps):
            return None
        return {1, 2} <= set(numbers) or 3 in numbers


class Schedule:
    """One history: `run` plays it, and raises AssertionError where the node breaks a promise."""

    def __init__(self, seed: int, node: Node) -> None:
        self.random, self.node = random.Random(seed), node
        node.meanwhile, node.closing = self.come_meanwhile, self.hold_closing
        self.studies = {
            uid: Study(uid) for k in range(self.random.choice([1, 1, 2, 3])) for uid in [f"2.25.7{seed % 100000:05}{k}"]
        }
        self.pending = self._plan()
        self.sent: list[Instance] = []
        self.unwritten: set[str] = set()  # studies of which the register has what is not in the ledger
        self.trace: list[str] = []

    # ---------------------------------------------------------------- the plan

    def _plan(self) -> list[Instance]:
        """Return what the scanners have, in the order in which they send it: series by series, or all mixed."""
        lines: list[list[Instance]] = []
        for uid in self.studies:
            kinds = self.random.choice([[1, 2], [1, 2], [1, 2, 3], [2, 1], [3], [1]])
            series = [
                [Instance(uid, kind, number) for number in range(self.random.choice([2, 3, 3, 6]))] for kind in kinds
            ]
            self.planned = {
                **getattr(self, "planned", {}),
                uid: {one[0].series: [each.uid for each in one] for one in series},
            }
            for one in series:
                if len(one) == 6 and self.random.random() < 0.3:
                    del one[self.random.randrange(1, 5)]  # never sent: a gap
                if self.random.random() < 0.3:
                    self.random.shuffle(one)
            lines += series if self.random.random() < 0.4 else [[one for members in series for one in members]]
        order = []
        while lines:
            line = self.random.choice(lines)
            order.append(line.pop(0))
            lines = [one for one in lines if one]
        return order

    # ---------------------------------------------------------------- what happens

    def run(self) -> None:
        acts = {
            self.send: 10, self.cut_off: 1, self.send_again: 2, self.contradict: 0.25, self.swap_patient: 0.15,
            self.wait_shortly: 4, self.wait_long: 1, self.look: 3, self.die: 0.4, self.set_clock: 0.2,
            self.begin_step: 0.4, self.end_step: 0.6, self.count: 0.4, self.force: 0.2, self.release: 0.3,
        }  # fmt: skip
        while self.pending:
            (act,) = self.random.choices(list(acts), weights=list(acts.values()))
            self.trace.append(act.__name__)
            act()
        for act in self.random.choices([self.send_again, self.look, self.wait_long, self.end_step], k=2):
            act()
        self.come_to_rest()

    def send(self) -> None:
        self._store(self.pending.pop(0))

    def cut_off(self) -> None:
        assert self.node.store(self.pending[0], cut_off=True) is None

    def send_again(self) -> None:
        if self.sent:
            self._store(self.random.choice(self.sent))

    def contradict(self) -> None:
        if self.sent:
            one = self.random.choice(self.sent)
            swapped = one.swapped != (self.random.random() < 0.3)  # or of another patient as well
            self._store(Instance(one.study, one.kind, one.number, altered=True, swapped=swapped))

    def swap_patient(self) -> None:
        one = self.pending.pop(0)
        self._store(Instance(one.study, one.kind, one.number, swapped=True))

    def _store(self, one: Instance) -> None:
        status = self.node.store(one, cut_off=False)
        study = self.studies[one.study]
        known = [other for other in study.acknowledged if other.uid == one.uid]
        assert status in (Status.SUCCESS, Status.COERCION_OF_DATA_ELEMENTS)
        if not known:
            assert status == Status.SUCCESS
        elif one not in known:
            assert status == Status.COERCION_OF_DATA_ELEMENTS
        self.sent.append(one)
        study.take(one)
        self.unwritten.add(one.study)
        if self.random.random() < 0.8:
            self.write()

    def write(self) -> None:
        """Let the register write its rows."""
        assert self.node.register is not None
        self.node.register.flush(now=self.node.now)
        for uid in self.unwritten:
            study = self.studies[uid]
            study.moved_s, study.written = self.node.monotonic_s, len(study.acknowledged)
        self.unwritten.clear()

    def wait_shortly(self) -> None:
        self.node.pass_time(self.random.uniform(0.1, 8.0))

    def wait_long(self) -> None:
        """Let some time pass, in which rows are written and the watcher looks now and then."""
        self.write()
        for _ in range(self.random.choice([1, 3])):
            self.node.pass_time(self.random.uniform(20.0, 70.0))
            self.look()

    def die(self) -> None:
        """Kill the receiver, the worker or both, for a while in which the other goes on."""
        receiver, worker = self.random.choice([(True, True), (True, False), (False, True)])
        if receiver:
            self.node.kill_receiver()
        for _ in range(self.random.choice([0, 1, 2])):
            self.node.pass_time(self.random.choice([0.5, 30.0, 3600.0]))
            if not worker:
                self.look()
        if worker:
            self.node.start_worker()
        if receiver:
            self.node.start_receiver()
            self._begin_anew()  # the outage is excused, and what had no rows has them now
            for study in self.studies.values():
                study.written = len(study.acknowledged)
            self.unwritten.clear()

    def set_clock(self) -> None:
        """Set the clock; the watcher looks before and after, as it does every few seconds."""
        self.look()
        self.node.now += self.random.choice([3600.0, -3600.0, 86400.0 * 7, -86400.0 * 7, 25.0])
        self.node.pass_time(1.0)
        self._begin_anew()
        self.look()

    def _begin_anew(self) -> None:
        for study in self.studies.values():
            study.moved_s = self.node.monotonic_s

    def begin_step(self) -> None:
        uid = self.random.choice(list(self.studies))
        step = PerformedStep(StepState.IN_PROGRESS, frozenset({uid}), {})
        noted = self.node.expectations.begin_step(f"{uid}.99", step, calling_ae="MR1", now=self.node.now)
        assert noted is (Noted.YES if self.studies[uid].step is None else Noted.EXISTS)
        self.studies[uid].step = self.studies[uid].step or StepState.IN_PROGRESS

    def end_step(self) -> None:
        """Let the modality say what it made: rightly, or too much, or too little, or something else."""
        uid = self.random.choice(list(self.studies))
        few, more = self.random.choice([(0, 0), (0, 0), (0, 0), (0, 1), (1, 0), (1, 1)])
        made = {
            series: set(uids[few:]) | {f"{series}.999.{number}" for number in range(more)}
            for series, uids in self.planned[uid].items()
        }
        state = self.random.choice([StepState.COMPLETED, StepState.COMPLETED, StepState.DISCONTINUED])
        step = PerformedStep(state, frozenset(), made)
        noted = self.node.expectations.change_step(f"{uid}.99", step, now=self.node.now)
        if self.studies[uid].step is StepState.IN_PROGRESS:
            assert noted is Noted.YES
            self.studies[uid].step, self.studies[uid].made = state, made
        else:
            assert noted in (Noted.UNKNOWN, Noted.ENDED)

    def count(self) -> None:
        """Let an archive say how many instances there are: rightly, or too many, or too few."""
        uid = self.random.choice(list(self.studies))
        wrong = self.random.choice([0, 0, 3, -2])
        count = sum(map(len, self.planned[uid].values())) + wrong
        self.node.expectations.expect(uid, "", "C-FIND", count, now=self.node.now)
        self.studies[uid].archived = count

    def force(self) -> None:
        uid = self.random.choice(list(self.studies))
        if self.node.ledger.force(uid, "root", now=self.node.now):
            self.studies[uid].forced = True

    def release(self) -> None:
        for study in self.studies.values():
            if study.held and study.uid not in self.unwritten:
                latest = self.random.random() < 0.5
                (row,) = self.node.ledger.study_rows(name=study.uid)
                assert self.node.ledger.release(row.alias, latest=latest, now=self.node.now) is not None
                study.release(latest=latest)
                study.moved_s = self.node.monotonic_s

    def look(self) -> None:
        """Let the watcher look, and hold what it does against the promises."""
        before = len(self.node.jobs)
        self.broken = ""
        self.node.watcher.run_once(now=self.node.now, monotonic_s=self.node.monotonic_s)
        assert not self.broken, self.broken
        for job in self.node.jobs[before:]:
            study = self.studies[job.study]
            inputs = self.node.inputs(job)
            assert inputs <= {one.content for one in study.acknowledged}, "a job with what was never acknowledged"
            assert job.generation == len(study.jobs) + 1, "not one job for each generation"
            study.jobs.append(inputs)
            study.released = study.forced = False
        for study in self.studies.values():
            if study.forced and study.uid not in {one.study for one in self.node.ledger.gathering()}:
                study.forced = False

    def come_meanwhile(self) -> None:
        """Let an instance come while the watcher reads headers."""
        if self.pending and self.node.register is not None and self.random.random() < 0.05:
            self.trace.append("come_meanwhile")
            self.send()

    def hold_closing(self, job: Job) -> None:
        """Note what is wrong with a closing at its moment; the watcher would take an error here for its own."""
        study = self.studies[job.study]
        if self.node.register is None and not study.forced:
            self.broken = "closed while the receiver was away"
        if study.held and study.uid not in self.unwritten:
            self.broken = "a job for a study that is held"
        if study.written == study.closed and not study.released:
            self.broken = "a job for nothing new"
        study.closed = study.written
        if self.node.monotonic_s - study.moved_s < study.quiet_s - 1e-3:
            self.broken = "closed early"

    # ---------------------------------------------------------------- in the end

    def come_to_rest(self) -> None:
        self.write()
        for _ in range(3):
            self.node.pass_time(INCOMPLETE_S + 1)
            self.look()
        rows = {uid: self.node.ledger.study_rows(name=uid) for uid in self.studies}
        assert self.node.ledger.gathering() == [], "a study never comes to rest"
        for study in self.studies.values():
            if not study.acknowledged:
                assert rows[study.uid] == []
                continue
            (row,) = rows[study.uid]
            jobs = [job for job in self.node.jobs if job.study == study.uid]
            assert row.generation == len(jobs)
            assert all(self.node.ledger.superseded(job.id) for job in jobs[:-1])
            if study.held:
                assert row.state is StudyState.HELD
                assert all(self.node.ledger.superseded(job.id) for job in jobs)
            elif study.is_measurable is None:
                assert row.state in (StudyState.MEASURABLE, StudyState.NOT_ELIGIBLE)
                assert row.state is StudyState.NOT_ELIGIBLE or study.jobs[-1] in (study.wanted, study.counting({3}))
            elif study.is_measurable:
                assert row.state is StudyState.MEASURABLE
                assert study.jobs[-1] == study.wanted, "what is measured is not what was acknowledged"
                assert not self.node.ledger.superseded(jobs[-1].id)
            else:
                assert row.state is StudyState.NOT_ELIGIBLE
            if not study.held:
                assert row.whole_by
                known = {one.series_alias for one in self.node.ledger.stack_rows(study.uid) if one.whole_by}
                assert len(known) == len({one.series for one in study.counted.values()})


def play(seeds: Sequence[int]) -> dict[str, int]:
    """Play the schedules of these seeds; return how often each thing happened."""
    happened: dict[str, int] = defaultdict(int)
    in_memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    for first in range(0, len(seeds), A_FOLDER_FOR):
        with tempfile.TemporaryDirectory(dir=in_memory) as folder:
            node = Node(Path(folder))
            for seed in seeds[first : first + A_FOLDER_FOR]:
                schedule = Schedule(seed, node)
                try:
                    schedule.run()
                except Exception as error:
                    raise AssertionError(f"seed {seed}: {error}; after {', '.join(schedule.trace)}") from error
                for act in schedule.trace:
                    happened[act] += 1
                happened["jobs"] += sum(len(study.jobs) for study in schedule.studies.values())
                happened["held"] += sum(study.held for study in schedule.studies.values())
            node.spool.close()
    return happened


def test_what_is_measured_in_the_end_is_what_was_acknowledged_whatever_happened_in_a_hundred_histories() -> None:
    play(range(FIRST_SEED, FIRST_SEED + 100))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("first", range(100, 2100, 500))
def test_what_is_measured_in_the_end_is_what_was_acknowledged_in_two_thousand_histories(first: int) -> None:
    happened = play(range(FIRST_SEED + first, FIRST_SEED + first + 500))

    print(dict(happened))
    assert min(happened.values()) > 25  # each kind of thing did happen
