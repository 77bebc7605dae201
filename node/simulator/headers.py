"""Headers: simulated series as MR Image Storage instances, written the way a maker writes them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, MRImageStorage

from node.dicom.geometry import Geometry
from node.dicom.identifiers import derived_uid
from node.simulator.physics import Image
from node.simulator.planning import INJECTION_S, Plan
from node.simulator.recipe import Recipe, SeriesKind
from node.simulator.vendors import STYLES, describe, order_of_numbers

IMPLEMENTATION_CLASS_UID = derived_uid("paraspinal-node simulator")
_FILES = ("water", "fat", "labels")
_PHILIPS_OWNER = "Philips MR Imaging DD 001"
_USUAL_SCALE_SLOPE = 1e-2  # chosen, so that stored values fill their bits
_PROTON_MHZ_PER_T = 42.577
_BOLUS_ML = 15.0  # 0.1 mmol/kg of a 0.5 M agent for 75 kg


@dataclass(frozen=True, slots=True)
class Identity:
    """The UIDs and names of one study, derived from its recipe."""

    key: str
    study: str
    frame_of_reference: str
    patient_id: str
    accession_number: str

    @classmethod
    def of(cls, recipe: Recipe) -> "Identity":
        """Return the identity of a recipe: the same one for the same recipe, another for any other."""
        files = {name: Path(file).name if (file := getattr(recipe.anatomy, name)) else None for name in _FILES}
        anatomy = recipe.anatomy.model_copy(update=files)  # the same wherever the files lie
        key = recipe.model_copy(update={"anatomy": anatomy}).model_dump_json()
        return cls(
            key=key,
            study=derived_uid("simulated study", key),
            frame_of_reference=derived_uid("simulated frame of reference", key),
            patient_id=recipe.patient_id or f"SIM-{recipe.seed:06d}",
            accession_number=recipe.accession_number or f"SIMA{recipe.seed:06d}",
        )

    def series(self, kind: SeriesKind) -> str:
        """Return the Series Instance UID of a kind of series."""
        return derived_uid("simulated series", self.key, kind)


def clock(seconds: float) -> str:
    """Return a DICOM TM value."""
    whole = int(seconds)
    return f"{whole // 3600 % 24:02d}{whole // 60 % 60:02d}{whole % 60:02d}.{round((seconds - whole) * 1e3):03d}"


def make_instances(
    recipe: Recipe, identity: Identity, plan: Plan, images: list[Image], *, counts_per_signal: float
) -> list[Dataset]:
    """Return the instances of one series in the order of their Instance Numbers, uncompressed.

    `images` has one volume for each grid of `plan`; `counts_per_signal` turns signal into what the scanner's
    own scale would show.
    """
    style = STYLES[recipe.vendor]
    frames = [
        (grid, geometry, index, volume[index])
        for grid, (geometry, volume) in enumerate(zip(plan.geometries, images, strict=True))
        for index in _in_order_of_acquisition(geometry.shape[0], along_axis=plan.along_axis)
    ]
    order = order_of_numbers(style.numbering, len(frames))
    return [
        _instance(recipe, identity, plan, number, *frames[which], counts_per_signal=counts_per_signal)
        for number, which in enumerate(order, start=1)
    ]


def _in_order_of_acquisition(count: int, *, along_axis: bool) -> list[int]:
    return list(range(count)) if along_axis else list(range(count))[::-1]


def _instance(
    recipe: Recipe, identity: Identity, plan: Plan, number: int, grid: int, geometry: Geometry, index: int,
    plane: Image, *, counts_per_signal: float,
) -> Dataset:  # fmt: skip
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.SOPClassUID = MRImageStorage
    dataset.SOPInstanceUID = derived_uid("simulated instance", identity.key, plan.kind, str(number))
    _add_patient_and_study(dataset, recipe, identity)
    _add_series(dataset, recipe, identity, plan)
    _add_acquisition(dataset, recipe, plan)
    _add_contrast(dataset, recipe, plan)
    _add_time(dataset, recipe, plan, grid)
    dataset.InstanceNumber = number
    _add_plane(dataset, geometry, index)
    _add_pixels(dataset, recipe, plan, plane, counts_per_signal)
    dataset.file_meta = file_meta(dataset, ExplicitVRLittleEndian)
    return dataset


def file_meta(dataset: Dataset, transfer_syntax: UID) -> FileMetaDataset:
    """Return the file meta information of an instance."""
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = transfer_syntax
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = "PARASPINAL_SIM"
    return meta


def _add_patient_and_study(dataset: Dataset, recipe: Recipe, identity: Identity) -> None:
    dataset.PatientName = recipe.patient_name
    dataset.PatientID = identity.patient_id
    dataset.PatientBirthDate = "19700101"
    dataset.PatientSex = "O"
    dataset.PatientAge = "056Y"
    dataset.PatientWeight = 75
    dataset.StudyInstanceUID = identity.study
    dataset.StudyDate = recipe.study_date
    dataset.StudyTime = "090000"
    dataset.AccessionNumber = identity.accession_number
    dataset.ReferringPhysicianName = ""
    dataset.StudyID = str(recipe.seed)
    dataset.StudyDescription = "MR lumbar spine with contrast"


def _add_series(dataset: Dataset, recipe: Recipe, identity: Identity, plan: Plan) -> None:
    style = STYLES[recipe.vendor]
    orientation = {"mrv": "axial", "t2": "sagittal"}.get(plan.kind, recipe.orientation)
    description = describe(
        recipe.vendor,
        plan.kind,
        sequence=recipe.sequence,
        orientation=orientation,
        fat_suppression=plan.fat_suppression,
    )
    dataset.Modality = "MR"
    dataset.SeriesInstanceUID = identity.series(plan.kind)
    dataset.SeriesNumber = plan.number
    dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = recipe.study_date
    dataset.SeriesTime = dataset.AcquisitionTime = dataset.ContentTime = clock(plan.begins_s)
    dataset.SeriesDescription = description
    dataset.ProtocolName = description
    dataset.BodyPartExamined = "LSPINE"
    dataset.PatientPosition = recipe.patient_position
    dataset.AcquisitionNumber = 1
    dataset.FrameOfReferenceUID = identity.frame_of_reference
    dataset.PositionReferenceIndicator = ""
    dataset.Manufacturer = style.manufacturer
    dataset.ManufacturerModelName = style.model
    dataset.SoftwareVersions = style.software
    dataset.InstitutionName = "SIMULATED"
    dataset.DeviceSerialNumber = "0"


def _add_acquisition(dataset: Dataset, recipe: Recipe, plan: Plan) -> None:
    style, pulse = STYLES[recipe.vendor], plan.pulse
    gradient_echo = pulse.kind != "se"
    three_dimensional = plan.kind in ("pre", "dynamic", "post") and gradient_echo
    dataset.ImageType = list(style.image_types[pulse.kind])
    dataset.ScanningSequence = "GR" if gradient_echo else "SE"
    dataset.SequenceVariant = ["SP", "OSP"] if gradient_echo else ["SK", "SP", "OSP"]
    options = [style.scan_options] if plan.fat_suppression else []
    options += ["FC", "SP"] if pulse.kind == "tof" else []
    dataset.ScanOptions = options or ""
    dataset.MRAcquisitionType = "3D" if three_dimensional else "2D"
    dataset.AngioFlag = "Y" if pulse.kind == "tof" else "N"
    dataset.RepetitionTime = round(pulse.tr_s * 1000, 3)
    dataset.EchoTime = round(pulse.te_s * 1000, 3)
    dataset.EchoTrainLength = 1 if gradient_echo else 3
    dataset.EchoNumbers = 1
    dataset.FlipAngle = round(pulse.flip_deg, 3)
    dataset.NumberOfAverages = 1
    dataset.MagneticFieldStrength = recipe.field_strength_t
    dataset.ImagingFrequency = round(recipe.field_strength_t * _PROTON_MHZ_PER_T, 3)
    dataset.ImagedNucleus = "1H"
    dataset.PixelBandwidth = 200
    dataset.ReceiveCoilName = style.coil
    dataset.InPlanePhaseEncodingDirection = "ROW"


def _add_contrast(dataset: Dataset, recipe: Recipe, plan: Plan) -> None:
    if plan.kind not in ("dynamic", "post") or not recipe.contrast_labelled:
        return
    dataset.ContrastBolusAgent = STYLES[recipe.vendor].agent
    dataset.ContrastBolusRoute = "IV"
    dataset.ContrastBolusVolume = _BOLUS_ML
    dataset.ContrastBolusStartTime = clock(INJECTION_S)


def _add_time(dataset: Dataset, recipe: Recipe, plan: Plan, number: int) -> None:
    """Add what tells a time point from the others, as its maker writes it."""
    if not plan.time_points:
        return
    style, point = STYLES[recipe.vendor], plan.time_points[number]
    if style.clock == "acquisition":
        dataset.AcquisitionNumber = number + 1
    else:
        dataset.TemporalPositionIdentifier = number + 1
        dataset.NumberOfTemporalPositions = len(plan.time_points)
    if style.clock == "trigger":
        dataset.TriggerTime = round(1000 * (point.begins_s - plan.begins_s), 3)
    else:
        dataset.AcquisitionTime = dataset.ContentTime = clock(point.begins_s)


def _add_plane(dataset: Dataset, geometry: Geometry, index: int) -> None:
    slice_mm, row_mm, column_mm = geometry.spacing_mm
    directions = geometry.directions
    position = geometry.to_lps((index, 0, 0))
    dataset.ImagePositionPatient = [_number(value) for value in position]
    dataset.ImageOrientationPatient = [_number(value) for value in (*directions[:, 2], *directions[:, 1])]
    dataset.PixelSpacing = [_number(row_mm), _number(column_mm)]
    dataset.SliceThickness = _number(slice_mm)
    dataset.SpacingBetweenSlices = _number(slice_mm)
    dataset.SliceLocation = _number(float(position @ directions[:, 0]))


def _number(value: float) -> float:
    return round(float(value), 6) + 0.0  # no -0.0


def _add_pixels(dataset: Dataset, recipe: Recipe, plan: Plan, plane: Image, counts_per_signal: float) -> None:
    style = STYLES[recipe.vendor]
    counts = plane * np.float32(counts_per_signal)
    if style.scales is not None:
        rescale_slope, scale_slope = style.scales[plan.kind]
        counts = counts * np.float32(scale_slope / _USUAL_SCALE_SLOPE)  # signal is SV / scale slope, intercept 0
        dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = rescale_slope, 0, "normalized"
        private = dataset.private_block(0x2005, _PHILIPS_OWNER, create=True)
        private.add_new(0x0E, "FL", scale_slope)
    bits = style.bits_stored
    highest = (1 << (bits - 1 if style.signed else bits)) - 1
    stored: npt.NDArray[np.int16 | np.uint16] = np.clip(np.rint(counts), 0, highest).astype(
        "<i2" if style.signed else "<u2"
    )
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = stored.shape
    dataset.BitsAllocated = 16
    dataset.BitsStored = bits
    dataset.HighBit = bits - 1
    dataset.PixelRepresentation = int(style.signed)
    top = float(np.percentile(stored, 99.5))
    dataset.WindowCenter, dataset.WindowWidth = round(top / 2), max(1, round(top))
    dataset.PixelData = stored.tobytes()
