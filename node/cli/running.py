"""Verbs of the node itself: whether it would start, and that it runs."""

from collections import Counter
from typing import TYPE_CHECKING

import typer

from node import eventlog
from node.cli.options import AeOption, DataOption, PortOption, SupervisedOption, settings_of
from node.cli.show import alarm, print_table, say, table

if TYPE_CHECKING:
    from node.settings import Settings


def check(context: typer.Context, data: DataOption = None) -> None:
    """Check settings, plug-ins, data folder and port without starting anything."""
    from rich.markup import escape

    from node.checks import Verdict, run_checks

    shown_in = {Verdict.OK: "green", Verdict.WARNING: "yellow", Verdict.FAULT: "red"}
    found = table("check", "is", "found", title="paraspinal-node check", whole=("is",))
    seen = Counter[Verdict]()
    for one in run_checks(settings_of(context, data_dir=data)):
        seen[one.verdict] += 1
        colour = shown_in[one.verdict]
        found.add_row(one.name, f"[{colour}]{one.verdict}[/]", f"[{colour}]{escape(one.found)}[/]")
    print_table(found)
    faults, warnings = seen[Verdict.FAULT], seen[Verdict.WARNING]
    beside = f"; {warnings} warning{'s' * (warnings != 1)}" if warnings else ""
    if faults:
        alarm(f"{faults} fault{'s' * (faults != 1)}", f"to put right before a start{beside}")
        raise typer.Exit(2)
    say(f"a start would succeed{beside}")


def serve(context: typer.Context, port: PortOption = None, data: DataOption = None, ae: AeOption = None) -> None:
    """Run the node in the foreground until SIGTERM: receive, measure, deliver."""
    from node import daemon

    settings = settings_of(context, port=port, data_dir=data, ae_title=ae)
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

    settings = settings_of(context, port=port, data_dir=data, ae_title=ae)
    eventlog.start(settings.log.level)
    process.run(lambda: Reception(settings), tether=tether, started=lambda port: _announce(settings, port))


def work(
    context: typer.Context, data: DataOption = None, ae: AeOption = None, supervised: SupervisedOption = False
) -> None:
    """Run the node without its receiver: measure and deliver what it holds, until SIGTERM."""
    from node import process

    tether = process.Tether() if supervised else None
    from node.worker import Worker

    settings = settings_of(context, data_dir=data, ae_title=ae)
    eventlog.start(settings.log.level)
    process.run(lambda: Worker(settings), tether=tether, started=lambda port: _announce(settings, port))


def _announce(settings: "Settings", port: int | None) -> None:
    if port is not None:
        typer.echo(f"{settings.association.ae_title} listens on port {port}; stop with Ctrl-C or SIGTERM", err=True)
