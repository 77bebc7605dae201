"""Known truth: enhancement of muscle and lesions, whatever the gain, and where fat is suppressed."""

import pytest

from benchmarks.analysis_enhancement import LESIONS_MM, errors
from node.analysis import CompartmentSegmenter, MultiscaleDetector, measure
from node.analysis.unet import NetworkSegmenter
from node.dicom.volumes import stack
from node.findings import StudyVolumes
from node.settings import AnalysisSettings
from node.simulator import Recipe, simulate
from node.simulator.recipe import AnatomyRecipe

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("snr", "muscle", "lesion"),
    [
        (0.0, 1.0, 1.5),
        (30.0, 3.0, 5.0),  # the median of a few dozen voxels, each with a noise of 7 points
    ],
)
def test_enhancement_is_what_was_painted_and_the_gain_does_not_change_it(
    snr: float, muscle: float, lesion: float
) -> None:
    found = [errors(AnatomyRecipe(), snr, gain, seed=11) for gain in (0.5, 2.0)]

    for one in found:
        assert not one["refusals"]
        assert {side for side, error in one["muscle"].items() if abs(error) <= muscle} == {"left", "right"}
        near = {mm for mm, error in one["lesions"].items() if error is not None and abs(error) <= lesion}
        assert near == set(LESIONS_MM)
    for side in ("left", "right"):
        assert found[0]["muscle"][side] == pytest.approx(found[1]["muscle"][side], abs=1)


@pytest.mark.parametrize("gain", [0.7, 1.4])
def test_a_fat_suppressed_pair_is_measured_by_the_gain_of_the_spinal_canal(gain: float) -> None:
    study = simulate(Recipe(seed=5, lesions=(), series=("pre", "post"), gain=gain, fat_suppression=True))
    volumes = StudyVolumes(stack(study.of("pre")), stack(study.of("post")))

    findings = measure(
        volumes, settings=AnalysisSettings(), segmenter=NetworkSegmenter(), detector=MultiscaleDetector()
    ).findings  # fmt: skip

    assert any("spinal canal" in one.text for one in findings.caveats), findings.refusals
    for truth in study.truth.muscles:
        (found,) = (one for one in findings.muscles if one.side is truth.side)
        assert found.enhancement_pct == pytest.approx(truth.enhancement_pct, abs=3)


def test_a_fat_suppressed_pair_is_refused_by_the_segmenter_that_needs_bright_fat() -> None:
    study = simulate(Recipe(seed=5, lesions=(), series=("pre", "post"), fat_suppression=True, slices=8, pixel_mm=1.5))
    volumes = StudyVolumes(stack(study.of("pre")), stack(study.of("post")))

    findings = measure(
        volumes, settings=AnalysisSettings(), segmenter=CompartmentSegmenter(), detector=MultiscaleDetector()
    ).findings  # fmt: skip

    assert "SEG-0" in {one.code for one in findings.refusals}
