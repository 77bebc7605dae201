"""Slices for training, drawn by processes of their own while the network learns."""

import multiprocessing
from multiprocessing.queues import Queue

import numpy as np
import numpy.typing as npt

from training.canvas import Codes
from training.slices import pair

CHUNK = 16  # slices that a process hands over at once
_AHEAD = 4  # chunks that each process may be ahead of the learner: 7 MB

Chunk = tuple[npt.NDArray[np.float16], Codes]  # as of `slices.pair`, one after another


class Source:
    """The training pairs from number `first` on, CHUNK of them at a time, for ever, always in the same order.

    Parameters
    ----------
    workers : int
        Processes that draw; without any, slices are drawn when they are asked for.
    """

    def __init__(self, first: int, *, workers: int) -> None:
        self._first, self._given = first, 0
        context = multiprocessing.get_context("spawn")
        self._queues: list[Queue[Chunk]] = [context.Queue(_AHEAD) for _ in range(workers)]
        self._processes = [
            context.Process(target=_fill, args=(queue, first + i * CHUNK, workers * CHUNK), daemon=True)
            for i, queue in enumerate(self._queues)
        ]
        for process in self._processes:
            process.start()

    def ready(self) -> bool:
        """Return whether the next chunk need not be waited for."""
        return not self._queues or not self._queues[self._given % len(self._queues)].empty()

    def __next__(self) -> Chunk:
        number = self._given
        self._given += 1
        if not self._queues:
            return _chunk(self._first + number * CHUNK)
        return self._queues[number % len(self._queues)].get()

    def close(self) -> None:
        """End the processes."""
        for process in self._processes:
            process.terminate()


def _chunk(first: int) -> Chunk:
    images, labels = zip(*(pair(seed) for seed in range(first, first + CHUNK)), strict=True)
    return np.stack(images), np.stack(labels)


def _fill(queue: "Queue[Chunk]", seed: int, step: int) -> None:
    while True:
        queue.put(_chunk(seed))
        seed += step
