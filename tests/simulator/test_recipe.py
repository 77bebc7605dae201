from pathlib import Path

import pytest

from node.errors import SimulatorError
from node.findings import Side
from node.simulator import Recipe, make_recipe, read_recipe


def test_a_recipe_is_read_from_toml(tmp_path: Path) -> None:
    file = tmp_path / "study.toml"
    file.write_text('seed = 3\nsequence = "spgr"\n[[lesions]]\nside = "right"\ndiameter_mm = 20.0\ncore_share = 0.5\n')

    recipe = read_recipe(file)

    assert recipe.seed == 3
    assert recipe.lesions[0].side is Side.RIGHT
    assert recipe.lesions[0].core_share == 0.5


def test_every_fault_of_a_recipe_is_told_at_once(tmp_path: Path) -> None:
    file = tmp_path / "study.toml"
    file.write_text('seeed = 3\nvendor = "acme"\n[[lesions]]\nside = "middle"\n')

    with pytest.raises(SimulatorError) as caught:
        read_recipe(file)

    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert {line.split(":")[0] for line in lines} == {"seeed", "vendor", "lesions.0.side"}


def test_files_of_an_anatomy_are_relative_to_the_recipe(tmp_path: Path) -> None:
    file = tmp_path / "study.toml"
    file.write_text('[anatomy]\nkind = "images"\nwater = "w.nii.gz"\nfat = "f.nii.gz"\nlabels = "l.nii.gz"\n')

    assert read_recipe(file).anatomy.water == tmp_path / "w.nii.gz"


def test_an_anatomy_of_images_needs_water_and_fat() -> None:
    with pytest.raises(SimulatorError, match="the files water and fat"):
        make_recipe({"anatomy": {"kind": "images"}})


def test_a_series_cannot_be_asked_for_twice() -> None:
    with pytest.raises(SimulatorError, match="twice"):
        make_recipe({"series": ["pre", "pre"]})


def test_a_missing_recipe_file_is_a_simulator_error(tmp_path: Path) -> None:
    with pytest.raises(SimulatorError, match="cannot be read"):
        read_recipe(tmp_path / "none.toml")


def test_a_recipe_survives_json() -> None:
    recipe = Recipe(seed=5)

    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe
