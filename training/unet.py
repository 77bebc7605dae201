"""The network: a 2D U-Net of five steps, 2 channels in, one logit a class out. Needs torch, as all learning here."""

import torch
from torch import nn

from node.analysis.network import Class

WIDTHS = (16, 32, 64, 160, 320)  # wide where it costs little: a pass takes a fifth longer than with 128 and 192
EPSILON = 1e-5  # added to the variance of a channel


class InstanceNorm(nn.Module):
    """Bring each channel of each slice to mean 0 and spread 1, then scale it.

    Statistics of other slices take no part, in learning or afterwards: those of drawn slices do not fit real ones
    (docs/model-card.md).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, seen: torch.Tensor) -> torch.Tensor:
        """Return the normalised channels, shape as given."""
        if not seen.is_cpu:
            return nn.functional.instance_norm(seen, weight=self.weight, bias=self.bias, eps=EPSILON)
        # Slice by slice with the kernel of batch normalisation: it keeps the order of memory, and so takes half as long
        # as torch's own instance normalisation on a CPU (measured 2026-11-26).
        return torch.cat([
            nn.functional.batch_norm(one, None, None, self.weight, self.bias, training=True, eps=EPSILON)
            for one in seen.split(1)
        ])  # fmt: skip


def _two_convolutions(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers += [
            nn.Conv2d(channels, outputs, 3, padding=1, bias=False),
            InstanceNorm(outputs),
            nn.LeakyReLU(0.01, inplace=True),
        ]
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """Encoder and decoder; rows and columns must be multiples of 16."""

    def __init__(self, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        ins = (2, *widths)
        self.encoder = nn.ModuleList(_two_convolutions(ins[i], widths[i]) for i in range(len(widths)))
        self.decoder = nn.ModuleList(
            _two_convolutions(widths[i] + widths[i + 1], widths[i]) for i in range(len(widths) - 1)
        )
        self.head = nn.Conv2d(widths[0], len(Class), 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return logits of shape (n, classes, rows, columns)."""
        kept: list[torch.Tensor] = []
        seen = image
        for i, block in enumerate(self.encoder):
            seen = block(seen if i == 0 else nn.functional.max_pool2d(seen, 2))
            kept.append(seen)
        for i in reversed(range(len(self.decoder))):
            seen = nn.functional.interpolate(seen, scale_factor=2.0, mode="nearest")
            seen = self.decoder[i](torch.cat([kept[i], seen], 1))
        logits: torch.Tensor = self.head(seen)
        return logits
