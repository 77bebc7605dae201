"""How the command line speaks: lines, tables, JSON, complaints, ages. Rich is imported when something is shown."""

import json
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console as Screen
    from rich.table import Table


def screen(*, stderr: bool = False) -> "Screen":
    """Return the terminal; only who shows something pays for it, for the receiver counts its memory."""
    from rich.console import Console as Screen

    return Screen(stderr=stderr)


def say(text: str) -> None:
    """Print a line, whole, however wide the terminal is."""
    screen().print(text, highlight=False, soft_wrap=True, markup=False)


def alarm(what: str, text: str) -> None:
    """Print a line that an operator should not overlook."""
    from rich.markup import escape

    screen().print(f"[red]{what}:[/] {escape(text)}", highlight=False, soft_wrap=True)


def complain(what: str, text: str) -> None:
    """Say on standard error what is wrong."""
    from rich.markup import escape

    screen(stderr=True).print(f"[red]{what}:[/red] {escape(text)}", highlight=False, soft_wrap=True)


def refused(reason: str) -> typer.Exit:
    """Say why something is not done, or that what was named is not there; return what ends the verb: exit code 1."""
    complain("refused", reason)
    return typer.Exit(1)


def no_such_study(study: str) -> typer.Exit:
    """Say that there is no such study, and return what ends the verb."""
    from node.console import NO_STUDY

    return refused(NO_STUDY.format(study))


def print_json(value: Any) -> None:
    """Print JSON."""
    screen().print_json(json.dumps(value))


def print_table(table: "Table") -> None:
    """Print a table; one without rows is its title alone. If it is too wide, no word is broken that fits."""
    from rich.measure import Measurement

    shown = screen()
    least, most = list[int](), list[int]()
    for column in table.columns:
        cells = [Measurement.get(shown, shown.options, cell) for cell in (column.header, *column.cells)]
        most.append(max(cell.maximum for cell in cells))
        least.append(most[-1] if column.no_wrap else max(cell.minimum for cell in cells))
    room = shown.width - 3 * len(most) - 1  # a line and two spaces a column, and a line at the end
    if sum(least) <= room < sum(most):
        for column, word, whole in zip(table.columns, least, most, strict=True):
            column.width = word + (room - sum(least)) * (whole - word) // (sum(most) - sum(least))
    shown.print(table)


def table(*columns: str, title: str, whole: tuple[str, ...] = ()) -> "Table":
    """Return an empty table; the columns of `whole` are never cut, however narrow the terminal is."""
    from rich.table import Table

    made = Table(title=title)
    for one in columns:
        made.add_column(one, overflow="fold", no_wrap=one in whole)
    return made


def moment(moment_s: float) -> str:
    """Return a moment by the machine's clock, of seconds since 1970."""
    return f"{datetime.fromtimestamp(moment_s):%Y-%m-%d %H:%M:%S}"


def ago(moment_s: float) -> str:
    """Return how long ago a moment was, in seconds since 1970."""
    return f"{duration(max(0.0, time.time() - moment_s))} ago"


def duration(seconds: float) -> str:
    """Return a time as people say it."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
