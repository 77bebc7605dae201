"""What a pool hands out: slices that were put in, the newest alone, half of them with left and right exchanged."""

import numpy as np
import pytest

from tests.training import SIDES
from training import slices

torch = pytest.importorskip("torch", reason="torch is not installed: pip install '.[training]'")


@pytest.mark.slow
def test_half_of_a_batch_is_mirrored_with_left_and_right_exchanged() -> None:
    from training.pool import Pool

    image, label = slices.pair(7)
    pool = Pool(1, "cpu")
    pool.add((image[None], label[None]))

    images, labels = (part.numpy() for part in pool.batch(np.random.default_rng(0), 4))

    assert all(np.array_equal(one, image) for one in images[2:])
    assert all(np.array_equal(one, label) for one in labels[2:])
    assert all(np.array_equal(one[:, :, ::-1], image) for one in images[:2])
    for left, right in SIDES:
        assert (label == left).any()
        assert np.array_equal(labels[0][:, ::-1] == left, label == right)
        assert np.array_equal(labels[0][:, ::-1] == right, label == left)


@pytest.mark.slow
def test_the_newest_slices_take_the_place_of_the_oldest() -> None:
    from training.pool import Pool

    pool = Pool(3, "cpu")
    for number in (1, 2, 3, 4):
        image, label = slices.pair(7)
        pool.add((np.full_like(image, number)[None], label[None]))

    images, _ = pool.batch(np.random.default_rng(0), 64)

    assert {int(one) for one in images.unique()} == {2, 3, 4}
