"""Kinetics against truth: `python -m benchmarks.analysis_kinetics [--quick] [--seed N]`.

Three kinds of truth that the analysis did not make: OSIPI's tables, as a share of OSIPI's own tolerances; PkModeling's
digital reference objects, from signal to Ktrans and ve; and dynamic series of the project's simulator, whose tissues
follow the same model (their masks are the simulator's, so that only the curves are judged). The first two need the
shared data. These are figures of simulations, not of patients.
"""

import argparse
import csv
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.sheet import Sheet
from node.analysis.courses import kinetics_of
from node.analysis.dynamic import follow
from node.analysis.resampling import Movement, bring_mask
from node.analysis.tofts import ArterialCurve, concentration_mm, fit, parker_blood_mm, t1_of_flip_angles
from node.dicom.dynamics import read_time_points, time_points
from node.dicom.stacks import split
from node.dicom.volumes import by_uid
from node.findings import StudyVolumes
from node.settings import AnalysisSettings
from node.simulator import Recipe, simulate
from tests.analysis.reference_objects import OBJECTS, read_object
from tests.analysis.running import SHARED
from tests.analysis.tissue_curves import TISSUES, rise_pct

_TABLES = SHARED / "OSIPI_DCE_truth" / "test"
_BEFORE, _LASTS_S = 5, 240.0
Curve = npt.NDArray[np.float64]


def rows(quick: bool, seed: int) -> list[dict[str, Any]]:
    """Return the errors, one row each: of a table, of an object, of a tissue in a simulated series."""
    found: list[dict[str, Any]] = []
    if _TABLES.is_dir():
        found += _tables()
    if (SHARED / "PkModeling_DRO").is_dir():
        found += [_object(name) for name in OBJECTS]
    for step_s, snr in ((6.0, 30.0),) if quick else ((3.0, 30.0), (6.0, 30.0), (6.0, 10.0), (12.0, 30.0)):
        found += _simulated(step_s, snr, seed)
    return found


# ---------------------------------------------------------------- OSIPI


def _rows(*parts: str) -> list[dict[str, str]]:
    csv.field_size_limit(1 << 24)  # a field holds a whole curve
    with _TABLES.joinpath(*parts).open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def _numbers(text: str) -> Curve:
    return np.array(text.split(), float)


def _tables() -> Iterator[dict[str, Any]]:
    """Yield the largest error of each of OSIPI's tables as a share of its tolerance."""
    errors = [_concentration(row) for row in _rows("SI_to_Conc", "data", "SI2Conc_data.csv")]
    yield {"kind": "OSIPI", "name": "signal to concentration", "curves": len(errors), "of_tolerance": max(errors)}
    for name in ("ParkerAIF_ref.csv", "ParkerAIF_ref_with_delay.csv"):
        table = _rows("PopulationAIF_DCE", "data", name)
        minutes = np.array([float(row["time"]) - float(row["delay"]) / 60 for row in table])
        wanted = np.array([float(row["Cb"]) for row in table])
        off = np.abs(parker_blood_mm(minutes) - wanted) / (1e-4 + 0.01 * wanted)
        yield {"kind": "OSIPI", "name": f"arterial curve, {name}", "curves": len(off), "of_tolerance": float(off.max())}
    for name, per_s in (("t1_brain_data.csv", 1.0), ("t1_quiba_data.csv", 1000.0)):
        errors = [_r1(row, per_s) for row in _rows("T1_mapping", "data", name)]
        yield {"kind": "OSIPI", "name": f"R1, {name}", "curves": len(errors), "of_tolerance": max(errors)}
    for name in ("dce_DRO_data_tofts.csv", "dce_DRO_data_extended_tofts.csv"):
        errors = [_transfer(row) for row in _rows("DCEmodels", "data", name)]
        yield {"kind": "OSIPI", "name": f"Ktrans, ve, vp, {name}", "curves": len(errors), "of_tolerance": max(errors)}


def _concentration(row: dict[str, str]) -> float:
    signal, wanted, points = _numbers(row["s"]), _numbers(row["conc"]), int(row["numbaselinepts"])
    least = np.inf
    for first in (0, 1):  # the table's maker left out the first time point of some curves
        taken_up = concentration_mm(
            signal, float(signal[first:points].mean()), t1_s=float(row["T1base"]), tr_s=float(row["TR"]),
            flip_deg=float(row["FA"]), relaxivity_per_mm_s=float(row["r1"]),
        )  # fmt: skip
        least = min(least, float((np.abs(taken_up - wanted) / (1e-5 + 1e-5 * np.abs(wanted))).max()))
    return least


def _r1(row: dict[str, str], per_s: float) -> float:
    wanted = per_s * float(row["R1"])
    found = 1 / t1_of_flip_angles(_numbers(row["FA"]), _numbers(row["s"]), tr_s=float(row["TR"].split()[0]))
    return abs(found - wanted) / (0.05 + 0.05 * wanted)


def _transfer(row: dict[str, str]) -> float:
    found = fit(_numbers(row["t"]), _numbers(row["C"]), ArterialCurve.of(_numbers(row["ta"]), _numbers(row["ca"])))
    if found is None:
        return float("inf")
    ktrans = float(row["Ktrans"])
    return max(
        abs(found.ktrans_per_min - ktrans) / (0.005 + 0.01 * ktrans),
        abs(found.ve - float(row["ve"])) / 0.05,
        abs(found.vp - float(row.get("vp", 0.0))) / 0.0025,
    )


# ---------------------------------------------------------------- PkModeling, simulator


def _object(name: str) -> dict[str, Any]:
    made = read_object(name)
    ktrans, ve = made.fitted()
    off, theirs = (100 * np.abs(one / made.ktrans - 1) for one in (ktrans, made.reference_ktrans))
    return {
        "kind": "PkModeling", "name": name, "voxels": ktrans.size, "unfitted": int(np.isnan(ktrans).sum()),
        "ktrans_median_pct": float(np.nanmedian(off)), "ktrans_worst_pct": float(np.nanmax(off)),
        "ve_worst": float(np.nanmax(np.abs(ve - made.ve))), "their_ktrans_median_pct": float(np.median(theirs)),
    }  # fmt: skip


def _simulated(step_s: float, snr: float, seed: int) -> Iterator[dict[str, Any]]:
    """Yield the errors of a muscle and of a lesion of 12 mm in one dynamic series."""
    count = _BEFORE + round(_LASTS_S / step_s)
    study = simulate(
        Recipe(
            seed=seed, series=("dynamic",), time_points=count, points_before=_BEFORE, time_step_s=step_s, snr=snr,
            pixel_mm=1.5, slice_mm=4.0, slices=10,
        )
    )  # fmt: skip
    instances = study.of("dynamic")
    points = read_time_points(time_points(split(instances), 1), by_uid(instances).__getitem__, largest_bytes=1 << 30)
    course = follow(StudyVolumes(dynamic=points), AnalysisSettings()).course
    assert course is not None
    masks, times_s = study.truth.masks, np.arange(count) * step_s
    for name, drawn in (("muscle", masks.muscles == 1), ("lesion", masks.lesions == 1)):
        region = bring_mask(drawn, masks.grid, course.geometry, Movement.none(np.zeros(3)))
        found = kinetics_of(region, course)
        assert found is not None
        true = TISSUES[name]
        rise = rise_pct(true, times_s, given_s=_BEFORE * step_s)
        first_minute = (times_s >= _BEFORE * step_s) & (times_s <= _BEFORE * step_s + 60)
        area = float(np.trapezoid(rise[first_minute], times_s[first_minute]))

        def off(value: float | None, wanted: float) -> float | None:
            return None if value is None else 100 * (value / wanted - 1)

        yield {
            "kind": "simulated", "name": f"{name}, {count} time points of {step_s:g} s, SNR {snr:g}",
            "onset_s": found.onset_s - _BEFORE * step_s,
            "peak_at_s": found.onset_s + found.time_to_peak_s - float(times_s[np.argmax(rise)]),
            "peak_pct": off(found.peak_enhancement_pct, float(rise.max())),
            "wash_in_pct": off(found.wash_in_pct_per_s, float(np.diff(rise).max() / step_s)),
            "iauc60_pct": off(found.iauc60, area), "curve": found.curve,
            "ktrans_pct": off(found.ktrans_per_min, true.kinetics.ktrans), "ve_pct": off(found.ve, true.kinetics.ve),
        }  # fmt: skip


# ---------------------------------------------------------------- tables


def sheets(found: list[dict[str, Any]]) -> list[Sheet]:
    """Return the tables of docs/analysis.md, section 9.1."""

    def of(kind: str) -> list[dict[str, Any]]:
        return [one for one in found if one["kind"] == kind]

    def told(value: float | None) -> str:
        return "-" if value is None else f"{value:+.1f}"

    osipi = [(one["name"], str(one["curves"]), f"{100 * one['of_tolerance']:.2g} %") for one in of("OSIPI")]
    objects = [
        (
            one["name"], str(one["voxels"] - one["unfitted"]), f"{one['ktrans_median_pct']:.1f} %",
            f"{one['ktrans_worst_pct']:.0f} %", f"{one['ve_worst']:.3f}", f"{one['their_ktrans_median_pct']:.0f} %",
        )
        for one in of("PkModeling")
    ]  # fmt: skip
    names = ("onset_s", "peak_at_s", "peak_pct", "wash_in_pct", "iauc60_pct", "ktrans_pct", "ve_pct")
    tissues = [(one["name"], *(told(one[name]) for name in names), str(one["curve"])) for one in of("simulated")]
    columns = ("object", "voxels fitted", "Ktrans, median error", "worst", "ve, worst error", "PkModeling's own Ktrans")
    errors = ("onset, s", "peak at, s", "peak, %", "wash-in, %", "iAUC60, %", "Ktrans, %", "ve, %", "curve")
    return [
        Sheet("OSIPI's tables: largest error as a share of OSIPI's tolerance", ("table", "rows", "largest"), osipi),
        Sheet("PkModeling's reference objects, from signal to parameters", columns, objects),
        Sheet("Simulated series: errors (contrast is simulated)", ("tissue", *errors), tissues),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one simulated series instead of four")
    parser.add_argument("--seed", type=int, default=11)
    wanted = parser.parse_args()
    for one in sheets(rows(wanted.quick, wanted.seed)):
        print(one.as_markdown())


if __name__ == "__main__":
    main()
