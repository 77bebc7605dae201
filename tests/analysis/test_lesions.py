"""Lesions: found where they were painted, and described as they were painted."""

import numpy as np
import pytest

from node.analysis.decision import summary
from node.analysis.foci import apart
from node.analysis.lesions import Scene, axes_mm, keep_and_describe, where_to_look
from node.analysis.verdict import Verdict
from node.dicom.geometry import Geometry
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


@pytest.mark.slow
def test_muscle_beyond_a_short_mrv_is_not_without_vessels():
    vein = Tube((-40.0, 40.0, 2.0), (-30.0, 40.0, 22.0), 1.5)
    back = Back(vessels=(vein,))
    pre, post = pair(back, GRID, snr=30)
    venous = grid(spacing_mm=(3.0, 1.0, 1.0), size_mm=(60.0, 140.0, 190.0))
    affine = venous.affine.copy()
    affine[2, 3] += 18  # from z -12 to 48 mm, the muscles from -24 to 24
    mrv = Scanner(snr=30, seed=9).acquire(back.venography, Geometry(affine, venous.shape, venous.frame_of_reference))

    findings = run(pre, post, mrv).findings

    assert findings.inputs == ("pre", "post", "mrv")
    assert [one.vessel_fraction_pct for one in findings.muscles] == [None, None]
    assert "MRV-5" in {one.code for one in findings.caveats}
    (gate,) = (one for one in findings.gates if one.code == "MRV-5")
    assert not gate.passed
    upper, lower = (
        [one for one in findings.levels if (one.location.position_mm[2] > 0) == above] for above in (True, False)
    )
    assert all(one.vessel_fraction_pct is not None for one in upper)
    assert [one.vessel_fraction_pct for one in lower] == [None, None]


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


def test_what_is_only_bright_after_contrast_has_a_ratio_of_signals_and_none_of_enhancements():
    muscles = np.zeros((5, 40, 100), np.uint8)
    muscles[:, 5:35, 5:42], muscles[:, 5:35, 58:95] = 2, 1
    region = np.zeros(muscles.shape, bool)
    region[1:4, 15:22, 70:77] = True
    flat = np.where(region, 2.2, 1.1).astype(np.float32)
    geometry = grid(spacing_mm=(4.0, 1.0, 1.0), size_mm=(20.0, 40.0, 100.0))
    scene = Scene(None, flat, muscles, muscles > 0, np.ones(muscles.shape, bool), None, geometry, 0)

    (kept,) = keep_and_describe([Candidate(region, 5.0)], scene, AnalysisSettings())

    assert kept.findings.signal_ratio == pytest.approx(2)
    assert (kept.findings.muscle_ratio, kept.findings.enhancement_pct) == (None, None)
    assert summary(None, (), (), [kept.findings], AnalysisSettings()).startswith("One focal bright candidate")


@pytest.mark.slow
def test_a_bright_focus_of_a_post_contrast_series_alone_is_told_by_its_signal_as_acquired():
    _, post = pair(Back(lesions=(LESION,)), GRID, snr=30, shading_mm=140)

    measured = run(post=post)

    findings = measured.findings
    (said,) = (one.text for one in findings.caveats if one.code == "POST-ONLY")
    assert findings.lesions  # fat among them: that is why they are of low confidence
    for one in findings.lesions:
        assert (one.enhancement_pct, one.muscle_ratio) == (None, None)
        there = post.array[measured.regions.lesions == one.number]
        assert one.post_signal == pytest.approx(float(np.median(there)), rel=1e-5)
        assert f"candidate {one.number} {one.signal_ratio:.1f} times" in said


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


def block(*rows: int, columns: tuple[int, int] = (10, 20)) -> np.ndarray:
    region = np.zeros((3, 40, 40), bool)
    region[:, rows[0] : rows[1], columns[0] : columns[1]] = True
    return region


def test_a_voxel_that_two_candidates_claim_is_the_better_ones_and_none_lies_outside_of_where_to_look():
    where = block(5, 30)
    better, worse, twice = block(8, 14), block(12, 20), block(8, 13)
    beside, astray = block(26, 33), block(28, 38)
    marked = [Candidate(worse, 2.0), Candidate(better, 3.0), Candidate(twice, 1.0), Candidate(beside, 0.9)]

    kept, verdict = apart([*marked, Candidate(astray, 0.8)], where)

    assert [one.score for one in kept] == [3.0, 2.0, 0.9]
    for one, expected in zip(kept, (better, block(14, 20), block(26, 30)), strict=True):
        assert np.array_equal(one.region, expected)
    (said,) = verdict.caveats
    assert said.code == "DET-2"
    assert "2 candidates were left out, 2 cut" in said.text


@pytest.mark.parametrize("score", [np.nan, np.inf])
def test_a_candidate_without_a_finite_score_takes_no_voxel_of_another(score: float):
    marked = [Candidate(block(8, 14), score), Candidate(block(8, 14), 2.0)]

    kept, verdict = apart(marked, block(5, 30))

    assert [(one.score, int(one.region.sum())) for one in kept] == [(2.0, int(block(8, 14).sum()))]
    (said,) = verdict.caveats
    assert (said.code, said.text) == (
        "DET-2", "The detector's scores are not all finite: 1 candidates were left out."
    )  # fmt: skip


def test_candidates_that_keep_to_themselves_stay_as_they_are():
    marked = [Candidate(block(8, 12), 2.0), Candidate(block(20, 24), 1.0)]

    kept, verdict = apart(marked, block(5, 30))

    assert [one.region.tobytes() for one in kept] == [one.region.tobytes() for one in marked]
    assert verdict == Verdict()
