"""What every labeller owes the analysis, ours and others' alike."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from node import plugins
from node.analysis.levels import spine_of
from node.dicom.geometry import Geometry
from node.ports import Labeller
from tests.external import painted

pytestmark = pytest.mark.slow

NAMES = {1: "L2/L3", 2: "L3/L4", 3: "L4/L5"}
LABELLERS: dict[str, Callable[[Path], Labeller]] = {
    "none": lambda _: plugins.load("labellers", "none")(),
    "command": lambda place: plugins.load(
        "labellers", f"command:{painted.command(place, labels=NAMES, basis='painted')}"
    )(),
}
SPACING_MM = (2.0, 2.0, 4.0)


@pytest.fixture(params=LABELLERS)
def labeller(request: pytest.FixtureRequest, tmp_path: Path) -> Labeller:
    return LABELLERS[request.param](tmp_path)


def discs() -> np.ndarray:
    """Three discs of a spine, 36 mm apart, in canonical order."""
    volume = np.zeros((60, 40, 5), np.float32)
    for label, row in ((3, 6), (2, 24), (1, 42)):
        volume[row : row + 4, 10:20] = 100 * label
    return volume


def test_it_has_a_name_and_a_version(labeller: Labeller) -> None:
    assert labeller.name
    assert labeller.version


def test_it_says_by_what_it_counts_or_why_it_does_not(labeller: Labeller) -> None:
    for volume in (discs(), np.zeros((60, 40, 5), np.float32)):
        assert labeller.label(volume, spacing_mm=SPACING_MM).basis


def test_its_points_lie_in_the_volume_and_make_a_spine(labeller: Labeller) -> None:
    volume = discs()

    found = labeller.label(volume, spacing_mm=SPACING_MM)

    for one in found.points:
        assert all(0 <= index <= length - 1 for index, length in zip(one.index, volume.shape, strict=True))
    if found.points:
        affine = np.diag([0.0, 0.0, 0.0, 1.0])
        affine[:3, :3] = np.column_stack([[0, 0, 2.0], [0, 2.0, 0], [4.0, 0, 0]])
        assert spine_of(found.points, Geometry(affine, volume.shape, "1.2.3")) is not None


def test_it_names_nothing_in_an_empty_volume(labeller: Labeller) -> None:
    assert labeller.label(np.zeros((60, 40, 5), np.float32), spacing_mm=SPACING_MM).points == ()
