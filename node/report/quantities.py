"""Quantities: every number of a finding with its concept, its unit and how it was made."""

from dataclasses import dataclass, replace

from pydicom.sr.coding import Code

from node.findings import Kinetics, LesionFindings, MuscleFindings, Side
from node.report import codes

DERIVATIONS = frozenset({codes.MEDIAN, codes.MAXIMUM, codes.STANDARD_DEVIATION})


@dataclass(frozen=True, slots=True)
class Quantity:
    """One NUM to be; None was not measured. `how` is its method or derivation: older OHIF breaks on a NUM without.

    `side` and `vertebra` are given where it is of a part of what its group is about.
    """

    name: Code
    value: float | None
    unit: Code
    how: Code
    side: Side | None = None
    vertebra: Code | None = None


def of_lesion(lesion: LesionFindings) -> tuple[Quantity, ...]:
    """Return what was measured of a lesion."""
    return (
        Quantity(codes.VOLUME, lesion.volume_mm3, codes.CUBIC_MILLIMETER, codes.SUM_OF_VOXELS),
        Quantity(codes.LONG_AXIS, lesion.long_axis_mm, codes.MILLIMETER, codes.IN_PLANE_DIAMETERS),
        Quantity(codes.SHORT_AXIS, lesion.short_axis_mm, codes.MILLIMETER, codes.IN_PLANE_DIAMETERS),
        Quantity(codes.PRE_SIGNAL, lesion.pre_signal, codes.ARBITRARY_UNIT, codes.MEDIAN),
        Quantity(codes.POST_SIGNAL, lesion.post_signal, codes.ARBITRARY_UNIT, codes.MEDIAN),
        Quantity(codes.ENHANCEMENT, lesion.enhancement_pct, codes.PERCENT, codes.MEDIAN),
        Quantity(codes.ENHANCEMENT, lesion.enhancement_max_pct, codes.PERCENT, codes.MAXIMUM),
        Quantity(codes.MUSCLE_RATIO, lesion.muscle_ratio, codes.RATIO, codes.RATIO_OF_ENHANCEMENTS),
        Quantity(codes.VESSEL_FRACTION, lesion.vessel_fraction_pct, codes.PERCENT, codes.VENOGRAPHY_THRESHOLD),
        Quantity(
            codes.VESSEL_FRACTION_AROUND,
            lesion.surrounding_vessel_fraction_pct,
            codes.PERCENT,
            codes.VENOGRAPHY_THRESHOLD,
        ),
        Quantity(codes.DISTANCE_TO_PLEXUS, lesion.plexus_distance_mm, codes.MILLIMETER, codes.BORDER),
        Quantity(codes.DISTANCE_FROM_MIDLINE, lesion.midline_distance_mm, codes.MILLIMETER, codes.CENTROID),
        Quantity(codes.DISTANCE_FROM_SKIN, lesion.skin_distance_mm, codes.MILLIMETER, codes.CENTROID),
        *(
            Quantity(name, value, codes.MILLIMETER, codes.CENTROID)
            for name, value in zip(codes.CENTROID_POSITION, lesion.centroid_mm, strict=True)
        ),
        *_of_kinetics(lesion.kinetics),
        *_of_change(lesion),
    )


def of_muscle(muscle: MuscleFindings) -> tuple[Quantity, ...]:
    """Return what was measured of the muscles of one side."""
    return (
        Quantity(codes.VOLUME, muscle.volume_mm3, codes.CUBIC_MILLIMETER, codes.SUM_OF_VOXELS),
        Quantity(codes.PRE_SIGNAL, muscle.pre_signal, codes.ARBITRARY_UNIT, codes.MEDIAN),
        Quantity(codes.POST_SIGNAL, muscle.post_signal, codes.ARBITRARY_UNIT, codes.MEDIAN),
        Quantity(codes.ENHANCEMENT, muscle.enhancement_pct, codes.PERCENT, codes.MEDIAN),
        Quantity(codes.ENHANCEMENT, muscle.enhancement_sd_pct, codes.PERCENT, codes.STANDARD_DEVIATION),
        Quantity(codes.ENHANCING_FRACTION, muscle.enhancing_fraction_pct, codes.PERCENT, codes.ENHANCEMENT_THRESHOLD),
        Quantity(codes.VESSEL_FRACTION, muscle.vessel_fraction_pct, codes.PERCENT, codes.VENOGRAPHY_THRESHOLD),
        Quantity(codes.ASYMMETRY, muscle.asymmetry_pct, codes.PERCENT, codes.DIFFERENCE_OVER_SUM),
        Quantity(codes.VESSEL_ASYMMETRY, muscle.vessel_asymmetry_pct, codes.PERCENT, codes.VESSEL_DIFFERENCE_OVER_SUM),
        Quantity(codes.FAT_FRACTION, muscle.fat_fraction_pct, codes.PERCENT, codes.DIXON),
        Quantity(codes.WATER_ENHANCEMENT, muscle.fat_corrected_enhancement_pct, codes.PERCENT, codes.WITHOUT_FAT),
        *_of_kinetics(muscle.kinetics),
    )


def of_level(row: MuscleFindings) -> tuple[Quantity, ...]:
    """Return what is compared between the levels of a side; nothing where no one vertebra is named.

    The concepts are others than those of the whole muscle: many viewers show names and leave places out.
    """
    vertebra = codes.vertebra(row.location.level) if row.location else None
    if vertebra is None:
        return ()
    compared = (
        Quantity(codes.LEVEL_ENHANCEMENT, row.enhancement_pct, codes.PERCENT, codes.MEDIAN),
        Quantity(codes.RELATIVE_TO_LEVELS, row.relative_enhancement, codes.RATIO, codes.RATIO_TO_OTHER_LEVELS),
        Quantity(codes.LEVEL_ASYMMETRY, row.asymmetry_pct, codes.PERCENT, codes.DIFFERENCE_OVER_SUM),
        Quantity(codes.LEVEL_VESSEL_FRACTION, row.vessel_fraction_pct, codes.PERCENT, codes.VENOGRAPHY_THRESHOLD),
        Quantity(codes.LEVEL_FAT_FRACTION, row.fat_fraction_pct, codes.PERCENT, codes.DIXON),
    )
    return tuple(replace(one, side=row.side, vertebra=vertebra) for one in compared)


def _of_change(lesion: LesionFindings) -> tuple[Quantity, ...]:
    """Return what an earlier result told of a lesion, and the change since: none where one of the two is unknown."""
    if lesion.prior is None:
        return ()
    then = lesion.prior.lesion
    compared = (
        (codes.EARLIER_VOLUME, then.volume_mm3, codes.CUBIC_MILLIMETER),
        (codes.EARLIER_LONG_AXIS, then.long_axis_mm, codes.MILLIMETER),
        (codes.EARLIER_ENHANCEMENT, then.enhancement_pct, codes.PERCENT),
    )
    changes = (
        (codes.CHANGE_OF_VOLUME, volume_change_pct(lesion.volume_mm3, then.volume_mm3), codes.PERCENT),
        (codes.CHANGE_OF_LONG_AXIS, difference(lesion.long_axis_mm, then.long_axis_mm), codes.MILLIMETER),
        (codes.CHANGE_OF_ENHANCEMENT, difference(lesion.enhancement_pct, then.enhancement_pct), codes.PERCENT),
    )
    return (
        *(Quantity(*one, codes.TOLD_EARLIER) for one in compared),
        *(Quantity(*one, codes.DIFFERENCE_OF_RESULTS) for one in changes),
    )


def volume_change_pct(now: float, then: float | None) -> float | None:
    """Return by how many percent a volume grew; None if it was not told, or nothing."""
    return 100 * (rounded(now) - then) / then if then else None


def difference(now: float | None, then: float | None) -> float | None:
    """Return now, as it is reported, less then, as it was; None if one is not known."""
    return None if now is None or then is None else rounded(now) - then


def rounded(value: float) -> float:
    """Return `value` with six digits: a DS holds 16 bytes (PS3.5 table 6.2-1), and no measurement more truth."""
    return float(f"{value:.6g}")


def _of_kinetics(found: Kinetics | None) -> tuple[Quantity, ...]:
    if found is None:
        return ()
    return (
        Quantity(codes.BOLUS_ARRIVAL_TIME, found.onset_s, codes.SECOND, codes.OVER_TIME),
        Quantity(codes.TIME_TO_PEAK, found.time_to_peak_s, codes.SECOND, codes.OVER_TIME),
        Quantity(codes.PEAK_ENHANCEMENT, found.peak_enhancement_pct, codes.PERCENT, codes.OVER_TIME),
        Quantity(codes.FIRST_MINUTE_ENHANCEMENT, found.first_minute_enhancement_pct, codes.PERCENT, codes.OVER_TIME),
        Quantity(codes.MAXIMUM_SLOPE, found.wash_in_pct_per_s, codes.PERCENT_PER_SECOND, codes.OVER_TIME),
        Quantity(codes.IAUC60, found.iauc60, codes.PERCENT_SECONDS, codes.OVER_TIME),
        Quantity(codes.IAUC90, found.iauc90, codes.PERCENT_SECONDS, codes.OVER_TIME),
        Quantity(codes.KTRANS, found.ktrans_per_min, codes.PER_MINUTE, codes.TOFTS),
        Quantity(codes.KEP, found.kep_per_min, codes.PER_MINUTE, codes.TOFTS),
        Quantity(codes.VE, found.ve, codes.NO_UNIT, codes.TOFTS),
    )
