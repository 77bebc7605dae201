"""Verbs of jobs: what was measured, what waits for an operator, what to do about it."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from node.cli.options import ByOption, DataOption, DaysOption, JsonOption, settings_of
from node.cli.show import ago, moment, print_json, print_table, refused, say, table

if TYPE_CHECKING:
    from rich.table import Table

JobArgument = Annotated[str, typer.Argument(help="A job by its id; see: jobs list.")]
NewerOption = Annotated[
    bool, typer.Option("--although-newer", help="Also where newer results of the study have been delivered already.")
]


def list_jobs(
    context: typer.Context,
    waiting: Annotated[bool, typer.Option("--waiting", help="Only jobs that failed, or were not delivered.")] = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the jobs, newest first."""
    from dataclasses import asdict

    from node.console import Console

    console = Console(settings_of(context, data_dir=data))
    ids = [job for jobs in console.waiting().values() for job in jobs] if waiting else None
    lines = [asdict(line) for line in console.jobs(ids=ids)]
    if as_json:
        print_json(lines)
    else:
        print_table(jobs_table(lines))


def show(context: typer.Context, job: JobArgument, data: DataOption = None, as_json: JsonOption = False) -> None:
    """Show one job: its steps, the roles of its series with the evidence, its deliveries."""
    from node.console import Console

    found = Console(settings_of(context, data_dir=data)).job(job)
    if found is None:
        raise refused(f"there is no job {job}; see: jobs list")
    if as_json:
        print_json(found)
        return
    print_table(jobs_table([found]))
    say(f"steps done: {', '.join(found['steps']) or 'none'}")
    if (decided := found["decided"]) and decided["who"]:
        say(f"{decided['ruling']} by {decided['who']} {ago(decided['decided_s'])}: {decided['reason']}")
    series = table("series", "stack", "role", "because", "whole because", title="series of the study")
    for one in found["series"]:
        series.add_row(one["series"], str(one["stack"] or ""), one["role"], one["evidence"], one["whole_by"])
    print_table(series)
    objects = table("object", "destination", "state", "attempts", "last answer", "sent as", title="result objects")
    for one in found["objects"]:
        status = f"{one['status']}; released by {one['released_by']}" if one["released_by"] else one["status"]
        objects.add_row(one["object"], one["destination"], one["state"], str(one["attempts"]), status, one["sent_as"])
    print_table(objects)
    if found["quarantined"]:
        held_back = table("object", "file", title="held back by the output gate", whole=("file",))
        for one in found["quarantined"]:
            held_back.add_row(one["object"], one["path"])
        print_table(held_back)
        for fault in found["quarantined"][0]["faults"]:
            say(fault)


def export(
    context: typer.Context,
    job: JobArgument,
    folder: Annotated[Path, typer.Argument(file_okay=False, help="Where the files go: empty, or new.")],
    data: DataOption = None,
) -> None:
    """Write the results of a job as files, as they are or would be sent; pictures, PDF and sentences also as such."""
    from node.takeout import export as write

    written, made = write(settings_of(context, data_dir=data), job, folder)
    if written == made:
        say(f"{written} objects in {folder}")
    else:
        say(f"{written} of {made} objects in {folder}; the others were delivered, and are not kept any more")


def retry(
    context: typer.Context,
    job: JobArgument,
    although_newer: NewerOption = False,
    by: ByOption = "",
    data: DataOption = None,
) -> None:
    """Run a failed or cancelled job again, or deliver again what was abandoned, parked or held."""
    from node.console import Console

    done = Console(settings_of(context, data_dir=data)).retry(job, although_newer=although_newer, by=by)
    if not done:
        raise refused(f"{job}: nothing to try again: not failed, not cancelled, no delivery waits for you")
    say(f"{job}: {done}")


def release(
    context: typer.Context,
    job: JobArgument,
    to: Annotated[str, typer.Option(help="The destination, where results are held for several.")] = "",
    although_newer: NewerOption = False,
    by: ByOption = "",
    data: DataOption = None,
) -> None:
    """Deliver what is held of a job although the destination knows the study otherwise. First look there why."""
    from node.console import Console

    console = Console(settings_of(context, data_dir=data))
    held = console.held_at(job)
    if not held:
        raise refused(f"{job}: no delivery of it is held")
    if to not in held and (to or len(held) > 1):  # each archive has its own reason
        raise refused(f"{job}: say by --to which of them: {', '.join(held)}")
    destination = to or held[0]
    objects = console.send_anyway(job, destination, although_newer=although_newer, by=by)
    say(f"{job}: {objects} objects owed to {destination}, to be sent without another look")


def cancel(context: typer.Context, job: JobArgument, by: ByOption = "", data: DataOption = None) -> None:
    """Cancel a queued or running job."""
    from node.console import Console

    if not Console(settings_of(context, data_dir=data)).cancel(job, by=by):
        raise refused(f"{job}: not queued and not running")
    say(f"{job}: cancelled")


def log(context: typer.Context, days: DaysOption = 30.0, data: DataOption = None, as_json: JsonOption = False) -> None:
    """List what people did to jobs and studies, and decided about results: who, when, why; newest first."""
    from dataclasses import asdict

    from rich.markup import escape

    from node.console import Console

    done = Console(settings_of(context, data_dir=data)).acts(since_s=time.time() - days * 86400.0)
    if as_json:
        print_json([asdict(one) for one in done])
        return
    rows = table("when", "job or study", "was", "by", "because, or with what", title="what people did")
    for one in done:
        rows.add_row(moment(one.done_s), one.subject, one.what, escape(one.who), escape(one.detail))
    print_table(rows)


def jobs_table(lines: list[dict[str, Any]]) -> "Table":
    """Return jobs as an operator's table."""
    jobs = table("job", "state", "outcome", "deliveries", "made", "took", title="jobs", whole=("job",))
    for one in lines:
        deliveries = "; ".join(f"{name}: {state}" for name, state in one["deliveries"].items())
        took = f"{one['settled_s'] - one['created_s']:.0f} s" if one["settled_s"] else ""
        jobs.add_row(one["id"], one["ruling"] or one["state"], one["outcome"], deliveries, ago(one["created_s"]), took)
    return jobs
