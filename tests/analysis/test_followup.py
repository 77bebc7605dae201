"""Two examinations of one back: places are found again, and nothing is said where another place would do as well.

The backs are made of random tissue, so that what lies where is known by construction; `benchmarks.analysis_followup`
has real ones.
"""

from dataclasses import replace
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from node.analysis.brought import bring_lesions
from node.analysis.followup import FollowUp, follow_up
from node.analysis.grid import Grid
from node.dicom.geometry import Geometry
from node.dicom.volumes import Volume
from node.findings import EarlierLesion, Side
from tests.analysis.phantom import volume

Tissue = npt.NDArray[np.float64]
VOXEL_MM = 3.0
LEVEL_MM = 33.0
ELSEWHERE_MM = np.array([12.0, -7.5, 45.0])


@cache
def tissue(seed: int) -> Tissue:
    """A back of 240 mm: axes to the head, the back and the left."""
    random = np.random.default_rng(seed)
    return ndimage.gaussian_filter(random.standard_normal((80, 66, 90)), 2.0) * 6


def body(shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    _, y, x = np.indices(shape)
    return np.asarray(((y - 33) / 28) ** 2 + ((x - 45) / 40) ** 2 < 1)


def examined(of: Tissue, first_mm: float, last_mm: float, *, elsewhere: bool = False, seed: int = 1) -> Grid:
    return Grid.of(series(of, first_mm, last_mm, elsewhere=elsewhere, seed=seed))


def series(of: Tissue, first_mm: float, last_mm: float, *, elsewhere: bool = False, seed: int = 1) -> Volume:
    """The slices of a back between two heights, with noise; perhaps on another place of the table, and brighter."""
    low, high = round(first_mm / VOXEL_MM), round(last_mm / VOXEL_MM)
    signal = np.where(body(of.shape), 100 * np.exp(0.5 * of), 0)[low:high]
    noise = np.random.default_rng(seed).normal(0, 3, signal.shape)
    affine = np.zeros((4, 4))
    affine[[2, 1, 0, 3], [0, 1, 2, 3]] = VOXEL_MM, VOXEL_MM, VOXEL_MM, 1
    affine[:3, 3] = [0, 0, VOXEL_MM * low] + ELSEWHERE_MM * elsewhere
    return volume(np.abs(signal + noise) * (3 if elsewhere else 1), Geometry(affine, signal.shape, str(seed)))


def failed(found: FollowUp) -> set[str]:
    return {one.code for one in found.gates if not one.passed}


def test_a_place_is_found_again_in_an_examination_of_another_stretch_on_another_place_of_the_table() -> None:
    now, then = examined(tissue(1), 0, 120), examined(tissue(1), 60, 165, elsewhere=True, seed=2)

    found = follow_up(now, then)

    assert found.movement is not None, found.gates
    place = np.array([130.0, 120.0, 90.0])
    assert np.linalg.norm(found.movement.apply(place) - (place + ELSEWHERE_MM)) < 0.5
    again = follow_up(now, then)
    assert np.array_equal(again.movement.apply(place), found.movement.apply(place))  # type: ignore[union-attr]


def test_a_back_that_is_alike_at_each_level_is_not_placed_at_one_of_them() -> None:
    level = tissue(1)[: round(LEVEL_MM / VOXEL_MM)]
    periodic = np.tile(level, (8, 1, 1))[:80]

    found = follow_up(examined(periodic, 0, 120), examined(periodic, 66, 165, elsewhere=True, seed=2))

    assert found.movement is None
    assert "PRI-REG-3" in failed(found)


def test_a_back_whose_sides_are_alike_is_not_placed_for_it_may_be_mirrored() -> None:
    symmetric = tissue(1) + tissue(1)[:, :, ::-1]

    found = follow_up(examined(symmetric, 0, 120), examined(symmetric, 60, 165, elsewhere=True, seed=2))

    assert (found.movement, failed(found)) == (None, {"PRI-REG-4"})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("other", "first_mm", "code"),
    [
        (tissue(2), 60, "PRI-REG-2"),  # somebody else
        (tissue(1), 132, "PRI-REG-2"),  # another stretch of the back
        (tissue(1), 90, "PRI-REG-1"),  # 30 mm in common
        (tissue(1)[:, :, ::-1], 60, "PRI-REG-2"),
    ],
)
def test_what_does_not_show_enough_of_the_same_back_is_not_placed(other: Tissue, first_mm: float, code: str) -> None:
    found = follow_up(examined(tissue(1), 0, 120), examined(other, first_mm, first_mm + 105, elsewhere=True, seed=2))

    assert found.movement is None
    assert code in failed(found)


@pytest.mark.slow
def test_lesions_are_brought_to_where_they_would_lie_unless_their_positions_are_of_other_images() -> None:
    place = np.array([130.0, 120.0, 90.0])
    x, y, z = (place + ELSEWHERE_MM).tolist()
    lesion = EarlierLesion(
        tracking_identifier="PVM lesion 1", tracking_uid="2.25.1", side=Side.LEFT, level=None, centroid_mm=(x, y, z),
        frame_of_reference="2", volume_mm3=None, long_axis_mm=None, short_axis_mm=None, enhancement_pct=None,
        midline_distance_mm=None, skin_distance_mm=None,
    )  # fmt: skip
    lower = replace(lesion, tracking_uid="2.25.2", centroid_mm=(x, y, z - 15))
    foreign = replace(lesion, tracking_uid="2.25.3", frame_of_reference="3")
    then, now = series(tissue(1), 60, 165, elsewhere=True, seed=2), series(tissue(1), 0, 120)
    muscles = np.zeros(now.array.shape, np.uint8)
    muscles[29:] = 1  # from 87 mm upwards

    found = bring_lesions((lesion, lower, foreign), then, now, muscles)

    assert [*found.places] == ["2.25.1", "2.25.2"]
    assert np.linalg.norm(np.subtract(found.places["2.25.1"], place)) < 0.5
    assert found.looked_at == {"2.25.1"}


def test_where_there_would_be_no_end_of_overlaps_none_is_tried() -> None:
    back = series(tissue(1), 0, 240)
    affine = back.geometry.affine.copy()
    affine[2, 0] = 15.0  # mm from slice to slice: a back of 1.2 m
    endless = Grid.of(volume(back.array, replace(back.geometry, affine=affine)))

    found = follow_up(endless, endless)

    assert (found.movement, failed(found)) == (None, {"PRI-REG-1"})
    assert [one.wanted for one in found.gates] == ["<= 200 overlaps to try"]


def test_an_examination_without_a_body_is_not_placed() -> None:
    empty = examined(tissue(1) * 0, 0, 120)
    nothing = Grid(np.zeros_like(empty.signal), empty.geometry, empty.axes, empty.box, empty.whole_shape)

    assert follow_up(nothing, empty).movement is None
