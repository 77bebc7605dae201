"""What a header says about how a frame was acquired: read tolerantly, from classic and multi-frame MR alike."""

import datetime as dt
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset

from node.dicom.views import FrameView, Known, view_of

_DERIVED_WORDS = frozenset({
    "DERIVED", "MIP", "MPR", "SUB", "SUBTRACTION", "COLLAPSE", "PROJECTION IMAGE", "PROJECTION",
    "ADC", "TRACEW", "FA", "CSA MPR", "CSAPARALLEL", "MIN IP", "MINIP", "MNIP",
})  # fmt: skip
_PROJECTION_WORDS = frozenset(
    {"MIP", "MINIP", "MIN IP", "MNIP", "COLLAPSE", "PROJECTION IMAGE", "PROJECTION", "MAX_IP", "MIN_IP", "MEAN_IP"}
)
_SCREENSHOT_WORDS = frozenset({"SCREEN SAVE", "SCREENSHOT", "SCREEN CAPTURE", "CSA REPORT", "VXTL STATE"})
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"  # Secondary Capture Image Storage, and its multi-frame kinds below it
_FAT_SUPPRESSION_OPTIONS = frozenset({"FS", "SPIR", "SPAIR", "FATSAT", "WE", "DIXON_W", "CHEMSAT"})
_FAT_SUPPRESSION_TEXT = re.compile(
    r"(?<![a-z])(fs|fatsat|fat[ _-]?sat|spair|spir|stir|we|chess)(?![a-z])", re.IGNORECASE
)
_DIXON_PARTS = {
    "W": "water", "WATER": "water", "DIXON_W": "water",
    "F": "fat", "FAT": "fat", "DIXON_F": "fat",
    "IP": "in-phase", "IN_PHASE": "in-phase", "IN": "in-phase", "INPHASE": "in-phase", "IN PHASE": "in-phase",
    "OP": "opposed-phase", "OUT_PHASE": "opposed-phase", "OPP_PHASE": "opposed-phase", "OUT": "opposed-phase",
    "OPPOSED_PHASE": "opposed-phase", "OUTPHASE": "opposed-phase", "OUT PHASE": "opposed-phase",
}  # fmt: skip
# GE names the part at the head of Series Description, "WATER: Ax LAVA-Flex", and nowhere else in older releases.
_DIXON_PREFIX = re.compile(r"\s*\(?(water|fat|in[ _-]?phase|out[ _-]?(?:of[ _-]?)?phase)\)?\s*:", re.IGNORECASE)
_COMPLEX_WORDS = {
    "M": "M", "MAGNITUDE": "M", "MAG": "M", "P": "P", "PHASE": "P", "PHASE MAP": "P", "VELOCITY MAP": "P",
    "VELOCITY": "P", "R": "R", "REAL": "R", "I": "I", "IMAGINARY": "I",
}  # fmt: skip
# PS3.5 annex A.4 and PS3.6 annex A: transfer syntaxes that always lose, and those that may.
_LOSSY_SYNTAXES = frozenset({
    "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.81",
})  # fmt: skip
_PERHAPS_LOSSY_SYNTAXES = frozenset({
    "1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.93", "1.2.840.10008.1.2.4.203", "1.2.840.10008.1.2.4.112",
})  # fmt: skip
_DAY_S = 86400.0

# What `Acquisition.complex_component` stands for, in the words of Complex Image Component (0008,9208).
COMPONENTS = {"M": "magnitude", "P": "phase", "R": "real", "I": "imaginary"}


@dataclass(frozen=True, slots=True)
class Acquisition:
    """How one frame, or all frames of a stack, were acquired; None or empty where the header says nothing.

    Times are seconds since midnight of the first day of the proleptic calendar: only differences mean anything.
    `description` may hold patient data on badly run sites: never log it. Words are upper case, without blanks around.
    """

    modality: str
    description: str
    image_type: tuple[str, ...]
    scanning_sequence: frozenset[str]
    sequence_variant: frozenset[str]
    scan_options: frozenset[str]
    acquisition_type: str
    repetition_time_ms: float | None
    echo_time_ms: float | None
    inversion_time_ms: float | None
    flip_angle_deg: float | None
    echo_train_length: float | None
    field_strength_t: float | None
    pixel_bandwidth_hz: float | None
    receive_coil: str
    angiography: bool
    contrast_agent: bool
    acquired_at_s: float | None
    bolus_at_s: float | None
    lossy: bool
    frame_of_reference: str
    orientation: tuple[float, ...]
    pixel_spacing_mm: tuple[float, ...]
    slice_thickness_mm: float | None
    spacing_between_slices_mm: float | None = None
    manufacturer: str = ""
    sop_class: str = ""
    sequence_name: str = ""  # (0018,0024) Sequence Name, or (0018,9005) Pulse Sequence Name
    echo_number: int | None = None
    acquisition_number: int | None = None
    temporal_position: int | None = None
    trigger_time_ms: float | None = None
    complex_component: str = ""  # "M", "P", "R", "I", or ""
    part: str = ""  # of a Dixon: "water", "fat", "in-phase", "opposed-phase", or ""
    velocity_cm_s: float | None = None
    velocity_direction: tuple[float, ...] = ()
    b_value: float | None = None  # s/mm2
    gradient_direction: tuple[float, ...] = ()
    stack_id: str = ""
    dimension_index: tuple[int, ...] = ()
    acquisition_contrast: str = ""  # (0008,9209), Enhanced MR only
    time_of_flight: bool = False
    phase_contrast: bool = False
    magnetization_transfer: bool = False
    spectral_suppression: str = ""  # (0018,9025) Spectrally Selected Suppression, or (0018,9026) Excitation
    cardiac_synchronization: str = ""
    colour: bool = False
    screenshot: bool = False
    intensity_filter: str = ""  # GE: Filter Mode (0043,xx2D), as it stands there
    coil_combination: str = ""  # Philips: Syncra Scan Type (2005,xxA1)

    @property
    def derived(self) -> bool:
        """Whether it was computed from other images, so that its signal is nobody's measurement.

        The parts of a Dixon are computed too, and called so by all makers, but from echoes of one acquisition: they
        count as acquired.
        """
        words = set(self.image_type)
        if self.part and self.image_type[1:2] == ("PRIMARY",):
            words.discard("DERIVED")
        return bool(_DERIVED_WORDS & words)

    @property
    def projection(self) -> bool:
        """Whether it is a projection, such as a MIP, of other images."""
        return bool(_PROJECTION_WORDS & set(self.image_type))

    @property
    def fat_suppressed(self) -> bool:
        return (
            bool(_FAT_SUPPRESSION_OPTIONS & self.scan_options)
            or self.spectral_suppression in ("FAT", "FAT_AND_WATER", "WATER_EXCITATION")
            or bool(_FAT_SUPPRESSION_TEXT.search(self.description))
        )

    @property
    def dixon_part(self) -> str:
        """Return "water", "fat", "in-phase", "opposed-phase" or ""."""
        return self.part


def read_acquisition(dataset: Dataset) -> Acquisition:
    """Return what the header of `dataset` (one instance of a series) says about the acquisition of its first frame."""
    return acquisition_of(view_of(dataset), dataset)


def acquisition_of(view: FrameView, dataset: Dataset, known: Known | None = None) -> Acquisition:
    """Return what is said of one frame of `dataset`; `known` as of `views_of`."""
    read = _Reader(view)
    syntax = str(getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", ""))
    if known is not None and known.steady is not None:
        tags, answers, (before, its_syntax) = known.steady
        if syntax == its_syntax and view.undecoded(tags) == answers:
            again: Acquisition = replace(before, **read.moving())
            return again
    view.asked.clear()
    steady = _steady(read, syntax)
    if known is not None:
        asked = tuple(view.asked)
        said = view.undecoded(asked)
        known.steady = None if said is None else (asked, said, (steady, syntax))
    return replace(steady, **read.moving())


def _steady(read: "_Reader", syntax: str) -> Acquisition:
    """Return what is mostly the same in all frames of a series; the rest is `_Reader.moving`."""
    orientation = read.numbers("ImageOrientationPatient")
    image_type = tuple(read.words("FrameType") or read.words("ImageType"))
    description = read.text("SeriesDescription") or read.text("ProtocolName")
    manufacturer = read.text("Manufacturer")
    return Acquisition(
        modality=read.text("Modality"),
        description=description,
        image_type=image_type,
        scanning_sequence=frozenset(read.words("ScanningSequence")) or read.enhanced_sequence(),
        sequence_variant=frozenset(read.words("SequenceVariant")) or read.enhanced_variant(),
        scan_options=frozenset(read.words("ScanOptions")),
        acquisition_type=read.text("MRAcquisitionType"),
        repetition_time_ms=read.number("RepetitionTime"),
        echo_time_ms=read.number("EchoTime", "EffectiveEchoTime"),
        inversion_time_ms=read.number("InversionTime"),
        flip_angle_deg=read.number("FlipAngle"),
        echo_train_length=read.number("EchoTrainLength"),
        field_strength_t=read.number("MagneticFieldStrength"),
        pixel_bandwidth_hz=read.number("PixelBandwidth"),
        receive_coil=read.text("ReceiveCoilName"),
        angiography=read.text("AngioFlag").upper() == "Y",
        contrast_agent=read.has_agent(),
        acquired_at_s=None,
        bolus_at_s=None,
        lossy=_is_lossy(read, syntax),
        frame_of_reference=read.text("FrameOfReferenceUID"),
        orientation=tuple(orientation) if len(orientation) == 6 else (),
        pixel_spacing_mm=tuple(read.numbers("PixelSpacing")),
        slice_thickness_mm=read.number("SliceThickness"),
        spacing_between_slices_mm=read.number("SpacingBetweenSlices"),
        manufacturer=manufacturer,
        sop_class=read.text("SOPClassUID"),
        sequence_name=read.text("SequenceName") or read.text("PulseSequenceName"),
        echo_number=_whole(read.number("EchoNumbers")),
        complex_component=_complex_component(read, image_type, manufacturer),
        part=_dixon_part(image_type, description),
        velocity_cm_s=read.velocity_cm_s(),
        velocity_direction=tuple(read.numbers("VelocityEncodingDirection")) or read.philips_velocity(),
        b_value=read.b_value(),
        gradient_direction=read.gradient_direction(),
        stack_id=read.text("StackID"),
        acquisition_contrast=read.text("AcquisitionContrast").upper(),
        time_of_flight=read.text("TimeOfFlightContrast").upper() == "YES",
        phase_contrast=read.text("PhaseContrast").upper() == "YES",
        magnetization_transfer="MTC" in read.words("SequenceVariant")
        or read.text("MagnetizationTransfer").upper() not in ("", "NONE"),
        spectral_suppression=read.spectral_suppression(),
        cardiac_synchronization=read.text("CardiacSynchronizationTechnique").upper(),
        colour=(read.number("SamplesPerPixel") or 1) > 1
        or not (read.text("PhotometricInterpretation").upper() or "MONOCHROME").startswith("MONOCHROME"),
        screenshot=_is_screenshot(read, image_type),
        intensity_filter=read.private_text(0x0043102D, "GEMS_PARM"),
        coil_combination=read.private_text(0x200510A1, "Philips MR Imaging DD 001"),
    )


def find_value(dataset: Dataset, keyword: str, frame: int = 0) -> Any:
    """Return the value of `keyword` for one frame of a data set, counted from 0, or None."""
    return view_of(dataset, frame).value(_tag(keyword))


@cache
def _tag(keyword: str) -> int:
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise ValueError(f"{keyword} is no keyword of PS3.6")
    return tag


class _Reader:
    """Values of a view as what they should be; what is malformed is as good as not there."""

    def __init__(self, view: FrameView) -> None:
        self.view = view

    def text(self, keyword: str) -> str:
        value = self.view.value(_tag(keyword))
        return "" if value is None else str(value).strip()

    def words(self, keyword: str) -> list[str]:
        value = self.view.value(_tag(keyword))
        if value is None:
            return []
        many: Sequence[Any] = value if isinstance(value, (list, tuple)) else [value]
        return [str(word).strip().upper() for word in many if str(word).strip()]

    def numbers(self, keyword: str) -> list[float]:
        return _floats(self.view.value(_tag(keyword)))

    def number(self, *keywords: str) -> float | None:
        return next((numbers[0] for keyword in keywords if (numbers := self.numbers(keyword))), None)

    def moving(self) -> dict[str, Any]:
        """Return the facts that may be others in each frame."""
        acquired_at_s = self.acquired_at_s()
        return {
            "acquired_at_s": acquired_at_s,
            "bolus_at_s": self.bolus_at_s(acquired_at_s),
            "acquisition_number": _whole(self.number("FrameAcquisitionNumber", "AcquisitionNumber")),
            "temporal_position": _whole(self.number("TemporalPositionIndex", "TemporalPositionIdentifier")),
            "trigger_time_ms": self.number("NominalCardiacTriggerDelayTime", "TriggerTime"),
            "dimension_index": tuple(int(one) for one in self.numbers("DimensionIndexValues")),
        }

    def private_text(self, tag: int, creator: str) -> str:
        value = self.view.private(tag, creator)
        return value.strip().upper() if isinstance(value, str) else ""

    def private_numbers(self, tag: int, creator: str) -> list[float]:
        return _floats(self.view.private(tag, creator))

    def enhanced_sequence(self) -> frozenset[str]:
        """Return what Scanning Sequence would say (PS3.3 C.8.13.4 against C.8.3.1)."""
        kinds = {"SPIN": {"SE"}, "GRADIENT": {"GR"}, "BOTH": {"SE", "GR"}}
        said = set(kinds.get(self.text("EchoPulseSequence").upper(), set()))
        if self.text("EchoPlanarPulseSequence").upper() == "YES":
            said.add("EP")
        if self.text("InversionRecovery").upper() == "YES":
            said.add("IR")
        return frozenset(said)

    def enhanced_variant(self) -> frozenset[str]:
        """Return what Sequence Variant would say."""
        said = set()
        if self.text("SteadyStatePulseSequence").upper() not in ("", "NONE"):
            said.add("SS")
        if self.text("Spoiling").upper() not in ("", "NONE"):
            said.add("SP")
        if self.text("SegmentedKSpaceTraversal").upper() not in ("", "SINGLE"):
            said.add("SK")
        if self.text("MagnetizationTransfer").upper() not in ("", "NONE"):
            said.add("MTC")
        return frozenset(said)

    def spectral_suppression(self) -> str:
        suppressed = self.text("SpectrallySelectedSuppression").upper()
        if suppressed not in ("", "NONE"):
            return suppressed
        return "WATER_EXCITATION" if self.text("SpectrallySelectedExcitation").upper() == "WATER" else ""

    def has_agent(self) -> bool:
        administered = self.text("ContrastBolusAgentAdministered").upper()
        if administered:
            return administered == "YES"
        agent = self.text("ContrastBolusAgent").upper()
        return bool(self.view.value(_tag("ContrastBolusAgentSequence"))) or agent not in (
            "", "NONE", "NO", "NO CONTRAST", "N",
        )  # fmt: skip

    def acquired_at_s(self) -> float | None:
        joined = self._joined()
        if joined:
            return _moment(joined)
        clock = self.text("AcquisitionTime")
        return _moment(self._date() + clock) if clock else None

    def bolus_at_s(self, acquired_at_s: float | None) -> float | None:
        """Return when contrast medium was given, which is stated without a date: the frame's, or the day before."""
        clock = self.text("ContrastBolusStartTime")
        moment = _moment((self._joined()[:8] or self._date()) + clock) if clock else None
        if moment is not None and acquired_at_s is not None and moment - acquired_at_s > _DAY_S / 2:
            moment -= _DAY_S
        return moment

    def _joined(self) -> str:
        return self.text("FrameAcquisitionDateTime") or self.text("AcquisitionDateTime")

    def _date(self) -> str:
        return self.text("AcquisitionDate") or self.text("StudyDate")

    def velocity_cm_s(self) -> float | None:
        found = self.number("VelocityEncodingMaximumValue")
        if found is None and (philips := self.philips_velocity()):
            found = max(abs(one) for one in philips)
        return found

    def philips_velocity(self) -> tuple[float, ...]:
        velocity = self.private_numbers(0x2001101A, "Philips Imaging")  # PC Velocity: right, feet, anterior
        return tuple(velocity) if any(velocity) else ()

    def b_value(self) -> float | None:
        if (value := self.number("DiffusionBValue")) is not None:
            return value
        for tag, creator in (
            (0x0019100C, "SIEMENS MR HEADER"), (0x20011003, "Philips Imaging"), (0x00651009, "Image Private"),
        ):  # fmt: skip
            if numbers := self.private_numbers(tag, creator):
                return numbers[0]
        if numbers := self.private_numbers(0x00431039, "GEMS_PARM"):
            return numbers[0] % 100_000  # GE adds 1e9 where the scanner itself changed the value
        return None

    def gradient_direction(self) -> tuple[float, ...]:
        if numbers := self.numbers("DiffusionGradientOrientation"):
            return tuple(numbers)
        for tag, creator in ((0x0019100E, "SIEMENS MR HEADER"), (0x00651037, "Image Private")):
            if numbers := self.private_numbers(tag, creator):
                return tuple(numbers)
        for tags, creator in (
            ((0x200510B0, 0x200510B1, 0x200510B2), "Philips MR Imaging"),
            ((0x001910BB, 0x001910BC, 0x001910BD), "GEMS_ACQU"),
        ):
            parts = [self.private_numbers(tag, creator)[:1] for tag in tags]
            if all(parts):
                return tuple(part[0] for part in parts)
        return ()


def _floats(value: Any) -> list[float]:
    if value is None:
        return []
    try:
        found = [float(one) for one in (value if isinstance(value, (list, tuple)) else [value])]
    except (TypeError, ValueError):
        return []
    return found if all(map(math.isfinite, found)) else []


def _whole(number: float | None) -> int | None:
    return None if number is None else int(number)


def _complex_component(read: _Reader, image_type: Sequence[str], manufacturer: str) -> str:
    said = _COMPLEX_WORDS.get(read.text("ComplexImageComponent").upper(), "")
    if said:
        return said
    if manufacturer.upper().startswith("GE") and (kind := read.private_numbers(0x0043102F, "GEMS_PARM")):
        return {0: "M", 1: "P", 2: "R", 3: "I"}.get(int(kind[0]), "")
    return next((_COMPLEX_WORDS[word] for word in image_type[2:] if word in _COMPLEX_WORDS), "")


def _dixon_part(image_type: Sequence[str], description: str) -> str:
    for word in image_type[2:]:
        if word in _DIXON_PARTS:
            return _DIXON_PARTS[word]
    prefix = _DIXON_PREFIX.match(description)
    if prefix is None:
        return ""
    said = prefix[1].lower()
    return {"w": "water", "f": "fat", "i": "in-phase", "o": "opposed-phase"}[said[0]]


def _is_lossy(read: _Reader, syntax: str) -> bool:
    said = read.text("LossyImageCompression")
    return said == "01" or syntax in _LOSSY_SYNTAXES or (syntax in _PERHAPS_LOSSY_SYNTAXES and said != "00")


def _is_screenshot(read: _Reader, image_type: Sequence[str]) -> bool:
    return (
        read.text("SOPClassUID").startswith(_SECONDARY_CAPTURE)
        or bool(_SCREENSHOT_WORDS & set(image_type))
        or read.text("ConversionType").upper() in ("WSD", "SI", "DRW", "DF", "DV", "DI", "SYN")
    )


def _moment(text: str) -> float | None:
    match = re.match(r"(\d{8})(\d{2})(\d{2})?(\d{2})?(\.\d{1,6})?", text)
    if match is None:
        return None
    day, hour, minute, second, fraction = match.groups()
    try:
        date = (int(day[:4]), int(day[4:6]), int(day[6:]))
        moment = dt.datetime(*date, int(hour), int(minute or 0), int(second or 0))
    except ValueError:
        return None
    return (moment - dt.datetime.min).total_seconds() + float(fraction or 0)
