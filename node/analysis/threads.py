"""Two things at once, where neither hangs on the other: the libraries below let go of Python's lock while they compute.

Two threads, whatever the machine has, and the same bits as one thing after the other.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

One = TypeVar("One")
Other = TypeVar("Other")

_END = object()


def both(one: Callable[[], One], other: Callable[[], Other]) -> tuple[One, Other]:
    """Return what the two return."""
    with ThreadPoolExecutor(1) as thread:
        later = thread.submit(other)
        return one(), later.result()


def each(function: Callable[[One], Other], values: Iterable[One]) -> Sequence[Other]:
    """Return what `function` returns of each value, in their order."""
    with ThreadPoolExecutor(2) as threads:
        return tuple(threads.map(function, values))


def ahead(values: Iterator[One]) -> Iterator[One]:
    """Yield the values; while one is used, the next one is made."""
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, values, _END)
        while (value := coming.result()) is not _END:
            coming = thread.submit(next, values, _END)
            yield value  # type: ignore[misc]  # not the end
