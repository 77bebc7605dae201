"""What is said of a frame: by its own functional groups, the shared ones, the top level, and private attributes."""

import io
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import JPEG2000, JPEGBaseline8Bit

from node.dicom.frames import Scale, read_frames
from node.dicom.headers import Acquisition, read_acquisition
from node.dicom.views import Known
from node.simulator.multiframe import to_enhanced
from tests.builders import mr, part10
from tests.conftest import shared


def item(**values: Any) -> Dataset:
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def philips(dataset: Dataset, scale_slope: float) -> Dataset:
    dataset.add_new((0x2005, 0x0010), "LO", "Philips MR Imaging DD 001")
    dataset.add_new((0x2005, 0x100E), "FL", scale_slope)
    return dataset


def mapped(slope: float, *, unit: str = "1", intercept: float = 0.0, **more: Any) -> Sequence:
    units = Sequence([item(CodeValue=unit, CodingSchemeDesignator="UCUM", CodeMeaning="said")])
    return Sequence(
        [item(RealWorldValueSlope=slope, RealWorldValueIntercept=intercept, MeasurementUnitsCodeSequence=units, **more)]
    )


def scale_of(dataset: Dataset) -> Scale:
    (frame,) = read_frames(dataset)
    return frame.scale


def test_stored_values_are_displayed_values_by_the_rescale() -> None:
    assert scale_of(mr()) == Scale(1.0, 0.0, "none")
    assert scale_of(mr(RescaleSlope=2.5, RescaleIntercept=-3.0)) == Scale(2.5, -3.0, "rescale")


def test_a_real_world_map_without_unit_wins_over_the_rescale() -> None:
    made = mr(RescaleSlope=2.0, RealWorldValueMappingSequence=mapped(0.5, intercept=1.0))

    assert scale_of(made) == Scale(0.5, 1.0, "real world")


@pytest.mark.parametrize(
    "maps",
    [
        mapped(0.5, unit="mrad"),
        mapped(0.5, RealWorldValueLUTData=[1.0, 2.0]),
        Sequence([*mapped(0.5), *mapped(0.7)]),
        mapped(0.0),
    ],
)
def test_a_real_world_map_with_a_unit_a_table_or_a_rival_is_passed_over(maps: Sequence) -> None:
    assert scale_of(mr(RescaleSlope=2.0, RealWorldValueMappingSequence=maps)) == Scale(2.0, 0.0, "rescale")


def test_the_floating_point_scale_of_philips_wins_over_both() -> None:
    """FP = (SV x RS + RI) / (RS x SS), Chenevert et al. 2014, PMC3998685."""
    made = philips(mr(RescaleSlope=2.0, RescaleIntercept=6.0, RealWorldValueMappingSequence=mapped(2.0)), 0.25)

    assert scale_of(made) == Scale(4.0, 12.0, "philips")


def test_a_private_element_of_another_creator_is_no_scale_slope() -> None:
    made = philips(mr(RescaleSlope=2.0), 0.25)
    made[0x2005, 0x0010].value = "SOMEBODY ELSE"

    assert scale_of(made) == Scale(2.0, 0.0, "rescale")


def test_the_scale_slope_of_each_frame_is_found_in_the_private_sequence_of_enhanced_philips() -> None:
    classic = [
        philips(
            mr(f"2.25.{k}", RescaleSlope=2.0 + k, ImagePositionPatient=[0, 0, 4.0 * k], **SIMULATED),
            0.5 + k,
        )
        for k in range(3)
    ]
    for k, one in enumerate(classic):
        one.SliceLocation = 4.0 * k

    frames = read_frames(to_enhanced(classic))

    assert [frame.scale for frame in frames] == [Scale(1 / (0.5 + k), 0.0, "philips") for k in range(3)]
    assert [frame.number for frame in frames] == [0, 1, 2]


@pytest.mark.parametrize("written", [False, True], ids=["made", "read"])
@pytest.mark.parametrize("shared_groups", [True, False], ids=["shared", "per frame"])
def test_a_real_world_map_in_the_functional_groups_of_enhanced_mr_wins_over_the_rescale(
    shared_groups: bool, written: bool
) -> None:
    places = [{"ImagePositionPatient": [0.0, 0.0, 4.0 * k], "SliceLocation": 4.0 * k} for k in range(2)]
    made = to_enhanced([mr(f"2.25.{k}", RescaleSlope=2.0, **place, **SIMULATED) for k, place in enumerate(places)])
    slopes = [0.5, 0.5] if shared_groups else [0.5, 0.25]
    sequence = made.SharedFunctionalGroupsSequence if shared_groups else made.PerFrameFunctionalGroupsSequence
    for groups, slope in zip(sequence, slopes, strict=False):
        groups.RealWorldValueMappingSequence = mapped(slope, intercept=1.0)

    frames = read_frames(dcmread(io.BytesIO(part10(made))) if written else made)

    assert [frame.scale for frame in frames] == [Scale(slope, 1.0, "real world") for slope in slopes]


def test_rival_real_world_maps_of_one_frame_are_passed_over() -> None:
    made = to_enhanced([mr(RescaleSlope=2.0, SliceLocation=0.0, **SIMULATED)])
    (groups,) = made.PerFrameFunctionalGroupsSequence
    groups.RealWorldValueMappingSequence = Sequence([*mapped(0.5), *mapped(0.7)])

    assert scale_of(made) == Scale(2.0, 0.0, "rescale")


SIMULATED: dict[str, Any] = {  # what the simulator's headers have and its Enhanced MR is made of
    "AngioFlag": "N",
    "MRAcquisitionType": "2D",
    "FlipAngle": 90,
    "EchoTrainLength": 1,
    "AcquisitionDate": "20260102",
    "AcquisitionTime": "100000",
    "SpacingBetweenSlices": 4.0,
    "InPlanePhaseEncodingDirection": "ROW",
    "ImagingFrequency": 63.9,
    "PixelBandwidth": 200,
    "ReceiveCoilName": "SPINE",
    "WindowCenter": 100,
    "WindowWidth": 200,
}


def test_enhanced_mr_says_in_its_own_words_what_a_classic_header_says() -> None:
    classic = mr(**SIMULATED, SliceLocation=0.0)

    said, same = read_acquisition(to_enhanced([classic])), read_acquisition(classic)

    for name in ("scanning_sequence", "repetition_time_ms", "echo_time_ms", "flip_angle_deg", "acquired_at_s"):
        assert getattr(said, name) == getattr(same, name), name
    assert said.complex_component == "M"


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"ImageType": ["ORIGINAL", "PRIMARY", "M_FFE", "M", "FFE"]}, {"complex_component": "M"}),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "PHASE MAP", "P", "FFE"]}, {"complex_component": "P"}),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "VELOCITY MAP"]}, {"complex_component": "P"}),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "W", "W", "DERIVED"]}, {"part": "water"}),
        ({"ImageType": ["DERIVED", "PRIMARY", "DIXON", "IN_PHASE"]}, {"part": "in-phase"}),
        ({"SeriesDescription": "WATER: Ax LAVA-Flex"}, {"part": "water"}),
        ({"SeriesDescription": "OutPhase: Ax LAVA-Flex"}, {"part": "opposed-phase"}),
        ({"SeriesDescription": "Ax T1 fat: none"}, {"part": ""}),
        ({"LossyImageCompression": "01"}, {"lossy": True}),
        ({"LossyImageCompression": "00"}, {"lossy": False}),
        ({"ImageType": ["DERIVED", "SECONDARY", "MIP"]}, {"derived": True, "projection": True}),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "M"]}, {"derived": False, "projection": False}),
        ({"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, {"screenshot": True}),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, {"screenshot": True}),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7.2"}, {"screenshot": True}),
        ({"ConversionType": "WSD"}, {"screenshot": True}),
        ({}, {"screenshot": False, "colour": False}),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, {"colour": True}),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, {"colour": True}),
        ({"PhotometricInterpretation": "MONOCHROME1"}, {"colour": False}),
        ({"SequenceVariant": ["SK", "MTC"]}, {"magnetization_transfer": True}),
        ({"EchoTime": "none", "RepetitionTime": None}, {"echo_time_ms": None, "repetition_time_ms": None}),
        ({"InversionTime": float("nan"), "FlipAngle": 1e999}, {"inversion_time_ms": None, "flip_angle_deg": None}),
    ],
)  # fmt: skip
def test_what_a_header_says_is_recognised(attributes: dict[str, Any], expected: dict[str, Any]) -> None:
    made = mr(**{"ImageType": ["ORIGINAL", "PRIMARY", "OTHER"]} | {k: v for k, v in attributes.items() if v != "none"})
    if attributes.get("EchoTime") == "none":
        del made.EchoTime
        made.add_new((0x0018, 0x0081), "LO", "none")

    assert {name: getattr(read_acquisition(made), name) for name in expected} == expected


@pytest.mark.parametrize(
    ("syntax", "said", "lossy"),
    [(JPEGBaseline8Bit, "", True), (JPEG2000, "", True), (JPEG2000, "00", False), (JPEGBaseline8Bit, "00", True)],
)
def test_a_lossy_transfer_syntax_says_lossy_too(syntax: str, said: str, lossy: bool) -> None:
    made = mr(LossyImageCompression=said or None)
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = syntax

    assert read_acquisition(made).lossy is lossy


@pytest.mark.parametrize(
    "changed",
    [
        {"EchoTime": 80},
        {"ImageType": ["ORIGINAL", "PRIMARY", "P"]},
        {"ScanOptions": "FS"},
        {"SeriesDescription": "WATER: Ax"},
        {"ProtocolName": "t1"},
        {"ContrastBolusAgent": "Gadolinium"},
        {"AcquisitionTime": "101112"},
        {"TriggerTime": 7.0},
        {"AcquisitionNumber": 2},
        {"PhotometricInterpretation": "RGB"},
        {"LossyImageCompression": "01"},
        {"EffectiveEchoTime": 12.0, "EchoTime": None},
        {},
    ],
)
def test_what_was_read_of_one_instance_is_never_taken_for_another_that_differs(changed: dict[str, Any]) -> None:
    first, second = (dcmread(io.BytesIO(part10(mr(**more)))) for more in ({}, changed))
    known = Known()
    read_frames(first, known)

    assert read_frames(second, known) == read_frames(second)


def _first(folder: str, name: str) -> Acquisition:
    (path,) = shared("data", "vendor_pack_dcm_qa", folder).glob(name)
    return read_acquisition(dcmread(path, stop_before_pixels=True))


def test_vendors_words_for_diffusion_are_understood() -> None:
    siemens, canon, uih = (
        _first("siemens_E11_mosaic", "*"),
        _first("canon_classic_3000", "3000_469.dcm"),
        _first("uih_dti", "00000012.dcm"),
    )

    assert (siemens.b_value, canon.b_value) == (0.0, 1500.0)
    assert uih.b_value == pytest.approx(929.75, abs=0.01)  # what was reached, not what was asked for
    assert sum(one * one for one in uih.gradient_direction) == pytest.approx(1, abs=1e-3)
