"""The verb `why`: the answer first, then for each stack the rule that gave its role, then, if wished, every rule."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from node.cli.options import DataOption, JsonOption, settings_of
from node.cli.show import print_json, refused, say
from node.cli.studies import show_whole

if TYPE_CHECKING:
    from node.why import StackAnswer, StudyAnswer


def why(
    context: typer.Context,
    study: Annotated[str, typer.Argument(help="A study by its alias or Study Instance UID, or a folder with one.")],
    whole: Annotated[
        bool, typer.Option("--all", help="Also the rules that did not match, and each condition.")
    ] = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a study is measured with, or why it is not; for each stack the rule that gave it its role."""
    from node.console import Console
    from node.errors import HeaderError
    from node.why import why as ask

    try:
        answer = ask(study, settings_of(context, data_dir=data))
    except HeaderError as error:
        raise refused(str(error)) from error
    if as_json:
        show_json([answer])
        return
    show_answer(answer)
    if not Path(study).is_dir():
        found = Console(settings_of(context, data_dir=data)).study(study)
        if found is not None:
            show_whole(found)
    show_stacks(answer, conditions=True, whole=whole)


def show_json(answers: "Sequence[StudyAnswer]") -> None:
    """Print answers as JSON, with every condition."""
    print_json([_plain(asdict(one)) for one in answers])


def show_answer(answer: "StudyAnswer") -> None:
    """Show what a study is measured with, or why not, and the pairs that were weighed."""
    selected = ", ".join(f"{role} {name}" for role, name in answer.selected.items())
    say(f"study {answer.study}: {answer.reason}{': ' if selected else ''}{selected}")
    for pair in answer.pairs:
        differences = "; ".join(pair.differences)
        say(
            f"pair {pair.pre}, {pair.post}: " + (f"may not be compared: {differences}" if differences else "comparable")
        )
    if answer.no_dynamic:
        say(f"no dynamic: {answer.no_dynamic}")


def show_stacks(answer: "StudyAnswer", *, conditions: bool, whole: bool = False) -> None:
    """Show the role of each stack, and the rule that gave it.

    Parameters
    ----------
    answer : StudyAnswer
        The study.
    conditions : bool
        With the conditions that made the rule match.
    whole : bool
        With all conditions of it, and of all rules that were tried before.
    """
    for stack in answer.stacks:
        splits = "".join(f", {by} {which}" for by, which in stack.splits.items())
        confidence = f" ({stack.decision.confidence})" if stack.rules else ""
        say(f"{stack.series}/{stack.number}: {stack.decision.label}{confidence}; {stack.slices} slices{splits}")
        say(f"    rule {stack.decision.rule or '(none matched)'}: {stack.decision.evidence}")
        for fault in stack.faults:
            say(f"    {fault}")
        if conditions:
            _show_rules(stack, whole=whole)
    for series, fault in answer.unreadable.items():
        say(f"{series}: other; {fault}")
    say(f"by the rules of version {answer.table}")


def _show_rules(stack: "StackAnswer", *, whole: bool) -> None:
    from node.why import decisive

    for one in stack.rules:
        if one.check.held or whole:
            if whole:
                say(f"    {one.rule.name} {'matches' if one.check.held else 'does not match'}")
            for check in one.check.leaves() if whole else decisive(one.check):
                say(f"        {'holds' if check.held else 'fails'}: {check.found}; wanted: {check.wanted}")


def _plain(value: Any) -> Any:
    """Return what JSON can hold of nested values: rules by their names."""
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return getattr(value, "name", value) if type(value).__name__ == "Rule" else value
