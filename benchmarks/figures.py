"""The figures of `python -m benchmarks.analysis`: each takes the rows of a part and returns a drawing."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from node.settings import AnalysisSettings
from training.evaluate import Outcome

Rows = Sequence[dict[str, Any]]
GOAL: dict[str, Any] = {"color": "0.6", "linestyle": ":", "linewidth": 1}


def registration(rows: Rows) -> Figure:
    """Median and 95 % of the error, by case; the goals dotted."""
    figure, axes = _figure("error in the muscle, mm")
    places = np.arange(len(rows))
    for name, key, marker in (("median", "median_mm", "o"), ("95 %", "p95_mm", "^"), ("largest", "max_mm", "_")):
        axes.plot(places, [one[key] for one in rows], marker, label=name)
    _goals(axes, 0.15, 0.4)
    axes.set_yscale("log")
    _named(axes, [f"{one['anatomy']}\n{one['case']}" for one in rows])
    return figure


def enhancement(rows: Rows) -> Figure:
    """Errors by region, one mark a study; lesions that were not found have none. The goal of 3 points dotted."""
    figure, axes = _figure("error of E, points of percent (simulated)")
    names = ["muscle left", "muscle right", *(f"lesion {one:.0f} mm" for one in rows[0]["lesions"])]
    kinds = list(dict.fromkeys((one["anatomy"], one["snr"]) for one in rows))
    for number, kind in enumerate(kinds):
        errors = [
            [one["muscle"].get("left"), one["muscle"].get("right"), *one["lesions"].values()]
            for one in rows
            if (one["anatomy"], one["snr"]) == kind
        ]
        found = [(k + 0.12 * number, value) for row in errors for k, value in enumerate(row) if value is not None]
        axes.plot(
            [x for x, _ in found],
            [y for _, y in found],
            "o",
            markersize=4,
            label=f"{kind[0]}, {f'SNR {kind[1]:.0f}' if kind[1] else 'no noise'}",
        )
    _goals(axes, -3, 3)
    _named(axes, names)
    return figure


def detection(rows: Rows) -> Figure:
    """FROC by diameter: a panel for each protocol and enhancement; marked points are scores of 1 (nominal)."""
    false = {one["protocol"]: one["at scores"] for one in rows if "lesions" not in one}
    found = [one for one in rows if one["what"].startswith("spheres")]
    panels = list(dict.fromkeys((one["protocol"], one["what"].split(", ")[1]) for one in found))
    figure = Figure(figsize=(4 * len(panels), 3.6), layout="constrained")
    for axes, (protocol, rise) in zip(np.atleast_1d(figure.subplots(1, len(panels), sharey=True)), panels, strict=True):
        for one in found:
            if one["protocol"] == protocol and one["what"].endswith(rise):
                label = f"{one['what'].split(', ')[0].removeprefix('spheres ')}, {one['lesions']} lesions"
                nominal = list(one["at scores"]).index(1.0)
                axes.plot(
                    list(false[protocol].values()), list(one["at scores"].values()), "-o", label=label,
                    markersize=5, markevery=[nominal],
                )  # fmt: skip
        axes.axhline(0.9, **GOAL)
        axes.axvline(1, **GOAL)
        axes.set(title=f"{protocol}, {rise}", xlabel="false marks a volume without lesions", ylim=(0, 1.02))
        axes.set_xscale("symlog", linthresh=0.125)
        axes.set_xlim(0, None)
        axes.legend(fontsize=8, loc="lower right")
    figure.axes[0].set_ylabel("lesions found (simulated)")
    return figure


def misregistration(rows: Rows) -> Figure:
    """What is found, and false marks, against what the registration left; from the dotted lines on the node says so."""
    figure, axes = _figure("")
    x = [one["residual, mm"] for one in rows]
    axes.plot(x, [one["found"] for one in rows], "-o", label="share of 8 mm foci found")
    axes.plot(x, [one["false marks a volume"] for one in rows], "--s", label="false marks a volume")
    settings = AnalysisSettings()
    for border, says in (
        (settings.good_residual_mm, "reduced sensitivity"),
        (settings.largest_residual_mm, "foci are not looked for"),
    ):
        axes.axvline(border, **GOAL)
        axes.annotate(says, (border + 0.005, 0.03), rotation=90, fontsize=7)
    axes.set(xlabel="left of the movement, standard deviation per axis, mm (simulated)", ylim=(0, None))
    axes.legend(fontsize=8)
    return figure


def vessels(rows: Rows) -> Figure:
    """Dice by diameter; the goal dotted."""
    figure, axes = _figure("Dice (simulated)")
    for phantom, snr in dict.fromkeys((one["phantom"], one["snr"]) for one in rows):
        mine = [one for one in rows if (one["phantom"], one["snr"]) == (phantom, snr)]
        axes.plot(
            [one["diameter_mm"] for one in mine], [one["dice"] for one in mine], "-o", label=f"{phantom}, SNR {snr}"
        )
    axes.axhline(0.8, **GOAL)
    axes.set(xlabel="diameter, mm", ylim=(0, 1))
    axes.legend(fontsize=8)
    return figure


def dice(outcomes: Iterable[Outcome]) -> Figure:
    """Dice of the worse side of each slice, by image: accepted slices filled, refused ones hollow."""
    figure, axes = _figure("Dice of the worse side, by slice")
    shown = [one for one in outcomes if one.judged.any()]
    for place, one in enumerate(shown):
        worse = np.minimum(one.left, one.right)
        for taken, style in ((True, {}), (False, {"fillstyle": "none"})):
            values = worse[one.judged & (one.taken == taken)]
            scatter = place + np.linspace(-0.3, 0.3, len(values)) if len(values) > 1 else np.full(len(values), place)
            axes.plot(scatter, values, "o", color="C0" if taken else "C3", markersize=4, alpha=0.6, **style)
    _goals(axes, 0.75, 0.9)
    axes.set_ylim(0, 1)
    axes.legend(axes.lines[:2], ["accepted", "refused"], fontsize=8)
    _ticks(axes, [one.name.replace("Total", "Total-\n").replace(" ", "\n", 1) for one in shown])
    return figure


def speed(rows: Rows) -> Figure:
    """When each step begins and ends, a row for each study; vessels are looked for beside others, below."""
    figure, axes = _figure("")
    for place, row in enumerate(rows):
        for k, (step, (began, ended)) in enumerate(row["timeline"].items()):
            low = place + (0.3 if step == "vessels" else 0.0)
            axes.barh(low, ended - began, 0.28, began, color=f"C{k}", label="" if place else step)
    axes.set_yticks(np.arange(len(rows)) + 0.15, [f"2 x {one['slices']}\nslices" for one in rows], fontsize=8)
    axes.invert_yaxis()
    axes.axvline(10, **GOAL)
    axes.set(xlabel="seconds from volumes to findings")
    axes.legend(fontsize=7, loc="upper right")
    return figure


def _figure(ylabel: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    axes.set_ylabel(ylabel)
    return figure, axes


def _goals(axes: Axes, *values: float) -> None:
    for value in values:
        axes.axhline(value, **GOAL)


def _named(axes: Axes, names: Sequence[str]) -> None:
    _ticks(axes, names)
    axes.legend(fontsize=8)


def _ticks(axes: Axes, names: Sequence[str]) -> None:
    axes.set_xticks(range(len(names)), names, fontsize=7)
