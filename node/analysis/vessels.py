"""Vessels in an MR venography: where the image bends like a tube, is dark all around, and goes on; as wide as it is.

Any one of these is not enough. Curvature answers beside edges and in sheets of fat, too; a ball of old blood is dark
all around. What was tried, and what it finds: docs/analysis.md, 12.2.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import KDTree

from node.analysis.grid import Spacing, box_around, whole
from node.analysis.threads import ahead, both
from node.ports import Array, Mask

_SCALES_MM = (0.6, 0.85, 1.2, 1.7, 2.4, 3.2)  # of the Gaussian: tubes of 1 to 9 mm
_WIDTH = 1.5  # times the scale that answers most: the radius of the tube
_LONGEST_TO_WIDTH = 2.0  # of a voxel; thicker slices are interpolated
_NARROW_MM = 12.0  # what is wider is ground, not vessel
# What follows was chosen on the tubes of tests/analysis/tubes.py, 2026-11-26.
_LEAST_CONTRAST = 3.0  # standard deviations of the noise by which a vessel is brighter than the ground
_LEAST_SHARE = 0.1  # of the ground, likewise
# Of the brightest vessels' rise over the ground: streaks of fat in muscle rise 0.13 times as much (simulated time of
# flight; without this 2.8 % of muscle was called vessel, of which there was 0.3 %).
_LEAST_OF_BRIGHTEST = 0.2
_LEAST_BEND = 0.1  # curvature across, over the contrast: a tube of the scale's width has 0.25
_ROUND = 0.5  # weaker over stronger curvature across: 0 in a sheet, 1 in a tube
_BALL = 0.6  # curvature along over that across: 0 in a tube, 1 in a ball
_WALL_MM = 1.1  # outside of the tube, where it must be dark
_BRIGHT_ABOUT = 2  # of eight places around, from which on it is no tube: a sheet goes on at two
_LEAST_LENGTH_MM, _LEAST_ELONGATION = 4.0, 3.0  # of a course; and over its radius
_PEAK_MM = 3.0  # along a course, within which blood is taken to be equally bright
_REACH, _BEYOND_MM = 1.4, 0.4  # times the scale, and more: of a vessel from its course
_ANGLES = np.arange(8) * np.pi / 4

Places = npt.NDArray[np.intp]
Numbers = npt.NDArray[np.float64]


def vessel_mask(volume: Array, region: Mask, spacing_mm: Spacing) -> Mask:
    """Return the vessels in `region`; volume and region in canonical order, on the grid of the MRV."""
    if not region.any():
        return np.zeros(volume.shape, bool)
    box = box_around(region, spacing_mm, _NARROW_MM)
    zoom = [max(1, int(np.ceil(step / (_LONGEST_TO_WIDTH * min(spacing_mm))))) for step in spacing_mm]
    fine_mm = np.divide(spacing_mm, zoom)
    inside = region[box].repeat(zoom[0], axis=0).repeat(zoom[1], axis=1).repeat(zoom[2], axis=2)
    found = _tubes(_finer(volume[box], zoom), inside, fine_mm)
    h, b, w = zoom
    shape = found.shape
    parts = found.reshape(shape[0] // h, h, shape[1] // b, b, shape[2] // w, w)
    mask: Mask = whole(box, (parts.mean(axis=(1, 3, 5)) >= 0.5) & region[box], volume.shape)
    return mask


def noise_of(image: Array, region: Mask, step_mm: Spacing | Numbers) -> float:
    """Return the standard deviation of the noise in `region`: of what a Gaussian of 1 mm takes away."""
    steps = np.asarray(step_mm)
    return _spread((image - ndimage.gaussian_filter(image, 1.0 / steps))[region])


def _tubes(image: Array, region: Mask, step_mm: Numbers) -> Mask:
    image = image.astype(np.float32, copy=False)
    mask = np.zeros(image.shape, bool)
    steady, noise, places, contrast = _bright(image, region, step_mm)
    if not len(places):
        return mask
    signal = steady[tuple(places.T)]
    course = _courses(image, steady, places, contrast, noise, step_mm)
    if not len(course.places):
        return mask

    middles = np.zeros(image.shape, np.float32)
    middles[tuple(course.places.T)] = course.signal
    near = [2 * int(np.ceil(_PEAK_MM / step)) + 1 for step in step_mm]
    peak = ndimage.maximum_filter(middles, near)[tuple(course.places.T)] - noise  # the highest of many is too high
    level = (course.ground + peak) / 2
    reach_mm = _REACH * course.scale_mm + _BEYOND_MM
    tree = KDTree(course.places * step_mm)
    away_mm, nearest = tree.query(places * step_mm, distance_upper_bound=float(reach_mm.max()) + 1e-6, workers=2)
    near_enough = np.isfinite(away_mm)
    places, signal, away_mm, nearest = (one[near_enough] for one in (places, signal, away_mm, nearest))
    inside = (away_mm <= reach_mm[nearest]) & (signal > level[nearest])
    mask[tuple(places[inside].T)] = True
    return mask


def _bright(image: Array, region: Mask, step_mm: Numbers) -> tuple[Array, float, Places, Array]:
    """Return the image without its finest noise, the noise, and where it is brighter than the ground, and by what."""
    steady, smooth = both(
        lambda: ndimage.gaussian_filter(image, 0.25 / step_mm), lambda: ndimage.gaussian_filter(image, 1.0 / step_mm)
    )
    noise = _spread((image - smooth)[region])
    size = [2 * round(_NARROW_MM / 2 / step) + 1 for step in step_mm]
    ground = ndimage.maximum_filter(ndimage.minimum_filter(smooth, size), size)
    rise = steady - ground
    places = np.argwhere(region & (rise > np.maximum(_LEAST_CONTRAST * noise, _LEAST_SHARE * ground)))
    return steady, noise, places, rise[tuple(places.T)]


@dataclass(frozen=True, slots=True, eq=False)
class _Course:
    """Voxels in the middles of tubes: index, scale, signal, and the signal of the ground around them."""

    places: Places
    scale_mm: Numbers
    signal: Array
    ground: Array

    def where(self, chosen: Mask) -> "_Course":
        return _Course(self.places[chosen], self.scale_mm[chosen], self.signal[chosen], self.ground[chosen])


def _courses(image: Array, steady: Array, places: Places, contrast: Array, noise: float, step_mm: Numbers) -> _Course:
    """Return the middles of tubes among `places`, which are brighter than the ground by `contrast`."""
    scale_mm, bends = _strongest_bend(image, places, step_mm)
    # Eigenvalues only where the sum of the curvatures allows for two that are strong enough.
    possible = -bends[:, [0, 3, 5]].sum(axis=1) > 2 * _LEAST_BEND * contrast
    places, scale_mm, contrast = places[possible], scale_mm[possible], contrast[possible]
    bends = bends[possible]
    strong, middle, along = curvatures(bends).T
    tube = (middle > _ROUND * strong) & (along < _BALL * middle) & (middle > _LEAST_BEND * contrast)
    places, scale_mm = places[tube], scale_mm[tube]
    vectors = np.linalg.eigh(bends[tube][:, [0, 1, 2, 1, 3, 4, 2, 4, 5]].reshape(-1, 3, 3))[1]

    def at(offsets_mm: Numbers) -> Array:
        values: Array = ndimage.map_coordinates(
            steady, (places + offsets_mm / step_mm).T, np.float32, order=1, mode="nearest"
        )
        return values

    signal = steady[tuple(places.T)]
    radius_mm = (_WIDTH * scale_mm + _WALL_MM)[:, None]
    first, second, axis = (vectors[:, :, one] for one in range(3))
    around = np.stack([at(radius_mm * (np.cos(turn) * first + np.sin(turn) * second)) for turn in _ANGLES], axis=1)
    ground = np.median(around, axis=1)
    half = (ground + signal) / 2
    dark_around = (around > half[:, None]).sum(axis=1) < _BRIGHT_ABOUT
    goes_on = np.maximum(at((radius_mm + 1) * axis), at(-(radius_mm + 1) * axis)) > half
    stands_out = signal - ground > np.maximum(_LEAST_CONTRAST * noise, _LEAST_SHARE * ground)
    tubes = dark_around & goes_on & stands_out
    rise = (signal - ground) / np.maximum(ground, noise)  # without the coil's shading
    if tubes.any():
        tubes &= rise > _LEAST_OF_BRIGHTEST * np.percentile(rise[tubes], 99)
    course = _Course(places, scale_mm, signal, ground).where(tubes)
    return course.where(_is_long(course, image.shape, step_mm))


def _strongest_bend(image: Array, places: Places, step_mm: Numbers) -> tuple[Numbers, Numbers]:
    """Return the scale with the largest sum of curvatures at each place, and the six second derivatives there.

    In the order 00, 01, 02, 11, 12, 22 of the axes, times the square of the scale.
    """
    scale_mm, best, bends = np.zeros(len(places)), np.zeros(len(places)), np.zeros((len(places), 6))
    inner = np.clip(places, 1, np.array(image.shape) - 2)
    strides = np.array([image.shape[1] * image.shape[2], image.shape[2], 1])
    index = inner @ strides
    blurred = (ndimage.gaussian_filter(image, scale / step_mm).ravel() for scale in _SCALES_MM)
    for scale, flat in zip(_SCALES_MM, ahead(blurred), strict=True):
        centre = flat[index]
        straight = [
            scale**2 * (flat[index + stride] + flat[index - stride] - 2 * centre) / step**2
            for stride, step in zip(strides, step_mm, strict=True)
        ]
        total = -sum(straight)
        better = total > best
        scale_mm[better], best[better] = scale, total[better]
        bends[better[:, None] & [True, False, False, True, False, True]] = np.stack(straight, axis=1)[better].ravel()
        here = index[better]
        for column, (i, j) in {1: (0, 1), 2: (0, 2), 4: (1, 2)}.items():
            one, other = strides[i] + strides[j], strides[i] - strides[j]
            mixed = flat[here + one] + flat[here - one] - flat[here + other] - flat[here - other]
            bends[better, column] = scale**2 * mixed / (4 * step_mm[i] * step_mm[j])
    return scale_mm, bends


def curvatures(bends: Numbers) -> Numbers:
    """Return the three main curvatures, strongest first, positive where it is bright in the middle; shape (n, 3).

    The eigenvalues of symmetric 3 x 3 matrices in closed form (Smith, Commun ACM 1961, 4:168,
    doi:10.1145/355578.366316): a third of the time of LAPACK; most places are no tube.
    """
    a, d, e, b, f, c = bends.T
    mean = (a + b + c) / 3
    spread = np.sqrt(((a - mean) ** 2 + (b - mean) ** 2 + (c - mean) ** 2 + 2 * (d * d + e * e + f * f)) / 6) + 1e-30
    a, b, c, d, e, f = ((one / spread) for one in (a - mean, b - mean, c - mean, d, e, f))
    half = (a * (b * c - f * f) - d * (d * c - f * e) + e * (d * f - b * e)) / 2
    angle = np.arccos(np.clip(half, -1, 1)) / 3
    high, low = mean + 2 * spread * np.cos(angle), mean + 2 * spread * np.cos(angle + 2 * np.pi / 3)
    curvatures: Numbers = -np.stack([low, 3 * mean - high - low, high], axis=1)
    return curvatures


def _is_long(course: _Course, shape: tuple[int, ...], step_mm: Numbers) -> Mask:
    """Return for each voxel of a course whether the whole of it is long, and long for its width: a ball is not."""
    if not len(course.places):
        return np.zeros(0, bool)
    middles = np.zeros(shape, bool)
    middles[tuple(course.places.T)] = True
    pieces, count = ndimage.label(middles, np.ones((3, 3, 3)))
    own = pieces[tuple(course.places.T)] - 1
    size = np.bincount(own, minlength=count)

    def mean(values: Numbers) -> Numbers:
        means: Numbers = np.bincount(own, values, minlength=count) / size
        return means

    points = course.places * step_mm
    off = points - np.stack([mean(one) for one in points.T], axis=1)[own]
    spread = np.stack([mean(off[:, i] * off[:, j]) for i in range(3) for j in range(3)], axis=1).reshape(-1, 3, 3)
    length_mm = np.sqrt(12 * np.clip(np.linalg.eigvalsh(spread)[:, -1], 0, None))  # of an even line with that spread
    long = (length_mm >= _LEAST_LENGTH_MM) & (length_mm >= _LEAST_ELONGATION * mean(_WIDTH * course.scale_mm))
    chosen: Mask = long[own]
    return chosen


def _spread(values: Array) -> float:
    """Return the standard deviation, but for outliers."""
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))


def _finer(image: Array, zoom: list[int]) -> Array:
    if all(factor == 1 for factor in zoom):
        return image
    finer: Array = ndimage.zoom(image, zoom, order=1, mode="nearest", grid_mode=True)
    return finer
