"""What the rule table decided goes into the job: its version makes other results, a doubt about contrast a refusal."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydicom.dataset import Dataset

from node.completion import QuietPeriod, Watcher, read_table
from node.findings import Findings, Outcome
from node.jobs import steps
from node.jobs.pipeline import Pipeline
from node.jobs.watch import CancelWatch
from node.ledger import Arrivals
from node.ledger.ledger import Ledger
from node.records import Job, Role
from node.settings import Settings
from node.spool import Results, Spool, SpoolReader
from tests.builders import data_set_bytes, origin_of, part10, record, series_of

PRE = {"AcquisitionDate": "20260102", "AcquisitionTime": "100000"}
POST = {"AcquisitionDate": "20260102", "AcquisitionTime": "101500", "ContrastBolusAgent": "GADOBUTROL"}
SITE = 'version = "site-{}"\n[[rule]]\nname = "nothing"\nrole = "other"\nconfidence = "low"\nreason = "never"\n'
SITE += 'when = {{ fact = "tr", at_least = 1e9 }}\n'


class Engine:
    """In place of the queue's engine: steps are plain functions."""

    def step(self, _name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        return function

    def workflow(self, _name: str, _body: Callable[..., Any], *, recovery_attempts: int) -> None:
        pass


class Bench:
    """A study of two series that becomes a job, by one rule table or another; `digest` is that of the last job."""

    def __init__(self, spool: Spool, ledger: Ledger, folder: Path, settings: Settings | None = None) -> None:
        self.spool, self.ledger, self.folder = spool, ledger, folder
        self.now = 100.0
        engine: Any = Engine()
        self.pipeline = Pipeline(
            engine, ledger, SpoolReader(spool.root), Results(folder / "results"), settings or Settings(),
            work=folder / "work", quarantine=Results(folder / "quarantine"), cancel=CancelWatch(engine),
        )  # fmt: skip

    def receive(self, number: int, **attributes: Any) -> None:
        for dataset in series_of(number, **attributes):
            self.receive_one(dataset)

    def receive_one(self, dataset: Dataset) -> None:
        content = part10(dataset)
        head_length = len(content) - len(data_set_bytes(content))
        header = record(self.spool, content, origin_of(dataset), head_length=head_length, now=self.now)
        Arrivals(self.ledger.database).enter([header.received(contradicts=False)], now=self.now)

    def close(self, rules: Path | None = None) -> Job:
        """Close the study by a rule table, and return its job."""
        jobs: list[Job] = []
        self.now += 1000.0
        settings = Settings().completion
        watcher = Watcher(
            self.ledger, SpoolReader(self.spool.root), QuietPeriod(settings), read_table(rules), settings,
            lambda _connection, job: jobs.append(job),
        )  # fmt: skip
        watcher.run_once(now=self.now, monotonic_s=self.now)
        (job,) = jobs
        return job

    def job(self, rules: Path | None = None) -> steps.Task:
        """Close the study by a rule table, and return what its job was told to measure."""
        job = self.close(rules)
        assert self.pipeline._assemble_job(job.id) == ""
        return steps.Task.read(self.folder / "work" / job.id)

    @property
    def digest(self) -> str:
        with self.ledger.engine.connect() as connection:
            wanted = "SELECT input_digest FROM job ORDER BY created_s DESC LIMIT 1"
            return str(connection.execute(sa.text(wanted)).scalar_one())

    def measure(self, task: steps.Task) -> Findings:
        place = self.folder / "measured"
        place.mkdir(exist_ok=True)
        task.write(place)
        steps.measure(str(place))
        return Findings.from_json(json.loads((place / "measurement.json").read_text())["findings"])


@pytest.fixture
def bench(spool: Spool, ledger: Ledger, tmp_path: Path) -> Bench:
    return Bench(spool, ledger, tmp_path)


def site_rules(folder: Path, version: int) -> Path:
    path = folder / f"roles-{version}.toml"
    path.write_text(SITE.format(version))
    return path


def test_another_version_of_the_rule_table_makes_another_digest_of_the_same_images(
    bench: Bench, tmp_path: Path
) -> None:
    digests, tables = [], []
    bench.receive(1, **PRE)
    bench.receive(2, **POST)
    for version in (1, 2):
        bench.receive(2 + version, Modality="CT")  # reopens the study, and is not measured
        tables.append(bench.job(site_rules(tmp_path, version)).rules)
        digests.append(bench.digest)

    assert [name.partition(" ")[0] for name in tables] == ["site-1", "site-2"]
    assert digests[0] != digests[1]


def test_the_same_table_and_the_same_images_have_one_digest(bench: Bench) -> None:
    digests = []
    bench.receive(1, **PRE)
    bench.receive(2, **POST)
    for number in (3, 4):
        bench.receive(number, Modality="CT")
        bench.job()
        digests.append(bench.digest)

    assert digests[0] == digests[1]


def test_the_job_of_a_pair_that_headers_agree_about_has_no_doubt(bench: Bench) -> None:
    bench.receive(1, **PRE)
    bench.receive(2, **POST)

    task = bench.job()

    assert task.doubt == ""
    assert task.rules == read_table().name


@pytest.mark.slow
def test_a_contradiction_about_contrast_becomes_a_refusal_that_says_which(bench: Bench) -> None:
    bench.receive(1, **PRE, SeriesDescription="T1 tra pre", ContrastBolusAgent="GADOBUTROL")
    bench.receive(2, **POST)

    task = bench.job()
    findings = bench.measure(task)

    assert set(task.inputs) == {Role.PRE, Role.POST}
    assert findings.outcome is Outcome.REFUSED
    assert {one.code for one in findings.refusals} == {"ROLE-CONTRAST"}
    assert "described as before contrast, yet contrast is named too" in findings.refusals[0].text
    assert findings.muscles == findings.lesions == ()


@pytest.mark.slow
def test_the_rule_table_is_a_parameter_of_the_algorithm_and_covered_by_its_hash(bench: Bench, tmp_path: Path) -> None:
    algorithms = []
    bench.receive(1, **PRE, SeriesDescription="T1 tra pre", ContrastBolusAgent="GADOBUTROL")
    bench.receive(2, **POST)
    for version in (1, 2):
        bench.receive(2 + version, Modality="CT")
        algorithms.append(bench.measure(bench.job(site_rules(tmp_path, version))).algorithm)

    assert [one.parameters["role_rules"].partition(" ")[0] for one in algorithms] == ["site-1", "site-2"]
    assert algorithms[0].configuration_hash != algorithms[1].configuration_hash
