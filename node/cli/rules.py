"""Verbs of the rules that give roles: read them, try changed ones on files or on what is held."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from node.cli.options import DataOption, JsonOption, RulesOption, settings_of
from node.cli.reasons import show_answer, show_json, show_stacks
from node.cli.show import print_json, print_table, refused, say, table

if TYPE_CHECKING:
    from node.completion.table import Condition, RoleTable


def show(
    context: typer.Context,
    rule: Annotated[str | None, typer.Argument(help="A rule, or a condition of that name, to read whole.")] = None,
) -> None:
    """List the rules in the order in which they are tried, and the facts that a rule may ask for; or read one."""
    from node.completion import read_table
    from node.completion.facts import VOCABULARY

    found = read_table(settings_of(context).completion.roles)
    if rule is not None:
        _show_rule(found, rule)
        return
    rules = table("rule", "role", "confidence", "because", title=f"rules, version {found.version}", whole=("rule",))
    for one in found.rules:
        rules.add_row(one.name, one.role, one.confidence, one.reason)
    facts = table("fact", "kind", "unit", title="facts that a rule may ask for", whole=("fact",))
    for name, fact in VOCABULARY.items():
        facts.add_row(name, fact.kind, fact.unit)
    print_table(rules)
    print_table(facts)
    say("rules show RULE reads the conditions of one")


def try_on_files(
    context: typer.Context,
    files: Annotated[list[Path], typer.Argument(exists=True, help="DICOM files, or folders with them.")],
    rules: RulesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what the rules, or changed ones, make of DICOM files: roles and pairs."""
    from node.errors import HeaderError
    from node.why import try_rules

    try:
        answers = try_rules(files, settings_of(context), rules=rules)
    except HeaderError as error:
        raise refused(str(error)) from error
    if as_json:
        show_json(answers)
        return
    for answer in answers:
        show_answer(answer)
        show_stacks(answer, conditions=False)


def backtest(
    context: typer.Context,
    days: Annotated[float, typer.Option(help="Of the studies seen in so many days.")] = 7.0,
    rules: RulesOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Try the rules, or changed ones, on the headers that are held, and show what would be another than it was."""
    from node.why import backtest as try_on_held

    tried, changes = try_on_held(settings_of(context, data_dir=data), days=days, rules=rules)
    if as_json:
        found = {name: [asdict(one) for one in of_study] for name, of_study in changes.items()}
        print_json({"tried": tried, "changes": found})
        return
    changed = table("study", "stack", "was", "would be", title="what would change")
    for name, of_study in changes.items():
        for one in of_study:
            changed.add_row(name, one.stack or "(the study)", one.before, one.after)
    print_table(changed)
    say(f"{len(changes)} of {tried} studies would change")


def _show_rule(found: "RoleTable", name: str) -> None:
    for rule in found.rules:
        if rule.name == name:
            say(f"rule {name}: {rule.role}, confidence {rule.confidence}: {rule.reason}")
            _say_all(rule.when, found)
            return
    if name not in found.conditions:
        raise refused(f"there is no rule or condition {name}; see: rules show")
    say(f"condition {name}")
    _say_all(found.conditions[name], found)


def _say_all(condition: "Condition", found: "RoleTable") -> None:
    for depth, words in in_words(condition, found):
        say(f"{'    ' * (depth + 1)}{words}")


def in_words(condition: "Condition", found: "RoleTable", depth: int = 0, called: str = "") -> Iterator[tuple[int, str]]:
    """Yield the lines that say what a condition asks, each with how deep it stands; `called` comes before the first."""
    if condition.use is not None:
        yield from in_words(found.conditions[condition.use], found, depth, f"{called}{condition.use}: ")
    elif condition.negated is not None:
        yield from in_words(condition.negated, found, depth, f"{called}not ")
    elif condition.all is None and condition.any is None:
        yield depth, f"{called}{_question(condition)}"
    else:
        yield depth, f"{called}{'any' if condition.all is None else 'all'} of"
        for part in condition.all or condition.any or ():
            yield from in_words(part, found, depth + 1)


def _question(condition: "Condition") -> str:
    """Return a question to the header in words."""
    from node.completion.facts import VOCABULARY

    fact = VOCABULARY[condition.fact] if condition.fact else None
    unit = f" {fact.unit}" if fact and fact.unit else ""
    creator = f" of {condition.creator}" if condition.creator else ""
    asked = f"{fact.called if fact else condition.tag}{creator}"
    if condition.is_ is not None:
        return f"{asked}: {'yes' if condition.is_ else 'no'}"
    if condition.present is not None:
        return f"{asked} is {'stated' if condition.present else 'not stated'}"
    if condition.one_of is not None:
        return f"{asked} is {' or '.join(condition.one_of)}"
    if condition.all_of is not None:
        return f"{asked} has {' and '.join(condition.all_of)}"
    if condition.matches is not None:
        says = f"says {condition.says}, by" if condition.says else "matches"
        ignoring = f", ignoring {condition.ignoring}" if condition.ignoring else ""
        return f"{asked} {says} /{condition.matches}/{ignoring}"
    if condition.between is not None:
        return f"{asked} from {condition.between[0]:g} to {condition.between[1]:g}{unit}"
    limits = [("at least", condition.at_least), ("at most", condition.at_most)]
    return f"{asked} " + " and ".join(f"{words} {limit:g}" for words, limit in limits if limit is not None) + unit
