"""What every segmenter owes the analysis, ours and others' alike: a plug-in of yours can be put through the same."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from node import plugins
from node.analysis.acceptance import fault_of
from node.analysis.grid import Grid
from node.ports import Segmenter
from tests.analysis.phantom import Back, grid, pair
from tests.external import painted

pytestmark = pytest.mark.slow

SEGMENTERS: dict[str, Callable[[Path], Segmenter]] = {
    "auto": lambda _: plugins.load("segmenters", "auto")(),
    "unet": lambda _: plugins.load("segmenters", "unet")(),
    "compartments": lambda _: plugins.load("segmenters", "compartments")(),
    "onnx": lambda place: plugins.load("segmenters", f"onnx:{painted.folder(place / 'model')}")(),
    "command": lambda place: plugins.load("segmenters", f"command:{painted.command(place)}")(),
}
SPACING_MM = (4.0, 1.5, 1.5)


@pytest.fixture(params=SEGMENTERS)
def segmenter(request: pytest.FixtureRequest, tmp_path: Path) -> Segmenter:
    return SEGMENTERS[request.param](tmp_path)


@pytest.fixture(scope="module")
def back() -> np.ndarray:
    before, _ = pair(Back(), grid(spacing_mm=SPACING_MM, size_mm=(24.0, 180.0, 220.0)), snr=30)
    return Grid.of(before).signal


def test_it_has_a_name_and_a_version(segmenter: Segmenter) -> None:
    assert isinstance(segmenter.name, str)
    assert segmenter.name
    assert isinstance(segmenter.version, str)
    assert segmenter.version


def test_its_output_fits_the_volume_and_the_input_is_left_as_it_was(segmenter: Segmenter, back: np.ndarray) -> None:
    given = back.copy()

    found = segmenter.segment(given, spacing_mm=SPACING_MM)

    assert fault_of(found, back.shape) == ""
    assert np.array_equal(given, back)
    assert found.confidence in {"low", "high"}
    assert all(
        gate.code.startswith("SEG-") and (gate.found == "not compared" or np.isfinite(float(gate.found)))
        for gate in found.gates
    )


def test_what_it_accepts_has_left_at_the_upper_end_of_the_last_axis(segmenter: Segmenter, back: np.ndarray) -> None:
    found = segmenter.segment(back, spacing_mm=SPACING_MM)

    for k in np.nonzero(found.accepted)[0]:
        left, right = (np.nonzero(found.muscles[k] == side)[1] for side in (1, 2))
        assert left.mean() > right.mean()
    if found.parts is not None:
        within = np.isin(found.parts, (1, 2, 3, 4))
        assert not (within & (found.muscles == 0)).any()


def test_it_gives_the_same_bits_again(segmenter: Segmenter, back: np.ndarray) -> None:
    one, other = (segmenter.segment(back, spacing_mm=SPACING_MM) for _ in range(2))

    assert np.array_equal(one.muscles, other.muscles)
    assert one.gates == other.gates


@pytest.mark.parametrize("shape", [(5, 64, 64), (1, 40, 48)])
def test_it_accepts_nothing_in_an_empty_volume(segmenter: Segmenter, shape: tuple[int, int, int]) -> None:
    found = segmenter.segment(np.zeros(shape, np.float32), spacing_mm=SPACING_MM)

    assert fault_of(found, shape) == ""
    assert not found.accepted.any()
