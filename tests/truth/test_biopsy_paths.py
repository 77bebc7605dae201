"""Known truth: what a proposed biopsy path meets, by the tissues that the simulator painted."""

import numpy as np
import pytest

from node.analysis import CompartmentSegmenter, MultiscaleDetector, measure
from node.dicom.volumes import stack
from node.findings import StudyVolumes
from node.settings import AnalysisSettings
from node.simulator import Recipe, simulate
from node.simulator.patient import Patient
from node.simulator.recipe import LesionRecipe
from node.simulator.tissues import Label

pytestmark = pytest.mark.slow

NEVER = (Label.CORTEX, Label.MARROW, Label.DISC, Label.FLUID, Label.NERVE, Label.VEIN, Label.ARTERY, Label.KIDNEY)


@pytest.mark.parametrize("seed", [51, 52])
def test_a_path_from_the_skin_to_the_lesion_meets_neither_bone_nor_canal_nor_vein(seed: int) -> None:
    lesions = (
        LesionRecipe(side="left", diameter_mm=12, level=0.3),
        LesionRecipe(side="right", diameter_mm=14, level=0.7, core_share=0.5),
    )
    recipe = Recipe(seed=seed, lesions=lesions, pixel_mm=1.25, slices=18)
    study = simulate(recipe)
    volumes = StudyVolumes(*(stack(study.of(role)) for role in ("pre", "post", "mrv")))

    findings = measure(
        volumes, settings=AnalysisSettings(), segmenter=CompartmentSegmenter(), detector=MultiscaleDetector()
    ).findings

    anatomy = Patient.of(recipe).anatomy(volumes.post.geometry, moved=True)
    body = 1 - anatomy.share(Label.AIR)
    assert len(findings.lesions) == 2, findings.refusals
    for painted in study.truth.lesions:
        (found,) = (one for one in findings.lesions if one.side is painted.side)
        path = found.biopsy
        assert path is not None, findings.caveats
        off_mm = np.linalg.norm(np.subtract(path.target_mm, painted.post_centre_mm))
        assert painted.core_diameter_mm / 2 < off_mm + 2 < painted.diameter_mm / 2 + 2
        share = np.linspace(0, 1, 200)[:, None]
        points = np.array(path.target_mm) * (1 - share) + np.array(path.entry_mm) * share
        index = tuple(np.rint(volumes.post.geometry.to_index(points)).astype(int).T)
        met = {label.name: float(anatomy.share(label)[index].max()) for label in NEVER}
        outside = np.linalg.norm(points - painted.post_centre_mm, axis=1) > painted.diameter_mm / 2 + 2
        veins = anatomy.share(Label.VEIN)[index][outside]  # its own are what is to be sampled
        assert veins.size == 0 or veins.max() < 0.5
        assert {name for name, most in met.items() if most >= 0.5} <= {"VEIN"}
        assert body[index][:-20].min() > 0.5  # but for the last few millimetres: the mask of the body is coarse
        assert anatomy.share(Label.SKIN)[index][-12:].max() > 0.3  # it ends in the skin
