"""Vessels: bright tubes are found, as wide as they are."""

import numpy as np
import pytest
from scipy import ndimage

from node.analysis.vessels import vessel_mask
from tests.analysis.running import dice


def tubes(radius_mm: float, *, spacing_mm: tuple[float, float, float], snr: float) -> tuple[np.ndarray, np.ndarray]:
    """Return three bright bent tubes in noise, beside a step of brightness; and where the tubes are."""
    random = np.random.default_rng(1)
    shape = tuple(int(60 / step) for step in spacing_mm)
    head, back, left = (axis * step for axis, step in zip(np.indices(shape), spacing_mm, strict=True))
    inside = np.zeros(shape, bool)
    for middle in (14, 28, 42):
        inside |= np.hypot(left - middle, back - 30 - 5 * np.sin(head / 12 + middle)) < radius_mm
    step = np.where(back > 52, 0.5, 0.0)
    image = 1 + step + ndimage.gaussian_filter(inside.astype(float), 0.4) + random.standard_normal(shape) / snr
    return image.astype(np.float32), inside


@pytest.mark.slow
@pytest.mark.parametrize("radius_mm", [1.2, 2.0, 3.0])
def test_tubes_are_found_as_wide_as_they_are(radius_mm: float):
    spacing_mm = (0.8, 0.8, 0.8)
    image, truth = tubes(radius_mm, spacing_mm=spacing_mm, snr=20)

    found = vessel_mask(image, np.ones(image.shape, bool), spacing_mm)

    assert dice(found, truth) >= 0.8


@pytest.mark.slow
def test_thick_slices_are_no_obstacle():
    spacing_mm = (3.0, 0.8, 0.8)
    image, truth = tubes(1.6, spacing_mm=spacing_mm, snr=20)

    found = vessel_mask(image, np.ones(image.shape, bool), spacing_mm)

    assert dice(found, truth) >= 0.7


def test_noise_is_no_vessel():
    noise = np.random.default_rng(3).normal(100, 5, (24, 60, 60)).astype(np.float32)

    assert vessel_mask(noise, np.ones(noise.shape, bool), (1.0, 1.0, 1.0)).mean() < 0.001


def test_nowhere_means_nothing():
    assert not vessel_mask(np.ones((5, 9, 9), np.float32), np.zeros((5, 9, 9), bool), (1.0, 1.0, 1.0)).any()
