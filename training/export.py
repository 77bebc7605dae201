"""Turn weights into the model that the node ships: segmenter.onnx, and segmenter.json with its contract and SHA-256.

    python -m training.export [WEIGHTS] [--out node/analysis/models]

Refused unless ONNX Runtime and torch agree on random input, at three sizes.
"""

import argparse
import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from node.analysis.network import PIXEL_MM, WINDOW, Class
from training import checkpoint
from training.__main__ import WEIGHTS
from training.unet import EPSILON, InstanceNorm, UNet

MODELS = Path(__file__).resolve().parents[1] / "node" / "analysis" / "models"
TOLERANCE = 2e-5  # of the largest logit
GENERATION = 3  # of the architecture: 1 normalised by batches, 2 with 128 and 192 channels at the bottom
OPSET, IR_VERSION = 17, 8  # old enough for ONNX Runtime 1.16


def main() -> None:
    """Write model and contract."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, nargs="?", default=WEIGHTS)
    parser.add_argument("--out", type=Path, default=MODELS)
    wanted = parser.parse_args()
    state = checkpoint.load(wanted.weights, 0.0)
    model = to_onnx(state.mean, {"steps": str(state.steps), "slices": str(state.slices)})
    worst = difference(state.mean, model)
    if worst > TOLERANCE:
        raise SystemExit(
            f"ONNX Runtime and torch differ by {worst:.1e} of the largest logit, more than {TOLERANCE:.0e}"
        )
    wanted.out.mkdir(parents=True, exist_ok=True)
    path = wanted.out / "segmenter.onnx"
    path.write_bytes(model)
    contract = {
        "name": "paraspinal-unet",
        "version": f"{GENERATION}.{state.steps}",
        "licence": "Apache-2.0",
        "training_data": "slices drawn by training/ of this repository; no image of a patient",
        "steps": state.steps,
        "sha256": hashlib.sha256(model).hexdigest(),
        "input": {
            "name": "image", "axes": "NCHW", "spacing_mm": PIXEL_MM, "window": list(WINDOW), "size_multiple": 16,
            "rows": "front to back", "columns": "patient's right to left",
            "channels": "node.analysis.network.channels",
        },
        "output": {"name": "logits", "classes": [one.name.lower() for one in Class]},
    }  # fmt: skip
    path.with_suffix(".json").write_text(json.dumps(contract, indent=2) + "\n")
    print(f"{path.name}: {len(model) / 1e6:.1f} MB, {state.steps} steps, largest difference {worst:.1e}")


def to_onnx(net: UNet, properties: dict[str, str]) -> bytes:
    """Return the network as an ONNX file; input "image" (n, 2, rows, columns), output "logits"."""
    graph = _Graph()
    kept: list[str] = []
    seen = "image"
    for i, block in enumerate(net.encoder):
        seen = graph.block(block, seen if i == 0 else graph.add("MaxPool", seen, kernel_shape=[2, 2], strides=[2, 2]))
        kept.append(seen)
    for i in reversed(range(len(net.decoder))):
        graph.constant("twice", np.array([1, 1, 2, 2], np.float32))
        wide = graph.add(
            "Resize",
            seen,
            "",
            "twice",
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )
        seen = graph.block(net.decoder[i], graph.add("Concat", kept[i], wide, axis=1))
    weight, bias = (one.detach().numpy() for one in (net.head.weight, net.head.bias))
    graph.convolution(seen, weight, bias, padding=0, output="logits")
    inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 2, "rows", "columns"])]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", len(Class), "rows", "columns"])]
    made = helper.make_graph(graph.nodes, "segmenter", inputs, outputs, list(graph.constants.values()))
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="paraspinal-node")
    model.ir_version = IR_VERSION
    helper.set_model_props(model, properties)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def difference(net: UNet, model: bytes) -> float:
    """Return the largest difference between torch and ONNX Runtime, as a share of the largest logit."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    net.eval()
    rng = np.random.default_rng(0)
    worst = 0.0
    for shape in ((1, 2, *WINDOW), (3, 2, *WINDOW), (1, 2, 64, 96)):
        image = rng.standard_normal(shape).astype(np.float32)
        with torch.no_grad():
            expected = net(torch.from_numpy(image)).numpy()
        found = session.run(None, {"image": image})[0]
        worst = max(worst, float(np.abs(expected - found).max() / np.abs(expected).max()))
    return worst


class _Graph:
    """Nodes and constants of an ONNX graph while it is made."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def add(self, kind: str, *inputs: str, output: str | None = None, **attributes: object) -> str:
        output = output or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def constant(self, name: str, value: np.ndarray) -> str:
        self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def convolution(
        self, seen: str, weight: np.ndarray, bias: np.ndarray | None = None, *, padding: int, output: str | None = None
    ) -> str:
        number = len(self.nodes)
        names = [self.constant(f"weight_{number}", weight)]
        if bias is not None:
            names.append(self.constant(f"bias_{number}", bias))
        return self.add("Conv", seen, *names, output=output, pads=[padding] * 4, kernel_shape=list(weight.shape[2:]))

    def block(self, block: nn.Module, seen: str) -> str:
        """Add two convolutions, each with its normalisation."""
        layers = list(block.children())
        for convolution, norm in ((layers[0], layers[1]), (layers[3], layers[4])):
            assert isinstance(convolution, nn.Conv2d)
            assert isinstance(norm, InstanceNorm)
            seen = self.convolution(seen, convolution.weight.detach().numpy(), padding=1)
            number = len(self.nodes)
            scales = [
                self.constant(f"{name}_{number}", value.detach().numpy())
                for name, value in (("gain", norm.weight), ("shift", norm.bias))
            ]
            seen = self.add("InstanceNormalization", seen, *scales, epsilon=EPSILON)
            seen = self.add("LeakyRelu", seen, alpha=0.01)
        return seen


if __name__ == "__main__":
    main()
