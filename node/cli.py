"""The command line: verbs, tables, exit codes. It decides nothing.

Exit codes: 0 done; 1 refused or failed, with the reason; 2 a fault of usage or settings.
"""

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from node import __version__, eventlog
from node.errors import DeliveryError, NodeError, SettingsError, SimulatorError, StatementError, raised_at, shown
from node.settings import DestinationSettings, Settings, read_settings

if TYPE_CHECKING:
    from rich.console import Console as Screen
    from rich.table import Table

    from node.holdings import Damage
    from node.why import StackAnswer, StudyAnswer

app = typer.Typer(
    name="paraspinal-node",
    help="Receive spine MR, measure contrast enhancement of the paraspinal muscles, report by DICOM SR.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=False,
    pretty_exceptions_enable=False,
)
jobs_app = typer.Typer(help="Look at jobs, try them again, cancel them.", no_args_is_help=True)
app.add_typer(jobs_app, name="jobs")
spool_app = typer.Typer(help="Look at what is held, take it out, check it.", no_args_is_help=True)
app.add_typer(spool_app, name="spool")
rules_app = typer.Typer(help="Look at the rules that give roles, and try changed ones out.", no_args_is_help=True)
app.add_typer(rules_app, name="rules")
emg_app = typer.Typer(help="Say where EMG suspects denervation, and look at what is suspected.", no_args_is_help=True)
app.add_typer(emg_app, name="emg")

DataOption = Annotated[Path | None, typer.Option("--data", help="Data folder; wins over the settings file.")]
PortOption = Annotated[int | None, typer.Option("--port", help="TCP port to listen on; 0 takes any free one.")]
AeOption = Annotated[str | None, typer.Option("--ae", help="Our AE title.")]
SupervisedOption = Annotated[bool, typer.Option("--supervised", hidden=True, help="Started by `serve`.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


def main() -> None:
    """Run the command line; the console script and `python -m node` end up here."""
    os.umask(0o077)  # what we write is for our own eyes
    eventlog.silence_libraries()
    try:
        app()
    except SettingsError as error:
        _complain("settings", str(error))
        sys.exit(2)
    except NodeError as error:
        _complain("failed", str(error))
        sys.exit(1)
    except Exception as error:  # its text and its traceback may quote a patient
        _complain("failed", f"{shown(error)} at {raised_at(error)}")
        sys.exit(1)


@cache
def _screen(*, stderr: bool = False) -> "Screen":
    """Return the terminal; only who shows something pays for it, for the receiver counts its memory."""
    from rich.console import Console as Screen

    return Screen(stderr=stderr)


def _table(*columns: str, title: str) -> "Table":
    from rich.table import Table

    return Table(*columns, title=title)


def _complain(what: str, text: str) -> None:
    from rich.markup import escape

    _screen(stderr=True).print(f"[red]{what}:[/red] {escape(text)}", highlight=False, soft_wrap=True)


@app.callback(invoke_without_command=True)
def _common(
    context: typer.Context,
    config: Annotated[Path | None, typer.Option("--config", help="Settings file (TOML); see config/node.toml.")] = None,
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    if version:
        _screen().print(f"paraspinal-node {__version__}", highlight=False)
        raise typer.Exit
    context.obj = config


def _settings(context: typer.Context, **association_or_node: Any) -> Settings:
    """Return the settings of the file, with what the options say instead."""
    settings = read_settings(context.find_root().obj)
    changes: dict[str, dict[str, Any]] = {"node": {}, "association": {}}
    for key, value in association_or_node.items():
        if value is not None:
            changes["node" if key == "data_dir" else "association"][key] = value
    values = settings.model_dump()
    for table, changed in changes.items():
        values[table] |= changed
    return Settings.checked(values)


# ---------------------------------------------------------------- the node


@app.command()
def check(context: typer.Context, data: DataOption = None) -> None:
    """Check settings, plug-ins, data folder and port without starting anything."""
    from rich.markup import escape

    from node.checks import run_checks

    table = _table("check", "found", title="paraspinal-node check")
    faults = 0
    for one in run_checks(_settings(context, data_dir=data)):
        faults += not one.passed
        table.add_row(one.name, f"[{'green' if one.passed else 'red'}]{escape(one.found)}[/]")
    _screen().print(table)
    if faults:
        raise typer.Exit(2)


@app.command()
def serve(context: typer.Context, port: PortOption = None, data: DataOption = None, ae: AeOption = None) -> None:
    """Run the node in the foreground until SIGTERM: receive, measure, deliver."""
    from node import daemon

    settings = _settings(context, port=port, data_dir=data, ae_title=ae)
    eventlog.start(settings.log.level)
    status = daemon.serve(
        settings,
        config=context.find_root().obj,
        port=port,
        data=data,
        ae=ae,
        started=lambda port: _announce(settings, port),
    )
    raise typer.Exit(status)


@app.command()
def receive(
    context: typer.Context,
    port: PortOption = None,
    data: DataOption = None,
    ae: AeOption = None,
    supervised: SupervisedOption = False,
) -> None:
    """Run the node's receiver alone until SIGTERM: take in what peers send, and keep it."""
    from node import process

    tether = process.Tether() if supervised else None
    process.leave_out_pixel_decoders()
    from node.reception import Reception

    settings = _settings(context, port=port, data_dir=data, ae_title=ae)
    eventlog.start(settings.log.level)
    process.run(lambda: Reception(settings), tether=tether, started=lambda port: _announce(settings, port))


@app.command()
def work(
    context: typer.Context, data: DataOption = None, ae: AeOption = None, supervised: SupervisedOption = False
) -> None:
    """Run the node without its receiver: measure and deliver what it holds, until SIGTERM."""
    from node import process

    tether = process.Tether() if supervised else None
    from node.worker import Worker

    settings = _settings(context, data_dir=data, ae_title=ae)
    eventlog.start(settings.log.level)
    process.run(lambda: Worker(settings), tether=tether, started=lambda port: _announce(settings, port))


def _announce(settings: Settings, port: int | None) -> None:
    if port is not None:
        typer.echo(f"{settings.association.ae_title} listens on port {port}; stop with Ctrl-C or SIGTERM", err=True)


@app.command()
def status(
    context: typer.Context,
    study: Annotated[str | None, typer.Argument(help="One study, by its alias or Study Instance UID.")] = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what the node holds, what it works on and what it owes; of one study, how complete it is and why."""
    from node.console import Console

    console = Console(_settings(context, data_dir=data))
    if study is not None:
        _show_study(console.study(study), study, as_json=as_json)
        return
    picture = console.status()
    if as_json:
        _screen().print_json(json.dumps(picture))
        return
    state = ", ".join(
        f"{name} [green]running[/]" if up else f"{name} [yellow]not running[/]"
        for name, up in picture["processes"].items()
    )
    counts = ", ".join(f"{number} {name}" for name, number in picture["counts"].items())
    _screen().print(f"{picture['node']}: {state}; {counts}", highlight=False)
    studies = _table("study", "state", "since", "why", "series", "instances", "last seen", title="studies")
    for one in picture["studies"]:
        studies.add_row(
            one["alias"],
            one["state"],
            _ago(one["since_s"]),
            one["reason"],
            str(one["series"]),
            str(one["instances"]),
            _ago(one["last_seen_s"]),
        )
    _screen().print(studies, _jobs_table(picture["jobs"]))
    if picture["retrievals"]:
        retrievals = _table("study", "why", "archive", "state", "attempts", "last answer", title="asked of archives")
        for one in picture["retrievals"]:
            words = (one["study"], one["reason"], one["archive"], one["state"], str(one["attempts"]), one["status"])
            retrievals.add_row(*words)
        _screen().print(retrievals)
    emg = picture["emg"]
    unclear = sum(bool(one["unclear"]) for one in emg["studies"])
    if emg["studies"] or emg["waiting"]:
        _screen().print(
            f"EMG: suspected in {len(emg['studies']) - unclear} of these studies, not understood in {unclear}, "
            f"{emg['waiting']} statements wait for their study (emg list)",
            highlight=False,
        )
    for what, which in picture["waiting_for_operator"].items():
        if which:
            _screen().print(f"[red]{what}:[/] {', '.join(which)} (jobs show JOB, jobs retry JOB)", highlight=False)
    if picture["held_studies"]:
        _screen().print(
            f"[red]held:[/] {', '.join(picture['held_studies'])} (release STUDY --use ...)", highlight=False
        )


def _show_study(found: dict[str, Any] | None, study: str, *, as_json: bool) -> None:
    if found is None:
        raise typer.BadParameter(f"there is no study {study}; see: status")
    if as_json:
        _screen().print_json(json.dumps(found))
        return
    _show_whole(found)
    stacks = _table("series", "stack", "role", "because", "whole because", title="series")
    for one in found["stacks"]:
        stacks.add_row(one["series"], str(one["stack"] or ""), one["role"], one["evidence"], one["whole_by"])
    _screen().print(stacks)


def _show_whole(found: dict[str, Any]) -> None:
    """Show what a study waits for, or what closed it, and what others say of it."""
    why = f", {found['reason']}" if found["reason"] else ""
    _screen().print(
        f"{found['alias']}: {found['state']} ({_ago(found['since_s'])}){why}; {found['instances']} instances",
        highlight=False,
    )
    if found["whole_by"]:
        _screen().print(f"whole because: {found['whole_by']}", highlight=False)
    for one in found["steps"]:
        _screen().print(f"MPPS of {one['calling_ae']}: {one['state']}", highlight=False)
    for one in found["expected"]:
        where = f"series {one['series']}" if one["series"] else "the study"
        _screen().print(f"{one['source']} counts {one['instances']} instances of {where}", highlight=False)


@app.command("force-complete")
def force_complete(
    context: typer.Context,
    study: Annotated[str, typer.Argument(help="A study that gathers, by its alias; see: status.")],
    data: DataOption = None,
) -> None:
    """Close a study now with what is there of it, whatever it still waits for; who said so is written down."""
    from node.console import Console

    settings = _settings(context, data_dir=data)
    if not Console(settings).force_complete(study):
        _complain("refused", f"no study {study} gathers; see: status")
        raise typer.Exit(1)
    _screen().print(f"{study}: is closed within {settings.completion.sweep_every_s:g} s", highlight=False)


@app.command()
def release(
    context: typer.Context,
    study: Annotated[str, typer.Argument(help="A held study by its alias; see: status.")],
    use: Annotated[str, typer.Option(help="Which of several contents and patients counts: first or latest.")],
    data: DataOption = None,
) -> None:
    """Let a study that is held for a contradiction gather again; the contents that do not count stay in the spool."""
    from node.console import Console

    if use not in ("first", "latest"):
        raise typer.BadParameter("--use is first or latest")
    left_out = Console(_settings(context, data_dir=data)).release(study, latest=use == "latest")
    if left_out is None:
        _complain("refused", f"no study {study} is held; see: status")
        raise typer.Exit(1)
    _screen().print(f"{study}: gathers again, {left_out} instances left out", highlight=False)


# ---------------------------------------------------------------- spool


@spool_app.command("ls")
def spool_ls(context: typer.Context, data: DataOption = None) -> None:
    """List the segments: how much of each is written, and how many instances are in it."""
    from node.holdings import Holdings

    table = _table("segment", "MB", "written", "instances", title="segments")
    for one, instances in Holdings(_settings(context, data_dir=data)).segments():
        written = f"{100 * one.written / one.size:.0f} %" if one.written else "spare"
        table.add_row(str(one.number), f"{one.size / 1e6:.0f}", written, str(instances) if one.written else "")
    _screen().print(table)


@spool_app.command("held")
def spool_held(context: typer.Context, data: DataOption = None) -> None:
    """Print SOP Instance UID and SHA-256 of the data set bytes, as they are on disk, of every instance: one a line.

    What is damaged is told on standard error; exit code 1 if anything is.
    """
    from node.holdings import Damage, Holdings

    damaged: list[Damage] = []
    for sop_instance, sha256 in Holdings(_settings(context, data_dir=data)).held(damaged):
        print(sop_instance, sha256)
    _end_if(damaged)


@spool_app.command("export")
def spool_export(
    context: typer.Context,
    study: Annotated[str, typer.Argument(help="A study by its alias or Study Instance UID.")],
    folder: Annotated[Path, typer.Argument(file_okay=False, help="Where the Part 10 files go: empty, or new.")],
    data: DataOption = None,
) -> None:
    """Write the instances of a study as files, as they were received; exit code 1 if any is damaged."""
    from node.holdings import Holdings

    exported = Holdings(_settings(context, data_dir=data)).export(study, folder)
    _screen().print(f"{exported.written} instances in {folder}", highlight=False)
    _end_if(exported.damaged)


@spool_app.command("verify")
def spool_verify(context: typer.Context, data: DataOption = None) -> None:
    """Read every instance from disk and compare it with its checksum; exit code 1 if any is damaged."""
    from node.holdings import Holdings

    found = list(Holdings(_settings(context, data_dir=data)).verify())
    damaged = [one for one in found if one is not None]
    _screen().print(f"{len(found) - len(damaged)} of {len(found)} instances are whole", highlight=False)
    _end_if(damaged)


def _end_if(damaged: "Sequence[Damage]") -> None:
    """Tell what is damaged, by alias, and end with exit code 1 if anything is."""
    for one in damaged:
        _complain("damaged", f"instance {one.instance_alias} of study {one.study_alias}: {one.reason}")
    if damaged:
        raise typer.Exit(1)


@app.command()
def pull(
    context: typer.Context,
    study: Annotated[str, typer.Argument(help="A study by its alias or Study Instance UID; see: status.")],
    archive: Annotated[str | None, typer.Option(help="An [[archive]] by name; else each is asked in turn.")] = None,
    data: DataOption = None,
) -> None:
    """Have an archive send what the node lacks of a study, also what failed before; `status` shows how that goes."""
    from node.console import Console

    entered, failed = Console(_settings(context, data_dir=data)).pull(study, archive)
    for one in failed:
        _complain("not asked", one)
    _screen().print(f"{study}: {entered} series asked for", highlight=False)
    if failed and not entered:
        raise typer.Exit(1)


# ---------------------------------------------------------------- rules

RulesOption = Annotated[
    Path | None, typer.Option("--rules", help="A site's rules (TOML) to try, instead of [completion] roles.")
]


@app.command()
def why(
    context: typer.Context,
    study: Annotated[str, typer.Argument(help="A study by its alias or Study Instance UID, or a folder with one.")],
    whole: Annotated[bool, typer.Option("--all", help="Every condition, not only what decided a rule.")] = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show for each stack of a study which rule gave it its role, which condition held or failed, and the pairs."""
    from node.errors import HeaderError
    from node.why import why as ask

    try:
        answer = ask(study, _settings(context, data_dir=data))
    except HeaderError as error:
        raise typer.BadParameter(str(error)) from error
    if not as_json and not Path(study).is_dir():
        from node.console import Console

        found = Console(_settings(context, data_dir=data)).study(study)
        if found is not None:
            _show_whole(found)
    _show_answers([answer], checks=True, whole=whole, as_json=as_json)


@rules_app.command("show")
def rules_show(context: typer.Context) -> None:
    """List the rules in the order in which they are tried, and the facts that a rule may ask for."""
    from node.completion import read_table
    from node.completion.facts import VOCABULARY

    found = read_table(_settings(context).completion.roles)
    rules = _table("rule", "role", "confidence", "because", title=f"rules, version {found.version}")
    for rule in found.rules:
        rules.add_row(rule.name, rule.role, rule.confidence, rule.reason)
    facts = _table("fact", "kind", "unit", title="facts that a rule may ask for")
    for name, fact in VOCABULARY.items():
        facts.add_row(name, fact.kind, fact.unit)
    _screen().print(rules, facts)


@rules_app.command("test")
def rules_test(
    context: typer.Context,
    files: Annotated[list[Path], typer.Argument(exists=True, help="DICOM files, or folders with them.")],
    rules: RulesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what the rules, or changed ones, make of DICOM files: roles and pairs."""
    from node.errors import HeaderError
    from node.why import try_rules

    try:
        answers = try_rules(files, _settings(context), rules=rules)
    except HeaderError as error:
        raise typer.BadParameter(str(error)) from error
    _show_answers(answers, checks=False, whole=False, as_json=as_json)


@rules_app.command("backtest")
def rules_backtest(
    context: typer.Context,
    days: Annotated[float, typer.Option(help="Of the studies seen in so many days.")] = 7.0,
    rules: RulesOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Try the rules, or changed ones, on the headers that are held, and show what would be another than it was."""
    from dataclasses import asdict

    from node.why import backtest

    tried, changes = backtest(_settings(context, data_dir=data), days=days, rules=rules)
    if as_json:
        found = {name: [asdict(one) for one in of_study] for name, of_study in changes.items()}
        _screen().print_json(json.dumps({"tried": tried, "changes": found}))
        return
    changed = _table("study", "stack", "was", "would be", title="what would change")
    for name, of_study in changes.items():
        for one in of_study:
            changed.add_row(name, one.stack or "(the study)", one.before, one.after)
    _screen().print(changed)
    _screen().print(f"{len(changes)} of {tried} studies would change", highlight=False)


def _show_answers(answers: "Sequence[StudyAnswer]", *, checks: bool, whole: bool, as_json: bool) -> None:
    from dataclasses import asdict

    if as_json:
        _screen().print_json(json.dumps([_plain(asdict(one)) for one in answers]))
        return
    for answer in answers:
        for stack in answer.stacks if checks else ():
            _screen().print(_checks_table(stack, whole=whole))
        stacks = _table("stack", "slices", "role", "confidence", "rule", "because", title=f"study {answer.study}")
        for one in answer.stacks:
            which = f"{one.series}/{one.number}"
            words = [which, str(one.slices), one.decision.label, one.decision.confidence, one.decision.rule]
            stacks.add_row(*words, "; ".join([one.decision.evidence, *one.faults]))
        for series, fault in answer.unreadable.items():
            stacks.add_row(series, "", "other", "", "", fault)
        _screen().print(stacks)
        if answer.pairs:
            pairs = _table("pre", "post", "may be compared", title="series that look like before and after contrast")
            for pair in answer.pairs:
                pairs.add_row(pair.pre, pair.post, "; ".join(pair.differences) or "yes")
            _screen().print(pairs)
        selected = ", ".join(f"{role} {name}" for role, name in answer.selected.items())
        _screen().print(f"{answer.reason}{': ' if selected else ''}{selected}", highlight=False)
        _screen().print(f"by the rules of version {answer.table}", highlight=False)


def _checks_table(stack: "StackAnswer", *, whole: bool) -> "Table":
    """Return what each rule found in one stack, up to the one that holds."""
    from node.why import decisive

    splits = "".join(f", {by} {which}" for by, which in stack.splits.items())
    table = _table("rule", "", "found", "wanted", title=f"stack {stack.series}/{stack.number}{splits}")
    for one in stack.rules:
        for nth, check in enumerate(one.check.leaves() if whole else decisive(one.check)):
            name = "" if nth else one.rule.name
            table.add_row(name, "holds" if check.held else "fails", check.found, check.wanted)
        if one.check.held:
            table.add_row("", "[b]wins[/b]", f"[b]{stack.decision.label}[/b]", "")
    return table


def _plain(value: Any) -> Any:
    """Return what JSON can hold of nested values: rules by their names."""
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return getattr(value, "name", value) if type(value).__name__ == "Rule" else value


# ---------------------------------------------------------------- EMG


@emg_app.command("add")
def emg_add(
    context: typer.Context,
    level: Annotated[str, typer.Option(help="A nerve root from C1 to S1, or two neighbours: L4, L4/5.")],
    side: Annotated[str, typer.Option(help="left, right or both, of the patient.")],
    study: Annotated[str | None, typer.Argument(help="A study by its alias or Study Instance UID.")] = None,
    accession: Annotated[str | None, typer.Option(help="Accession Number, instead of STUDY.")] = None,
    patient_id: Annotated[str | None, typer.Option(help="Patient ID, with --study-date, instead of STUDY.")] = None,
    study_date: Annotated[str | None, typer.Option(help="Study Date, YYYYMMDD.")] = None,
    data: DataOption = None,
) -> None:
    """Say what EMG found in the patient of a study; the study may come later, and is measured again if it has been."""
    from node.console import Console
    from node.emg import BY_HAND, statement

    console = Console(_settings(context, data_dir=data))
    uid = "" if study is None else console.study_uid(study) or study
    values = {
        "study_instance_uid": uid, "accession_number": accession, "patient_id": patient_id, "study_date": study_date,
        "level": level, "side": side,
    }  # fmt: skip
    try:
        told = statement(values, BY_HAND)
    except StatementError as error:
        raise typer.BadParameter(str(error)) from error
    _tell_measured_again(console.tell(told))


@emg_app.command("forget")
def emg_forget(
    context: typer.Context,
    study: Annotated[str, typer.Argument(help="A study by its alias or Study Instance UID.")],
    data: DataOption = None,
) -> None:
    """Take back what was told of a study, by `emg add` or in the drop folder; its order counts again."""
    from node.console import Console

    console = Console(_settings(context, data_dir=data))
    _tell_measured_again(console.forget(console.study_uid(study) or study))


def _tell_measured_again(studies: "Sequence[str]") -> None:
    for study in studies:
        _screen().print(f"{study}: is measured again", highlight=False)
    if not studies:
        _screen().print("noted; no study that was measured is measured again", highlight=False)


@emg_app.command("list")
def emg_list(context: typer.Context, data: DataOption = None, as_json: JsonOption = False) -> None:
    """List the studies that EMG suspects something in, or of which the order could not be understood."""
    from node.console import Console

    found = Console(_settings(context, data_dir=data)).suspicions()
    if as_json:
        _screen().print_json(json.dumps(found))
        return
    table = _table("study", "level", "side", "source", "basis", "not taken because", title="suspected by EMG")
    for one in found["studies"]:
        table.add_row(one["study_alias"], one["level"], one["side"], one["source"], one["basis"], one["unclear"])
    _screen().print(table)
    _screen().print(f"{found['waiting']} statements wait for their study", highlight=False)


# ---------------------------------------------------------------- jobs


@jobs_app.command("list")
def jobs_list(
    context: typer.Context,
    waiting: Annotated[bool, typer.Option("--waiting", help="Only jobs that failed, or were not delivered.")] = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the jobs, newest first."""
    from dataclasses import asdict

    from node.console import Console

    console = Console(_settings(context, data_dir=data))
    ids = [job for jobs in console.waiting().values() for job in jobs] if waiting else None
    lines = [asdict(line) for line in console.jobs(ids=ids)]
    if as_json:
        _screen().print_json(json.dumps(lines))
    else:
        _screen().print(_jobs_table(lines))


@jobs_app.command("show")
def jobs_show(context: typer.Context, job: str, data: DataOption = None, as_json: JsonOption = False) -> None:
    """Show one job: its steps, the roles of its series with the evidence, its deliveries."""
    from node.console import Console

    found = Console(_settings(context, data_dir=data)).job(job)
    if found is None:
        raise typer.BadParameter(f"there is no job {job}; see: jobs list")
    if as_json:
        _screen().print_json(json.dumps(found))
        return
    _screen().print(_jobs_table([found]), f"steps done: {', '.join(found['steps']) or 'none'}", highlight=False)
    series = _table("series", "stack", "role", "because", "whole because", title="series of the study")
    for one in found["series"]:
        series.add_row(one["series"], str(one["stack"] or ""), one["role"], one["evidence"], one["whole_by"])
    objects = _table("object", "destination", "state", "attempts", "last answer", title="result objects")
    for one in found["objects"]:
        objects.add_row(one["object"], one["destination"], one["state"], str(one["attempts"]), one["status"])
    _screen().print(series, objects)


@jobs_app.command("retry")
def jobs_retry(context: typer.Context, job: str, data: DataOption = None) -> None:
    """Run a failed or cancelled job again, or deliver again what was abandoned."""
    from node.console import Console

    done = Console(_settings(context, data_dir=data)).retry(job)
    if not done:
        _screen(stderr=True).print(f"{job}: nothing to try again: not failed, not cancelled, nothing abandoned")
        raise typer.Exit(1)
    _screen().print(f"{job}: {done}", highlight=False)


@jobs_app.command("cancel")
def jobs_cancel(context: typer.Context, job: str, data: DataOption = None) -> None:
    """Cancel a queued or running job."""
    from node.console import Console

    if not Console(_settings(context, data_dir=data)).cancel(job):
        _screen(stderr=True).print(f"{job}: not queued and not running")
        raise typer.Exit(1)
    _screen().print(f"{job}: cancelled", highlight=False)


def _jobs_table(lines: list[dict[str, Any]]) -> "Table":
    table = _table("job", "state", "outcome", "deliveries", "made", "took", title="jobs")
    for one in lines:
        deliveries = "; ".join(f"{name}: {state}" for name, state in one["deliveries"].items())
        took = f"{one['settled_s'] - one['created_s']:.0f} s" if one["settled_s"] else ""
        table.add_row(one["id"], one["state"], one["outcome"], deliveries, _ago(one["created_s"]), took)
    return table


def _ago(moment_s: float) -> str:
    seconds = max(0, int(time.time() - moment_s))
    if seconds < 120:
        return f"{seconds} s ago"
    return f"{seconds // 60} min ago" if seconds < 7200 else f"{seconds // 3600} h ago"


# ---------------------------------------------------------------- researchers


@app.command()
def measure(
    context: typer.Context,
    study_dir: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Folder with one study.")],
    out: Annotated[Path, typer.Option("--out", help="Where result objects and findings.json go.")],
) -> None:
    """Measure a folder of DICOM files as the node would: no network, no ledger."""
    from node.errors import HeaderError
    from node.findings import Outcome
    from node.folder import measure_folder

    try:
        result = measure_folder(study_dir, out, _settings(context))
    except HeaderError as error:
        raise typer.BadParameter(str(error)) from error
    if result.findings is None:
        _complain("refused", f"not eligible: {result.reason}")
        raise typer.Exit(1)
    if result.findings.outcome is Outcome.REFUSED:
        for note in result.findings.refusals:
            _complain("refused", f"{note.code}: {note.text}")
        raise typer.Exit(1)
    _screen().print(result.findings.summary, highlight=False)
    _screen().print(findings_table(result.findings.to_json()))
    _screen().print(f"{len(result.objects)} objects and findings.json in {out}", highlight=False)


def findings_table(findings: Mapping[str, Any]) -> "Table":
    """Return the measurements of a findings.json as a table."""
    table = _table("region", "enhancement %", "volume mL", "vessels %", "centre L, P, S mm", title="measurements")

    def number(value: float | None, form: str = ".0f") -> str:
        return "" if value is None else format(value, form)

    for one in findings["muscles"]:
        table.add_row(
            f"muscle {one['side']}", number(one["enhancement_pct"]), number(one["volume_mm3"] / 1000),
            number(one["vessel_fraction_pct"], ".1f"), "",
        )  # fmt: skip
    for one in findings["lesions"]:
        table.add_row(
            f"lesion {one['number']} {one['side']}", number(one["enhancement_pct"]),
            number(one["volume_mm3"] / 1000, ".2f"), number(one["vessel_fraction_pct"], ".1f"),
            ", ".join(f"{place:.0f}" for place in one["centroid_mm"]),
        )  # fmt: skip
    return table


# ---------------------------------------------------------------- peers


def _destination(settings: Settings, name: str) -> DestinationSettings:
    for one in settings.destination:
        if one.name == name and one.kind == "dicom":
            return one
    known = ", ".join(one.name for one in settings.destination if one.kind == "dicom") or "none"
    raise typer.BadParameter(f"there is no DICOM destination {name!r} in the settings; there are: {known}")


@app.command()
def echo(context: typer.Context, name: Annotated[str, typer.Argument(help="A [[destination]] by name.")]) -> None:
    """Ask a destination whether it answers (C-ECHO)."""
    from node.delivery import echo as c_echo

    settings = _settings(context)
    began = time.monotonic()
    status_code = c_echo(
        _destination(settings, name),
        calling_ae=settings.association.ae_title,
        network_timeout_s=settings.delivery.network_timeout_s,
    )
    _screen().print(f"{name}: 0x{status_code:04X} in {1000 * (time.monotonic() - began):.0f} ms", highlight=False)
    if status_code:
        raise typer.Exit(1)


@app.command()
def send(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A DICOM file.")],
    name: Annotated[str, typer.Argument(help="A [[destination]] by name.")],
) -> None:
    """Send one DICOM file to a destination (C-STORE)."""
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    from node.delivery import DicomStorage

    settings = _settings(context)
    try:
        dataset = dcmread(file)
    except InvalidDicomError as error:
        raise typer.BadParameter(f"{file} is not a DICOM file") from error
    storage = DicomStorage(
        _destination(settings, name),
        calling_ae=settings.association.ae_title,
        network_timeout_s=settings.delivery.network_timeout_s,
    )
    (answer,) = storage.deliver([dataset])
    _screen().print(f"{name}: {answer.status}", highlight=False)
    if not answer.stored:
        raise DeliveryError(f"{name} did not take the object")


# ---------------------------------------------------------------- simulation


@app.command()
def simulate(
    out: Annotated[Path, typer.Option("--out", help="Folder for the study and its truth.")],
    recipe: Annotated[Path | None, typer.Option(exists=True, help="A recipe (TOML); options win over it.")] = None,
    anatomy: Annotated[
        tuple[Path, Path] | None, typer.Option(help="Real anatomy: WATER.nii.gz FAT.nii.gz instead of the phantom.")
    ] = None,
    labels: Annotated[Path | None, typer.Option(help="Labels of the posterior muscles for the real anatomy.")] = None,
    lesion: Annotated[
        list[str] | None,
        typer.Option(help="A lesion as KEY=VALUE,...: side, diameter_mm, level, core_share; may be repeated."),
    ] = None,
    no_lesion: Annotated[bool, typer.Option("--no-lesion", help="A healthy patient.")] = False,
    contrast: Annotated[
        str | None, typer.Option(help="given, 'labelled only' (named, not injected), unlabelled, or none.")
    ] = None,
    sequence: Annotated[str | None, typer.Option(help="T1 sequence: se or spgr.")] = None,
    fat_suppression: Annotated[bool | None, typer.Option(help="Of both T1 series.")] = None,
    snr: Annotated[float | None, typer.Option(help="Of muscle; 0: no noise.")] = None,
    bias_mm: Annotated[float | None, typer.Option(help="Reach of the surface coil in mm; 0: no bias.")] = None,
    motion_mm: Annotated[
        tuple[float, float, float] | None, typer.Option(help="Of the patient between pre and post: L P H.")
    ] = None,
    vendor: Annotated[str | None, typer.Option(help="Style of the headers: siemens, philips, ge or canon.")] = None,
    orientation: Annotated[str | None, typer.Option(help="axial, sagittal or coronal.")] = None,
    position: Annotated[str | None, typer.Option(help="Patient position: HFS, FFS, HFP or FFP.")] = None,
    syntax: Annotated[str | None, typer.Option(help="explicit, implicit, rle, jpeg2000 or jpegls.")] = None,
    multiframe: Annotated[bool | None, typer.Option(help="Enhanced MR instead of MR instances.")] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same bytes.")] = None,
) -> None:
    """Make a whole DICOM study with known truth: from the phantom, or from real anatomy."""
    from node.simulator import Recipe, make_recipe, read_recipe
    from node.simulator import simulate as simulate_study
    from node.simulator import write as write_study

    options = {
        "contrast": contrast,
        "sequence": sequence,
        "fat_suppression": fat_suppression,
        "snr": snr,
        "coil_reach_mm": bias_mm,
        "motion_mm": motion_mm,
        "vendor": vendor,
        "orientation": orientation,
        "patient_position": position,
        "transfer_syntax": syntax,
        "multiframe": multiframe,
        "seed": seed,
        "lesions": [] if no_lesion else [_lesion(text) for text in lesion] if lesion else None,
        "anatomy": {"kind": "images", "water": anatomy[0], "fat": anatomy[1], "labels": labels} if anatomy else None,
    }
    try:
        base = read_recipe(recipe) if recipe else Recipe()
        wanted = make_recipe(base.model_dump() | {key: value for key, value in options.items() if value is not None})
    except SimulatorError as error:
        raise typer.BadParameter(str(error)) from error
    study = simulate_study(wanted)
    files = write_study(study, out)
    counts = ", ".join(f"{len(one.datasets)} {one.kind}" for one in study.series)
    _screen().print(f"{len(files)} instances ({counts}) and their truth in {out}", highlight=False)


def _lesion(text: str) -> dict[str, str]:
    pairs = [part.split("=", 1) for part in text.split(",")]
    if not all(len(pair) == 2 for pair in pairs):
        raise typer.BadParameter(f"a lesion is KEY=VALUE,KEY=VALUE, not {text!r}")
    return {key.strip(): value.strip() for key, value in pairs}


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder for what arrives; emptied first.")] = Path("demo-output"),
    keep: Annotated[bool, typer.Option("--keep", help="Leave the node running afterwards.")] = False,
) -> None:
    """Push three simulated studies through a node and show what arrives at an archive."""
    from node.demo import run_demo

    run_demo(out, _screen(), keep=keep)
