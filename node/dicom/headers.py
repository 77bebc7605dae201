"""What a header says about how a series was acquired: read tolerantly, from classic and Enhanced MR alike."""

import datetime as dt
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

_DERIVED_WORDS = frozenset(
    {"DERIVED", "MIP", "MPR", "SUB", "SUBTRACTION", "COLLAPSE", "PROJECTION IMAGE", "PROJECTION"}
)
_FAT_SUPPRESSION_OPTIONS = frozenset({"FS", "SPIR", "SPAIR", "FATSAT", "WE", "DIXON_W", "CHEMSAT"})
_FAT_SUPPRESSION_TEXT = re.compile(
    r"(?<![a-z])(fs|fatsat|fat[ _-]?sat|spair|spir|stir|we|chess)(?![a-z])", re.IGNORECASE
)
_DIXON_PARTS = {
    "W": "water", "WATER": "water", "DIXON_W": "water",
    "F": "fat", "FAT": "fat", "DIXON_F": "fat",
    "IP": "in-phase", "IN_PHASE": "in-phase", "IN": "in-phase",
    "OP": "opposed-phase", "OUT_PHASE": "opposed-phase", "OPP_PHASE": "opposed-phase",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Acquisition:
    """How one series was acquired, as its first header says; None or empty where it says nothing.

    Times are seconds since midnight of the first day of the proleptic calendar: only differences mean anything.
    `description` may hold patient data on badly run sites: never log it.
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

    @property
    def derived(self) -> bool:
        """Whether it was computed from other images, so that its signal is nobody's measurement."""
        return bool(_DERIVED_WORDS & set(self.image_type)) or self.image_type[:1] == ("DERIVED",)

    @property
    def fat_suppressed(self) -> bool:
        return bool(_FAT_SUPPRESSION_OPTIONS & self.scan_options) or bool(
            _FAT_SUPPRESSION_TEXT.search(self.description)
        )

    @property
    def dixon_part(self) -> str:
        """Return "water", "fat", "in-phase", "opposed-phase" or ""."""
        return next((_DIXON_PARTS[word] for word in self.image_type[2:] if word in _DIXON_PARTS), "")


def read_acquisition(dataset: Dataset) -> Acquisition:
    """Return what the header of `dataset` (one instance of a series) says about its acquisition."""
    orientation = _numbers(dataset, "ImageOrientationPatient")
    return Acquisition(
        modality=_text(dataset, "Modality"),
        description=_text(dataset, "SeriesDescription") or _text(dataset, "ProtocolName"),
        image_type=tuple(_words(dataset, "ImageType")),
        scanning_sequence=frozenset(_words(dataset, "ScanningSequence")),
        sequence_variant=frozenset(_words(dataset, "SequenceVariant")),
        scan_options=frozenset(_words(dataset, "ScanOptions")),
        acquisition_type=_text(dataset, "MRAcquisitionType"),
        repetition_time_ms=_number(dataset, "RepetitionTime"),
        echo_time_ms=_number(dataset, "EchoTime", "EffectiveEchoTime"),
        inversion_time_ms=_number(dataset, "InversionTime"),
        flip_angle_deg=_number(dataset, "FlipAngle"),
        echo_train_length=_number(dataset, "EchoTrainLength"),
        field_strength_t=_number(dataset, "MagneticFieldStrength"),
        pixel_bandwidth_hz=_number(dataset, "PixelBandwidth"),
        receive_coil=_text(dataset, "ReceiveCoilName"),
        angiography=_text(dataset, "AngioFlag").upper() == "Y",
        contrast_agent=_has_agent(dataset),
        acquired_at_s=_seconds(dataset, "Acquisition"),
        bolus_at_s=_bolus_seconds(dataset),
        lossy=_text(dataset, "LossyImageCompression") == "01",
        frame_of_reference=_text(dataset, "FrameOfReferenceUID"),
        orientation=tuple(orientation) if len(orientation) == 6 else (),
        pixel_spacing_mm=tuple(_numbers(dataset, "PixelSpacing")),
        slice_thickness_mm=_number(dataset, "SliceThickness"),
    )


def find_value(dataset: Dataset, keyword: str) -> Any:
    """Return the value of `keyword` in the data set, or in the functional groups of the first frame, or None."""
    for group in _groups(dataset):
        value = group.get(keyword)
        if value is not None and value != "":
            return value
    return None


def _groups(dataset: Dataset) -> Iterator[Dataset]:
    yield dataset
    for name in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for item in list(dataset.get(name) or [])[:1]:
            for element in item:
                if element.VR == "SQ" and element.value:
                    yield element.value[0]


def _text(dataset: Dataset, keyword: str) -> str:
    value = find_value(dataset, keyword)
    return "" if value is None else str(value).strip()


def _words(dataset: Dataset, keyword: str) -> list[str]:
    value = find_value(dataset, keyword)
    if value is None:
        return []
    many: Sequence[Any] = value if isinstance(value, (MultiValue, list, tuple)) else [value]
    return [str(word).strip().upper() for word in many if str(word).strip()]


def _numbers(dataset: Dataset, keyword: str) -> list[float]:
    value = find_value(dataset, keyword)
    if value is None:
        return []
    try:
        return [float(one) for one in (value if isinstance(value, (MultiValue, list, tuple)) else [value])]
    except (TypeError, ValueError):
        return []


def _number(dataset: Dataset, *keywords: str) -> float | None:
    return next((numbers[0] for keyword in keywords if (numbers := _numbers(dataset, keyword))), None)


def _has_agent(dataset: Dataset) -> bool:
    agent = _text(dataset, "ContrastBolusAgent").upper()
    return bool(dataset.get("ContrastBolusAgentSequence")) or agent not in ("", "NONE", "NO", "NO CONTRAST", "N")


def _seconds(dataset: Dataset, kind: str) -> float | None:
    """Return the moment that `<kind>DateTime`, or `<kind>Date` and `<kind>Time`, stand for."""
    joined = _text(dataset, f"{kind}DateTime") or _text(dataset, f"Frame{kind}DateTime")
    if not joined:
        day = _text(dataset, f"{kind}Date") or _text(dataset, "StudyDate")
        clock = _text(dataset, f"{kind}Time")
        joined = day + clock if clock else ""
    return _moment(joined)


def _bolus_seconds(dataset: Dataset) -> float | None:
    clock = _text(dataset, "ContrastBolusStartTime")
    return _moment((_text(dataset, "AcquisitionDate") or _text(dataset, "StudyDate")) + clock) if clock else None


def _moment(text: str) -> float | None:
    match = re.match(r"(\d{8})(\d{2})(\d{2})?(\d{2})?(\.\d{1,6})?", text)
    if match is None:
        return None
    day, hour, minute, second, fraction = match.groups()
    try:
        moment = dt.datetime.strptime(day + hour + (minute or "00") + (second or "00"), "%Y%m%d%H%M%S")
    except ValueError:
        return None
    return (moment - dt.datetime.min).total_seconds() + float(fraction or 0)
