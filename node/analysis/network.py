"""The network that ships with the node: a small U-Net on axial slices, run by ONNX Runtime.

It was taught by drawn slices alone (`training/`, docs/model-card.md). `seen.py` shows it a volume, `unet.py` judges.
"""

import hashlib
import json
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from scipy import ndimage

from node.errors import PluginError
from node.ports import Array

PIXEL_MM = 1.5
WINDOW = (128, 160)  # rows front to back, columns right to left: 192 x 240 mm, from behind the skin of the back
_LOCAL_PIXELS = 10.0  # Gaussian within which contrast is local: 15 mm
_PASSES = ((False, 1.0), (True, 0.75))  # mirrored or not, gamma


class Class(IntEnum):
    """What the network tells apart. The order is that of its outputs."""

    BACKGROUND = 0
    MULTIFIDUS_LEFT = 1
    MULTIFIDUS_RIGHT = 2
    ERECTOR_LEFT = 3
    ERECTOR_RIGHT = 4
    PSOAS_LEFT = 5
    PSOAS_RIGHT = 6
    VERTEBRA = 7
    CANAL = 8
    QUADRATUS_LEFT = 9
    QUADRATUS_RIGHT = 10
    BODY = 11
    SACRUM = 12


MIRRORED = [0, 2, 1, 4, 3, 6, 5, 7, 8, 10, 9, 11, 12]


def channels(image: Array) -> Array:
    """Return what the network sees of one slice, shape (2, rows, columns): global scale, and local contrast.

    The second channel is divided by the local spread, so that the coil's shading drops out.
    """
    bright = image[image > np.quantile(image, 0.2)]
    top = (float(np.quantile(bright, 0.98)) if bright.size else 0.0) + 1e-6
    scaled = np.clip(image / np.float32(top), 0, 1.5).astype(np.float32)
    mean = ndimage.gaussian_filter(scaled, _LOCAL_PIXELS)
    spread = np.sqrt(np.clip(ndimage.gaussian_filter(scaled * scaled, _LOCAL_PIXELS) - mean * mean, 1e-6, None))
    local = np.clip((scaled - mean) / (spread + np.float32(0.02)), -3, 3) / 2
    both: Array = np.stack([(scaled - np.float32(0.35)) / np.float32(0.3), local]).astype(np.float32)
    return both


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A network and what it says of itself."""

    session: Any  # onnxruntime.InferenceSession, which is untyped
    version: str

    def probabilities(self, images: Array) -> Array:
        """Return class probabilities, shape (n, passes, classes, rows, columns), of n slices of shape WINDOW."""
        seen = []
        for image in images:
            scaled = np.clip(image, 0, None) / max(float(image.max()), 1e-6)
            for mirrored, gamma in _PASSES:
                seen.append(channels((scaled[:, ::-1] if mirrored else scaled) ** np.float32(gamma)))
        logits: Array = self.session.run(None, {"image": np.stack(seen)})[0]
        logits = np.exp(logits - logits.max(axis=1, keepdims=True))
        logits /= logits.sum(axis=1, keepdims=True)
        found: Array = logits.reshape(len(images), len(_PASSES), len(Class), *WINDOW)
        for i, (mirrored, _) in enumerate(_PASSES):
            if mirrored:
                found[:, i] = found[:, i, MIRRORED, :, ::-1]
        return found


@cache
def shipped_model() -> Model:
    """Return the model that comes with the node.

    Raises
    ------
    PluginError
        If the file is not the one that its contract names.
    """
    folder = resources.files("node.analysis") / "models"
    return read_model((folder / "segmenter.onnx").read_bytes(), (folder / "segmenter.json").read_text("utf-8"))


def read_model(network: bytes, contract: str) -> Model:
    """Return the model of an ONNX file and its contract (JSON), after both were checked."""
    import onnxruntime  # 0.1 s and 30 MB, which the classical segmenter does not need

    wanted = json.loads(contract)
    if hashlib.sha256(network).hexdigest() != wanted["sha256"]:
        raise PluginError("the network's file does not have the SHA-256 that its contract names")
    if wanted["output"]["classes"] != [one.name.lower() for one in Class]:
        raise PluginError("the network's classes are not those of this version")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    options.log_severity_level = 3
    # Waiting threads that spin cost a third more CPU (measured 2026-11-26), which is another study's.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
    return Model(session, str(wanted["version"]))
