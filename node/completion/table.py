"""The rule table: which stack has which role, as data in `config/roles.toml`; a site's own rules come before ours.

A rule is a condition; the first that holds gives the role. A condition asks for one fact of `facts.VOCABULARY` or one
element of the header, or joins others by `all`, `any`, `not`, `use`. Nothing of a table is executed, and what a check
shows of a header are numbers, our own words, and words that the rule itself lists.
"""

import hashlib
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydicom.datadict import keyword_for_tag, tag_for_keyword

from node.completion.facts import VOCABULARY, Kind, StackFacts
from node.errors import SettingsError
from node.records import Confidence, SeriesRole

_SUBJECTS = ("all", "any", "not", "use", "fact", "tag")
_TESTS = ("one_of", "all_of", "matches", "between", "at_least", "at_most", "is", "present")
_TESTS_OF = {
    Kind.NUMBER: ("between", "at_least", "at_most", "present"),
    Kind.WORDS: ("one_of", "all_of", "matches", "present"),
    Kind.OWN_WORD: ("one_of", "present"),
    Kind.TEXT: ("matches", "present"),
    Kind.FLAG: ("is",),
}
_TAG = re.compile(r"\(([0-9a-f]{4}),([0-9a-f]{4})\)", re.IGNORECASE)
_PATIENT_GROUP = 0x0010
_LONGEST_TEXT = 256  # characters of a value that an expression is tried on: a site's may be slow


class Condition(BaseModel):
    """One condition: a subject (`all`, `any`, `not`, `use`, `fact` or `tag`) and, for the last two, what is wanted."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    all: list["Condition"] | None = None
    any: list["Condition"] | None = None
    negated: "Condition | None" = Field(None, alias="not")
    use: str | None = None
    fact: str | None = None
    tag: str | None = None
    creator: str = ""
    one_of: list[str] | None = None
    all_of: list[str] | None = None
    matches: str | None = None
    ignoring: str | None = None
    between: list[float] | None = Field(None, min_length=2, max_length=2)
    at_least: float | None = None
    at_most: float | None = None
    is_: bool | None = Field(None, alias="is")
    present: bool | None = None
    says: str = ""

    @field_validator("fact")
    @classmethod
    def _known(cls, name: str | None) -> str | None:
        if name is not None and name not in VOCABULARY:
            raise ValueError("must be a fact that `rules show` lists")
        return name

    @field_validator("matches", "ignoring")
    @classmethod
    def _expression(cls, text: str | None) -> str | None:
        try:
            re.compile(text or "")
        except re.error as error:
            raise ValueError(f"must be a regular expression ({error})") from error
        return text

    @field_validator("tag")
    @classmethod
    def _element(cls, name: str | None) -> str | None:
        if name is not None and _number_of(name) is None:
            raise ValueError("must be a keyword of PS3.6 or (gggg,eeee)")
        if name is not None and _number_of(name) >> 16 == _PATIENT_GROUP:  # type: ignore[operator]
            raise ValueError("must not ask who the patient is (group 0010)")
        return name

    @model_validator(mode="after")
    def _one_question(self) -> "Condition":
        faults = []
        subjects, tests = self._given(_SUBJECTS), self._given(_TESTS)
        if len(subjects) != 1:
            faults.append(f"wants exactly one of {', '.join(_SUBJECTS)}; found {', '.join(subjects) or 'none'}")
        elif subjects[0] in ("fact", "tag"):
            if len(tests) != 1 and tests != ["at_least", "at_most"]:  # these two are one question
                faults.append(f"wants one of {', '.join(_TESTS)} alone; found {', '.join(tests) or 'none'}")
            allowed = (
                _TESTS_OF[VOCABULARY[self.fact].kind] if self.fact else tuple(one for one in _TESTS if one != "is")
            )
            for wrong in sorted(set(tests) - set(allowed)):
                faults.append(f"{self.fact or self.tag} can be asked for {', '.join(allowed)}; found {wrong}")
        elif tests:
            faults.append(f"{subjects[0]} takes no {', '.join(tests)}")
        if self.all == [] or self.any == []:
            faults.append("an empty list of conditions says nothing")
        if self.ignoring is not None and self.matches is None:
            faults.append("ignoring goes with matches")
        if self.tag and (_number_of(self.tag) or 0) >> 16 & 1 and not self.creator:
            faults.append("a private element wants its creator")
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def _given(self, names: Iterable[str]) -> list[str]:
        stored = {"not": "negated", "is": "is_"}
        return [name for name in names if getattr(self, stored.get(name, name)) is not None]


class Rule(BaseModel):
    """One rule: if its condition holds, the stack has the role, for the reason given."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    role: SeriesRole
    confidence: Confidence
    reason: str = Field(min_length=1)
    when: Condition


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    version: str = Field(min_length=1, max_length=32)
    conditions: dict[str, Condition] = {}
    rule: list[Rule] = []


@dataclass(frozen=True, slots=True)
class Check:
    """What became of a condition: `found` and `wanted` may be shown; `parts` are the checks that it joins."""

    held: bool
    found: str
    wanted: str
    joined_by: str = ""  # "all", "any", "not"; "" for a question to the header
    parts: tuple["Check", ...] = ()

    def leaves(self) -> Iterator["Check"]:
        """Yield the questions to the header, from left to right; below a `not` as what it wants."""
        if not self.joined_by:
            yield self
        for part in self.parts:
            for one in part.leaves():
                yield one.denied() if self.joined_by == "not" else one

    def denied(self) -> "Check":
        """Return the check of a question below a `not`."""
        return Check(not self.held, self.found, f"not: {self.wanted}")

    def reasons(self) -> Iterator[str]:
        """Yield what was found that made the condition hold."""
        if not self.joined_by:
            yield self.found
        elif self.joined_by != "not":
            for part in self.parts:
                if part.held:
                    yield from part.reasons()


@dataclass(frozen=True, slots=True)
class RuleCheck:
    """What one rule said of one stack."""

    rule: Rule
    check: Check


@dataclass(frozen=True, slots=True)
class RoleTable:
    """The rules in the order in which they are tried.

    Parameters
    ----------
    version : str
        Of the site's rules, if there are any, and of ours.
    digest : str
        SHA-256 of both files.
    """

    version: str
    digest: str
    rules: tuple[Rule, ...]
    conditions: Mapping[str, Condition]

    @property
    def name(self) -> str:
        """Return version and digest, shortened, as decisions and answers bear them."""
        return f"{self.version} ({self.digest[:8]})"

    def first(self, facts: StackFacts) -> RuleCheck | None:
        """Return the first rule that holds for a stack; of its check only what decided it."""
        for rule in self.rules:
            check = self.check(rule.when, facts, whole=False)
            if check.held:
                return RuleCheck(rule, check)
        return None

    def checks(self, facts: StackFacts) -> Iterator[RuleCheck]:
        """Yield what each rule says of a stack, in order."""
        for rule in self.rules:
            yield RuleCheck(rule, self.check(rule.when, facts))

    def check(self, condition: Condition, facts: StackFacts, *, whole: bool = True) -> Check:
        """Return what becomes of a condition; `whole` looks at all of its parts, also when it is decided already."""
        if condition.use is not None:
            return self.check(self.conditions[condition.use], facts, whole=whole)
        if condition.negated is not None:
            part = self.check(condition.negated, facts, whole=whole)
            return Check(not part.held, "", "", "not", (part,))
        if condition.all is None and condition.any is None:
            return _ask(condition, facts)
        joined_by, wanted = ("all", True) if condition.all is not None else ("any", False)
        parts = []
        for one in condition.all or condition.any or ():
            parts.append(self.check(one, facts, whole=whole))
            if not whole and parts[-1].held is not wanted:
                break
        held = all(one.held for one in parts) if wanted else any(one.held for one in parts)
        return Check(held, "", "", joined_by, tuple(parts))

    def holds(self, name: str, facts: StackFacts) -> bool:
        """Return whether a named condition of the table holds."""
        return self.check(self.conditions[name], facts, whole=False).held


# What the code asks for by name: which words of a description say that contrast medium was given, or was not.
NEEDED_CONDITIONS = ("says-pre", "says-post")


def read_table(site: Path | None = None) -> RoleTable:
    """Return our rules, with those of a site's own file before them.

    A site may also give a condition of ours another meaning, by its name.

    Raises
    ------
    SettingsError
        With every fault of the site's file at once: where, what was found, what is wanted.
    """
    ours = _shipped()
    shipped = _checked(ours, "roles.toml", known=())
    own, content = _File(version="none"), b""
    if site is not None:
        try:
            content = site.read_bytes()
        except OSError as error:
            raise SettingsError(f"{site}: cannot be read ({error.strerror})") from error
        own = _checked(content, str(site), known=shipped.conditions)
    conditions = shipped.conditions | own.conditions
    rules = (*own.rule, *shipped.rule)
    faults = [*_circles(conditions), *_repeated(rules)]
    faults += [f"conditions: there is no {name!r}" for name in NEEDED_CONDITIONS if name not in conditions]
    if faults:
        raise SettingsError("\n".join(f"{site or 'roles.toml'}: {fault}" for fault in faults))
    version = shipped.version if site is None else f"{own.version} before {shipped.version}"
    return RoleTable(version, hashlib.sha256(content + ours).hexdigest(), rules, conditions)


@cache
def _shipped() -> bytes:
    packaged = resources.files("node.completion") / "roles.toml"  # of a wheel
    if packaged.is_file():
        return packaged.read_bytes()
    return (Path(__file__).parents[2] / "config" / "roles.toml").read_bytes()


def _checked(content: bytes, where: str, *, known: Iterable[str]) -> _File:
    """Return the rules of a file, checked; beside its own conditions it may use those that are `known`."""
    try:
        values = tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{where}: not valid TOML: {error}") from error
    faults = []
    try:
        file = _File.model_validate(values)
    except ValidationError as error:
        faults += [_line(fault) for fault in error.errors()]
    faults += _unknown_names(values, known)
    if faults:
        raise SettingsError("\n".join(f"{where}: {fault}" for fault in faults))
    return file


def _line(fault: Any) -> str:
    place = ".".join(str(part + 1 if isinstance(part, int) else part) for part in fault["loc"])  # rules count from 1
    found = fault.get("input")
    shown = "" if isinstance(found, (dict, Condition)) else f", not {found!r}"
    return f"{place}: {fault['msg'].removeprefix('Value error, ')}{shown}"


def _unknown_names(values: Mapping[str, Any], known: Iterable[str]) -> Iterator[str]:
    """Yield the conditions that a file uses and nobody defines; of raw values, so that no other fault hides them."""
    own = values.get("conditions")
    defined = {*known, *(own if isinstance(own, dict) else ())}
    for place, name in _names_used(values, ()):
        if name not in defined:
            yield f"{'.'.join(place)}: uses {name!r}, which no [conditions.{name}] defines"


def _names_used(value: Any, place: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield each name that a condition uses, and where."""
    parts: Iterable[tuple[str, Any]] = ()
    if isinstance(value, dict):
        parts = value.items()
        if isinstance(value.get("use"), str):
            yield place, value["use"]
    elif isinstance(value, list):
        parts = ((str(number), one) for number, one in enumerate(value, start=1))
    for name, part in parts:
        yield from _names_used(part, (*place, name))


def _circles(conditions: Mapping[str, Condition]) -> Iterator[str]:
    for start in conditions:
        reached, frontier = set[str](), {start}
        while frontier:
            frontier = {name for one in frontier if one in conditions for name in _used(conditions[one])} - reached
            reached |= frontier
        if start in reached:
            yield f"conditions.{start}: is defined by itself"


def _repeated(rules: Sequence[Rule]) -> Iterator[str]:
    names = [rule.name for rule in rules]
    for name in sorted({one for one in names if names.count(one) > 1}):
        yield f"rule {name}: two rules have this name"


def _used(condition: Condition) -> Iterator[str]:
    if condition.use is not None:
        yield condition.use
    for one in (*(condition.all or ()), *(condition.any or ()), *filter(None, [condition.negated])):
        yield from _used(one)


# ---------------------------------------------------------------- asking a header


def _ask(condition: Condition, facts: StackFacts) -> Check:
    """Return what becomes of a question to the header."""
    if condition.fact is not None:
        fact = VOCABULARY[condition.fact]
        called, kind, value, unit = fact.called, fact.kind, fact.of(facts), fact.unit
    else:
        called, unit = _called(condition.tag or ""), ""
        value = _element(condition, facts)
        kind = Kind.NUMBER if isinstance(value, float) else Kind.TEXT if condition.matches else Kind.WORDS
    if condition.is_ is not None:
        return Check(bool(value) is condition.is_, f"{called}: {_yes(value)}", f"{_yes(condition.is_)}")
    if _wants_number(condition) or (kind is Kind.NUMBER and condition.present is not None):
        return _ask_number(condition, called, value if isinstance(value, (int, float)) else None, unit)
    return _ask_words(condition, called, kind, _as_words(value))


def _ask_number(condition: Condition, called: str, value: float | None, unit: str) -> Check:
    found = f"{called} not stated" if value is None else f"{called} {value:g} {unit}".rstrip()
    low, high = condition.between or (condition.at_least, condition.at_most)
    if condition.present is not None:
        return Check((value is not None) is condition.present, found, "stated" if condition.present else "not stated")
    held = value is not None and (low is None or value >= low) and (high is None or value <= high)
    limits = ((low, "at least"), (high, "at most"))
    wanted = " and ".join(f"{words} {limit:g}" for limit, words in limits if limit is not None)
    return Check(held, found, f"{wanted} {unit}".rstrip())


def _ask_words(condition: Condition, called: str, kind: Kind, words: Sequence[str]) -> Check:
    """Return the check of words; of words that the rule does not list, only that there are some is told."""
    listed = [word.upper() for word in (condition.one_of or condition.all_of or ())]
    known = [word for word in words if word.upper() in listed or kind is Kind.OWN_WORD]
    found = f"{called} {'/'.join(known)}" if known else f"{called} {'another' if words else 'not stated'}"
    if condition.matches is not None:
        says = condition.says or "what the rule looks for"
        texts = [word[:_LONGEST_TEXT] for word in words]
        if condition.ignoring is not None:
            texts = [_expression(condition.ignoring).sub(" ", text) for text in texts]
        held = any(_expression(condition.matches).search(text) for text in texts)
        return Check(held, f"{called} {'says' if held else 'does not say'} {says}", f"says {says}")
    if condition.present is not None:
        return Check(bool(words) is condition.present, found, "stated" if condition.present else "not stated")
    upper = {word.upper() for word in words}
    if condition.all_of is not None:
        return Check(upper >= set(listed), found, f"all of {', '.join(condition.all_of)}")
    return Check(bool(upper & set(listed)), found, f"one of {', '.join(condition.one_of or ())}")


def _element(condition: Condition, facts: StackFacts) -> float | tuple[str, ...]:
    """Return an element's number, or its words; the first number of several."""
    number = _number_of(condition.tag or "") or 0
    if condition.creator:
        value = next(
            (
                found
                for block in range(0x10, 0x20)  # which of the blocks is the creator's is the writer's choice
                if (found := facts.view.private(number & 0xFFFF00FF | block << 8, condition.creator)) is not None
            ),
            None,
        )
    else:
        value = facts.view.value(number)
    values = list(value) if isinstance(value, Sequence) and not isinstance(value, (str, bytes)) else [value]
    if values and isinstance(values[0], (int, float)):
        return float(values[0])
    if values and values[0] is not None and not isinstance(values[0], (str, bytes)):
        return ("a sequence",)
    return tuple(one.strip() for one in values if isinstance(one, str) and one.strip())


def _as_words(value: Any) -> tuple[str, ...]:
    if isinstance(value, float):
        return (f"{value:.0f}" if value.is_integer() else f"{value:g}",)
    many = (value,) if isinstance(value, str) else value or ()
    return tuple(one for one in many if one)


def _wants_number(condition: Condition) -> bool:
    return any(one is not None for one in (condition.between, condition.at_least, condition.at_most))


def _yes(value: Any) -> str:
    return "yes" if value else "no"


@cache
def _expression(text: str) -> re.Pattern[str]:
    return re.compile(text, re.IGNORECASE)


@cache
def _number_of(name: str) -> int | None:
    match = _TAG.fullmatch(name)
    return int(match[1] + match[2], 16) if match else tag_for_keyword(name)


def _called(name: str) -> str:
    number = _number_of(name) or 0
    return keyword_for_tag(number) or name
