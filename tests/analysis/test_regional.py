"""Regional enhancement: a level that enhances as a whole is found by its numbers, without any lesion."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from node.analysis import CompartmentSegmenter, MultiscaleDetector, asymmetry, decision, measure
from node.analysis.enhancement import subtract
from node.analysis.grid import Grid
from node.analysis.muscles import Muscles
from node.analysis.places import Places
from node.analysis.regional import Regional, Signals, measure_regional
from node.analysis.verdict import Verdict
from node.findings import POSTERIOR, MuscleFindings, Outcome, Side, StudyVolumes, Suspicion
from node.ports import PARTS
from node.settings import AnalysisSettings
from tests.analysis.phantom import Back, Points, grid, pair, volume
from tests.analysis.test_levels import Known, axial, middle, sagittal

SETTINGS = AnalysisSettings()
SHAPE = (31, 40, 41)  # of `axial`: slices of 4 mm from -60 to 60 mm, L3 at 0
LEVELS = {"L1": slice(29, 31), "L2": slice(20, 29), "L3": slice(11, 20), "L4": slice(2, 11), "L5": slice(0, 2)}
Image = npt.NDArray[np.float32]


def painted(
    rises: dict[tuple[str, Side], float], *, usual: float = 0.40, snr: float = 30.0, gain_of_fat: float = 0.0,
    fat_share: float = 0.0, parts: bool = False, vessels: dict[tuple[str, Side], float] | None = None,
    beyond_mrv: slice = slice(0), settings: AnalysisSettings = SETTINGS,
) -> Regional:  # fmt: skip
    """What is measured where each level and side enhances by `usual`, or by what `rises` says."""
    random = np.random.default_rng(3)
    sides = np.zeros(SHAPE, np.uint8)
    sides[:, 12:32, 22:38], sides[:, 12:32, 3:19] = 1, 2
    columns = {Side.LEFT: slice(22, 38), Side.RIGHT: slice(3, 19)}
    rise = np.full(SHAPE, usual)
    for (level, side), one in rises.items():
        rise[LEVELS[level], :, columns[side]] = one
    fat = np.full(SHAPE, fat_share, np.float32)
    water = 100 * (1 - fat)
    signal_of_fat = 100 * gain_of_fat * fat
    sigma = 100 / snr if np.isfinite(snr) else 0.0
    before = (water + signal_of_fat + random.normal(0, sigma, SHAPE)).astype(np.float32)
    after = (water * (1 + rise) + signal_of_fat + random.normal(0, sigma, SHAPE)).astype(np.float32)
    seen = None
    if vessels is not None:
        seen = np.zeros(SHAPE, bool)
        for (level, side), share in vessels.items():
            seen[LEVELS[level], :, columns[side]] = random.random(seen[LEVELS[level], :, columns[side]].shape) < share
        after[seen] = 100 * 2.5
        seen = seen.astype(np.float32)
        seen[beyond_mrv] = np.nan
    single = None
    if parts:
        single = np.where(sides == 1, 1, np.where(sides == 2, 2, 0)).astype(np.uint8)
        single[:, 22:] = np.where(single[:, 22:] > 0, single[:, 22:] + 2, 0)  # erector spinae behind multifidus
        single[:, 2:8, 22:30], single[:, 2:8, 11:19] = 5, 6  # psoas, in front of the compartment
    geometry = axial()
    there = sagittal()
    image = Grid.of(volume(before, geometry))
    every = (slice(0, SHAPE[0]), slice(0, SHAPE[1]), slice(0, SHAPE[2]))
    places = Places.of(image, every, volume(np.zeros(there.shape, np.float32), there), Known())
    signals = Signals(
        image.geometry.voxel_mm3, before, after, subtract(before, after, sides > 0, image.spacing_mm), seen,
        fat if gain_of_fat else None, gain_of_fat or None,
    )  # fmt: skip
    nowhere = np.zeros(SHAPE, bool)
    muscles = Muscles(sides, single, nowhere, nowhere, None, Verdict())
    return measure_regional(muscles, signals, signals.of_parts(single, image.spacing_mm), places, settings)


def at(found: Regional, level: str, side: Side, muscle: str = POSTERIOR) -> MuscleFindings:
    (one,) = (
        one for one in found.levels if (one.location.level, one.side, one.muscle) == (level, side, muscle)
    )  # fmt: skip
    return one


def test_a_level_that_enhances_more_is_diffuse_and_no_other_is() -> None:
    found = painted({("L4", Side.LEFT): 0.61})

    left, right = at(found, "L4", Side.LEFT), at(found, "L4", Side.RIGHT)
    assert left.enhancement_pct == pytest.approx(61, abs=1)
    assert right.enhancement_pct == pytest.approx(40, abs=1)
    assert left.relative_enhancement == pytest.approx(61 / 40, abs=0.03)
    assert left.asymmetry_pct == pytest.approx(100 * 21 / 101, abs=1)
    assert left.enhancing_fraction_pct > 80
    assert [(one.location.level, one.side) for one in found.levels if one.diffuse] == [("L4", Side.LEFT)]
    assert decision.grade(found.sides, found.levels, (), SETTINGS) == 1
    summary = decision.summary(1, found.sides, found.levels, (), SETTINGS)
    assert summary.endswith("Diffuse enhancement at L4 left.")


def test_levels_stand_from_the_head_down_and_left_before_right() -> None:
    found = painted({})

    assert [(one.location.level, one.side) for one in found.levels] == [
        (level, side) for level in LEVELS for side in (Side.LEFT, Side.RIGHT)
    ]
    slices = [one.location.slices for one in found.levels[::2]]
    assert slices == [(1, 2), (3, 11), (12, 20), (21, 29), (30, 31)]
    assert sum(one.volume_mm3 for one in found.levels) == pytest.approx(sum(one.volume_mm3 for one in found.sides))


@pytest.mark.parametrize("snr", [15.0, 30.0])
def test_an_even_back_is_nowhere_diffuse(snr: float) -> None:
    found = painted({}, snr=snr)

    assert {one.diffuse for one in found.levels} == {False}
    assert decision.grade(found.sides, found.levels, (), SETTINGS) == 0


def test_a_level_is_compared_with_the_others_and_not_with_itself() -> None:
    low = {(level, side): 0.40 for level in ("L1", "L2") for side in Side}
    high = {(level, side): 0.60 for level in ("L4", "L5") for side in Side}

    found = painted({**low, **high, ("L3", Side.LEFT): 0.60, ("L3", Side.RIGHT): 0.60})

    # Half of the others enhance by 40, half by 60 %; with its own two among them their median would be 60.
    assert at(found, "L3", Side.LEFT).relative_enhancement == pytest.approx(60 / 50, abs=0.03)


def test_in_much_noise_a_level_that_is_a_little_brighter_is_not_called_diffuse() -> None:
    found = painted({("L3", Side.LEFT): 0.55}, snr=6.0)

    one = at(found, "L3", Side.LEFT)
    assert one.relative_enhancement > SETTINGS.diffuse_ratio
    assert one.enhancing_fraction_pct < 100 * SETTINGS.diffuse_fraction
    assert one.diffuse is False


def test_both_sides_of_a_level_are_found_where_no_asymmetry_is() -> None:
    found = painted({("L3", Side.LEFT): 0.6, ("L3", Side.RIGHT): 0.6})

    assert at(found, "L3", Side.LEFT).asymmetry_pct == pytest.approx(0, abs=1)
    assert {(one.location.level, one.side) for one in found.levels if one.diffuse} == {
        ("L3", Side.LEFT), ("L3", Side.RIGHT),
    }  # fmt: skip


def test_one_level_that_is_uneven_is_grade_1_though_the_sides_as_a_whole_are_not() -> None:
    found = painted({("L2", Side.LEFT): 0.47, ("L2", Side.RIGHT): 0.33})

    assert not any(one.diffuse for one in found.levels)
    assert not decision.asymmetric(found.sides, SETTINGS)
    assert [one.location.level for one in decision.asymmetric(found.levels, SETTINGS)] == ["L2"]
    assert decision.grade(found.sides, found.levels, (), SETTINGS) == 1
    assert decision.summary(1, found.sides, found.levels, (), SETTINGS).endswith("Enhancement is asymmetric at L2.")


@pytest.mark.parametrize(("fat_share", "k"), [(0.13, 2.4), (0.31, 2.4), (0.31, 0.1)])
def test_the_fat_in_a_muscle_is_taken_out_of_its_enhancement(fat_share: float, k: float) -> None:
    found = painted({}, snr=np.inf, fat_share=fat_share, gain_of_fat=k)

    one = at(found, "L3", Side.LEFT)
    diluted = 40 * (1 - fat_share) / (1 - fat_share + k * fat_share)
    assert one.fat_fraction_pct == pytest.approx(100 * fat_share, abs=0.1)
    assert one.enhancement_pct == pytest.approx(diluted, abs=0.1)
    assert one.fat_corrected_enhancement_pct == pytest.approx(40, abs=0.1)


def test_single_muscles_are_told_apart_inside_and_outside_of_the_compartment() -> None:
    found = painted({("L4", Side.RIGHT): 0.6}, parts=True)

    names = {(one.muscle, one.side) for one in found.levels if one.muscle != POSTERIOR}
    assert names == {PARTS[label] for label in (1, 2, 3, 4, 5, 6)}  # no quadratus lumborum was drawn
    assert at(found, "L4", Side.RIGHT, "psoas").enhancement_pct == pytest.approx(60, abs=2)
    assert at(found, "L4", Side.LEFT, "psoas").enhancement_pct == pytest.approx(40, abs=2)
    assert at(found, "L4", Side.RIGHT, "psoas").relative_enhancement == pytest.approx(1.5, abs=0.1)
    assert at(found, "L4", Side.RIGHT, "psoas").diffuse is None  # told, and not judged
    assert at(found, "L4", Side.RIGHT, "multifidus").diffuse


def test_vessels_are_left_out_of_the_enhancement_and_compared_between_the_sides() -> None:
    found = painted({}, vessels={("L3", Side.LEFT): 0.30, ("L3", Side.RIGHT): 0.10})

    left = at(found, "L3", Side.LEFT)
    assert left.vessel_fraction_pct == pytest.approx(30, abs=2)
    assert left.vessel_asymmetry_pct == pytest.approx(50, abs=5)
    assert left.enhancement_pct == pytest.approx(40, abs=1)
    assert left.enhancing_fraction_pct < 10


def test_a_level_beyond_the_mrv_is_not_without_vessels_and_what_it_shows_of_another_counts_alone() -> None:
    everywhere = {(level, side): 0.2 for level in LEVELS for side in Side}
    most_of_l3 = slice(0, LEVELS["L3"].start + 1)  # of its nine slices eight are shown

    found = painted({}, vessels=everywhere, beyond_mrv=most_of_l3)

    assert at(found, "L3", Side.LEFT).vessel_fraction_pct == pytest.approx(20, abs=2)
    for level in ("L4", "L5"):
        assert at(found, level, Side.LEFT).vessel_fraction_pct is None
        assert at(found, level, Side.LEFT).vessel_asymmetry_pct is None
        assert at(found, level, Side.LEFT).enhancement_pct > 40  # vessels are in it, for nobody knows where
    assert [one.vessel_fraction_pct for one in found.sides] == [None, None]


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        (60.0, 40.0, 20.0),
        (40.0, -1.0, 100.0),
        (-2.0, 30.0, -100.0),
        (5.0, -4.0, None),
        (3.0, 2.0, None),
        (-3.0, -2.0, None),
    ],
)
def test_the_index_of_asymmetry_stays_within_its_bounds(left: float, right: float, expected: float | None) -> None:
    assert asymmetry.of_enhancement_pct(left, right, SETTINGS) == expected


def test_sides_that_hardly_enhance_are_not_compared_and_that_is_said() -> None:
    dark = {("L4", Side.LEFT): 0.03, ("L4", Side.RIGHT): 0.005}

    found = painted(dark)
    said = asymmetry.check_sides(found.sides, found.levels, SETTINGS).caveats

    assert at(found, "L4", Side.LEFT).asymmetry_pct is None
    assert not decision.asymmetric(found.levels, SETTINGS)
    assert [(one.code, "at L4: the muscle enhances by less than 5 %" in one.text) for one in said] == [("SIDE-1", True)]


def test_a_level_is_not_compared_with_others_that_hardly_enhance() -> None:
    found = painted({("L3", Side.LEFT): 0.30}, usual=0.01)
    (said,) = asymmetry.check_levels(found.levels, SETTINGS).caveats

    assert at(found, "L3", Side.LEFT).relative_enhancement is None
    assert (said.code, "L3 left" in said.text, "less than 5 % (median)" in said.text) == ("LEVEL-1", True, True)


def test_a_level_that_enhances_among_others_that_hardly_do_is_diffuse_and_they_are_not() -> None:
    found = painted({("L3", Side.LEFT): 0.30}, usual=0.04)

    assert [(one.location.level, one.side) for one in decision.diffuse(found.levels)] == [("L3", Side.LEFT)]
    assert at(found, "L2", Side.LEFT).diffuse is False


def test_where_levels_are_compared_nothing_is_said_of_it() -> None:
    assert not asymmetry.check_levels(painted({}).levels, SETTINGS).caveats


def test_sides_that_are_not_compared_as_a_whole_are_called_so_also_where_no_slice_is_named() -> None:
    found = painted({}, usual=0.01)
    sides = [replace(one, location=None) for one in found.sides]

    (said,) = asymmetry.check_sides(sides, (), SETTINGS).caveats

    assert said.text.startswith("The sides are not compared as a whole: the muscle enhances by less than 5 % there")


def test_a_level_of_which_little_was_measured_has_a_volume_and_no_enhancement() -> None:
    found = painted({}, settings=AnalysisSettings(least_region_voxels=2 * 20 * 16 + 1))  # one more than L5 has

    one = at(found, "L5", Side.LEFT)
    assert (one.enhancement_pct, one.relative_enhancement, one.diffuse) == (None, None, None)
    assert one.volume_mm3 > 0
    assert at(found, "L4", Side.LEFT).enhancement_pct is not None


class Diffuse(Back):
    """A back whose left side enhances by 65 % around L4, and by 40 % elsewhere, as its right."""

    def draw(self, points: Points, *, contrast: bool) -> npt.NDArray[np.float64]:
        x, _, z = np.moveaxis(points, -1, 0)
        here = (x > 0) & (np.abs(z - middle("L4")[2]) < 18)
        usual = replace(Back(), left=0.40, right=0.40).draw(points, contrast=contrast)
        return np.where(here, Back(left=0.65, right=0.40).draw(points, contrast=contrast), usual)


@pytest.mark.slow
def test_a_diffuse_level_is_found_in_images_and_the_question_of_emg_is_answered() -> None:
    geometry = grid(spacing_mm=(4.0, 1.5, 1.5), size_mm=(140.0, 135.0, 190.0))
    pre, post = pair(Diffuse(), geometry, snr=30, gain=1.3, shading_mm=140)
    there = sagittal()

    measured = measure(
        StudyVolumes(pre, post, sagittal=volume(np.zeros(there.shape, np.float32), there)),
        settings=SETTINGS, segmenter=CompartmentSegmenter(), detector=MultiscaleDetector(), labeller=Known(),
        suspicion=Suspicion("L4", "left", "emg add", "operator"),
    )  # fmt: skip

    findings = measured.findings
    assert (findings.outcome, findings.grade, findings.lesions) == (Outcome.FINDINGS, 1, ())
    assert [(one.location.level, one.side) for one in findings.levels if one.diffuse] == [("L4", Side.LEFT)]
    (suspected,) = (
        one for one in findings.levels if (one.location.level, one.side) == ("L4", Side.LEFT)
    )  # fmt: skip
    assert suspected.enhancement_pct == pytest.approx(65, abs=3)
    assert findings.answer.matched
    assert "At L4 left: enhancement 6" in findings.answer.statement
    assert "diffuse enhancement. No focal candidate." in findings.answer.statement
    rise = measured.regions.enhancement
    assert rise.shape == post.array.shape
    assert np.array_equal(np.isfinite(rise), measured.regions.muscles > 0)
    assert float(np.nanmedian(rise[measured.regions.muscles == 2])) == pytest.approx(40, abs=3)
