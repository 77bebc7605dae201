"""Why: which rule gave each stack its role, which condition held with which value, and what became of the pairs.

Of a study that a node holds, or of files; by the rules in force, or by changed ones that are tried out. Everything here
is by alias, and in numbers and our own words: no identifier and no text of a header is shown.
"""

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from pydicom.dataset import Dataset

from node import process
from node.completion import RoleTable, StackFacts, read_table
from node.completion.contents import Source, StoredSeries, read_contents
from node.completion.table import Check, RuleCheck
from node.dicom.files import read_file_header
from node.dicom.identifiers import SeriesUID
from node.errors import HeaderError
from node.eventlog import alias
from node.ledger import open_database
from node.ledger.ledger import Ledger
from node.ledger.overview import SeriesRow
from node.records import Role, RoleDecision, StackKey, StudyState
from node.settings import Settings
from node.spool import SpoolReader

_DAY_S = 86400.0
_DECIDED = frozenset({StudyState.MEASURABLE, StudyState.NOT_ELIGIBLE})


@dataclass(frozen=True, slots=True)
class StackAnswer:
    """One stack: what it is, the rule that says so, and what every rule before it wanted and found.

    `series` is the alias of its series, or, of files, a number.
    """

    series: str
    number: int
    slices: int
    splits: Mapping[str, str]
    faults: tuple[str, ...]
    decision: RoleDecision
    rules: tuple[RuleCheck, ...]


@dataclass(frozen=True, slots=True)
class PairAnswer:
    """Two stacks, as "alias/number", that look like before and after contrast, and what forbids to compare them."""

    pre: str
    post: str
    differences: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StudyAnswer:
    """All there is to say of one study.

    `unreadable` has by series why it makes no stack; `no_dynamic` is that of `completion.contents.Contents`.
    """

    study: str
    table: str
    stacks: tuple[StackAnswer, ...]
    unreadable: Mapping[str, str]
    pairs: tuple[PairAnswer, ...]
    selected: Mapping[Role, str]
    reason: str
    no_dynamic: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """What another table would make of one stack, or, where `stack` is "", of a study."""

    stack: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class _Series:
    """A series, and how it is called in an answer."""

    name: str
    source: Source


def why(study: str, settings: Settings, *, table: RoleTable | None = None) -> StudyAnswer:
    """Return the answer for a study by its alias or UID, or for a folder that holds one.

    Raises
    ------
    SettingsError
        If the data folder holds no node's work.
    HeaderError
        If there is no such study, or the folder holds none or several.
    """
    table = table or read_table(settings.completion.roles)
    if Path(study).is_dir():
        studies = _studies_in([Path(study)])
        if len(studies) != 1:
            raise HeaderError(f"the folder must hold the instances of one study, found {len(studies)} studies")
        (series,) = studies
        return _answer("1", series, table, settings)
    held = _Held(settings)
    rows = held.ledger.series_held(study)
    if not rows:
        raise HeaderError(f"no instance of a study {study} is held; see: status")
    return _answer(rows[0].study_alias, [held.read(row) for row in rows], table, settings)


def try_rules(files: Sequence[Path], settings: Settings, *, rules: Path | None = None) -> list[StudyAnswer]:
    """Return what the table with `rules`, or the site's, makes of DICOM files and folders of them."""
    table = read_table(rules or settings.completion.roles)
    studies = _studies_in(files)
    if not studies:
        raise HeaderError("there is no DICOM instance among the files")
    return [_answer(str(number), series, table, settings) for number, series in enumerate(studies, start=1)]


def backtest(settings: Settings, *, days: float, rules: Path | None = None) -> tuple[int, dict[str, list[Change]]]:
    """Return how many closed studies of the last days were tried, and by alias what would be another.

    What is compared with is what the node decided when it closed the study, not what it would decide today.
    """
    table = read_table(rules or settings.completion.roles)
    held = _Held(settings)
    by_study: dict[str, list[SeriesRow]] = defaultdict(list)
    for row in held.ledger.series_held(since_s=time.time() - days * _DAY_S):
        by_study[row.study_alias].append(row)
    tried, found = 0, {}
    for name, rows in by_study.items():
        before = {
            (one.series_alias, one.number): one.decision.label
            for one in held.ledger.stack_rows(name)
            if one.decision is not None
        }
        if not before or rows[0].state not in _DECIDED:
            continue  # it gathers, for the first time or again: what was decided was of fewer instances
        tried += 1
        answer = _answer(name, [held.read(row) for row in rows], table, settings)
        after = {(one.series, one.number): one.decision.label for one in answer.stacks}
        changes = [
            Change(f"{series}/{number}", before.get((series, number), "none"), after.get((series, number), "none"))
            for series, number in sorted(before.keys() | after.keys())
            if before.get((series, number)) != after.get((series, number))
            and not (series in answer.unreadable and (series, number) in before)
        ]
        was = rows[0].reason.partition(";")[0]
        if answer.reason.partition(";")[0] != was:
            changes.append(Change("", was, answer.reason))
        if changes:
            found[name] = changes
    return tried, found


# ---------------------------------------------------------------- from headers to an answer


def _answer(name: str, series: Sequence[_Series], table: RoleTable, settings: Settings) -> StudyAnswer:
    names = {one.source.series: one.name for one in series}
    contents = read_contents([one.source for one in series], table, post_alone=settings.completion.post_alone)
    roles, selection = contents.roles, contents.selection
    return StudyAnswer(
        study=name,
        table=table.name,
        stacks=tuple(_stack_answer(one, names[one.series], roles[one.key], table) for one in contents.facts),
        unreadable={names[uid]: reason for uid, reason in contents.left_out.items()},
        pairs=tuple(
            PairAnswer(_name(pair.pre.key, names), _name(pair.post.key, names), tuple(map(str, pair.differences)))
            for pair in selection.pairs
        ),
        selected={
            role: " + ".join(_name(replace(key, series=uid), names) for uid in selection.series_of(role))
            for role, key in (selection.stacks or {}).items()
        },
        reason=selection.reason,
        no_dynamic=contents.no_dynamic,
    )


def _stack_answer(facts: StackFacts, name: str, decision: RoleDecision, table: RoleTable) -> StackAnswer:
    tried = []
    for one in table.checks(facts):
        tried.append(one)
        if one.check.held:
            break  # the first that holds counts
    return StackAnswer(
        series=name,
        number=facts.key.number,
        slices=facts.slices,
        splits=facts.splits,
        faults=tuple(f"{fault.code}: {fault.text}" for fault in facts.faults),
        decision=decision,
        rules=tuple(tried),
    )


def _name(key: StackKey, names: Mapping[SeriesUID, str]) -> str:
    return f"{names[key.series]}/{key.number}"


def decisive(check: Check) -> list[Check]:
    """Return the questions that decided a check: those that failed it, or all that held."""
    if not check.joined_by:
        return [check]
    if check.joined_by == "not":
        return [one.denied() for one in decisive(check.parts[0])]
    if check.joined_by == "all" and not check.held:
        return decisive(next(one for one in check.parts if not one.held))
    if check.joined_by == "any" and check.held:
        return decisive(next(one for one in check.parts if one.held))
    return [one for part in check.parts for one in decisive(part)]


# ---------------------------------------------------------------- where headers come from


class _Held:
    """Headers in the spool of a node."""

    def __init__(self, settings: Settings) -> None:
        data_dir = process.worked_data_dir(settings)
        self.ledger = Ledger(open_database(data_dir / process.DATABASE))
        self._spool = SpoolReader(data_dir / process.SPOOL)

    def read(self, row: SeriesRow) -> _Series:
        """Return a series, to be read when it is its turn."""
        stored = StoredSeries(row.series, row.sender, self.ledger.places(row.study, row.series))
        return _Series(alias(row.series), stored.source(self._spool))


def _studies_in(paths: Iterable[Path]) -> list[list[_Series]]:
    """Return the series of each study among files and folders; both go by numbers, in the order of their UIDs."""
    studies: dict[str, dict[SeriesUID, dict[str, Dataset]]] = defaultdict(lambda: defaultdict(dict))
    for path in _files(paths):
        try:
            with path.open("rb") as file:
                header = read_file_header(file)
            study, series = str(header.StudyInstanceUID), SeriesUID(str(header.SeriesInstanceUID))
            studies[study][series].setdefault(str(header.SOPInstanceUID), header)
        except HeaderError:  # one that would become too large is of a study, for all we know
            raise
        except Exception:  # folders of researchers hold more than DICOM
            continue
    return [
        [
            _Series(str(number), Source(uid, partial(list, instances.values())))
            for number, (uid, instances) in enumerate(sorted(series.items()), start=1)
        ]
        for _study, series in sorted(studies.items())
    ]


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        yield from sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]
