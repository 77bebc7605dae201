"""Verbs of results: make a report again, review before sending, recall what was sent."""

import time
from typing import Annotated

import typer

from node.cli.jobs import JobArgument
from node.cli.options import DataOption, DaysOption, JsonOption, settings_of
from node.cli.show import ago, moment, print_json, print_table, say, table

ReasonOption = Annotated[str, typer.Option("--reason", help="Why, in a sentence without patient data; it is kept.")]
UserOption = Annotated[str, typer.Option("--user", help="Who decides; for a report, as it is to be named there.")]


def replay(
    context: typer.Context,
    sop_instance: Annotated[str, typer.Argument(metavar="SR_UID", help="SOP Instance UID of a report of this node.")],
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure again what a report was made from, as it was told then, and compare each number, code and UID."""
    from dataclasses import asdict

    from node.replay import replay as made_again

    found = made_again(settings_of(context, data_dir=data), sop_instance)
    if as_json:
        print_json(asdict(found))
    else:
        for difference in found.differences:
            say(difference)
        differ = f"{len(found.differences)} differ" if found.differences else "all equal"
        say(f"{found.job}: {found.compared} numbers, codes, UIDs and coordinates compared, {differ}")
    if found.differences:
        raise typer.Exit(1)


def recall(
    context: typer.Context,
    job: JobArgument,
    reason: ReasonOption,
    user: UserOption,
    title: Annotated[
        str, typer.Option(help="What the note is titled: quality, patient-safety, worklist or retention.")
    ] = "quality",
    data: DataOption = None,
) -> None:
    """Tell every destination that holds results of a job that they do not hold, by a rejection note (IHE IOCM)."""
    from node.rulings import RECALL_REASONS, Decisions

    if title not in RECALL_REASONS:
        raise typer.BadParameter(f"--title is one of {', '.join(RECALL_REASONS)}")
    decisions = Decisions(settings_of(context, data_dir=data))
    told = decisions.recall(job, title=title, name=user, text=reason)
    say(f"{job}: recalled; a note is owed to {', '.join(told)}")
    if others := decisions.others(job):
        say(f"other results of this study still hold there: {', '.join(others)}; each is recalled by itself")


def list_waiting(context: typer.Context, data: DataOption = None, as_json: JsonOption = False) -> None:
    """List the jobs whose results wait for review, the longest waiting first."""
    from dataclasses import asdict

    from node.rulings import Decisions

    waiting = Decisions(settings_of(context, data_dir=data)).waiting()
    if as_json:
        print_json([asdict(one) for one in waiting])
        return
    jobs = table("job", "study", "since", title="wait for review", whole=("job",))
    for one in waiting:
        jobs.add_row(one.job, one.study_alias, ago(one.since_s))
    print_table(jobs)


def log(context: typer.Context, days: DaysOption = 30.0, data: DataOption = None, as_json: JsonOption = False) -> None:
    """List who approved, rejected or recalled what, when and why; newest first."""
    from dataclasses import asdict

    from rich.markup import escape

    from node.rulings import Decisions

    decided = Decisions(settings_of(context, data_dir=data)).decided(since_s=time.time() - days * 86400.0)
    if as_json:
        print_json([asdict(one) for one in decided])
        return
    rows = table("when", "job", "decision", "by", "because", title="decisions about results", whole=("when", "job"))
    for one in decided:
        rows.add_row(moment(one.decided_s), one.job, one.ruling, escape(one.who), escape(one.reason))
    print_table(rows)


def approve(
    context: typer.Context,
    job: JobArgument,
    user: UserOption,
    reason: ReasonOption,
    organization: Annotated[str, typer.Option(help=r"For whom; \[review] organization if not given.")] = "",
    data: DataOption = None,
) -> None:
    """Verify the report of a job in your name (family^given), and have the results sent."""
    from node.rulings import Decisions

    decisions = Decisions(settings_of(context, data_dir=data))
    owed = decisions.approve(job, name=user, reason=reason, organization=organization)
    say(f"{job}: approved; owed to {', '.join(owed) or 'nobody: there is no [[destination]]'}")


def reject(
    context: typer.Context, job: JobArgument, user: UserOption, reason: ReasonOption, data: DataOption = None
) -> None:
    """Have the results of a job that wait for review never be sent."""
    from node.rulings import Decisions

    Decisions(settings_of(context, data_dir=data)).reject(job, name=user, reason=reason)
    say(f"{job}: rejected; nothing of it is sent")
