"""Axial slices of the back, drawn from shapes and numbers: which tissue lies where, and what the network shall say."""

import numpy as np

from training.bones import bones
from training.canvas import Anatomy, Canvas
from training.muscles import deep_muscles, fascia, fat_within, lesions, metal, posterior_muscles, vessels_between
from training.trunk import elsewhere, trunk

_ELSEWHERE = 0.05  # of the slices show no back: a head, limbs, something


def draw(rng: np.random.Generator) -> Anatomy:
    """Return one anatomy; the same state of `rng` gives the same anatomy."""
    page = Canvas(rng)
    if rng.random() < _ELSEWHERE:
        elsewhere(page)
    else:
        for part in (
            trunk, deep_muscles, posterior_muscles, bones, fat_within, fascia, vessels_between, lesions, metal,
        ):  # fmt: skip
            part(page)
    return Anatomy(page.tissue, page.label, page.level)
