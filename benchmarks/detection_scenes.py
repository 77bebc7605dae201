"""Backs with simulated contrast, to look for foci in: real anatomy or the phantom, with what is mistaken for a focus.

A `Scenery` is an anatomy with one pattern of fat, outlined by the node's own segmenter. `draw` makes a pair of series
of it: muscle that takes up contrast unevenly, bent veins, inflamed facet joints, lesions, noise, a faulty gain, and a
movement of which a part is left after registration. All is in units of the muscle's signal before contrast.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from node import plugins
from node.analysis.grid import Grid, Spacing, box_around, whole
from node.dicom.geometry import Geometry
from node.simulator.anatomy import Phantom
from node.simulator.tissues import FAT_T1_S, TISSUES
from tests.analysis.phantom import FRAME, volume
from tests.analysis.running import SHARED, RealBack

FAT_TO_MUSCLE = 2.4  # T1 without fat suppression
FAT_RISE, OTHER_RISE, VEIN_RISE, FACET_RISE = 0.03, 0.20, 1.60, 1.30
CORE_RISE = 0.10
FACET_SIGNAL = 0.6  # of fluid before contrast, T1
UNEVEN = 0.12  # of the muscle's own enhancement, standard deviation over about 3 mm
VEINS = 12
VEIN_RADII_MM, VEIN_LENGTHS_MM = (0.5, 1.1), (8.0, 40.0)
COIL_MM = 140.0  # the surface coil's sensitivity falls to 1/e over that
TR_S = 0.55
FATTY_SHARE = 0.31  # of the muscle

Image = npt.NDArray[np.float32]
Points = npt.NDArray[np.float64]
Random = np.random.Generator


@dataclass(frozen=True, slots=True)
class Protocol:
    """A protocol class: spacing along head, back and left; and how many slices of the phantom are drawn."""

    name: str
    spacing_mm: Spacing
    slices: int


PROTOCOLS = (Protocol("2D 1 x 1 x 4 mm", (4.0, 1.0, 1.0), 29), Protocol("3D 0.8 x 0.8 x 1.5 mm", (1.5, 0.8, 0.8), 60))


@dataclass(frozen=True, slots=True, eq=False)
class Scenery:
    """An anatomy before contrast, on a box around the muscles, in canonical order.

    Parameters
    ----------
    water, fat : ndarray of float32
        Their signals.
    level : ndarray of float32
        The signal of muscle nearby.
    truth, outlines : ndarray of uint8
        1 left, 2 right: as they are, and as the node's segmenter outlines them.
    facets_mm : ndarray, shape (n, 3)
        Where facet joints border on the muscle; (head, back, left) from the first voxel.
    """

    name: str
    protocol: Protocol
    water: Image
    fat: Image
    level: Image
    truth: npt.NDArray[np.uint8]
    outlines: npt.NDArray[np.uint8]
    body: npt.NDArray[np.bool_]
    facets_mm: Points

    @property
    def geometry(self) -> Geometry:
        affine = np.eye(4)
        affine[:3, :3] = np.diag(self.protocol.spacing_mm)[:, ::-1].T
        depth, rows, columns = self.water.shape
        return Geometry(affine, (depth, rows, columns), FRAME)


@dataclass(frozen=True, slots=True)
class Foci:
    """The lesions of one volume. `core`: share of the radius that hardly enhances; `before`: signal over muscle's."""

    count: int
    diameter_mm: float
    rise: float = 1.05
    core: float = 0.0
    before: float = 0.92


NO_FOCI = Foci(0, 0.0)


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """A pair of series after registration and gain correction.

    Parameters
    ----------
    residual_mm : float
        Standard deviation, per axis of the axial plane, from which what the registration left was drawn.
    veins : ndarray of float32
        Share of every voxel.
    centres_mm : tuple of ndarray
        Of the lesions, in LPS.
    """

    pre: Image
    post: Image
    residual_mm: float
    veins: Image
    centres_mm: tuple[Points, ...]


# -- anatomies


def sceneries(protocol: Protocol, seed: int, *, segmenter: str = "unet") -> list[Scenery]:
    """Return every anatomy at hand with every pattern of fat; `seed` decides where the fat lies."""
    bodies: dict[str, Callable[[Protocol, int], tuple[Image, Image, npt.NDArray[np.uint8], Spacing]]] = {
        "phantom": _phantom
    }
    if (SHARED / "TUM_lumbar_dixon").exists():
        bodies["TUM01"] = _real
    every = []
    for name, body in bodies.items():
        water, fat, truth, spacing_mm = body(protocol, seed)
        for number, pattern in enumerate(PATTERNS):
            rng = np.random.default_rng([seed, number])
            box = box_around(truth > 0, spacing_mm, 0.0)
            share = whole(box, _infiltrated(pattern, fat[box], truth[box] > 0, spacing_mm, rng), fat.shape)
            more = FAT_TO_MUSCLE * share
            of_muscle = np.where(truth > 0, np.maximum(fat, more), fat).astype(np.float32)
            every.append(
                _outlined(f"{name}, {pattern}", protocol, water * (1 - share), of_muscle, truth, segmenter, seed)
            )
    return every


def _real(protocol: Protocol, seed: int) -> tuple[Image, Image, npt.NDArray[np.uint8], Spacing]:
    """Return TUM01, resampled: 4 mm slices hold nothing finer, so thin slices of it are smooth along the back."""
    back = RealBack()
    back.crop()
    turned = Grid.of(volume(back.water, back.geometry))
    factors = np.divide(turned.spacing_mm, protocol.spacing_mm)
    water, fat = (
        ndimage.zoom(turned.axes.apply(one) / back.muscle_signal, factors, order=3).clip(0).astype(np.float32)
        for one in (back.water, back.fat)
    )
    shares = [
        ndimage.zoom((turned.axes.apply(back.sides) == side).astype(np.float32), factors, order=1) for side in (1, 2)
    ]
    truth = np.where(shares[0] >= 0.5, 1, np.where(shares[1] >= 0.5, 2, 0)).astype(np.uint8)
    middle = slice(max(0, (len(truth) - protocol.slices) // 2), (len(truth) + protocol.slices) // 2)
    return water[middle], fat[middle], truth[middle], protocol.spacing_mm


def _phantom(protocol: Protocol, seed: int) -> tuple[Image, Image, npt.NDArray[np.uint8], Spacing]:
    phantom = Phantom(seed=seed, muscle_fat=0.0)
    step, row, column = protocol.spacing_mm
    low, size = np.array(phantom.field_of_view.low), phantom.field_of_view.size
    affine = np.eye(4)
    affine[:3, :3] = np.diag(protocol.spacing_mm)[:, ::-1].T
    affine[:3, 3] = (low[0], low[1], -step * (protocol.slices - 1) / 2)
    geometry = Geometry(affine, (protocol.slices, int(size[1] / row), int(size[0] / column)), FRAME)
    anatomy = phantom.sample(geometry, np.eye(4))
    water, fat = np.zeros(256, np.float32), np.zeros(256, np.float32)
    for label, tissue in TISSUES.items():
        water[label] = tissue.water * (1 - np.exp(-TR_S / tissue.t1_s[0]))
        fat[label] = tissue.fat * (1 - np.exp(-TR_S / FAT_T1_S[0]))
    water, fat = water / water[3], fat * FAT_TO_MUSCLE / fat[2]  # labels of left muscle and of fat
    truth = np.where(anatomy.share(3) >= 0.5, 1, np.where(anatomy.share(4) >= 0.5, 2, 0)).astype(np.uint8)
    coil = np.exp(-np.arange(geometry.shape[1])[::-1, None] * row / COIL_MM).astype(np.float32)
    return anatomy.mix(water) * coil, anatomy.mix(fat) * coil, truth, protocol.spacing_mm


def _outlined(
    name: str, protocol: Protocol, water: Image, fat: Image, truth: npt.NDArray[np.uint8], segmenter: str, seed: int
) -> Scenery:
    scale = float(np.median((water + fat)[truth > 0]))
    noise = np.random.default_rng([seed, 7]).normal(0, scale / 30, water.shape)
    found = plugins.load("segmenters", segmenter)().segment(
        np.abs(water + fat + noise).astype(np.float32), spacing_mm=protocol.spacing_mm
    )
    outlines = np.where(found.accepted[:, None, None], found.muscles, 0).astype(np.uint8)
    box = box_around((truth > 0) | (outlines > 0), protocol.spacing_mm, 8.0)
    muscle = (truth[box] > 0).astype(np.float32)
    near = [8.0 / step for step in protocol.spacing_mm]
    level = ndimage.gaussian_filter((water[box] + fat[box] / FAT_TO_MUSCLE) * muscle, near)
    level /= np.maximum(ndimage.gaussian_filter(muscle, near), 0.01)
    return Scenery(
        name, protocol, water[box], fat[box], level, truth[box], outlines[box], found.body[box],
        _facets_mm(truth[box], protocol.spacing_mm),
    )  # fmt: skip


def _facets_mm(truth: npt.NDArray[np.uint8], spacing_mm: Spacing) -> Points:
    """Return a place every 32 mm on either side: the front of the muscle, 10 to 18 mm beside the midline."""
    columns = np.arange(truth.shape[2]) * spacing_mm[2]
    middle = (columns[(truth == 1).any(axis=(0, 1))].mean() + columns[(truth == 2).any(axis=(0, 1))].mean()) / 2
    places = []
    for head_mm in np.arange(12.0, (len(truth) - 1) * spacing_mm[0] - 8, 32.0):
        plane = truth[round(head_mm / spacing_mm[0])] > 0
        for side in (-1, 1):
            column = round((middle + side * 14) / spacing_mm[2])
            rows = np.nonzero(plane[:, column])[0]
            if len(rows):
                places.append((head_mm, rows[0] * spacing_mm[1], column * spacing_mm[2]))
    return np.array(places).reshape(-1, 3)


# -- fat in the muscle


def _infiltrated(pattern: str, fat: Image, muscle: npt.NDArray[np.bool_], spacing_mm: Spacing, rng: Random) -> Image:
    """Return the share of every voxel that is turned into fat, so that about `FATTY_SHARE` of the muscle is fat."""
    if not PATTERNS[pattern]:
        return np.zeros(fat.shape, np.float32)
    depth_mm = PATTERNS[pattern](fat.shape, spacing_mm, rng)
    edge_mm = 0.7 if pattern == "streaks" else spacing_mm[1] / 2
    low, high = (float(one) for one in np.quantile(depth_mm[muscle], (0.001, 0.999)))
    share = np.zeros(fat.shape, np.float32)
    for _ in range(12):  # bisection: how deep is fat
        border = (low + high) / 2
        share = np.where(muscle, 0.95 * np.clip(0.5 + (depth_mm - border) / (2 * edge_mm), 0, 1), 0).astype(np.float32)
        fatty = float(np.maximum(fat, FAT_TO_MUSCLE * share)[muscle].clip(0, FAT_TO_MUSCLE).mean()) / FAT_TO_MUSCLE
        low, high = (border, high) if fatty > FATTY_SHARE else (low, border)
    return share


def _field(shape: tuple[int, ...], spacing_mm: Spacing, rng: Random, sizes_mm: Spacing) -> Image:
    field = rng.standard_normal(shape, dtype=np.float32)
    smooth: Image = ndimage.gaussian_filter(field, np.divide(sizes_mm, spacing_mm).tolist())
    return smooth / smooth.std()


def _slope(field: Image, spacing_mm: Spacing) -> Image:
    slope: Image = np.hypot(*np.gradient(field, *spacing_mm[1:], axis=(1, 2))) + 0.05
    return slope


def _streaks(shape: tuple[int, ...], spacing_mm: Spacing, rng: Random) -> Image:
    return 1.6 * _field(shape, spacing_mm, rng, (3.0, 1.6, 1.6))


def _septa(shape: tuple[int, ...], spacing_mm: Spacing, rng: Random) -> Image:
    """Return how deep in thin, sharp, bent sheets a place lies, less than 0 outside."""
    field = _field(shape, spacing_mm, rng, (12.0, 4.0, 4.0))
    return -np.abs(field) / _slope(field, spacing_mm)


def _deposits(shape: tuple[int, ...], spacing_mm: Spacing, rng: Random) -> Image:
    field = _field(shape, spacing_mm, rng, (8.0, 4.0, 4.0))
    return 4.0 * field


PATTERNS: dict[str, Callable[[tuple[int, ...], Spacing, Random], Image] | None] = {
    "as it is": None,
    "streaks": _streaks,
    "septa": _septa,
    "deposits": _deposits,
}


# -- contrast


def draw(
    scenery: Scenery, rng: Random, foci: Foci = NO_FOCI, *, snr: float = 30.0, muscle_rise: float = 0.40,
    residual_mm: float | None = None,
) -> Drawn:  # fmt: skip
    """Return a pair of series. Unless `residual_mm` is given it is drawn from 0 to 0.3."""
    residual_mm = float(rng.uniform(0, 0.3)) if residual_mm is None else residual_mm
    spacing_mm, shape = scenery.protocol.spacing_mm, scenery.water.shape
    uneven = _field(shape, spacing_mm, rng, (3.0, 3.0, 3.0))
    rise = np.where(scenery.truth > 0, muscle_rise * (1 + UNEVEN * uneven), OTHER_RISE)
    veins = _veins(scenery, rng)
    facets = _facets(scenery, rng)
    lesion, core, centres = _lesions(scenery, rng, foci)

    keep = (1 - facets - lesion).clip(0)
    fat = scenery.fat * keep
    water = scenery.water * keep + scenery.level * (foci.before * lesion + FACET_SIGNAL * facets)
    others = (1 - veins - lesion - facets).clip(0)
    rises = (
        others * rise
        + veins * (1 - lesion) * VEIN_RISE
        + facets * FACET_RISE
        + (lesion - core) * foci.rise
        + CORE_RISE * core
    )
    pre, post = water + fat, water * (1 + rises) + fat * (1 + FAT_RISE)
    sigma = float(np.median(pre[scenery.truth > 0])) / snr
    # The pre series was acquired elsewhere and is brought onto the grid of the other, but for what is left.
    there = rng.uniform(-0.5, 0.5, 3)
    left = rng.normal(0, residual_mm, 3) * [0.5, 1, 1] / spacing_mm
    pre = _shifted(pre, there) + sigma * rng.standard_normal(shape, dtype=np.float32)
    pre = _shifted(pre, -there + left)
    post = post + sigma * rng.standard_normal(shape, dtype=np.float32)
    post *= rng.normal(1, 0.01)  # of the gain, what its correction leaves
    return Drawn(pre.astype(np.float32), post.astype(np.float32), residual_mm, veins, centres)


def _veins(scenery: Scenery, rng: Random) -> Image:
    """Return the share of every voxel in short bent tubes."""
    spacing_mm = scenery.protocol.spacing_mm
    inside = np.argwhere(scenery.truth > 0)
    share = np.zeros(scenery.water.shape, np.float32)
    for _ in range(VEINS):
        length, radius = rng.uniform(*VEIN_LENGTHS_MM), rng.uniform(*VEIN_RADII_MM)
        count = max(2, int(length / 0.25))
        heading = rng.standard_normal(3) * [1.6, 1, 1]
        turns = np.cumsum(rng.standard_normal((count, 3)) * 0.05, axis=0)  # bent over about 10 to 20 mm
        along = heading / np.linalg.norm(heading) + turns
        along /= np.linalg.norm(along, axis=1)[:, None]
        line = inside[rng.integers(len(inside))] * spacing_mm + np.cumsum(along, axis=0) * (length / count)
        points = _in_ball(rng, 40 * count) * radius
        points -= np.repeat(along, 40, axis=0) * np.sum(points * np.repeat(along, 40, axis=0), axis=1)[:, None]
        points *= (rng.uniform(0, 1, (len(points), 1)) ** 0.5) * radius / np.linalg.norm(points, axis=1)[:, None]
        _add(share, np.repeat(line, 40, axis=0) + points, np.pi * radius**2 * length, spacing_mm)
    return share.clip(0, 1)


def _facets(scenery: Scenery, rng: Random) -> Image:
    """Return the share of every voxel in inflamed facet joints: about every second one there is."""
    share = np.zeros(scenery.water.shape, np.float32)
    for place in scenery.facets_mm[rng.random(len(scenery.facets_mm)) < 0.5]:
        axes = rng.uniform((3.0, 1.2, 1.5), (6.0, 2.5, 3.0))
        centre = place + rng.uniform((-6, -2, -3), (6, 0.5, 3))
        _add(share, centre + _in_ball(rng, 8000) * axes, 4 / 3 * np.pi * axes.prod(), scenery.protocol.spacing_mm)
    return share.clip(0, 1)


def _lesions(scenery: Scenery, rng: Random, foci: Foci) -> tuple[Image, Image, tuple[Points, ...]]:
    """Return the shares of lesions and of their cores, and their centres, well apart; ends of the stack are spared."""
    spacing_mm, radius = scenery.protocol.spacing_mm, foci.diameter_mm / 2
    share, core = np.zeros(scenery.water.shape, np.float32), np.zeros(scenery.water.shape, np.float32)
    centres: list[Points] = []
    if foci.count:
        depth = ndimage.distance_transform_edt(scenery.truth > 0, sampling=spacing_mm)
        ends = int(np.ceil(max(6.0, 2 * spacing_mm[0]) / spacing_mm[0]))
        depth[:ends] = depth[-ends:] = 0
        depth[~scenery.outlines.any(axis=(1, 2))] = 0  # in a slice that the segmenter refused nobody looks
        places = np.argwhere(depth > min(0.8 * radius, 5))
        while len(centres) < foci.count:
            centre = (places[rng.integers(len(places))] + rng.uniform(-0.45, 0.45, 3)) * spacing_mm
            if all(np.linalg.norm(centre - other) > 25 + foci.diameter_mm for other in centres):
                centres.append(centre)
    for centre in centres:
        count = int(4000 + 60 * radius**3)
        _add(share, centre + _in_ball(rng, count) * radius, 4 / 3 * np.pi * radius**3, spacing_mm)
        if foci.core:
            inner = foci.core * radius
            _add(core, centre + _in_ball(rng, count) * inner, 4 / 3 * np.pi * inner**3, spacing_mm)
    share = _steady(share)
    core = np.minimum(_steady(core), share)
    return share, core, tuple(scenery.geometry.to_lps(one / spacing_mm) for one in centres)


def _steady(share: Image) -> Image:
    """Return shares without the noise of the random points within: near 1 they are 1."""
    return np.where(share > 0.85, 1, share).clip(0, 1).astype(np.float32)


def _in_ball(rng: Random, count: int) -> Points:
    points = rng.standard_normal((count, 3))
    return points * (rng.random((count, 1)) ** (1 / 3)) / np.linalg.norm(points, axis=1)[:, None]


def _add(share: Image, points_mm: Points, volume_mm3: float, spacing_mm: Spacing) -> None:
    """Spread a volume over the voxels that its points lie in."""
    voxels = np.round(points_mm / spacing_mm).astype(int)
    inside = ((voxels >= 0) & (voxels < share.shape)).all(axis=1)
    flat = np.ravel_multi_index(tuple(voxels[inside].T), share.shape)
    np.add.at(share.reshape(-1), flat, np.float32(volume_mm3 / len(points_mm) / np.prod(spacing_mm)))


def _shifted(image: Image, voxels: Sequence[float] | Points) -> Image:
    """Return image[i - voxels], by cubic B-splines as `analysis.resampling.bring`: axis by axis, as shifts allow."""
    for axis, shift in enumerate(voxels):
        whole = int(np.floor(-shift))
        f = -shift - whole
        taps = [(1 - f) ** 3, 3 * f**3 - 6 * f**2 + 4, -3 * f**3 + 3 * f**2 + 3 * f + 1, f**3]
        reach = max(4, abs(whole) + 2)
        padded = np.pad(image, [(reach, reach) if one == axis else (0, 0) for one in range(3)], mode="edge")
        splines = ndimage.spline_filter1d(padded, 3, axis=axis, output=np.float32, mode="mirror")
        start, stop = reach + whole - 1, reach + whole - 1 + image.shape[axis]
        image = sum(
            np.float32(tap / 6) * np.take(splines, np.arange(start + n, stop + n), axis=axis)
            for n, tap in enumerate(taps)
        )  # type: ignore[assignment]
    return image
