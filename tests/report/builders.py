"""A synthetic study and what was measured in it, made by hand: 8 axial slices of 64 x 64, a lesion on the left."""

import datetime as dt
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian, MRImageStorage

from node.dicom.identifiers import derived_uid
from node.findings import (
    Algorithm,
    BiopsyPath,
    Findings,
    Gate,
    Kinetics,
    LesionFindings,
    Location,
    Measurement,
    MuscleFindings,
    Note,
    Outcome,
    Picture,
    Regions,
    Side,
    Suspicion,
    TargetedAnswer,
)
from node.records import ResultRole
from node.report import ResultObject, SeriesEvidence, build
from node.settings import ReportSettings
from tests.builders import part10

SHAPE = (8, 64, 64)
SPACING_MM = 2.5
THICKNESS_MM = 4.0
STARTED = dt.datetime(2026, 1, 2, 11, 0, 0, tzinfo=dt.UTC)
STUDY = derived_uid("tests", "study")
LESION_MM = (30.0, 35.0, 14.0)  # patient left, back, head

Edit = Callable[[Dataset], None]


def position_mm(index: int) -> list[float]:
    """Of the first pixel of slice `index`, counted from the feet."""
    return [-80.0, -80.0, THICKNESS_MM * index]


def _header(role: str) -> Dataset:
    header = Dataset()
    header.SpecificCharacterSet = "ISO_IR 100"
    header.SOPClassUID = MRImageStorage
    header.StudyInstanceUID = STUDY
    header.SeriesInstanceUID = derived_uid("tests", role)
    header.PatientName, header.PatientID = "Doe^Jane", "PVM0001"
    header.PatientBirthDate, header.PatientSex, header.PatientAge = "19500101", "F", "076Y"
    header.StudyID, header.AccessionNumber, header.ReferringPhysicianName = "S1", "ACC0001", "Ref^Phys"
    header.StudyDate, header.StudyTime, header.StudyDescription = "20260102", "101500", "MR lumbar spine"
    header.SeriesDate, header.SeriesTime = "20260102", "102000"
    header.AcquisitionDate, header.AcquisitionTime = "20260102", "102000"
    header.ContentDate, header.ContentTime = "20260102", "102000"
    header.Modality, header.Manufacturer, header.ManufacturerModelName = "MR", "SYNTHETIC", "PHANTOM"
    header.SoftwareVersions, header.DeviceSerialNumber = "1", "0"
    header.SeriesNumber = {"pre": 2, "post": 3, "mrv": 4}[role]
    header.SeriesDescription, header.BodyPartExamined, header.PatientPosition = role, "LSPINE", "HFS"
    header.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
    header.ScanningSequence, header.SequenceVariant, header.ScanOptions = "GR", "NONE", ""
    header.MRAcquisitionType, header.RepetitionTime, header.EchoTime, header.FlipAngle = "3D", "5", "2", "12"
    header.EchoTrainLength, header.MagneticFieldStrength, header.AcquisitionNumber = 1, "1.5", 1
    header.SliceThickness = header.SpacingBetweenSlices = THICKNESS_MM
    header.PixelSpacing = [SPACING_MM, SPACING_MM]
    header.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    header.FrameOfReferenceUID, header.PositionReferenceIndicator = derived_uid("tests", "frame"), ""
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.Rows, header.Columns = SHAPE[1:]
    header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 16, 16, 15, 0
    return header


def _received(header: Dataset, number: int, edit: Edit | None) -> Dataset:
    """The header as it comes out of the spool: from bytes, in its own character set, without pixels."""
    if edit:
        edit(header)
    header.InstanceNumber = number
    header.SOPInstanceUID = derived_uid(header.SeriesInstanceUID, str(number))
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID
    header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID
    return dcmread(io.BytesIO(part10(header)))


def classic_series(role: str, edit: Edit | None = None) -> SeriesEvidence:
    """A series of single-frame instances, sent from head to feet: the volume runs from feet to head."""
    headers = []
    for number, index in enumerate(reversed(range(SHAPE[0])), 1):
        header = _header(role)
        header.ImagePositionPatient = position_mm(index)
        headers.append(_received(header, number, edit))
    return SeriesEvidence(role, tuple(headers), tuple((index, 0) for index in reversed(range(SHAPE[0]))))


def enhanced_series(role: str, places: Sequence[int], edit: Edit | None = None) -> SeriesEvidence:
    """One multi-frame instance whose frame i lies at `places[i]`; geometry per frame, as some vendors write it."""
    header = _header(role)
    header.SOPClassUID = EnhancedMRImageStorage
    header.NumberOfFrames = len(places)
    frames = []
    for place in places:
        position, orientation, measures, frame = Dataset(), Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = position_mm(place)
        orientation.ImageOrientationPatient = header.ImageOrientationPatient
        measures.PixelSpacing, measures.SliceThickness = header.PixelSpacing, header.SliceThickness
        frame.PlanePositionSequence, frame.PlaneOrientationSequence = [position], [orientation]
        frame.PixelMeasuresSequence = [measures]
        frames.append(frame)
    for keyword in ("ImageOrientationPatient", "PixelSpacing", "SliceThickness", "SpacingBetweenSlices"):
        delattr(header, keyword)
    header.SharedFunctionalGroupsSequence = [Dataset()]
    header.PerFrameFunctionalGroupsSequence = frames
    received = _received(header, 1, edit)
    return SeriesEvidence(role, (received,), tuple((0, places.index(index)) for index in range(len(places))))


def evidence(*roles: str, edit: Edit | None = None) -> tuple[SeriesEvidence, ...]:
    return tuple(classic_series(role, edit) for role in roles or ("pre", "post", "mrv"))


def regions(*, lesions: bool = True, vessels: bool = True) -> Regions:
    """Boxes: muscles left and right of the middle column, the lesion in slices 3 and 4 of the left one."""
    muscles = np.zeros(SHAPE, np.uint8)
    muscles[1:7, 40:52, 36:52] = 1  # high columns: the patient's left
    muscles[1:7, 40:52, 12:28] = 2
    lesion = np.zeros(SHAPE, np.uint8)
    lesion[3:5, 44:48, 42:46] = 1
    plexus = np.zeros(SHAPE, np.bool_)
    plexus[2:6, 45, 43] = True
    rise = np.where(lesion > 0, 100.0, np.where(muscles > 0, 20.0, np.nan)).astype(np.float32)
    return Regions(muscles, lesion if lesions else None, plexus if vessels else None, "post", rise)


def pictures(*, lesions: bool = True, vessels: bool = True) -> tuple[Picture, ...]:
    """What `measure` leaves of `regions`: an axial plane for the overview, projections, and a plane of the lesion."""
    drawn = regions(lesions=lesions)
    numbers = np.zeros(SHAPE, np.uint8) if drawn.lesions is None else drawn.lesions
    assert drawn.muscles is not None
    assert drawn.enhancement is not None
    signal = np.random.default_rng(1).normal(300, 20, SHAPE).astype(np.float32)
    axial = {
        "pre": signal[3] - 50, "post": signal[3], "muscles": drawn.muscles[3], "lesions": numbers[3],
        "enhancement": drawn.enhancement[3],
    }  # fmt: skip
    coronal = {
        "post": signal[::-1, 46], "muscles": drawn.muscles[::-1, 46], "lesions": numbers[::-1, 46],
        "enhancement": drawn.enhancement[::-1, 46],
    }  # fmt: skip
    right, down = (SPACING_MM, 0.0, 0.0), (0.0, SPACING_MM, 0.0)
    head, feet = (-80.0, 35.0, THICKNESS_MM * (SHAPE[0] - 1)), (0.0, 0.0, -THICKNESS_MM)
    made = [
        Picture("axial", axial, (-80.0, -80.0, 3 * THICKNESS_MM), down, right, None),
        Picture("coronal", coronal, head, feet, right, None),
    ]
    if vessels:
        made.append(Picture("coronal", {"mrv": signal[::-1, 40]}, head, feet, right, None))
    if lesions:
        made.append(replace(made[0], lesion=1))
    return tuple(made)


def _muscle(side: Side) -> MuscleFindings:
    return MuscleFindings(side, 28800.0, 200.5, 281.25, 40.25, 6.5, 12.5 * (1 if side is Side.LEFT else -1), 3.5, 1.25)


LESION = LesionFindings(
    number=1,
    side=Side.LEFT,
    centroid_mm=LESION_MM,
    volume_mm3=800.0,
    long_axis_mm=14.1,
    short_axis_mm=10.0,
    pre_signal=201.0,
    post_signal=402.0,
    enhancement_pct=100.0,
    enhancement_max_pct=131.0,
    muscle_ratio=2.5,
    score=9.1,
    midline_distance_mm=30.0,
    skin_distance_mm=41.0,
    vessel_fraction_pct=6.25,
    surrounding_vessel_fraction_pct=2.0,
    vascularity_increased=True,
)

ALGORITHM = Algorithm(
    "PVM contrast-enhancement analysis",
    "0.1.0",
    {"detector_threshold": "7.0", "least_muscle_ratio": "1.5"},
    "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef",
)

WITH_LESION = Findings(
    outcome=Outcome.FINDINGS,
    summary="1 focal enhancing candidate in the left paraspinal muscles.",
    inputs=("pre", "post", "mrv"),
    grade=3,
    muscles=(_muscle(Side.LEFT), _muscle(Side.RIGHT)),
    lesions=(LESION,),
    gates=(Gate("REG-1", 1.25, "translation <= 15 mm", True), Gate("SEG-0", 1.0, ">= 0.6", True)),
    caveats=(Note("MRV-2", "Time-of-flight venography loses slow flow."),),
    refusals=(),
    algorithm=ALGORITHM,
)

WITHOUT_LESION = replace(
    WITH_LESION,
    outcome=Outcome.NO_FINDINGS,
    summary="No focal enhancing candidate.",
    inputs=("pre", "post"),
    grade=0,
    lesions=(),
    caveats=(),
    muscles=tuple(replace(muscle, vessel_fraction_pct=None) for muscle in WITH_LESION.muscles),
)

REFUSED = replace(
    WITHOUT_LESION,
    outcome=Outcome.REFUSED,
    summary="No analysis was possible. This is not a statement about the patient.",
    inputs=(),
    grade=None,
    muscles=(),
    gates=(Gate("ROLE-CONTRAST", 1.01, ">= 1.05", False),),
    refusals=(Note("ROLE-CONTRAST", "The series after contrast shows no enhancement."),),
)

KINETICS = Kinetics(12.0, 38.0, 115.0, 108.0, 4.25, 3900.0, 6800.0, "wash-out", 0.21, 0.33, 0.64)
PATH = BiopsyPath((31.0, 36.0, 14.0), (45.0, 78.0, 15.0), 44.3, 18.4, 1.3, 7.2, "vessel")


def level_rows(*names: str | None) -> tuple[MuscleFindings, ...]:
    """A row for each level and side, from the head down; the left one of L4 is diffuse."""
    return tuple(
        replace(
            _muscle(side),
            volume_mm3=4000.0,
            enhancement_pct=52.0 if (name, side) == ("L4", Side.LEFT) else 20.0 + place,
            relative_enhancement=2.4 if (name, side) == ("L4", Side.LEFT) else 1.0,
            diffuse=(name, side) == ("L4", Side.LEFT),
            fat_fraction_pct=11.0 + place,
            fat_corrected_enhancement_pct=24.0,
            vessel_asymmetry_pct=8.0 if side is Side.LEFT else -8.0,
            location=Location(name, (30.0, 35.0, 24.0 - 8 * place), (2 * place + 1, 2 * place + 2)),
        )
        for place, name in enumerate(names)
        for side in Side
    )


_LEVELS = level_rows("L2", "L3", "L4", "L5")
_NOTHING = Regions(None, None, None, "post")

MEASUREMENTS = {
    "findings with MRV": Measurement(WITH_LESION, regions(), pictures()),
    "findings without MRV": Measurement(
        replace(
            WITH_LESION,
            inputs=("pre", "post"),
            grade=2,
            lesions=(
                replace(
                    LESION,
                    vessel_fraction_pct=None,
                    surrounding_vessel_fraction_pct=None,
                    vascularity_increased=None,
                ),
            ),
        ),
        regions(vessels=False),
        pictures(vessels=False),
    ),
    "levels and a suspicion by EMG": Measurement(
        replace(
            WITH_LESION,
            lesions=(
                replace(
                    LESION,
                    location=Location("L4", LESION_MM, (4, 5)),
                    kinetics=KINETICS,
                    plexus_distance_mm=12.5,
                    draining_vessel=True,
                    biopsy=PATH,
                ),
            ),
            muscles=tuple(
                replace(muscle, location=Location("L2 to L5", LESION_MM, (2, 7)), fat_fraction_pct=14.0)
                for muscle in WITH_LESION.muscles
            ),
            levels=_LEVELS,
            answer=TargetedAnswer("At L4 left: enhancement 52 %: diffuse enhancement.", _LEVELS[2:], (1,), True),
            level_basis="vertebral level counted from S1, assuming five lumbar vertebrae; labeller known 1",
            suspicion=Suspicion("L4", "left", "order", "RequestAttributesSequence"),
        ),
        regions(),
        pictures(),
    ),
    "no findings": Measurement(
        WITHOUT_LESION, regions(lesions=False, vessels=False), pictures(lesions=False, vessels=False)
    ),
    "refused with muscles": Measurement(
        replace(REFUSED, muscles=WITHOUT_LESION.muscles),
        replace(regions(lesions=False, vessels=False), enhancement=None),
    ),
    "refused without muscles": Measurement(REFUSED, _NOTHING),
}


def objects(
    measurement: Measurement = MEASUREMENTS["findings with MRV"],
    series: Sequence[SeriesEvidence] | None = None,
    *,
    wanted: Sequence[ResultRole] = (ResultRole.SEG, ResultRole.SR),
) -> dict[str, Dataset]:
    """Build, and return the objects by name; the others than those take a second to draw."""
    results: tuple[ResultObject, ...] = build(
        measurement,
        evidence() if series is None else series,
        settings=ReportSettings(objects=tuple(wanted)),
        started=STARTED,
    )
    return {result.name: result.dataset for result in results}


@cache
def built(shape: str = "findings with MRV") -> dict[str, Dataset]:
    """SEG and report of one of `MEASUREMENTS`, made once for all tests that only look at them."""
    return objects(MEASUREMENTS[shape])


@cache
def everything(shape: str = "findings with MRV") -> dict[str, Dataset]:
    """All objects that there can be of one of `MEASUREMENTS`, likewise."""
    return objects(MEASUREMENTS[shape], wanted=tuple(ResultRole))


def items(dataset: Dataset, *meanings: str) -> list[Dataset]:
    """The content items that are reached by these names, level by level."""
    found = [dataset]
    for meaning in meanings:
        found = [child for item in found for child in item.ContentSequence if name(child) == meaning]
    return found


def name(item: Dataset) -> str:
    return item.ConceptNameCodeSequence[0].CodeMeaning


def value(item: Dataset) -> str | float:
    """What a CODE, TEXT, UIDREF or NUM says."""
    match item.ValueType:
        case "CODE":
            return item.ConceptCodeSequence[0].CodeMeaning
        case "NUM":
            return float(item.MeasuredValueSequence[0].NumericValue)
        case "TEXT":
            return item.TextValue
        case "UIDREF":
            return item.UID
    raise ValueError(item.ValueType)


def walk(item: Dataset) -> Iterator[Dataset]:
    for child in item.get("ContentSequence", ()):
        yield child
        yield from walk(child)
