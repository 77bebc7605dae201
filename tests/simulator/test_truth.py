"""The truth is what the pixels show: measured on series without noise, gain and motion."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from node.dicom.volumes import stack
from node.errors import SimulatorError
from node.findings import Side
from node.simulator import Recipe, simulate, write
from node.simulator.images import read_body
from node.simulator.recipe import Vendor
from node.simulator.tissues import Label
from tests.conftest import shared
from tests.simulator.studies import coarse, same_grid, study_of, undisturbed


def _enhancement_pct(study_recipe: Recipe, mask: np.ndarray) -> float:
    study = study_of(study_recipe)
    pre, post = (stack(study.of(kind)).array[mask] for kind in ("pre", "post"))
    return 100 * float(np.median(post / pre - 1))


@pytest.mark.parametrize("sequence", ["se", "spgr"])
@pytest.mark.parametrize("vendor", ["siemens", "philips", "ge", "canon"])
def test_measured_muscle_enhancement_is_the_true_one(vendor: Vendor, sequence: str) -> None:
    recipe = undisturbed(vendor=vendor, sequence=sequence)
    truth = study_of(recipe).truth
    lesion = truth.masks.lesions > 0

    for number, muscle in enumerate(truth.muscles, start=1):
        measured = _enhancement_pct(recipe, (truth.masks.muscles == number) & ~lesion)

        # The mask holds streaks of fat which the truth leaves out, and stored values are whole numbers.
        assert measured == pytest.approx(muscle.enhancement_pct, abs=2.0)


def test_measured_lesion_enhancement_is_the_true_one() -> None:
    recipe = undisturbed(lesions=[{"diameter_mm": 20, "vessels": 0}])
    truth = study_of(recipe).truth

    measured = _enhancement_pct(recipe, truth.masks.lesions == 1)

    assert measured == pytest.approx(truth.lesions[0].enhancement_pct, abs=5.0)  # the mask holds its border voxels


def test_a_necrotic_core_enhances_less_than_its_rim() -> None:
    truth = study_of(undisturbed(lesions=[{"diameter_mm": 26, "core_share": 0.6}])).truth

    (lesion,) = truth.lesions

    assert lesion.core_enhancement_pct is not None
    assert lesion.core_enhancement_pct < 0.6 * lesion.enhancement_pct


def test_the_volume_of_a_lesion_is_that_of_its_sphere() -> None:
    (lesion,) = study_of(undisturbed(lesions=[{"diameter_mm": 20}])).truth.lesions

    assert lesion.volume_mm3 == pytest.approx(np.pi / 6 * 20**3, rel=0.03)  # six places a voxel


def test_one_side_can_enhance_more_than_the_other() -> None:
    denervated = {"ktrans": 0.15, "ve": 0.20, "vp": 0.03}

    left, right = study_of(undisturbed(muscle_left=denervated, lesions=[])).truth.muscles

    assert left.side is Side.LEFT
    assert left.enhancement_pct > 1.3 * right.enhancement_pct


def test_the_lesion_has_more_veins_than_the_muscle_around_it() -> None:
    recipe = undisturbed(series=("mrv", "pre", "post"), pixel_mm=1.25, slices=6)

    (lesion,) = study_of(recipe).truth.lesions

    assert lesion.vessel_fraction_pct is not None
    assert lesion.surrounding_vessel_fraction_pct is not None
    assert lesion.vessel_fraction_pct > 2 * lesion.surrounding_vessel_fraction_pct


def test_veins_are_bright_and_muscle_is_dark_on_the_mrv() -> None:
    study = study_of(undisturbed(series=("mrv", "pre", "post"), pixel_mm=1.25, slices=6))
    mrv = stack(study.of("mrv"))
    veins = study.truth.masks.vessels
    assert veins is not None

    assert np.median(mrv.array[veins > 0]) > 5 * np.median(mrv.array[veins == 0][mrv.array[veins == 0] > 0])


def test_after_the_patient_moved_the_lesion_lies_where_the_truth_says() -> None:
    moved = {"motion_mm": (6, -4, 0), "motion_deg": (0, 0, 3), "vendor": "ge"}
    lesion = {"diameter_mm": 16, "vessels": 0}
    with_lesion, without = (study_of(undisturbed(**moved, lesions=one)) for one in ([lesion], []))
    post, bare = (stack(study.of("post")) for study in (with_lesion, without))
    scale = np.median(bare.array[post.array > 0] / post.array[post.array > 0])

    excess = np.clip(post.array * scale - bare.array - 50, 0, None)

    weights = excess[excess > 0]
    found = (post.geometry.to_lps(np.argwhere(excess > 0)) * weights[:, None]).sum(axis=0) / weights.sum()
    (truth,) = with_lesion.truth.lesions
    assert np.linalg.norm(found - truth.post_centre_mm) < 1.0
    assert np.linalg.norm(found - truth.centre_mm) > 4.0


def test_fat_tells_the_gain_of_the_post_series() -> None:
    study = study_of(undisturbed(gain=1.2, contrast="none"))
    pre, post = (stack(study.of(kind)).array for kind in ("pre", "post"))
    bright = pre > np.percentile(pre, 95)

    assert np.median(post[bright] / pre[bright]) == pytest.approx(1.2, rel=0.002)


def test_two_lesions_must_not_overlap() -> None:
    with pytest.raises(SimulatorError, match="overlap"):
        simulate(coarse(lesions=[{"level": 0.5}, {"level": 0.55}]))


def test_a_lesion_outside_the_stack_is_refused() -> None:
    with pytest.raises(SimulatorError, match="outside the stack"):
        simulate(coarse(lesions=[{"centre_mm": (40, 45, 300)}]))


def test_a_centre_on_the_wrong_side_is_refused() -> None:
    with pytest.raises(SimulatorError, match="left side"):
        simulate(coarse(lesions=[{"side": "left", "centre_mm": (-40, 45, 0)}]))


def test_written_masks_lie_where_the_truth_says(tmp_path: Path) -> None:
    study = study_of(coarse())

    write(study, tmp_path)

    image = nib.load(tmp_path / "truth_lesions.nii.gz")
    where = np.argwhere(np.asarray(image.dataobj) == 1)  # type: ignore[attr-defined]
    centre_ras = nib.affines.apply_affine(image.affine, where).mean(axis=0)  # type: ignore[attr-defined]
    told = json.loads((tmp_path / "truth.json").read_text())["lesions"][0]
    assert centre_ras * (-1, -1, 1) == pytest.approx(told["centre_mm"], abs=1.5)
    assert told["side"] == "left"


@pytest.mark.slow
def test_defaults_enhance_as_the_literature_scale_expects() -> None:
    truth = simulate(Recipe()).truth

    assert all(30 <= one.enhancement_pct <= 50 for one in truth.muscles)
    assert 90 <= truth.lesions[0].enhancement_pct <= 140


@pytest.mark.slow
def test_the_sides_of_a_real_anatomy_follow_from_its_affine() -> None:
    """In TUM01 labels 1 and 2 are right, 3 and 4 left; its volumes are those that data/README.md states."""
    folder = shared("data", "TUM_lumbar_dixon")
    anatomy = {
        "kind": "images",
        "water": folder / "TUM01_water_img_img_L2-L5.nii.gz",
        "fat": folder / "TUM01_fat_img_img_L2-L5.nii.gz",
        "labels": folder / "TUM01_fat_manual_label_segmentation_L2-L5.nii.gz",
    }
    study = study_of(coarse(anatomy=anatomy, pixel_mm=None, slice_mm=None, slices=None, lesions=[{"side": "left"}]))

    masks = study.truth.masks
    source = np.asarray(nib.load(anatomy["labels"]).dataobj)  # type: ignore[attr-defined]
    left, right = (float((masks.muscles == number).sum()) for number in (1, 2))
    assert left == pytest.approx(np.isin(source, (3, 4)).sum(), rel=0.02)  # closing adds a few voxels
    assert right == pytest.approx(np.isin(source, (1, 2)).sum(), rel=0.02)
    x_left, x_right = (masks.grid.to_lps(np.argwhere(masks.muscles == number))[:, 0].mean() for number in (1, 2))
    assert x_left - x_right > 40
    assert study.truth.lesions[0].centre_mm[0] > (x_left + x_right) / 2
    assert same_grid(stack(study.of("pre")).geometry, masks.grid)


def test_without_labels_the_lean_tissue_behind_the_spine_is_taken_for_muscle() -> None:
    data = shared("data", "TUM_lumbar_dixon")
    water, fat = data / "TUM01_water_img_img_L2-L5.nii.gz", data / "TUM01_fat_img_img_L2-L5.nii.gz"
    labels = data / "TUM01_fat_manual_label_segmentation_L2-L5.nii.gz"

    guessed, labelled = (read_body(water, fat, one) for one in (None, labels))

    for side in (Label.LEFT_MUSCLE, Label.RIGHT_MUSCLE):
        a, b = guessed.labels == side, labelled.labels == side
        assert 2 * (a & b).sum() / (a.sum() + b.sum()) > 0.7
