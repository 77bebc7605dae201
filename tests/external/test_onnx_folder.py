"""A network of others in a folder: it is what its description says, or it is not used."""

import json
from pathlib import Path

import numpy as np
import pytest

from node import plugins
from node.errors import PluginError
from node.external import OnnxSegmenter
from tests.external import painted
from tests.external.painted import SPACING_MM


def described(place: Path) -> dict:
    return json.loads((place / "model.json").read_text())


@pytest.mark.parametrize("axes", ["NCHW", "NCDHW"])
def test_labels_become_muscles_of_their_side(tmp_path: Path, axes: str) -> None:
    network = OnnxSegmenter.of(str(painted.folder(tmp_path / "model", axes)))

    found = network.segment(painted.volume(), spacing_mm=SPACING_MM)

    truth = painted.truth()
    assert np.array_equal(found.parts, np.where(truth < 5, truth, 0))
    assert np.array_equal(found.muscles == 1, np.isin(truth, (1, 3)))
    assert np.array_equal(found.canal, truth == 5)
    assert found.accepted.all()
    assert (network.name, network.version[:5]) == ("painted", "1.0 (")


STEPS_MM = {"S": 4.0, "I": 4.0, "P": 1.5, "A": 1.5, "L": 1.25, "R": 1.25}


def turned(place: Path, axes: str, orientation: str, finer: float = 1.0) -> OnnxSegmenter:
    painted.folder(place, axes)
    wanted = described(place)
    wanted["input"] |= {"orientation": orientation, "spacing_mm": [STEPS_MM[one] / finer for one in orientation]}
    wanted["tile"] = [8 if one in "SI" else 64 for one in orientation]
    (place / "model.json").write_text(json.dumps(wanted))
    return OnnxSegmenter.of(str(place))


@pytest.mark.parametrize(
    ("axes", "orientation"), [("NCHW", "RA"), ("NCHW", "AL"), ("NCDHW", "RAS"), ("NCDHW", "LPI"), ("NCDHW", "IAR")]
)
def test_a_network_of_another_orientation_sees_it_so_and_left_stays_left(
    tmp_path: Path, axes: str, orientation: str
) -> None:
    found = turned(tmp_path / "model", axes, orientation).segment(painted.volume(), spacing_mm=SPACING_MM)

    truth = painted.truth()
    assert np.array_equal(found.parts, np.where(truth < 5, truth, 0))
    assert found.accepted.all()


def test_a_network_of_finer_pixels_gets_finer_pixels(tmp_path: Path) -> None:
    found = turned(tmp_path / "model", "NCHW", "PL", finer=3).segment(painted.volume(), spacing_mm=SPACING_MM)

    truth = painted.truth()  # what lies between two painted values at a border has a third one's
    assert ((found.parts == truth) | (truth == 5)).mean() > 0.98
    assert found.accepted.all()


def test_a_file_of_another_hash_is_refused(tmp_path: Path) -> None:
    place = painted.folder(tmp_path / "model")
    network = (place / "model.onnx").read_bytes()
    (place / "model.onnx").write_bytes(network[:-1] + bytes([network[-1] ^ 1]))

    with pytest.raises(PluginError, match="SHA-256"):
        OnnxSegmenter.of(str(place))


def test_a_network_that_does_not_give_the_output_of_its_self_test_is_refused(tmp_path: Path) -> None:
    place = painted.folder(tmp_path / "model")
    output = np.load(place / "output.npy")
    output[0, 3, 2, 2] += 5
    np.save(place / "output.npy", output)

    with pytest.raises(PluginError, match="self-test: the output is off by"):
        OnnxSegmenter.of(str(place))


def test_a_self_test_that_is_not_a_number_is_no_pass(tmp_path: Path) -> None:
    place = painted.folder(tmp_path / "model")
    np.save(place / "output.npy", np.load(place / "output.npy") * np.nan)

    with pytest.raises(PluginError, match="self-test"):
        OnnxSegmenter.of(str(place))


def test_a_self_test_that_holds_objects_is_not_unpickled(tmp_path: Path) -> None:
    place = painted.folder(tmp_path / "model")
    np.save(place / "input.npy", np.array([{"run": "me"}], dtype=object), allow_pickle=True)

    with pytest.raises(PluginError, match="self-test cannot be run"):
        OnnxSegmenter.of(str(place))


def test_what_is_no_network_is_refused_even_with_the_right_hash(tmp_path: Path) -> None:
    import hashlib

    place = painted.folder(tmp_path / "model", sha256=hashlib.sha256(b"no network").hexdigest())
    (place / "model.onnx").write_bytes(b"no network")

    with pytest.raises(PluginError, match="cannot be loaded"):
        OnnxSegmenter.of(str(place))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"licence": ""}, "licence"),
        ({"weights": "elsewhere"}, "weights: Extra inputs"),
        ({"tile": [32, 36]}, "multiple of size_multiple"),
        ({"tile": [32, 32, 32]}, "2 values each"),
        ({"test": {"input": "../input.npy", "output": "output.npy", "tolerance": 1}}, "test.input"),
        ({"output": {"activation": "softmax", "labels": {"1": "left lung"}}}, "not 'left lung'"),
    ],
)
def test_a_description_with_a_fault_is_refused_in_words(tmp_path: Path, changed: dict, words: str) -> None:
    with pytest.raises(PluginError, match=words):
        OnnxSegmenter.of(str(painted.folder(tmp_path / "model", **changed)))


@pytest.mark.parametrize("orientation", ["PP", "SL", "PLS", "XY"])
def test_an_orientation_that_is_none_is_refused(tmp_path: Path, orientation: str) -> None:
    place = painted.folder(tmp_path / "model")
    wanted = described(place)
    wanted["input"]["orientation"] = orientation
    (place / "model.json").write_text(json.dumps(wanted))

    with pytest.raises(PluginError, match="orientation"):
        OnnxSegmenter.of(str(place))


def test_the_settings_name_the_folder_behind_a_colon(tmp_path: Path) -> None:
    place = painted.folder(tmp_path / "model")

    assert plugins.load("segmenters", f"onnx:{place}")().name == "painted"
    with pytest.raises(PluginError, match="folder is wanted"):
        plugins.load("segmenters", "onnx")()
    with pytest.raises(PluginError, match=r"model\.json and model\.onnx are wanted"):
        plugins.load("segmenters", f"onnx:{tmp_path}/nowhere")()
