"""A network as segmenter, without code: a folder with `model.onnx`, `model.json` and a self-test (docs/segmenters.md).

It is loaded only if the file has the SHA-256 that its description names, and gives the output of its self-test for the
input of it: so a network that another runtime, or another version, would read differently is never used.
"""

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from scipy import ndimage

from node.analysis.labelled import codes_of, segmentation_of
from node.errors import PluginError
from node.ports import Array, Segmentation

_DIRECTIONS = {"S": (0, False), "I": (0, True), "P": (1, False), "A": (1, True), "L": (2, False), "R": (2, True)}
_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]  # of a file within the folder, too
_Size = Annotated[int, Field(ge=1, le=1024)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Input(_Part):
    """What the network wants: `orientation` says, axis by axis, the direction in which the index grows.

    "PL" are axial slices with rows from front to back and columns from the patient's right to left; "RAS" is a volume.
    """

    axes: Literal["NCHW", "NCDHW"]
    spacing_mm: tuple[Annotated[float, Field(gt=0.1, lt=20)], ...]
    orientation: Annotated[str, Field(pattern=r"^[SIPALR]{2,3}$")]
    size_multiple: _Size = 1
    normalisation: Literal["none", "maximum", "percentile", "z-score"] = "z-score"


class Output(_Part):
    """What comes out: one channel a label, or the labels themselves (activation "labels")."""

    activation: Literal["softmax", "sigmoid", "labels"]
    labels: dict[Annotated[str, Field(pattern=r"^[1-9][0-9]{0,2}$")], str]


class SelfTest(_Part):
    """Files with an input and the raw output for it, and by how much it may differ."""

    input: _Name
    output: _Name
    tolerance: Annotated[float, Field(ge=0)]


class Contract(_Part):
    """What `model.json` says."""

    name: _Name
    version: _Name
    licence: Annotated[str, Field(min_length=1, max_length=128)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    input: Input
    output: Output
    tile: tuple[_Size, ...]
    overlap: Annotated[float, Field(ge=0, lt=1)] = 0.25
    test: SelfTest

    @property
    def meanings(self) -> dict[int, str]:
        return {int(label): name for label, name in self.output.labels.items()}


@dataclass(frozen=True, slots=True, eq=False)
class OnnxSegmenter:
    """Segments by the network of a folder; see the module."""

    contract: Contract
    codes: Mapping[int, int]
    session: Any  # onnxruntime.InferenceSession, which is untyped

    @classmethod
    def of(cls, place: str = "") -> "OnnxSegmenter":
        """Return the segmenter of a folder, after it was checked.

        Raises
        ------
        PluginError
            With what is wrong.
        """
        if not place:
            raise PluginError('an ONNX folder is wanted: segmenter = "onnx:/path/of/the/folder"')
        folder = Path(place)
        try:
            contract = Contract.model_validate(json.loads((folder / "model.json").read_text("utf-8")))
            network = (folder / "model.onnx").read_bytes()
        except OSError as error:
            raise PluginError(f"network {place}: {error.strerror}: model.json and model.onnx are wanted") from error
        except ValidationError as error:
            faults = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
            raise PluginError(f"network {place}: model.json: {faults}") from error
        except ValueError as error:
            raise PluginError(f"network {place}: model.json is not JSON") from error
        if hashlib.sha256(network).hexdigest() != contract.sha256:
            raise PluginError(f"network {place}: model.onnx does not have the SHA-256 that model.json names")
        _check_axes(contract, place)
        codes = codes_of(contract.meanings)
        session = _session(network, place)
        _check_itself(session, contract, folder)
        return cls(contract, codes, session)

    @property
    def name(self) -> str:
        return self.contract.name

    @property
    def version(self) -> str:
        return f"{self.contract.version} ({self.contract.sha256[:8]})"

    def segment(self, volume: Array, *, spacing_mm: tuple[float, float, float]) -> Segmentation:
        """Return what the network marks in a volume in canonical order."""
        wanted = self.contract.input
        directions = [_DIRECTIONS[one] for one in wanted.orientation]
        order = [axis for axis, _ in directions]
        slices = [
            axis for axis in range(3) if axis not in order
        ]  # of a network of slices: the axis that it does not see
        turned = volume.transpose(slices + order)
        flipped = tuple(number + len(slices) for number, (_, backwards) in enumerate(directions) if backwards)
        steps = [spacing_mm[axis] for axis in order]
        factors = [1.0] * len(slices) + [step / goal for step, goal in zip(steps, wanted.spacing_mm, strict=True)]
        blur = [max(0.0, (1 / factor - 1) / 2) for factor in factors]  # no aliasing when going to larger voxels
        seen = ndimage.zoom(
            ndimage.gaussian_filter(np.flip(turned, flipped), blur), factors, order=1, grid_mode=True, mode="nearest"
        )
        labels = np.stack([self._labels(one) for one in seen]) if slices else self._labels(seen)
        back = np.flip(_on(labels, turned.shape), flipped).transpose(np.argsort(slices + order))
        return segmentation_of(back, self.codes, volume, spacing_mm)

    def _labels(self, image: Array) -> npt.NDArray[np.uint8]:
        """Return the labels of an image in the network's orientation, spacing and number of axes."""
        scaled = _normalised(image, self.contract.input.normalisation)
        tile = self.contract.tile
        padded = np.pad(scaled, [(0, max(0, size - length)) for size, length in zip(tile, image.shape, strict=True)])
        total: Array | None = None
        weight = np.zeros(padded.shape, np.float32)
        for place in _tiles(padded.shape, tile, self.contract.overlap):
            found = _shares(self.session, padded[place], self.contract)
            if total is None:
                total = np.zeros((len(found), *padded.shape), np.float32)
            total[(slice(None), *place)] += found
            weight[place] += 1
        assert total is not None  # there is one tile at least
        inside = tuple(slice(0, length) for length in image.shape)
        mean = total[(slice(None), *inside)] / weight[inside]
        labels: npt.NDArray[np.uint8] = mean.argmax(axis=0).astype(np.uint8)
        return labels


def _check_axes(contract: Contract, place: str) -> None:
    count = 2 if contract.input.axes == "NCHW" else 3
    axes = [_DIRECTIONS[one][0] for one in contract.input.orientation]
    if not len(contract.tile) == len(contract.input.spacing_mm) == len(axes) == count:
        raise PluginError(f"network {place}: tile, spacing_mm and orientation must have {count} values each")
    if len(set(axes)) < count or (count == 2 and 0 in axes):
        raise PluginError(f"network {place}: orientation must name each axis once; slices are axial")
    if any(size % contract.input.size_multiple for size in contract.tile):
        raise PluginError(f"network {place}: tile must be a multiple of size_multiple")


def _session(network: bytes, place: str) -> Any:
    import onnxruntime  # 0.1 s and 30 MB, which a node without a network does not need

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime has a dozen classes for it
        raise PluginError(f"network {place}: model.onnx cannot be loaded ({type(error).__name__})") from error


def _check_itself(session: Any, contract: Contract, folder: Path) -> None:
    try:
        given, wanted = (
            np.load(folder / one, allow_pickle=False) for one in (contract.test.input, contract.test.output)
        )
        found = _raw(session, given)
    except OSError as error:
        raise PluginError(f"network {folder}: its self-test cannot be read ({error.strerror})") from error
    except Exception as error:  # no arrays, or none that the network takes
        raise PluginError(f"network {folder}: its self-test cannot be run ({type(error).__name__})") from error
    if found.shape != wanted.shape:
        raise PluginError(f"network {folder}: self-test: the output has the shape {found.shape}, not {wanted.shape}")
    off = float(np.abs(found.astype(np.float64) - wanted).max())
    if not off <= contract.test.tolerance:
        raise PluginError(
            f"network {folder}: self-test: the output is off by {off:.3g}, allowed is {contract.test.tolerance:g}"
        )


def _raw(session: Any, given: npt.NDArray[Any]) -> npt.NDArray[Any]:
    found: npt.NDArray[Any] = session.run(None, {session.get_inputs()[0].name: given})[0]
    return found


def _shares(session: Any, image: Array, contract: Contract) -> Array:
    """Return what the network says of one tile, shape (labels and background, *tile), between 0 and 1."""
    found = _raw(session, image[None, None].astype(np.float32))[0]
    match contract.output.activation:
        case "labels":
            each = np.arange(max(contract.meanings) + 1).reshape(-1, *[1] * image.ndim)
            share = found.reshape(image.shape).round() == each
        case "sigmoid":  # channel 0 is label 1: there is none for the background
            positive = 1 / (1 + np.exp(-np.clip(found, -60, 60)))
            share = np.concatenate([1 - positive.max(axis=0, keepdims=True), positive])
        case _:
            raised = np.exp(found - found.max(axis=0))
            share = raised / raised.sum(axis=0)
    return np.asarray(share, dtype=np.float32)


def _normalised(image: Array, how: str) -> Array:
    match how:
        case "maximum":
            scaled = image / max(float(image.max()), 1e-6)
        case "percentile":
            low, high = np.percentile(image, (0.5, 99.5))
            scaled = np.clip((image - low) / max(float(high - low), 1e-6), 0, 1)
        case "z-score":
            scaled = (image - image.mean()) / max(float(image.std()), 1e-6)
        case _:
            scaled = image
    return np.asarray(scaled, dtype=np.float32)


def _tiles(shape: tuple[int, ...], tile: tuple[int, ...], overlap: float) -> Iterator[tuple[slice, ...]]:
    """Yield tiles that cover a shape, each at least as large as one; neighbours share `overlap` of their size."""
    starts = []
    for length, size in zip(shape, tile, strict=True):
        count = 1 + int(np.ceil((length - size) / max(1.0, size * (1 - overlap))))
        starts.append(np.linspace(0, length - size, count).round().astype(int).tolist())
    for corner in itertools.product(*starts):
        yield tuple(slice(first, first + size) for first, size in zip(corner, tile, strict=True))


def _on(labels: npt.NDArray[np.uint8], shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """Return labels on a finer or coarser grid over the same space, each voxel by the nearest."""
    nearest = [
        np.minimum(((np.arange(wanted) + 0.5) * count / wanted).astype(int), count - 1)
        for wanted, count in zip(shape, labels.shape, strict=True)
    ]
    return labels[np.ix_(*nearest)]
