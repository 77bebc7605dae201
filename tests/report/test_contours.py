"""The outline of a mask holds what the mask holds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from node.report.contours import contours


def area(outline: np.ndarray) -> float:
    rows, columns = outline.T
    return abs(float((columns[:-1] * rows[1:] - columns[1:] * rows[:-1]).sum())) / 2


def drawn(text: str) -> np.ndarray:
    return np.array([[letter == "#" for letter in line] for line in text.split()])


def test_one_pixel_is_outlined_by_its_four_corners():
    (outline,) = contours(drawn("... .#. ..."))

    assert outline.tolist() == [[0.5, 0.5], [0.5, 1.5], [1.5, 1.5], [1.5, 0.5], [0.5, 0.5]]


@pytest.mark.parametrize(
    ("text", "areas"),
    [
        ("####", [4]),
        ("##. ### .##", [7]),
        ("#. .#", [1, 1]),  # they touch at a corner only
        ("### #.# ###", [9]),  # the hole is not told
        ("##### #...# #.#.# #...# #####", [1, 25]),
        ("...", []),
    ],
)
def test_each_part_has_an_outline_and_a_hole_has_none(text: str, areas: list[int]):
    assert sorted(map(area, contours(drawn(text)))) == areas


@given(st.lists(st.lists(st.booleans(), min_size=6, max_size=6), min_size=1, max_size=6))
def test_the_outlines_of_any_mask_enclose_its_parts_with_their_holes_filled(rows: list[list[bool]]):
    mask = np.array(rows)
    parts, number = ndimage.label(mask)

    outlines = contours(mask)

    hole = np.ones((3, 3))  # what is open at a corner is none
    filled = [int(ndimage.binary_fill_holes(parts == part, hole).sum()) for part in range(1, number + 1)]
    assert sorted(map(area, outlines)) == sorted(filled)
    for outline in outlines:
        steps = np.diff(outline, axis=0)
        assert (outline[0] == outline[-1]).all()
        assert ((steps == 0).sum(axis=1) == 1).all()  # along the edges of pixels
        assert (np.abs(np.diff(np.sign(steps), axis=0)).sum(axis=1) == 2).all()  # and at each corner a turn
