"""Enhanced MR: the instances of one series as one multi-frame instance (PS3.3 A.36.2)."""

from collections.abc import Sequence

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.tag import Tag
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian

from node.dicom.identifiers import derived_uid
from node.simulator.headers import file_meta

# Modules that both kinds of instance have alike; everything else is said elsewhere in an Enhanced MR instance.
_KEPT = (
    "SpecificCharacterSet", "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "PatientAge",
    "PatientWeight", "StudyInstanceUID", "StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName",
    "StudyID", "StudyDescription", "Modality", "SeriesInstanceUID", "SeriesNumber", "SeriesDate", "SeriesTime",
    "SeriesDescription", "ProtocolName", "BodyPartExamined", "PatientPosition", "FrameOfReferenceUID",
    "PositionReferenceIndicator", "Manufacturer", "ManufacturerModelName", "SoftwareVersions", "InstitutionName",
    "DeviceSerialNumber", "ContentDate", "ContentTime", "MagneticFieldStrength", "SamplesPerPixel",
    "PhotometricInterpretation", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
)  # fmt: skip
_GADOLINIUM = ("58281002", "SCT", "Gadolinium")  # PS3.16 CID 13
_INTRAVENOUS = ("47625008", "SCT", "Intravenous route")  # PS3.16 CID 11
_LUMBAR_SPINE = ("122496007", "SCT", "Lumbar spine")  # PS3.16 CID 4031
_DURATION_MS = 120_000.0
_PHILIPS_GROUP = 0x2005


def to_enhanced(instances: Sequence[Dataset]) -> Dataset:
    """Return one Enhanced MR instance with the frames of classic, uncompressed `instances`, in their order.

    What is the same for all frames stands in the shared functional groups, place and scaling in each frame's.
    """
    first = instances[0]
    dataset = Dataset()
    for keyword in _KEPT:
        if keyword in first:
            dataset.add(first[keyword])
    dataset.SOPClassUID = EnhancedMRImageStorage
    dataset.SOPInstanceUID = derived_uid("simulated enhanced", *(one.SOPInstanceUID for one in instances))
    dataset.InstanceNumber = 1
    dataset.NumberOfFrames = len(instances)
    _add_image(dataset, first)
    _add_pulse_sequence(dataset, first)
    _add_contrast(dataset, first)
    _add_dimensions(dataset)
    dataset.AcquisitionContextSequence = Items([])
    dataset.SharedFunctionalGroupsSequence = Items([_shared_groups(first)])
    places = sorted({float(one.SliceLocation) for one in instances})
    dataset.PerFrameFunctionalGroupsSequence = Items(
        [_frame_groups(one, places.index(float(one.SliceLocation)) + 1) for one in instances]
    )
    dataset.PixelData = b"".join(one.PixelData for one in instances)
    dataset.file_meta = file_meta(dataset, ExplicitVRLittleEndian)
    return dataset


def _item(**values: object) -> Dataset:
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item


def _one(**values: object) -> Items:
    """Return a sequence of one item."""
    return Items([_item(**values)])


def _code(value: str, scheme: str, meaning: str) -> Items:
    return _one(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)


def _is_gradient_echo(first: Dataset) -> bool:
    return bool(first.ScanningSequence == "GR")


def _is_angiography(first: Dataset) -> bool:
    return bool(first.AngioFlag == "Y")


def _description(first: Dataset) -> dict[str, object]:
    """Return what image and frame type say alike (PS3.3 C.8.13.3.1)."""
    long_echo = first.EchoTime > 60
    return {
        "PixelPresentation": "MONOCHROME",
        "VolumetricProperties": "VOLUME",
        "VolumeBasedCalculationTechnique": "NONE",
        "ComplexImageComponent": "MAGNITUDE",
        "AcquisitionContrast": "TOF" if _is_angiography(first) else "T2" if long_echo else "T1",
    }


def _frame_type(first: Dataset) -> list[str]:
    return ["ORIGINAL", "PRIMARY", "ANGIO" if _is_angiography(first) else "OTHER", "NONE"]


def _add_image(dataset: Dataset, first: Dataset) -> None:
    """Add what the Enhanced MR Image module wants (PS3.3 C.8.13.1)."""
    dataset.ImageType = _frame_type(first)
    for keyword, value in _description(first).items():
        setattr(dataset, keyword, value)
    dataset.AcquisitionNumber = 1
    dataset.AcquisitionDateTime = f"{first.AcquisitionDate}{first.AcquisitionTime}"
    dataset.AcquisitionDuration = _DURATION_MS / 1000
    dataset.ContentQualification = "RESEARCH"
    dataset.ResonantNucleus = "1H"
    dataset.KSpaceFiltering = "NONE"
    dataset.ApplicableSafetyStandardAgency = "IEC"
    dataset.BurnedInAnnotation = "NO"
    dataset.LossyImageCompression = "00"
    dataset.PresentationLUTShape = "IDENTITY"


def _add_pulse_sequence(dataset: Dataset, first: Dataset) -> None:
    """Add what the MR Pulse Sequence module wants (PS3.3 C.8.13.4)."""
    gradient, options = _is_gradient_echo(first), first.get("ScanOptions") or []
    suppressed = {"FS", "FATSAT"} & set([options] if isinstance(options, str) else options)
    dataset.PulseSequenceName = "gradient echo" if gradient else "turbo spin echo"
    dataset.MRAcquisitionType = first.MRAcquisitionType
    dataset.EchoPulseSequence = "GRADIENT" if gradient else "SPIN"
    if not gradient:
        dataset.MultipleSpinEcho = "NO"
    dataset.MultiPlanarExcitation = "NO"
    dataset.PhaseContrast = "NO"
    dataset.TimeOfFlightContrast = "YES" if _is_angiography(first) else "NO"
    dataset.SteadyStatePulseSequence = "NONE"
    dataset.EchoPlanarPulseSequence = "NO"
    dataset.SaturationRecovery = "NO"
    dataset.SpectrallySelectedSuppression = "FAT" if suppressed else "NONE"
    dataset.OversamplingPhase = "NONE"
    dataset.GeometryOfKSpaceTraversal = "RECTILINEAR"
    dataset.SegmentedKSpaceTraversal = "SINGLE" if gradient else "PARTIAL"
    dataset.RectilinearPhaseEncodeReordering = "LINEAR"
    if first.MRAcquisitionType == "3D":
        dataset.CoverageOfKSpace = "FULL"
    dataset.NumberOfKSpaceTrajectories = 1


def _add_contrast(dataset: Dataset, first: Dataset) -> None:
    """Add what the Enhanced Contrast/Bolus module wants (PS3.3 C.7.6.4b), if the series names an agent."""
    if "ContrastBolusAgent" not in first:
        return
    (agent,) = _code(*_GADOLINIUM)
    agent.ContrastBolusAgentNumber = 1
    agent.ContrastBolusAdministrationRouteSequence = _code(*_INTRAVENOUS)
    agent.ContrastBolusIngredientCodeSequence = _code(*_GADOLINIUM)
    agent.ContrastBolusVolume = first.ContrastBolusVolume
    agent.ContrastBolusIngredientConcentration = 0.5
    agent.ContrastBolusIngredientOpaque = "NO"
    agent.ContrastAdministrationProfileSequence = _one(
        ContrastBolusVolume=first.ContrastBolusVolume, ContrastBolusStartTime=first.ContrastBolusStartTime
    )
    dataset.ContrastBolusAgentSequence = Items([agent])


def _add_dimensions(dataset: Dataset) -> None:
    organisation = derived_uid("dimensions", dataset.SOPInstanceUID)
    dataset.DimensionOrganizationSequence = _one(DimensionOrganizationUID=organisation)
    dataset.DimensionIndexSequence = Items(
        _item(
            DimensionOrganizationUID=organisation,
            DimensionIndexPointer=Tag(keyword),
            FunctionalGroupPointer=Tag("FrameContentSequence"),
        )
        for keyword in ("TemporalPositionIndex", "InStackPositionNumber")
    )


def _shared_groups(first: Dataset) -> Dataset:
    gradient = _is_gradient_echo(first)
    groups = _item(
        PixelMeasuresSequence=_one(
            PixelSpacing=first.PixelSpacing,
            SliceThickness=first.SliceThickness,
            SpacingBetweenSlices=first.SpacingBetweenSlices,
        ),
        PlaneOrientationSequence=_one(ImageOrientationPatient=first.ImageOrientationPatient),
        FrameAnatomySequence=_one(FrameLaterality="U", AnatomicRegionSequence=_code(*_LUMBAR_SPINE)),
        MRImageFrameTypeSequence=_one(FrameType=_frame_type(first), **_description(first)),
        MRTimingAndRelatedParametersSequence=_one(
            RepetitionTime=first.RepetitionTime,
            FlipAngle=first.FlipAngle,
            EchoTrainLength=first.EchoTrainLength,
            RFEchoTrainLength=0 if gradient else first.EchoTrainLength,
            GradientEchoTrainLength=int(gradient),
            SpecificAbsorptionRateSequence=_one(
                SpecificAbsorptionRateDefinition="IEC_WHOLE_BODY", SpecificAbsorptionRateValue=1.0
            ),
            GradientOutputType="DB_DT",
            GradientOutput=1.0,
            OperatingModeSequence=_one(OperatingModeType="STATIC FIELD", OperatingMode="IEC_NORMAL"),
        ),
        MRFOVGeometrySequence=_one(
            InPlanePhaseEncodingDirection=first.InPlanePhaseEncodingDirection,
            MRAcquisitionFrequencyEncodingSteps=first.Rows,
            MRAcquisitionPhaseEncodingStepsInPlane=first.Columns,
            MRAcquisitionPhaseEncodingStepsOutOfPlane=1,
            PercentSampling=100.0,
            PercentPhaseFieldOfView=100.0,
        ),
        MREchoSequence=_one(EffectiveEchoTime=float(first.EchoTime)),
        MRModifierSequence=_one(
            InversionRecovery="NO",
            FlowCompensation="NONE",
            Spoiling="RF" if gradient else "NONE",
            T2Preparation="NO",
            SpectrallySelectedExcitation="NONE",
            SpatialPresaturation="NONE",
            PartialFourier="NO",
            ParallelAcquisition="NO",
        ),
        MRImagingModifierSequence=_one(
            MagnetizationTransfer="NONE",
            BloodSignalNulling="NO",
            Tagging="NONE",
            TransmitterFrequency=float(first.ImagingFrequency),
            PixelBandwidth=first.PixelBandwidth,
        ),
        MRReceiveCoilSequence=_one(
            ReceiveCoilName=first.ReceiveCoilName,
            ReceiveCoilManufacturerName="",
            ReceiveCoilType="SURFACE",
            QuadratureReceiveCoil="NO",
        ),
        MRTransmitCoilSequence=_one(TransmitCoilName="BODY", TransmitCoilManufacturerName="", TransmitCoilType="BODY"),
        MRAveragesSequence=_one(NumberOfAverages=1),
    )
    if "ContrastBolusAgent" in first:
        groups.ContrastBolusUsageSequence = _one(
            ContrastBolusAgentNumber=1,
            ContrastBolusAgentAdministered="YES",
            ContrastBolusAgentDetected="YES",
            ContrastBolusAgentPhase="",
        )
    return groups


def _frame_groups(one: Dataset, rank: int) -> Dataset:
    moment = f"{one.AcquisitionDate}{one.AcquisitionTime}"
    acquisition = one.get("AcquisitionNumber", 1)
    time_point = int(one.get("TemporalPositionIdentifier", acquisition))
    groups = _item(
        FrameContentSequence=_one(
            FrameAcquisitionNumber=acquisition,
            FrameReferenceDateTime=moment,
            FrameAcquisitionDateTime=moment,
            FrameAcquisitionDuration=_DURATION_MS,
            StackID="1",
            InStackPositionNumber=rank,
            DimensionIndexValues=[time_point, rank],
            TemporalPositionIndex=time_point,
        ),
        PlanePositionSequence=_one(ImagePositionPatient=one.ImagePositionPatient),
        PixelValueTransformationSequence=_one(
            RescaleSlope=one.get("RescaleSlope", 1),
            RescaleIntercept=one.get("RescaleIntercept", 0),
            RescaleType=one.get("RescaleType", "US"),
        ),
        FrameVOILUTSequence=_one(WindowCenter=one.WindowCenter, WindowWidth=one.WindowWidth),
    )
    if "TriggerTime" in one:
        groups.TemporalPositionSequence = _one(TemporalPositionTimeOffset=float(one.TriggerTime) / 1000)
    private = one.group_dataset(_PHILIPS_GROUP)
    if len(private):  # Philips keeps the scale slope of a frame in the item of a private sequence
        block = groups.private_block(_PHILIPS_GROUP, "Philips MR Imaging DD 005", create=True)
        block.add_new(0x0F, "SQ", Items([private]))
    return groups
