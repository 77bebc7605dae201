import random
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from node.dicom.volumes import stack
from node.errors import VolumeError
from tests.builders import FRAME, mr, series_of
from tests.conftest import shared


def numbered(*, slices: int = 6, **attributes: Any) -> list[Dataset]:
    """Return a series whose pixels all hold the number of their slice from the feet, and lie about in disorder."""
    made = []
    for k, dataset in enumerate(series_of(1, slices=slices, **attributes)):
        dataset.PixelData = np.full(64, k, "<u2").tobytes()
        dataset.InstanceNumber = (k * 5) % slices + 1  # says nothing about the place
        made.append(dataset)
    random.Random(1).shuffle(made)
    return made


def code_of(instances: list[Dataset]) -> str:
    with pytest.raises(VolumeError) as caught:
        stack(instances)
    return caught.value.code


def test_slices_are_sorted_by_position_and_not_by_instance_number() -> None:
    volume = stack(numbered())

    assert volume.array[:, 0, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert [uid.rsplit(".", 1)[1] for uid in volume.instances] == ["1", "2", "3", "4", "5", "6"]
    assert volume.geometry.spacing_mm == (4.0, 1.0, 1.0)


def test_a_voxel_lies_where_its_header_says() -> None:
    """By the formula of PS3.3 C.7.6.2.1.1, worked out by hand for a sagittal slice."""
    sagittal = {"ImageOrientationPatient": [0, 1, 0, 0, 0, -1], "PixelSpacing": [2.0, 0.5]}
    instances = [mr(f"2.25.{k}", ImagePositionPatient=[3.0 * k, -50.0, 80.0], **sagittal) for k in range(5)]

    volume = stack(instances)

    # Row cosine x column cosine = (0, 1, 0) x (0, 0, -1) = (-1, 0, 0): the first slice is the leftmost.
    assert volume.instances[0] == "2.25.4"
    assert volume.geometry.to_lps([0, 0, 0]).tolist() == [12.0, -50.0, 80.0]
    assert volume.geometry.to_lps([1, 3, 2]).tolist() == [9.0, -49.0, 74.0]  # 2 columns of 0.5 mm, 3 rows of 2 mm
    assert volume.geometry.to_index([9.0, -49.0, 74.0]) == pytest.approx(np.array([1, 3, 2]))


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda one: setattr(one[2], "ImageOrientationPatient", [0, 1, 0, 0, 0, -1]), "IN-2"),
        (lambda one: setattr(one[2], "PixelSpacing", [1.5, 1.5]), "IN-2"),
        (lambda one: setattr(one[2], "FrameOfReferenceUID", "2.25.7"), "IN-2"),
        (lambda one: setattr(one[2], "ImagePositionPatient", one[3].ImagePositionPatient), "IN-2"),
        (lambda one: one.remove(next(d for d in one if d.ImagePositionPatient[2] == 8.0)), "IN-2"),
        (lambda one: delattr(one[2], "ImagePositionPatient"), "IN-1"),
        (lambda one: one.__delitem__(slice(1, None)), "IN-1"),
    ],
)
def test_what_is_no_regular_volume_is_refused_with_its_code(spoil: Any, code: str) -> None:
    instances = numbered()
    spoil(instances)

    assert code_of(instances) == code


def test_rescale_is_applied_to_each_slice() -> None:
    instances = numbered(RescaleSlope=2.0, RescaleIntercept=5.0)
    instances[0].RescaleSlope = 4.0
    place = int(instances[0].ImagePositionPatient[2] // 4)

    values = stack(instances).array[:, 0, 0]

    expected = [2.0 * k + 5 for k in range(6)]
    expected[place] = 4.0 * place + 5
    assert values.tolist() == expected


def test_philips_series_are_brought_to_floating_point_values() -> None:
    """FP = (SV x RS + RI) / (RS x SS), Chenevert et al. 2014, PMC3998685."""
    instances = numbered(RescaleSlope=2.0, RescaleIntercept=0.0)
    for one in instances:
        one.add_new((0x2005, 0x0010), "LO", "Philips MR Imaging DD 001")
        one.add_new((0x2005, 0x100E), "FL", 0.5)

    assert stack(instances).array[:, 0, 0].tolist() == [k / 0.5 for k in range(6)]


def test_the_frames_of_an_enhanced_instance_are_sorted_by_position_too() -> None:
    places = [8.0, 0.0, 4.0, 12.0]
    enhanced = mr("2.25.50", ImagePositionPatient=None, ImageOrientationPatient=None, PixelSpacing=None)
    enhanced.NumberOfFrames = len(places)
    enhanced.PixelData = b"".join(np.full(64, int(z), "<u2").tobytes() for z in places)
    shared_groups, orientation, measures = Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    measures.PixelSpacing = [1.0, 1.0]
    shared_groups.PlaneOrientationSequence = Sequence([orientation])
    shared_groups.PixelMeasuresSequence = Sequence([measures])
    enhanced.SharedFunctionalGroupsSequence = Sequence([shared_groups])
    frames = []
    for z in places:
        frame, position = Dataset(), Dataset()
        position.ImagePositionPatient = [0.0, 0.0, z]
        frame.PlanePositionSequence = Sequence([position])
        frames.append(frame)
    enhanced.PerFrameFunctionalGroupsSequence = Sequence(frames)

    volume = stack([enhanced])

    assert volume.array[:, 0, 0].tolist() == [0, 4, 8, 12]
    assert volume.frames == (1, 2, 0, 3)
    assert volume.geometry.frame_of_reference == FRAME


@pytest.mark.parametrize(
    ("folder", "slices"),
    [
        ("philips_classic_1301", 12),
        ("siemens_XA30_classic", 6),
        ("uih_t1_gre_fsp_3d_sag", 12),
    ],
)
def test_series_of_real_scanners_make_volumes(folder: str, slices: int) -> None:
    files = sorted(shared("data", "vendor_pack_dcm_qa", folder).rglob("*.dcm"))

    volume = stack([dcmread(path) for path in files])

    assert volume.array.shape[0] == len(set(volume.instances)) == slices


@pytest.mark.parametrize("folder", ["canon_enhanced_3000", "philips_dualecho", "siemens_XA30_enhanced"])
def test_several_time_points_or_echoes_in_one_series_are_refused_and_not_mixed(folder: str) -> None:
    files = sorted(shared("data", "vendor_pack_dcm_qa", folder).rglob("*.dcm"))

    assert code_of([dcmread(path) for path in files]) == "IN-2"


def test_copies_of_a_frame_under_another_uid_are_named() -> None:
    instances = numbered()
    first = instances[0]
    instances += [mr("2.25.77", ImagePositionPatient=first.ImagePositionPatient, PixelData=first.PixelData)]

    with pytest.raises(VolumeError, match=r"1 of 6 places hold more than one frame.*; 1 frames are copies of others"):
        stack(instances)


def test_frames_of_one_place_with_other_pixels_are_no_copies() -> None:
    instances = numbered()
    instances += [mr("2.25.77", ImagePositionPatient=instances[0].ImagePositionPatient)]

    with pytest.raises(VolumeError) as caught:
        stack(instances)
    assert "copies" not in caught.value.text


def test_pixels_that_cannot_be_decoded_are_refused() -> None:
    instances = numbered()
    instances[3].PixelData = b"too short"

    assert code_of(instances) == "IN-1"
