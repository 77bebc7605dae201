"""A tiny supervised process, and a supervisor of such, for tests that kill them.

    python -m tests.processes.tiny child FOLDER NAME [HABIT...]
    python -m tests.processes.tiny supervise FOLDER NAME[:HABIT...]...

Each child writes lines to FOLDER/trace. Habits: exit=N (at once, without having been up), die (as soon as it is up),
die-late (after 0.5 s), deaf (to SIGTERM), then=HABIT (instead, from the second start on).
"""

import os
import queue
import signal
import sys
import time
from pathlib import Path

from node import eventlog
from node.daemon import BackOff, Child, Supervisor
from node.process import Tether

BACK_OFF = BackOff(first_s=0.1, longest_s=0.4, calm_s=0.5)


def child(folder: Path, name: str, *habits: str) -> None:
    tether = Tether()
    again = f"{name} starts" in (folder / "trace").read_text() if (folder / "trace").exists() else False
    then = tuple(habit.removeprefix("then=") for habit in habits if habit.startswith("then="))
    habits = then if again and then else tuple(habit for habit in habits if not habit.startswith("then="))
    trace(folder, f"{name} starts")
    for habit in habits:
        if habit.startswith("exit="):
            os._exit(int(habit.removeprefix("exit=")))
    print("what a library prints")
    asked: queue.SimpleQueue[int] = queue.SimpleQueue()
    signal.signal(signal.SIGTERM, lambda *_: asked.put(0) if "deaf" not in habits else None)
    trace(folder, f"{name} is up")
    tether.say_up(4711 if name == "receiver" else None)
    if "die-late" in habits:
        time.sleep(0.5)
    if "die" in habits or "die-late" in habits:
        os.kill(os.getpid(), signal.SIGKILL)
    asked.get()
    trace(folder, f"{name} stops")
    time.sleep(0.1)
    trace(folder, f"{name} has stopped")


def supervise(folder: Path, *specifications: str) -> None:
    children = []
    for one in specifications:
        name, *habits = one.split(":")
        command = (sys.executable, "-m", "tests.processes.tiny", "child", str(folder), name, *habits)
        children.append(Child(name, command))
    eventlog.start("INFO")
    supervisor = Supervisor(children, stop_limit_s=0.5, back_off=BACK_OFF)
    sys.exit(supervisor.run(started=lambda port: trace(folder, f"the node is up on port {port}")))


def trace(folder: Path, line: str) -> None:
    with (folder / "trace").open("a") as file:
        file.write(line + "\n")


if __name__ == "__main__":
    verb, where, *rest = sys.argv[1:]
    {"child": child, "supervise": supervise}[verb](Path(where), *rest)
