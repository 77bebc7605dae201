"""Curves whose onset, slope, peak and end are drawn by hand."""

import numpy as np
import numpy.typing as npt
import pytest

from node.analysis.kinetics import describe, onset_frame

Curve = npt.NDArray[np.float64]
_TIMES_S = np.arange(0.0, 300.0, 5.0)


def _curve(*corners: tuple[float, float]) -> Curve:
    """Return a signal of 200 before contrast that enhances, in percent, along straight lines between (s, %)."""
    at_s, rise = zip(*corners, strict=True)
    curve: Curve = 200 * (1 + np.interp(_TIMES_S, at_s, rise) / 100)
    return curve


def test_a_rise_that_begins_and_ends_on_time_points_is_measured_as_it_was_drawn() -> None:
    found = describe(_TIMES_S, _curve((30, 0), (50, 80), (110, 60), (300, 60)), before=6)

    assert found is not None
    assert found.onset_s == pytest.approx(30.5, abs=0.1)  # 4 times 0.5 % of the baseline is reached after 0.5 s
    assert found.time_to_peak_s == pytest.approx(19.5, abs=0.1)
    assert found.peak_enhancement_pct == pytest.approx(80)
    assert found.first_minute_enhancement_pct == pytest.approx(80)
    assert found.wash_in_pct_per_s == pytest.approx(4)
    assert found.iauc60 == pytest.approx(19.5 * 41 + 40.5 * 73.25, rel=0.002)
    assert found.iauc90 == pytest.approx(found.iauc60 + (60.5 + 66.5) / 2 * 19.5 + 60 * 10.5, rel=0.01)


@pytest.mark.parametrize(
    ("late_rise", "expected"),
    [(100.0, "persistent"), (75.0, "plateau"), (60.0, "plateau"), (40.0, "wash-out")],
)
def test_the_type_of_the_curve_is_what_the_signal_does_after_two_minutes(late_rise: float, expected: str) -> None:
    found = describe(_TIMES_S, _curve((30, 0), (90, 70), (150, 70), (250, late_rise), (300, late_rise)), before=6)

    assert found is not None
    assert found.curve == expected


def test_a_series_that_ends_early_has_no_type_and_no_areas() -> None:
    short = slice(0, 14)  # until 65 s: 35 s after the onset

    found = describe(_TIMES_S[short], _curve((30, 0), (50, 80), (300, 80))[short], before=6)

    assert found is not None
    assert found.peak_enhancement_pct == pytest.approx(80)
    assert (found.curve, found.iauc60, found.iauc90, found.first_minute_enhancement_pct) == (None, None, None, None)


def test_noise_alone_has_no_onset() -> None:
    noise = 200 + np.random.default_rng(3).normal(0, 4, (60, len(_TIMES_S)))

    late = [onset_frame(curve, before=6) for curve in noise]

    assert sum(one is not None for one in late) <= 1  # two values in a row, each 4 deviations up


def test_contrast_is_seen_when_it_comes_even_after_a_single_time_point() -> None:
    assert onset_frame(_curve((0, 0), (20, 60), (300, 60))) == 1


def test_a_region_that_does_not_enhance_or_has_no_signal_has_no_kinetics() -> None:
    assert describe(_TIMES_S, np.full(len(_TIMES_S), 200.0), before=6) is None
    assert describe(_TIMES_S, 200 - _curve((30, 0), (50, 80), (300, 80)), before=6) is None


def test_values_are_those_of_the_curve_under_noise_of_one_percent() -> None:
    drawn = _curve((30, 0), (60, 80), (300, 80))
    noisy = drawn * (1 + np.random.default_rng(5).normal(0, 0.01, drawn.shape))

    found = describe(_TIMES_S, noisy, before=6)

    assert found is not None
    assert found.iauc60 is not None
    assert found.onset_s == pytest.approx(31.5, abs=2)
    assert found.peak_enhancement_pct == pytest.approx(80, abs=6)  # the largest of 48 draws: 2.2 deviations of 1.8 %
    assert found.iauc60 == pytest.approx(80 * 60 - 80 * 30 / 2, rel=0.05)
    assert found.curve == "plateau"
