"""The drawn slices: what the segmenter learns from must be right about sides, and the same every time."""

import numpy as np
import pytest
from scipy import ndimage

from node.analysis.network import WINDOW, Class
from tests.training import SIDES
from training import anatomy, slices, source
from training.canvas import C6, POSTERIOR, S1, Anatomy, Tissue
from training.exposure import expose


@pytest.fixture(scope="module")
def drawn() -> list[Anatomy]:
    return [anatomy.draw(np.random.default_rng(seed)) for seed in range(36)]


def test_the_same_number_gives_the_same_slice() -> None:
    once, again = slices.sample(7), slices.sample(7)

    assert np.array_equal(once[0], again[0])
    assert np.array_equal(once[1], again[1])


def test_another_number_gives_another_slice() -> None:
    one, other = slices.sample(7), slices.sample(8)

    assert not np.array_equal(one[0], other[0])
    assert not np.array_equal(one[1], other[1])


def test_an_image_is_finite_and_not_negative() -> None:
    for seed in range(12):
        image, label = slices.sample(seed)

        assert image.shape == label.shape == WINDOW
        assert np.isfinite(image).all()
        assert image.min() >= 0


def test_every_class_and_every_part_of_the_spine_is_drawn(drawn: list[Anatomy]) -> None:
    seen = set(np.unique(np.stack([one.label for one in drawn])))
    levels = [one.level for one in drawn]

    assert seen == set(Class)
    assert min(levels) < S1
    assert max(levels) > C6


def test_what_is_called_left_lies_towards_the_patients_left(drawn: list[Anatomy]) -> None:
    labels = [expose(np.random.default_rng(seed), one)[1] for seed, one in enumerate(drawn)]

    for left, right in SIDES:
        pairs = 0
        for label in labels:
            columns = [np.nonzero(label == one)[1] for one in (left, right)]
            if min(len(one) for one in columns) > 20:
                pairs += 1
                assert columns[0].mean() > columns[1].mean()  # columns run from the patient's right to left
        assert pairs > 5


def test_a_lesion_stays_muscle(drawn: list[Anatomy]) -> None:
    lesions = [one.label[np.isin(one.tissue, (Tissue.LESION, Tissue.CORE))] for one in drawn]

    assert sum(len(one) for one in lesions) > 100
    assert np.isin(np.concatenate(lesions), POSTERIOR).all()


def test_fat_within_a_muscle_stays_muscle(drawn: list[Anatomy]) -> None:
    fatty = [(np.isin(one.label, POSTERIOR) & (one.tissue == Tissue.INNER_FAT)).sum() for one in drawn]

    assert np.count_nonzero(fatty) > 12


def test_quadratus_lies_in_front_of_the_compartment_and_mostly_touches_it(drawn: list[Anatomy]) -> None:
    touching, count = 0, 0
    for one in drawn:
        for code in (Class.QUADRATUS_LEFT, Class.QUADRATUS_RIGHT):
            here = one.label == code
            if here.sum() > 20:
                count += 1
                touching += bool((ndimage.binary_dilation(here, iterations=2) & np.isin(one.label, POSTERIOR)).any())
                assert np.nonzero(here)[0].mean() < np.nonzero(np.isin(one.label, POSTERIOR))[0].mean()

    assert count > 10
    assert touching > count / 2


def test_where_no_back_is_there_is_nothing_to_find(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anatomy, "_ELSEWHERE", 1.0)

    for seed in range(10):
        one = anatomy.draw(np.random.default_rng(seed))
        assert set(np.unique(one.label)) == {Class.BACKGROUND, Class.BODY}


def test_held_out_slices_are_never_trained_on() -> None:
    a_year_of_steps = 4 * 3 * 31_536_000  # new slices a step, steps a second

    assert a_year_of_steps < slices.HELD_OUT


@pytest.mark.slow
def test_processes_of_their_own_draw_the_same_slices_in_the_same_order() -> None:
    alone, helped = source.Source(100, workers=0), source.Source(100, workers=2)

    for _ in range(3):
        (images, labels), (same_images, same_labels) = next(alone), next(helped)
        assert images.shape == (source.CHUNK, 2, *WINDOW)
        assert np.array_equal(images, same_images)
        assert np.array_equal(labels, same_labels)
    helped.close()
