"""The command line: verbs, tables, exit codes. It decides nothing. This file is its index.

Exit codes: 0 done; 1 refused or failed, or what was named is not there, with the reason; 2 a fault of usage or of
settings, whatever the node holds.

What a verb needs is imported when it runs: the receiver is started by this file too, and counts its memory.
"""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from node import __version__, eventlog
from node.cli import emg, jobs, measuring, peers, pulling, reasons, results, rules, running, simulation, spool, studies
from node.cli.show import complain, say
from node.errors import NodeError, RulingError, SettingsError, StatementError, raised_at, shown

NAME = "paraspinal-node"

app = typer.Typer(
    name=NAME,
    help="Receive spine MR, measure contrast enhancement of the paraspinal muscles, report by DICOM SR.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _group(name: str, purpose: str) -> typer.Typer:
    made = typer.Typer(help=purpose, no_args_is_help=True)
    app.add_typer(made, name=name)
    return made


# the node
app.command()(running.check)
app.command()(running.serve)
app.command()(running.receive)
app.command()(running.work)

# its studies
app.command()(studies.status)
app.command("force-complete")(studies.force_complete)
app.command()(studies.release)
app.command()(reasons.why)
app.command()(pulling.pull)
app.command()(pulling.adopt)

# its jobs
of_jobs = _group("jobs", "Look at jobs, try them again, cancel them.")
of_jobs.command("list")(jobs.list_jobs)
of_jobs.command()(jobs.show)
of_jobs.command()(jobs.export)
of_jobs.command()(jobs.retry)
of_jobs.command()(jobs.release)
of_jobs.command()(jobs.cancel)
app.command()(jobs.log)

# its results
app.command()(results.replay)
app.command()(results.recall)
of_review = _group("review", "Approve or reject results that wait for a person; see what was decided.")
of_review.command("list")(results.list_waiting)
of_review.command()(results.log)
of_review.command()(results.approve)
of_review.command()(results.reject)

# what is on disk
of_spool = _group("spool", "Look at what is held, take it out, check it.")
of_spool.command()(spool.ls)
of_spool.command()(spool.held)
of_spool.command()(spool.export)
of_spool.command()(spool.verify)

# how series get their roles
of_rules = _group("rules", "Look at the rules that give roles, and try changed ones out.")
of_rules.command()(rules.show)
of_rules.command("test")(rules.try_on_files)
of_rules.command()(rules.backtest)

# what EMG suspects
of_emg = _group("emg", "Say where EMG suspects denervation, and look at what is suspected.")
of_emg.command()(emg.add)
of_emg.command()(emg.forget)
of_emg.command("list")(emg.list_suspicions)

# without a running node
app.command()(measuring.measure)
app.command()(peers.echo)
app.command()(peers.send)
app.command()(simulation.simulate)
app.command()(simulation.demo)


def main() -> None:
    """Run the command line; the console script and `python -m node` end up here."""
    os.umask(0o077)  # what we write is for our own eyes
    eventlog.silence_libraries()
    try:
        app(prog_name=NAME)
    except SettingsError as error:
        complain("settings", str(error))
        sys.exit(2)
    except (RulingError, StatementError) as error:
        complain("refused", str(error))
        sys.exit(1)
    except NodeError as error:
        complain("failed", str(error))
        sys.exit(1)
    except Exception as error:  # its text and its traceback may quote a patient
        complain("failed", f"{shown(error)} at {raised_at(error)}")
        sys.exit(1)


@app.callback(invoke_without_command=True)
def _common(
    context: typer.Context,
    config: Annotated[Path | None, typer.Option("--config", help="Settings file (TOML); see config/node.toml.")] = None,
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    if version:
        say(f"{NAME} {__version__}")
        raise typer.Exit
    context.obj = config
