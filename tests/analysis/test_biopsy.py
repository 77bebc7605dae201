"""Biopsy paths: where they aim, and what they keep away from. Distances are measured here, voxel by voxel."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from node.analysis.biopsy import with_paths
from node.analysis.lesions import Lesion, Scene
from node.analysis.muscles import Muscles
from node.analysis.verdict import Verdict
from node.dicom.geometry import Geometry
from node.findings import BiopsyPath
from node.settings import AnalysisSettings
from tests.test_findings import FINDINGS

SETTINGS = AnalysisSettings()
SHAPE = (15, 80, 100)
SPACING_MM = (3.0, 1.25, 1.5)
CENTRE = np.array([7, 45, 68])  # of the candidate: 27 mm to the left of the midline
Mask = npt.NDArray[np.bool_]


def geometry(tilt_deg: float = 0.0) -> Geometry:
    """Canonical axes; tilted about the left-right axis, as slices along a disc are."""
    tilt = np.radians(tilt_deg)
    turn = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.column_stack([[0, 0, SPACING_MM[0]], [0, SPACING_MM[1], 0], [SPACING_MM[2], 0, 0]])
    affine[:3, 3] = (-70.0, -20.0, 100.0)
    return Geometry(affine, SHAPE, "1.2.3")


def near(centre: npt.ArrayLike, radius_mm: float) -> Mask:
    offset = (np.stack(np.indices(SHAPE), -1) - np.array(centre)) * SPACING_MM
    return np.linalg.norm(offset, axis=-1) <= radius_mm


def column(row: float, left: float, radius_mm: float) -> Mask:
    """A tube along the spine."""
    offset = (np.stack(np.indices(SHAPE), -1)[..., 1:] - np.array([row, left])) * SPACING_MM[1:]
    return np.linalg.norm(offset, axis=-1) <= radius_mm


class Back:
    """A back of blocks: muscle on either side of the midline, canal in front between them, skin in row 70."""

    def __init__(self, *, bone: Mask | None = None, vessels: Mask | None = None, core_mm: float = 0.0) -> None:
        body = np.zeros(SHAPE, bool)
        body[:, :71] = True
        sides = np.zeros(SHAPE, np.uint8)
        sides[:, 30:60, 53:85], sides[:, 30:60, 15:47] = 1, 2
        self.region = near(CENTRE, 8.0)
        self.ratio = np.full(SHAPE, 0.4, np.float32)
        self.ratio[self.region] = 1.1
        if core_mm:
            self.ratio[near(CENTRE, core_mm)] = 0.1
        self.canal = column(22, 50, 9.0)
        self.bone, self.vessels = bone, vessels
        findings = replace(FINDINGS.lesions[0], enhancement_pct=110.0, muscle_ratio=2.75)
        self.lesion = Lesion(findings, self.region)
        flat = np.zeros(SHAPE, np.float32)
        self.muscles = Muscles(sides, None, body, self.canal, bone, Verdict())
        self.scene = Scene(flat, flat, sides, sides > 0, body, vessels, geometry(), 0)

    def path(self) -> tuple[BiopsyPath | None, list[str]]:
        (lesion,), verdict = with_paths([self.lesion], self.scene, self.ratio, self.muscles, SETTINGS)
        return lesion.findings.biopsy, [one.code for one in verdict.caveats]

    def on(self, path: BiopsyPath) -> npt.NDArray[np.float64]:
        """Points of the path, every quarter of a millimetre, in mm along the axes."""
        ends = self.scene.geometry.to_index([path.target_mm, path.entry_mm]) * SPACING_MM
        share = np.linspace(0, 1, int(4 * path.depth_mm))[:, None]
        return ends[0] * (1 - share) + ends[1] * share


def distance_mm(points: npt.NDArray[np.float64], mask: Mask) -> float:
    there = np.argwhere(mask) * SPACING_MM
    return float(min(np.linalg.norm(there - point, axis=1).min() for point in points))


BONE = np.zeros(SHAPE, bool)
BONE[:, 24:32, 25:75] = True  # arch and transverse processes
BONE[:, 32:62, 48:52] = True  # spinous process
FRONT = np.zeros(SHAPE, bool)
FRONT[:, :10, 35:65] = True  # a vertebral body, far in front: bone is known, and in nobody's way


@pytest.mark.parametrize("tilt_deg", [0.0, 20.0])
def test_with_nothing_in_the_way_the_path_is_straight_back(tilt_deg: float) -> None:
    back = Back(bone=BONE)
    back.scene = replace(back.scene, geometry=geometry(tilt_deg))

    path, codes = back.path()

    assert (path.angle_deg, path.tilt_deg) == (0, 0)
    assert path.target_mm == pytest.approx(back.scene.geometry.to_lps(CENTRE), abs=2)
    entry = back.scene.geometry.to_index(path.entry_mm)
    assert entry[1] == pytest.approx(70, abs=1)  # the skin
    assert path.depth_mm == pytest.approx((70 - 45) * 1.25, abs=2)
    assert np.linalg.norm(np.subtract(path.entry_mm, path.target_mm)) == pytest.approx(path.depth_mm, abs=0.01)
    assert codes == ["BIOPSY-0"]


def test_the_target_lies_in_what_enhances_and_not_in_a_dead_core() -> None:
    back = Back(bone=BONE, core_mm=5.0)

    path, _ = back.path()

    target = np.rint(back.scene.geometry.to_index(path.target_mm)).astype(int)
    assert back.ratio[tuple(target)] > 1
    assert back.region[tuple(target)]


def test_a_vessel_behind_the_candidate_is_passed_at_a_distance() -> None:
    vessel = column(57, 68, 2.0)
    back = Back(bone=FRONT, vessels=vessel)
    # Bone to either side leaves a gap, whose middle is the vessel: no path keeps 3 mm from it.
    gap = FRONT.copy()
    gap[:, 56:58, :65] = gap[:, 56:58, 72:] = True
    assert Back(bone=gap, vessels=vessel).path() == (None, ["BIOPSY-1"])
    assert Back(bone=gap).path()[0] is not None

    path, _ = back.path()

    assert path.angle_deg != 0
    assert path.tilt_deg == 0
    assert distance_mm(back.on(path), vessel) > SETTINGS.vessel_margin_mm - 1  # the path is sampled by voxels
    assert path.clearance_of == "vessel"
    assert path.clearance_mm == pytest.approx(distance_mm(back.on(path), vessel), abs=1)


def test_the_vessels_of_the_candidate_itself_do_not_forbid_it() -> None:
    back = Back(bone=BONE, vessels=near(CENTRE, 3.0))

    path, _ = back.path()

    assert path is not None
    assert (path.angle_deg, path.clearance_of) == (0, "bone")  # the transverse process in front of it
    assert path.clearance_mm == pytest.approx((45 - 31) * 1.25, abs=0.1)


def test_where_no_path_within_the_slices_is_safe_a_tilted_one_is_taken() -> None:
    roof = np.zeros(SHAPE, bool)
    roof[4:11, 62:64, :] = True  # bone over three slices to either side; open above and below
    back = Back(bone=BONE | roof)

    path, _ = back.path()

    assert path is not None
    assert 0 < abs(path.tilt_deg) <= SETTINGS.biopsy_tilt_deg
    assert not (BONE | roof)[tuple(np.rint(back.on(path) / SPACING_MM).astype(int).T)].any()


def test_where_everything_is_closed_there_is_no_path_and_that_is_said() -> None:
    roof = np.zeros(SHAPE, bool)
    roof[:, 62:64, :] = True

    assert Back(bone=BONE | roof).path() == (None, ["BIOPSY-1"])


def test_ten_millimetres_are_kept_from_the_canal_even_where_nothing_else_is_in_the_way() -> None:
    tube = column(57, 68, 2.0)  # straight behind the candidate
    back = Back(bone=FRONT)
    back.muscles = replace(back.muscles, canal=tube)

    path, _ = back.path()

    assert distance_mm(back.on(path), tube) > SETTINGS.canal_margin_mm - 1  # the path is sampled by voxels
    assert path.clearance_of == "canal"


def test_a_candidate_beside_the_canal_has_no_path() -> None:
    back = Back(bone=FRONT)
    back.muscles = replace(back.muscles, canal=column(45, 60, 4.0))  # 8 mm from the middle of the candidate

    assert back.path() == (None, ["BIOPSY-1"])


def test_a_candidate_that_the_outline_of_the_muscle_leaves_out_has_a_path_all_the_same() -> None:
    back = Back(bone=None)
    sides = back.muscles.sides.copy()
    sides[back.region] = 0
    back.muscles, back.scene = replace(back.muscles, sides=sides), replace(back.scene, muscles=sides)

    path, codes = back.path()

    assert path is not None
    assert codes == ["BIOPSY-0"]


def test_where_the_canal_is_not_known_no_path_is_proposed() -> None:
    back = Back(bone=BONE)
    back.muscles = replace(back.muscles, canal=np.zeros(SHAPE, bool))
    assert back.path() == (None, ["BIOPSY-2"])

    back.muscles = replace(back.muscles, canal=back.canal & near((0, 22, 50), 9.0))  # in other slices only
    assert back.path() == (None, ["BIOPSY-1"])


def test_images_that_cut_off_the_skin_show_no_entry() -> None:
    back = Back(bone=BONE)
    back.scene = replace(back.scene, body=np.ones(SHAPE, bool))

    assert back.path() == (None, ["BIOPSY-1"])


def test_one_bone_far_away_does_not_make_the_bone_of_the_other_slices_known() -> None:
    hole = np.zeros(SHAPE, bool)
    hole[:, 52:56, 62:75] = True  # what is neither muscle nor outlined as bone may be bone
    sacrum = BONE & near((0, 30, 50), 2.0)
    unknown, known = Back(bone=sacrum), Back(bone=BONE)
    for back in (unknown, known):
        back.muscles = replace(back.muscles, sides=np.where(hole, 0, back.muscles.sides))
        back.scene = replace(back.scene, muscles=back.muscles.sides)

    through, _ = known.path()
    around, _ = unknown.path()

    assert hole[tuple(np.rint(known.on(through) / SPACING_MM).astype(int).T)].any()
    assert around is None or not hole[tuple(np.rint(unknown.on(around) / SPACING_MM).astype(int).T)].any()


def conditions(back: Back) -> str:
    _, verdict = with_paths([back.lesion], back.scene, back.ratio, back.muscles, SETTINGS)
    return " ".join(one.text for one in verdict.caveats)


def test_a_path_says_where_bone_and_vessels_were_not_looked_for() -> None:
    whole = Back(bone=BONE, vessels=np.zeros(SHAPE, bool))
    part = Back(bone=BONE & near((0, 30, 50), 2.0), vessels=np.zeros(SHAPE, bool))
    unseen = np.zeros(SHAPE, bool)
    unseen[:, 60:] = True
    part.scene = replace(part.scene, unseen=unseen)

    assert "Vessels were looked for within 15 mm of the muscles." in conditions(whole)
    assert "outlined in" not in conditions(whole)
    assert "not looked for" not in conditions(whole)
    assert "Bone was not outlined in every slice of the path: candidate 1." in conditions(part)
    assert "Vessels were not looked for along all of the path: candidate 1." in conditions(part)


def test_without_candidates_nothing_is_said() -> None:
    back = Back()

    assert with_paths([], back.scene, back.ratio, back.muscles, SETTINGS) == ((), Verdict())
