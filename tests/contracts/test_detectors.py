"""What every detector owes the analysis, ours and others' alike."""

import numpy as np
import pytest

from node import plugins
from node.ports import Detector

pytestmark = pytest.mark.slow

SPACING_MM = (4.0, 1.0, 1.0)


@pytest.fixture(params=["multiscale"])
def detector(request: pytest.FixtureRequest) -> Detector:
    return plugins.load("detectors", request.param)()


def pair(lesion: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two blocks of muscle before and after contrast; in the left one a ball of 8 mm that rises by `lesion` more."""
    noise = np.random.default_rng(0).normal(0, 2, (2, 9, 60, 100)).astype(np.float32)
    muscle = np.zeros((9, 60, 100), bool)
    muscle[:, 20:50, 10:40] = muscle[:, 20:50, 60:90] = True
    head, back, left = (np.indices(muscle.shape).T * SPACING_MM).T
    ball = np.sqrt((head - 16) ** 2 + (back - 35) ** 2 + (left - 75) ** 2) <= 8
    pre = np.where(muscle, 100, 250).astype(np.float32)
    post = np.where(muscle, 135, 255) + 100 * lesion * (ball & muscle)
    return pre + noise[0], post.astype(np.float32) + noise[1], muscle


def found(detector: Detector, lesion: float):
    pre, post, muscle = pair(lesion)
    given = pre.copy(), post.copy(), muscle.copy()
    candidates = detector.detect(*given, spacing_mm=SPACING_MM, residual_mm=0.1)
    assert all(np.array_equal(one, other) for one, other in zip(given, (pre, post, muscle), strict=True))
    return candidates


def test_it_has_a_name_and_a_version(detector: Detector) -> None:
    assert detector.name
    assert detector.version


def test_a_lesion_scores_higher_than_anything_where_there_is_none(detector: Detector) -> None:
    with_lesion, without = found(detector, 1.0), found(detector, 0.0)

    best = max(with_lesion, key=lambda one: one.score)
    assert best.region[4, 35, 75]
    assert best.score > max((one.score for one in without), default=0.0)


def test_its_regions_have_the_shape_of_the_volume(detector: Detector) -> None:
    for one in found(detector, 1.0):
        assert one.region.shape == (9, 60, 100)
        assert one.region.dtype == bool
        assert np.isfinite(one.score)


def test_it_gives_the_same_again(detector: Detector) -> None:
    one, other = found(detector, 1.0), found(detector, 1.0)

    assert [each.score for each in one] == [each.score for each in other]
