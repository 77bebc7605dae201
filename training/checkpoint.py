"""What training goes on from: weights, their running mean, the optimiser's moments, and how far it is."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from training.unet import UNet

MEAN_KEEPS = 0.999  # of the running mean of the weights, a step: it forgets over a thousand steps


@dataclass(slots=True)
class State:
    """The network as it learns, the mean that is shipped, and the count of steps and slices so far."""

    net: UNet
    mean: UNet
    optimizer: torch.optim.Optimizer
    steps: int = 0
    slices: int = 0

    def follow(self) -> None:
        """Let the mean follow the network by one step; early on it follows faster."""
        keep = min(MEAN_KEEPS, (1 + self.steps) / (10 + self.steps))
        ours = self.net.state_dict()
        for name, value in self.mean.state_dict().items():
            value.lerp_(ours[name], 1 - keep)


def fresh(rate: float, device: str = "cpu") -> State:
    """Return the state before the first step."""
    net, mean = UNet().to(device), UNet().to(device)
    mean.load_state_dict(net.state_dict())
    mean.eval()
    return State(net.to(memory_format=torch.channels_last), mean, _optimizer(net, rate))


def save(state: State, path: Path) -> None:
    """Write all that is needed to go on exactly; the old file, or the whole new one."""
    part = path.with_suffix(".part")
    torch.save({
        "net": state.net.state_dict(), "mean": state.mean.state_dict(), "optimizer": state.optimizer.state_dict(),
        "steps": state.steps, "slices": state.slices,
    }, part)  # fmt: skip
    part.replace(path)


def save_small(state: State, path: Path) -> None:
    """Write the mean, as network too, as 16 bit floats without the optimiser: small enough for the repository."""
    mean = {name: value.half() for name, value in state.mean.state_dict().items()}
    torch.save({"net": mean, "mean": mean, "steps": state.steps, "slices": state.slices}, path)


def load(path: Path, rate: float, device: str = "cpu") -> State:
    """Return the state that `save` or `save_small` wrote; without moments the optimiser begins anew."""
    kept: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    state = fresh(rate, device)
    state.net.load_state_dict(_whole(kept["net"]))
    state.mean.load_state_dict(_whole(kept["mean"]))
    if "optimizer" in kept:
        state.optimizer.load_state_dict(kept["optimizer"])
    state.steps, state.slices = kept["steps"], kept["slices"]
    return state


def _optimizer(net: UNet, rate: float) -> torch.optim.Optimizer:
    return torch.optim.AdamW(net.parameters(), rate, weight_decay=1e-4)


def _whole(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.float() for name, value in weights.items() if name.endswith((".weight", ".bias"))}
