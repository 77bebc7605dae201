"""The supply of a lesion: vessels in and around it, the way to the plexus, and the vein that drains it."""

from dataclasses import replace

import numpy as np
import pytest

from node.analysis.grid import Grid
from node.analysis.lesions import Lesion
from node.analysis.muscles import Muscles
from node.analysis.plexus import find_plexus, with_supply
from node.analysis.resampling import Movement
from node.analysis.venography import Vessels
from node.analysis.verdict import Verdict
from node.findings import LesionFindings, Side
from node.settings import AnalysisSettings
from tests.analysis.phantom import grid, volume

GEOMETRY = grid(spacing_mm=(2.0, 1.0, 1.0), size_mm=(40.0, 80.0, 120.0))
SPACING_MM = (2.0, 1.0, 1.0)
HEAD, BACK, LEFT = np.indices(GEOMETRY.shape)
MUSCLES = Muscles(
    sides=np.where(BACK > 30, np.where(LEFT > 64, 1, np.where(LEFT < 56, 2, 0)), 0).astype(np.uint8),
    parts=None, body=np.ones(GEOMETRY.shape, bool), canal=np.hypot(BACK - 20, LEFT - 60) < 8, bone=None,
    verdict=Verdict(),
)  # fmt: skip
REGION = (2 * (HEAD - 10)) ** 2 + (BACK - 55) ** 2 + (LEFT - 90) ** 2 < 6**2  # far from the plexus
NOTHING = np.zeros(GEOMETRY.shape, bool)
FINDINGS = LesionFindings(
    number=1, side=Side.LEFT, centroid_mm=(0, 0, 0), volume_mm3=1, long_axis_mm=12, short_axis_mm=12, pre_signal=1,
    post_signal=2, enhancement_pct=100, enhancement_max_pct=100, muscle_ratio=2, score=1, midline_distance_mm=30,
    skin_distance_mm=20, vessel_fraction_pct=None, surrounding_vessel_fraction_pct=None, vascularity_increased=None,
)  # fmt: skip


def line(start: tuple[int, int], end: tuple[int, int], *, radius: float = 1.5) -> np.ndarray:
    """Return a vein within the plane of the lesion's centre, from (back, left) to (back, left)."""
    step = np.subtract(end, start)
    at = np.clip(((BACK - start[0]) * step[0] + (LEFT - start[1]) * step[1]) / (step @ step), 0, 1)
    away = np.hypot(BACK - start[0] - at * step[0], LEFT - start[1] - at * step[1])
    return (away < radius) & (np.abs(HEAD - 10) < 2)


def supplied(mask: np.ndarray, muscles: Muscles = MUSCLES, unseen: np.ndarray = NOTHING) -> tuple[LesionFindings, str]:
    """Return the lesion, and all caveats as one text; the MRV does not reach `unseen`."""
    series = Grid.of(volume(np.zeros(GEOMETRY.shape), GEOMETRY))
    share = np.where(unseen, np.nan, mask).astype(np.float32)
    vessels = Vessels(mask & ~unseen, series, share, Movement.none(np.zeros(3)))
    lesions, verdict = with_supply([Lesion(FINDINGS, REGION)], muscles, vessels, series.geometry, AnalysisSettings())
    return lesions[0].findings, " ".join(f"{one.code}: {one.text}" for one in verdict.caveats)


def supply(mask: np.ndarray, muscles: Muscles = MUSCLES) -> LesionFindings:
    return supplied(mask, muscles)[0]


def test_a_vein_from_the_lesion_to_the_plexus_drains_it_and_confirms_it():
    found = supply(line((52, 86), (22, 70)))

    assert found.draining_vessel
    assert found.vascularity_increased
    assert found.plexus_distance_mm == 0


def test_a_short_gap_in_the_vein_does_not_hide_it():
    vein = line((52, 86), (22, 70)) & (np.abs(BACK - 40) > 0.9)

    assert supply(vein).draining_vessel


@pytest.mark.parametrize(
    ("what", "mask"),
    [
        ("ends before the plexus", line((52, 86), (46, 83))),
        ("passes far away", line((22, 70), (34, 72))),
        ("runs elsewhere than to the plexus", line((52, 90), (52, 118))),
        ("lies within the lesion", REGION & line((55, 88), (55, 92))),
    ],
)
def test_a_vessel_that_does_not_join_both_is_no_draining_vessel(what: str, mask: np.ndarray):
    assert mask.any()
    assert not supply(mask).draining_vessel


def test_the_way_to_the_plexus_is_from_the_border_to_a_vessel_that_touches_it():
    nearer_but_elsewhere = line((55, 101), (55, 118))
    found = supply(line((22, 70), (34, 72)) | nearer_but_elsewhere)

    expected = np.hypot(55 - 34, 90 - 72) - 6 - 1.5  # centre to the vein's end, less both radii
    assert found.plexus_distance_mm == pytest.approx(expected, abs=1.5)


def test_more_vessels_in_than_around_the_lesion_support_it_and_fewer_do_not():
    inside = supply(REGION & (np.abs(BACK - 55) < 1))
    around = supply(line((55, 97), (70, 97)) | line((40, 97), (55, 97)))

    assert inside.vascularity_increased
    assert inside.vessel_fraction_pct > 10
    assert around.vascularity_increased is False
    assert around.surrounding_vessel_fraction_pct > 1


def test_without_vessels_there_is_no_way_and_no_support():
    found = supply(NOTHING)

    assert found.plexus_distance_mm is None
    assert found.draining_vessel is False
    assert found.vascularity_increased is False


def test_without_an_mrv_nothing_is_said():
    lesions, verdict = with_supply([Lesion(FINDINGS, REGION)], MUSCLES, None, GEOMETRY, AnalysisSettings())

    assert lesions[0].findings == FINDINGS
    assert verdict == Verdict()


def test_the_plexus_lies_around_canal_and_vertebrae_or_in_front_of_the_muscles():
    bone = np.hypot(BACK - 5, LEFT - 60) < 5
    of_canal, of_both = find_plexus(MUSCLES, SPACING_MM), find_plexus(replace(MUSCLES, bone=bone), SPACING_MM)
    of_midline = find_plexus(replace(MUSCLES, canal=NOTHING), SPACING_MM)

    assert [one.taken_from for one in (of_canal, of_both, of_midline)] == [
        ("the canal",), ("the canal and the vertebrae",), ("the midline in front of the muscles",),
    ]  # fmt: skip
    assert of_canal.region[10, 20, 79]
    assert not of_canal.region[10, 20, 81]
    assert of_both.region[10, 5, 76]
    assert not of_canal.region[10, 5, 76]
    assert of_midline.region[10, 20, 60]
    assert not of_midline.region[10, 60, 60]


VEIN = line((52, 86), (22, 70))


def test_a_lesion_that_the_mrv_does_not_reach_is_not_without_vessels_but_not_assessed():
    found, said = supplied(VEIN, unseen=HEAD < 13)

    assert found == FINDINGS
    assert "MRV-5: The MRV does not show enough of candidate 1 (the candidate itself)" in said


def test_a_lesion_between_the_voxels_of_the_mrv_is_not_assessed_and_no_vessel_is_said_to_be_missing():
    coarse = grid(spacing_mm=(2.0, 5.0, 5.0), size_mm=(40.0, 80.0, 120.0))
    series = Grid.of(volume(np.zeros(coarse.shape), coarse))
    vessels = Vessels(np.zeros(coarse.shape, bool), series, NOTHING.astype(np.float32), Movement.none(np.zeros(3)))
    small = Lesion(FINDINGS, (HEAD == 10) & (BACK == 55) & (LEFT == 90))

    (found,), verdict = with_supply([small], MUSCLES, vessels, GEOMETRY, AnalysisSettings())

    said = {one.code: one.text for one in verdict.caveats}
    assert found.findings == FINDINGS
    assert "candidate 1 (the candidate itself)" in said["MRV-5"]
    assert "No vessel" not in said.get("MRV-4", "")


def test_a_ring_beyond_the_mrv_is_no_ring_without_vessels():
    around = (LEFT >= 96) | (LEFT < 84) | (BACK >= 61) | (BACK < 49) | (np.abs(HEAD - 10) > 3)
    inside = REGION & (np.abs(BACK - 55) < 1)

    found, said = supplied(inside, unseen=around & (LEFT > 76))

    assert found.vessel_fraction_pct > 10
    assert found.surrounding_vessel_fraction_pct is None
    assert found.vascularity_increased is None
    assert "candidate 1 (the muscle around it)" in said


def test_that_no_vein_drains_a_lesion_is_not_said_where_the_plexus_lies_beyond_the_mrv():
    found, said = supplied(NOTHING, unseen=(LEFT < 84) & (BACK < 44))

    assert (found.vessel_fraction_pct, found.surrounding_vessel_fraction_pct) == (0, 0)
    assert (found.draining_vessel, found.vascularity_increased, found.plexus_distance_mm) == (None, None, None)
    assert "candidate 1 (the plexus in its slices)" in said


def test_a_vein_that_is_seen_to_drain_a_lesion_confirms_it_however_little_is_seen_besides():
    found, _ = supplied(VEIN, unseen=(LEFT < 62) & (BACK < 44))

    assert found.draining_vessel
    assert found.vascularity_increased


def test_a_distance_that_cannot_be_had_is_said_to_be_missing():
    _, said = supplied(NOTHING)

    assert "MRV-4: No vessel of the paravertebral plexus is seen: no distance to it is given of candidate 1." in said


def test_a_sacrum_alone_is_not_the_spine_of_the_slices_above_it():
    sacrum = (HEAD < 2) & (np.hypot(BACK - 20, LEFT - 60) < 12)
    muscles = replace(MUSCLES, canal=NOTHING, bone=sacrum)

    plexus = find_plexus(muscles, SPACING_MM)
    _, said = supplied(NOTHING, muscles)

    assert plexus.taken_from == ("the vertebrae", "the midline in front of the muscles")
    assert plexus.region[18, 20, 60]  # of the midline, where nothing of the spine is outlined
    assert "of the vertebrae or, in other slices, of the midline in front of the muscles" in said
