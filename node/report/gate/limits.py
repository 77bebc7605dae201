"""Numbers: each NUM has the unit of its concept, and a value that can be."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from node.report import codes
from node.report.gate.reading import NONE, code_in, content, name_of, text

_LONGEST_DS = 16  # bytes, PS3.5 table 6.2-1


@dataclass(frozen=True, slots=True)
class Limits:
    """The unit of a concept, and between which values it can be, both among them; what cannot be, not what is usual."""

    unit: Code
    least: float = -math.inf
    most: float = math.inf
    positive: bool = False  # zero is none


_ANY_PERCENT = Limits(codes.PERCENT)
_FRACTION = Limits(codes.PERCENT, 0, 100)
_INDEX = Limits(codes.PERCENT, -100, 100)  # difference over sum of what is not negative
_RISE = Limits(codes.PERCENT, -100)  # of a signal, which cannot be negative
_LENGTH = Limits(codes.MILLIMETER, 0)
_LONGER_THAN_NOTHING = Limits(codes.MILLIMETER, 0, positive=True)
_SIGNAL = Limits(codes.ARBITRARY_UNIT, 0)
_TIME = Limits(codes.SECOND, 0)
_RATE = Limits(codes.PER_MINUTE, 0)
_RATIO = Limits(codes.RATIO)
_PIXELS = Limits(codes.PIXELS, 1)
_COSINE = Limits(codes.DIRECTION_COSINE, -1, 1)

LIMITS: dict[Code, Limits] = {
    codes.VOLUME: Limits(codes.CUBIC_MILLIMETER, 0, positive=True),
    codes.LONG_AXIS: _LENGTH,
    codes.SHORT_AXIS: _LENGTH,
    codes.DISTANCE_FROM_SKIN: _LENGTH,
    codes.DISTANCE_FROM_MIDLINE: _LENGTH,
    codes.DISTANCE_TO_PLEXUS: _LENGTH,
    **dict.fromkeys(codes.CENTROID_POSITION, Limits(codes.MILLIMETER)),
    codes.EARLIER_VOLUME: Limits(codes.CUBIC_MILLIMETER, 0, positive=True),
    codes.EARLIER_LONG_AXIS: _LENGTH,
    codes.EARLIER_ENHANCEMENT: _RISE,
    codes.CHANGE_OF_VOLUME: Limits(codes.PERCENT, -100),
    codes.CHANGE_OF_LONG_AXIS: Limits(codes.MILLIMETER),
    codes.CHANGE_OF_ENHANCEMENT: _ANY_PERCENT,  # of percentages, in points
    codes.PRE_SIGNAL: _SIGNAL,
    codes.POST_SIGNAL: _SIGNAL,
    codes.ENHANCEMENT: _RISE,
    codes.WATER_ENHANCEMENT: _ANY_PERCENT,  # corrected: may come out below -100
    codes.PEAK_ENHANCEMENT: _RISE,
    codes.FIRST_MINUTE_ENHANCEMENT: _RISE,
    codes.MUSCLE_RATIO: _RATIO,
    codes.RELATIVE_TO_LEVELS: _RATIO,
    codes.ASYMMETRY: _ANY_PERCENT,  # of enhancements, one of which may be negative
    codes.VESSEL_ASYMMETRY: _INDEX,
    codes.VESSEL_FRACTION: _FRACTION,
    codes.VESSEL_FRACTION_AROUND: _FRACTION,
    codes.ENHANCING_FRACTION: _FRACTION,
    codes.FAT_FRACTION: _FRACTION,
    codes.LEVEL_ENHANCEMENT: _RISE,
    codes.LEVEL_ASYMMETRY: _ANY_PERCENT,
    codes.LEVEL_VESSEL_FRACTION: _FRACTION,
    codes.LEVEL_FAT_FRACTION: _FRACTION,
    codes.BOLUS_ARRIVAL_TIME: _TIME,
    codes.TIME_TO_PEAK: _TIME,
    codes.MAXIMUM_SLOPE: Limits(codes.PERCENT_PER_SECOND),
    codes.IAUC60: Limits(codes.PERCENT_SECONDS),
    codes.IAUC90: Limits(codes.PERCENT_SECONDS),
    codes.KTRANS: _RATE,
    codes.KEP: _RATE,
    codes.VE: Limits(codes.NO_UNIT, 0, 1),
    codes.PIXEL_DATA_ROWS: _PIXELS,
    codes.PIXEL_DATA_COLUMNS: _PIXELS,
    codes.HORIZONTAL_PIXEL_SPACING: _LONGER_THAN_NOTHING,
    codes.VERTICAL_PIXEL_SPACING: _LONGER_THAN_NOTHING,
    codes.SPACING_BETWEEN_SLICES: Limits(codes.MILLIMETER),  # as it came: the Standard lets it be negative in NM
    codes.SLICE_THICKNESS: Limits(codes.MILLIMETER),  # as it came
    **dict.fromkeys(codes.IMAGE_ORIENTATION, _COSINE),
}


def numbers(dataset: Dataset) -> Iterator[str]:
    """Yield what is wrong with the NUM items of an object."""
    for item in content(dataset):
        for measured in item.get("MeasuredValueSequence", ()):
            yield from _number(item, measured)


def _number(item: Dataset, measured: Dataset) -> Iterator[str]:
    name, unit = name_of(item), code_in(measured, "MeasurementUnitsCodeSequence")
    shown = repr(name.meaning)
    limits = LIMITS.get(name)
    if unit == NONE:
        yield f"GATE-UNIT {shown} has no unit"
    if limits is None:
        yield f"GATE-RANGE of {shown} nobody has said what it can be"
    elif unit is not None and (unit.value, unit.scheme_designator) != (
        limits.unit.value,
        limits.unit.scheme_designator,
    ):
        yield f"GATE-UNIT {shown} is in {unit.value!r}, not {limits.unit.value!r}"
    if len(text(measured, "NumericValue")) > _LONGEST_DS:
        yield f"GATE-STRUCTURE {shown} has more than {_LONGEST_DS} characters"
    values = [measured[keyword].value for keyword in ("NumericValue", "FloatingPointValue") if keyword in measured]
    if not values:
        yield f"GATE-STRUCTURE {shown} has no value"
    for value in map(float, values):
        if not math.isfinite(value):
            yield f"GATE-RANGE {shown} is not a number"
        elif limits and (not limits.least <= value <= limits.most or (limits.positive and value == 0)):
            yield f"GATE-RANGE {shown} cannot be {value:g}"
