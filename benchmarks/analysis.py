"""Every benchmark of the analysis: `python -m benchmarks.analysis [--quick] [--seed N] [--only NAME] [--out FOLDER]`.

Tables are printed, and written to FOLDER/analysis-bench.md with a figure beside them for each part: parts that did not
run keep what stands there, so that a long run may be divided. A quick run writes only where `--out` says so. What needs
data that are not in ../shared/data is left out, and that is said. Contrast is simulated: these are figures of
simulations, not of patients.
"""

import argparse
import itertools
import platform
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from rich.console import Console

from benchmarks import (
    analysis_detection,
    analysis_enhancement,
    analysis_followup,
    analysis_kinetics,
    analysis_misregistration,
    analysis_registration,
    analysis_speed,
    analysis_vessels,
    figures,
)
from benchmarks.sheet import Sheet
from node.analysis.network import shipped_model
from training import evaluate

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
FOLDER = Path(__file__).resolve().parents[1] / "docs" / "figures"
FILE = "analysis-bench.md"
HEAD = "Written by `make bench-analysis`, part by part. Contrast is simulated: these are not figures of patients.\n\n"

Sheets = Sequence[Sheet]
Draw = Callable[[], Figure]


@dataclass(frozen=True, slots=True)
class Part:
    """One benchmark: `run(quick, seed)` returns its tables, and what draws its figure, if it has one.

    Parameters
    ----------
    data : tuple of str
        Folders of ../shared/data without which some of its rows, or all, are left out.
    quick : bool
        Whether its quick form is quick enough for `make bench`.
    """

    seed: int
    run: Callable[[bool, int], tuple[Sheets, Draw | None]]
    data: tuple[str, ...] = ()
    quick: bool = False


def plain(title: str, rows: Sequence[Mapping[str, Any]], *notes: str) -> Sheet:
    """Return rows as a table: a column for each name that a row has, in order of appearance."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return Sheet(title, columns, [[_told(row.get(name, "")) for name in columns] for row in rows], notes)


def _told(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name:g}: {one:g}" for name, one in value.items())
    return f"{value:.3g}" if isinstance(value, float) else str(value)


# -- parts


def _registration(quick: bool, seed: int) -> tuple[Sheets, Draw]:
    rows = analysis_registration.rows(quick, seed)
    return [analysis_registration.sheet(rows)], lambda: figures.registration(rows)


def _followup(quick: bool, seed: int) -> tuple[Sheets, None]:
    rows = analysis_followup.rows(quick, seed)
    return [analysis_followup.sheet(rows)] if rows else [], None


def _enhancement(quick: bool, seed: int) -> tuple[Sheets, Draw]:
    rows = analysis_enhancement.rows(quick, seed)
    return [analysis_enhancement.sheet(rows)], lambda: figures.enhancement(rows)


def _kinetics(quick: bool, seed: int) -> tuple[Sheets, None]:
    return [one for one in analysis_kinetics.sheets(analysis_kinetics.rows(quick, seed)) if one.rows], None


def _vessels(quick: bool, seed: int) -> tuple[Sheets, Draw]:
    rows = analysis_vessels.rows(quick=quick, seed=seed)
    return [plain("Vessels: Dice of drawn tubes (contrast is simulated)", rows)], lambda: figures.vessels(rows)


def _detection(quick: bool, seed: int) -> tuple[Sheets, Draw]:
    rows = analysis_detection.rows(quick, seed)
    false = [one for one in rows if "lesions" not in one]
    found = [one for one in rows if "lesions" in one]
    sheets = [
        plain("False marks a volume without a lesion", false),
        plain("Share of the lesions found, fatty backs (contrast is simulated)", found),
    ]
    return sheets, lambda: figures.detection(rows)


def _misregistration(quick: bool, seed: int) -> tuple[Sheets, Draw]:
    rows = analysis_misregistration.rows(quick, seed)
    return [analysis_misregistration.sheet(rows)], lambda: figures.misregistration(rows)


def _dice(quick: bool, _seed: int) -> tuple[Sheets, Draw]:
    model = shipped_model()
    outcomes = list(evaluate.drawn(model, 12 if quick else 300))
    if not quick:
        outcomes += [
            evaluate.measure(model, one) for one in itertools.chain(evaluate.labelled(), evaluate.unlabelled())
        ]
    columns, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in evaluate.table_of(outcomes))
    note = f"Model {model.version}; drawn slices are held out: their seeds are fixed, and no slice trained on has one."
    return [Sheet("Segmenter: Dice of the posterior compartment", columns, rows, (note,))], lambda: figures.dice(
        outcomes
    )


def _speed(quick: bool, seed: int) -> tuple[Sheets, Draw]:
    rows = analysis_speed.rows(quick, seed)
    return [analysis_speed.sheet(rows)], lambda: figures.speed(rows)


_BACK = "TUM_lumbar_dixon"
PARTS = {
    "registration": Part(11, _registration, (_BACK,)),
    "followup": Part(11, _followup, (_BACK, "TotalSegmentator_samples"), quick=True),
    "enhancement": Part(11, _enhancement, (_BACK,)),
    "kinetics": Part(11, _kinetics, ("OSIPI_DCE_truth", "PkModeling_DRO"), quick=True),
    "vessels": Part(1, _vessels, quick=True),
    "detection": Part(analysis_detection.REPORT, _detection, (_BACK,)),
    "misregistration": Part(analysis_detection.REPORT, _misregistration, (_BACK,)),
    "dice": Part(0, _dice, (_BACK, "TotalSegmentator_samples", "SCT_cervical_axial"), quick=True),
    "speed": Part(7, _speed, quick=True),
}


# -- writing


def section(name: str, told: str, sheets: Sheets, *, figure: bool) -> str:
    """Return the section of one part, which begins with its name as a heading of the first level."""
    picture = f"![{name}]({name}.png)\n" if figure else ""
    return "\n".join([f"# {name}\n", f"{told}\n", *(one.as_markdown() for one in sheets), picture])


def merged(before: str, name: str, text: str) -> str:
    """Return the file with the section of one part new; the others stay, in the order of `PARTS`."""
    every = {one.split("\n", 1)[0].removeprefix("# "): one for one in re.split(r"^(?=# )", before, flags=re.MULTILINE)}
    every[name] = text
    return HEAD + "\n".join(every[one].rstrip("\n") + "\n" for one in PARTS if one in every)


def write(folder: Path, name: str, told: str, sheets: Sheets, figure: Figure | None) -> None:
    """Write one part: its section into FILE, its figure beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / FILE
    before = file.read_text("utf-8") if file.exists() else ""
    file.write_text(merged(before, name, section(name, told, sheets, figure=figure is not None)), "utf-8")
    if figure is not None:
        figure.savefig(folder / f"{name}.png", dpi=110)


def left_out(part: Part) -> str:
    """Say which data are not at hand."""
    missing = [one for one in part.data if not (DATA / one).is_dir()]
    return f" Left out, for it is not in ../shared/data: what needs {', '.join(missing)}." if missing else ""


def quick(show: Callable[[Sheet], None]) -> None:
    """Show the parts that take seconds, in their quick form."""
    for part in PARTS.values():
        if part.quick:
            for sheet in part.run(True, part.seed)[0]:
                show(sheet)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few volumes: a first look")
    parser.add_argument("--seed", type=int, help="instead of each part's own")
    parser.add_argument("--only", choices=PARTS, action="append", help="this part; may be given more than once")
    parser.add_argument("--out", type=Path, help="default: docs/figures, and nowhere with --quick")
    wanted = parser.parse_args()
    folder = wanted.out or (None if wanted.quick else FOLDER)
    screen = Console(width=220)  # the widest table
    for name in wanted.only or PARTS:
        part = PARTS[name]
        seed = part.seed if wanted.seed is None else wanted.seed
        command = f"python -m benchmarks.analysis --only {name} --seed {seed}" + (" --quick" if wanted.quick else "")
        began = time.perf_counter()
        sheets, draw = part.run(wanted.quick, seed)
        told = (
            f"{datetime.now(UTC).date().isoformat()}, `{command}`, {time.perf_counter() - began:.0f} s, "
            f"Python {platform.python_version()}.{left_out(part)}"
        )
        screen.print(f"{name}: {told}\n", markup=False)
        for sheet in sheets:
            screen.print(sheet.on_screen(), "")
        if folder is not None:
            write(folder, name, told, sheets, draw() if draw else None)


if __name__ == "__main__":
    main()
