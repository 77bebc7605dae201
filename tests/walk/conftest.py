"""Studies to walk through the node, simulated once for all workers, and real peers to walk between."""

import fcntl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from node.simulator import Recipe, simulate, write
from node.simulator.recipe import AnatomyRecipe
from tests.conftest import shared
from tests.peers import Orthanc, ServedNode

SMALL = Recipe(pixel_mm=1.25, slices=16)


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Recipe], Path]:
    """Return a function that writes a recipe's study under a name, or returns the folder where that was done."""
    root = tmp_path_factory.getbasetemp().parent  # the workers of pytest-xdist share it

    def make(name: str, recipe: Recipe) -> Path:
        folder = root / f"study-{name}"
        with (root / f"study-{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (folder / "recipe.json").exists():  # written last
                write(simulate(recipe), folder)
        return folder

    return make


@pytest.fixture(scope="session")
def real_anatomy(simulated: Callable[[str, Recipe], Path]) -> Path:
    """A study of subject TUM01: real anatomy, simulated contrast, one lesion on the left."""
    data = shared("data", "TUM_lumbar_dixon")
    anatomy = AnatomyRecipe(
        kind="images",
        water=data / "TUM01_water_img_img_L2-L5.nii.gz",
        fat=data / "TUM01_fat_img_img_L2-L5.nii.gz",
        labels=data / "TUM01_fat_manual_label_segmentation_L2-L5.nii.gz",
    )
    return simulated("tum01", Recipe(anatomy=anatomy))


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[Orthanc]:
    orthanc = Orthanc(tmp_path / "orthanc")
    yield orthanc
    orthanc.stop()


@pytest.fixture
def node(tmp_path: Path, orthanc: Orthanc) -> Iterator[ServedNode]:
    node = ServedNode(tmp_path / "node", orthanc.port)
    yield node
    node.kill()
