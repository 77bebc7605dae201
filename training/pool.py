"""The slices that are learnt from, in the memory of the device that learns: the newest of them, again and again."""

import numpy as np
import torch

from node.analysis.network import MIRRORED, WINDOW
from training.source import Chunk


class Pool:
    """A ring of slices, on the device.

    Parameters
    ----------
    kept : int
        Slices that it holds: 0.1 MB each.
    """

    def __init__(self, kept: int, device: str) -> None:
        self._images = torch.empty((kept, 2, *WINDOW), dtype=torch.float16, device=device)
        self._labels = torch.empty((kept, *WINDOW), dtype=torch.uint8, device=device)
        self._mirrored = torch.tensor(MIRRORED, dtype=torch.uint8, device=device)
        self._device = device
        self._come = 0

    def add(self, chunk: Chunk) -> None:
        """Put slices in, in place of the oldest."""
        images, labels = (torch.from_numpy(part) for part in chunk)
        where = torch.arange(self._come, self._come + len(images)) % len(self._images)
        where = where.to(self._device)
        self._images[where] = images.to(self._device)
        self._labels[where] = labels.to(self._device)
        self._come += len(images)

    def batch(self, rng: np.random.Generator, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return images (count, 2, rows, columns) and classes of slices by chance, half of them mirrored."""
        which = torch.from_numpy(rng.integers(0, min(self._come, len(self._images)), count)).to(self._device)
        images, labels = self._images[which], self._labels[which].long()
        half = count // 2
        images[:half] = images[:half].flip(-1)
        labels[:half] = self._mirrored[labels[:half]].long().flip(-1)
        return images.float(), labels
