"""Vessels: bright tubes are found, as wide as they are; what is bright and no tube is not; what moves is."""

import numpy as np
import pytest

from node.analysis import MultiscaleDetector, measure
from node.analysis.flow import moving_vessels, share_of_venc
from node.analysis.grid import Grid, grown
from node.analysis.venography import Venography, find_vessels
from node.analysis.vessels import curvatures, noise_of, vessel_mask
from node.findings import POSTERIOR, StudyVolumes
from node.ports import Segmentation
from node.settings import AnalysisSettings
from tests.analysis.phantom import Back, grid, volume
from tests.analysis.running import dice
from tests.analysis.tubes import Drawing, Vessel, draw, hard, plain

GEOMETRY = grid(spacing_mm=(4.0, 2.0, 2.0), size_mm=(60.0, 135.0, 190.0))


def everywhere(drawing: Drawing) -> np.ndarray:
    return np.ones(drawing.share.shape, bool)


def found_in(drawing: Drawing, *, snr: float = 20) -> np.ndarray:
    return vessel_mask(drawing.magnitude(snr=snr), everywhere(drawing), drawing.spacing_mm)


@pytest.mark.slow
@pytest.mark.parametrize("radius_mm", [0.5, 1.0, 2.0, 4.0])
def test_tubes_are_found_as_wide_as_they_are(radius_mm: float):
    drawing = plain(radius_mm)

    assert dice(found_in(drawing), drawing.truth) >= 0.88


@pytest.mark.slow
@pytest.mark.parametrize("radius_mm", [1.0, 2.0, 3.0])
def test_they_are_found_beside_fat_steps_and_each_other(radius_mm: float):
    drawing = hard(radius_mm)

    assert dice(found_in(drawing), drawing.truth) >= 0.85


@pytest.mark.slow
def test_thick_slices_are_no_obstacle():
    drawing = plain(1.6, spacing_mm=(3.0, 0.8, 0.8))

    assert dice(found_in(drawing), drawing.truth) >= 0.85


@pytest.mark.slow
def test_sheets_layers_and_balls_are_no_vessels():
    drawing = hard(1.0)
    without = Drawing(drawing.still, 0 * drawing.blood, 0 * drawing.flow, 0 * drawing.share, drawing.spacing_mm)

    found = found_in(without, snr=40)  # with less noise more of what is faint could be mistaken

    assert found.sum() < 0.4 * drawing.truth.sum()


def test_noise_is_no_vessel():
    noise = np.random.default_rng(3).normal(100, 5, (24, 60, 60)).astype(np.float32)

    assert vessel_mask(noise, np.ones(noise.shape, bool), (1.0, 1.0, 1.0)).mean() < 0.001


def test_nowhere_means_nothing():
    assert not vessel_mask(np.ones((5, 9, 9), np.float32), np.zeros((5, 9, 9), bool), (1.0, 1.0, 1.0)).any()


@pytest.mark.slow
@pytest.mark.parametrize("radius_mm", [1.0, 2.0])
def test_velocity_finds_what_moves_and_not_what_is_bright(radius_mm: float):
    drawing = hard(radius_mm)
    magnitude, velocity = drawing.phase_contrast(snr=20)
    noise = noise_of(magnitude, everywhere(drawing), drawing.spacing_mm)

    found = moving_vessels(magnitude, velocity, everywhere(drawing), noise, drawing.spacing_mm)

    assert dice(found, drawing.truth) >= 0.88
    assert dice(found, drawing.truth) > dice(found_in(drawing), drawing.truth)


def vein_in_muscle_and_air() -> tuple[np.ndarray, np.ndarray]:
    vessel = Vessel(lambda t: (48 * t, 20 + 0 * t, 24 + 0 * t), lambda t: np.full(t.shape, 2.0))
    drawing = draw([vessel], lambda head, back, left: np.where(back < 38, 1.0, 0.0) + 0 * head * left, (2.0, 1.0, 1.0))
    return drawing.phase_contrast(snr=20)


@pytest.mark.parametrize(
    ("makers", "slope", "intercept"),
    [("cm/s", 15.0, 0.0), ("mm/s", 150.0, 0.0), ("levels", 2048.0, 2048.0), ("turned", -3142.0, 0.0)],
)
def test_the_air_shows_the_scale_of_velocities(makers: str, slope: float, intercept: float):
    magnitude, velocity = vein_in_muscle_and_air()

    share = share_of_venc((slope * velocity + intercept).astype(np.float32), magnitude)

    assert share is not None
    assert np.abs(np.sign(slope) * share - velocity)[magnitude > 0.5].max() < 0.03


def test_velocities_with_masked_air_are_not_guessed_at():
    magnitude, velocity = vein_in_muscle_and_air()

    assert share_of_venc(np.where(magnitude < 0.3, 0, 15 * velocity).astype(np.float32), magnitude) is None


def test_curvatures_are_the_eigenvalues_of_the_bends_also_where_two_or_all_are_equal():
    bends = np.random.default_rng(0).normal(size=(500, 6))
    bends[0], bends[1], bends[2] = [0, 0, 0, 0, 0, 0], [-3, 0, 0, -3, 0, -3], [-2, 0, 0, -2, 0, 1]

    expected = -np.linalg.eigvalsh(bends[:, [0, 1, 2, 1, 3, 4, 2, 4, 5]].reshape(-1, 3, 3))

    assert np.allclose(curvatures(bends), expected, atol=1e-7)


def test_where_vessels_were_not_looked_for_none_is_said_to_be():
    points = GEOMETRY.to_lps(np.moveaxis(np.indices(GEOMETRY.shape, dtype=float), 0, -1))
    series = volume(Back().draw(points, contrast=False), GEOMETRY)
    post = Grid.of(series)
    muscle, plexus = np.zeros((2, *GEOMETRY.shape), bool)
    head, back, left = (size // 2 for size in GEOMETRY.shape)
    muscle[:, back : back + 6, left + 4 : left + 12] = True
    plexus[head, back - 10, left] = True

    vessels, _ = find_vessels(Venography.of(series), post, muscle, plexus, AnalysisSettings())

    known = np.isfinite(vessels.share)
    assert known[muscle | plexus].all()
    assert np.array_equal(known, grown(muscle, 15.0, post.spacing_mm) | plexus)


class Outlines:
    """Compartments as they are painted, and a psoas far in front of them."""

    name, version = "outlines", "1"

    def segment(self, volume, *, spacing_mm):
        points = GEOMETRY.to_lps(np.moveaxis(np.indices(volume.shape, dtype=float), 0, -1))
        muscles = np.where(Back.muscle(points, 1) > 0.5, 1, np.where(Back.muscle(points, -1) > 0.5, 2, 0))
        x, y, _ = np.moveaxis(points, -1, 0)
        psoas = [np.hypot(x - side * 40, y + 35) < 12 for side in (1, -1)]
        parts = np.select([*psoas, muscles == 1, muscles == 2], [5, 6, 1, 2])
        every = np.ones(len(volume), bool)
        body, canal = np.ones(volume.shape, bool), np.hypot(x, y) < 9
        return Segmentation(muscles.astype(np.uint8), body, canal, every, (), "high", parts.astype(np.uint8))


def test_of_an_mrv_alone_a_muscle_beside_the_compartment_is_not_said_to_be_without_vessels():
    points = GEOMETRY.to_lps(np.moveaxis(np.indices(GEOMETRY.shape, dtype=float), 0, -1))
    noise = np.random.default_rng(1).normal(0, 0.1, GEOMETRY.shape)
    mrv = volume(np.abs(Back().venography(points) + noise), GEOMETRY)

    found = measure(
        StudyVolumes(None, None, mrv), settings=AnalysisSettings(), segmenter=Outlines(), detector=MultiscaleDetector()
    ).findings

    fractions = {(one.muscle, one.vessel_fraction_pct is None) for one in found.levels}
    assert fractions == {(POSTERIOR, False), ("multifidus", False), ("psoas", True)}
