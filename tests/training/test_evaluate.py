"""How the segmenter is judged: volumes come in canonical order, and Dice is Dice."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from training import evaluate


@pytest.mark.parametrize("axes", ["RAS", "LPS", "LAS", "SPL", "PIR"])
def test_a_volume_comes_in_canonical_order_however_it_was_stored(tmp_path: Path, axes: str) -> None:
    right_to_left, front_to_back, foot_to_head = 5, 6, 7
    lps = np.arange(right_to_left * front_to_back * foot_to_head, dtype=np.float32)
    lps = lps.reshape(right_to_left, front_to_back, foot_to_head)
    image = nib.Nifti1Image(lps, np.diag([-1.0, -2.0, 3.0, 1.0]))
    turn = nib.orientations.ornt_transform(nib.io_orientation(image.affine), nib.orientations.axcodes2ornt(axes))
    nib.save(image.as_reoriented(turn), tmp_path / "volume.nii.gz")

    volume, spacing_mm = evaluate.canonical(tmp_path / "volume.nii.gz")

    assert np.array_equal(volume, lps.transpose(2, 1, 0))
    assert spacing_mm == pytest.approx((3.0, 2.0, 1.0))


def test_dice_is_twice_the_overlap_over_the_sum() -> None:
    one = np.array([True, True, False, False])
    other = np.array([True, False, True, False])

    assert evaluate.dice(one, other) == 0.5
    assert evaluate.dice(one, one) == 1
    assert evaluate.dice(one, ~one) == 0


def test_a_table_counts_only_slices_with_muscle_and_tells_accepted_ones_apart() -> None:
    yes, no = True, False
    outcome = evaluate.Outcome(
        "one", 3, np.array([yes, no, yes]), np.array([yes, yes, no]),
        np.array([0.9, 0.5, 0.0]), np.array([0.8, 0.7, 0.0]), {},
    )  # fmt: skip

    *_, line = evaluate.table_of([outcome])

    assert line == "| one | 2 of 3 | 0.700 | 0.750 | 50% | 0.900 | 0.800 | 0.800 |"
