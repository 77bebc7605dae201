"""Verbs of studies: what there is, what each waits for or came to, and what a person decides about one."""

from typing import Annotated, Any

import typer

from node.cli.jobs import jobs_table
from node.cli.options import ByOption, DataOption, JsonOption, StudyArgument, settings_of
from node.cli.pulling import show_retrievals
from node.cli.show import ago, alarm, no_such_study, print_json, print_table, refused, say, table

_THEN = {  # what an operator does about what waits, if not what is usual
    "review": "jobs export JOB FOLDER, review approve JOB, review reject JOB",
    "delivery held": "look at the destination whose study it is; then jobs retry JOB, jobs release JOB",
}


def status(
    context: typer.Context,
    study: Annotated[str | None, typer.Argument(help="One study, by its alias or Study Instance UID.")] = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what the node holds, what it works on and what it owes; of one study, how complete it is and why."""
    from node.console import Console

    console = Console(settings_of(context, data_dir=data))
    if study is not None:
        found = console.study(study)
        if found is None:
            raise no_such_study(study)
        if as_json:
            print_json(found)
        else:
            _show_study(found)
        return
    picture = console.status()
    if as_json:
        print_json(picture)
    else:
        _show_picture(picture)


def force_complete(context: typer.Context, study: StudyArgument, by: ByOption = "", data: DataOption = None) -> None:
    """Close a study now with what is there of it, whatever it still waits for; who said so is written down.

    Also one whose last results were rejected or recalled: it is measured anew, under another job. Unless that measured
    what would be measured now: then nothing new would come of it.
    """
    from node.console import Console
    from node.records import Ruling

    settings = settings_of(context, data_dir=data)
    console = Console(settings)
    if not console.force_complete(study, by=by):
        raise refused(f"no study {study} gathers, was refused, or has lost its last results; see: status")
    say(f"{study}: is closed within {settings.completion.sweep_every_s:g} s")
    if any(one.ruling in (Ruling.REJECTED, Ruling.RECALLED) for one in console.jobs(study=study)):
        say("its next job ends as 'repeats ...' unless images, settings, release, EMG or priors differ since")


def release(
    context: typer.Context,
    study: StudyArgument,
    use: Annotated[str, typer.Option(help="Which of several contents and patients counts: first or latest.")],
    by: ByOption = "",
    data: DataOption = None,
) -> None:
    """Let a study that is held for a contradiction gather again; the contents that do not count stay in the spool."""
    from node.console import Console

    if use not in ("first", "latest"):
        raise typer.BadParameter("--use is first or latest")
    left_out = Console(settings_of(context, data_dir=data)).release(study, latest=use == "latest", by=by)
    if left_out is None:
        raise refused(f"no study {study} is held; see: status")
    say(f"{study}: gathers again, {left_out} instances left out")


def show_whole(found: dict[str, Any]) -> None:
    """Show what a study waits for, or what closed it, and what others say of it."""
    why = f", {found['reason']}" if found["reason"] else ""
    say(f"{found['alias']}: {found['state']} ({ago(found['since_s'])}){why}; {found['instances']} instances")
    if found["waits"]:
        say(f"waits: {found['waits']}")
    if found["whole_by"]:
        say(f"whole because: {found['whole_by']}")
    for one in found["jobs"]:
        outcome = f", {one['outcome']}" if one["outcome"] else ""
        say(f"job {one['id']}: {one['ruling'] or one['state']}{outcome} ({ago(one['created_s'])})")
    for one in found["steps"]:
        say(f"MPPS of {one['calling_ae']}: {one['state']}")
    here = found["instances_of"]
    for one in found["expected"]:
        where, held = (f"series {one['series']}", here.get(one["series"], 0)) if one["series"] else (
            "the study", found["instances"]
        )  # fmt: skip
        say(f"{where}: expects {held} of {one['instances']} instances ({one['source']})")


def _show_study(found: dict[str, Any]) -> None:
    show_whole(found)
    stacks = table("series", "instances", "stack", "role", "because", "whole because", title="series")
    for one in found["stacks"]:
        stacks.add_row(
            one["series"], str(found["instances_of"][one["series"]]), str(one["stack"] or ""), one["role"],
            one["evidence"], one["whole_by"],
        )  # fmt: skip
    print_table(stacks)
    show_retrievals(found["retrievals"])


def _show_picture(picture: dict[str, Any]) -> None:
    state = ", ".join(f"{name} {'running' if up else 'not running'}" for name, up in picture["processes"].items())
    counts = ", ".join(f"{number} {name}" for name, number in picture["counts"].items())
    say(f"{picture['node']}: {state}; {counts}")
    studies = table(
        "study", "state", "since", "why", "series", "instances", "last seen", title="studies", whole=("study",)
    )
    for one in picture["studies"]:
        studies.add_row(
            one["alias"], one["state"], ago(one["since_s"]), one["reason"], str(one["series"]), str(one["instances"]),
            ago(one["last_seen_s"]),
        )  # fmt: skip
    print_table(studies)
    print_table(jobs_table(picture["jobs"]))
    if picture["destinations"]:
        destinations = table(
            "destination", "owed", "job ended", "last answer", "wait for you", "there", "of these not proven yet",
            title="destinations",
        )  # fmt: skip
        for one in picture["destinations"]:
            ended = "" if one["oldest_job_ended_s"] is None else ago(one["oldest_job_ended_s"])
            destinations.add_row(
                one["destination"], str(one["owed"]), ended, one["status"], str(one["waiting"]), str(one["there"]),
                str(one["unproven"]),
            )  # fmt: skip
        print_table(destinations)
    show_retrievals(picture["retrievals"])
    emg = picture["emg"]
    unclear = sum(bool(one["unclear"]) for one in emg["studies"])
    if emg["studies"] or emg["waiting"]:
        say(
            f"EMG: suspected in {len(emg['studies']) - unclear} of these studies, not understood in {unclear}, "
            f"{emg['waiting']} statements wait for their study (emg list)"
        )
    for what, which in picture["waiting_for_operator"].items():
        if which:
            alarm(what, f"{', '.join(which)} ({_THEN.get(what, 'jobs show JOB, jobs retry JOB')})")
    if picture["disk_full"]:
        alarm(
            "disk", "[spool] free_space_floor_mb is reached: each instance is refused with 0xA700 until there is room"
        )
    if picture["held_studies"]:
        alarm("held", f"{', '.join(picture['held_studies'])} (release STUDY --use ...)")
