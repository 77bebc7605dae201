"""Pictures: the planes lie where they say, whatever the acquisition was turned like."""

from dataclasses import replace

import numpy as np
import pytest

from node.analysis.grid import Grid
from node.analysis.lesions import Lesion, Scene
from node.analysis.pictures import pictures_of
from node.analysis.regional import Regional
from node.analysis.resampling import Movement
from node.analysis.venography import Vessels
from node.dicom.geometry import CanonicalAxes, Geometry
from node.findings import Location, MuscleFindings, Picture, Side
from tests.report.builders import LESION

SHAPE = (10, 60, 80)  # canonical: head, back, left
TURNED = np.array([[0.0, 0.06, 1.2, -48.0], [0.0, 1.2, -0.06, -20.0], [4.0, 0.0, 0.0, 100.0], [0, 0, 0, 1]])
GEOMETRY = Geometry(TURNED, SHAPE, "1.2.3")
MUSCLES = np.zeros(SHAPE, np.uint8)
MUSCLES[:, 30:45, 45:65] = 1
MUSCLES[:, 30:45, 15:35] = 2
SPOT = np.zeros(SHAPE, bool)
SPOT[6, 36:39, 50:53] = True
SPOT[7, 37, 51] = True
FOUND = Lesion(replace(LESION, number=3), SPOT)


def scene() -> Scene:
    signal = np.random.default_rng(3).normal(100, 5, SHAPE).astype(np.float32)
    everywhere = np.ones(SHAPE, bool)
    return Scene(signal, signal + 30, MUSCLES, MUSCLES > 0, everywhere, None, GEOMETRY, 0)


def made(
    lesions: tuple[Lesion, ...] = (FOUND,), vessels: Vessels | None = None, regional: Regional | None = None
) -> tuple[Picture, ...]:
    seen = scene()
    rise = np.where(SPOT, 1.0, 0.2).astype(np.float32)
    return pictures_of(seen, seen.post, rise, lesions, vessels, regional or Regional())


def place(picture: Picture, row: float, column: float) -> np.ndarray:
    return picture.origin_mm + row * np.array(picture.down_mm) + column * np.array(picture.right_mm)


def test_the_plane_of_a_lesion_is_its_widest_slice_and_lies_where_it_is() -> None:
    (picture,) = (one for one in made() if one.lesion == 3)

    rows, columns = np.nonzero(picture.layers["lesions"] == 3)

    assert len(rows) == 9
    assert place(picture, rows.mean(), columns.mean()) == pytest.approx(GEOMETRY.to_lps((6, 37, 51)))
    assert picture.layers["enhancement"][rows[0], columns[0]] == pytest.approx(100)
    assert np.isnan(picture.layers["enhancement"][picture.layers["muscles"] == 0]).all()


def test_the_patients_left_is_to_the_right_and_the_head_is_above() -> None:
    axial, coronal, _lesion = made()

    for picture in (axial, coronal):
        assert picture.right_mm[0] > 0
        left, right = (np.nonzero(picture.layers["muscles"] == side)[1].mean() for side in (1, 2))
        assert left > right
    assert axial.down_mm[1] > 0
    assert coronal.down_mm[2] < 0


def test_the_projection_shows_the_lesion_at_its_height_with_the_mean_of_the_muscle() -> None:
    _axial, coronal, _lesion = made()

    rows, columns = np.nonzero(coronal.layers["lesions"] == 3)

    assert place(coronal, rows.min(), columns.mean())[[0, 2]] == pytest.approx(
        GEOMETRY.to_lps((7, 37, 51))[[0, 2]], abs=0.5
    )
    in_muscle = coronal.layers["enhancement"][rows.max(), round(columns.mean())]
    assert in_muscle == pytest.approx((3 * 100 + 12 * 20) / 15)  # 3 of the 15 voxels through the muscle


def test_all_layers_of_a_picture_have_one_shape() -> None:
    for picture in made():
        assert len({layer.shape for layer in picture.layers.values()}) == 1


def test_the_projection_of_the_mrv_is_brought_to_the_place_it_has_in_the_other_series() -> None:
    """A vein at a known place of the MRV, whose patient had moved by 6 and 3 mm since the other series."""
    geometry = Geometry(np.diag([2.0, 1.0, 1.0, 1.0])[:, [2, 1, 0, 3]], (30, 80, 90), "1.2.3")
    geometry.affine[:3, 3] = (-45.0, -20.0, 95.0)
    signal = np.zeros(geometry.shape, np.float32)
    signal[12, 40, 66] = 500.0
    box = tuple(slice(0, n) for n in geometry.shape)
    grid = Grid(signal, geometry, CanonicalAxes.of(geometry), box, geometry.shape)  # type: ignore[arg-type]
    movement = Movement(np.eye(3), np.array([6.0, 0.0, 3.0]), np.zeros(3))
    vessels = Vessels(signal > 0, grid, np.zeros(SHAPE, np.float32), movement)

    (picture,) = (one for one in made(vessels=vessels) if "mrv" in one.layers)

    row, column = np.argwhere(picture.layers["mrv"] == 500.0)[0]
    expected = geometry.to_lps((12, 40, 66)) - (6.0, 0.0, 3.0)
    assert place(picture, row, column)[[0, 2]] == pytest.approx(expected[[0, 2]])


def test_without_a_lesion_the_level_that_enhances_most_is_shown() -> None:
    rows = tuple(
        MuscleFindings(Side.LEFT, 1.0, 1.0, 1.0, 20.0, 1.0, 0.0, 0.0, 0.0, location, relative_enhancement=ratio)
        for location, ratio in (
            (Location("L3", tuple(GEOMETRY.to_lps((8, 37, 55))), None), 1.1),
            (Location("L4", tuple(GEOMETRY.to_lps((2, 37, 55))), None), 1.9),
        )
    )

    axial, *_ = made(lesions=(), regional=Regional(levels=rows))
    middle, *_ = made(lesions=())

    assert axial.origin_mm[2] == pytest.approx(GEOMETRY.to_lps((2, 0, 0))[2])
    assert middle.origin_mm[2] == pytest.approx(GEOMETRY.to_lps((5, 0, 0))[2])


def test_where_no_muscle_was_found_there_is_no_picture() -> None:
    empty = replace(scene(), muscles=np.zeros(SHAPE, np.uint8))

    assert pictures_of(empty, empty.post, None, (), None, Regional()) == ()
