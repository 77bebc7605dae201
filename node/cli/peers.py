"""Verbs that try a destination out."""

import time
from pathlib import Path
from typing import Annotated

import typer

from node.cli.options import settings_of
from node.cli.show import say
from node.errors import DeliveryError
from node.settings import DestinationSettings, Settings

NameArgument = Annotated[str, typer.Argument(help="A [[destination]] by name.")]


def echo(context: typer.Context, name: NameArgument) -> None:
    """Ask a destination whether it answers (C-ECHO)."""
    from node.calling import Caller
    from node.delivery import echo as c_echo

    settings = settings_of(context)
    began = time.monotonic()
    status_code = c_echo(_destination(settings, name), Caller.of(settings))
    say(f"{name}: 0x{status_code:04X} in {1000 * (time.monotonic() - began):.0f} ms")
    if status_code:
        raise typer.Exit(1)


def send(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A DICOM file.")],
    name: NameArgument,
) -> None:
    """Send one DICOM file to a destination (C-STORE)."""
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    from node.calling import Caller
    from node.delivery import DicomStorage

    settings = settings_of(context)
    try:
        dataset = dcmread(file)
    except InvalidDicomError as error:
        raise typer.BadParameter(f"{file} is not a DICOM file") from error
    *_, answer = DicomStorage(_destination(settings, name), Caller.of(settings)).deliver([dataset])
    say(f"{name}: {answer.status}")
    if not answer.stored:
        raise DeliveryError(f"{name} did not take the object")


def _destination(settings: Settings, name: str) -> DestinationSettings:
    for one in settings.destination:
        if one.name == name and one.kind == "dicom":
            return one
    known = ", ".join(one.name for one in settings.destination if one.kind == "dicom") or "none"
    raise typer.BadParameter(f"there is no DICOM destination {name!r} in the settings; there are: {known}")
