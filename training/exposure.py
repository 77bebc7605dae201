"""From tissues to an image: paint them with a contrast, and spoil it as scanners do."""

import numpy as np
from scipy import ndimage

from node.analysis.network import PIXEL_MM, Class
from training.canvas import COLUMNS, ROWS, Anatomy, Codes, Field, Tissue, smooth_field
from training.contrast import Contrast, Signals, draw_contrast

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
    return _displayed(rng, image), label


def _displayed(rng: np.random.Generator, image: Field) -> Field:
    """Return the image as a scanner stores it: no two map signal to grey alike."""
    image = np.clip(image, 0, None)
    if rng.random() < 0.2:  # a curve of a few knots that always rises
        top = np.float32(max(float(image.max()), 1e-6))
        knots = np.cumsum(rng.uniform(0.1, 1, 6))
        image = np.interp(image / top, np.linspace(0, 1, 7), np.r_[0, knots / knots[-1]]).astype(np.float32)
    gamma = rng.uniform(0.75, 1.3) if rng.random() < 0.75 else rng.uniform(0.5, 1.8)
    return image ** np.float32(gamma)


def _move(rng: np.random.Generator, anatomy: Anatomy) -> tuple[Codes, Codes]:
    """Return the anatomy shifted, turned and scaled: a little, or as of somebody who lies askew."""
    angle = rng.normal(0, 0.05) if rng.random() < 0.75 else rng.uniform(-0.35, 0.35)
    scale = rng.uniform(0.92, 1.08)
    matrix = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) / scale
    pivot = np.array([ROWS * 0.7, COLUMNS / 2])
    offset = pivot - matrix @ pivot + rng.uniform(-4, 4, 2)
    tissue, label = (
        ndimage.affine_transform(codes, matrix, offset, order=0, mode="constant", cval=0)
        for codes in (anatomy.tissue, anatomy.label)
    )
    return tissue, label


def _paint(rng: np.random.Generator, contrast: Contrast, tissue: Codes, *, sagittal: bool) -> Field:
    """Return the signal with texture and blur; fat may lie beside its place, and its suppression fails in zones."""
    water = _textured(rng, contrast.water, tissue)
    if contrast.fat.any():
        fat = contrast.fat.astype(np.float32)[tissue]
        fat = fat * (1 + np.float32(0.03) * rng.standard_normal(tissue.shape, dtype=np.float32))
        if rng.random() < 0.3:  # chemical shift along the readout
            fat = np.roll(fat, rng.choice([-1, 1]), int(rng.integers(2)))
        left = np.float32(contrast.suppression)
        if left < 1 and rng.random() < 0.35:  # inhomogeneous field
            left = left + np.clip(smooth_field(rng, 60, 0.5) - rng.uniform(0.3, 0.9), 0, 1 - left)
        water = water + contrast.phase * left * fat
    return np.abs(_blurred(rng, water, sagittal=sagittal))


def _textured(rng: np.random.Generator, signals: Signals, tissue: Codes) -> Field:
    """Return the signal of each pixel: some tissues are grainy, some cloudy, some streaked, many plain."""
    clean = signals.astype(np.float32)[tissue]
    image = clean
    if rng.random() < 0.7:
        spread = (rng.uniform(0, 0.06, len(Tissue)) * (0.3 + signals)).astype(np.float32)
        image = image + rng.standard_normal(tissue.shape, dtype=np.float32) * spread[tissue]
    if rng.random() < 0.6:
        image = image + clean * smooth_field(rng, rng.uniform(5, 25), rng.uniform(0, 0.13))
    if rng.random() < 0.35:  # fibres: long one way, thin across
        width = rng.uniform(0.4, 0.9), rng.uniform(1.5, 6)
        grain = ndimage.gaussian_filter(
            rng.standard_normal(tissue.shape, dtype=np.float32), width if rng.random() < 0.6 else width[::-1]
        )
        image = image + clean * grain * np.float32(rng.uniform(0.02, 0.1) / max(float(grain.std()), 1e-6))
    return image


def _blurred(rng: np.random.Generator, image: Field, *, sagittal: bool) -> Field:
    """Return the image blurred, as by the scanner's pixels; some are as coarse as 4 mm, across sagittal slices 5 mm."""
    image = ndimage.gaussian_filter(image, [rng.uniform(0.2, 0.8), rng.uniform(0.2, 0.8)])
    if sagittal:
        return _coarse(image, (1.0, rng.uniform(1.8, 3.4)))
    if rng.random() < 0.25:
        step = rng.uniform(1.2, 2.4)
        return _coarse(image, (step * rng.uniform(0.9, 1.15), step * rng.uniform(0.9, 1.15)))
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
        depth = rng.uniform(50, 400) if rng.random() < 0.8 else rng.uniform(25, 60)
        image = image * np.exp(-np.clip(ahead, 0, None) / np.float32(depth))
    image = image * np.exp(np.clip(smooth_field(rng, 110, rng.uniform(0, 0.35)), -1.2, 1.2))
    if rng.random() < 0.35:
        band = ahead + np.float32(rng.normal(0, 0.2)) * (_COLUMN - COLUMNS / 2)
        image = image * np.where(band > rng.uniform(60, 130), np.float32(rng.uniform(0.01, 0.6)), np.float32(1))
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
    level = rng.uniform(0.003, 0.04) if rng.random() < 0.8 else rng.uniform(0.04, 0.12)
    sigma = np.float32(level * np.quantile(image, 0.97))
    real, imaginary = rng.standard_normal((2, *image.shape), dtype=np.float32) * sigma
    image = np.hypot(image + real, imaginary)
    if rng.random() < 0.15:  # air set to 0 by the scanner
        image = np.where(tissue == Tissue.AIR, np.float32(0), image)
    return image


def _field_of_view(rng: np.random.Generator, image: Field, label: Codes, *, sagittal: bool) -> tuple[Field, Codes]:
    """Return image and classes with what lies outside the field of view set to 0."""
    if sagittal or rng.random() < 0.45:
        left, right = rng.integers(0, 30, 2) if rng.random() < 0.4 else np.repeat(rng.integers(2, 46), 2)
        if sagittal:  # few slices, so a narrow slab
            left, right = COLUMNS // 2 - rng.integers(20, 60) + rng.integers(-8, 9, 2)
        front = int(rng.integers(0, 60)) if rng.random() < 0.7 else 0
        back = int(rng.integers(0, 12)) if rng.random() < 0.25 else 0
        inside = (_ROW >= front) & (_ROW < ROWS - back) & (_COLUMN >= left) & (_COLUMN < COLUMNS - right)
        image = np.where(inside, image, np.float32(0))
        label = np.where(inside, label, np.uint8(Class.BACKGROUND))
    return image, label
