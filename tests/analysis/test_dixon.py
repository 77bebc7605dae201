"""Fat in muscle from Dixon, and the gain where fat is not bright."""

from dataclasses import replace

import numpy as np
import pytest

from node.analysis import CompartmentSegmenter, MultiscaleDetector, measure
from node.analysis.body import of_body
from node.analysis.dixon import fat_fraction, fat_to_muscle
from node.analysis.gain import canal_gain, check_gain
from node.analysis.grid import Grid
from node.dicom.geometry import Geometry
from node.findings import Side, StudyVolumes
from node.settings import AnalysisSettings
from tests.analysis.phantom import Back, Scanner, grid, volume
from tests.analysis.running import side

SMALL = grid(spacing_mm=(4.0, 2.0, 2.0), size_mm=(32.0, 135.0, 190.0))


def images(share: float) -> tuple[np.ndarray, np.ndarray]:
    """Water and fat of a body in air, with a block of muscle of which `share` is fat."""
    water, fat = np.zeros(SMALL.shape), np.zeros(SMALL.shape)
    water[:, 10:60, 10:80] = 100 * (1 - share)
    fat[:, 10:60, 10:80] = 100 * share
    water[:, 50:60, 10:80], fat[:, 50:60, 10:80] = 5, 240  # below the skin
    return water, fat


@pytest.mark.parametrize("share", [0.0, 0.13, 0.5])
def test_the_fat_fraction_is_what_was_painted_and_nothing_in_air(share: float) -> None:
    water, fat = images(share)
    pre = Grid.of(volume(water, SMALL))

    found, verdict = fat_fraction(pre, volume(fat, SMALL))

    assert found[4, 30, 40] == pytest.approx(share, abs=1e-5)
    assert found[4, 55, 40] == pytest.approx(240 / 245, abs=1e-5)
    assert found[4, 2, 2] == 0
    assert not verdict.caveats


def test_the_fraction_lies_on_the_part_of_the_grid_that_is_measured() -> None:
    water, fat = images(0.2)
    body = of_body(volume(water, SMALL))
    assert body.signal.shape != SMALL.shape

    found, _ = fat_fraction(body, volume(fat, SMALL))

    assert found.shape == body.signal.shape
    inside = body.signal == pytest.approx(80)
    assert found[inside] == pytest.approx(0.2)


def test_fat_of_other_voxels_is_not_used_and_that_is_said() -> None:
    water, fat = images(0.2)
    affine = SMALL.affine.copy()
    affine[2, 3] += 4

    found, verdict = fat_fraction(
        Grid.of(volume(water, SMALL)), volume(fat, Geometry(affine, SMALL.shape, SMALL.frame_of_reference))
    )

    assert found is None
    assert [one.code for one in verdict.caveats] == ["DIXON-1"]


def test_without_fat_images_nothing_is_said() -> None:
    found, verdict = fat_fraction(Grid.of(volume(images(0.2)[0], SMALL)), None)

    assert found is None
    assert not verdict.caveats
    assert fat_to_muscle(np.zeros(SMALL.shape, np.float32), None, np.ones(SMALL.shape, bool), None) is None


def test_how_bright_fat_is_beside_muscle_is_measured_in_the_series_itself() -> None:
    water, fat = images(0.0)
    fraction, _ = fat_fraction(Grid.of(volume(water, SMALL)), volume(fat, SMALL))
    everywhere = np.ones(SMALL.shape, bool)

    both = (water + fat).astype(np.float32)
    assert fat_to_muscle(both, fraction, water > 50, everywhere) == pytest.approx(2.45)
    assert fat_to_muscle(water.astype(np.float32), fraction, water > 50, everywhere) == pytest.approx(0.05)
    assert fat_to_muscle(both, fraction, np.zeros(SMALL.shape, bool), everywhere) is None


@pytest.mark.parametrize("gain", [0.5, 1.0, 2.0])
def test_the_canal_tells_the_gain_where_fat_cannot(gain: float) -> None:
    random = np.random.default_rng(2)
    shape, spacing_mm = (20, 40, 40), (4.0, 1.0, 1.0)
    place = np.hypot(*np.meshgrid(np.arange(40) - 20, np.arange(40) - 20, indexing="ij"))
    canal = np.broadcast_to(place <= 9, shape)
    before = np.where(canal, 35.0, 100.0)
    after = np.where(canal & (place < 8), 35.0, 170.0)  # the wall enhances

    def noisy(image: np.ndarray) -> np.ndarray:
        noise = [random.normal(0, 100 / 30, shape) for _ in range(2)]
        return np.hypot(image + noise[0], noise[1]).astype(np.float32)

    found = canal_gain(noisy(before), np.float32(gain) * noisy(after), canal, spacing_mm)

    assert found.factor == pytest.approx(gain, rel=0.01)
    assert [one.code for one in check_gain(found, AnalysisSettings()).caveats][:1] == ["CMP-GAIN"]


def test_a_canal_of_a_few_voxels_tells_no_gain() -> None:
    canal = np.zeros((4, 20, 20), bool)
    canal[:, 5:15, 5:15] = True

    assert (
        canal_gain(np.ones((4, 20, 20), np.float32), np.ones((4, 20, 20), np.float32), canal, (4.0, 1.0, 1.0)) is None
    )


@pytest.mark.slow
def test_the_fat_fraction_reaches_the_findings_where_the_patient_moved() -> None:
    back = Back(left=0.4, right=0.4)
    shift = np.array([1.5, -1.0, 0.0])
    pre = Scanner(snr=40, seed=1).acquire(
        lambda points: back.draw(points, contrast=False), SMALL, movement=lambda points: points + shift
    )
    post = Scanner(snr=40, seed=2).acquire(lambda points: back.draw(points, contrast=True), SMALL)
    # Of the signal of each voxel a tenth is fat on the left and a quarter on the right, in the place that `pre` shows.
    x = SMALL.to_lps(np.stack(np.indices(SMALL.shape, dtype=float), axis=-1))[..., 0] + shift[0]
    share = np.where(x > 0, 0.10, 0.25)

    findings = measure(
        StudyVolumes(pre, post, fat=replace(pre, array=(pre.array * share / (1 - share)).astype(np.float32))),
        settings=AnalysisSettings(), segmenter=CompartmentSegmenter(), detector=MultiscaleDetector(),
    ).findings  # fmt: skip

    assert side(findings, Side.LEFT).fat_fraction_pct == pytest.approx(10, abs=0.5)
    assert side(findings, Side.RIGHT).fat_fraction_pct == pytest.approx(25, abs=0.5)
