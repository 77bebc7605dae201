"""Small studies that the tests of the simulator share; each recipe is simulated once."""

from functools import cache

import numpy as np

from node.dicom.geometry import Geometry
from node.simulator import Recipe, SimulatedStudy, make_recipe, simulate

_STILL = {"motion_mm": (0, 0, 0), "motion_deg": (0, 0, 0)}
_COARSE = {"pixel_mm": 2.5, "slice_mm": 5.0, "slices": 8, "series": ("pre", "post"), **_STILL}
_UNDISTURBED = {"snr": 0.0, "gain": 1.0}


def coarse(**changes: object) -> Recipe:
    """Return a recipe of few large voxels and a patient who lies still, made in a fraction of a second."""
    return make_recipe({**_COARSE, **changes})


def undisturbed(**changes: object) -> Recipe:
    """Return a coarse recipe without noise and gain."""
    return make_recipe({**_COARSE, **_UNDISTURBED, **changes})


@cache
def study_of(recipe: Recipe) -> SimulatedStudy:
    return simulate(recipe)


def same_grid(one: Geometry, other: Geometry) -> bool:
    """Return whether two grids have their voxels at the same places of the same frame of reference."""
    corners = np.array([[0, 0, 0], np.subtract(one.shape, 1)])
    return (
        one.frame_of_reference == other.frame_of_reference
        and one.shape == other.shape
        and np.allclose(one.to_lps(corners), other.to_lps(corners), atol=0.001)
    )
