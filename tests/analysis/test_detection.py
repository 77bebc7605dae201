"""The detector: balls before veins and moved edges, and a score that speaks of false marks."""

import json
from dataclasses import replace
from importlib import resources

import numpy as np
import pytest

from node.analysis import MultiscaleDetector
from node.analysis.ranking import MODEL, ProtocolClass, Ranking, shipped_ranking
from node.errors import PluginError

SPACING_MM = (4.0, 1.0, 1.0)
SHAPE = (14, 60, 90)
PLACES_MM = np.stack(np.indices(SHAPE), axis=-1) * SPACING_MM
EVERY_MARK = MultiscaleDetector(least_score=0.0)


def ball(centre_mm, radius_mm):
    return np.linalg.norm(PLACES_MM - centre_mm, axis=-1) < radius_mm


def vein(start_mm, heading, length_mm, radius_mm):
    """Return the share of every voxel in a tube: slices of 4 mm are thicker than it."""
    heading = np.array(heading) / np.linalg.norm(heading)
    parts = []
    for depth_mm in np.arange(-1.6, 2, 0.8):
        offset = PLACES_MM - np.subtract(start_mm, (depth_mm, 0, 0))
        along = offset @ heading
        away = np.linalg.norm(offset - along[..., None] * heading, axis=-1)
        parts.append((away < radius_mm) & (along >= 0) & (along < length_mm))
    return np.mean(parts, axis=0)


def muscle(seed=0):
    random = np.random.default_rng(seed)
    return (100 + random.normal(0, 3, SHAPE)).astype(np.float32), random.normal(0, 3, SHAPE).astype(np.float32)


def marks(pre, post, detector=EVERY_MARK, *, residual_mm=0.1, spacing_mm=SPACING_MM):
    return detector.detect(pre, post, np.ones(SHAPE, bool), spacing_mm=spacing_mm, residual_mm=residual_mm)


def best_on(found, place):
    return max((one.score for one in found if (one.region & place).any()), default=0.0)


@pytest.mark.parametrize("heading", [(1, 0, 0), (0, 1, 0), (0.6, 0.2, 1)], ids=["along", "across", "askew"])
def test_a_focus_is_marked_before_a_brighter_vein(heading):
    pre, noise = muscle()
    focus = ball((24, 15, 20), 4)
    tube = vein((14, 32, 48), heading, 26, 1.1)
    post = pre * (np.where(focus, 2.0, 1.4) + 1.2 * tube).astype(np.float32) + noise

    found = marks(pre, post)

    assert best_on(found, focus) == found[0].score >= 1
    assert best_on(found, tube > 0) < 0.2 * found[0].score


def test_fat_that_moved_is_marked_less_where_the_movement_is_known():
    pre, noise = muscle()
    fat = (np.abs(PLACES_MM[..., 1] - 30) < 6) & (np.abs(PLACES_MM[..., 2] - 45) < 10)
    pre = np.where(fat, 2.4 * pre, pre)
    moved = np.roll(fat, 1, axis=1)
    post = np.where(moved, 240, 140) + noise

    unknown, known = (best_on(marks(pre, post, residual_mm=one), np.ones(SHAPE, bool)) for one in (0.0, 1.0))

    assert known < unknown


def test_a_rim_with_a_dark_core_is_one_mark():
    pre, noise = muscle()
    whole, core = ball((24, 30, 45), 8), ball((24, 30, 45), 5)
    post = pre * np.where(whole & ~core, 2.05, np.where(core, 1.1, 1.4)).astype(np.float32) + noise

    found = [one for one in marks(pre, post) if one.score >= 1]

    assert len(found) == 1
    assert (found[0].region & core).sum() > 0.8 * core.sum()


@pytest.mark.parametrize("radius_mm", [4.0, 6.0, 9.0])
def test_a_region_is_as_large_as_the_focus(radius_mm):
    pre, noise = muscle()
    focus = ball((24, 30, 45), radius_mm)
    post = pre * np.where(focus, 2.0, 1.4).astype(np.float32) + noise

    region = max(marks(pre, post), key=lambda one: one.score).region

    assert region.sum() == pytest.approx(focus.sum(), rel=0.15)


@pytest.mark.parametrize("spacing_mm", [(2.0, 0.5, 0.5), (5.0, 1.2, 1.2), (5.0, 1.6, 1.6), (5.0, 2.0, 2.0)])
def test_a_focus_is_marked_whatever_the_size_of_the_pixels(spacing_mm):
    pre, noise = muscle()
    focus = ball((24, 30, 45), 6)
    post = pre * np.where(focus, 2.0, 1.4).astype(np.float32) + noise

    found = marks(pre, post, MultiscaleDetector(), spacing_mm=spacing_mm)

    assert best_on(found, focus) >= 1


def test_a_weak_focus_among_much_fat_is_marked():
    pre, noise = muscle()
    focus = ball((24, 30, 45), 5)
    fat = (PLACES_MM[..., 2] % 10 >= 2) & ~focus  # 80 %: the mean of muscle and fat is 2.1 times muscle
    pre = np.where(focus, 0.92 * pre, np.where(fat, 2.4 * pre, pre)).astype(np.float32)
    post = pre * np.where(focus, 1.7, np.where(fat, 1.03, 1.4)).astype(np.float32) + noise

    found = marks(pre, post)

    assert best_on(found, focus) == found[0].score > 0.5


def test_muscle_that_enhances_evenly_bears_no_mark():
    pre, noise = muscle(3)

    assert not [one for one in marks(pre, 1.4 * pre + noise) if one.score >= 1]


def test_an_empty_muscle_holds_no_candidate():
    flat = np.ones((5, 20, 20), np.float32)

    assert not MultiscaleDetector().detect(flat, flat, flat > 2, spacing_mm=SPACING_MM, residual_mm=0.1)


def test_a_score_is_one_over_the_false_marks_of_the_class_of_the_series():
    thin = ProtocolClass("thin", 2.45, (4.0, 1.0, 0.25), (0.0, 1.0, 3.0))
    thick = ProtocolClass("thick", 6.0, (2.0, 1.0), (5.0, 6.0))
    ranking = replace(shipped_ranking(), classes=(thin, thick))

    assert ranking.score(1.0, 1.5) == pytest.approx(1)
    assert ranking.score(2.0, 1.5) == pytest.approx(2)  # half way between 1 and 1/4, by ratio
    assert ranking.score(-1.0, 1.5) == pytest.approx(1 / 16)
    assert ranking.score(7.0, 4.0) == pytest.approx(2)
    assert ranking.score(7.0, 9.0) == pytest.approx(2)  # thicker than all: the thickest class


def test_the_shipped_thresholds_rise_as_false_marks_fall_and_say_how_they_were_made():
    values = json.loads(resources.files("node.analysis").joinpath("models", MODEL).read_text("utf-8"))

    assert values["trained"]["command"].startswith("python -m benchmarks.analysis_detection train --seed")
    for one in values["classes"]:
        assert one["calibrated"]["command"].startswith("python -m benchmarks.analysis_detection calibrate --seed")
        assert np.all(np.diff(one["false_marks"]) < 0)
        assert np.all(np.diff(one["evidence"]) > 0)
    assert [one["thickest_mm"] for one in values["classes"]] == [2.45, 6.0]


def test_weights_for_other_traits_are_refused():
    values = json.loads(resources.files("node.analysis").joinpath("models", MODEL).read_text("utf-8"))

    with pytest.raises(PluginError, match="other traits"):
        Ranking.of({**values, "traits": values["traits"][:-1]})
