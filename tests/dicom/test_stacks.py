"""What one series holds: several time points, echoes, parts, planes; and what keeps a stack from being a volume."""

import math
import random
import sys
from collections import Counter
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import SegmentationStorage

from node.dicom import stacks as module
from node.dicom.stacks import Stack, split
from node.errors import VolumeError
from tests.builders import STUDY, mr, series_of
from tests.conftest import shared

SERIES = f"{STUDY}.1"


def repeated(*variants: dict[str, Any], slices: int = 4) -> list[Dataset]:
    """Return one series that holds its slices once for each variant, lying about in disorder."""
    made = []
    for n, variant in enumerate(variants):
        for k in range(slices):
            attributes = {"ImagePositionPatient": [0.0, 0.0, 4.0 * k]} | {
                keyword: value(k) if callable(value) else value for keyword, value in variant.items()
            }
            made.append(mr(f"{SERIES}.{n * slices + k + 1}", series=SERIES, **attributes))
    random.Random(2).shuffle(made)
    return made


def names(stacks: tuple[Stack, ...]) -> list[dict[str, str]]:
    return [dict(one.splits) for one in stacks]


@pytest.mark.parametrize(
    ("variants", "expected"),
    [
        (
            [{"ImageType": ["ORIGINAL", "PRIMARY", word]} for word in ("M", "P", "R", "I")],
            [{"component": word} for word in ("imaginary", "magnitude", "phase", "real")],
        ),
        (
            [{"ImageType": ["DERIVED", "PRIMARY", "DIXON", word]} for word in ("W", "FAT", "IN_PHASE", "OPP_PHASE")],
            [{"part": word} for word in ("fat", "in-phase", "opposed-phase", "water")],
        ),
        (
            [{"EchoTime": te, "EchoNumbers": n} for n, te in ((1, 2.46), (2, 4.92), (3, 7.38))],
            [{"echo": f"{n} of 3"} for n in (1, 2, 3)],
        ),
        ([{"InversionTime": ti} for ti in (50, 400)], [{"inversion time": f"{n} of 2"} for n in (1, 2)]),
        ([{"FlipAngle": angle} for angle in (3, 15)], [{"flip angle": f"{n} of 2"} for n in (1, 2)]),
        ([{"DiffusionBValue": b} for b in (0, 800)], [{"b-value": f"{n} of 2"} for n in (1, 2)]),
        (
            [{"VelocityEncodingDirection": way} for way in ([1, 0, 0], [0, 1, 0])],
            [{"velocity": f"{n} of 2"} for n in (1, 2)],
        ),
        ([{"TemporalPositionIdentifier": n} for n in (1, 2, 3)], [{"time point": f"{n} of 3"} for n in (1, 2, 3)]),
        ([{"AcquisitionNumber": n} for n in (1, 2, 3)], [{"time point": f"{n} of 3"} for n in (1, 2, 3)]),
        ([{"AcquisitionTime": f"10000{n}"} for n in (1, 2, 3)], [{"time point": f"{n} of 3"} for n in (1, 2, 3)]),
        ([{"TriggerTime": 100.0 * n} for n in (1, 2)], [{"trigger time": f"{n} of 2"} for n in (1, 2)]),
        ([{"EchoNumbers": n} for n in (1, 2)], [{"echo number": f"{n} of 2"} for n in (1, 2)]),
        ([{"StackID": name} for name in "AB"], [{"stack": f"{n} of 2"} for n in (1, 2)]),
        (
            [{"ImageType": ["ORIGINAL", "PRIMARY", "M", word]} for word in ("ND", "MIP")],
            [{"image type": f"{n} of 2"} for n in (1, 2)],
        ),
        (
            [{"DimensionIndexValues": lambda k, n=n: [n, k + 1]} for n in (1, 2)],
            [{"dimension index": f"{n} of 2"} for n in (1, 2)],
        ),
        (
            # All at once: echo is found first, time where it still tells something.
            [{"EchoTime": te, "AcquisitionNumber": n, "TriggerTime": 9.0 * n} for te in (2.0, 4.0) for n in (1, 2)],
            [{"echo": f"{e} of 2", "trigger time": f"{n} of 2"} for e in (1, 2) for n in (1, 2)],
        ),
        (
            # The time of day of each slice differs: the first of each place is the first time point, and so on.
            [{"AcquisitionTime": lambda k, n=n: f"1000{10 * n + k:02}"} for n in (1, 2, 3)],
            [{"time point": f"{n} of 3"} for n in (1, 2, 3)],
        ),
        (
            # Two stations of a spine, beside each other in the plane of the slices.
            [{"ImagePositionPatient": lambda k, at=at: [at, 0.0, 4.0 * k]} for at in (0.0, 200.0)],
            [{"station": f"{n} of 2"} for n in (1, 2)],
        ),
    ],
)  # fmt: skip
def test_a_series_is_split_by_what_varies_where_frames_share_a_place(
    variants: list[dict[str, Any]], expected: list[dict[str, str]]
) -> None:
    stacks = split(repeated(*variants))

    assert names(stacks) == expected
    assert [one.number for one in stacks] == list(range(1, len(variants) + 1))
    assert [len(one.frames) for one in stacks] == [4] * len(variants)
    assert not any(one.faults for one in stacks)


@pytest.mark.parametrize(
    "variant",
    [
        {"AcquisitionNumber": lambda k: k % 2 + 1},  # two packages, interleaved
        {"AcquisitionTime": lambda k: f"1000{k:02}"},
        {"TriggerTime": lambda k: 30.0 * k},
        {"TemporalPositionIdentifier": lambda k: k + 1},
        {"ContentTime": lambda k: f"1000{k:02}"},
        {"WindowCenter": lambda k: 100 + k},
        {"EchoTime": lambda k: 12 + 0.01 * k},  # rounded by the scanner, slice by slice
    ],
)
def test_what_varies_between_the_slices_of_one_volume_does_not_split_it(variant: dict[str, Any]) -> None:
    (only,) = split(repeated(variant))

    assert (only.splits, only.faults, len(only.frames)) == ({}, (), 4)


def test_the_stacks_are_the_same_in_whatever_order_the_instances_come() -> None:
    instances = repeated(*({"EchoTime": te, "AcquisitionNumber": n} for te in (2.0, 4.0) for n in (1, 2)))
    expected = split(instances)

    for seed in range(20):
        random.Random(seed).shuffle(instances)
        assert split(instances) == expected


def test_a_dynamic_that_was_aborted_keeps_its_whole_time_points() -> None:
    instances = [
        one
        for one in repeated(*({"AcquisitionNumber": n} for n in (1, 2, 3)))
        if one.AcquisitionNumber < 3 or one.ImagePositionPatient[2] < 5
    ]

    stacks = split(instances)

    assert [len(one.frames) for one in stacks] == [4, 4, 2]


def test_time_points_without_any_number_are_not_guessed_where_a_frame_is_missing() -> None:
    """The second time point lacks a slice; ranks would put a slice of the third into it."""
    instances = repeated(*({"AcquisitionTime": lambda k, n=n: f"1000{10 * n + k:02}"} for n in (1, 2, 3)))
    instances.remove(next(one for one in instances if one.AcquisitionTime == "100021"))

    (only,) = split(instances)

    assert only.faults[0].code == "IN-2"
    assert only.faults[0].text.startswith("duplicate: 4 of 4 places")


def test_the_planes_of_a_localizer_are_stacks_of_their_own() -> None:
    planes = {"axial": [1, 0, 0, 0, 1, 0], "sagittal": [0, 1, 0, 0, 0, -1], "coronal": [1, 0, 0, 0, 0, -1]}
    instances = [
        mr(f"{SERIES}.{n}.{k}", series=SERIES, ImageOrientationPatient=plane, ImagePositionPatient=[9.0 * k] * 3)
        for n, plane in enumerate(planes.values())
        for k in range(3)
    ]

    stacks = split(instances)

    assert sorted(one.splits["orientation"].split(",")[0] for one in stacks) == sorted(planes)
    assert not any(one.faults for one in stacks)


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (lambda one: one.pop(3), "gap: slices are missing: 8.00 mm from slice 3 to 4, elsewhere 4.00 mm"),
        (lambda one: setattr(one[3], "ImagePositionPatient", [0, 0, 13.0]), "uneven spacing: 5.00 mm from slice 3 to"),
        (lambda one: setattr(one[3], "ImagePositionPatient", [3.0, 0, 12.0]), "slices lie 3.00 mm beside the line"),
        (lambda one: setattr(one[3], "ImagePositionPatient", [0, 0, 8.0]), "duplicate: 1 of 7 places"),
        (lambda one: one.append(mr(f"{SERIES}.99", series=SERIES)), "duplicate: 1 of 8 places"),
        (
            lambda one: setattr(one[3], "ImageOrientationPatient", [0.98, 0, 0.199, 0, 1, 0]),
            "8.00 mm from slice 3 to 4, elsewhere 4.00 mm; a slice there has another orientation",
        ),
        (lambda one: setattr(one[3], "Rows", 16), "elsewhere 4.00 mm; a slice there has another matrix"),
        (lambda one: setattr(one[3], "PixelSpacing", [2, 2]), "a slice there has another pixel spacing"),
    ],
)  # fmt: skip
def test_what_keeps_a_stack_from_being_a_volume_is_named_with_its_millimetres(spoil: Any, named: str) -> None:
    instances = list(series_of(1, slices=8))
    spoil(instances)

    largest = max(split(instances), key=lambda one: len(one.frames))

    assert largest.faults[0].code == "IN-2"
    assert named in largest.faults[0].text


def test_what_is_no_image_does_not_spoil_its_series_and_alone_is_refused() -> None:
    raw = mr(f"{SERIES}.99", series=SERIES, Rows=None, Columns=None, PixelData=None, ImagePositionPatient=None)

    (only,) = split([*series_of(1), raw])

    assert len(only.frames) == 6
    with pytest.raises(VolumeError, match="holds no image"):
        split([raw])


def test_a_segmentation_is_no_image_of_the_series_it_comes_in() -> None:
    made = mr(f"{SERIES}.99", series=SERIES, SOPClassUID=SegmentationStorage, Modality="SEG", NumberOfFrames=3)

    assert split([*series_of(1), made]) == split([*series_of(1)])


@pytest.mark.parametrize(
    "spoil",
    [
        {"ImagePositionPatient": None},
        {"ImagePositionPatient": [0.0, 0.0]},
        {"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]},
        {"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]},
        {"PixelSpacing": [0.0, 1.0]},
        {"Rows": 0},
    ],
)
def test_an_image_without_a_place_is_refused(spoil: dict[str, Any]) -> None:
    with pytest.raises(VolumeError) as caught:
        split([*series_of(1), mr(f"{SERIES}.99", series=SERIES, **spoil)])

    assert caught.value.code == "IN-1"


def legacy_converted(instances: list[Dataset], **per_frame: list[Any]) -> Dataset:
    """Return a Legacy Converted Enhanced MR instance: what has no functional group stays a classic attribute."""
    made = mr("2.25.60", series=SERIES, ImagePositionPatient=None, ImageOrientationPatient=None, PixelSpacing=None)
    made.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4.4"
    del made.EchoTime, made.RepetitionTime
    made.NumberOfFrames = len(instances)
    common, orientation, measures, classic = Dataset(), Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient, measures.PixelSpacing = [1, 0, 0, 0, 1, 0], [1.0, 1.0]
    classic.RepetitionTime = 550
    common.PlaneOrientationSequence, common.PixelMeasuresSequence = Sequence([orientation]), Sequence([measures])
    common.UnassignedSharedConvertedAttributesSequence = Sequence([classic])
    made.SharedFunctionalGroupsSequence = Sequence([common])
    frames = []
    for k, one in enumerate(instances):
        frame, position, own = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = one.ImagePositionPatient
        for keyword, values in per_frame.items():
            setattr(own, keyword, values[k])
        frame.PlanePositionSequence = Sequence([position])
        frame.UnassignedPerFrameConvertedAttributesSequence = Sequence([own])
        frames.append(frame)
    made.PerFrameFunctionalGroupsSequence = Sequence(frames)
    made.PixelData = b"".join(one.PixelData for one in instances)
    return made


def test_legacy_converted_frames_are_told_apart_by_their_classic_attributes() -> None:
    instances = [*series_of(1, slices=3), *series_of(1, slices=3)]
    echoes = [2.0, 2.0, 2.0, 4.0, 4.0, 4.0]

    first, second = split([legacy_converted(instances, EchoTime=echoes)])

    assert (first.acquisition.echo_time_ms, second.acquisition.echo_time_ms) == (2.0, 4.0)
    assert first.acquisition.repetition_time_ms == 550
    assert [one.number for one in second.frames] == [3, 4, 5]


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("siemens_prisma_gre", [{"echo": "1 of 2"}, {"echo": "2 of 2"}]),
        ("philips_dualecho", [{"component": "magnitude"}, {"component": "phase"}]),
        ("siemens_XA30_enhanced", [{"time point": f"{n} of 3"} for n in (1, 2, 3)]),
        (
            "canon_enhanced_3000",
            [{"b-value": "1 of 2"}, *({"b-value": "2 of 2", "time point": f"{n} of 12"} for n in range(1, 13))],
        ),
        (
            "ge_premier_3plane_FF",
            [{"orientation": f"{x}, {n} of 3"} for n, x in enumerate(("sagittal", "coronal", "axial"), 1)],
        ),
        (
            "uih_dti",
            [{"b-value": "1 of 2"}, *({"b-value": "2 of 2", "gradient direction": f"{n} of 2"} for n in (1, 2))],
        ),
    ],
)  # fmt: skip
def test_series_of_real_scanners_are_split(folder: str, expected: list[dict[str, str]]) -> None:
    files = (one for one in shared("data", "vendor_pack_dcm_qa", folder).rglob("*") if one.is_file())

    assert names(split([dcmread(path, stop_before_pixels=True) for path in files])) == expected


def test_a_multi_frame_image_without_a_place_costs_itself_alone_and_is_counted() -> None:
    instances = [*series_of(1), mr("2.25.77", series=SERIES, NumberOfFrames=7)]

    (only,) = split(instances)

    assert (len(only.frames), only.faults, only.left_out) == (6, (), 1)
    assert "2.25.77" not in only.instances


def test_a_series_of_nothing_but_frames_without_a_place_is_refused() -> None:
    with pytest.raises(VolumeError, match="frames without a place"):
        split([mr(f"2.25.{n}", series=SERIES, NumberOfFrames=7) for n in (1, 2)])


def turned(n: int, of: int) -> dict[str, Any]:
    angle = 2 * math.pi * n / of
    across, down = (math.cos(angle), math.sin(angle), 0.0), (-math.sin(angle), math.cos(angle), 0.0)
    return {"ImageOrientationPatient": [round(one, 8) for one in (*across, *down)]}


def test_as_many_stacks_as_a_series_may_have_are_told_apart_and_more_are_refused_with_the_code(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MOST_STACKS", 40)
    instances = [mr(f"{SERIES}.{n}", series=SERIES, **turned(n, 50)) for n in range(50)]

    assert len(split(instances[:40])) == 40
    with pytest.raises(VolumeError, match="IN-1: a series of more than 40 stacks, in 50 frames"):
        split(instances)


@pytest.mark.slow
def test_four_thousand_frames_in_orientations_of_their_own_cost_no_more_than_in_one() -> None:
    """Work, not time, is counted: comparing all with all would be 8e6 calls."""
    instances = [mr(f"{SERIES}.{n}", series=SERIES, PixelData=None, **turned(n, 4_000)) for n in range(4_000)]
    calls = Counter[str]()

    def count(frame: Any, event: str, _argument: object) -> None:
        if event == "call" and frame.f_code.co_filename == module.__file__:
            calls[frame.f_code.co_name] += 1

    sys.setprofile(count)
    try:
        with pytest.raises(VolumeError, match="a series of more than 2000 stacks"):
            split(instances)
    finally:
        sys.setprofile(None)

    assert sum(calls.values()) < 20 * 4_000
