"""Loops: a `run_once` that a thread of its own repeats for the life of the process."""

import logging
import threading
from collections.abc import Callable

from node import eventlog
from node.errors import shown
from node.eventlog import Event


def repeat(run_once: Callable[[], object], every_s: float, name: str) -> None:
    """Call `run_once` for the life of the process, in a thread of its own; a failure is logged, not fatal."""

    def loop() -> None:
        pause = threading.Event()
        while not pause.wait(every_s):
            try:
                run_once()
            except Exception as error:  # the database may be away for a while; the next turn tries again
                eventlog.record(Event.LOOP_FAILED, logging.ERROR, loop=name, error=f"'{shown(error)}'")

    threading.Thread(target=loop, daemon=True, name=name).start()
