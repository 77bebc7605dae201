"""Training pairs by number: the same seed gives the same slice, on any machine with the same numpy and scipy."""

import numpy as np
import numpy.typing as npt

from node.analysis.network import channels
from training.anatomy import draw
from training.canvas import Codes, Field
from training.exposure import expose

Pair = tuple[npt.NDArray[np.float16], Codes]
# Seeds of what is never trained on: held-out slices are numbered from here on, training slices from 0.
HELD_OUT = 1_000_000_000


def sample(seed: int) -> tuple[Field, Codes]:
    """Return image and classes of slice number `seed`, both of shape WINDOW."""
    rng = np.random.default_rng(seed)
    return expose(rng, draw(rng))


def pair(seed: int) -> Pair:
    """Return the network's input, shape (2, rows, columns), and the classes of slice number `seed`."""
    image, label = sample(seed)
    return channels(image).astype(np.float16), label
