import itertools

import numpy as np
import pytest

from node.dicom.geometry import CanonicalAxes, Geometry
from node.dicom.identifiers import derived_uid, parse_ae_title
from node.errors import SettingsError

PATIENT_AXES = np.eye(3)
ORDERS = [
    (order, signs) for order in itertools.permutations(range(3)) for signs in itertools.product((1, -1), repeat=3)
]


@pytest.mark.parametrize(("order", "signs"), ORDERS)
def test_canonical_order_runs_to_head_back_and_left_whatever_the_acquisition(
    order: tuple[int, ...], signs: tuple[int, ...]
) -> None:
    affine = np.eye(4)
    for axis in range(3):
        affine[:3, axis] = signs[axis] * (axis + 1.0) * PATIENT_AXES[order[axis]]
    geometry = Geometry(affine, (4, 5, 6), "2.25.1")
    indices = np.stack(np.indices(geometry.shape), axis=-1)
    places = geometry.to_lps(indices)  # the value of each voxel is where it lies

    axes = CanonicalAxes.of(geometry)
    turned = np.stack([axes.apply(places[..., k]) for k in range(3)], axis=-1)

    assert (np.diff(turned[..., 2], axis=0) > 0).all()  # to the head
    assert (np.diff(turned[..., 1], axis=1) > 0).all()  # to the back
    assert (np.diff(turned[..., 0], axis=2) > 0).all()  # to the left
    canonical = axes.apply_to(geometry)
    assert canonical.to_lps(np.stack(np.indices(canonical.shape), axis=-1)) == pytest.approx(turned)
    assert (axes.undo(turned[..., 0]) == places[..., 0]).all()


def test_an_index_survives_the_way_to_the_patient_and_back() -> None:
    affine = np.array([[0.1, 0.2, 1, 5], [0, 1.1, 0.2, -7], [4, 0, 0.1, 9], [0, 0, 0, 1]])
    geometry = Geometry(affine, (3, 4, 5), "2.25.1")
    indices = np.array([[0, 0, 0], [2, 1.5, 4]])

    assert geometry.to_index(geometry.to_lps(indices)) == pytest.approx(indices)
    assert geometry.voxel_mm3 == pytest.approx(abs(np.linalg.det(affine[:3, :3])))


def test_a_derived_uid_is_valid_and_depends_on_every_part() -> None:
    uid = derived_uid("study", "report")

    assert uid == derived_uid("study", "report")
    assert uid != derived_uid("stud", "yreport")
    assert len(uid) <= 44
    assert uid.removeprefix("2.25.").isdigit()


@pytest.mark.parametrize("text", ["", " ", "A" * 17, "PA\\CS", "PÄCS", "A\tB"])
def test_an_ae_title_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(SettingsError):
        parse_ae_title(text)
