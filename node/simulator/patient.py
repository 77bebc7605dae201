"""A patient: a body with the lesions of a recipe, lying in the scanner, who may move between two series."""

from dataclasses import dataclass, replace

import numpy as np

from node.dicom.geometry import Geometry
from node.errors import SimulatorError
from node.simulator.anatomy import Anatomy, Body, Phantom
from node.simulator.images import read_body
from node.simulator.implants import Implant, implant, place
from node.simulator.physics import Array, Image, Kinetics
from node.simulator.planning import Plan, plan_series, rigid
from node.simulator.recipe import Recipe, Uptake
from node.simulator.scan import Surroundings, Weighting, scan
from node.simulator.tissues import TISSUES, Label, Tissue


@dataclass(frozen=True, slots=True, eq=False)
class Patient:
    """A body in the scanner.

    Parameters
    ----------
    body : Body
        Without lesions.
    implants : tuple of Implant
        Its lesions.
    tissues : tuple of Tissue
        By label: the usual table with the recipe's muscles, then the lesions.
    movement : ndarray, shape (4, 4)
        From where a place is during the pre series to where it is during the post series, LPS mm.
    around : Surroundings
        What is random about patient and scanner.
    field_strength_t : float
        Of the scanner.
    """

    body: Body
    implants: tuple[Implant, ...]
    tissues: tuple[Tissue, ...]
    movement: Array
    around: Surroundings
    field_strength_t: float

    @classmethod
    def of(cls, recipe: Recipe) -> "Patient":
        """Return the patient of a recipe.

        Raises
        ------
        SimulatorError
            If the anatomy's files cannot be used, or a lesion finds no place.
        """
        body = _body(recipe)
        heights_mm = _heights_mm(plan_series(recipe, body, "", "pre", 1).geometries[0], body)
        implants = place(recipe.lesions, body, heights_mm=heights_mm, seed=recipe.seed)
        return cls(
            body=body,
            implants=implants,
            tissues=_tissues(recipe, implants),
            movement=rigid(recipe.motion_mm, recipe.motion_deg, body.muscles.centre),
            around=Surroundings.of(
                recipe.seed,
                coil_mm=body.muscles.high[1],
                coil_reach_mm=0.0 if recipe.anatomy.kind == "images" else recipe.coil_reach_mm,
            ),
            field_strength_t=recipe.field_strength_t,
        )

    def anatomy(self, geometry: Geometry, *, moved: bool = False) -> Anatomy:
        """Return what lies on a grid, before or after the movement."""
        to_body = np.linalg.inv(self.movement) if moved else np.eye(4)
        return implant(self.body.sample(geometry, np.asarray(to_body, np.float64)), self.implants)

    def scan(self, anatomy: Anatomy, plan: Plan, *, minutes: float | None) -> Image:
        """Return the noise-free image of an anatomy, `minutes` after contrast or, with None, before it."""
        weighting = Weighting(plan.pulse, self.field_strength_t, plan.fat_suppression, minutes)
        return scan(anatomy, self.tissues, weighting, self.around)


def _body(recipe: Recipe) -> Body:
    wanted = recipe.anatomy
    if wanted.kind == "phantom":
        return Phantom(recipe.seed, wanted.muscle_fat)
    if wanted.water is None or wanted.fat is None:
        raise SimulatorError("an anatomy of images needs the files water and fat")
    return read_body(wanted.water, wanted.fat, wanted.labels, muscle_labels=wanted.muscle_labels)


def _heights_mm(grid: Geometry, body: Body) -> tuple[float, float]:
    """Return the lowest and the highest z that both the stack and the body's muscles reach."""
    corners = np.array(
        [(k, j, i) for k in (-0.5, grid.shape[0] - 0.5) for j in (0, grid.shape[1]) for i in (0, grid.shape[2])]
    )
    z = grid.to_lps(corners)[:, 2]
    return max(float(z.min()), body.muscles.low[2]), min(float(z.max()), body.muscles.high[2])


def _tissues(recipe: Recipe, implants: tuple[Implant, ...]) -> tuple[Tissue, ...]:
    uptake = {Label.LEFT_MUSCLE: recipe.muscle_left, Label.RIGHT_MUSCLE: recipe.muscle_right, Label.OTHER_MUSCLE: None}
    table = [
        replace(TISSUES[label], kinetics=_kinetics(one)) if (one := uptake.get(label)) else TISSUES[label]
        for label in Label
    ]
    return (*table, *(tissue for one in implants for tissue in one.tissues))


def _kinetics(uptake: Uptake) -> Kinetics:
    return Kinetics(uptake.ktrans, uptake.ve, uptake.vp)
