"""The spinal canal, where fluid is dark and fat bright, and nothing where it is not."""

import numpy as np

from node.analysis import CompartmentSegmenter
from node.analysis.grid import Grid
from node.dicom.volumes import stack
from node.simulator import Recipe, simulate
from tests.analysis.phantom import Back, grid, pair

# What the simulator paints: an ellipse about (0, 25.6) in LPS, here as wide as its mean half axis.
CENTRE_MM, RADIUS_MM = (0.0, 25.6), 8.0


def test_the_canal_is_found_where_the_simulator_painted_it():
    study = simulate(Recipe(series=("pre",), slices=6, pixel_mm=1.25, lesions=(), motion_mm=(0, 0, 0)))
    grid = Grid.of(stack(study.of("pre")))

    canal = CompartmentSegmenter().segment(grid.signal, spacing_mm=grid.spacing_mm).canal

    points = grid.geometry.to_lps(np.stack(np.indices(canal.shape, dtype=float), axis=-1))
    painted = np.hypot(points[..., 0] - CENTRE_MM[0], points[..., 1] - CENTRE_MM[1]) < RADIUS_MM
    centre = points[canal].mean(axis=0)
    assert canal.any(axis=(1, 2)).all()
    assert np.hypot(centre[0] - CENTRE_MM[0], centre[1] - CENTRE_MM[1]) < 1.25  # a pixel
    assert 2 * (canal & painted).sum() / (canal.sum() + painted.sum()) > 0.8


def test_a_spinous_process_between_fat_is_not_taken_for_the_canal():
    """The analytic phantom's canal lies in a ring of bone, where nothing bright shows it."""
    pre, _post = pair(Back(), grid(spacing_mm=(4.0, 1.5, 1.5), size_mm=(40.0, 135.0, 190.0)), snr=30)
    there = Grid.of(pre)

    assert not CompartmentSegmenter().segment(there.signal, spacing_mm=there.spacing_mm).canal.any()
