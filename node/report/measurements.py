"""Measurement groups of the report: one for each lesion, one for each side's muscles."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import highdicom as hd
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from node.findings import Findings, LesionFindings, MuscleFindings, Outcome, Side
from node.report import codes
from node.report.provenance import Kind, Provenance
from node.report.segmentations import LATERALITY, lesion_region, muscle_region

Group = hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations | hd.sr.MeasurementsAndQualitativeEvaluations

_EXAMINATION = "PVM exam"  # Tracking Identifier of the group that stands for the examination
_DERIVATIONS = frozenset({codes.MEDIAN, codes.MAXIMUM, codes.STANDARD_DEVIATION})


@dataclass(frozen=True, slots=True)
class _Number:
    """One NUM to be; None was not measured. `how` is its method or derivation: older OHIF breaks on a NUM without."""

    name: Code
    value: float | None
    unit: Code
    how: Code


@dataclass(frozen=True, slots=True)
class _Group:
    """What one measurement group says, in whichever template."""

    tracking_identifier: str
    finding: Code
    side: Side | None
    numbers: tuple[_Number, ...] = ()
    evaluations: tuple[tuple[Code, Code], ...] = ()  # names and values


def groups(findings: Findings, segmentations: Mapping[Kind, Dataset], provenance: Provenance) -> list[Group]:
    """Return the groups of "Imaging Measurements": lesions, muscles, or one for the examination.

    All are of one template, TID 1411 if every one has its segment and TID 1501 otherwise, because PixelMed decides
    the template per container and reports errors for a mixture. An examination without regions still has a group:
    highdicom and OHIF open no report without.
    """
    planned = [*map(_lesion, findings.lesions), *map(_muscle, findings.muscles)] or [_examination(findings)]
    segments = _referenced_segments(segmentations)
    regional = all(group.tracking_identifier in segments for group in planned)
    return [_built(group, provenance, segments[group.tracking_identifier] if regional else None) for group in planned]


def quality(findings: Findings) -> Code:
    """Return how good the images were for this analysis. A caveat weakens a finding, not the images."""
    if findings.outcome is Outcome.REFUSED:
        return codes.NON_DIAGNOSTIC_QUALITY
    limited = findings.refusals or not all(gate.passed for gate in findings.gates)
    return codes.LIMITED_QUALITY if limited else codes.DIAGNOSTIC_QUALITY


def rounded(value: float) -> float:
    """Return `value` with six digits: a DS holds 16 bytes (PS3.5 table 6.2-1), and no measurement more truth."""
    return float(f"{value:.6g}")


def _lesion(lesion: LesionFindings) -> _Group:
    return _Group(
        lesion_region(lesion).tracking_identifier,
        codes.ENHANCING_LESION,
        lesion.side,
        (
            _Number(codes.VOLUME, lesion.volume_mm3, codes.CUBIC_MILLIMETER, codes.SUM_OF_VOXELS),
            _Number(codes.LONG_AXIS, lesion.long_axis_mm, codes.MILLIMETER, codes.IN_PLANE_DIAMETERS),
            _Number(codes.SHORT_AXIS, lesion.short_axis_mm, codes.MILLIMETER, codes.IN_PLANE_DIAMETERS),
            _Number(codes.PRE_SIGNAL, lesion.pre_signal, codes.ARBITRARY_UNIT, codes.MEDIAN),
            _Number(codes.POST_SIGNAL, lesion.post_signal, codes.ARBITRARY_UNIT, codes.MEDIAN),
            _Number(codes.ENHANCEMENT, lesion.enhancement_pct, codes.PERCENT, codes.MEDIAN),
            _Number(codes.ENHANCEMENT, lesion.enhancement_max_pct, codes.PERCENT, codes.MAXIMUM),
            _Number(codes.MUSCLE_RATIO, lesion.muscle_ratio, codes.RATIO, codes.RATIO_OF_ENHANCEMENTS),
            _Number(codes.VESSEL_FRACTION, lesion.vessel_fraction_pct, codes.PERCENT, codes.VENOGRAPHY_THRESHOLD),
            _Number(
                codes.VESSEL_FRACTION_AROUND,
                lesion.surrounding_vessel_fraction_pct,
                codes.PERCENT,
                codes.VENOGRAPHY_THRESHOLD,
            ),
            _Number(codes.DISTANCE_FROM_MIDLINE, lesion.midline_distance_mm, codes.MILLIMETER, codes.CENTROID),
            _Number(codes.DISTANCE_FROM_SKIN, lesion.skin_distance_mm, codes.MILLIMETER, codes.CENTROID),
        ),
        ((codes.ENHANCEMENT_PATTERN, codes.FOCAL_ENHANCEMENT), *_vascularity(lesion)),
    )


def _vascularity(lesion: LesionFindings) -> tuple[tuple[Code, Code], ...]:
    if lesion.vessel_fraction_pct is None:
        vessels = codes.VASCULARITY_NOT_ASSESSED
    elif lesion.vessel_fraction_pct > 0:
        vessels = codes.VASCULARITY_IN_LESION
    else:
        vessels = codes.VASCULARITY_NOT_PRESENT
    if lesion.vascularity_increased is None:
        return ((codes.VASCULARITY, vessels),)
    increased = codes.INCREASED if lesion.vascularity_increased else codes.NOT_INCREASED
    return (codes.VASCULARITY, vessels), (codes.VENOGRAPHY_VASCULARITY, increased)


def _muscle(muscle: MuscleFindings) -> _Group:
    return _Group(
        muscle_region(muscle.side).tracking_identifier,
        codes.MUSCLE,
        muscle.side,
        (
            _Number(codes.VOLUME, muscle.volume_mm3, codes.CUBIC_MILLIMETER, codes.SUM_OF_VOXELS),
            _Number(codes.PRE_SIGNAL, muscle.pre_signal, codes.ARBITRARY_UNIT, codes.MEDIAN),
            _Number(codes.POST_SIGNAL, muscle.post_signal, codes.ARBITRARY_UNIT, codes.MEDIAN),
            _Number(codes.ENHANCEMENT, muscle.enhancement_pct, codes.PERCENT, codes.MEDIAN),
            _Number(codes.ENHANCEMENT, muscle.enhancement_sd_pct, codes.PERCENT, codes.STANDARD_DEVIATION),
            _Number(
                codes.ENHANCING_FRACTION, muscle.enhancing_fraction_pct, codes.PERCENT, codes.ENHANCEMENT_THRESHOLD
            ),
            _Number(codes.VESSEL_FRACTION, muscle.vessel_fraction_pct, codes.PERCENT, codes.VENOGRAPHY_THRESHOLD),
            _Number(codes.ASYMMETRY, muscle.asymmetry_pct, codes.PERCENT, codes.DIFFERENCE_OVER_SUM),
        ),
    )


def _examination(findings: Findings) -> _Group:
    return _Group(_EXAMINATION, codes.MUSCLE, None, evaluations=((codes.SERIES_QUALITY, quality(findings)),))


def _built(group: _Group, provenance: Provenance, segment: hd.sr.ReferencedSegment | None) -> Group:
    tracking = hd.sr.TrackingIdentifier(provenance.tracking_uid(group.tracking_identifier), group.tracking_identifier)
    laterality = None if group.side is None else LATERALITY[group.side]
    content: dict[str, Any] = {
        "tracking_identifier": tracking,
        "finding_type": group.finding,
        "finding_sites": [hd.sr.FindingSite(codes.DEEP_BACK_MUSCLE, laterality=laterality)],
        "measurements": _measured(group.numbers),
        "qualitative_evaluations": [hd.sr.QualitativeEvaluation(name, value) for name, value in group.evaluations],
    }
    if segment is None:
        return hd.sr.MeasurementsAndQualitativeEvaluations(**content)
    return hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(referenced_segment=segment, **content)


def _measured(numbers: Sequence[_Number]) -> list[hd.sr.Measurement]:
    return [
        hd.sr.Measurement(
            number.name,
            rounded(number.value),
            number.unit,
            derivation=number.how if number.how in _DERIVATIONS else None,
            method=None if number.how in _DERIVATIONS else number.how,
        )
        for number in numbers
        if number.value is not None
    ]


def _referenced_segments(segmentations: Mapping[Kind, Dataset]) -> dict[str, hd.sr.ReferencedSegment]:
    """Return a reference to each segment, by its Tracking Identifier."""
    return {
        segment.TrackingID: _referenced_segment(dataset, segment.SegmentNumber)
        for dataset in segmentations.values()
        for segment in dataset.SegmentSequence
    }


def _referenced_segment(dataset: Dataset, number: int) -> hd.sr.ReferencedSegment:
    """Return the reference to a segment and the *series* it was drawn on; highdicom would list every image."""
    source = hd.sr.SourceSeriesForSegmentation(dataset.ReferencedSeriesSequence[0].SeriesInstanceUID)
    # highdicom's meaning is spelled otherwise than that of PS3.16
    source.ConceptNameCodeSequence = [hd.sr.CodedConcept.from_code(codes.SOURCE_SERIES)]
    return hd.sr.ReferencedSegment(dataset.SOPClassUID, dataset.SOPInstanceUID, number, source_series=source)
