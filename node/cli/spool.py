"""Verbs of the spool: what is on disk, whether it is whole, and how to take it out."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from node.cli.options import DataOption, StudyArgument, settings_of
from node.cli.show import complain, print_table, say, table

if TYPE_CHECKING:
    from node.holdings import Damage


def ls(context: typer.Context, data: DataOption = None) -> None:
    """List the segments: how much of each is written, and how many instances are in it."""
    from node.holdings import Holdings

    segments = table("segment", "MB", "written", "instances", title="segments")
    for one, instances in Holdings(settings_of(context, data_dir=data)).segments():
        written = f"{100 * one.written / one.size:.0f} %" if one.written else "spare"
        segments.add_row(str(one.number), f"{one.size / (1 << 20):.0f}", written, str(instances) if one.written else "")
    print_table(segments)


def held(context: typer.Context, data: DataOption = None) -> None:
    """Print SOP Instance UID and SHA-256 of the data set bytes, as they are on disk, of every instance: one a line.

    What is damaged is told on standard error; exit code 1 if anything is.
    """
    from node.holdings import Damage, Holdings

    damaged: list[Damage] = []
    for sop_instance, sha256 in Holdings(settings_of(context, data_dir=data)).held(damaged):
        print(sop_instance, sha256)
    _end_if(damaged)


def export(
    context: typer.Context,
    study: StudyArgument,
    folder: Annotated[Path, typer.Argument(file_okay=False, help="Where the Part 10 files go: empty, or new.")],
    data: DataOption = None,
) -> None:
    """Write the instances of a study as files, as they were received; exit code 1 if any is damaged."""
    from node.holdings import Holdings

    exported = Holdings(settings_of(context, data_dir=data)).export(study, folder)
    say(f"{exported.written} instances in {folder}")
    _end_if(exported.damaged)


def verify(context: typer.Context, data: DataOption = None) -> None:
    """Read every instance from disk and compare it with its checksum; exit code 1 if any is damaged."""
    from node.holdings import Holdings

    found = list(Holdings(settings_of(context, data_dir=data)).verify())
    damaged = [one for one in found if one is not None]
    say(f"{len(found) - len(damaged)} of {len(found)} instances are whole")
    _end_if(damaged)


def _end_if(damaged: "Sequence[Damage]") -> None:
    """Tell what is damaged, by alias, and end with exit code 1 if anything is."""
    for one in damaged:
        complain("damaged", f"instance {one.instance_alias} of study {one.study_alias}: {one.reason}")
    if damaged:
        raise typer.Exit(1)
