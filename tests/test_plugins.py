import pytest

from node import plugins
from node.analysis import CompartmentSegmenter, MultiscaleDetector, NoLabeller
from node.completion import QuietPeriod
from node.delivery import DicomStorage, Folder
from node.errors import PluginError


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
