"""Left is left: found from the written headers and the pixels alone, whatever the orientation."""

from typing import get_args

import numpy as np
import pytest
from pydicom.dataset import Dataset
from scipy import ndimage

from node.dicom.volumes import stack
from node.findings import Side
from node.simulator.recipe import LesionRecipe, Orientation, PatientPosition
from tests.simulator.studies import coarse, same_grid, study_of

_ORIENTATIONS, _POSITIONS = get_args(Orientation), get_args(PatientPosition)


def _places(dataset: Dataset) -> np.ndarray:
    """Return the LPS position of every pixel, shape (rows, columns, 3): PS3.3 equation C.7.6.2.1-1."""
    along_row, along_column = np.array(dataset.ImageOrientationPatient, float).reshape(2, 3)
    row_mm, column_mm = (float(one) for one in dataset.PixelSpacing)
    row, column = np.indices((dataset.Rows, dataset.Columns))
    start = np.array(dataset.ImagePositionPatient, float)
    return start + row[..., None] * row_mm * along_column + column[..., None] * column_mm * along_row


def _brightest_enhancement(pre: tuple[Dataset, ...], post: tuple[Dataset, ...]) -> np.ndarray:
    """Return where the back's muscles enhance most: behind the canal there are no great vessels and organs."""
    best, place = -np.inf, np.zeros(3)
    before = {tuple(one.ImagePositionPatient): one for one in pre}
    for after in post:
        difference = after.pixel_array.astype(float) - before[tuple(after.ImagePositionPatient)].pixel_array
        smooth = ndimage.gaussian_filter(difference, 1.0)
        places = _places(after)
        smooth[places[..., 1] < 30] = -np.inf
        if smooth.max() > best:
            best, place = smooth.max(), places[np.unravel_index(smooth.argmax(), smooth.shape)]
    return place


@pytest.mark.parametrize("position", _POSITIONS)
@pytest.mark.parametrize("orientation", _ORIENTATIONS)
@pytest.mark.parametrize("side", list(Side))
def test_a_lesion_lies_on_its_side_by_headers_and_pixels_alone(
    side: Side, orientation: Orientation, position: PatientPosition
) -> None:
    slices = {"axial": 8, "sagittal": 24, "coronal": 12}[orientation]
    lesion = LesionRecipe(side=side, diameter_mm=16, vessels=0)
    study = study_of(
        coarse(orientation=orientation, patient_position=position, slices=slices, lesions=[lesion.model_dump()])
    )

    place = _brightest_enhancement(study.of("pre"), study.of("post"))

    canal_x = 0.0  # the phantom's, within 2 mm
    assert (place[0] - canal_x) * (1 if side is Side.LEFT else -1) > 10
    assert np.linalg.norm(place - study.truth.lesions[0].centre_mm) < 8  # inside the sphere


@pytest.mark.parametrize("position", _POSITIONS)
@pytest.mark.parametrize("orientation", _ORIENTATIONS)
def test_the_grid_of_the_truth_is_the_grid_of_the_stacked_instances(
    orientation: Orientation, position: PatientPosition
) -> None:
    slices = {"axial": 8, "sagittal": 24, "coronal": 12}[orientation]
    lesion = LesionRecipe(side=Side.LEFT, diameter_mm=16, vessels=0)
    study = study_of(
        coarse(orientation=orientation, patient_position=position, slices=slices, lesions=[lesion.model_dump()])
    )

    volume = stack(study.of("pre"))

    assert same_grid(volume.geometry, study.truth.masks.grid)


def test_an_oblique_stack_keeps_its_tilt() -> None:
    study = study_of(coarse(obliqueness_deg=12.0))

    volume = stack(study.of("post"))

    assert volume.geometry.directions[2, 0] == pytest.approx(np.cos(np.deg2rad(12)), abs=1e-4)
    assert same_grid(volume.geometry, study.truth.masks.grid)


def test_a_prone_axial_image_lies_face_down() -> None:
    study = study_of(coarse(patient_position="HFP", lesions=[]))

    orientation = study.of("pre")[0].ImageOrientationPatient

    assert [float(one) for one in orientation] == [-1, 0, 0, 0, -1, 0]


def test_feet_first_slices_come_in_the_other_order() -> None:
    head_first, feet_first = (study_of(coarse(patient_position=one, lesions=[])).of("pre") for one in ("HFS", "FFS"))

    up, down = ([float(one.ImagePositionPatient[2]) for one in series] for series in (head_first, feet_first))

    assert up == sorted(up)
    assert down == up[::-1]
