import csv
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import rice

from node.simulator.physics import (
    Kinetics,
    Pulse,
    SmoothField,
    extended_tofts_mm,
    parker_blood_mm,
    rician,
    spin_echo,
    spoiled_gradient_echo,
)
from tests.conftest import shared


def _rows(*parts: str) -> list[dict[str, str]]:
    path = shared("data", "OSIPI_DCE_truth", "test", *parts)
    with Path(path).open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def _numbers(text: str) -> np.ndarray:
    return np.array(text.split(), float)


def test_the_arterial_curve_is_the_one_of_the_osipi_reference() -> None:
    rows = _rows("PopulationAIF_DCE", "data", "ParkerAIF_ref.csv")
    t_min = np.array([float(row["time"]) for row in rows])

    blood = parker_blood_mm(t_min)

    assert np.abs(blood - [float(row["Cb"]) for row in rows]).max() < 1e-9  # the same formula


@pytest.mark.parametrize("name", ["dce_DRO_data_tofts.csv", "dce_DRO_data_extended_tofts.csv"])
def test_uptake_follows_the_osipi_curves_without_noise(name: str) -> None:
    rows = [row for row in _rows("DCEmodels", "data", name) if row["label"].endswith("highSNR")]
    assert rows

    for row in rows:
        time_s, tissue, plasma = (_numbers(row[column]) for column in ("t", "C", "ca"))
        fine_s = np.arange(0, time_s[-1], 0.1)
        kinetics = Kinetics(float(row["Ktrans"]), float(row["ve"]), float(row.get("vp", 0)))
        curve = extended_tofts_mm(np.interp(fine_s, time_s, plasma), 0.1 / 60, kinetics)

        difference = np.abs(np.interp(time_s, fine_s, curve) - tissue).max() / tissue.max()
        assert difference < 0.01  # the reference itself is sampled at 0.5 s


def test_the_gradient_echo_turns_the_osipi_signals_into_their_concentrations() -> None:
    """The reference inverts the signal equation at the baseline's own scale; so do we, and compare."""
    rows = _rows("SI_to_Conc", "data", "SI2Conc_data.csv")
    assert rows

    for row in rows:
        pulse = Pulse("spgr", float(row["TR"]), 0.0, float(row["FA"]))
        concentration, signal = _numbers(row["conc"]), _numbers(row["s"])
        r1 = 1 / float(row["T1base"]) + float(row["r1"]) * concentration
        baseline = signal[1 : int(row["numbaselinepts"])].mean()
        at_rest = spoiled_gradient_echo(np.array([1 / float(row["T1base"])]), np.zeros(1), pulse)
        predicted = baseline * spoiled_gradient_echo(r1, np.zeros_like(r1), pulse) / at_rest

        scale = np.median(signal[signal > 0] / predicted[signal > 0])  # which points are the baseline differs
        assert np.abs(predicted * scale - signal).max() / signal.max() < 0.01


def test_fast_repetition_saturates_tissue_with_long_t1() -> None:
    r1, r2 = np.array([1 / 0.3, 1 / 4.0]), np.array([10.0, 10.0])

    fat, fluid = spin_echo(r1, r2, Pulse("se", 0.55, 0.01, 90))

    assert fat > 5 * fluid


def test_noise_in_air_has_the_mean_of_a_rayleigh_distribution() -> None:
    air = np.zeros((40, 50, 50), np.float32)

    noisy = rician(np.random.default_rng(1), air, 2.0)

    assert noisy.mean() == pytest.approx(2.0 * np.sqrt(np.pi / 2), rel=0.01)  # 1e5 voxels: 0.2 % standard error


def test_noise_on_signal_is_rician() -> None:
    signal = np.full((40, 50, 50), 6.0, np.float32)

    noisy = rician(np.random.default_rng(1), signal, 2.0)

    assert noisy.mean() == pytest.approx(rice.mean(3.0, scale=2.0), rel=0.005)


def test_a_smooth_field_has_the_same_value_at_a_place_whatever_the_grid() -> None:
    field = SmoothField.random(np.random.default_rng(3), wavelength_mm=20)
    turned = np.eye(4)[[2, 0, 1, 3]]

    straight = field.on(np.eye(4), (4, 5, 6))
    other = field.on(turned, (5, 6, 4))

    assert np.allclose(straight, other.transpose(2, 0, 1), atol=1e-4)
