"""Verbs of the simulator: a study with known truth, and the demonstration."""

from pathlib import Path
from typing import Annotated

import typer

from node.cli.show import refused, say, screen
from node.errors import FolderError, SimulatorError


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
    try:
        files = write_study(study, out)
    except FolderError as error:
        raise refused(str(error)) from error
    counts = ", ".join(f"{len(one.datasets)} {one.kind}" for one in study.series)
    say(f"{len(files)} instances ({counts}) and their truth in {out}")


def _lesion(text: str) -> dict[str, str]:
    pairs = [part.split("=", 1) for part in text.split(",")]
    if not all(len(pair) == 2 for pair in pairs):
        raise typer.BadParameter(f"a lesion is KEY=VALUE,KEY=VALUE, not {text!r}")
    return {key.strip(): value.strip() for key, value in pairs}


def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder for what arrives; emptied first.")] = Path("demo-output"),
    keep: Annotated[bool, typer.Option("--keep", help="Leave the node running afterwards.")] = False,
) -> None:
    """Push three simulated studies through a node and show what arrives at an archive."""
    from node.demo import run_demo

    run_demo(out, screen(), keep=keep)
