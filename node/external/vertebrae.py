"""From the labels of vertebrae and discs to the middles of bodies."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from node.analysis.levels import points_of_labels
from node.findings import VERTEBRAE
from node.ports import LevelPoint


def points_of(labels: npt.NDArray[np.integer], names: Mapping[int, str]) -> tuple[LevelPoint, ...]:
    """Return the middles of discs, and of the bodies between them; of whole vertebrae only where no disc is marked.

    Programs mark a vertebra with its arch and processes, whose middle lies behind and below that of the body; the
    middle between two discs does not.
    """
    points = {one.name: one for one in points_of_labels(labels, names)}
    discs = {name: np.array(one.index) for name, one in points.items() if "/" in name}
    if not discs:
        return tuple(points.values())
    for upper, name, lower in zip(VERTEBRAE, VERTEBRAE[1:], VERTEBRAE[2:], strict=False):
        above, below = discs.get(f"{upper}/{name}"), discs.get(f"{name}/{lower}")
        if above is not None and below is not None:
            head, back, left = ((above + below) / 2).tolist()
            points[name] = LevelPoint(name, (head, back, left))
        else:
            points.pop(name, None)
    return tuple(one for name, one in points.items() if name not in (VERTEBRAE[0], VERTEBRAE[-1]))
