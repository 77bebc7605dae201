"""A real back: how well the muscles are outlined, what the pipeline makes of it, and how long it takes."""

import resource
import time

import numpy as np
import pytest

from node.analysis import CompartmentSegmenter
from node.analysis.grid import Grid
from node.findings import Side
from node.settings import AnalysisSettings
from tests.analysis.free_response import draw, scores
from tests.analysis.running import RealBack, dice, run, side


@pytest.fixture(scope="module")
def real() -> RealBack:
    return RealBack()


@pytest.mark.slow
def test_the_outlines_of_a_real_back_are_as_good_as_we_say(real):
    series = Grid.of(real.series(0.7 * real.water, real.fat, snr=30, seed=1))
    truth = series.axes.apply(real.sides)

    found = CompartmentSegmenter().segment(series.signal, spacing_mm=series.spacing_mm)

    each = np.array([dice(one > 0, other > 0) for one, other in zip(found.muscles, truth, strict=True)])
    print(f"Dice left {dice(found.muscles == 1, truth == 1):.3f}, right {dice(found.muscles == 2, truth == 2):.3f}")
    print(f"per slice {each.min():.2f} to {each.max():.2f}, accepted {found.accepted.mean():.2f}")
    assert dice(found.muscles == 1, truth == 1) >= 0.82
    assert dice(found.muscles == 2, truth == 2) >= 0.82
    assert each[found.accepted].min() >= 0.7


@pytest.mark.slow
def test_water_without_fat_is_not_outlined(real):
    series = Grid.of(real.series(real.water, 0 * real.fat, snr=30, seed=1))

    found = CompartmentSegmenter().segment(series.signal, spacing_mm=series.spacing_mm)

    assert not found.accepted.any()
    assert [gate.code for gate in found.gates if not gate.passed] == ["SEG-FAT"]


@pytest.mark.slow
def test_a_lesion_in_a_real_back_is_found_in_time(real):
    drawn = draw(real, 12.0, seed=12000)
    start = time.process_time()

    findings = run(drawn.pre, drawn.post).findings

    seconds = time.process_time() - start
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{drawn.post.array.shape}: {seconds:.1f} s of CPU, {peak_mb:.0f} MB at most in this process")
    hit, _ = scores(findings, drawn, 12.0, 4.0)
    assert hit >= AnalysisSettings().detector_threshold
    # Fat in the muscle (13 % here) dilutes 40 %: the median of the voxels reads about 33.
    assert all(28 <= side(findings, one).enhancement_pct <= 41 for one in Side)
    assert seconds < 30
