"""Registration: finds a movement that is known, and says what it left."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from node.analysis.grid import Grid
from node.analysis.pairing import back_region
from node.analysis.registration import align
from node.analysis.resampling import Movement, bring
from tests.analysis.phantom import Back, Points, grid, pair

GRID = grid(spacing_mm=(4.0, 1.2, 1.2), size_mm=(72.0, 135.0, 190.0))
CENTRE = np.array([0.0, 40.0, 0.0])


def moved(degrees: tuple[float, float, float], shift_mm: tuple[float, float, float]) -> Movement:
    return Movement(Rotation.from_euler("xyz", degrees, degrees=True).as_matrix(), np.array(shift_mm), CENTRE)


def muscles(geometry_points: Points) -> Points:
    back = Back()
    inside = back.muscle(geometry_points, 1) + back.muscle(geometry_points, -1) > 0.5
    return geometry_points[inside][::50]


def series(movement: Movement) -> tuple[Grid, Grid]:
    pre, post = pair(Back(left=0.4, right=0.3), GRID, snr=30, gain=1.2, movement=movement.inverse().apply)
    return Grid.of(pre), Grid.of(post)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("degrees", "shift_mm"),
    [((1, -1, 3), (3, -4, 1.5)), ((-0.5, 1, -4), (-6, 2, -2))],
)
def test_a_known_movement_is_found(degrees, shift_mm):
    truth = moved(degrees, shift_mm)
    pre, post = series(truth)
    points = GRID.to_lps(np.stack(np.indices(GRID.shape, dtype=float), axis=-1))
    body = points[..., 1] < 74

    found = align(post, pre, back_region(post.axes.apply(body), post.spacing_mm), same_contrast=True)

    where = muscles(points)
    assert found is not None
    errors = np.linalg.norm(found.movement.apply(where) - truth.apply(where), axis=1)
    assert np.median(errors) <= 0.4
    assert found.residual_mm <= 0.2
    assert found.inconsistency_mm <= 0.3


@pytest.mark.slow
def test_what_a_rigid_movement_cannot_mend_is_measured():
    def shear(points: Points) -> Points:  # either side slides the other way, by 1 mm
        return points + np.stack([0 * points[..., 0], np.tanh(points[..., 0] / 5), 0 * points[..., 0]], axis=-1)

    pre, post = (Grid.of(one) for one in pair(Back(), GRID, snr=30, movement=shear))
    points = GRID.to_lps(np.stack(np.indices(GRID.shape, dtype=float), axis=-1))

    found = align(post, pre, back_region(points[..., 1] < 74, post.spacing_mm), same_contrast=True)

    assert found is not None
    # 1 mm along one of two axes is 0.7 mm per axis; a turn mends a part of it.
    assert 0.2 < found.residual_mm < 0.8


def test_a_series_brought_back_from_a_movement_has_its_signal_where_it_was():
    movement = moved((0, 0, 2), (3.0, -2.0, 0))
    still, _ = pair(Back(), GRID)
    strayed, _ = pair(Back(), GRID, movement=movement.inverse().apply)
    wanted, found = Grid.of(still), Grid.of(strayed)

    signal, covered = bring(found.signal, found.geometry, wanted.geometry, movement)

    middle = np.s_[3:15, 60:100, 40:110]
    assert covered[middle].all()
    assert not covered[:, :, -1].any()
    assert np.median(np.abs(signal - wanted.signal)[middle]) < 1  # of muscle's 100
    assert np.percentile(np.abs(signal - wanted.signal)[middle], 90) < 10  # edges are half a millimetre sharp


def test_a_movement_and_its_inverse_undo_one_another():
    movement = moved((3, -2, 5), (4, 5, 6))
    points = np.random.default_rng(0).normal(0, 50, (20, 3))

    assert movement.inverse().apply(movement.apply(points)) == pytest.approx(points)
    assert movement.angle_deg == pytest.approx(6.2, abs=0.3)
    assert movement.translation_mm == pytest.approx(77**0.5)
