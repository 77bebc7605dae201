"""Implants: the lesions of a recipe and the vessels that feed them, placed into a body."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from node.dicom.geometry import Geometry
from node.errors import SimulatorError
from node.findings import Side
from node.simulator.anatomy import Anatomy, Body
from node.simulator.canvas import Canvas, Point, Shape, ellipsoid, tube
from node.simulator.physics import Array, Kinetics
from node.simulator.recipe import LesionRecipe
from node.simulator.tissues import CORE, LESION, MUSCLE_LABELS, Label, Tissue

FIRST_LESION = len(Label)
_SIGN = {Side.LEFT: 1.0, Side.RIGHT: -1.0}
_FEEDER_RADIUS_MM, _TUFT_RADIUS_MM = 1.5, (0.8, 1.2)


@dataclass(frozen=True, slots=True)
class Implant:
    """A lesion at its place in the body.

    Parameters
    ----------
    number : int
        1, 2, ...
    centre_mm : tuple of float
        In body coordinates.
    vessels : tuple of Shape
        The vessels in it and the one that leads to the plexus.
    """

    number: int
    recipe: LesionRecipe
    centre_mm: Point
    vessels: tuple[Shape, ...]

    @property
    def label(self) -> int:
        """Its number in an anatomy."""
        return FIRST_LESION + 2 * (self.number - 1)

    @property
    def core_label(self) -> int:
        return self.label + 1

    @property
    def radius_mm(self) -> float:
        return self.recipe.diameter_mm / 2

    @property
    def tissues(self) -> tuple[Tissue, Tissue]:
        """Return the tissues of lesion and core."""
        uptake = self.recipe.uptake
        return replace(LESION, kinetics=Kinetics(uptake.ktrans, uptake.ve, uptake.vp)), CORE


def place(
    lesions: Sequence[LesionRecipe], body: Body, *, heights_mm: tuple[float, float], seed: int
) -> tuple[Implant, ...]:
    """Return the lesions at their places; `heights_mm` is the z that levels 0 and 1 stand for.

    Raises
    ------
    SimulatorError
        If a level shows no muscle of the lesion's side, a given centre lies on the other side, or two lesions overlap.
    """
    implants: list[Implant] = []
    for number, lesion in enumerate(lesions, start=1):
        z = heights_mm[0] + lesion.level * (heights_mm[1] - heights_mm[0])
        centre = lesion.centre_mm or _thickest(body, lesion.side, z)
        if (centre[0] - float(body.muscles.centre[0])) * _SIGN[lesion.side] <= 0:
            raise SimulatorError(f"lesion {number} is said to lie on the {lesion.side} side, but its centre does not")
        for other in implants:
            apart = float(np.linalg.norm(np.subtract(centre, other.centre_mm)))
            if apart < (lesion.diameter_mm + other.recipe.diameter_mm) / 2:
                raise SimulatorError(f"lesion {number} overlaps another one: their centres are {apart:.1f} mm apart")
        rng = np.random.default_rng([seed, 2, number])
        plexus = body.plexus_mm(_SIGN[lesion.side], centre[2] - 6)
        implants.append(Implant(number, lesion, centre, _vessels(rng, lesion, centre, plexus)))
    return tuple(implants)


def _thickest(body: Body, side: Side, z: float) -> Point:
    """Return the place at height `z` that lies deepest in the muscle of a side."""
    box = body.muscles
    affine = np.eye(4)
    affine[:3, :3] = [[0, 0, 1], [0, 1, 0], [1, 0, 0]]  # 1 mm pixels
    affine[:3, 3] = box.low[0], box.low[1], z
    columns, rows = (int(length) + 1 for length in box.size[:2])
    anatomy = body.sample(Geometry(affine, (1, rows, columns), ""), np.eye(4))
    muscle = anatomy.share(MUSCLE_LABELS[side], Label.FAT)[0] * (anatomy.share(MUSCLE_LABELS[side])[0] > 0)
    inside = ndimage.binary_closing(muscle > 0.5, iterations=2)  # streaks of fat are no border
    if not inside.any():
        raise SimulatorError(f"there is no muscle on the {side} side at z = {z:.0f} mm to put a lesion into")
    depth = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(int(np.argmax(depth)), depth.shape)
    return box.low[0] + float(column), box.low[1] + float(row), z


def _vessels(rng: np.random.Generator, lesion: LesionRecipe, centre: Point, plexus: Point) -> tuple[Shape, ...]:
    if not lesion.vessels:
        return ()
    radius = lesion.diameter_mm / 2
    shapes = []
    for _ in range(lesion.vessels):  # short chords through the outer half, where vessels of tumours are
        direction = rng.standard_normal(3)
        direction /= np.linalg.norm(direction)
        across = np.cross(direction, rng.standard_normal(3))
        across /= np.linalg.norm(across)
        middle = np.array(centre) + direction * radius * rng.uniform(0.45, 0.8)
        half = across * radius * rng.uniform(0.3, 0.55)
        shapes.append(tube(_point(middle - half), _point(middle + half), rng.uniform(*_TUFT_RADIUS_MM)))
    way = np.array(plexus) - centre
    surface = np.array(centre) + way / np.linalg.norm(way) * 0.6 * radius
    bend = (surface + plexus) / 2 + np.array([0, 3.0, 4.0])
    shapes += [tube(_point(surface), _point(bend), _FEEDER_RADIUS_MM), tube(_point(bend), plexus, _FEEDER_RADIUS_MM)]
    return tuple(shapes)


def _point(array: Array) -> Point:
    return float(array[0]), float(array[1]), float(array[2])


def implant(anatomy: Anatomy, implants: Sequence[Implant]) -> Anatomy:
    """Return the anatomy with the lesions in it, and their vessels."""
    if not implants:
        return anatomy
    canvas = Canvas(anatomy.labels.copy(), anatomy.affines)
    for one in implants:
        radius = one.radius_mm
        canvas.paint(one.label, ellipsoid(one.centre_mm, (radius,) * 3))
        if one.recipe.core_share:
            canvas.paint(one.core_label, ellipsoid(one.centre_mm, (radius * one.recipe.core_share,) * 3))
        for vessel in one.vessels:
            canvas.paint(Label.VEIN, vessel)
    changed = replace(anatomy, labels=canvas.labels)
    return _with_density(changed) if anatomy.measured else changed


def _with_density(anatomy: Anatomy) -> Anatomy:
    """Return a real anatomy whose images show implants as water of the muscle's density, without fat."""
    share = anatomy.share(Label.VEIN, *range(FIRST_LESION, 256))
    muscle = anatomy.share(Label.LEFT_MUSCLE, Label.RIGHT_MUSCLE) > 0.99
    near = ndimage.binary_dilation(share > 0, iterations=6) & muscle
    density = float(np.median(anatomy.water[near])) if near.any() else 1.0
    return replace(
        anatomy, water=anatomy.water * (1 - share) + share * np.float32(density), fat=anatomy.fat * (1 - share)
    )
