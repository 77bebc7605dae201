"""Registration: finds a movement that is known, and says what it left."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from node.analysis.grid import Grid
from node.analysis.pairing import back_region, check_fit
from node.analysis.pairing import pair as pair_up
from node.analysis.registration import Alignment, align
from node.analysis.resampling import Movement, Slip, bring, bring_mask, bring_share
from node.dicom.dynamics import read_time_points, time_points
from node.dicom.geometry import Geometry
from node.dicom.stacks import split
from node.dicom.volumes import by_uid
from node.ports import Mask
from node.settings import AnalysisSettings
from node.simulator import simulate
from tests.analysis.phantom import Back, Points, Scanner, Tube, grid, pair
from tests.simulator.studies import coarse

GRID = grid(spacing_mm=(4.0, 1.3, 1.3), size_mm=(48.0, 105.0, 140.0))
CENTRE = np.array([0.0, 40.0, 0.0])


def moved(degrees: tuple[float, float, float], shift_mm: tuple[float, float, float]) -> Movement:
    return Movement(Rotation.from_euler("xyz", degrees, degrees=True).as_matrix(), np.array(shift_mm), CENTRE)


def muscles(geometry_points: Points) -> Points:
    back = Back()
    inside = back.muscle(geometry_points, 1) + back.muscle(geometry_points, -1) > 0.5
    return geometry_points[inside][::50]


_SMALL = ((1, -1, 3), (3, -4, 1.5))


@cache
def series(degrees: tuple[float, float, float], shift_mm: tuple[float, float, float]) -> tuple[Grid, Grid]:
    back = moved(degrees, shift_mm).inverse().apply
    pre, post = pair(Back(left=0.4, right=0.3), GRID, snr=30, gain=1.2, movement=back)
    return Grid.of(pre), Grid.of(post)


def region(post: Grid) -> Mask:
    body = post.geometry.to_lps(np.stack(np.indices(post.geometry.shape, dtype=float), axis=-1))[..., 1] < 74
    return back_region(body, post.spacing_mm)


def errors_mm(found: Alignment | None, truth: Movement) -> Points:
    """Return the error, LPS, at places of the muscle, shape (n, 3)."""
    where = muscles(GRID.to_lps(np.stack(np.indices(GRID.shape, dtype=float), axis=-1)))
    assert found is not None
    return found.movement.apply(where) - truth.apply(where)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("degrees", "shift_mm"),
    [_SMALL, ((-0.5, 1, -4), (-6, 2, -2)), ((2, -2, 5), (5, -7, 4))],
)
def test_a_known_movement_is_found(degrees, shift_mm):
    truth = moved(degrees, shift_mm)
    pre, post = series(degrees, shift_mm)

    found = align(post, pre, region(post), same_contrast=True)

    missed = errors_mm(found, truth)
    assert np.median(np.linalg.norm(missed, axis=1)) <= 0.15
    assert np.linalg.norm(missed, axis=1).max() <= 0.2
    assert np.abs(missed[:, :2]).max() <= 0.05  # within the axial planes
    assert found.residual_mm <= 0.1
    assert found.inconsistency_mm <= 0.3
    assert found.movement.slip is None


@pytest.mark.slow
def test_an_image_of_another_contrast_is_found_along_the_slices_too():
    truth = moved((0.5, -0.5, 2), (3, -2, 1))
    back = Back(vessels=[Tube((60, 30, -40), (25, 45, 40), 1.5)])
    post = Grid.of(Scanner(snr=30, seed=1).acquire(lambda at: back.draw(at, contrast=True), GRID))
    mrv = Grid.of(Scanner(seed=2).acquire(back.venography, GRID, movement=truth.inverse().apply))

    found = align(post, mrv, region(post), same_contrast=False)

    missed = errors_mm(found, truth)
    assert np.abs(missed[:, :2]).max() <= 0.2
    assert np.abs(missed[:, 2]).max() <= 0.6
    assert np.isnan(found.residual_mm)


@pytest.mark.slow
def test_series_of_two_frames_of_reference_are_joined_where_the_bodies_fit():
    pre, post = series(*_SMALL)
    offset_mm = np.array([40.0, -25.0, 60.0])
    elsewhere = pre.geometry.affine.copy()
    elsewhere[:3, 3] += offset_mm
    strayed = replace(pre, geometry=Geometry(elsewhere, pre.geometry.shape, "1.2.3"))

    joined = pair_up(post, strayed, AnalysisSettings())

    assert not joined.verdict.refused
    assert joined.residual_mm <= 0.1
    assert joined.movement is not None
    where = muscles(GRID.to_lps(np.stack(np.indices(GRID.shape, dtype=float), axis=-1)))
    missed = joined.movement.apply(where) - moved(*_SMALL).apply(where) - offset_mm
    assert np.linalg.norm(missed, axis=1).max() <= 0.25


@pytest.mark.slow
def test_the_same_series_give_the_same_bits():
    pre, post = series(*_SMALL)

    one, other = (align(post, pre, region(post), same_contrast=True) for _ in range(2))

    assert one is not None
    assert other is not None
    assert np.array_equal(one.movement.rotation, other.movement.rotation)
    assert np.array_equal(one.movement.shift, other.movement.shift)
    assert (one.residual_mm, one.inconsistency_mm) == (other.residual_mm, other.inconsistency_mm)


def slipped(points: Points) -> Points:
    """Return where the slices of the pre-contrast series lie: they wander within their planes."""
    height = points[..., 2] / 14
    return points + np.stack([0.5 * np.cos(height), 0.8 * np.sin(height), 0 * height], axis=-1)


@pytest.mark.slow
def test_slices_that_slipped_are_brought_back_and_said_to_have_slipped():
    back = Back(left=0.4, right=0.3)
    pre, post = (Grid.of(one) for one in pair(back, GRID, snr=30, movement=slipped))

    fitted = pair_up(post, pre, AnalysisSettings())

    assert fitted.movement is not None
    where = muscles(GRID.to_lps(np.stack(np.indices(GRID.shape, dtype=float), axis=-1)))
    missed = fitted.movement.apply(where) - (2 * where - slipped(where))
    assert np.median(np.linalg.norm(missed, axis=1)) <= 0.25  # 0.7 without: a tilt takes the place of the slip
    assert np.percentile(np.abs(missed[:, :2]), 95) <= 0.15
    assert fitted.residual_mm <= 0.12
    assert "slices were moved back" in " ".join(one.text for one in fitted.focal.caveats)


@pytest.mark.slow
@pytest.mark.parametrize("slices", [8, 10])
def test_a_short_stack_whose_tissues_enhance_and_that_lies_still_stays_where_it_is(slices):
    recipe = coarse(
        slices=slices, series=("dynamic",), lesions=(), time_points=3, points_before=1, time_step_s=40.0
    )  # fmt: skip
    instances = simulate(recipe).of("dynamic")
    points = time_points(split(instances), 1)
    first, *_, last = (
        Grid.of(one) for one in read_time_points(points, by_uid(instances).__getitem__, largest_bytes=1 << 28)
    )

    found = pair_up(last, first, AnalysisSettings())

    assert not found.verdict.refused
    assert found.movement is not None
    corners = last.geometry.to_lps(np.array([[0, 0, 0], last.geometry.shape]))
    assert np.linalg.norm(found.movement.apply(corners) - corners, axis=1).max() < 0.5


@pytest.mark.slow
def test_what_a_rigid_movement_cannot_mend_is_measured():
    def shear(points: Points) -> Points:  # either side slides the other way, by 1 mm
        return points + np.stack([0 * points[..., 0], np.tanh(points[..., 0] / 5), 0 * points[..., 0]], axis=-1)

    pre, post = (Grid.of(one) for one in pair(Back(), GRID, snr=30, movement=shear))

    found = align(post, pre, region(post), same_contrast=True)

    assert found is not None
    # 1 mm along one of two axes is 0.7 mm per axis; a turn mends a good part of it.
    assert 0.15 < found.residual_mm < 0.8


def test_a_series_brought_back_from_a_movement_has_its_signal_where_it_was():
    movement = moved((0, 0, 2), (3.0, -2.0, 0))
    still, _ = pair(Back(), GRID)
    strayed, _ = pair(Back(), GRID, movement=movement.inverse().apply)
    wanted, found = Grid.of(still), Grid.of(strayed)

    signal, covered = bring(found.signal, found.geometry, wanted.geometry, movement)

    middle = np.s_[2:10, 30:70, 20:85]
    assert covered[middle].all()
    assert not covered[:, :, -1].any()
    assert np.median(np.abs(signal - wanted.signal)[middle]) < 1  # of muscle's 100
    assert np.percentile(np.abs(signal - wanted.signal)[middle], 90) < 10  # edges are half a millimetre sharp


@pytest.mark.parametrize("orientation", ["axial", "sagittal-flipped"])
def test_a_series_is_brought_back_from_a_slip_slice_by_slice(orientation):
    onto = grid(orientation, spacing_mm=(4.0, 4.0, 4.0), size_mm=(96.0, 96.0, 96.0))
    none = Slip.none(onto, 0, 12.0)
    slip = replace(none, shifts=np.random.default_rng(0).normal(0, 1, none.shifts.shape))
    movement = replace(moved((1, -2, 3), (1.0, 2.0, -1.0)), slip=slip)
    places = onto.to_lps(np.stack(np.indices(onto.shape, dtype=float), axis=-1))

    for axis in range(3):  # a signal that is a coordinate says where it was taken
        signal, _ = bring(places[..., axis].astype(np.float32), onto, onto, movement)

        missed = (signal - movement.apply(places)[..., axis])[5:-5, 5:-5, 5:-5]
        assert np.abs(missed).max() < 0.02


def test_a_movement_and_its_inverse_undo_one_another():
    movement = moved((3, -2, 5), (4, 5, 6))
    points = np.random.default_rng(0).normal(0, 50, (20, 3))

    assert movement.inverse().apply(movement.apply(points)) == pytest.approx(points)
    assert movement.angle_deg == pytest.approx(6.2, abs=0.3)
    assert movement.translation_mm == pytest.approx(77**0.5)


@pytest.mark.parametrize("slipped", [False, True])
def test_a_mask_is_brought_to_where_the_whole_volume_would_bring_it(slipped):
    random = np.random.default_rng(3)
    here, there = (
        grid(spacing_mm=(4.0, 1.3, 1.1), size_mm=(40, 40, 44)),
        grid(spacing_mm=(3.0, 2, 1), size_mm=(45, 50, 40)),
    )
    turned = Movement(Rotation.from_euler("xyz", (4, -9, 7), degrees=True).as_matrix(), np.array([3.0, -4, 5]), CENTRE)
    slip = Slip.none(there, 0, 9.0)
    slip = replace(slip, shifts=random.normal(0, 3, slip.shifts.shape))
    movement = replace(turned, slip=slip) if slipped else turned
    for _ in range(10):
        mask = np.zeros(here.shape, bool)
        ends = [sorted(random.integers(0, size + 1, 2)) for size in here.shape]
        mask[tuple(slice(*pair_of) for pair_of in ends)] = True

        assert np.array_equal(bring_mask(mask, here, there, movement), bring_share(mask, here, there, movement) >= 0.5)


def drifting(points: Points) -> Points:
    """Return where the patient lay at rest: 0.8 mm to the back and 0.4 to the left over the 48 mm of the stack."""
    return points + points[..., 2:] / 48 * np.array([0.4, 0.8, 0.0])


@pytest.mark.slow
def test_an_even_drift_that_looks_like_a_tilt_is_said_to_reduce_sensitivity():
    back = Back(left=0.4, right=0.3)
    pre, post = (Grid.of(one) for one in pair(back, GRID, snr=30, gain=1.2, movement=drifting))

    fitted = pair_up(post, pre, AnalysisSettings())

    assert fitted.residual_mm < 0.06  # within the planes all fits
    assert not next(one for one in fitted.focal.gates if one.code == "REG-5").passed
    (said,) = (one.text for one in fitted.focal.caveats if one.code == "REG-5")
    assert "reduced sensitivity" in said
    assert not fitted.focal.refused


@pytest.mark.slow
@pytest.mark.parametrize(
    ("degrees", "shift_mm"), [((0.0, 0.0, 0.0), (0.0, 0.0, 0.0)), ((0.8, 0.5, 0.0), (0.5, 0.3, 1.0))]
)
def test_a_tilt_is_not_taken_for_a_drift(degrees, shift_mm):
    pre, post = series(degrees, shift_mm)

    found = align(post, pre, region(post), same_contrast=True)

    assert found.drift_mm < AnalysisSettings().good_residual_mm


@pytest.mark.parametrize(("slip", "said"), [(None, ["REG-5"]), (Slip.none(GRID, 0, 12.0), ["REG-3"])])
def test_a_drift_that_could_not_be_fitted_is_not_judged_and_that_is_said(slip, said):
    movement = replace(Movement.none(np.zeros(3)), slip=slip)

    verdict = check_fit(Alignment(movement, 0.1, 0.05, float("nan")), AnalysisSettings())

    assert [one.code for one in verdict.caveats] == said
    assert all(not gate.passed and gate.found == "not measured" for gate in verdict.gates if gate.code == "REG-5")
    assert ("could not be judged" in verdict.caveats[0].text) == (slip is None)
