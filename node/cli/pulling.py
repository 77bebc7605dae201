"""Verbs of archives: have a study sent by one, see what became of that, and measure a prior after all."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from node.cli.options import ByOption, DataOption, JsonOption, StudyArgument, settings_of
from node.cli.show import ago, complain, print_json, print_table, refused, say, table


def pull(
    context: typer.Context,
    study: Annotated[
        str | None, typer.Argument(help="A study by its alias or Study Instance UID; see: status.", show_default=False)
    ] = None,
    archive: Annotated[str | None, typer.Option(help=r"An [\[archive]] by name; else each is asked in turn.")] = None,
    listed: Annotated[bool, typer.Option("--list", help="Pull nothing; show what was pulled within a week.")] = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Have an archive send what the node lacks of a study, also what failed before."""
    from node.console import Console

    settings = settings_of(context, data_dir=data)
    console = Console(settings)
    if listed:
        rows = console.retrievals(study=study, done=True)
        if as_json:
            print_json(rows)
        else:
            show_retrievals(rows, always=True)
        return
    if study is None:
        raise typer.BadParameter("name a STUDY to pull, or say --list")
    known = [one.name for one in settings.archive]
    if not known or archive not in (None, *known):
        raise typer.BadParameter(
            f"no [[archive]] {archive or ''} in the settings; there are: {', '.join(known) or 'none'}"
        )
    entered, failed = console.pull(study, archive)
    for one in failed:
        complain("not asked", one)
    say(f"{study}: {entered} series asked for; see: status {study}")
    if failed and not entered:
        raise typer.Exit(1)


def adopt(context: typer.Context, study: StudyArgument, by: ByOption = "", data: DataOption = None) -> None:
    """Have a study measured that was pulled as a prior of another one, and only kept."""
    from node.console import Console

    if not Console(settings_of(context, data_dir=data)).adopt(study, by=by):
        raise refused(f"no study {study} is kept as a prior; see: pull --list")
    say(f"{study}: gathers, as a study of its own")


def show_retrievals(rows: Sequence[dict[str, Any]], *, always: bool = False) -> None:
    """Show what archives were asked to send, if anything was."""
    if not rows and not always:
        return
    retrievals = table(
        "study", "series", "why", "archive", "state", "instances", "attempts", "last answer", title="asked of archives"
    )
    for one in rows:
        ended = f"{one['state']} {ago(one['settled_s'])}" if one["settled_s"] else one["state"]
        retrievals.add_row(
            one["study"], one["series"], one["reason"], one["archive"], ended,
            "" if one["instances"] is None else str(one["instances"]), str(one["attempts"]), one["status"],
        )  # fmt: skip
    print_table(retrievals)
