"""Verbs that try a destination out."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from node.cli.options import settings_of
from node.cli.show import say
from node.errors import DeliveryError
from node.settings import DestinationSettings, Settings

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_UNDEFINED = 0xFFFFFFFF  # length of an element that ends with a delimiter: PS3.5 section 7.1.1
NameArgument = Annotated[str, typer.Argument(help=r"A [\[destination]] by name.")]


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
    if not _is_whole(dataset):
        raise typer.BadParameter(f"{file} is not a whole DICOM file")
    *_, answer = DicomStorage(_destination(settings, name), Caller.of(settings)).deliver([dataset])
    say(f"{name}: {answer.status}")
    if not answer.stored:
        raise DeliveryError(f"{name} did not take the object")


def _is_whole(dataset: "Dataset") -> bool:
    """Return whether a file did not break off: before the names of its object, or within its last element."""
    named = all(one in dataset for one in ("SOPClassUID", "SOPInstanceUID"))
    if not named or "TransferSyntaxUID" not in dataset.file_meta:
        return False
    last = dataset.get_item(max(dataset.keys()))
    length, value = getattr(last, "length", None), getattr(last, "value", None)
    return length in (None, _UNDEFINED) or length == len(value or b"")


def _destination(settings: Settings, name: str) -> DestinationSettings:
    for one in settings.destination:
        if one.name == name and one.kind == "dicom":
            return one
    known = ", ".join(one.name for one in settings.destination if one.kind == "dicom") or "none"
    raise typer.BadParameter(f"there is no DICOM destination {name!r} in the settings; there are: {known}")
