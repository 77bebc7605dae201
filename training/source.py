"""Slices for training, drawn by processes of their own while the network learns."""

import multiprocessing
from collections.abc import Iterator
from multiprocessing.queues import Queue

from training.slices import Pair, pair

_AHEAD = 64  # slices each process may be ahead of the learner: 7 MB


def slices(first: int, *, workers: int) -> Iterator[Pair]:
    """Yield the training pairs from number `first` on, for ever, always in the same order."""
    if workers == 0:
        seed = first
        while True:
            yield pair(seed)
            seed += 1
    context = multiprocessing.get_context("spawn")
    queues: list[Queue[Pair]] = [context.Queue(_AHEAD) for _ in range(workers)]
    processes = [
        context.Process(target=_fill, args=(queue, first + i, workers), daemon=True) for i, queue in enumerate(queues)
    ]
    for process in processes:
        process.start()
    try:
        while True:
            for queue in queues:
                yield queue.get()
    finally:
        for process in processes:
            process.terminate()


def _fill(queue: "Queue[Pair]", seed: int, step: int) -> None:
    while True:
        queue.put(pair(seed))
        seed += step
