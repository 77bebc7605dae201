"""A scanner and a PACS made of code: studies with a known truth, sent as a scanner sends them.

In:   a recipe (what lies where, how it enhances, how the scanner images and writes it).
Out:  DICOM data sets in the order of their acquisition, the truth about them; a C-STORE SCU and an archive.
Holds to: the same recipe gives the same bytes; every pixel and every number of the truth comes from one anatomy.
Knows nothing of: how the node measures.
"""

from node.simulator.recipe import Recipe, demo_recipes, make_recipe, read_recipe
from node.simulator.study import SimulatedSeries, SimulatedStudy, simulate, write

__all__ = [
    "Recipe",
    "SimulatedSeries",
    "SimulatedStudy",
    "demo_recipes",
    "make_recipe",
    "read_recipe",
    "simulate",
    "write",
]
