"""Where a finding lies along the spine: never a vertebra that a labeller has not named, always slice and place."""

from dataclasses import replace

import numpy as np
import pytest

from node.analysis import NoLabeller, name_levels
from node.analysis.levels import Spine, points_of_labels, spine_of
from node.dicom.geometry import CanonicalAxes, Geometry
from node.findings import Measurement, Regions, Side, StudyVolumes
from node.ports import Labelling, LevelPoint
from tests.analysis.phantom import FRAME, volume
from tests.analysis.running import read, shared_file
from tests.test_findings import FINDINGS

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


def measured(geometry: Geometry, *, at_mm: float, sagittal_frame: str = FRAME) -> tuple[Measurement, StudyVolumes]:
    """A measurement with a lesion on the left at a height, and muscles in all slices."""
    muscles = np.zeros(geometry.shape, np.uint8)
    muscles[:, 20:30, 22:30], muscles[:, 20:30, 11:19] = 1, 2
    lesions = np.zeros(geometry.shape, np.uint8)
    slice_, row, column = np.rint(geometry.to_index([25.0, 70.0, at_mm])).astype(int)
    lesions[slice_, row - 1 : row + 2, column] = 1
    both = (FINDINGS.muscles[0], replace(FINDINGS.muscles[0], side=Side.RIGHT))
    one = Measurement(replace(FINDINGS, muscles=both), Regions(muscles, lesions, None, "post"))
    image = volume(np.zeros(geometry.shape, np.float32), geometry)
    side = sagittal(sagittal_frame)
    return one, StudyVolumes(post=image, sagittal=volume(np.zeros(side.shape, np.float32), side))


@pytest.mark.parametrize("upward", [True, False])
@pytest.mark.parametrize(("at_mm", "level", "slice_number"), [(0.0, "L3", 16), (36.0, "L2", 7), (-48.0, "L4", 28)])
def test_a_lesion_is_named_by_the_slice_that_it_lies_in(
    at_mm: float, level: str, slice_number: int, upward: bool
) -> None:
    found = name_levels(*measured(axial(upward=upward), at_mm=at_mm), Known()).findings

    place = found.lesions[0].location
    assert (place.level, place.slices) == (level, (slice_number, slice_number))
    assert place.position_mm == pytest.approx((25.0, 70.0, at_mm))
    assert [(one.location.level, one.location.slices) for one in found.muscles] == [("L1 to L5", (1, 31))] * 2
    assert found.level_basis == ("vertebral level counted from S1, assuming five lumbar vertebrae; labeller known 1")
    assert found.algorithm.parameters["labeller"] == "known 1"


def test_without_a_labeller_no_vertebra_is_named_and_place_and_slice_are_told() -> None:
    found = name_levels(*measured(axial(), at_mm=0.0), NoLabeller()).findings

    place = found.lesions[0].location
    assert (place.level, place.slices) == (None, (16, 16))
    assert place.position_mm == pytest.approx((25.0, 70.0, 0.0))
    assert found.muscles[0].location.level is None
    assert found.level_basis == "level not determined: no labeller of vertebrae is set"


def test_a_labeller_that_fails_costs_the_level_only() -> None:
    class Broken(Known):
        def label(self, volume: np.ndarray, *, spacing_mm: tuple[float, float, float]) -> Labelling:
            raise ValueError("SECRET")

    found = name_levels(*measured(axial(), at_mm=0.0), Broken()).findings

    assert found.lesions[0].location.level is None
    assert found.level_basis == "level not determined: labeller known failed (ValueError)"


def test_a_sagittal_series_of_another_frame_of_reference_is_not_asked() -> None:
    found = name_levels(*measured(axial(), at_mm=0.0, sagittal_frame="2.25.9"), Known()).findings

    assert found.lesions[0].location.level is None
    assert "another frame of reference" in found.level_basis


def test_without_a_sagittal_series_that_is_said() -> None:
    one, volumes = measured(axial(), at_mm=0.0)

    assert "no sagittal series" in name_levels(one, replace(volumes, sagittal=None), Known()).findings.level_basis


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
    one, volumes = measured(Geometry(affine, straight.shape, FRAME), at_mm=30.0)

    place = name_levels(one, volumes, Known()).findings.lesions[0].location

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
    axial_there = replace(axial(), frame_of_reference=geometry.frame_of_reference)
    one, volumes = measured(axial_there, at_mm=0.0)

    found = name_levels(one, replace(volumes, sagittal=volume(image, geometry)), NoLabeller()).findings

    assert found.lesions[0].location.level is None
    assert found.level_basis.startswith("level not determined")
