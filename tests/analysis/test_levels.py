"""Where a finding lies along the spine: never a vertebra that a labeller has not named, always slice and place."""

import numpy as np
import pytest

from node.analysis import NoLabeller
from node.analysis.grid import Grid
from node.analysis.levels import Spine, points_of_labels, spine_of
from node.analysis.muscles import Muscles, check_slices
from node.analysis.places import Places
from node.analysis.verdict import Verdict
from node.dicom.geometry import CanonicalAxes, Geometry
from node.dicom.volumes import Volume
from node.ports import Labeller, Labelling, LevelPoint
from tests.analysis.phantom import FRAME, volume
from tests.analysis.running import read, shared_file

REAL = ("TPTBox_sample_mri",)
PITCH_MM = 36.0
NAMES = ("L1", "L2", "L3", "L4", "L5")
UP = np.array([0.0, 0.0, 1.0])


def middle(name: str) -> np.ndarray:
    """The middle of a body, LPS mm: L3 at 0, a lordotic curve before the muscles."""
    z = PITCH_MM * (2 - NAMES.index(name))
    return np.array([0.0, -20 + 5e-4 * z**2, z])


def spine(*names: str) -> Spine:
    return Spine(names or NAMES, np.array([middle(name) for name in names or NAMES]))


def axial(*, upward: bool = True, slices: int = 31, frame: str = FRAME) -> Geometry:
    """Slices of 4 mm from -60 to 60 mm."""
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    affine[:3, :3] = np.column_stack([[0, 0, 4.0 if upward else -4.0], [0, 5.0, 0], [5.0, 0, 0]])
    affine[:3, 3] = [-100, -50, -60.0 if upward else 60.0]
    return Geometry(affine, (slices, 40, 41), frame)


def sagittal(frame: str = FRAME) -> Geometry:
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    affine[:3, :3] = np.column_stack([[5.0, 0, 0], [0, 0, -2.0], [0, 2.0, 0]])
    affine[:3, 3] = [-10, -60, 100]
    return Geometry(affine, (5, 101, 60), frame)


class Known:
    """Marks the bodies where they are, whatever the image shows."""

    name, version = "known", "1"

    def __init__(self, *names: str) -> None:
        self.names = names or NAMES

    def label(self, volume: np.ndarray, *, spacing_mm: tuple[float, float, float]) -> Labelling:
        assert spacing_mm == (2.0, 2.0, 5.0)  # head, back, left
        bottom, front, right = 100 - 2.0 * 100, -60.0, -10.0
        points = []
        for name in self.names:
            x, y, z = middle(name)
            points.append(LevelPoint(name, ((z - bottom) / 2, (y - front) / 2, (x - right) / 5)))
        return Labelling(tuple(points), "counted from S1, assuming five lumbar vertebrae")


def places(geometry: Geometry, labeller: Labeller, *, sagittal_frame: str = FRAME) -> tuple[Places, Grid]:
    """The places of a grid of axial slices, and the grid."""
    grid = Grid.of(volume(np.zeros(geometry.shape, np.float32), geometry))
    side = sagittal(sagittal_frame)
    seen = volume(np.zeros(side.shape, np.float32), side)
    return Places.of(grid, _all(grid), seen, labeller), grid


def _all(grid: Grid) -> tuple[slice, slice, slice]:
    head, back, left = grid.signal.shape
    return slice(0, head), slice(0, back), slice(0, left)


def basis(sagittal_series: Volume | None, labeller: Labeller, frame: str = FRAME) -> str:
    geometry = axial(frame=frame)
    grid = Grid.of(volume(np.zeros(geometry.shape, np.float32), geometry))
    found = Places.of(grid, _all(grid), sagittal_series, labeller)
    assert found.spine is None
    return found.basis


def lesion(grid: Grid, at_mm: float) -> np.ndarray:
    """Three voxels on the left, at a height."""
    region = np.zeros(grid.signal.shape, bool)
    head, back, left = np.rint(grid.geometry.to_index([25.0, 70.0, at_mm])).astype(int)
    region[head, back - 1 : back + 2, left] = True
    return region


@pytest.mark.parametrize("upward", [True, False])
@pytest.mark.parametrize(("at_mm", "level", "slice_number"), [(0.0, "L3", 16), (36.0, "L2", 7), (-48.0, "L4", 28)])
def test_a_lesion_is_named_by_the_slice_that_it_lies_in(
    at_mm: float, level: str, slice_number: int, upward: bool
) -> None:
    found, grid = places(axial(upward=upward), Known())

    place = found.location(lesion(grid, at_mm))

    assert (place.level, place.slices) == (level, (slice_number, slice_number))
    assert place.position_mm == pytest.approx((25.0, 70.0, at_mm))
    everywhere = found.location(np.ones(grid.signal.shape, bool))
    assert (everywhere.level, everywhere.slices) == ("L1 to L5", (1, 31))
    assert found.basis == "vertebral level counted from S1, assuming five lumbar vertebrae; labeller known 1"


def test_a_part_of_the_grid_counts_its_slices_as_the_whole_does() -> None:
    _, grid = places(axial(), Known())
    part = (slice(3, 20), slice(5, 40), slice(0, 41))

    found = Places.of(grid, part, None, NoLabeller())

    region = lesion(grid, 0.0)
    assert found.location(region[part]) == Places.of(grid, _all(grid), None, NoLabeller()).location(region)
    assert found.location(region[part][10:], start=10).slices == (16, 16)


def test_without_a_labeller_no_vertebra_is_named_and_place_and_slice_are_told() -> None:
    found, grid = places(axial(), NoLabeller())

    place = found.location(lesion(grid, 0.0))

    assert (place.level, place.slices) == (None, (16, 16))
    assert place.position_mm == pytest.approx((25.0, 70.0, 0.0))
    assert found.basis == "level not determined: no labeller of vertebrae is set"


def test_a_labeller_that_fails_costs_the_level_only() -> None:
    class Broken(Known):
        def label(self, volume: np.ndarray, *, spacing_mm: tuple[float, float, float]) -> Labelling:
            raise ValueError("SECRET")

    found, grid = places(axial(), Broken())

    assert found.location(lesion(grid, 0.0)).level is None
    assert found.basis == "level not determined: labeller known failed (ValueError)"


def test_a_sagittal_series_of_another_frame_of_reference_is_not_asked() -> None:
    found, _ = places(axial(), Known(), sagittal_frame="2.25.9")

    assert found.spine is None
    assert "another frame of reference" in found.basis


def test_without_a_sagittal_series_that_is_said() -> None:
    assert "no sagittal series" in basis(None, Known())


def test_the_muscles_are_divided_where_the_bodies_meet() -> None:
    found, grid = places(axial(), Known())

    slabs = found.divide(np.ones(grid.signal.shape, bool), 30.0)

    # Slices at -60 to 60 mm; bodies every 36 mm, L3 at 0: the borders lie at 18 and 54 mm to either side.
    assert [(one.level, one.slices) for one in slabs] == [
        ("L1", slice(29, 31)), ("L2", slice(20, 29)), ("L3", slice(11, 20)), ("L4", slice(2, 11)), ("L5", slice(0, 2)),
    ]  # fmt: skip


def test_what_has_no_level_is_divided_into_slabs_of_about_a_vertebra() -> None:
    found, grid = places(axial(), NoLabeller())
    muscle = np.ones(grid.signal.shape, bool)
    muscle[:3] = False

    slabs = found.divide(muscle, 30.0)

    # 28 slices of 4 mm: four slabs of 28 mm, from the head down.
    assert [(one.level, one.slices) for one in slabs] == [(None, slice(k, k + 7)) for k in (24, 17, 10, 3)]


def test_muscle_beyond_the_labels_is_not_lost() -> None:
    found, grid = places(axial(), Known("L3", "L4"))

    slabs = found.divide(np.ones(grid.signal.shape, bool), 30.0)

    assert [one.level for one in slabs] == [None, "L3", "L4", None]
    assert sorted(k for one in slabs for k in range(one.slices.start, one.slices.stop)) == list(range(31))


def test_a_place_outside_of_what_is_labelled_has_no_level() -> None:
    labelled = spine("L2", "L3", "L4")

    assert labelled.level_at(np.array([40.0, 60.0, 36.0 + 17.0]), UP) == "L2"  # within half of the pitch
    assert labelled.level_at(np.array([40.0, 60.0, 36.0 + 19.0]), UP) is None
    assert labelled.level_at(np.array([40.0, 60.0, -36.0 - 19.0]), UP) is None


def test_a_place_between_vertebrae_that_are_no_neighbours_has_no_level() -> None:
    labelled = spine("L1", "L2", "L4", "L5")

    assert labelled.level_at(np.array([40.0, 60.0, 0.0]), UP) is None
    assert labelled.level_at(np.array([40.0, 60.0, 40.0]), UP) == "L2"


def test_discs_are_named_where_they_are_labelled() -> None:
    labelled = Spine(("L3", "L3/L4", "L4"), np.array([middle("L3"), [0, -20, -18.0], middle("L4")]))

    heights_mm = {0.0: "L3", -13.0: "L3", -14.0: "L3/L4", -22.0: "L3/L4", -23.0: "L4", -36.0: "L4"}
    assert {z: labelled.level_at(np.array([0.0, 60.0, z]), UP) for z in heights_mm} == heights_mm


def test_an_oblique_slice_is_named_where_it_meets_the_spine() -> None:
    """Tilted by 30 degrees, a place 80 mm behind the spine is in the slice that meets the spine 46 mm lower."""
    tilt = np.deg2rad(30)
    normal = np.array([0.0, -np.sin(tilt), np.cos(tilt)])
    place = np.array([40.0, 60.0, 46.0])

    assert spine().level_at(place, UP) == "L2"
    assert spine().level_at(place, normal) == "L3"
    assert spine().level_at(place, -normal) == "L3"


def test_a_lesion_in_oblique_slices_is_named_along_its_slice() -> None:
    """Tilted by 20 degrees: 90 mm behind the spine the slice is 33 mm higher than where it meets the spine."""
    tilt = np.deg2rad(20)
    turn = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
    straight = axial()
    affine = straight.affine.copy()
    affine[:3, :3] = turn @ straight.affine[:3, :3]
    affine[:3, 3] = turn @ straight.affine[:3, 3] + [0, 0, 0.0]
    found, grid = places(Geometry(affine, straight.shape, FRAME), Known())

    place = found.location(lesion(grid, 30.0))

    assert place.position_mm[2] == pytest.approx(30, abs=3)
    assert place.level == "L3"


def test_a_plane_along_the_spine_has_no_level() -> None:
    assert spine().level_at(np.array([0.0, -20.0, 0.0]), np.array([0.0, 1.0, 0.0])) is None


@pytest.mark.parametrize(
    "points",
    [
        [("L3", 50.0)],
        [("L3", 50.0), ("L3", 32.0)],
        [("L3", 50.0), ("L9", 32.0)],
        [("L3", 50.0), ("L5/L3", 32.0)],
        [("L4", 50.0), ("L3", 32.0)],  # the order of their names is not that of their places
        [("L3", 50.0), ("L4", 48.0)],  # 4 mm apart
        [("L3", 50.0), ("L4", 10.0)],  # 80 mm apart
    ],
)
def test_points_that_are_no_spine_name_nothing(points: list[tuple[str, float]]) -> None:
    assert spine_of([LevelPoint(name, (head, 20.0, 2.0)) for name, head in points], _canonical()) is None


def test_a_label_map_gives_the_middles_of_what_it_marks() -> None:
    labels = np.zeros((60, 40, 5), np.uint8)
    labels[30:44, 10:21, 1:4], labels[12:26, 10:21, 1:4], labels[0:4, 0:4, :] = 20, 21, 99

    points = points_of_labels(labels, {20: "L3", 21: "L4"})

    assert points == (LevelPoint("L3", (36.5, 15.0, 2.0)), LevelPoint("L4", (18.5, 15.0, 2.0)))
    assert spine_of(points, _canonical()) is not None


def _canonical() -> Geometry:
    affine = np.eye(4)
    affine[:3, :3] = np.column_stack([[0, 0, 2.0], [0, 2.0, 0], [5.0, 0, 0]])
    return Geometry(affine, (60, 40, 5), FRAME)


def test_real_vertebrae_are_named_where_their_bodies_are() -> None:
    """A crop of a lumbar spine with two whole bodies and the disc between; which ones they are is made up here."""
    vertebrae, geometry = read(shared_file(*REAL, "sub-mri_seg-vert_label-6_msk.nii.gz"))
    parts, _ = read(shared_file(*REAL, "sub-mri_seg-subreg_label-6_msk.nii.gz"))
    bodies = {"L2": (vertebrae == 6) & (parts == 49), "L3": (vertebrae == 7) & (parts == 49), "L2/L3": vertebrae == 106}
    labels = np.zeros(vertebrae.shape, np.int16)
    for label, region in enumerate(bodies.values(), start=1):
        labels[region] = label
    axes = CanonicalAxes.of(geometry)
    canonical = axes.apply_to(geometry)

    points = points_of_labels(axes.apply(labels), dict(enumerate(bodies, start=1)))
    labelled = spine_of(points, canonical)

    assert labelled is not None
    assert labelled.names == ("L2", "L2/L3", "L3")
    along = labelled.middles[0] - labelled.middles[-1]
    for name, region in bodies.items():
        places = geometry.to_lps(np.argwhere(region))
        right = np.mean([labelled.level_at(one, along / np.linalg.norm(along)) == name for one in places[::37]])
        assert right > 0.8, name  # the disc lies askew


def test_without_naming_that_crop_says_nothing() -> None:
    image, geometry = read(shared_file(*REAL, "sub-mri_label-6_T2w.nii.gz"))

    assert basis(volume(image, geometry), NoLabeller(), geometry.frame_of_reference).startswith("level not determined")


@pytest.mark.parametrize("upward", [True, False])
@pytest.mark.parametrize(
    ("left_out", "words"),
    [((), ""), ((31,), "slice 31 from the head"), ((1, 2, 3, 17), "slices 1 to 3, 17 from the head")],
)
def test_slices_without_muscle_are_named_from_the_head(left_out: tuple[int, ...], words: str, upward: bool) -> None:
    found, grid = places(axial(upward=upward), NoLabeller())
    sides = np.ones(grid.signal.shape, np.uint8)
    for number in left_out:
        sides[len(sides) - number] = 0  # the first axis runs to the head
    nowhere = np.zeros(sides.shape, bool)

    said = check_slices(Muscles(sides, None, nowhere, nowhere, None, Verdict()), found).caveats

    assert [(one.code, one.text) for one in said] == (
        [
            (
                "SEG-PART",
                f"No muscle was accepted in {words}, or a series does not reach there: nothing was measured there, and "
                "foci were not looked for.",
            )
        ]
        if words
        else []
    )


def test_planes_without_muscle_of_a_series_that_is_not_axial_are_named_by_their_height() -> None:
    grid = Grid.of(volume(np.zeros(sagittal().shape, np.float32), sagittal()))
    sides = np.ones(grid.signal.shape, bool)
    sides[-11:] = False

    assert Places.of(grid, _all(grid), None, NoLabeller()).without(sides) == "planes from z 100 to 80 mm"
