"""The verb of researchers: the same measurement on a folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from node.cli.options import settings_of
from node.cli.show import complain, print_table, refused, say, table

if TYPE_CHECKING:
    from rich.table import Table


def measure(
    context: typer.Context,
    study_dir: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Folder with one study.")],
    out: Annotated[Path, typer.Option("--out", file_okay=False, help="Where result objects and findings.json go.")],
) -> None:
    """Measure a folder of DICOM files as the node would: no network, no ledger."""
    from node.errors import FolderError, HeaderError
    from node.findings import Outcome
    from node.folder import measure_folder

    try:
        result = measure_folder(study_dir, out, settings_of(context))
    except HeaderError as error:
        raise typer.BadParameter(str(error)) from error
    except FolderError as error:
        raise refused(str(error)) from error
    if result.no_dynamic:
        complain("no dynamic", result.no_dynamic)
    findings = result.findings
    if findings is None:
        raise refused(f"not eligible: {result.reason}")
    for note in findings.refusals:
        complain("refused", f"{note.code}: {note.text}")
    if findings.outcome is not Outcome.REFUSED:
        say(findings.summary)
        print_table(findings_table(findings.to_json()))
    for note in findings.caveats:
        say(f"caveat {note.code}: {note.text}")
    say(f"{len(result.objects)} objects and findings.json in {out}")
    if findings.outcome is Outcome.REFUSED:
        raise typer.Exit(1)


def findings_table(findings: Mapping[str, Any]) -> "Table":
    """Return the measurements of a findings.json as a table."""
    measured = table("region", "enhancement %", "volume mL", "vessels %", "centre L, P, S mm", title="measurements")

    def number(value: float | None, form: str = ".0f") -> str:
        return "" if value is None else format(value, form)

    for one in findings["muscles"]:
        measured.add_row(
            f"muscle {one['side']}", number(one["enhancement_pct"]), number(one["volume_mm3"] / 1000),
            number(one["vessel_fraction_pct"], ".1f"), "",
        )  # fmt: skip
    for one in findings["lesions"]:
        measured.add_row(
            f"lesion {one['number']} {one['side']}", number(one["enhancement_pct"]),
            number(one["volume_mm3"] / 1000, ".2f"), number(one["vessel_fraction_pct"], ".1f"),
            ", ".join(f"{place:.0f}" for place in one["centroid_mm"]),
        )  # fmt: skip
    return measured
