"""Studies: a recipe becomes data sets and the truth about them."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from node.errors import FolderError, SimulatorError
from node.records import Role
from node.simulator.anatomy import Anatomy
from node.simulator.encoding import encode
from node.simulator.headers import Identity, make_instances
from node.simulator.multiframe import to_enhanced
from node.simulator.patient import Patient
from node.simulator.physics import Image, rician
from node.simulator.planning import Plan, plan_study
from node.simulator.recipe import Recipe, SeriesKind
from node.simulator.tissues import Label
from node.simulator.truth import Truth, find_truth, write_truth

_ROLES: dict[SeriesKind, Role] = {
    "localizer": Role.LOCALIZER,
    "t2": Role.OTHER,
    "mrv": Role.MRV,
    "pre": Role.PRE,
    "dynamic": Role.DYNAMIC,
    "post": Role.POST,
}
_BRIGHTEST_COUNTS = 2800.0  # of 4095: room for the few brightest voxels


@dataclass(frozen=True, slots=True, eq=False)
class SimulatedSeries:
    """One series: its kind in the recipe, the role a node must find, its instances by Instance Number."""

    kind: SeriesKind
    role: Role
    datasets: tuple[Dataset, ...]


@dataclass(frozen=True, slots=True, eq=False)
class SimulatedStudy:
    """A study in the order of its acquisition, and the truth about it."""

    recipe: Recipe
    series: tuple[SimulatedSeries, ...]
    truth: Truth

    @property
    def datasets(self) -> tuple[Dataset, ...]:
        return tuple(dataset for one in self.series for dataset in one.datasets)

    def of(self, kind: SeriesKind) -> tuple[Dataset, ...]:
        """Return the instances of one kind of series; empty if the study has none."""
        return next((one.datasets for one in self.series if one.kind == kind), ())


def simulate(recipe: Recipe) -> SimulatedStudy:
    """Return the study of a recipe: the same recipe gives the same bytes.

    Raises
    ------
    SimulatorError
        If files of the anatomy cannot be used, or a lesion does not fit into the stack.
    """
    identity = Identity.of(recipe)
    patient = Patient.of(recipe)
    plans = plan_study(recipe, patient.body, identity.frame_of_reference)
    anatomies: dict[SeriesKind, tuple[Anatomy, ...]] = {}
    clean: dict[SeriesKind, list[Image]] = {}
    for plan in plans:
        if plan.time_points:
            anatomies[plan.kind], clean[plan.kind] = _follow(patient, plan)
            continue
        moved = plan.kind == "post"
        if moved and "pre" in anatomies and np.allclose(patient.movement, np.eye(4)):
            anatomies["post"] = anatomies["pre"]
        else:
            anatomies[plan.kind] = tuple(patient.anatomy(one, moved=moved) for one in plan.geometries)
        gain = np.float32(recipe.gain if moved else 1)
        clean[plan.kind] = [gain * patient.scan(one, plan, minutes=plan.minutes) for one in anatomies[plan.kind]]

    scales, noises = _counts_per_signal(clean), _noises(recipe, anatomies, clean)
    series = []
    for plan in plans:
        rng = np.random.default_rng([recipe.seed, 4, plan.number])
        noise = noises[plan.kind]
        images = [rician(rng, image, noise) if noise else image for image in clean[plan.kind]]
        datasets = make_instances(recipe, identity, plan, images, counts_per_signal=scales[plan.kind])
        if recipe.multiframe and plan.kind != "localizer":
            datasets = [to_enhanced(datasets)]
        encoded = tuple(encode(dataset, recipe.transfer_syntax) for dataset in datasets)
        series.append(SimulatedSeries(plan.kind, _ROLES[plan.kind], encoded))
    truth = find_truth(recipe, identity, patient, anatomies)
    return SimulatedStudy(recipe, tuple(series), truth)


def _follow(patient: Patient, plan: Plan) -> tuple[tuple[Anatomy, ...], list[Image]]:
    """Return the anatomy of a dynamic series, before the patient moves, and its images."""
    lying = {
        moved: patient.anatomy(plan.geometries[0], moved=moved) for moved in {one.moved for one in plan.time_points}
    }
    images = [patient.scan(lying[one.moved], plan, minutes=one.minutes) for one in plan.time_points]
    return (lying[min(lying)],), images


def _counts_per_signal(clean: dict[SeriesKind, list[Image]]) -> dict[SeriesKind, float]:
    """Return the scale of each series' stored values; pre and post share one, as after one prescan."""
    top = {kind: max(float(np.percentile(image, 99.9)) for image in images) for kind, images in clean.items()}
    pair = max(top.get("pre", 0.0), top.get("post", 0.0))
    return {kind: _BRIGHTEST_COUNTS / (pair if kind in ("pre", "post") else one) for kind, one in top.items()}


def _noises(
    recipe: Recipe, anatomies: dict[SeriesKind, tuple[Anatomy, ...]], clean: dict[SeriesKind, list[Image]]
) -> dict[SeriesKind, float]:
    """Return the standard deviation of the noise in each series.

    Pre and post share one: the signal of muscle before contrast over the wanted ratio; a dynamic series has its own, by
    the same rule. Of the other series muscle may
    be dark, so it follows from their brightest tissue, taken for twice as bright as muscle on T1.
    """
    if not recipe.snr:
        return dict.fromkeys(clean, 0.0)
    noises = {
        kind: max(float(np.percentile(image, 99)) for image in images) / (2 * recipe.snr)
        for kind, images in clean.items()
    }
    measured: SeriesKind = "pre" if "pre" in clean else "post"
    if measured in clean:
        noise = _muscle_signal(anatomies[measured][0], clean[measured][0]) / recipe.snr
        noises.update(dict.fromkeys((kind for kind in clean if kind in ("pre", "post")), noise))
    if "dynamic" in clean:
        noises["dynamic"] = _muscle_signal(anatomies["dynamic"][0], clean["dynamic"][0]) / recipe.snr
    return noises


def _muscle_signal(anatomy: Anatomy, image: Image) -> float:
    muscle = anatomy.share(Label.LEFT_MUSCLE, Label.RIGHT_MUSCLE) > 0.99
    if not muscle.any():
        raise SimulatorError("the stack shows no posterior paraspinal muscle")
    return float(np.median(image[muscle]))


def write(study: SimulatedStudy, folder: Path) -> tuple[Path, ...]:
    """Write a study into `folder` and return its DICOM files in the order of `study.datasets`.

    The files have neutral names, dicom/S0001/I0001 and so on. Beside them stand truth.json, the masks and the recipe.

    Raises
    ------
    FolderError
        If there is a study in `folder`: what one has less than the other would stay, and be taken for a part of it.
    """
    if (folder / "dicom").exists():
        raise FolderError(f"{folder} holds a study: name another folder")
    paths = []
    for series_number, one in enumerate(study.series, start=1):
        place = folder / "dicom" / f"S{series_number:04d}"
        place.mkdir(parents=True, exist_ok=True)
        for number, dataset in enumerate(one.datasets, start=1):
            paths.append(place / f"I{number:04d}")
            dataset.save_as(paths[-1], enforce_file_format=True)
    write_truth(study.truth, folder)
    recipe = study.recipe.model_dump(mode="json", exclude_none=True)
    (folder / "recipe.json").write_text(json.dumps(recipe, indent=2) + "\n", encoding="utf-8")
    return tuple(paths)
