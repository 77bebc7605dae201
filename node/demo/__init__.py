"""The demonstration: a simulated scanner, the real node in a process of its own, a simulated archive.

In:   nothing but the recipes of `simulator.demo_recipes`.
Out:  progress and measurements on the screen; the received objects in a folder, pictures and PDF also as such.
Holds to: what it shows was read back from the objects that the archive received, never from the node's memory.
Knows nothing of: how the node measures.
"""

from node.demo.show import run_demo

__all__ = ["run_demo"]
