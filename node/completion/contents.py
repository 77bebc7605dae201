"""Contents: what the headers of a study come to: roles, what is measured or why nothing is, what they say is missing.

Read series by series; what cannot be read costs the series, not the study. A study that breaks the process that reads
it must cost no other: so the working process has `verdict` called in a process of its own.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset

from node.completion.counts import lacking_of
from node.completion.facts import StackFacts, read_facts
from node.completion.phases import join_phases, lacking_phases
from node.completion.rules import Selection, select
from node.completion.table import RoleTable, read_table
from node.dicom.frames import is_image
from node.dicom.identifiers import SeriesUID
from node.errors import HeaderError, shown
from node.records import Confidence, Contrast, Place, Role, RoleDecision, SeriesRole, StackKey
from node.spool import SpoolReader, read_header

NO_IMAGE = "the series holds no acquired image"  # reports, segmentations, raw data
_MOST_STACKS = 10_000  # of a study: they are rows, written in one transaction for which the receiver waits; chosen


@dataclass(frozen=True, slots=True)
class Source:
    """One series: `read` gives the headers of all its instances, and may fail in any way; `sender` is an AE title."""

    series: SeriesUID
    read: Callable[[], Sequence[Dataset]]
    sender: str = ""


@dataclass(frozen=True, slots=True)
class StoredSeries:
    """One series in the spool: who sent it, and where its instances are."""

    series: SeriesUID
    sender: str
    places: Sequence[Place]

    def source(self, spool: SpoolReader) -> Source:
        return Source(self.series, lambda: [read_header(spool.read(place)) for place in self.places], self.sender)

    def to_json(self) -> list[Any]:
        places = [(one.segment, one.generation, one.offset) for one in self.places]
        return [self.series, self.sender, places]

    @classmethod
    def from_json(cls, values: Sequence[Any]) -> "StoredSeries":
        series, sender, places = values
        return cls(SeriesUID(series), sender, [Place(*one) for one in places])


@dataclass(frozen=True, slots=True)
class Contents:
    """What the headers of a study come to.

    Parameters
    ----------
    facts : tuple of StackFacts
        Of all stacks.
    roles : mapping
        Of each stack; of a series that makes none, under the number 1.
    selection : Selection
        What is measured, or why nothing is.
    lacking : mapping
        What is missing of a series by its own headers, "" if nothing is.
    left_out : mapping
        Series that could not be read, or make no stack, and why, in our own words.
    no_dynamic : str
        Why series that look like the time points of a dynamic are taken for none; "" if there are none such.
    """

    facts: tuple[StackFacts, ...]
    roles: Mapping[StackKey, RoleDecision]
    selection: Selection
    lacking: Mapping[SeriesUID, str]
    left_out: Mapping[SeriesUID, str]
    no_dynamic: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Of `Contents`, what becomes of the study by them; it can be told to another process.

    `phases` are those of the `Selection`.
    """

    roles: Mapping[StackKey, RoleDecision]
    stacks: Mapping[Role, StackKey] | None
    reason: str
    lacking: Mapping[SeriesUID, str] = field(default_factory=dict)
    left_out: Mapping[SeriesUID, str] = field(default_factory=dict)
    phases: tuple[SeriesUID, ...] = ()

    @classmethod
    def of(cls, contents: Contents) -> "Verdict":
        selection = contents.selection
        return cls(
            contents.roles, selection.stacks, selection.reason, contents.lacking, contents.left_out, selection.phases
        )

    def to_json(self) -> dict[str, Any]:
        """Return this as what JSON knows; `from_json` makes it whole again."""
        stacks = self.stacks
        return {
            "roles": [
                [key.series, key.number, one.role, one.evidence, one.rule, one.table, one.confidence, one.contrast,
                 one.fat_suppressed]
                for key, one in self.roles.items()
            ],
            "stacks": None if stacks is None else {role: [key.series, key.number] for role, key in stacks.items()},
            "reason": self.reason,
            "lacking": dict(self.lacking),
            "left_out": dict(self.left_out),
            "phases": list(self.phases),
        }  # fmt: skip

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Verdict":
        stacks = values["stacks"]
        return cls(
            roles={
                StackKey(SeriesUID(series), number): RoleDecision(
                    SeriesRole(role), evidence, rule=rule, table=table, confidence=Confidence(confidence),
                    contrast=None if contrast is None else Contrast(contrast), fat_suppressed=fat_suppressed,
                )
                for series, number, role, evidence, rule, table, confidence, contrast, fat_suppressed in values["roles"]
            },
            stacks=None
            if stacks is None
            else {Role(role): StackKey(SeriesUID(series), number) for role, (series, number) in stacks.items()},
            reason=values["reason"],
            lacking={SeriesUID(series): text for series, text in values["lacking"].items()},
            left_out={SeriesUID(series): text for series, text in values["left_out"].items()},
            phases=tuple(map(SeriesUID, values["phases"])),
        )  # fmt: skip


def read_contents(study: Iterable[Source], table: RoleTable, *, post_alone: bool) -> Contents:
    """Read the headers of a study, series by series, and decide what they come to."""
    facts: list[StackFacts] = []
    roles: dict[StackKey, RoleDecision] = {}
    lacking: dict[SeriesUID, str] = {}
    left_out: dict[SeriesUID, str] = {}
    for one in study:
        try:
            headers = one.read()
            if headers and not any(map(is_image, headers)):
                roles[StackKey(one.series)] = RoleDecision(SeriesRole.OTHER, NO_IMAGE)
                continue
            stacks = read_facts(headers, sender=one.sender)
            if len(facts) + len(stacks) > _MOST_STACKS:
                raise HeaderError(f"the study has more than {_MOST_STACKS} stacks with those of this series")
            lacking[one.series] = lacking_of(stacks, headers)
            facts += stacks  # last: what cannot be read wholly is not measured
        except Exception as error:  # what peers send may break pydicom anywhere; it costs the series, not the study
            left_out[one.series] = shown(error)
            roles[StackKey(one.series)] = RoleDecision(
                SeriesRole.OTHER, f"a header of the series could not be read, or it makes no stack: {shown(error)}"
            )
    joined = join_phases(facts, table)
    roles |= joined.roles
    for series, missing in lacking_phases(joined.facts).items():
        lacking[series] = "; ".join(filter(None, [lacking[series], missing]))
    for stack in joined.facts:
        if stack.left_out:
            said = f"{roles[stack.key].evidence}; {stack.left_out} instances left out: frames without a place"
            roles[stack.key] = replace(roles[stack.key], evidence=said)
    selection = select(joined.facts, roles, post_alone=post_alone)
    return Contents(joined.facts, roles, selection, lacking, left_out, joined.doubt)


def verdict(spool: str, series: Sequence[Any], rules: str | None, post_alone: bool) -> dict[str, Any]:
    """Return the verdict on a study, for a process of its own: all of it as JSON.

    Parameters
    ----------
    spool : str
        Folder of the spool.
    series : sequence
        Of each series `StoredSeries.to_json`.
    rules : str or None
        File with a site's rules.
    """
    reader = SpoolReader(Path(spool))
    sources = [StoredSeries.from_json(one).source(reader) for one in series]
    table = read_table(None if rules is None else Path(rules))
    return Verdict.of(read_contents(sources, table, post_alone=post_alone)).to_json()
