"""Left is the patient's left: in every orientation, order of slices and position on the table."""

import numpy as np
import pytest

from node.analysis import CompartmentSegmenter
from node.analysis.grid import Grid
from node.dicom.geometry import Geometry
from node.findings import Side
from tests.analysis.phantom import Back, Ball, Scanner, grid, pair, volume
from tests.analysis.running import only_lesion, run, side

ISOTROPIC = (2.0, 2.0, 2.0)
SIZE_MM = (44.0, 135.0, 190.0)
ORIENTATIONS = [kind + variant for kind in ("axial", "sagittal", "coronal") for variant in ("", "-flipped", "-turned")]


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_the_left_compartment_lies_to_the_left_of_the_patient(orientation: str):
    back = Back()
    series = Grid.of(
        Scanner(snr=40).acquire(
            lambda points: back.draw(points, contrast=False), grid(orientation, spacing_mm=ISOTROPIC, size_mm=SIZE_MM)
        )
    )

    found = CompartmentSegmenter().segment(series.signal, spacing_mm=series.spacing_mm)

    left, right = (series.geometry.to_lps(np.argwhere(found.muscles == label))[:, 0] for label in (1, 2))
    assert left.size > 1000
    assert right.size > 1000
    assert left.min() > 0 > right.max()


@pytest.mark.slow
@pytest.mark.parametrize("orientation", ["axial-turned", "sagittal", "coronal-flipped"])
def test_a_lesion_on_the_left_is_on_the_left_in_every_orientation(orientation: str):
    lesion = Ball((38.0, 40.0, 4.0), 7.0)
    geometry = grid(orientation, spacing_mm=ISOTROPIC, size_mm=(40.0, 135.0, 190.0))

    findings = run(*pair(Back(left=0.4, right=0.3, lesions=(lesion,)), geometry, snr=40)).findings

    assert only_lesion(findings).side is Side.LEFT
    assert np.linalg.norm(np.subtract(only_lesion(findings).centroid_mm, lesion.centre_mm)) <= lesion.radius_mm
    assert side(findings, Side.LEFT).enhancement_pct == pytest.approx(40, abs=3)
    assert side(findings, Side.RIGHT).enhancement_pct == pytest.approx(30, abs=3)


def test_a_mirrored_volume_has_its_sides_swapped():
    back = Back()
    series = Scanner(snr=40).acquire(
        lambda points: back.draw(points + np.array([8.0, 0, 0]), contrast=False),
        grid(spacing_mm=ISOTROPIC, size_mm=SIZE_MM),
    )
    flipped = series.geometry.affine.copy()
    flipped[:3, 3] += flipped[:3, 2] * (series.geometry.shape[2] - 1)
    flipped[:3, 2] *= -1  # the same voxels, said to run the other way
    mirrored = volume(series.array, Geometry(flipped, series.geometry.shape, series.geometry.frame_of_reference))

    middles = []
    for one in (series, mirrored):
        turned = Grid.of(one)
        muscles = turned.axes.undo(CompartmentSegmenter().segment(turned.signal, spacing_mm=turned.spacing_mm).muscles)
        left, right = (one.geometry.to_lps(np.argwhere(muscles == label))[:, 0] for label in (1, 2))
        assert left.mean() > right.mean()
        middles.append((left.mean() + right.mean()) / 2)

    assert middles[0] == pytest.approx(-8, abs=2)
    assert middles[1] == pytest.approx(8, abs=4)
