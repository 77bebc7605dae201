import threading
from collections.abc import Iterator

import pytest

from node.analysis.threads import ahead, both, each


def test_two_things_are_done_at_once():
    meeting = threading.Barrier(2, timeout=10)  # broken, if one waits for the other to end

    assert both(lambda: (meeting.wait(), "one")[1], lambda: (meeting.wait(), "other")[1]) == ("one", "other")


def test_what_is_returned_of_each_keeps_its_order_whoever_is_ready_first():
    second = threading.Event()

    def wait_or_go(number: int) -> int:
        if number == 1:
            second.set()
        elif number == 0:
            assert second.wait(10)
        return 10 * number

    assert each(wait_or_go, range(5)) == (0, 10, 20, 30, 40)


def test_the_next_value_is_made_while_the_last_one_is_used():
    made = threading.Semaphore(0)

    def values() -> Iterator[int]:
        for number in range(3):
            made.release()
            yield number

    used = []
    for number in ahead(values()):
        if number < 2:
            assert made.acquire(timeout=10)
            assert made.acquire(timeout=10)  # that of the next one
            made.release()
        used.append(number)
    assert used == [0, 1, 2]


def test_an_error_comes_to_whoever_asked():
    def fails() -> Iterator[int]:
        yield 1
        raise ValueError("two")

    values = ahead(fails())
    assert next(values) == 1
    for asked in (lambda: next(values), lambda: both(int, lambda: int("x")), lambda: each(int, "x")):
        with pytest.raises(ValueError, match=r"two|x|literal"):
            asked()
