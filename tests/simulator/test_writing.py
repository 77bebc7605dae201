"""Headers, transfer syntaxes, multi-frame instances, files: what a receiver sees."""

import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from pydicom import dcmread

from node.dicom.headers import read_acquisition
from node.dicom.volumes import stack
from node.errors import FolderError
from node.simulator import demo_recipes, simulate, write
from node.simulator.recipe import Contrast, Syntax, Vendor
from tests.simulator.studies import coarse, study_of

_VENDORS = get_args(Vendor)


@pytest.mark.slow
def test_the_same_recipe_gives_the_same_bytes(tmp_path: Path) -> None:
    recipe = coarse(series=("localizer", "t2", "mrv", "pre", "post"))

    first = write(simulate(recipe), tmp_path / "first")
    second = write(simulate(recipe), tmp_path / "second")

    assert [one.read_bytes() for one in first] == [one.read_bytes() for one in second]
    assert (tmp_path / "first/truth.json").read_text() == (tmp_path / "second/truth.json").read_text()


def test_another_seed_gives_another_study_and_other_noise() -> None:
    one, other = (study_of(coarse(seed=seed)).of("pre")[0] for seed in (7, 8))

    assert one.StudyInstanceUID != other.StudyInstanceUID
    assert one.PixelData != other.PixelData


@pytest.mark.parametrize("syntax", get_args(Syntax))
@pytest.mark.parametrize("vendor", ["siemens", "ge"])
def test_every_transfer_syntax_holds_the_same_pixels(vendor: Vendor, syntax: Syntax, tmp_path: Path) -> None:
    plain = study_of(coarse(vendor=vendor)).of("post")
    coded = study_of(coarse(vendor=vendor, transfer_syntax=syntax)).of("post")

    for expected, dataset in zip(plain, coded, strict=True):
        dataset.save_as(tmp_path / "one", enforce_file_format=True)
        found = dcmread(tmp_path / "one")
        assert np.array_equal(found.pixel_array, expected.pixel_array)


@pytest.mark.parametrize("syntax", ["explicit", "implicit", "jpeg2000"])
@pytest.mark.parametrize("vendor", _VENDORS)
def test_an_enhanced_instance_is_the_same_volume_as_its_classic_series(
    vendor: Vendor, syntax: Syntax, tmp_path: Path
) -> None:
    classic = stack(study_of(coarse(vendor=vendor)).of("post"))
    (instance,) = study_of(coarse(vendor=vendor, transfer_syntax=syntax, multiframe=True)).of("post")
    instance.save_as(tmp_path / "one", enforce_file_format=True)

    enhanced = stack([dcmread(tmp_path / "one")])

    assert np.array_equal(enhanced.array, classic.array)
    assert np.allclose(enhanced.geometry.affine, classic.geometry.affine)


def test_a_study_is_not_written_among_the_files_of_another(tmp_path: Path) -> None:
    write(study_of(coarse(series=("pre",))), tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    with pytest.raises(FolderError, match="holds a study"):
        write(study_of(coarse(series=("post",))), tmp_path)

    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.slow
@pytest.mark.parametrize("multiframe", [False, True])
@pytest.mark.parametrize("vendor", _VENDORS)
def test_the_instances_pass_dciodvfy_without_an_error(vendor: Vendor, multiframe: bool, tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("dciodvfy")
    if not program.exists():
        pytest.skip("dciodvfy (dicom3tools) is not installed")
    every = ("localizer", "t2", "mrv", "pre", "post")
    recipe = coarse(vendor=vendor, multiframe=multiframe, series=every, pixel_mm=5.0)
    files = write(study_of(recipe), tmp_path)

    for file in (one for one in files if one.name == "I0001"):
        said = subprocess.run([program, file], capture_output=True, text=True, check=False)
        errors = [line for line in (said.stdout + said.stderr).splitlines() if line.startswith("Error")]
        assert errors == [], file


def test_instance_numbers_need_not_follow_the_positions() -> None:
    heights = [float(one.SliceLocation) for one in study_of(coarse(vendor="canon")).of("pre")]

    assert heights not in (sorted(heights), sorted(heights, reverse=True))


@pytest.mark.parametrize(
    ("contrast", "agent", "enhanced"),
    [("given", True, True), ("labelled only", True, False), ("unlabelled", False, True), ("none", False, False)],
)
def test_what_the_header_says_of_contrast_and_what_was_given_are_two_things(
    contrast: Contrast, agent: bool, enhanced: bool
) -> None:
    study = study_of(coarse(contrast=contrast))

    assert read_acquisition(study.of("post")[0]).contrast_agent is agent
    assert not read_acquisition(study.of("pre")[0]).contrast_agent
    assert study.truth.post_is_enhanced is enhanced
    assert all((one.enhancement_pct > 20) is enhanced for one in (*study.truth.muscles, *study.truth.lesions))


@pytest.mark.parametrize("vendor", _VENDORS)
def test_series_come_in_the_order_of_their_acquisition_times(vendor: Vendor) -> None:
    study = study_of(coarse(vendor=vendor, series=("localizer", "t2", "mrv", "pre", "post")))

    acquisitions = [read_acquisition(one.datasets[0]) for one in study.series]

    times = [one.acquired_at_s for one in acquisitions]
    assert times == sorted(set(times))  # type: ignore[type-var]
    assert [one.kind for one in study.series] == ["localizer", "t2", "mrv", "pre", "post"]
    assert [one.angiography for one in acquisitions] == [False, False, True, False, False]
    assert len({one.frame_of_reference for one in acquisitions}) == 1


@pytest.mark.parametrize("vendor", _VENDORS)
def test_fat_suppression_can_be_read_from_the_header(vendor: Vendor) -> None:
    suppressed, plain = (
        read_acquisition(study_of(coarse(vendor=vendor, sequence="spgr", fat_suppression=one)).of("pre")[0])
        for one in (True, False)
    )

    assert suppressed.fat_suppressed
    assert not plain.fat_suppressed


def test_written_studies_have_neutral_names_and_their_truth_beside_them(tmp_path: Path) -> None:
    files = write(study_of(coarse(series=("mrv", "pre", "post"))), tmp_path)

    assert str(files[0].relative_to(tmp_path)) == "dicom/S0001/I0001"
    beside = {one.name for one in tmp_path.iterdir()}
    assert {"truth.json", "truth_muscles.nii.gz", "truth_lesions.nii.gz", "truth_vessels.nii.gz"} <= beside


def test_the_demonstration_has_a_lesion_a_healthy_patient_and_a_study_to_be_refused() -> None:
    recipes = demo_recipes()

    assert [len(one.lesions) for one in recipes.values()] == [1, 0, 1]
    assert [one.contrast_given for one in recipes.values()] == [True, True, False]
    assert all(one.contrast_labelled for one in recipes.values())
    assert len({one.seed for one in recipes.values()}) == 3
