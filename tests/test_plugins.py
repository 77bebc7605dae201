from typing import Any

import pytest

from node import plugins
from node.analysis import CompartmentSegmenter, MultiscaleDetector, NoLabeller
from node.completion import QuietPeriod
from node.delivery import DicomStorage, Folder
from node.errors import PluginError, SettingsError
from node.settings import Settings


def test_our_own_parts_come_in_by_entry_point_like_anybody_elses() -> None:
    assert plugins.load("segmenters", "compartments") is CompartmentSegmenter
    assert plugins.load("detectors", "multiscale") is MultiscaleDetector
    assert plugins.load("labellers", "none") is NoLabeller
    assert plugins.load("triggers", "quiet-period") is QuietPeriod
    assert plugins.load("destinations", "dicom") is DicomStorage
    assert plugins.load("destinations", "folder") is Folder


def test_a_plug_in_that_is_missing_is_told_with_those_that_are_there() -> None:
    with pytest.raises(PluginError, match="no plug-in 'sam' among segmenters; installed are: auto, command"):
        plugins.load("segmenters", "sam")


def with_commands(step_time_limit_s: float, **analysis: str) -> Settings:
    values: dict[str, Any] = {"analysis": analysis, "jobs": {"step_time_limit_s": step_time_limit_s}}
    return Settings.checked(values)


def test_two_commands_that_may_take_longer_than_their_step_are_a_fault_of_the_settings() -> None:
    both = {"segmenter": "command:totalsegmentator-mr", "labeller": "command:totalspineseg"}

    with pytest.raises(
        SettingsError, match=r"\[jobs\] step_time_limit_s must be at least 1140, not 600: 540 s of command"
    ):
        plugins.check_times(with_commands(600, **both))

    assert "within the 1140 s" in plugins.check_times(with_commands(1140, **both))


def test_one_command_fits_into_a_step_as_the_settings_come_and_without_any_nothing_is_wanted() -> None:
    assert "within the 600 s" in plugins.check_times(Settings.checked({"analysis": {"segmenter": "command:musclemap"}}))
    assert plugins.check_times(with_commands(1.0)) == "no commands"
