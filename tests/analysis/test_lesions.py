"""Lesions: found where they were painted, and described as they were painted."""

import numpy as np
import pytest

from node.analysis.lesions import Scene, axes_mm, keep_and_describe, where_to_look
from node.findings import Outcome, Side
from node.ports import Candidate
from node.settings import AnalysisSettings
from tests.analysis.phantom import Back, Ball, Scanner, Tube, grid, pair
from tests.analysis.running import only_lesion, run, side

SPACING_MM = (4.0, 1.2, 1.2)
GRID = grid(spacing_mm=SPACING_MM, size_mm=(48.0, 135.0, 190.0))
LESION = Ball((41.0, 40.0, 6.0), 6.0, enhancement=1.1)


@pytest.fixture(scope="module")
def measured():
    return run(*pair(Back(lesions=(LESION,)), GRID, snr=30, gain=1.2, shading_mm=140))


@pytest.mark.slow
def test_a_lesion_is_found_where_it_is(measured):
    lesion = only_lesion(measured.findings)

    distance = np.linalg.norm(np.subtract(lesion.centroid_mm, LESION.centre_mm))
    assert distance <= max(LESION.radius_mm, SPACING_MM[0])
    assert lesion.side is Side.LEFT
    assert (measured.findings.outcome, measured.findings.grade) == (Outcome.FINDINGS, 2)


@pytest.mark.slow
def test_a_lesion_is_as_large_and_as_bright_as_painted(measured):
    lesion = only_lesion(measured.findings)

    # Partial volume: voxels half inside count from half the height, so the border is a voxel wide.
    assert lesion.long_axis_mm == pytest.approx(12, abs=2)
    assert lesion.short_axis_mm == pytest.approx(12, abs=2)
    assert lesion.enhancement_pct == pytest.approx(110, rel=0.1)
    assert lesion.muscle_ratio == pytest.approx(1.10 / 0.35, rel=0.15)
    assert lesion.midline_distance_mm == pytest.approx(41, abs=2)
    assert lesion.skin_distance_mm == pytest.approx(34.5, abs=2.5)


@pytest.mark.slow
def test_regions_lie_on_the_post_contrast_series_as_it_was_acquired(measured):
    regions = measured.regions

    assert regions.reference == "post"
    assert regions.lesions is not None
    assert regions.lesions.shape == GRID.shape
    centre = GRID.to_lps(np.argwhere(regions.lesions == 1)).mean(axis=0)
    assert centre == pytest.approx(only_lesion(measured.findings).centroid_mm)


@pytest.mark.slow
def test_a_lesion_does_not_lift_the_muscle_around_it(measured):
    assert side(measured.findings, Side.LEFT).enhancement_pct == pytest.approx(35, abs=3)


@pytest.mark.slow
def test_a_rim_with_a_dark_core_is_one_lesion():
    rim = Ball((-40.0, 39.0, 0.0), 9.0, core=0.5)

    lesion = only_lesion(run(*pair(Back(lesions=(rim,)), GRID, snr=30)).findings)

    assert lesion.side is Side.RIGHT
    assert lesion.long_axis_mm == pytest.approx(18, abs=2.5)
    assert np.linalg.norm(np.subtract(lesion.centroid_mm, rim.centre_mm)) <= 4


@pytest.mark.slow
def test_vessels_on_the_mrv_support_a_lesion():
    x, y, z = LESION.centre_mm
    feeders = tuple(Tube((x + dx, y, z - 9), (x + dx, y, z + 9), 1.2) for dx in (-3.0, 0.0, 3.0))
    back = Back(lesions=(LESION,), vessels=feeders)
    pre, post = pair(back, GRID, snr=30)
    venous = grid(spacing_mm=(3.0, 1.0, 1.0), size_mm=(60.0, 140.0, 190.0))
    mrv = Scanner(snr=30, seed=9).acquire(back.venography, venous)

    measured = run(pre, post, mrv)

    lesion = measured.findings.lesions[0]
    assert lesion.vascularity_increased
    assert measured.findings.grade == 3
    assert measured.findings.inputs == ("pre", "post", "mrv")
    assert measured.regions.vessels is not None
    assert measured.regions.vessels.shape == venous.shape


def test_diameters_are_those_of_the_outline():
    region = np.zeros((3, 20, 20), bool)
    region[1, 5:9, 4:16] = True

    long_mm, short_mm = axes_mm(region, 0, (4.0, 1.0, 1.0))

    assert long_mm == pytest.approx(np.hypot(12, 4))
    assert short_mm == pytest.approx(2 * 12 * 4 / np.hypot(12, 4))


def test_foci_are_looked_for_in_the_bays_of_a_muscle_and_just_beside_it_but_not_between_the_muscles():
    muscles = np.zeros((3, 60, 100), np.uint8)
    muscles[:, 10:50, 5:42], muscles[:, 10:50, 58:95] = 2, 1
    muscles[:, 45:50, 20:26] = 0  # a bay

    room = where_to_look(muscles, (4.0, 1.0, 1.0))

    assert room[muscles > 0].all()
    assert room[:, 45:50, 20:26].all()
    assert room[:, 30, 2:5].all()
    assert not room[:, :, 46:54].any()
    assert not room[:, :5].any()


@pytest.mark.parametrize(("column", "expected"), [(54, Side.LEFT), (46, Side.RIGHT)])
def test_a_focus_beside_the_outline_is_on_the_side_of_the_midline_that_it_lies_on(column, expected):
    muscles = np.zeros((5, 40, 100), np.uint8)
    muscles[:, 5:35, 5:42], muscles[:, 5:35, 58:95] = 2, 1
    region = np.zeros(muscles.shape, bool)
    region[1:4, 18:22, column - 2 : column + 2] = True
    pre = np.full(muscles.shape, 100, np.float32)
    post = np.where(region, 230, 140).astype(np.float32)
    geometry = grid(spacing_mm=(4.0, 1.0, 1.0), size_mm=(20.0, 40.0, 100.0))
    scene = Scene(pre, post, muscles, muscles > 0, np.ones(muscles.shape, bool), None, geometry, 0)

    kept = keep_and_describe([Candidate(region, 5.0)], scene, AnalysisSettings())

    assert [one.findings.side for one in kept] == [expected]
