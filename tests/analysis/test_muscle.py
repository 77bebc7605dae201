"""Muscle: what it enhances by, on which side, whatever the gain."""

import numpy as np
import pytest

from node.analysis.enhancement import enhancing_core, lean_muscle, relative_enhancement, signal_to_noise
from node.analysis.gain import receiver_gain, reference_fat
from node.analysis.grid import Grid
from node.findings import Outcome, Side
from tests.analysis.phantom import FAT_ENHANCEMENT, Back, Scanner, grid, pair
from tests.analysis.running import run, side

SMALL = grid(spacing_mm=(4.0, 1.5, 1.5), size_mm=(40.0, 135.0, 190.0))


@pytest.mark.slow
def test_without_noise_the_enhancement_is_what_was_painted():
    findings = run(*pair(Back(left=0.45, right=0.30), SMALL, shading_mm=140)).findings

    # Voxels at the borders are partly fat, and medians shrug them off: one point is left for interpolation.
    assert side(findings, Side.LEFT).enhancement_pct == pytest.approx(45, abs=1)
    assert side(findings, Side.RIGHT).enhancement_pct == pytest.approx(30, abs=1)


@pytest.mark.slow
@pytest.mark.parametrize("gain", [0.55, 1.9])
def test_with_noise_and_any_gain_the_enhancement_is_within_three_points(gain: float):
    pre, post = pair(Back(left=0.45, right=0.30), SMALL, snr=30, gain=gain, shading_mm=140)

    findings = run(pre, post).findings

    assert side(findings, Side.LEFT).enhancement_pct == pytest.approx(45, abs=3)
    assert side(findings, Side.RIGHT).enhancement_pct == pytest.approx(30, abs=3)


@pytest.mark.parametrize("rise", [0.0, 0.4, 0.8])
def test_the_gain_is_that_of_the_receiver_however_much_muscle_enhances(rise: float):
    # A gain taken from muscle would come out as 1.3 x (1 + rise), and every enhancement as nothing.
    back = Back(left=rise, right=rise)
    pre, post = pair(back, SMALL, snr=30, gain=1.3)
    before, after = Grid.of(pre), Grid.of(post)
    indices = np.stack(np.indices(before.signal.shape, dtype=float), axis=-1)
    points = before.geometry.to_lps(indices)
    muscle = (back.muscle(points, 1) + back.muscle(points, -1)) > 0.5
    body = points[..., 1] < 76

    fat = reference_fat(before.signal, body, muscle, before.spacing_mm)
    gain = receiver_gain(before.signal, after.signal, fat, fat_enhancement=1 + FAT_ENHANCEMENT)

    assert gain is not None
    assert gain.factor == pytest.approx(1.3, rel=0.01)


@pytest.mark.slow
def test_a_side_that_enhances_more_is_named_and_graded_as_regional():
    findings = run(*pair(Back(left=0.30, right=0.50), SMALL, snr=30)).findings

    assert side(findings, Side.RIGHT).asymmetry_pct == pytest.approx(25, abs=4)  # (50 - 30) / (50 + 30)
    assert side(findings, Side.LEFT).asymmetry_pct == pytest.approx(-25, abs=4)
    assert findings.lesions == ()
    assert (findings.outcome, findings.grade) == (Outcome.FINDINGS, 1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_a_healthy_back_has_no_findings(seed: int):
    measured = run(*pair(Back(), SMALL, snr=25, shading_mm=140, seed=seed))

    assert (measured.findings.outcome, measured.findings.grade) == (Outcome.NO_FINDINGS, 0)
    assert measured.regions.lesions is None


@pytest.mark.slow
def test_the_same_input_gives_the_same_bits():
    pre, post = pair(Back(), SMALL, snr=30, gain=1.1)

    first, second = run(pre, post), run(pre, post)

    assert first.findings == second.findings
    assert np.array_equal(first.regions.muscles, second.regions.muscles)


def test_noise_is_measured_where_the_air_is_masked_to_nothing():
    back = Back(streaks=False)
    image = Grid.of(Scanner(snr=20).acquire(lambda points: back.draw(points, contrast=False), SMALL))
    points = image.geometry.to_lps(np.stack(np.indices(image.signal.shape, dtype=float), axis=-1))
    muscle = back.muscle(points, 1) > 0.99

    assert signal_to_noise(image.signal * (points[..., 1] < 76), muscle) == pytest.approx(20, rel=0.1)


def test_where_half_of_the_muscle_is_fat_the_lean_part_is_muscle_and_not_fat():
    random = np.random.default_rng(0)
    fat = np.zeros((6, 80, 80), bool)
    fat[:, :, 20:60].reshape(6, 80, 4, 10)[..., :6] = True  # bands: 60 % of the middle, none of the sides
    signal = np.where(fat, 240, 100) + random.normal(0, 3, fat.shape)

    lean = lean_muscle(signal.astype(np.float32), np.ones(fat.shape, bool), (4.0, 1.0, 1.0))

    inner = np.s_[:, :, 25:55]
    assert lean[inner][~fat[inner]].mean() > 0.7  # beside fat a voxel is blurred with it
    assert lean[inner][fat[inner]].mean() < 0.05
    assert lean[:, :, :15].all()


def test_a_ball_of_8_mm_enhances_by_what_its_inside_does():
    spacing_mm, shape, fine = (4.0, 1.0, 1.0), (7, 20, 20), (8, 3, 3)
    places = np.stack(np.indices(np.multiply(shape, fine)), axis=-1) + 0.5
    parts = [size for pair_of in zip(shape, fine, strict=True) for size in pair_of]
    # Not with its middle between two slices: both are then partly muscle throughout, and 6 points are lost.
    for middle_mm in ((13.0, 10.1, 10.4), (14.0, 9.7, 10.2)):
        away_mm = np.linalg.norm(places * np.divide(spacing_mm, fine) - middle_mm, axis=-1)
        share = (away_mm < 4).reshape(parts).mean(axis=(1, 3, 5))
        pre = (100 - 8 * share).astype(np.float32)
        post = (100 * 1.4 * (1 - share) + 92 * 2.05 * share).astype(np.float32)

        core = enhancing_core(pre, post, share >= 0.5, 40.0, spacing_mm)

        assert relative_enhancement(pre, post, core) == pytest.approx(105, abs=1)
        assert core.sum() >= 20  # a few voxels more keep the noise down
