"""From what the network saw to labelled voxels: parts, canal and bone, each muscle on the side where it lies."""

from dataclasses import replace

import numpy as np
import pytest

from node.analysis.network import Class
from node.analysis.seen import Seen, place_sides
from node.analysis.structures import BONE, CANAL, on_voxels, sides_of, structures
from node.analysis.unet import figures_of, judge
from node.ports import PARTS

SHAPE = (2, 60, 80)


def seen(classes: np.ndarray, sides: np.ndarray) -> Seen:
    lateral = np.broadcast_to((np.arange(80) - 39.5).astype(np.float32) * 1.5, SHAPE)
    each = np.ones(len(classes))
    middle = np.full((2, 2), (24.0, 39.5))
    return Seen(classes, sides, lateral, each, each, middle, np.zeros((2, 2)), each, each, each, np.zeros(2))


def painted() -> Seen:
    """A back whose every muscle the network names after the wrong side."""
    classes = np.full(SHAPE, Class.BODY, np.uint8)
    sides = np.zeros(SHAPE, np.uint8)
    classes[:, 20:28, 34:46] = Class.CANAL
    classes[:, 5:18, 30:50] = Class.VERTEBRA
    classes[1, 5:18, 30:50] = Class.SACRUM
    for left, columns in ((True, slice(46, 60)), (False, slice(20, 34))):
        classes[:, 30:45, columns] = Class.MULTIFIDUS_RIGHT if left else Class.MULTIFIDUS_LEFT
        sides[:, 30:45, columns] = 1 if left else 2
    for left, columns in ((True, slice(60, 74)), (False, slice(6, 20))):
        classes[:, 30:45, columns] = Class.ERECTOR_RIGHT if left else Class.ERECTOR_LEFT
        sides[:, 30:45, columns] = 1 if left else 2
    for left, columns in ((True, slice(52, 60)), (False, slice(20, 28))):
        classes[:, 6:16, columns] = Class.PSOAS_RIGHT if left else Class.PSOAS_LEFT
    for left, columns in ((True, slice(66, 72)), (False, slice(8, 14))):
        classes[:, 16:26, columns] = Class.QUADRATUS_RIGHT if left else Class.QUADRATUS_LEFT
    return seen(classes, sides)


def test_every_muscle_lies_on_its_side_whatever_the_network_calls_it() -> None:
    labels = structures(painted())

    assert set(np.unique(labels)) == {0, *PARTS, CANAL, BONE}
    for label, (_, side) in PARTS.items():
        columns = np.nonzero(labels == label)[2]
        assert (columns > 39.5).all() if side == "left" else (columns < 39.5).all()


def test_vertebra_and_sacrum_are_bone() -> None:
    labels = structures(painted())

    assert (labels[0, 5:18, 30:50] == BONE).all()
    assert (labels[1, 5:18, 30:50] == BONE).all()


@pytest.mark.parametrize("size", [8, 16])  # smaller and larger than the canal itself
def test_a_second_spine_in_front_of_the_belly_is_none(size: int) -> None:
    classes = np.full((5, 140, 80), Class.BODY, np.uint8)
    classes[:, 100:112, 34:46] = Class.CANAL
    classes[:, 85:98, 30:50] = Class.VERTEBRA
    classes[2, 20 : 20 + size, 30 : 30 + size] = Class.CANAL
    classes[2, 5:18, 30:50] = Class.VERTEBRA
    ones = np.ones(5)

    labels = structures(place_sides(classes, ones, ones, ones, ones, ones))

    assert (labels[:, 85:98, 30:50] == BONE).all()
    assert (labels[:, 100:112, 34:46] == CANAL).all()
    assert not np.isin(labels[:, :50], (BONE, CANAL)).any()


def test_where_no_canal_is_seen_bone_is_where_it_is_called_so() -> None:
    classes = np.full((2, 140, 80), Class.BODY, np.uint8)
    classes[:, 5:18, 30:50] = Class.VERTEBRA
    ones = np.ones(2)

    assert (structures(place_sides(classes, ones, ones, ones, ones, ones))[:, 5:18, 30:50] == BONE).all()


def test_a_hole_that_was_filled_is_of_the_muscle_around_it() -> None:
    back = painted()
    back.classes[:, 35:40, 64:69] = Class.BODY  # the dark core of a lesion, which `sides` keeps

    labels = structures(back)

    assert (labels[:, 35:40, 64:69] == 3).all()  # erector spinae left
    assert np.array_equal(sides_of(labels), back.sides)


def test_labels_on_other_voxels_cover_the_same_places_without_gaps_between_neighbours() -> None:
    labels = structures(painted())

    finer = on_voxels(labels, (2, 180, 240))

    assert (finer == np.kron(labels, np.ones((1, 3, 3), np.uint8))).mean() > 0.97
    within = finer[0, 100:125, 140:220]  # across the border of multifidus and erector spinae
    assert set(np.unique(within)) == {1, 3}
    assert np.array_equal(on_voxels(labels, SHAPE), labels)
    coarser = on_voxels(labels, (2, 30, 40))
    assert set(np.unique(coarser)) == set(np.unique(labels))


def test_where_nothing_is_to_compare_with_the_signal_is_accepted() -> None:
    back = painted()
    none = np.array([np.nan, np.nan])

    accepted, gates = judge(replace(back, over_psoas=none))

    limit = next(gate for gate in gates if gate.code == "SEG-11")
    assert (limit.found, limit.passed) == ("not compared", True)
    assert np.array_equal(accepted, judge(back)[0])
    certainty = next(gate for gate in judge(replace(back, certainty=none))[1] if gate.code == "SEG-9")
    assert not certainty.passed  # that figure every slice has


def test_a_slice_without_psoas_is_judged_by_the_other_slices_of_the_series() -> None:
    one = replace(painted(), over_psoas=np.array([np.nan, 9.0]))

    limit = next(gate for gate in judge(one)[1] if gate.code == "SEG-11")

    assert (limit.found, limit.passed) == (9.0, False)
    assert np.array_equal(figures_of(one)["over psoas"], [9.0, 9.0])
    assert not judge(one)[0].any()
