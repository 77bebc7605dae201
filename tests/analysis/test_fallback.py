"""Who outlines the muscles: the first segmenter that is to be believed, and the findings say who, and who was not."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from node.analysis import CompartmentSegmenter, FirstAccepted, MultiscaleDetector, measure, with_fallback
from node.analysis.unet import NetworkSegmenter
from node.errors import PluginError
from node.findings import Gate, StudyVolumes
from node.ports import Segmentation
from node.settings import AnalysisSettings
from tests.analysis.phantom import Back, grid, pair

SHAPE = (6, 40, 60)
VOLUME = np.ones(SHAPE, np.float32)
BODY = np.pad(np.full((6, 30, 50), 100, np.float32), ((0, 0), (5, 5), (5, 5)))


def segmentation(accepted: int = 6) -> Segmentation:
    muscles = np.zeros(SHAPE, np.uint8)
    muscles[:, 20:30, 10:25], muscles[:, 20:30, 35:50] = 2, 1
    passed = np.arange(6) < accepted
    gates = (Gate("SEG-1", 0.5, ">= 0.85", bool(passed.mean() >= 0.5)),)
    return Segmentation(muscles, np.ones(SHAPE, bool), np.zeros(SHAPE, bool), passed, gates, "low")


@dataclass(frozen=True)
class Fixed:
    """A segmenter that always says the same, or raises it."""

    says: Segmentation | Exception
    name: str = "fixed"
    version: str = "1"

    def segment(self, volume, *, spacing_mm):
        if isinstance(self.says, Exception):
            raise self.says
        return self.says


class Broken:
    """A network that cannot run."""

    version = "0"

    def probabilities(self, images):
        raise MemoryError


def asked(*segmenters: Fixed) -> Segmentation:
    return FirstAccepted(segmenters, 0.6).segment(VOLUME, spacing_mm=(4.0, 1.5, 1.5))


def test_the_first_that_is_accepted_is_taken_and_named() -> None:
    found = asked(Fixed(segmentation(), "one", "1.2"), Fixed(segmentation(), "two"))

    assert found.made_by == "one 1.2"
    assert found.notes == ()


def test_one_that_accepts_too_few_slices_is_followed_by_the_next_and_that_is_said() -> None:
    found = asked(Fixed(segmentation(accepted=2), "one"), Fixed(segmentation(accepted=4), "two"))

    assert found.made_by == "two 1"
    assert found.notes == ("Segmenter one 1 accepted 33% of the slices (SEG-1).",)


def test_one_that_fails_is_followed_by_the_next_and_only_our_own_words_are_quoted() -> None:
    found = asked(
        Fixed(PluginError("command x ended with exit status 3"), "one"),
        Fixed(ValueError("a patient's name"), "two"),
        Fixed(replace(segmentation(), muscles=np.zeros((6, 40, 61), np.uint8)), "three"),
        Fixed(segmentation(), "four"),
    )

    assert found.made_by == "four 1"
    assert found.notes == (
        "Segmenter one 1 failed: command x ended with exit status 3.",
        "Segmenter two 1 failed: ValueError.",
        "The output of segmenter three 1 does not fit the volume: muscles have the shape (6, 40, 61), not (6, 40, 60).",
    )


def test_a_volume_that_none_accepts_is_refused_with_the_gates_of_the_last() -> None:
    found = asked(Fixed(segmentation(accepted=2), "one"), Fixed(segmentation(accepted=1), "two"))

    assert found.made_by == "two 1"
    assert found.accepted.sum() == 1
    assert len(found.notes) == 2


def test_what_the_learned_segmenter_refuses_no_other_one_accepts() -> None:
    learned = NetworkSegmenter()
    found = FirstAccepted((learned, Fixed(segmentation(), "two")), 0.6).segment(VOLUME, spacing_mm=(4.0, 1.5, 1.5))

    assert not found.accepted.any()
    assert found.made_by == f"unet {learned.version}"


def test_another_one_stands_in_where_the_learned_segmenter_cannot_run() -> None:
    broken = NetworkSegmenter(model=Broken())

    found = FirstAccepted((broken, Fixed(segmentation(), "two")), 0.6).segment(BODY, spacing_mm=(4.0, 1.5, 1.5))

    assert found.made_by == "two 1"
    assert found.notes == ("Segmenter unet 0 failed: MemoryError.",)


def test_a_volume_that_all_fail_on_is_refused() -> None:
    found = asked(Fixed(RuntimeError("x"), "one"))

    assert not found.accepted.any()
    assert found.notes == ("Segmenter one 1 failed: RuntimeError.",)


def test_a_side_that_is_missing_in_accepted_slices_is_not_accepted() -> None:
    one_sided = segmentation()
    one_sided.muscles[one_sided.muscles == 2] = 0

    assert asked(Fixed(one_sided, "one"), Fixed(segmentation(), "two")).made_by == "two 1"


def test_a_plug_in_has_the_built_in_ones_behind_it_and_these_when_asked_for_stay_alone() -> None:
    behind = with_fallback(Fixed(segmentation(), "mine", "3"), 0.7)
    assert isinstance(behind, FirstAccepted)
    assert [one.name for one in behind.segmenters] == ["mine", "unet", "compartments"]
    assert (behind.name, behind.least_fraction) == ("mine", 0.7)
    for alone in (NetworkSegmenter(), CompartmentSegmenter()):
        assert with_fallback(alone, 0.7) is alone


@pytest.mark.slow
def test_the_findings_say_who_outlined_and_who_failed() -> None:
    before, after = pair(Back(), grid(spacing_mm=(4.0, 1.5, 1.5), size_mm=(32.0, 180.0, 220.0)), snr=30)
    mine = FirstAccepted((Fixed(PluginError("it is broken"), "mine", "3"), CompartmentSegmenter()), 0.6, "mine")

    findings = measure(
        StudyVolumes(before, after), settings=AnalysisSettings(), segmenter=mine, detector=MultiscaleDetector()
    ).findings

    assert "compartments 1.0" in [one.found for one in findings.gates if one.code == "SEG-BY"]
    assert "Segmenter mine 3 failed: it is broken." in [one.text for one in findings.caveats]
    assert findings.algorithm.parameters["segmenter"] == "mine 3, else compartments 1.0"
    assert any("compartments 1.0" in one.text for one in findings.caveats if one.code == "SEG-LOW")
