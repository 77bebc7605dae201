"""From tissues to an image: paint them with a contrast, and spoil it as scanners do."""

import numpy as np
from scipy import ndimage

from node.analysis.network import PIXEL_MM, Class
from training.canvas import COLUMNS, ROWS, Anatomy, Codes, Field, Tissue, smooth_field
from training.contrast import Contrast, draw_contrast

_SAGITTAL = 0.07  # of the slices are planes across a stack of sagittal slices
_ROW = np.arange(ROWS, dtype=np.float32)[:, None]
_COLUMN = np.arange(COLUMNS, dtype=np.float32)[None, :]


def expose(rng: np.random.Generator, anatomy: Anatomy) -> tuple[Field, Codes]:
    """Return an image of the anatomy (arbitrary units, >= 0) and its classes, both of shape WINDOW."""
    tissue, label = _move(rng, anatomy)
    sagittal = rng.random() < _SAGITTAL
    image = _paint(rng, draw_contrast(rng), tissue, sagittal=sagittal)
    image = _coil(rng, image, tissue)
    image = _artefacts(rng, image)
    image = _noise(rng, image, tissue)
    image, label = _field_of_view(rng, image, label, sagittal=sagittal)
    gamma = np.float32(rng.uniform(0.75, 1.3))
    return np.clip(image, 0, None) ** gamma, label


def _move(rng: np.random.Generator, anatomy: Anatomy) -> tuple[Codes, Codes]:
    """Return the anatomy shifted, turned and scaled a little, so that it may be exposed more than once."""
    angle, scale = rng.normal(0, 0.05), rng.uniform(0.92, 1.08)
    matrix = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) / scale
    pivot = np.array([ROWS * 0.7, COLUMNS / 2])
    offset = pivot - matrix @ pivot + rng.uniform(-4, 4, 2)
    tissue, label = (
        ndimage.affine_transform(codes, matrix, offset, order=0, mode="constant", cval=0)
        for codes in (anatomy.tissue, anatomy.label)
    )
    return tissue, label


def _paint(rng: np.random.Generator, contrast: Contrast, tissue: Codes, *, sagittal: bool) -> Field:
    """Return the signal with texture and blur; fat suppression fails here and there."""
    count = len(Tissue)
    spread = (rng.uniform(0.01, 0.06, count) * (0.3 + contrast.water)).astype(np.float32)
    water = contrast.water.astype(np.float32)[tissue]
    clean = water
    water = water + rng.standard_normal(tissue.shape, dtype=np.float32) * spread[tissue]
    water = water + clean * smooth_field(rng, rng.uniform(5, 25), rng.uniform(0, 0.13))
    if contrast.fat.any():
        fat = contrast.fat.astype(np.float32)[tissue]
        fat = fat * (1 + np.float32(0.03) * rng.standard_normal(tissue.shape, dtype=np.float32))
        left = np.float32(contrast.suppression)
        if left < 1 and rng.random() < 0.35:  # inhomogeneous field: suppression fails in zones
            left = left + np.clip(smooth_field(rng, 60, 0.5) - rng.uniform(0.3, 0.9), 0, 1 - left)
        water = _blurred(rng, water + contrast.phase * left * fat, sagittal=sagittal)
    else:
        water = _blurred(rng, water, sagittal=sagittal)
    return np.abs(water)


def _blurred(rng: np.random.Generator, image: Field, *, sagittal: bool) -> Field:
    """Return the image blurred, as by the scanner's pixels; some are as coarse as 3 mm, across sagittal slices 5 mm."""
    image = ndimage.gaussian_filter(image, [rng.uniform(0.25, 0.8), rng.uniform(0.25, 0.8)])
    if sagittal:
        return _coarse(image, (1.0, rng.uniform(1.8, 3.4)))
    if rng.random() < 0.15:
        step = rng.uniform(1.3, 2.2)
        return _coarse(image, (step, step))
    return image


def _coarse(image: Field, steps: tuple[float, float]) -> Field:
    """Return what is left of the image after sampling it at every `steps` pixels."""
    blurred = ndimage.gaussian_filter(image, [max(0.0, (step - 1) / 2) for step in steps])
    coarse = ndimage.zoom(blurred, [1 / step for step in steps], order=1)
    zoom = [n / k for n, k in zip(image.shape, coarse.shape, strict=True)]
    zoomed: Field = ndimage.zoom(coarse, zoom, order=1)[:ROWS, :COLUMNS]
    return zoomed


def _coil(rng: np.random.Generator, image: Field, tissue: Codes) -> Field:
    """Return the image under the coil's sensitivity, and with a saturation band in front of the spine."""
    body = tissue.any(axis=1)
    skin = np.float32(np.nonzero(body)[0][-1] if body.any() else ROWS - 1)
    ahead = (skin - _ROW) * np.float32(PIXEL_MM)
    if rng.random() < 0.55:
        image = image * np.exp(-np.clip(ahead, 0, None) / np.float32(rng.uniform(50, 400)))
    image = image * np.exp(np.clip(smooth_field(rng, 110, rng.uniform(0, 0.35)), -1.2, 1.2))
    if rng.random() < 0.25:
        band = ahead + np.float32(rng.normal(0, 0.2)) * (_COLUMN - COLUMNS / 2)
        image = image * np.where(band > rng.uniform(60, 130), np.float32(rng.uniform(0.05, 0.6)), np.float32(1))
    return image


def _artefacts(rng: np.random.Generator, image: Field) -> Field:
    """Return the image with ghosts of what moves, and ripples beside sharp edges, now and then."""
    if rng.random() < 0.12:
        shift, axis = int(rng.integers(8, 50)), int(rng.integers(2))
        strength = np.float32(rng.uniform(0.02, 0.15))
        image = image + strength * (np.roll(image, shift, axis) + np.roll(image, -shift, axis)) / 2
    if rng.random() < 0.12:
        sharp = image - ndimage.gaussian_filter(image, 1.2)
        image = np.abs(image + np.float32(rng.uniform(0.3, 1.2)) * sharp)
    return image


def _noise(rng: np.random.Generator, image: Field, tissue: Codes) -> Field:
    level = rng.uniform(0.003, 0.04) if rng.random() < 0.9 else rng.uniform(0.04, 0.09)
    sigma = np.float32(level * np.quantile(image, 0.97))
    real, imaginary = rng.standard_normal((2, *image.shape), dtype=np.float32) * sigma
    image = np.hypot(image + real, imaginary)
    if rng.random() < 0.15:  # air set to 0 by the scanner
        image = np.where(tissue == Tissue.AIR, np.float32(0), image)
    return image


def _field_of_view(rng: np.random.Generator, image: Field, label: Codes, *, sagittal: bool) -> tuple[Field, Codes]:
    """Return image and classes with what lies outside the field of view set to 0."""
    if sagittal or rng.random() < 0.3:
        left, right = rng.integers(0, 30, 2) if rng.random() < 0.4 else np.repeat(rng.integers(2, 42), 2)
        if sagittal:  # few slices, so a narrow slab
            left, right = COLUMNS // 2 - rng.integers(20, 60) + rng.integers(-8, 9, 2)
        front = int(rng.integers(0, 60)) if rng.random() < 0.7 else 0
        back = int(rng.integers(0, 12)) if rng.random() < 0.25 else 0
        inside = (_ROW >= front) & (_ROW < ROWS - back) & (_COLUMN >= left) & (_COLUMN < COLUMNS - right)
        image = np.where(inside, image, np.float32(0))
        label = np.where(inside, label, np.uint8(Class.BACKGROUND))
    return image, label
