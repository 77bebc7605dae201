"""A back whose signal says what each voxel is: a network or a command that reads it off can be told right or wrong."""

import base64
import hashlib
import json
import sys
from pathlib import Path

import numpy as np

SPACING_MM = (4.0, 1.5, 1.25)
NAMES = {1: "multifidus left", 2: "multifidus right", 3: "erector spinae left", 4: "erector spinae right", 5: "canal"}

# y[k] = -(x - 100 k)^2 for k from 0 to 5, of slices and of volumes: made with onnx.helper, operator set 17.
_NETWORKS = {
    "NCHW": (
        "CAg6mQEKDgoBeAoBdhIBYSIDU3ViCg4KAWEKAWESAWIiA011bAoLCgFiEgF5IgNOZWcSAWcqJwgBCAYIAQgBEAEiGAAAAAAAAMhC"
        "AABIQwAAlkMAAMhDAAD6Q0IBdloeCgF4EhkKFwgBEhMKAxIBbgoCCAEKAxIBaAoDEgF3Yh4KAXkSGQoXCAESEwoDEgFuCgIIBgoD"
        "EgFoCgMSAXdCBAoAEBE="
    ),
    "NCDHW": (
        "CAg6pQEKDgoBeAoBdhIBYSIDU3ViCg4KAWEKAWESAWIiA011bAoLCgFiEgF5IgNOZWcSAWcqKQgBCAYIAQgBCAEQASIYAAAAAAAA"
        "yEIAAEhDAACWQwAAyEMAAPpDQgF2WiMKAXgSHgocCAESGAoDEgFuCgIIAQoDEgFoCgMSAXcKAxIBZGIjCgF5Eh4KHAgBEhgKAxIB"
        "bgoCCAYKAxIBaAoDEgF3CgMSAWRCBAoAEBE="
    ),
}


def truth() -> np.ndarray:
    """Labels of NAMES in canonical order (head, back, left): muscles of 30 x 20 mm beside a canal, a little uneven."""
    labels = np.zeros((6, 80, 120), np.uint8)
    labels[:, 40:54, 48:60] = 2
    labels[:, 40:54, 60:72] = 1
    labels[:, 42:58, 30:48] = 4
    labels[:, 42:58, 72:91] = 3
    labels[:, 26:36, 55:65] = 5
    return labels


def volume() -> np.ndarray:
    return 100 * truth().astype(np.float32)


def folder(place: Path, axes: str = "NCHW", **changed: object) -> Path:
    """Write an ONNX folder with its self-test; `changed` replaces parts of its description."""
    network = base64.b64decode(_NETWORKS[axes])
    place.mkdir(parents=True)
    (place / "model.onnx").write_bytes(network)
    flat = axes == "NCHW"
    given = np.random.default_rng(0).uniform(0, 500, (1, 1, *([8] * (2 if flat else 3)))).astype(np.float32)
    np.save(place / "input.npy", given)
    each = 100.0 * np.arange(6, dtype=np.float32).reshape(1, 6, *[1] * (given.ndim - 2))
    np.save(place / "output.npy", -((given - each) ** 2))
    description = {
        "name": "painted",
        "version": "1.0",
        "licence": "Apache-2.0",
        "sha256": hashlib.sha256(network).hexdigest(),
        "input": {
            "axes": axes,
            "spacing_mm": SPACING_MM[1:] if flat else SPACING_MM,
            "orientation": "PL" if flat else "SPL",
            "size_multiple": 8,
            "normalisation": "none",
        },
        "output": {"activation": "softmax", "labels": {str(label): name for label, name in NAMES.items()}},
        "tile": [32, 40] if flat else [8, 32, 40],
        "overlap": 0.25,
        "test": {"input": "input.npy", "output": "output.npy", "tolerance": 1e-3},
    }
    (place / "model.json").write_text(json.dumps(description | changed))
    return place


_READ_OFF = """
import gzip, struct, sys
given, left = sys.argv[1:3]
data = gzip.open(given).read()
start = int(struct.unpack_from("<f", data, 108)[0])
values = struct.unpack(f"<{(len(data) - start) // 4}f", data[start:])
labels = struct.pack(f"<{len(values)}f", *(round(value / 100) for value in values))
gzip.open(left, "wb", 1).write(data[:start] + labels)
"""


def command(place: Path, script: str = _READ_OFF, **changed: object) -> Path:
    """Write a description of a command that runs a script with the two files; by default it reads the labels off."""
    place.mkdir(parents=True, exist_ok=True)
    (place / "script.py").write_text(script)
    description = {
        "name": "painted",
        "version": "1.0",
        "command": [sys.executable, "-S", "-E", str(place / "script.py"), "{in}", "{out}"],
        "time_limit_s": 60.0,
    } | changed  # fmt: skip
    labels = description.pop("labels", NAMES)
    lines = [f"{key} = {json.dumps(value)}" for key, value in description.items()]
    lines += ["[labels]", *(f'{label} = "{name}"' for label, name in labels.items())]
    path = place / "command.toml"
    path.write_text("\n".join(lines))
    return path
