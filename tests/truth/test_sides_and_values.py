"""Known truth through the whole chain: simulated DICOM in, findings and segmentations out, in every orientation."""

from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from node.findings import Findings, Outcome, Side
from node.folder import measure_folder
from node.settings import Settings
from node.simulator import Recipe, SimulatedStudy, simulate, write

pytestmark = pytest.mark.slow

DENERVATED = {"ktrans": 0.15, "ve": 0.20, "vp": 0.03}  # enhances about twice as much as normal muscle
ORIENTATIONS = [
    *(("axial", position) for position in ("HFS", "FFS", "HFP", "FFP")),
    # Planes and positions are independent here, and these volumes are large; all 32 ways: tests/walk/test_laterality.
    ("sagittal", "HFP"),
    ("sagittal", "FFS"),
    ("coronal", "HFS"),
    ("coronal", "FFP"),
]


def measured(recipe: Recipe, folder: Path) -> tuple[SimulatedStudy, Findings, list[Path]]:
    study = simulate(recipe)
    write(study, folder / "study")
    result = measure_folder(folder / "study" / "dicom", folder / "out", Settings())
    assert result.findings is not None, result.reason
    return study, result.findings, list(result.objects)


@pytest.mark.parametrize(("plane", "position"), ORIENTATIONS)
def test_the_side_that_enhances_more_is_the_patients_own_in_every_orientation(
    plane: str, position: str, tmp_path: Path
) -> None:
    # Sagittal and coronal stacks are thin here and reach from skin to spine: the segmenter needs both.
    stacks = {
        "axial": {"slices": 16},
        "sagittal": {"slice_mm": 2.5, "slices": 80},
        "coronal": {"slice_mm": 2.5, "slices": 60},
    }
    recipe = Recipe(
        seed=31, series=("pre", "post"), lesions=(), orientation=plane, patient_position=position,
        muscle_right=DENERVATED, pixel_mm=1.25, **stacks[plane],
    )  # fmt: skip

    study, findings, objects = measured(recipe, tmp_path)

    sides = {one.side: one for one in findings.muscles}
    assert set(sides) == {Side.LEFT, Side.RIGHT}, findings.refusals
    for truth in study.truth.muscles:
        assert sides[truth.side].enhancement_pct == pytest.approx(truth.enhancement_pct, abs=6)
    assert sides[Side.RIGHT].enhancement_pct > 1.4 * sides[Side.LEFT].enhancement_pct
    (muscles,) = (dcmread(path) for path in objects if path.name == "seg-muscles.dcm")
    assert _side_of_segments(muscles) == {"Left": 1, "Right": -1}


def _side_of_segments(segmentation) -> dict[str, int]:
    """Return for each segment, by the laterality it claims, on which side of the other its voxels lie (LPS x)."""
    centres = {}
    shared = segmentation.SharedFunctionalGroupsSequence[0]
    orientation = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    rows_mm, columns_mm = (float(one) for one in shared.PixelMeasuresSequence[0].PixelSpacing)
    frames = segmentation.pixel_array.reshape(-1, segmentation.Rows, segmentation.Columns)
    points: dict[int, list[np.ndarray]] = {}
    for group, frame in zip(segmentation.PerFrameFunctionalGroupsSequence, frames, strict=True):
        number = int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        position = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
        row, column = np.nonzero(frame)
        place = position + column[:, None] * columns_mm * orientation[:3] + row[:, None] * rows_mm * orientation[3:]
        points.setdefault(number, []).append(place)
    for segment in segmentation.SegmentSequence:
        laterality = _laterality(segment)
        centres[laterality] = float(np.concatenate(points[int(segment.SegmentNumber)])[:, 0].mean())
    middle = np.mean(list(centres.values()))
    return {laterality: int(np.sign(x - middle)) for laterality, x in centres.items()}


def _laterality(segment) -> str:
    region = segment.get("AnatomicRegionSequence") or segment.SegmentedPropertyTypeCodeSequence
    keyword = (
        "AnatomicRegionModifierSequence"
        if "AnatomicRegionSequence" in segment
        else "SegmentedPropertyTypeModifierCodeSequence"
    )
    return str(region[0][keyword].value[0].CodeMeaning)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("vendor", ["siemens", "philips", "ge", "canon"])
def test_a_lesion_is_found_where_it_is_and_as_bright_as_it_is(side: str, vendor: str, tmp_path: Path) -> None:
    recipe = Recipe(
        seed=32, lesions=[{"side": side, "diameter_mm": 14, "level": 0.4}], vendor=vendor, pixel_mm=1.25, slices=16,
        multiframe=vendor == "philips",
    )  # fmt: skip

    study, findings, _objects = measured(recipe, tmp_path)

    (lesion,), (painted,) = findings.lesions, study.truth.lesions
    assert (findings.outcome, findings.grade) == (Outcome.FINDINGS, 3)
    assert lesion.side is painted.side
    assert np.linalg.norm(np.subtract(lesion.centroid_mm, painted.post_centre_mm)) < 2.0  # half a slice
    # The medians of a region whose border voxels are partly muscle, over a gain that assumes 3 % for fat.
    assert lesion.enhancement_pct == pytest.approx(painted.enhancement_pct, abs=15)
    assert lesion.vascularity_increased
    for truth in study.truth.muscles:
        found = next(one for one in findings.muscles if one.side is truth.side)
        assert found.enhancement_pct == pytest.approx(truth.enhancement_pct, abs=5)
